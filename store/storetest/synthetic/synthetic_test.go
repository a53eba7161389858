package synthetic

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// client is somebody else's, which signs as it sees fit.
func client(t testing.TB, s *Server) *minio.Core {
	t.Helper()
	rt := &http.Transport{DisableCompression: true}
	t.Cleanup(rt.CloseIdleConnections)
	c, err := minio.NewCore(s.addr, &minio.Options{
		Creds: credentials.NewStaticV4(s.creds.AccessKeyID, s.creds.SecretAccessKey, ""), Region: Region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: 1, Transport: rt,
	})
	must(t, err)
	return c
}

// ask sends a signed request, spelled by the caller, straight to the handler.
func ask(t testing.TB, s *Server, method, path, query string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	u := &url.URL{Scheme: "http", Host: s.addr, Path: path, RawQuery: query}
	req, err := http.NewRequestWithContext(context.Background(), method, u.String(), nil)
	must(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	req = signer.SignV4(*req, s.creds.AccessKeyID, s.creds.SecretAccessKey, "", Region)
	return send(t, req)
}

func send(t testing.TB, req *http.Request) (int, http.Header, []byte) {
	t.Helper()
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, resp.Header, b
}

func TestShapesAreInOrder(t *testing.T) {
	for name, shape := range shapes() {
		t.Run(name, func(t *testing.T) {
			last := ""
			for i := range shape.Len {
				k := shape.Key(i)
				if k <= last {
					t.Fatalf("%d: %q after %q", i, k, last)
				}
				last = k
				if got := shape.Search(k); got != i {
					t.Fatalf("%q is %d, found at %d", k, i, got)
				}
				if got := shape.Search(k + "\x00"); got != i+1 {
					t.Fatalf("after %q comes %d, found %d", k, i+1, got)
				}
			}
			if shape.Search("") != 0 || shape.Search("\xff") != shape.Len {
				t.Error("the ends")
			}
		})
	}
}

func shapes() map[string]Shape {
	return map[string]Shape{
		"flat": Flat(123), "one": Flat(1), "deep": Deep(300, 5, 2), "skewed": Skewed(150), "skewed 128": Skewed(128), "none": Flat(0),
		"joined": Join([]string{"a/", "b/", "c/", "d/"}, []Shape{Flat(10), Flat(0), Skewed(33), Deep(50, 3, 2)}),
		"odd":    Keys("x", "x/y", "a//b", "/lead", "./x", "../y", "x", "\x01", "\U0001F600", "\uE000"),
	}
}

// naive is what a listing should say, by looking at everything.
func naive(s *Server) (out []string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	s.from("", func(r record) bool {
		if v := newestOf(s, &r); !v.marker {
			out = append(out, r.Key)
		}
		return true
	})
	return out
}

// Pages of any size, from any place, under any prefix, give exactly what is there.
func TestPagesAddUp(t *testing.T) {
	all := shapes()
	rapid.Check(t, func(rt *rapid.T) {
		shape := all[rapid.SampledFrom(slices.Sorted(maps.Keys(all))).Draw(rt, "shape")]
		s := &Server{o: Options{Bucket: "b", Shape: shape, Describe: describe, Now: time.Now, PageSize: rapid.IntRange(1, 60).Draw(rt, "page")}, edits: map[string]*edit{}}
		for _, i := range rapid.SliceOfN(rapid.Int64Range(0, max(shape.Len-1, 0)), 0, 20).Draw(rt, "deleted") {
			if shape.Len > 0 {
				must(t, s.Delete(shape.Key(i)))
			}
		}
		for _, k := range rapid.SliceOfN(rapid.StringMatching(`[a-z0-9/.-]{1,12}`), 0, 20).Draw(rt, "added") {
			_ = s.Add(Object{Key: k}) // twice is refused
		}
		there := naive(s)
		after := rapid.SampledFrom(append([]string{"", "~"}, there...)).Draw(rt, "after")
		prefix := ""
		if len(there) > 0 && rapid.Bool().Draw(rt, "prefixed") {
			k := rapid.SampledFrom(there).Draw(rt, "of")
			prefix = k[:rapid.IntRange(0, len(k)).Draw(rt, "letters")]
		}
		var want []string
		for _, k := range there {
			if k > after && strings.HasPrefix(k, prefix) {
				want = append(want, k)
			}
		}
		var got []string
		q := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "start-after": {after}, "prefix": {prefix}}
		for pages := 0; ; pages++ {
			w := &recorder{}
			if f := s.list(w, q); f != nil {
				rt.Fatalf("%+v", f)
			}
			var p struct {
				IsTruncated           bool
				NextContinuationToken string
				Contents              []struct{ Key string }
			}
			if err := xml.Unmarshal(w.body, &p); err != nil {
				rt.Fatal(err)
			}
			for _, c := range p.Contents {
				k, err := url.PathUnescape(c.Key)
				if err != nil {
					rt.Fatal(err)
				}
				got = append(got, k)
			}
			if !p.IsTruncated {
				break
			}
			if len(p.Contents) != s.o.PageSize || pages > len(there) {
				rt.Fatalf("page of %d entries", len(p.Contents))
			}
			q.Set("continuation-token", p.NextContinuationToken)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %d keys, want %d: %.300q instead of %.300q", len(got), len(want), got, want)
		}
	})
}

type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}
func (r *recorder) Write(b []byte) (int, error) { r.body = append(r.body, b...); return len(b), nil }
func (*recorder) WriteHeader(int)               {}

// A page far behind costs what the first one does.
func TestAPlaceIsComputed(t *testing.T) {
	asked := 0
	shape := Flat(1 << 40)
	key := shape.Key
	shape.Key = func(i int64) string { asked++; return key(i) }
	s := &Server{o: Options{Bucket: "b", Shape: shape, Describe: describe, PageSize: 10}, edits: map[string]*edit{}}
	w := &recorder{}
	if f := s.list(w, url.Values{"list-type": {"2"}, "start-after": {key(1<<40 - 100)}}); f != nil {
		t.Fatal(f)
	}
	if !strings.Contains(string(w.body), key(1<<40-99)) || asked > 100 {
		t.Errorf("%d keys were computed for a page of 10: %.200s", asked, w.body)
	}
}

// Somebody else's client reads every kind of key, with its signatures checked.
func TestObjects(t *testing.T) {
	keys := []string{
		"plain", "a b", "a+b", "100%", "%2F", "quote\"'", "ünï", "u\u0308", "\x01\x1f", "tab\tnl\n", "/lead", "a//b", "x", "x/y", "./x", "a/./b", "../y", "a/../../z",
		strings.Repeat("k", 1024), "<&>", "日本/語", "~", "end/", "\U0001F600",
	}
	s := start(t, Options{Shape: Keys(keys...)})
	c := client(t, s)
	ctx := t.Context()
	var got []string
	for o := range c.Client.ListObjectsIter(ctx, s.o.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(t, o.Err)
		got = append(got, o.Key)
	}
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		t.Fatalf("listed %q", got)
	}
	for _, k := range keys {
		want, err := s.Content(k)
		must(t, err)
		status, h, body := ask(t, s, http.MethodGet, "/synthetic/"+k, "", "x-amz-checksum-mode", "ENABLED")
		sum := md5.Sum(want)
		if status != 200 || !bytes.Equal(body, want) || h.Get("ETag") != `"`+hex.EncodeToString(sum[:])+`"` || h.Get("x-amz-checksum-crc64nvme") != checksum(want) {
			t.Errorf("%q: %d %v %q", k, status, h, body)
		}
		o, _ := s.Current(k)
		status, h, body = ask(t, s, http.MethodHead, "/synthetic/"+k, "")
		if status != 200 || len(body) != 0 || h.Get("Content-Type") != o.Headers["Content-Type"] || h.Get("x-amz-meta-serial") != o.Metadata["serial"] ||
			h.Get("Last-Modified") != o.Modified.Format(http.TimeFormat) {
			t.Errorf("%q: %d %v", k, status, h)
		}
		tags, err := c.GetObjectTagging(ctx, s.o.Bucket, k, minio.GetObjectTaggingOptions{})
		must(t, err)
		if !maps.Equal(tags.ToMap(), o.Tags) && len(tags.ToMap())+len(o.Tags) > 0 {
			t.Errorf("%q: tags %v", k, tags)
		}
	}
	st := s.Stats()
	if st.Gets != int64(len(keys)) || st.Heads != int64(len(keys)) || st.Tags != int64(len(keys)) || st.Listed != int64(len(keys)) || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
}

// Any range of a large object is a part of the same whole.
func TestRanges(t *testing.T) {
	const size = 300_001
	s := start(t, Options{Shape: Keys("big"), Describe: func(_ int64, o *Object) { o.Size = size }})
	_, h, whole := ask(t, s, http.MethodGet, "/synthetic/big", "", "If-Match", bigTag(s, t))
	if len(whole) != size || !strings.HasSuffix(h.Get("ETag"), `-1"`) {
		t.Fatalf("%d bytes, %v", len(whole), h)
	}
	for _, c := range []struct {
		header   string
		from, to int
		status   int
	}{
		{"bytes=0-0", 0, 1, 206}, {"bytes=7-99", 7, 100, 206}, {"bytes=65535-", 65535, size, 206}, {"bytes=-13", size - 13, size, 206},
		{"bytes=299999-999999", 299999, size, 206}, {"bytes=9-3", 0, size, 200}, {"bytes=1-2,5-6", 0, size, 200}, {"lines=1-2", 0, size, 200},
		{"bytes=300001-", 0, 0, 416}, {"bytes=-0", 0, 0, 416},
	} {
		status, h, body := ask(t, s, http.MethodGet, "/synthetic/big", "", "Range", c.header)
		if status != c.status || status < 300 && !bytes.Equal(body, whole[c.from:c.to]) {
			t.Errorf("%s: %d, %d bytes", c.header, status, len(body))
		}
		if want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.to-1, size); status == 206 && h.Get("Content-Range") != want {
			t.Errorf("%s: %s", c.header, h.Get("Content-Range"))
		}
	}
}

func bigTag(s *Server, t *testing.T) string {
	_, h, _ := ask(t, s, http.MethodHead, "/synthetic/big", "")
	return h.Get("ETag")
}

func TestVersions(t *testing.T) {
	for _, page := range []int{1, 2, 7, 1000} {
		s := start(t, Options{
			Shape: Flat(20), PageSize: page,
			Versions: func(i int64) int { return int(i%4) + 1 },
			Marker:   func(i int64, n int) bool { return i%5 == 3 && n == int(i%4) },
		})
		must(t, s.Change(s.Key(4)), s.Delete(s.Key(5)), s.Add(Object{Key: "object-04x", Size: 3}))
		want := map[string]int{"object-04x": 1}
		for i := range int64(20) {
			want[s.Key(i)] = int(i%4) + 1
		}
		want[s.Key(4)]++
		want[s.Key(5)]++
		c := client(t, s)
		got, last, seen := map[string]int{}, "", map[string]bool{}
		for o := range c.Client.ListObjectsIter(t.Context(), s.o.Bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
			must(t, o.Err)
			if o.Key < last || seen[o.VersionID] || o.IsLatest != (o.Key != last) {
				t.Fatalf("%s %s latest %v after %s", o.Key, o.VersionID, o.IsLatest, last)
			}
			last, seen[o.VersionID] = o.Key, true
			got[o.Key]++
			status, h, body := ask(t, s, http.MethodGet, "/synthetic/"+o.Key, "versionId="+o.VersionID)
			switch {
			case o.IsDeleteMarker && (status != 405 || h.Get("x-amz-delete-marker") != "true"):
				t.Errorf("%s: a marker: %d", o.Key, status)
			case !o.IsDeleteMarker:
				sum := md5.Sum(body)
				if status != 200 || strings.Trim(o.ETag, `"`) != hex.EncodeToString(sum[:]) || h.Get("x-amz-version-id") != o.VersionID {
					t.Errorf("%s: %d %v", o.Key, status, h)
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("page %d: %v instead of %v", page, got, want)
		}
		if status, h, _ := ask(t, s, http.MethodGet, "/synthetic/"+s.Key(5), ""); status != 404 || h.Get("x-amz-delete-marker") != "true" {
			t.Errorf("a deleted object: %d %v", status, h)
		}
	}
}

func TestEdits(t *testing.T) {
	s := start(t, Options{Shape: Flat(1000)})
	key := s.Key(503)
	get := func() (int, string, string, http.Header) {
		status, h, body := ask(t, s, http.MethodGet, "/synthetic/"+key, "")
		return status, string(body), h.Get("ETag"), h
	}
	_, first, tag, h := get()
	must(t, s.Retag(key))
	if _, body, same, h2 := get(); body != first || same != tag || h2.Get("Last-Modified") != h.Get("Last-Modified") || h2.Get("x-amz-tagging-count") != "1" {
		t.Errorf("other tags changed more than tags: %v", h2)
	}
	if o, ok := s.Current(key); !ok || o.Tags["retagged"] != "1" {
		t.Errorf("%+v", o)
	}
	must(t, s.Change(key))
	if _, body, other, _ := get(); body == first || len(body) != len(first) || other == tag {
		t.Errorf("not changed: %q %s", body, other)
	}
	must(t, s.Unreadable(key, 1))
	if status, _, _, _ := get(); status != http.StatusForbidden {
		t.Errorf("it was to be refused: %d", status)
	}
	if status, _, _, _ := get(); status != http.StatusOK {
		t.Errorf("it was to be refused once: %d", status)
	}
	must(t, s.Delete(key), s.Add(Object{Key: "new", Size: 70_000}))
	if status, _, _, _ := get(); status != http.StatusNotFound {
		t.Errorf("deleted: %d", status)
	}
	if b, err := s.Content("new"); err != nil || len(b) != 70_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	for what, err := range map[string]error{
		"added twice": s.Add(Object{Key: "new"}), "added over the formula": s.Add(Object{Key: s.Key(1)}), "changed what is not": s.Change("nothing"), "retagged what is not": s.Retag("nothing"),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

// What S3 refuses is refused, by its name.
func TestRefusals(t *testing.T) {
	s := start(t, Options{Shape: Flat(10)})
	v := start(t, Options{Shape: Flat(10), Versions: func(int64) int { return 2 }})
	for _, c := range []struct {
		s                   *Server
		method, path, query string
		status              int
		code                string
	}{
		{s, "PUT", "/synthetic/new", "", 405, "MethodNotAllowed"},
		{s, "DELETE", "/synthetic/object-1", "", 405, "MethodNotAllowed"},
		{s, "GET", "/other/object-1", "", 404, "NoSuchBucket"},
		{s, "GET", "/synthetic/none", "", 404, "NoSuchKey"},
		{s, "GET", "/synthetic/" + strings.Repeat("k", 1025), "", 400, "KeyTooLongError"},
		{s, "GET", "/synthetic/\xff", "", 400, "InvalidURI"},
		{s, "GET", "/synthetic/object-1", "versionId=0123", 400, "InvalidArgument"},
		{v, "GET", "/synthetic/object-1", "versionId=012345678901234567890123", 404, "NoSuchVersion"},
		{v, "GET", "/synthetic/object-1", "versionId=null", 400, "InvalidArgument"},
		{s, "GET", "/synthetic/object-1", "acl=", 501, "NotImplemented"},
		{s, "GET", "/synthetic/", "", 501, "NotImplemented"},
		{s, "GET", "/synthetic/", "list-type=2&delimiter=%2F", 501, "NotImplemented"},
		{s, "GET", "/synthetic/", "list-type=2&max-keys=-1", 400, "InvalidArgument"},
		{s, "GET", "/synthetic/", "list-type=2&max-keys=many", 400, "InvalidArgument"},
		{s, "GET", "/synthetic/", "list-type=2&encoding-type=base64", 400, "InvalidArgument"},
		{s, "GET", "/synthetic/", "list-type=2&continuation-token=object-1", 400, "InvalidArgument"},
		{v, "GET", "/synthetic/", "versions=&version-id-marker=012345678901234567890123", 400, "InvalidArgument"},
		{v, "GET", "/synthetic/", "versions=&key-marker=object-1&version-id-marker=012345678901234567890123", 400, "InvalidArgument"},
	} {
		status, _, body := ask(t, c.s, c.method, c.path, c.query)
		if status != c.status || !strings.Contains(string(body), "<Code>"+c.code+"</Code>") {
			t.Errorf("%s %.40s?%s: %d %s", c.method, c.path, c.query, status, body)
		}
	}
	if status, _, _ := ask(t, s, "GET", "/synthetic/object-1", "", "If-Match", `"other"`); status != 412 {
		t.Errorf("If-Match: %d", status)
	}
}

// Requests that are not signed, or not as they should be, are refused.
func TestSignatures(t *testing.T) {
	s := start(t, Options{Shape: Keys("a", "x/../y")})
	build := func(path string) *http.Request {
		u := &url.URL{Scheme: "http", Host: s.addr, Path: path}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil)
		must(t, err)
		req.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		return req
	}
	signed := func(req *http.Request, id, secret, region string) *http.Request {
		return signer.SignV4(*req, id, secret, "", region)
	}
	id, secret := s.creds.AccessKeyID, s.creds.SecretAccessKey
	changed := signed(build("/synthetic/a"), id, secret, Region)
	changed.URL.Path = "/synthetic/y" // what a client that cleans paths sends
	added := signed(build("/synthetic/a"), id, secret, Region)
	added.Header.Set("X-Amz-Request-Payer", "requester")
	late := signed(build("/synthetic/a"), id, secret, Region)
	now := time.Now().UTC()
	skewed := now.Add(-16 * time.Minute)
	if skewed.Day() != now.Day() { // another day than the signature's is another mistake
		skewed = now.Add(16 * time.Minute)
	}
	late.Header.Set("X-Amz-Date", skewed.Format(dateFormat))
	for name, c := range map[string]struct {
		req    *http.Request
		status int
		code   string
	}{
		"right":             {signed(build("/synthetic/x/../y"), id, secret, Region), 200, ""},
		"none":              {build("/synthetic/a"), 403, "AccessDenied"},
		"another key":       {signed(build("/synthetic/a"), "AKIANOBODY", secret, Region), 403, "InvalidAccessKeyId"},
		"another secret":    {signed(build("/synthetic/a"), id, "wrong", Region), 403, "SignatureDoesNotMatch"},
		"another region":    {signed(build("/synthetic/a"), id, secret, "eu-west-1"), 400, "AuthorizationHeaderMalformed"},
		"another path":      {changed, 403, "SignatureDoesNotMatch"},
		"a header unsigned": {added, 403, "AccessDenied"},
		"old":               {late, 403, "RequestTimeTooSkewed"},
	} {
		status, _, body := send(t, c.req)
		if status != c.status || !strings.Contains(string(body), c.code) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func BenchmarkListPage(b *testing.B) {
	s := &Server{o: Options{Bucket: "b", Shape: Flat(1_000_000), Describe: describe, PageSize: 1000}, edits: map[string]*edit{}}
	q := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "start-after": {s.Key(500_000)}}
	for b.Loop() {
		if f := s.list(&recorder{}, q); f != nil {
			b.Fatal(f)
		}
	}
}
