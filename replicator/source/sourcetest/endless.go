package sourcetest

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// mostTaken is what a client may take of answers that never end, over all its requests and tries: each of them 16 MiB, or
// headers of 1 MiB, and what lies in the buffers of connections. Machines are asked about in a dozen requests.
const mostTaken = 300 << 20

// Endless holds the client of a source to limits on what it reads of a server. open gives the source at an endpoint that
// answers everything without end: with a listing, an error, or headers. Each must end in an error.
func Endless(t *testing.T, open func(t *testing.T, endpoint string) source.Source) {
	EndlessAnswers(t, func(ctx context.Context, t *testing.T, endpoint string) error { return Listed(ctx, open(t, endpoint)) })
}

// EndlessAnswers does the same for any client: use must end in an error.
func EndlessAnswers(t *testing.T, use func(ctx context.Context, t *testing.T, endpoint string) error) {
	for _, what := range []string{"listing", "error", "headers"} {
		t.Run("Endless "+what, func(t *testing.T) {
			var taken atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
				endless(w, r, what, &taken)
			}))
			defer srv.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			err := use(ctx, t, srv.URL)
			switch {
			case err == nil:
				t.Error("an answer without end was taken for one")
			case ctx.Err() != nil:
				t.Errorf("it was read until the test gave up: %v", err)
			case len(err.Error()) > 16<<10:
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if n := taken.Load(); n > mostTaken {
				t.Errorf("%d bytes were taken", n)
			}
		})
	}
}

// endless answers until nobody takes any more.
func endless(w http.ResponseWriter, r *http.Request, what string, taken *atomic.Int64) {
	filler := strings.Repeat("x", 64<<10)
	write := func(to io.Writer, s string) bool {
		n, err := io.WriteString(to, s)
		taken.Add(int64(n))
		return err == nil && r.Context().Err() == nil
	}
	if what == "headers" {
		c, _, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert // it is one
		if err != nil {
			return
		}
		defer c.Close() //nolint:errcheck // nobody reads it
		for ok := write(c, "HTTP/1.1 200 OK\r\n"); ok; {
			ok = write(c, "X-Filler: "+filler+"\r\n")
		}
		return
	}
	if r.Method == http.MethodHead { // its answer has no body
		return
	}
	begin := "<ListBucketResult><Contents><Key>"
	switch {
	case strings.HasPrefix(r.URL.Path, "/snapshots"):
		begin = `{"NextToken":"`
	case r.Method == http.MethodPost:
		begin = "<DescribeSnapshotsResponse><nextToken>"
	}
	if what == "error" {
		begin = "<Error><Code>AccessDenied</Code><Message>"
		w.WriteHeader(http.StatusForbidden)
	}
	for ok := write(w, begin); ok; {
		ok = write(w, filler)
	}
}
