// Package otlptest has the program's traces decoded by the official messages of OpenTelemetry. It is a module of its own, so that these are
// no dependency of the program.
package otlptest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	trace "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const root = "../../.."

// receiver is a collector that keeps what it gets.
type receiver struct {
	*httptest.Server

	mu       sync.Mutex
	resource []*common.KeyValue
	spans    []*trace.Span
	bodies   []byte
	faults   []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		body, err := io.ReadAll(q.Body)
		var m collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.UnmarshalOptions{}.Unmarshal(body, &m)
		}
		if err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" || q.Header.Get("Api-Key") != "collectorsecret" {
			r.faults = append(r.faults, q.URL.Path+" "+q.Header.Get("Content-Type"))
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.bodies = append(r.bodies, body...)
		for _, x := range m.ResourceSpans {
			r.resource = x.Resource.Attributes
			if len(x.ProtoReflect().GetUnknown()) > 0 {
				r.faults = append(r.faults, "unknown fields")
			}
			for _, s := range x.ScopeSpans {
				r.spans = append(r.spans, s.Spans...)
			}
		}
		answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		_, _ = w.Write(answer)
	}))
	t.Cleanup(r.Close)
	return r
}

func text(all []*common.KeyValue, key string) string {
	for _, a := range all {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

func number(all []*common.KeyValue, key string) int64 {
	for _, a := range all {
		if a.Key == key {
			return a.Value.GetIntValue()
		}
	}
	return -1
}

// desk is a folder with the program, a configuration and a source.
type desk struct {
	*testing.T
	program, dir string
}

func (d desk) run(env []string, args ...string) (code int, out, errOut string) {
	d.Helper()
	ctx, cancel := context.WithTimeout(d.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, d.program, args...)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = d.dir, &o, &e, append(os.Environ(), env...)
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		d.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func (d desk) write(name, text string) {
	d.Helper()
	path := filepath.Join(d.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		d.Fatal(err)
	}
}

// TestTrace: a run of the program that is built with the tag, as a collector decodes it.
func TestTrace(t *testing.T) {
	d := desk{t, filepath.Join(t.TempDir(), "holdfast"), t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "otel", "-o", d.program, "./cmd/holdfast")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	code, recipient, errOut := d.run(nil, "keygen", "--classic", "--out", "restore.key")
	if code != 0 {
		t.Fatal(errOut)
	}
	for _, line := range strings.Split(recipient, "\n") {
		if strings.HasPrefix(line, "age1") {
			recipient = line
		}
	}
	d.write("data/verysecretname.txt", "verysecretcontent")
	d.write("holdfast.yaml", "vaults: [{name: offsite, url: \"file://"+d.dir+"/vault\"}]\nkeys: {recipients: [\""+strings.TrimSpace(recipient)+"\"], host: host.key}\n"+
		"sources: [{name: site, url: \"file://"+d.dir+"/data\"}, {name: gone, url: \"file://"+d.dir+"/absent\"}]\ncache: cache\n")
	if code, _, errOut := d.run(nil, "init"); code != 0 {
		t.Fatal(errOut)
	}
	r := newReceiver(t)
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_EXPORTER_OTLP_HEADERS=api-key=collectorsecret", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test"}
	if code, _, errOut := d.run(env, "run"); code != 1 || strings.Contains(errOut, "trace") {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) > 0 {
		t.Fatal(r.faults)
	}
	if text(r.resource, "service.name") != "holdfast" || text(r.resource, "deployment.environment") != "test" {
		t.Errorf("%v", r.resource)
	}
	byName := map[string]*trace.Span{}
	var sources []*trace.Span
	for _, s := range r.spans {
		byName[s.Name] = s
		if s.Name == "source" {
			sources = append(sources, s)
		}
		if len(s.TraceId) != 16 || len(s.SpanId) != 8 || !bytes.Equal(s.TraceId, r.spans[0].TraceId) || s.EndTimeUnixNano < s.StartTimeUnixNano || s.StartTimeUnixNano == 0 || len(s.ProtoReflect().GetUnknown()) > 0 {
			t.Errorf("%v", s)
		}
	}
	run := byName["run"]
	if run == nil || len(run.ParentSpanId) != 0 || number(run.Attributes, "holdfast.exit_code") != 1 || run.Status.GetCode() != trace.Status_STATUS_CODE_ERROR || len(sources) != 2 {
		t.Fatalf("%v, %d sources", run, len(sources))
	}
	slices.SortFunc(sources, func(a, b *trace.Span) int {
		return strings.Compare(text(a.Attributes, "holdfast.source"), text(b.Attributes, "holdfast.source"))
	})
	if gone := sources[0]; gone.Status.GetCode() != trace.Status_STATUS_CODE_ERROR || text(gone.Attributes, "error.type") != "no_such_file" {
		t.Errorf("%v", gone)
	}
	site := sources[1]
	if !bytes.Equal(site.ParentSpanId, run.SpanId) || site.Status.GetCode() != trace.Status_STATUS_CODE_UNSET || text(site.Attributes, "holdfast.status") != "complete" || number(site.Attributes, "holdfast.entries") != 2 ||
		number(site.Attributes, "holdfast.vault.offsite.bytes_stored") <= 0 {
		t.Errorf("%v", site)
	}
	kinds := map[string]bool{}
	for _, s := range r.spans {
		if s.Name == "write" && bytes.Equal(s.ParentSpanId, site.SpanId) {
			kinds[text(s.Attributes, "holdfast.object.kind")] = true
		}
	}
	for _, kind := range []string{"packs", "meta", "needs", "placements", "points"} {
		if !kinds[kind] {
			t.Errorf("no write of %s: %v", kind, kinds)
		}
	}
	for _, name := range []string{"open", "list", "read", "store", "commit"} {
		if !slices.ContainsFunc(r.spans, func(s *trace.Span) bool { return s.Name == name && bytes.Equal(s.ParentSpanId, site.SpanId) }) {
			t.Errorf("no span %s", name)
		}
	}
	for _, secret := range []string{"verysecret", "collectorsecret", d.dir, "AGE-SECRET", "absent", ".age"} {
		if bytes.Contains(r.bodies, []byte(secret)) {
			t.Errorf("%q is told", secret)
		}
	}
	// A collector that is not there changes neither what is printed nor the exit code; one that nobody names gets nothing.
	code, out, errOut := d.run([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1/secretpath"}, "run", "site")
	if code != 0 || !strings.Contains(out, "complete point") || !strings.Contains(errOut, "warning: trace to 127.0.0.1:1: ") || strings.Contains(errOut, "secretpath") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	had := len(r.spans)
	if code, _, errOut := d.run(nil, "run", "site"); code != 0 || strings.Contains(errOut, "trace") || len(r.spans) != had {
		t.Errorf("exit code %d, %d spans: %s", code, len(r.spans)-had, errOut)
	}
}

// TestTag: without the tag nothing of it is in the program.
func TestTag(t *testing.T) {
	for _, c := range []struct {
		tags string
		in   bool
	}{{"", false}, {"otel", true}} {
		cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", c.tags, "./cmd/holdfast")
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if in := strings.Contains(string(out), "/replicator/otlp\n"); in != c.in {
			t.Errorf("tags %q: in the program: %v", c.tags, in)
		}
		if strings.Contains(string(out), "go.opentelemetry.io") {
			t.Errorf("tags %q: a module of OpenTelemetry is in the program", c.tags)
		}
	}
}
