package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// HostileStall is the stall that clients under RunHostile are made with: far below what a server of the suite takes for a
// whole answer, so that only a client that gives up of itself comes to an end.
const HostileStall = 400 * time.Millisecond

// HostileClient is a client of S3 as RunHostile drives it: one request each, not repeated. A function that a client has
// not got is nil.
type HostileClient struct {
	List   func(ctx context.Context) (names int, err error)                 // all names of the bucket, page by page
	Read   func(ctx context.Context, off, n int64) (body []byte, err error) // of an object of 1,000 bytes; n < 0: to the end
	Put    func(ctx context.Context, body []byte) error                     // stores an object
	Refuse func(ctx context.Context) error                                  // any other request; its error
}

// RunHostile holds a client of S3 to its limits, against a server that means harm: no answer takes more than bounded
// memory, and none takes for ever. open makes the client for an endpoint and the bucket "bucket".
func RunHostile(t *testing.T, open func(t testing.TB, endpoint string, stall time.Duration) HostileClient) {
	for _, c := range hostileCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sent := &atomic.Int64{}
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return
				}
				c.serve(&hostileAnswer{ResponseWriter: w, r: r, sent: sent})
			}))
			if c.raw != nil {
				srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						return
					}
					defer conn.Close()
					c.raw(r.Context(), conn, sent)
				})
			}
			srv.Start()
			t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
			client := open(t, srv.URL, HostileStall)
			err := c.ask(t, client)
			if err != nil && c.wrong != nil {
				c.wrong(t, err)
			}
			if n := sent.Load(); n > 40<<20 {
				t.Errorf("%d MiB of an answer were taken", n>>20)
			}
		})
	}
}

type hostileCase struct {
	name  string
	serve func(*hostileAnswer)
	raw   func(ctx context.Context, c net.Conn, sent *atomic.Int64) // instead of serve, without HTTP's help
	ask   func(t *testing.T, c HostileClient) error                 // nil: not asked, or well
	wrong func(t *testing.T, err error)                             // looks at the error closer
}

// hostileAnswer counts what a client takes.
type hostileAnswer struct {
	http.ResponseWriter
	r    *http.Request
	sent *atomic.Int64
}

func (a *hostileAnswer) Write(p []byte) (int, error) {
	n, err := a.ResponseWriter.Write(p)
	a.sent.Add(int64(n))
	return n, err
}

func (a *hostileAnswer) flush() bool {
	return http.NewResponseController(a.ResponseWriter).Flush() == nil && a.r.Context().Err() == nil
}

// hang waits until the client goes.
func (a *hostileAnswer) hang() {
	a.flush()
	<-a.r.Context().Done()
}

const (
	listHead = `<?xml version="1.0" encoding="UTF-8"?><ListVersionsResult><Name>bucket</Name><EncodingType>url</EncodingType>`
	listTail = `</ListVersionsResult>`
)

func listEntry(key string) string {
	return `<Version><Key>` + key + `</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-02T03:04:05Z</LastModified><Size>1</Size></Version>`
}

func listMore(key, version string) string {
	return `<IsTruncated>true</IsTruncated><NextKeyMarker>` + key + `</NextKeyMarker><NextVersionIdMarker>` + version + `</NextVersionIdMarker>`
}

// endless writes a piece again and again.
func (a *hostileAnswer) endless(piece string, most int) {
	for n := 0; n < most; n += len(piece) {
		if _, err := io.WriteString(a, piece); err != nil {
			return
		}
	}
}

// drip writes a byte at a time.
func (a *hostileAnswer) drip(text string) {
	for i := range len(text) {
		if _, err := io.WriteString(a, text[i:i+1]); err != nil || !a.flush() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func asksList(t *testing.T, c HostileClient) error {
	if c.List == nil {
		return nil
	}
	n, err := c.List(t.Context())
	return mustFail(t, err, fmt.Sprintf("a listing of %d names", n))
}

func asksRefused(t *testing.T, c HostileClient) error {
	if c.Refuse == nil {
		return nil
	}
	return mustFail(t, c.Refuse(t.Context()), "a request")
}

func asksRead(off, n int64) func(*testing.T, HostileClient) error {
	return func(t *testing.T, c HostileClient) error {
		if c.Read == nil {
			return nil
		}
		b, err := c.Read(t.Context(), off, n)
		return mustFail(t, err, fmt.Sprintf("%d bytes of an object", len(b)))
	}
}

func asksPut(t *testing.T, c HostileClient) error {
	if c.Put == nil {
		return nil
	}
	return mustFail(t, c.Put(t.Context(), make([]byte, 16<<20)), "a put")
}

func mustFail(t *testing.T, err error, what string) error {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", what)
	}
	return err
}

func retryable(t *testing.T, err error) {
	if !store.Retryable(err) {
		t.Errorf("%v; want one that may be tried again", err)
	}
}

func notRetryable(t *testing.T, err error) {
	if store.Retryable(err) {
		t.Errorf("%v; want one that is not tried again", err)
	}
}

func hostileCases() []hostileCase {
	const huge = 400 << 20
	paged := func(page func(n int, marker string) string) func(*hostileAnswer) {
		var n atomic.Int64
		return func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead+page(int(n.Add(1)), a.r.URL.Query().Get("key-marker"))+listTail)
		}
	}
	return []hostileCase{
		{name: "oversized listing", ask: asksList, wrong: notRetryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead)
			a.endless("<Filler>"+strings.Repeat("x", 8<<10)+"</Filler>", huge)
		}},
		{name: "more names than asked for", ask: asksList, wrong: notRetryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead)
			a.endless(listEntry("name"), huge)
		}},
		{name: "more names than asked for, tiny", ask: asksList, wrong: notRetryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead)
			a.endless("<x:Version/>", huge)
		}},
		{name: "more elements than names have", ask: asksList, wrong: notRetryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead+"<Version>")
			a.endless("<Owner/>", huge)
		}},
		{name: "an endless tag", ask: asksList, wrong: notRetryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead+"<Version")
			a.endless(strings.Repeat("n", 4<<10), huge)
		}},
		{name: "oversized error body", ask: asksRefused, serve: func(a *hostileAnswer) {
			a.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(a, "<Error><Code>InternalError</Code><Message>")
			a.endless(strings.Repeat("x", 8<<10), huge)
		}},
		{name: "oversized refusal of a listing", ask: asksList, serve: func(a *hostileAnswer) {
			a.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(a, "<Error><Code>AccessDenied</Code><Message>")
			a.endless(strings.Repeat("x", 8<<10), huge)
		}},
		{name: "oversized refusal of content", ask: asksRead(0, -1), serve: func(a *hostileAnswer) {
			a.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(a, "<Error><Code>NoSuchKey</Code><Message>")
			a.endless(strings.Repeat("x", 8<<10), huge)
		}},
		{name: "endless headers", ask: asksRefused, raw: func(_ context.Context, c net.Conn, sent *atomic.Int64) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := 0; i < 1<<20; i++ {
				n, err := fmt.Fprintf(c, "X-Amz-Meta-%d: %s\r\n", i, strings.Repeat("x", 400))
				sent.Add(int64(n))
				if err != nil {
					return
				}
			}
		}},
		{name: "endless headers, dripping", ask: asksRefused, wrong: retryable, raw: func(_ context.Context, c net.Conn, _ *atomic.Int64) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(c, "X-%d: x\r\n", i); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}},
		{name: "endless interim answers", ask: asksRefused, raw: func(_ context.Context, c net.Conn, _ *atomic.Int64) {
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}},
		{name: "accepted and never answered", ask: asksRefused, wrong: retryable, raw: func(_ context.Context, c net.Conn, _ *atomic.Int64) {
			_, _ = io.Copy(io.Discard, c)
		}},
		{name: "hang after headers", ask: asksRead(0, -1), wrong: retryable, serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Length", "1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			a.hang()
		}},
		{name: "hang in the middle of a listing", ask: asksList, wrong: retryable, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead+listEntry("name"))
			a.hang()
		}},
		{name: "hang in the body", ask: asksRead(0, -1), wrong: retryable, serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Length", "1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			_, _ = io.WriteString(a, "0123456789")
			a.hang()
		}},
		{name: "dripping content", ask: asksRead(0, -1), wrong: retryable, serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Length", "1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			a.drip(strings.Repeat("x", 1000))
		}},
		{name: "dripping listing", ask: asksList, wrong: retryable, serve: func(a *hostileAnswer) {
			a.drip(listHead + strings.Repeat(" ", 2000))
		}},
		{name: "a put that is not taken", ask: asksPut, wrong: retryable, raw: func(ctx context.Context, _ net.Conn, _ *atomic.Int64) {
			time.Sleep(10 * HostileStall) // the connection stays as it is
			_ = ctx
		}},
		{name: "truncated content", ask: asksRead(0, -1), wrong: retryable, serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Length", "1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			_, _ = io.WriteString(a, strings.Repeat("x", 500))
			a.flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "truncated listing", ask: asksList, serve: func(a *hostileAnswer) {
			_, _ = io.WriteString(a, listHead+listEntry("name"))
			a.flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "content longer than asked for", serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Range", "bytes 0-99/1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			a.WriteHeader(http.StatusPartialContent)
			a.endless(strings.Repeat("x", 8<<10), huge)
		}, ask: func(t *testing.T, c HostileClient) error {
			if c.Read == nil {
				return nil
			}
			if b, err := c.Read(t.Context(), 0, 100); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || err == nil && len(b) != 100 {
				t.Errorf("%d bytes, %v; want the 100 that were asked for, or an error", len(b), err)
			}
			return nil
		}},
		{name: "another range than asked for", ask: asksRead(100, 100), wrong: notRetryable, serve: func(a *hostileAnswer) {
			a.Header().Set("Content-Range", "bytes 0-99/1000")
			a.Header().Set("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
			a.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(a, strings.Repeat("x", 100))
		}},
		{name: "the same marker for ever", ask: asksList, wrong: notRetryable, serve: paged(func(_ int, _ string) string {
			return listMore("m", "v")
		})},
		{name: "empty pages for ever", ask: asksList, wrong: notRetryable, serve: paged(func(n int, _ string) string {
			return listMore(fmt.Sprintf("m%09d", n), "v")
		})},
		{name: "markers in a circle", ask: asksList, wrong: notRetryable, serve: paged(func(n int, _ string) string {
			return listMore([]string{"a", "b", "c"}[n%3], "v")
		})},
		{name: "the same page for ever", ask: asksList, wrong: notRetryable, serve: paged(func(n int, _ string) string {
			return listEntry("name") + listMore("name", fmt.Sprintf("v%09d", n))
		})},
		{name: "a name a page for ever", ask: asksList, wrong: notRetryable, serve: paged(func(n int, _ string) string {
			name := fmt.Sprintf("n%09d", n)
			return listEntry(name) + listMore(name, "v")
		})},
	}
}
