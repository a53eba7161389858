package nbd

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// script is a client that says what it was given, whatever it is told.
type script struct{ in *bytes.Reader }

func (s script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s script) Write(p []byte) (int, error) { return len(p), nil }

func FuzzHandshake(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x01IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x01d"))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x08\x00\x00\x00\x00IHAVEOPT\x00\x00\x00\x0a\x00\x00\x00\x1c\x00\x00\x00\x01d\x00\x00\x00\x01\x00\x00\x00\x0fbase:allocation"))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00IHAVEOPT\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, said []byte) {
		h := &handshake{rw: script{bytes.NewReader(said)}, name: "d", size: 1 << 20}
		terms, err := h.run()
		if terms != nil && err != nil {
			t.Error("terms beside an error")
		}
		if terms != nil && terms.status && !terms.structured {
			t.Error("status without structured replies")
		}
	})
}

// FuzzOptions: what a decoder accepts has one meaning, within bounds.
func FuzzOptions(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01d\x00\x02\x00\x01\x00\x03"))
	f.Add([]byte("\x00\x00\x00\x01d\x00\x00\x00\x01\x00\x00\x00\x05base:"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseInfo(b); err == nil && (len(r.name) > maxName || 4+len(r.name)+2+2*len(r.want) != len(b)) {
			t.Errorf("%q: %+v", b, r)
		}
		if r, err := parseContexts(b); err == nil {
			n := 8 + len(r.name)
			for _, q := range r.queries {
				n += 4 + len(q)
			}
			if n != len(b) || len(r.queries) > maxQueries {
				t.Errorf("%q: %+v", b, r)
			}
		}
	})
}

type nothing struct{}

func (nothing) Size() int64                                 { return 1 << 16 }
func (nothing) ReadAt(context.Context, []byte, int64) error { return nil }
func (nothing) Status(_ context.Context, _, n int64, _ int) ([]Span, error) {
	return []Span{{n, true}}, nil
}

// FuzzRequests: whatever is sent after the handshake, the conversation ends when the client hangs up.
func FuzzRequests(f *testing.F) {
	ask := "\x25\x60\x95\x13\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00"
	f.Add([]byte(ask), true)
	f.Add([]byte(ask+ask), false)
	f.Fuzz(func(t *testing.T, said []byte, structured bool) {
		s, err := New(Options{Export: nothing{}})
		if err != nil {
			t.Fatal(err)
		}
		here, there := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _, _ = io.Copy(io.Discard, there) }()
		go func() { _, _ = there.Write(said); time.Sleep(time.Millisecond); _ = there.Close() }()
		tr := &transmission{server: s, conn: here, terms: terms{structured, structured}}
		_ = tr.run(t.Context())
		_ = here.Close()
		<-done
	})
}
