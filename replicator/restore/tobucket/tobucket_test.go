package tobucket_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

var pool servers.Pool

func TestMain(m *testing.M) { os.Exit(pool.Run(m)) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	g := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = g.Read(b)
	return b
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// bucket makes an empty one.
func bucket(t *testing.T, s *servers.Server, versioned bool) string {
	t.Helper()
	name := fmt.Sprintf("b%x", rand.Uint64())
	must(t, s.Admin().MakeBucket(t.Context(), name, minio.MakeBucketOptions{}))
	if versioned {
		must(t, s.Admin().EnableVersioning(t.Context(), name))
	}
	return name
}

func into(t *testing.T, s *servers.Server, name string) *tobucket.Target {
	t.Helper()
	target, err := tobucket.New(tobucket.Options{
		Bucket: name, Endpoint: s.Endpoint, Region: servers.Region, PathStyle: true, Credentials: fixed.Credentials(s.Root), MaxBackoff: time.Second,
	})
	must(t, err)
	return target
}

func run(t *testing.T, o restore.Options) restore.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	res, err := restore.Run(ctx, o)
	if err != nil {
		t.Fatalf("%+v: %v", res, err)
	}
	return res
}

func contents(t *testing.T, s *servers.Server, name string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for info := range s.Admin().ListObjects(t.Context(), name, minio.ListObjectsOptions{Recursive: true}) {
		must(t, info.Err)
		out[info.Key] = get(t, s, name, info.Key, "")
	}
	return out
}

func get(t *testing.T, s *servers.Server, name, key, version string) []byte {
	t.Helper()
	o, err := s.Admin().GetObject(t.Context(), name, key, minio.GetObjectOptions{VersionID: version})
	must(t, err)
	b, err := io.ReadAll(o)
	must(t, err, o.Close())
	return b
}

func puts(s *servers.Server) int {
	n := 0
	for _, r := range s.Log() {
		if r.Method == http.MethodPut || r.Method == http.MethodPost {
			n++
		}
	}
	return n
}

func TestObjectsComeBackWithAllTheyHad(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			s := pool.Get(t, kind)
			name := bucket(t, s, false)
			r := restoretest.New(t)
			src := memsource.New(memsource.Options{})
			want := map[string][]byte{
				"plain": []byte("x"), "empty": {}, "dir/a b+c&d=é.txt": []byte("q"), "z/mid": random(1, 6<<20), "z/single": random(2, 40<<20), "z/parts": random(3, 70<<20),
			}
			for i := range 60 {
				want[fmt.Sprintf("many/%03d", i)] = random(uint64(i), 2000)
			}
			for k, b := range want {
				src.PutEntry(format.Entry{Key: k}, b)
			}
			rich := format.Entry{
				Key: "rich", ContentType: "text/x-y; charset=utf-8", ContentEncoding: "gzip", ContentLanguage: "de", ContentDisposition: `attachment; filename="a b"`,
				CacheControl: "max-age=3", Metadata: map[string]string{"who": "me", "mtime": "12.5"}, Tags: map[string]string{"a b": "c=d/e +", "k": ""}, StorageClass: "GLACIER",
			}
			src.PutEntry(rich, []byte("rich"))
			want["rich"] = []byte("rich")
			c := r.Backup(src)
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Memory: 64 << 20})
			if res.Failed != 0 || res.Entries != int64(len(want)) {
				t.Fatalf("%+v", res)
			}
			got := contents(t, s, name)
			for k, b := range want {
				if !bytes.Equal(got[k], b) {
					t.Errorf("%q: %d bytes, want %d", k, len(got[k]), len(b))
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d objects, want %d", len(got), len(want))
			}
			st, err := s.Admin().StatObject(t.Context(), name, "rich", minio.StatObjectOptions{})
			must(t, err)
			h := st.Metadata
			if st.ContentType != rich.ContentType || h.Get("Content-Encoding") != "gzip" || h.Get("Content-Disposition") != rich.ContentDisposition ||
				h.Get("Cache-Control") != rich.CacheControl || h.Get("Content-Language") != "de" || h.Get("X-Amz-Meta-Who") != "me" || h.Get("X-Amz-Meta-Mtime") != "12.5" {
				t.Errorf("headers: %v", h)
			}
			tags, err := s.Admin().GetObjectTagging(t.Context(), name, "rich", minio.GetObjectTaggingOptions{})
			must(t, err)
			if !maps.Equal(tags.ToMap(), rich.Tags) {
				t.Errorf("tags: %v", tags.ToMap())
			}
			if !slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, "archive") }) {
				t.Errorf("notes: %q", res.Notes)
			}

			// What is there and right is not sent again; what is not, is.
			must(t, s.Admin().RemoveObject(t.Context(), name, "many/007", minio.RemoveObjectOptions{}))
			_, err = s.Admin().PutObject(t.Context(), name, "many/008", bytes.NewReader(random(99, 2000)), 2000, minio.PutObjectOptions{})
			must(t, err)
			s.ResetLog()
			res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Overwrite: restore.Changed})
			if res.Failed != 0 || res.Entries != 2 || puts(s) != 2 {
				t.Errorf("%d puts, %+v", puts(s), res)
			}
			for k, b := range contents(t, s, name) {
				if !bytes.Equal(want[k], b) {
					t.Errorf("%q differs after the second run", k)
				}
			}
			_, err = s.Admin().PutObject(t.Context(), name, "plain", strings.NewReader("mine"), 4, minio.PutObjectOptions{})
			must(t, err)
			res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name)})
			if res.Entries != 0 || string(get(t, s, name, "plain", "")) != "mine" {
				t.Errorf("never: %+v", res)
			}
			for u := range s.Admin().ListIncompleteUploads(t.Context(), name, "", true) {
				t.Errorf("upload left: %+v", u)
			}
		})
	}
}

func TestVersionsAreReplayed(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			s := pool.Get(t, kind)
			r := restoretest.New(t)
			src := memsource.New(memsource.Options{AllVersions: true})
			for i := range 3 {
				src.Put("a", fmt.Appendf(nil, "version %d", i))
				src.Put("big", random(uint64(i), 9<<20))
			}
			src.Put("gone", []byte("was here"))
			src.Delete("gone")
			c := r.Backup(src)
			plain, versioned := bucket(t, s, false), bucket(t, s, true)
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, plain)})
			if got := contents(t, s, plain); res.Failed != 0 || len(got) != 2 || string(got["a"]) != "version 2" {
				t.Errorf("%+v: %d objects", res, len(got))
			}
			for n := range 2 {
				res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, versioned), Overwrite: restore.Changed})
				if res.Failed != 0 || n == 0 && res.Entries != 8 || n == 1 && res.Skipped != 8 {
					t.Errorf("%+v", res)
				}
			}
			var got []string
			seen := map[string]bool{}
			for info := range s.Admin().ListObjects(t.Context(), versioned, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
				must(t, info.Err)
				if seen[info.Key+info.VersionID] {
					continue
				}
				seen[info.Key+info.VersionID] = true
				what := "marker"
				if !info.IsDeleteMarker {
					what = fmt.Sprintf("%x", sha256.Sum256(get(t, s, versioned, info.Key, info.VersionID)))[:8]
				}
				got = append(got, info.Key+" "+what)
			}
			var want []string
			for i := 2; i >= 0; i-- {
				want = append(want, fmt.Sprintf("a %x", sha256.Sum256(fmt.Appendf(nil, "version %d", i)))[:10])
			}
			for i := 2; i >= 0; i-- {
				want = append(want, fmt.Sprintf("big %x", sha256.Sum256(random(uint64(i), 9<<20)))[:12])
			}
			want = append(want, "gone marker", fmt.Sprintf("gone %x", sha256.Sum256([]byte("was here")))[:13])
			// versitygw lists markers before all else.
			slices.SortStableFunc(got, func(a, b string) int {
				return strings.Compare(a[:strings.IndexByte(a, ' ')], b[:strings.IndexByte(b, ' ')])
			})
			if !slices.Equal(got, want) {
				t.Errorf("versions:\n got %q\nwant %q", got, want)
			}
		})
	}
}

// A server that takes a//b for a/b must not lose one of them silently.
func TestKeysTheServerCannotHold(t *testing.T) {
	for _, kind := range servers.Both(t) {
		t.Run(string(kind), func(t *testing.T) {
			s := pool.Get(t, kind)
			name := bucket(t, s, false)
			r := restoretest.New(t)
			src := memsource.New(memsource.Options{})
			odd := []string{"a//b", "/lead", "./x", "y/../z"}
			for _, k := range append(odd, "a/b", "lead", "x", "z") {
				src.Put(k, []byte("of "+k))
			}
			c := r.Backup(src)
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name)})
			failed := map[string]bool{}
			for _, f := range res.Failures {
				if !errors.Is(f, restore.ErrRefused) || !slices.Contains(odd, f.Key) {
					t.Errorf("%v", f)
				}
				failed[f.Key] = true
			}
			t.Logf("%s refuses %v", kind, slices.Sorted(maps.Keys(failed)))
			for _, k := range []string{"a/b", "lead", "x", "z"} {
				if b := get(t, s, name, k, ""); string(b) != "of "+k {
					t.Errorf("%q holds %q", k, b)
				}
			}
			for _, k := range odd {
				if failed[k] {
					continue
				}
				if b := get(t, s, name, k, ""); string(b) != "of "+k {
					t.Errorf("%q holds %q", k, b)
				}
			}
			for k := range contents(t, s, name) {
				if strings.Contains(k, "probe") {
					t.Errorf("%q was left", k)
				}
			}
		})
	}
}

// recorder is a server that takes keys exactly as they are.
type recorder struct {
	mu      sync.Mutex
	objects map[string]*http.Request
	fail    int // answers 503 to so many PUTs
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	key, _, _ := strings.Cut(strings.TrimPrefix(req.RequestURI, "/bucket/"), "?")
	switch {
	case req.URL.RawQuery == "versioning=":
		_, _ = io.WriteString(w, "<VersioningConfiguration/>")
	case req.Method == http.MethodPut && s.fail > 0:
		s.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
	case req.Method == http.MethodPut:
		if fmt.Sprintf("%x", sha256.Sum256(body)) != req.Header.Get("X-Amz-Content-Sha256") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s.objects[key] = req
	case req.Method == http.MethodHead && strings.HasPrefix(req.RequestURI, "/bucket/"):
		o := s.objects[key]
		if o == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		for name, v := range o.Header {
			if name == "Expires" || strings.HasPrefix(name, "Content-") || name == "X-Amz-Website-Redirect-Location" || name == "X-Amz-Storage-Class" || name == "X-Amz-Checksum-Sha256" {
				w.Header()[name] = v
			}
		}
	case req.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestKeysAndHeadersGoOutExactly(t *testing.T) {
	rec := &recorder{objects: map[string]*http.Request{}, fail: 3}
	srv := httptest.NewServer(rec)
	defer srv.Close()
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	keys := []string{"a//b", "/lead", "./x", "y/../z", "a b", "p+q", "100%", "ünï", "trail/", "//", "q?x=1#f"}
	for _, k := range keys {
		src.PutEntry(format.Entry{Key: k, Expires: "next tuesday", WebsiteRedirect: "/elsewhere", StorageClass: "STANDARD_IA"}, random(1, 5<<20))
	}
	c := r.Backup(src)
	target, err := tobucket.New(tobucket.Options{
		Bucket: "bucket", Endpoint: srv.URL, PathStyle: true, Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}), MaxBackoff: 10 * time.Millisecond,
	})
	must(t, err)
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: target, Overwrite: restore.Always})
	if res.Failed != 0 {
		t.Fatalf("%+v", res)
	}
	want := []string{"a//b", "/lead", "./x", "y/../z", "a%20b", "p%2Bq", "100%25", "%C3%BCn%C3%AF", "trail/", "//", "q%3Fx%3D1%23f"}
	got := slices.Sorted(maps.Keys(rec.objects))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys\n got %q\nwant %q", got, want)
	}
	for k, req := range rec.objects {
		h := req.Header
		if h.Get("Expires") != "next tuesday" || h.Get("X-Amz-Website-Redirect-Location") != "/elsewhere" || h.Get("X-Amz-Storage-Class") != "STANDARD_IA" ||
			h.Get("X-Amz-Checksum-Sha256") == "" || h.Get("Content-Encoding") != "" || h.Get("X-Amz-Trailer") != "" {
			t.Errorf("%q: %v", k, h)
		}
	}
}

func TestDamageInALargeObjectLeavesNothing(t *testing.T) {
	s := pool.Get(t, servers.KindMinIO)
	name := bucket(t, s, false)
	r := restoretest.New(t)
	body := random(7, 70<<20)
	var frames [][]byte
	for b := range slices.Chunk(body, 4<<20) {
		frames = append(frames, b)
	}
	chunks := append(r.Pack(frames[:8]...), append(r.Pack(frames[8:16]...), r.Pack(frames[16:]...)...)...)
	chunks[17].Sum[0] ^= 1
	lie := restoretest.Object("single", body[:20<<20], chunks[:5]...)
	lie.SHA256[0] ^= 1
	c := r.Point(64, restoretest.Object("a", body, chunks...), restoretest.Object("b", body[:4<<20], chunks[0]), lie)
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name)})
	if res.Failed != 2 || res.Entries != 1 {
		t.Errorf("%+v", res)
	}
	if got := contents(t, s, name); len(got) != 1 || !bytes.Equal(got["b"], body[:4<<20]) {
		t.Errorf("%d objects", len(got))
	}
	for u := range s.Admin().ListIncompleteUploads(t.Context(), name, "", true) {
		t.Errorf("upload left: %+v", u)
	}
}
