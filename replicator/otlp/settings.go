package otlp

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options are what a Tracer begins with.
type Options struct {
	Env     func(name string) (value string, set bool)
	Version string // of the program
	Host    string // what this machine is called; empty: not said
	Now     func() time.Time
}

// settings are what the variables say.
type settings struct {
	to       *url.URL
	headers  map[string]string
	timeout  time.Duration
	gzip     bool
	tls      *tls.Config
	resource Attributes
	version  string
	now      func() time.Time
}

// most is how long the end of a command waits at most for the collector, whatever OTEL_EXPORTER_OTLP_TIMEOUT says: as for receivers
// of messages.
const most = 4 * time.Second

// New reads the OTEL_ variables. Where none of them names a collector, or they turn traces off, the Tracer is nil. warnings say which
// of them are not understood, without their values, which may be secrets: a trace is never a reason not to run.
func New(o Options) (t *Tracer, warnings []string) {
	e := env{get: o.Env}
	s := settings{timeout: most, version: o.Version, now: o.Now, headers: map[string]string{}}
	s.to = e.endpoint()
	if s.to == nil || !e.on() || !e.sampled() {
		return nil, e.warnings
	}
	if text, name := e.trace("PROTOCOL"); text != "" && text != "http/protobuf" {
		e.warn(name, "only http/protobuf is spoken")
	}
	if text, name := e.trace("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			e.warn(name, "it is a number of milliseconds")
		} else {
			s.timeout = min(most, time.Duration(ms)*time.Millisecond)
		}
	}
	switch text, name := e.trace("COMPRESSION"); text {
	case "", "none":
	case "gzip":
		s.gzip = true
	default:
		e.warn(name, "it is gzip or none")
	}
	text, name := e.trace("HEADERS")
	for key, value := range e.pairs(name, text) {
		if !headerName(key) {
			e.warn(name, "it is a list NAME=VALUE,NAME=VALUE")
			continue
		}
		s.headers[key] = value
	}
	s.tls = e.certificates()
	s.resource = e.resource(o)
	t = &Tracer{o: s}
	_, _ = rand.Read(t.id[:]) // never fails
	if !e.share(t.id) {
		return nil, e.warnings
	}
	return t, e.warnings
}

// env reads variables. One that is empty is as good as one that is not set, as the specification has it.
type env struct {
	get      func(string) (string, bool)
	warnings []string
}

func (e *env) text(name string) string {
	v, _ := e.get(name)
	return strings.TrimSpace(v)
}

// trace gives a variable of the exporter: that for traces goes before that for everything.
func (e *env) trace(what string) (value, name string) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
		if v := e.text(name); v != "" {
			return v, name
		}
	}
	return "", ""
}

func (e *env) warn(name, what string) {
	e.warnings = append(e.warnings, fmt.Sprintf("%s is not understood, and is left out: %s", name, what))
}

// endpoint is where traces go; nil: nowhere. The specification would have them go to this machine where nobody says anything.
func (e *env) endpoint() *url.URL {
	value, name := e.trace("ENDPOINT")
	if value == "" {
		if e.text("OTEL_TRACES_EXPORTER") != "otlp" {
			return nil
		}
		value, name = "http://localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT"
	}
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		e.warn(name, "it is a URL such as https://collector.example.com:4318")
		return nil
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		u = u.JoinPath("v1", "traces")
	} else if u.Path == "" {
		u.Path = "/"
	}
	return u
}

// on reports whether traces are sent at all.
func (e *env) on() bool {
	if strings.EqualFold(e.text("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	switch e.text("OTEL_TRACES_EXPORTER") {
	case "", "otlp":
		return true
	case "none":
		return false
	}
	e.warn("OTEL_TRACES_EXPORTER", "it is otlp or none")
	return false
}

// sampled reports whether any trace is sent.
func (e *env) sampled() bool {
	switch strings.TrimPrefix(e.text("OTEL_TRACES_SAMPLER"), "parentbased_") {
	case "", "always_on", "traceidratio":
		return true
	case "always_off":
		return false
	}
	e.warn("OTEL_TRACES_SAMPLER", "it is always_on, always_off or traceidratio, or one of them behind parentbased_")
	return true
}

// share reports whether this trace is among the share of them that is sent.
func (e *env) share(id [16]byte) bool {
	if strings.TrimPrefix(e.text("OTEL_TRACES_SAMPLER"), "parentbased_") != "traceidratio" {
		return true
	}
	ratio := 1.0
	if text := e.text("OTEL_TRACES_SAMPLER_ARG"); text != "" {
		var err error
		if ratio, err = strconv.ParseFloat(text, 64); err != nil || ratio < 0 || ratio > 1 || math.IsNaN(ratio) {
			e.warn("OTEL_TRACES_SAMPLER_ARG", "it is a number from 0 to 1")
			ratio = 1
		}
	}
	return float64(binary.BigEndian.Uint64(id[8:])>>1) < ratio*(1<<63)
}

// pairs reads NAME=VALUE,NAME=VALUE, with values as in URLs.
func (e *env) pairs(name, text string) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || err != nil || key == "" {
			e.warn(name, "it is a list NAME=VALUE,NAME=VALUE")
			continue
		}
		out[key] = value
	}
	return out
}

func headerName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == "" && http.CanonicalHeaderKey(s) != "Host"
}

// resource is who says it.
func (e *env) resource(o Options) Attributes {
	out := Attributes{"service.name": "holdfast", "service.version": o.Version, "telemetry.sdk.name": "holdfast", "telemetry.sdk.language": "go", "telemetry.sdk.version": o.Version}
	if o.Host != "" {
		out["host.name"] = o.Host
	}
	for key, value := range e.pairs("OTEL_RESOURCE_ATTRIBUTES", e.text("OTEL_RESOURCE_ATTRIBUTES")) {
		out[key] = value
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == "" })
	out["service.name"] = cmp.Or(e.text("OTEL_SERVICE_NAME"), out["service.name"].(string))
	return out
}

// certificates are those of the collector and the program's own.
func (e *env) certificates() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if path, name := e.trace("CERTIFICATE"); path != "" {
		pem, err := os.ReadFile(path)
		pool := x509.NewCertPool()
		if err != nil || !pool.AppendCertsFromPEM(pem) {
			e.warn(name, "it is the path of a file with certificates in PEM")
		} else {
			c.RootCAs = pool
		}
	}
	cert, name := e.trace("CLIENT_CERTIFICATE")
	key, _ := e.trace("CLIENT_KEY")
	if cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			e.warn(name, "it and CLIENT_KEY are paths of files in PEM")
		} else {
			c.Certificates = []tls.Certificate{pair}
		}
	}
	return c
}

func floatBits(f float64) uint64 { return math.Float64bits(f) }

// withoutURL is an error without its URL: what net/http says of a request begins with its URL, which may be a secret.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
