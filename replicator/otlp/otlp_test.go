package otlp

import (
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func tracer(t *testing.T, env map[string]string) (*Tracer, []string) {
	t.Helper()
	return New(Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }, Version: "v1", Host: "web-1", Now: func() time.Time { return time.Unix(1e9, 0) }})
}

// TestSettings: where a trace goes, and what is not understood, which is never a reason to fail and never shown.
func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		env   map[string]string
		to    string // empty: no trace
		warns string
	}{
		"nothing is set":       {nil, "", ""},
		"for everything":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c.example.com:4318/base/"}, "https://c.example.com:4318/base/v1/traces", ""},
		"for traces":           {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example.com/t", "OTEL_EXPORTER_OTLP_ENDPOINT": "https://other"}, "https://c.example.com/t", ""},
		"for traces, no path":  {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://c.example.com"}, "https://c.example.com/", ""},
		"the usual place":      {map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces", ""},
		"turned off":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_SDK_DISABLED": "true"}, "", ""},
		"no exporter":          {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_EXPORTER": "none"}, "", ""},
		"another exporter":     {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_EXPORTER": "zipkin"}, "", "OTEL_TRACES_EXPORTER"},
		"never sampled":        {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "", ""},
		"a share of none":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, "", ""},
		"a share of all":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1"}, "https://c/v1/traces", ""},
		"no URL":               {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "secretcollector:4318"}, "", "OTEL_EXPORTER_OTLP_ENDPOINT"},
		"grpc":                 {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "https://c/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		"no time":              {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "https://c/v1/traces", "OTEL_EXPORTER_OTLP_TIMEOUT"},
		"no headers":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_HEADERS": "secretheader"}, "https://c/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS"},
		"no certificates":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/secret.pem"}, "https://c/v1/traces", "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		"no such compression":  {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "https://c/v1/traces", "OTEL_EXPORTER_OTLP_COMPRESSION"},
		"an empty variable":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, "", ""},
		"a share of something": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "lots"}, "https://c/v1/traces", "OTEL_TRACES_SAMPLER_ARG"},
	} {
		t.Run(name, func(t *testing.T) {
			x, warnings := tracer(t, c.env)
			to := ""
			if x != nil {
				to = x.o.to.String()
			}
			all := strings.Join(warnings, "\n")
			if to != c.to || (all != "") != (c.warns != "") || !strings.Contains(all, c.warns) || strings.Contains(all, "secret") {
				t.Errorf("to %q; %q", to, all)
			}
		})
	}
}

// TestNil: without a collector nothing is kept.
func TestNil(t *testing.T) {
	var x *Tracer
	s := x.Root("run", nil)
	s.Child("part", nil).End("", nil)
	s.End("failed", nil)
	if err := x.Export(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestBound: a trace does not grow with what a run does, and says what it leaves out; the root is in it.
func TestBound(t *testing.T) {
	x, _ := tracer(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp"})
	root := x.Root("run", nil)
	for range MaxSpans + 10 {
		root.Child("write", nil).End("", nil)
	}
	root.End("", nil)
	last := x.done[len(x.done)-1]
	if len(x.done) != MaxSpans+1 || last.name != "run" || last.attributes["holdfast.spans_left_out"] != int64(10) {
		t.Errorf("%d spans; %+v", len(x.done), last)
	}
}

// TestCollectors: what they answer, and that one that hangs or is not there is waited for no longer than is said.
func TestCollectors(t *testing.T) {
	answers := []int{503, 200}
	var headers http.Header
	var body string
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		z, err := gzip.NewReader(r.Body)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(z)
			body = string(b)
		}
		if err != nil {
			t.Error(err)
		}
		headers = r.Header
		w.WriteHeader(answers[min(n, len(answers)-1)])
		n++
	}))
	defer s.Close()
	send := func(to string) error {
		t.Helper()
		x, warnings := tracer(t, map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": to + "/secretpath", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret%20value, x=y", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
			"OTEL_EXPORTER_OTLP_TIMEOUT": "2500", "OTEL_SERVICE_NAME": "ours", "OTEL_RESOURCE_ATTRIBUTES": "team=ops",
		})
		if len(warnings) > 0 {
			t.Fatal(warnings)
		}
		x.Root("run", Attributes{"n": int64(1), "f": 0.5, "b": true, "s": "", "other": []int{1}}).End("failed", nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // a command that was stopped sends what there is
		err := x.Export(ctx)
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the URL is told: %v", err)
		}
		return err
	}
	if err := send(s.URL); err != nil || n != 2 || headers.Get("Api-Key") != "secret value" || headers.Get("Content-Type") != "application/x-protobuf" ||
		!strings.Contains(body, "ours") || !strings.Contains(body, "team") || strings.Contains(body, "other") {
		t.Errorf("%v after %d tries, %v, %q", err, n, headers, body)
	}
	n, answers = 0, []int{400}
	if err := send(s.URL); err == nil || n != 1 || !strings.HasSuffix(err.Error(), "it answers 400 Bad Request") {
		t.Errorf("%v after %d tries", err, n)
	}
	n, answers = 0, []int{307}
	if err := send(s.URL); err == nil || n != 1 {
		t.Errorf("a redirect: %v after %d tries", err, n)
	}
	if err := send("http://127.0.0.1:1"); err == nil {
		t.Error("nobody is there")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := send("http://" + l.Addr().String()); err == nil || !strings.HasSuffix(err.Error(), "no answer within the time there is") {
		t.Errorf("one that hangs: %v", err)
	}
}
