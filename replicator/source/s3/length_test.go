package s3source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// delivery is how a server gives content; every one of them is met at a vendor or at a front before it.
type delivery struct {
	gzipAware bool   // gives the stored form to who accepts gzip (Google's decompressive transcoding)
	ranges    bool   // heeds Range, of the stored form
	chunked   bool   // says no length
	length    int    // adds to the Content-Length it says, if it says one
	total     string // the Content-Range of a range, instead of the true one
	te        string // a Transfer-Encoding that nobody asked for
}

// deliver answers a GET with body, of which stored is what was listed.
func (d delivery) deliver(w http.ResponseWriter, r *http.Request, etag string, stored, body []byte) {
	w.Header().Set("ETag", `"`+etag+`"`)
	if d.te != "" {
		c, rw, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert // it is one
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n", d.te)
		_ = rw.Flush()
		_ = c.Close()
		return
	}
	if d.gzipAware && r.Header.Get("Accept-Encoding") == "gzip" {
		body = stored
		d.chunked = false
		w.Header().Set("Content-Encoding", "gzip")
	}
	if from := r.Header.Get("Range"); d.ranges && from != "" {
		var a, b int
		if _, err := fmt.Sscanf(from, "bytes=%d-%d", &a, &b); err != nil {
			panic(err)
		}
		b = min(b, len(stored)-1)
		total := d.total
		if total == "" {
			total = fmt.Sprintf("bytes %d-%d/%d", a, b, len(stored))
		}
		w.Header().Set("Content-Range", total)
		w.Header().Set("Content-Length", strconv.Itoa(b+1-a))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(stored[a : b+1])
		return
	}
	if d.chunked {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
	} else {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)+d.length))
	}
	_, _ = w.Write(body)
}

// TestLength: what is stored is as long as what was listed and ends there, or it is missing with a reason; never another
// form of it, and never the source as a whole.
func TestLength(t *testing.T) {
	for _, size := range []int{900, 200_000} { // read whole in Open, and streamed
		stored := sourcetest.Content(9, size)
		longer, shorter := append(bytes.Clone(stored), 'x'), stored[:size-1]
		text := bytes.Repeat([]byte("unpacked text, which is longer than what is stored\n"), size/10)
		short := text[:size/2]
		for _, c := range []struct {
			name  string
			d     delivery
			body  []byte
			parts bool // an ETag that says nothing of the content
			want  string
		}{
			{"as it is", delivery{ranges: true}, stored, true, ""},
			{"unpacked", delivery{chunked: true}, text, true, "without its length"},
			{"unpacked, and shorter", delivery{chunked: true}, short, true, "without its length"},
			{"unpacked, with an MD5 to compare", delivery{chunked: true}, text, false, "goes on after"},
			{"unpacked, with its length", delivery{}, text, true, "another length than listed"},
			{"unpacked unless gzip is accepted", delivery{chunked: true, gzipAware: true}, text, true, ""},
			{"unpacked unless gzip is accepted, with its length", delivery{gzipAware: true}, text, true, ""},
			{"unpacked unless a range is asked for", delivery{chunked: true, ranges: true}, text, true, ""},
			{"a byte more", delivery{}, longer, true, "another length than listed"},
			{"a byte more, no length", delivery{chunked: true}, longer, false, "goes on after"},
			{"a byte less, no length", delivery{chunked: true}, shorter, false, "the content ends after"},
			{"a byte less", delivery{}, shorter, true, "another length than listed"},
			{"no length, proved by its MD5", delivery{chunked: true}, stored, false, ""},
			{"no length, proved by a range", delivery{chunked: true, ranges: true}, stored, true, ""},
			{"no length, and nothing to prove it", delivery{chunked: true}, stored, true, "without its length"},
			{"another total", delivery{chunked: true, ranges: true, total: fmt.Sprintf("bytes 0-%d/%d", size-1, size+1)}, stored, true, "without its length"},
			{"another range", delivery{chunked: true, ranges: true, total: fmt.Sprintf("bytes 0-%d/%d", size-2, size)}, stored, true, "without its length"},
			{"a transfer encoding", delivery{te: "gzip, chunked"}, stored, true, "not HTTP"},
		} {
			for _, versions := range []string{"current", "all"} {
				t.Run(fmt.Sprintf("%s/%d/%s", c.name, size, versions), func(t *testing.T) {
					f, o := newFake(t)
					o.Versions = versions
					f.put("k", stored)
					f.put("other", []byte("beside it"))
					f.parts = c.parts
					v := mustFreeze(t, o)
					e := entries(t, v)[0]
					f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
						if key != "k" || r.URL.Query().Has("tagging") {
							return false
						}
						c.d.deliver(w, r, e.ETag, stored, c.body)
						return true
					})
					var got []byte
					var err error
					for range wrongReads + 1 { // as the engine does, which lists it again in between
						if got, err = readAll(v, e); !errors.Is(err, source.ErrChanged) {
							break
						}
					}
					var u *source.Unreadable
					switch {
					case c.want == "" && (err != nil || !bytes.Equal(got, stored)):
						t.Errorf("%d bytes: %v", len(got), err)
					case c.want != "" && (!errors.As(err, &u) || !strings.Contains(u.Reason, c.want)):
						t.Errorf("%d bytes: %v", len(got), err)
					}
					if got, err := readAll(v, entries(t, v)[1]); err != nil || string(got) != "beside it" {
						t.Errorf("the object beside it: %q, %v", got, err)
					}
				})
			}
		}
	}
}

// TestStoredFormKept: what helped once is asked for first the next time.
func TestStoredFormKept(t *testing.T) {
	f, o := newFake(t)
	packed, text := []byte("packed"), []byte("unpacked")
	for i := range 5 {
		f.put(fmt.Sprint(i), packed)
	}
	f.parts = true
	v := mustFreeze(t, o)
	gets := 0
	f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
		if key == "" || r.URL.Query().Has("tagging") {
			return false
		}
		gets++
		delivery{chunked: true, gzipAware: true}.deliver(w, r, f.tag(packed), packed, text)
		return true
	})
	for _, e := range entries(t, v) {
		if got, err := readAll(v, e); err != nil || !bytes.Equal(got, packed) || e.ContentEncoding != "gzip" {
			t.Errorf("%q %v", got, err)
		}
	}
	if gets != 6 {
		t.Errorf("%d requests for 5 objects", gets)
	}
	if h := v.Habits(); len(h) != 1 || h[0].Name != "gzip" {
		t.Errorf("%v", h)
	}
}

// TestLookedAtUnpacked: a HEAD that gives the length of what it would unpack is asked again for what is stored.
func TestLookedAtUnpacked(t *testing.T) {
	f, o := newFake(t)
	f.put("k", []byte("packed"))
	v := mustFreeze(t, o)
	e := entries(t, v)[0]
	f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
		if r.Method != http.MethodHead {
			return false
		}
		w.Header().Set("ETag", `"`+e.ETag+`"`)
		w.Header().Set("Content-Length", "99")
		if r.Header.Get("Accept-Encoding") == "gzip" {
			w.Header().Set("Content-Length", "6")
		}
		return true
	})
	e.Recheck = true
	if err := v.Complete(t.Context(), e); err != nil {
		t.Error(err)
	}
}

// TestRangesAgree: a range is the one that was asked for, of an object as long as the listed one.
func TestRangesAgree(t *testing.T) {
	body := sourcetest.Content(1, 1000)
	for total, ok := range map[string]bool{"": true, "bytes 100-199/1001": false, "bytes 100-198/1000": false, "bytes 101-200/1000": false, "bytes 100-199/*": false} {
		f, o := newFake(t)
		f.put("k", body)
		v := mustFreeze(t, o)
		e := entries(t, v)[0]
		f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
			if key == "" {
				return false
			}
			delivery{ranges: true, total: total}.deliver(w, r, e.ETag, body, body)
			return true
		})
		r, err := v.Open(t.Context(), e, 100, 100)
		if err == nil {
			var got []byte
			got, err = io.ReadAll(r)
			if _ = r.Close(); err == nil && !bytes.Equal(got, body[100:200]) {
				t.Errorf("%s: other bytes", total)
			}
		}
		if (err == nil) != ok {
			t.Errorf("content range %q: %v", total, err)
		}
	}
}

// TestEndlessHeaders: an answer whose headers never end costs that object.
func TestEndlessHeaders(t *testing.T) {
	f, o := newFake(t)
	f.put("k", []byte("x"))
	v := mustFreeze(t, o)
	e := entries(t, v)[0]
	f.answer(func(w http.ResponseWriter, _ *http.Request, key string) bool {
		if key == "" {
			return false
		}
		c, _, err := w.(http.Hijacker).Hijack() //nolint:forcetypeassert // it is one
		if err != nil {
			panic(err)
		}
		defer c.Close() //nolint:errcheck // test
		flood(c)
		return true
	})
	_, err := readAll(v, e)
	if u, ok := errors.AsType[*source.Unreadable](err); !ok || !strings.Contains(u.Reason, "not HTTP") {
		t.Error(err)
	}
}

// flood writes headers until nobody takes them.
func flood(c net.Conn) {
	_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
	line := "X-Filler: " + strings.Repeat("x", 8000) + "\r\n"
	for err == nil {
		_, err = io.WriteString(c, line)
	}
}

// TestRewrittenEncoding: a front that rewrites Accept-Encoding breaks no signature, since that header is not in it.
func TestRewrittenEncoding(t *testing.T) {
	f := newBareFake()
	f.put("k", []byte("x"))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := r.Header.Get("Authorization"); a == "" || strings.Contains(a, "accept-encoding") || !strings.Contains(a, "host;") {
			t.Errorf("%s %s is signed %q", r.Method, r.URL, a)
		}
		if r.Header.Get("Accept-Encoding") == "" {
			t.Errorf("%s %s accepts whatever the server likes", r.Method, r.URL)
		}
		f.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	v := mustFreeze(t, Options{Bucket: "bucket", Endpoint: srv.URL, PathStyle: true,
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"})})
	if _, err := readAll(v, entries(t, v)[0]); err != nil {
		t.Error(err)
	}
}
