package s3source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestConformanceFake runs the suite over keys that only AWS takes, in pages so small that every boundary is met.
func TestConformanceFake(t *testing.T) {
	keys := append(sourcetest.DefaultKeys(), "x", "x/y", "a//b", "./x", "../y", "/lead", "x/", "\x01\x02", "a b+c%2F", "\uE000", strings.Repeat("k", 1024))
	for _, page := range []int{1, 7} {
		t.Run(fmt.Sprint(page), func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Harness{Keys: keys, Pinned: true, New: func(t *testing.T) *sourcetest.Fixture {
				f, o := newFake(t)
				f.page = page
				s, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				return &sourcetest.Fixture{
					Source: s,
					Put: func(_ *testing.T, key string, body []byte) {
						f.drop(key)
						f.put(key, body)
					},
					Delete: func(_ *testing.T, key string) { f.drop(key) },
					Deny: func(_ *testing.T, key string) {
						f.answer(func(w http.ResponseWriter, _ *http.Request, k string) bool {
							if k == key {
								refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
							}
							return k == key
						})
					},
				}
			}})
		})
	}
}

func (f *fake) drop(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items = slices.DeleteFunc(f.items, func(i fakeItem) bool { return i.key == key })
}

func (f *fake) answer(h func(http.ResponseWriter, *http.Request, string) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// TestHistory: a key with more versions than are held at once comes whole, oldest first.
func TestHistory(t *testing.T) {
	f, o := newFake(t)
	const held, n = 40, 2*40 + 13
	for _, key := range []string{"a", "k", "z"} {
		count := 1
		if key == "k" {
			count = n
		}
		for i := range count {
			f.items = append(f.items, fakeItem{key: key, version: fmt.Sprintf("v%08d", count-i), body: []byte("x"), marker: i%3 == 1, at: time.Now().Add(-time.Hour)})
		}
	}
	o.Versions = "all"
	f.page = 7
	v := mustFreeze(t, o)
	v.held = held
	es := entries(t, v)
	if len(es) != n+2 || es[0].Key != "a" || es[n+1].Key != "z" {
		t.Fatalf("%d entries", len(es))
	}
	for i, e := range es[1 : n+1] {
		if want := fmt.Sprintf("v%08d", i+1); e.Version != want || (e.Kind == format.KindMarker) != ((n-i-1)%3 == 1) {
			t.Fatalf("entry %d is version %s (%s), want %s", i, e.Version, e.Kind, want)
		}
	}
	// A version that vanishes between the two listings must not become a gap.
	var last error
	for e, err := range v.Entries(context.Background(), "", "") {
		last = err
		if e == nil || e.Key != "k" {
			continue
		}
		f.mu.Lock()
		f.items = slices.DeleteFunc(f.items, func(i fakeItem) bool { return i.version == fmt.Sprintf("v%08d", n-held+1) })
		f.mu.Unlock()
	}
	if !errors.Is(last, store.ErrListing) {
		t.Errorf("a version removed while it was listed: %v", last)
	}
}

// TestFreezeAll: what is written after Freeze is not of the view; what has a time from the far future is.
func TestFreezeAll(t *testing.T) {
	f, o := newFake(t)
	o.Versions = "all"
	f.put("old", nil)
	f.put("just after", nil)
	f.put("future", nil)
	for i := range f.items {
		switch f.items[i].key {
		case "just after":
			f.items[i].at = time.Now().Add(slack + 3*time.Second)
		case "future":
			f.items[i].at = time.Now().Add(24 * time.Hour)
		}
	}
	var keys []string
	for _, e := range entries(t, mustFreeze(t, o)) {
		keys = append(keys, e.Key)
	}
	if !slices.Equal(keys, []string{"future", "old"}) {
		t.Errorf("%q", keys)
	}
}

func TestBadListings(t *testing.T) {
	item := func(key string) string { return "<Contents><Key>" + key + "</Key><Size>1</Size></Contents>" }
	for name, body := range map[string]string{
		"repeated":        item("a") + item("a"),
		"standing still":  item("a") + "<IsTruncated>true</IsTruncated><NextContinuationToken></NextContinuationToken>",
		"outside":         item("zzz"),
		"no key":          "<Contents><Size>1</Size></Contents>",
		"cut off":         item("p/a") + "<Contents>",
		"endless, no key": "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
	} {
		f, o := newFake(t)
		o.Prefix = "p/"
		v := mustFreeze(t, o)
		if !strings.Contains(name, "outside") {
			body = strings.ReplaceAll(strings.ReplaceAll(body, "<Key>a", "<Key>p/a"), "<Key>b", "<Key>p/b")
		}
		f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			_, _ = io.WriteString(w, "<ListBucketResult>"+body+"</ListBucketResult>")
			return true
		})
		var last error
		for _, err := range v.Entries(context.Background(), "", "") {
			last = err
		}
		if last == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAnswers(t *testing.T) {
	unreadable := func(reason string, accepted bool) func(error) bool {
		return func(err error) bool {
			var u *source.Unreadable
			return errors.As(err, &u) && u.Key == "k" && u.Reason == reason && u.Accepted == accepted
		}
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) && !errors.As(err, new(*source.Unreadable)) }
	}
	for _, c := range []struct {
		status        int
		code, message string
		edit          func(*Options)
		ok            func(error) bool
	}{
		{403, "InvalidObjectState", "The operation is not valid for the object's storage class", nil, unreadable("archived (GLACIER)", true)},
		{403, "InvalidObjectState", "The operation is not valid for the object's storage class", func(o *Options) { o.Archived = "fail" }, unreadable("archived (GLACIER)", false)},
		{403, "AccessDenied", "Access Denied", nil, unreadable("access denied", false)},
		{403, "AccessDenied", "User: x is not authorized to perform: kms:Decrypt on y", nil, unreadable("access denied (kms:Decrypt)", false)},
		{400, "KMS.DisabledException", "the key is disabled", nil, unreadable("KMS key cannot be used (KMS.DisabledException)", false)},
		{400, "InvalidRequest", "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.", nil, unreadable("encrypted with a customer's key (SSE-C)", false)},
		{500, "InternalError", "We encountered an internal error. Please try again.", nil, unreadable("server error (InternalError)", false)},
		{404, "NoSuchKey", "x", nil, is(source.ErrGone)}, {404, "NoSuchVersion", "x", nil, is(source.ErrGone)},
		{412, "PreconditionFailed", "x", nil, is(source.ErrChanged)},
		{404, "NoSuchBucket", "x", nil, is(store.ErrNotFound)},
		{403, "InvalidAccessKeyId", "x", nil, is(store.ErrCredentials)}, {400, "ExpiredToken", "x", nil, is(store.ErrCredentials)},
		{403, "SignatureDoesNotMatch", "x", nil, is(store.ErrCredentials)}, {403, "RequestTimeTooSkewed", "x", nil, is(store.ErrClock)},
		{503, "SlowDown", "Please reduce your request rate.", nil, is(store.ErrThrottled)}, {503, "ServiceUnavailable", "x", nil, is(store.ErrTransient)},
	} {
		f, o := newFake(t)
		f.put("k", []byte("content"))
		if c.edit != nil {
			c.edit(&o)
		}
		v := mustFreeze(t, o)
		e := entries(t, v)[0]
		f.answer(func(w http.ResponseWriter, _ *http.Request, key string) bool {
			refuse(w, c.status, c.code, c.message)
			return true
		})
		_, err := readAll(v, e)
		if !c.ok(err) {
			t.Errorf("%d %s %s: %v", c.status, c.code, c.message, err)
		}
		if strings.Contains(fmt.Sprint(err), "hidden-secret") {
			t.Errorf("a secret in %v", err)
		}
	}
}

func TestListingDenied(t *testing.T) {
	for versions, right := range map[string]string{"current": "s3:ListBucket ", "all": "s3:ListBucketVersions "} {
		f, o := newFake(t)
		o.Versions = versions
		f.answer(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
			return true
		})
		s, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Freeze(t.Context()); !errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), right) {
			t.Errorf("%v", err)
		}
	}
	_, o := newFake(t)
	o.Credentials = func(context.Context) (store.Credentials, error) {
		return store.Credentials{}, errors.New("no such profile")
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.Freeze(t.Context()); !errors.Is(err, store.ErrCredentials) || !strings.Contains(err.Error(), "no such profile") {
		t.Errorf("%v", err)
	}
}

// TestResume: streams that break off, stall or lie are taken up where they stopped, and the whole is still checked.
func TestResume(t *testing.T) {
	body := sourcetest.Content(3, 1<<20)
	for _, how := range []string{"break", "stall"} {
		f, o := newFake(t)
		f.put("k", body)
		v := mustFreeze(t, o)
		e := entries(t, v)[0]
		var gets atomic.Int32
		f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
			if key == "" || r.URL.Query().Has("tagging") || gets.Add(1) > 3 {
				return false
			}
			from := 0
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			if from > 0 {
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
			}
			w.Header().Set("ETag", `"`+e.ETag+`"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)-from))
			if from > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			_, _ = w.Write(body[from : from+200_000])
			w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
			if how == "stall" {
				<-r.Context().Done()
			}
			panic(http.ErrAbortHandler)
		})
		got, err := readAll(v, e)
		if err != nil || !bytes.Equal(got, body) || gets.Load() != 4 {
			t.Errorf("%s: %d bytes after %d requests: %v", how, len(got), gets.Load(), err)
		}
	}
}

func TestNeverResumes(t *testing.T) {
	f, o := newFake(t)
	f.put("k", sourcetest.Content(3, 1<<20))
	v := mustFreeze(t, o)
	e := entries(t, v)[0]
	f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
		if r.URL.Query().Has("tagging") {
			return false
		}
		w.Header().Set("ETag", `"`+e.ETag+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(1<<20))
		w.Header().Set("Content-Range", "bytes 0-1048575/1048576")
		w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one
		panic(http.ErrAbortHandler)
	})
	_, err := readAll(v, e)
	var u *source.Unreadable
	if !errors.As(err, &u) || u.Reason != "stream breaks off" {
		t.Error(err)
	}
}

// TestCorrupt: wrong bytes are read again, and called corrupt when they stay wrong.
func TestCorrupt(t *testing.T) {
	for _, size := range []int{100, 1 << 20} {
		body := sourcetest.Content(4, size)
		wrong := bytes.Clone(body)
		wrong[size/2] ^= 1
		right := sha256.Sum256(body)
		for _, header := range [][]string{nil, {"x-amz-checksum-sha256", base64.StdEncoding.EncodeToString(right[:])}} {
			f, o := newFake(t)
			f.put("k", body, header...)
			v := mustFreeze(t, o)
			e := entries(t, v)[0]
			var gets atomic.Int32
			times := int32(1)
			f.answer(func(w http.ResponseWriter, r *http.Request, key string) bool {
				if key == "" || r.URL.Query().Has("tagging") || gets.Add(1) > times {
					return false
				}
				w.Header().Set("ETag", `"`+e.ETag+`"`)
				if header != nil {
					w.Header().Set(header[0], header[1])
				}
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, _ = w.Write(wrong)
				return true
			})
			got, err := readAll(v, e)
			if size == 100 && (err != nil || !bytes.Equal(got, body)) { // read again inside Open
				t.Errorf("once wrong, %d bytes: %v", size, err)
			}
			if size > 100 && (!errors.Is(err, source.ErrChanged) || len(got) >= size) {
				t.Errorf("once wrong, %d bytes: got %d, %v", size, len(got), err)
			}
			times = 1000
			for range wrongReads {
				_, err = readAll(v, e)
			}
			if !errors.Is(err, source.ErrCorrupt) || errors.Is(err, source.ErrChanged) {
				t.Errorf("wrong for good: %v", err)
			}
		}
	}
}

// TestTagsAsked: a server that never says how many tags there are is asked for every object.
func TestTagsAsked(t *testing.T) {
	f, o := newFake(t)
	f.put("a", []byte("x"))
	f.put("b", []byte("x"))
	f.put("c", []byte("x"), "x-amz-tagging-count", "1")
	f.put("d", []byte("x"))
	read := func(v *view) string {
		var got string
		for _, e := range entries(t, v) {
			if _, err := readAll(v, e); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf("%s:%s:%v ", e.Key, e.Tags["asked"], e.TagsRead > 0)
		}
		return got
	}
	// The fake gives tags that its GET did not announce: from then on only asking counts.
	if got := read(mustFreeze(t, o)); got != "a:yes:true b:yes:true c:yes:true d:yes:true " {
		t.Error(got)
	}
	o.SkipTags = true
	if got := read(mustFreeze(t, o)); got != "a::false b::false c::false d::false " {
		t.Error(got)
	}
	o.SkipTags = false
	f.answer(func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if r.URL.Query().Has("tagging") {
			refuse(w, http.StatusForbidden, "AccessDenied", "Access Denied")
			return true
		}
		return false
	})
	v := mustFreeze(t, o)
	var u *source.Unreadable
	if _, err := readAll(v, entries(t, v)[0]); !errors.As(err, &u) || !strings.Contains(err.Error(), "s3:GetObjectTagging") {
		t.Error(err)
	}
}

// TestExclude and headers that need care.
func TestHeaders(t *testing.T) {
	f, o := newFake(t)
	o.Exclude = []string{"tmp/**"}
	pays := true
	o.RequestPayer = &pays
	f.put("tmp/x", nil)
	f.put("k", []byte("x"), "Content-Encoding", "gzip,aws-chunked", "x-amz-missing-meta", "2", "Expires", "never",
		"x-amz-meta-A", "b\u00e9", "x-amz-website-redirect-location", "/other", "x-amz-checksum-crc32", "AAAA-2", "x-amz-checksum-type", "COMPOSITE")
	f.answer(func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		if r.Header.Get("x-amz-request-payer") != "requester" {
			t.Errorf("%s %s without requester pays", r.Method, r.URL)
		}
		return false
	})
	v := mustFreeze(t, o)
	es := entries(t, v)
	if len(es) != 1 {
		t.Fatalf("%d entries", len(es))
	}
	e := es[0]
	if _, err := readAll(v, e); err != nil {
		t.Fatal(err)
	}
	if e.ContentEncoding != "gzip" || e.MissingMeta != 2 || e.Expires != "never" || e.Metadata["a"] != "b\u00e9" || e.WebsiteRedirect != "/other" ||
		e.Checksums["crc32"] != "AAAA-2" || e.ChecksumType != "COMPOSITE" {
		t.Errorf("%+v", e)
	}
}

func TestReadOnlyTransport(t *testing.T) {
	sent := false
	rt := awsclient.Gets{Next: roundTrip(func(*http.Request) (*http.Response, error) { sent = true; return nil, io.EOF })}
	for _, m := range []string{"PUT", "POST", "DELETE", "PATCH", "OPTIONS"} {
		req, err := http.NewRequestWithContext(t.Context(), m, "http://x/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rt.RoundTrip(req); err == nil || sent { //nolint:bodyclose // there is none
			t.Errorf("%s was sent", m)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

// TestEnvironment: nothing in the environment changes where requests go.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_CA_BUNDLE", "/does/not/exist.pem")
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
	t.Setenv("AWS_ACCESS_KEY_ID", "other")
	f, o := newFake(t)
	f.put("k", []byte("x"))
	o.Transport = http.DefaultTransport
	v := mustFreeze(t, o)
	if es := entries(t, v); len(es) != 1 {
		t.Errorf("%d entries", len(es))
	}
}

// TestConnectionsClosed: a closed view keeps no connection open.
func TestConnectionsClosed(t *testing.T) {
	var open atomic.Int32
	f := newBareFake()
	srv := httptest.NewUnstartedServer(f)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	srv.Start()
	defer srv.Close()
	f.put("k", []byte("x"))
	s, err := New(Options{Bucket: "bucket", Endpoint: srv.URL, PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(v, entries(t, v)[0]); err != nil {
		t.Fatal(err)
	}
	if open.Load() == 0 {
		t.Error("connections are not reused")
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if open.Load() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d connections are still open", open.Load())
}

// TestPins: reads ask for what was listed, and do not believe a server that does not listen.
func TestPins(t *testing.T) {
	f, o := newFake(t)
	f.put("k", []byte("old"))
	for _, versions := range []string{"current", "all"} {
		o.Versions = versions
		v := mustFreeze(t, o)
		e := entries(t, v)[0]
		other, deaf := *e, false
		other.ETag = strings.Repeat("0", 32)
		f.answer(func(_ http.ResponseWriter, r *http.Request, key string) bool {
			if key == "" || r.URL.Query().Has("tagging") {
				return false
			}
			if m := r.Header.Get("If-Match"); m != `"`+e.ETag+`"` && m != `"`+other.ETag+`"` {
				t.Errorf("If-Match is %q", m)
			}
			if got := r.URL.Query().Get("versionId"); got != e.Version {
				t.Errorf("%s: version %q instead of %q", versions, got, e.Version)
			}
			if deaf {
				r.Header.Del("If-Match")
			}
			return false
		})
		if got, err := readAll(v, e); err != nil || string(got) != "old" {
			t.Errorf("%q, %v", got, err)
		}
		for _, deaf = range []bool{false, true} {
			if _, err := readAll(v, &other); !errors.Is(err, source.ErrChanged) {
				t.Errorf("%s, server deaf %v: %v", versions, deaf, err)
			}
		}
	}
}

// TestGarbled: servers that do not follow encoding-type=url list keys with control characters under other names and, by
// those, out of order. All the others are listed and read; these come by the names they have, once, and are not found.
func TestGarbled(t *testing.T) {
	for _, versions := range []string{"current", "all"} {
		for _, page := range []int{1000, 3} {
			f, o := newFake(t)
			f.plain, f.page, o.Versions = true, page, versions
			for _, k := range []string{"\x01", " leading", "a\x1fb", "a b", "a\x02", "a\x03", "tab\tx", "b", "z\uFFFDtrue"} {
				f.put(k, []byte(k))
			}
			f.put("a\x1fb", []byte("again"))
			v := mustFreeze(t, o)
			var got, want []string
			for e, err := range v.Entries(t.Context(), "", "") {
				if page == 3 { // a page ends with such a key: going on there would skip what follows
					if err == nil {
						continue
					}
					if !errors.Is(err, store.ErrListing) || !strings.Contains(err.Error(), "encoding-type") {
						t.Errorf("error is %v", err)
					}
					got = append(got, "refused")
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.Key)
				if _, err := readAll(v, e); (err != nil) != (strings.Contains(e.Key, "\uFFFD") && e.Key != "z\uFFFDtrue") || err != nil && !errors.Is(err, source.ErrGone) {
					t.Errorf("%q: %v", e.Key, err)
				}
			}
			switch {
			case page == 3:
				want = []string{"refused"}
			case versions == "all": // versions tell apart what one name cannot
				want = []string{" leading", "a b", "a\uFFFD", "a\uFFFD", "a\uFFFDb", "a\uFFFDb", "b", "tab\tx", "z\uFFFDtrue", "\uFFFD"}
			default:
				want = []string{" leading", "a b", "a\uFFFD", "a\uFFFDb", "b", "tab\tx", "z\uFFFDtrue", "\uFFFD"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, pages of %d: %q instead of %q", versions, page, got, want)
			}
		}
	}
}
