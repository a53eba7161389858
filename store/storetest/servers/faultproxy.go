package servers

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// Faulting is backend behind a proxy that makes requests fail as plan says, as the network, the server or something
// between them would. Endpoint and Log are the proxy's own; everything else is the backend's, which must be closed as
// usual.
//
// The plan's operations are "put", "get", "head", "post" and "delete" for objects, with what is asked for in brackets
// where that is not the content: "put[retention]"; and "list", "versions", and "bucket[...]" for buckets. Its names are
// paths, "/bucket/key", without the escapes.
func Faulting(t testing.TB, backend *Server, plan *faults.Plan) *Server {
	t.Helper()
	s, err := NewFaulting(backend, plan)
	if err != nil {
		t.Fatalf("start the faulting proxy: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stop the faulting proxy: %v", err)
		}
	})
	return s
}

// NewFaulting is Faulting outside tests.
func NewFaulting(backend *Server, plan *faults.Plan) (*Server, error) {
	f := &faulting{
		plan: plan, backend: backend.Direct, patience: plan.Patience,
		next: &http.Transport{DisableCompression: true, DisableKeepAlives: true},
	}
	if f.patience <= 0 {
		f.patience = 300 * time.Millisecond
	}
	p, err := newProxy(backend.Direct, f.allow)
	if err != nil {
		return nil, err
	}
	return &Server{
		Kind: backend.Kind, Endpoint: p.url, Direct: backend.Direct, Root: backend.Root,
		proc: backend.proc, direct: backend.direct, users: backend.users, proxy: p, cleanup: p.close,
	}, nil
}

// FaultWays gives the ways in which a request of the operation can fail.
func FaultWays(op string) []faults.Way {
	all := []faults.Way{faults.Transient, faults.TimeOut, faults.Reset, faults.Throttled, faults.Denied}
	switch {
	case op == "get":
		return append(all, faults.Slow, faults.Truncated, faults.Flipped)
	case op == "list", op == "versions":
		return append(all, faults.Slow, faults.Truncated, faults.Stale)
	case strings.HasPrefix(op, "get["), strings.HasPrefix(op, "bucket[get"):
		return append(all, faults.Slow, faults.Truncated)
	case op == "put":
		return append(all, faults.Flipped, faults.Lost)
	case strings.HasPrefix(op, "put["), strings.HasPrefix(op, "post"), strings.HasPrefix(op, "delete"):
		return append(all, faults.Lost)
	}
	return all
}

// faulting is the filter of one proxy.
type faulting struct {
	plan     *faults.Plan
	backend  string
	patience time.Duration
	next     *http.Transport
}

// operation says what a request is; see Faulting.
func operation(r *http.Request) string {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	sub := ""
	for _, s := range []string{"retention", "legal-hold", "tagging", "object-lock", "versioning", "location", "uploads", "uploadId", "delete", "versions", "acl", "attributes"} {
		if q.Has(s) {
			sub = s
			break
		}
	}
	switch {
	case key == "" && sub == "versions":
		return "versions"
	case key == "" && r.Method == http.MethodGet && sub == "":
		return "list"
	case key == "":
		return "bucket[" + strings.ToLower(r.Method) + " " + sub + "]"
	case sub == "":
		return strings.ToLower(r.Method)
	}
	return strings.ToLower(r.Method) + "[" + sub + "]"
}

func (f *faulting) allow(w http.ResponseWriter, r *http.Request) bool {
	way, ok := f.plan.Next(operation(r), r.URL.Path)
	if !ok {
		return true
	}
	switch way {
	case faults.Transient:
		swallow(r)
		answer(w, r, http.StatusInternalServerError, "InternalError", "We encountered an internal error. Please try again.")
	case faults.Throttled:
		swallow(r)
		answer(w, r, http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
	case faults.Denied:
		swallow(r)
		answer(w, r, http.StatusForbidden, "AccessDenied", "Access Denied")
	case faults.TimeOut:
		swallow(r)
		select {
		case <-r.Context().Done():
		case <-time.After(f.patience):
		}
		hangUp(w, false)
	case faults.Reset:
		if r.Method != http.MethodGet {
			hangUp(w, true)
			return false
		}
		f.relay(w, r, way)
	default:
		f.relay(w, r, way)
	}
	return false
}

// swallow reads a request's body, as a server does before it answers; what cannot be read is not waited for.
func swallow(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

// answer is an S3 error.
func answer(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s (injected)</Message><RequestId>0</RequestId></Error>", code, message)
	}
}

// hangUp closes the connection; with a reset if hard.
func hangUp(w http.ResponseWriter, hard bool) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // it is gone already
	}
	if tcp, ok := c.(*net.TCPConn); ok && hard {
		_ = tcp.SetLinger(0) // an error leaves an orderly close, which will do
	}
	_ = c.Close() // whoever is at the other end is to see an error anyway
}

// relay has the request done and spoils what goes there or comes back.
func (f *faulting) relay(w http.ResponseWriter, r *http.Request, way faults.Way) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		hangUp(w, true)
		return
	}
	if way == faults.Flipped && r.Method == http.MethodPut {
		flip(body)
	}
	resp, got, err := f.forward(r, body)
	if err != nil || way == faults.Lost {
		hangUp(w, true)
		return
	}
	switch {
	case way == faults.Flipped && r.Method == http.MethodGet && resp.StatusCode < 300:
		flip(got)
	case way == faults.Stale:
		got = stale(got)
	}
	f.give(w, r, resp, got, way)
}

// forward sends the request on unchanged but for its body, so that its signature stays valid.
func (f *faulting) forward(r *http.Request, body []byte) (*http.Response, []byte, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, f.backend+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	out.Header, out.Host = r.Header.Clone(), r.Host
	out.Header.Del("Connection")
	out.Header.Del("Expect")
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	resp, err := f.next.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return resp, got, err
}

// give answers: whole, slowly, or only half of it.
func (f *faulting) give(w http.ResponseWriter, r *http.Request, resp *http.Response, body []byte, way faults.Way) {
	h := w.Header()
	for k, v := range resp.Header {
		h[k] = v
	}
	h.Del("Connection")
	h.Del("Transfer-Encoding")
	if r.Method != http.MethodHead {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(resp.StatusCode)
	switch way {
	case faults.Slow:
		for piece := max(len(body)/8, 1); len(body) > 0; {
			n := min(piece, len(body))
			if _, err := w.Write(body[:n]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush() // if it cannot, it comes at once: no harm
			body = body[n:]
			time.Sleep(20 * time.Millisecond)
		}
	case faults.Reset, faults.Truncated:
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		time.Sleep(5 * time.Millisecond) // a reset makes the other side drop what it has not read yet
		hangUp(w, way == faults.Reset)
	default:
		_, _ = w.Write(body)
	}
}

// flip changes one bit in the middle.
func flip(b []byte) {
	if len(b) > 0 {
		b[len(b)/2] ^= 0x10
	}
}

var (
	listed   = regexp.MustCompile(`(?s)<(Version|DeleteMarker|Contents)>.*?</(?:Version|DeleteMarker|Contents)>`)
	modified = regexp.MustCompile(`<LastModified>([^<]+)</LastModified>`)
)

// stale takes out of a listing's page what was modified last.
func stale(page []byte) []byte {
	newest := ""
	for _, m := range modified.FindAllSubmatch(page, -1) {
		newest = max(newest, string(m[1]))
	}
	return listed.ReplaceAllFunc(page, func(entry []byte) []byte {
		if m := modified.FindSubmatch(entry); m != nil && string(m[1]) == newest {
			return nil
		}
		return entry
	})
}
