package s3source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// fake is the reading half of an S3 server as AWS documents it, for what real servers in a test cannot be made to do:
// every key, pages of any size, thousands of versions, answers of cold storage, streams that break. Its hook may answer
// a request itself.
type fake struct {
	mu    sync.Mutex
	items []fakeItem // by key bytes, newest first
	page  int
	plain bool // do not follow encoding-type=url
	parts bool // ETags are those of uploads in parts

	// Habits of other servers.
	given        func(etag string) string      // the ETag of answers, if it is another than the listed one
	retag        func(key, etag string) string // ETags that are no MD5s
	next         string                        // the element of a listing that says where it goes on; empty: none
	noStartAfter bool
	noMarker     bool
	noMaxKeys    bool
	unversioned  bool   // passes over ?versions
	inclusive    bool   // goes on with the key after which it was asked to
	yes          string // for true
	order        func(a, b string) int
	hook         func(w http.ResponseWriter, r *http.Request, key string) bool
	log          []string
}

type fakeItem struct {
	key, version string
	body         []byte
	marker       bool
	header       http.Header
	at           time.Time
	again        bool // touched
}

// tagOf is the listed ETag of an object.
func (f *fake) tagOf(it *fakeItem) string {
	if f.retag != nil {
		return f.retag(it.key, f.tag(it.body))
	}
	return f.tag(it.body)
}

// tag is the ETag of content.
func (f *fake) tag(body []byte) string {
	sum := md5.Sum(body)
	if f.parts {
		return hex.EncodeToString(sum[:]) + "-2"
	}
	return hex.EncodeToString(sum[:])
}

func newBareFake() *fake {
	return &fake{page: 1000, next: "NextContinuationToken", yes: "true", order: strings.Compare}
}

// touch gives an object another time, as one that is written again.
func (f *fake) touch(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.items {
		if f.items[i].key == key {
			f.items[i].at = f.items[i].at.Add(time.Second)
			f.items[i].again = true
		}
	}
}

func (f *fake) touched(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.items, func(i fakeItem) bool { return i.key == key && i.again })
}

func newFake(t testing.TB) (*fake, Options) {
	t.Helper()
	f := newBareFake()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, Options{
		Bucket: "bucket", Endpoint: srv.URL, PathStyle: true, MaxBackoff: time.Millisecond, IdleTimeout: 500 * time.Millisecond,
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "AKID", SecretAccessKey: "hidden-secret"}),
	}
}

func (f *fake) put(key string, body []byte, header ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	f.items = append(f.items, fakeItem{key: key, version: fmt.Sprintf("v%08d", len(f.items)), body: body, header: h, at: time.Now().Add(-time.Hour)})
	slices.SortStableFunc(f.items, func(a, b fakeItem) int {
		return cmp.Or(f.order(a.key, b.key), strings.Compare(b.version, a.version))
	})
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/bucket"), "/")
	q := r.URL.Query()
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.RequestURI())
	hook := f.hook
	f.mu.Unlock()
	if hook != nil && hook(w, r, key) {
		return
	}
	switch {
	case key == "":
		f.mu.Lock()
		defer f.mu.Unlock()
		f.list(w, q)
	case q.Has("tagging"):
		fmt.Fprint(w, "<Tagging><TagSet><Tag><Key>asked</Key><Value>yes</Value></Tag></TagSet></Tagging>") //nolint:errcheck // test
	default:
		f.get(w, r, key, q.Get("versionId"))
	}
}

func (f *fake) get(w http.ResponseWriter, r *http.Request, key, version string) {
	f.mu.Lock()
	items := slices.Clone(f.items) // a body is sent without the lock
	f.mu.Unlock()
	for i := range items {
		it := &items[i]
		if it.key != key || (version != "" && it.version != version) {
			continue
		}
		if m := r.Header.Get("If-Match"); m != "" && strings.Trim(m, `"`) != f.tagOf(it) {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
			return
		}
		for k, v := range it.header {
			w.Header()[k] = v
		}
		etag := f.tagOf(it)
		if f.given != nil {
			etag = f.given(etag)
		}
		if etag != "" {
			w.Header().Set("ETag", `"`+etag+`"`)
		}
		http.ServeContent(w, r, "", it.at, bytes.NewReader(it.body))
		return
	}
	refuse(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message><StorageClass>GLACIER</StorageClass></Error>", code, message) //nolint:errcheck // test
}

// list gives a page of either kind of listing.
func (f *fake) list(w http.ResponseWriter, q url.Values) {
	versions := q.Has("versions") && !f.unversioned
	limit := f.page
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil && !f.noMaxKeys {
		limit = min(limit, n)
	}
	after, afterVersion := q.Get("start-after"), ""
	if f.noStartAfter {
		after = ""
	}
	if q.Get("list-type") == "" && !versions && !f.noMarker {
		after = q.Get("marker")
	}
	if t := q.Get("continuation-token"); t != "" {
		raw, _ := hex.DecodeString(t)
		after = string(raw)
	}
	if versions {
		after, afterVersion = q.Get("key-marker"), q.Get("version-id-marker")
	}
	encode, encoding := url.QueryEscape, "<EncodingType>url</EncodingType>"
	if f.plain {
		encode, encoding = xmlText, ""
	}
	var b strings.Builder
	n, more := 0, false
	var last, lastVersion string
	for i := range f.items {
		it := &f.items[i]
		if !versions && (it.marker || i > 0 && f.items[i-1].key == it.key) {
			continue
		}
		if !strings.HasPrefix(it.key, q.Get("prefix")) ||
			after != "" && f.order(it.key, after) < 0 || (it.key == after && !f.inclusive && after != "" && (afterVersion == "" || it.version >= afterVersion)) {
			continue
		}
		if n == limit {
			more = true
			break
		}
		n++
		last, lastVersion = it.key, it.version
		kind := "Contents"
		if versions {
			kind = "Version"
			if it.marker {
				kind = "DeleteMarker"
			}
		}
		class := it.header.Get("x-amz-storage-class")
		if class == "" {
			class = "STANDARD"
		}
		fmt.Fprintf(&b, "<%s><Key>%s</Key><VersionId>%s</VersionId><LastModified>%s</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size><StorageClass>%s</StorageClass></%s>",
			kind, encode(it.key), it.version, it.at.UTC().Format("2006-01-02T15:04:05.000Z"), f.tagOf(it), len(it.body), class, kind)
	}
	name := "ListBucketResult"
	if versions {
		name = "ListVersionsResult"
	}
	next := ""
	switch f.next {
	case "":
	case "NextMarker":
		next = "<NextMarker>" + encode(last) + "</NextMarker>"
	default:
		next = "<NextContinuationToken>" + hex.EncodeToString([]byte(last)) + "</NextContinuationToken>"
	}
	if versions {
		next = "<NextKeyMarker>" + encode(last) + "</NextKeyMarker><NextVersionIdMarker>" + lastVersion + "</NextVersionIdMarker>"
	}
	if f.plain && !versions {
		next = "<NextContinuationToken>" + encode(last) + "</NextContinuationToken>"
	}
	if !more {
		next = ""
	}
	fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<%s>%s<IsTruncated>%s</IsTruncated>%s%s</%s>", name, encoding, map[bool]string{true: f.yes, false: "false"}[more], next, b.String(), name) //nolint:errcheck // test
}

// xmlText writes a key as Go servers do that know no other way.
func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // never fails
	return b.String()
}

func mustFreeze(t testing.TB, o Options) *view {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Freeze(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v.(*view) //nolint:forcetypeassert // our own
}

func entries(t testing.TB, v source.View) (out []*format.Entry) {
	t.Helper()
	for e, err := range v.Entries(context.Background(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func readAll(v source.View, e *format.Entry) ([]byte, error) {
	r, err := v.Open(context.Background(), e, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // read only
	return io.ReadAll(r)
}
