package tobucket_test

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// stored is an object of the habits server.
type stored struct {
	body   []byte
	header http.Header
	tags   map[string]string
	etag   string
	parts  string // the sum of the parts' SHA-256
	hidden int    // HEADs that do not see it yet
	sha    string
}

// habits is an unversioned S3 server with ways of its own. What it does by itself is what AWS documents of PUT, HEAD, the
// calls of a multipart upload and of tags; each field is one deviation.
type habits struct {
	noSums        bool // keeps no SHA-256 (Ceph RGW 16)
	opaqueETags   bool // 32 hex digits that are no MD5 (SSE-KMS; lakeFS)
	constantETags bool // the same for every content
	noPartTags    bool // ignores tags on CreateMultipartUpload (Ceph RGW)
	noCount       bool // gives no x-amz-tagging-count
	noTagging     bool // 501 to GetObjectTagging
	lag           int  // HEADs answered 404 after a PUT
	errorIn200    int  // answers so many completions 200 with an error in the body, and completes the upload all the same
	failIn200     bool // answers each so, and completes none
	store         func(key string, body []byte) []byte
	keep          func(h http.Header) // changes what is kept of a PUT's headers
	refuse        func(key string) string
	blind         bool                  // 403 to HEAD
	shifted       bool                  // answers a PUT with another ETag than it shows afterwards
	order         func(a, b string) int // of its listings, and what start-after means; nil: bytes
	modified      string                // LastModified in listings, as it is written there
	dated         string                // Last-Modified of objects; empty: right
	page          int                   // names in an answer; 0: all

	mu      sync.Mutex
	objects map[string]*stored
	uploads map[string]*uploading
	calls   map[string]int
	serial  int
}

type uploading struct {
	header http.Header
	parts  map[string][]byte
}

func (s *habits) fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (s *habits) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects, s.uploads, s.calls = map[string]*stored{}, map[string]*uploading{}, map[string]int{}
	}
	q := req.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	has := func(name string) bool { _, ok := q[name]; return ok }
	what := req.Method
	for _, sub := range []string{"tagging", "uploads", "uploadId", "versioning", "versions", "list-type", "object-lock"} {
		if has(sub) {
			what += " " + sub
		}
	}
	s.calls[what]++
	switch what {
	case "GET versioning":
		_, _ = io.WriteString(w, "<VersioningConfiguration/>")
	case "GET list-type":
		s.list(w, q)
	case "HEAD", "GET":
		s.get(w, req, key)
	case "PUT":
		if code := s.refused(key); code != "" {
			s.fail(w, http.StatusBadRequest, code)
			return
		}
		o := s.put(key, body, req.Header, fmt.Sprintf("%x", md5.Sum(body)))
		o.sha = req.Header.Get("X-Amz-Checksum-Sha256")
		if sum := sha256.Sum256(body); o.sha != "" && o.sha != base64.StdEncoding.EncodeToString(sum[:]) && !s.noSums {
			s.fail(w, http.StatusBadRequest, "XAmzContentChecksumMismatch")
			return
		}
		w.Header().Set("ETag", `"`+o.etag+`"`)
		if s.shifted {
			w.Header().Set("ETag", `"`+strings.Repeat("0", 32)+`"`)
		}
	case "DELETE":
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case "GET tagging", "PUT tagging", "DELETE tagging":
		s.tagging(w, req.Method, key, body)
	default:
		s.upload(w, req, what, key, q, body)
	}
}

func (s *habits) refused(key string) string {
	if s.refuse == nil {
		return ""
	}
	return s.refuse(key)
}

func (s *habits) put(key string, body []byte, h http.Header, etag string) *stored {
	if s.store != nil {
		body = s.store(key, bytes.Clone(body))
		sum := fmt.Sprintf("%x", md5.Sum(body))
		if i := strings.Index(etag, "-"); i >= 0 {
			sum += etag[i:]
		}
		etag = sum
	}
	s.serial++
	switch {
	case s.opaqueETags:
		etag = fmt.Sprintf("%x", md5.Sum(fmt.Appendf(nil, "%s %d", key, s.serial)))
	case s.constantETags:
		etag = strings.Repeat("ab", 16)
	}
	tags, _ := url.ParseQuery(h.Get("X-Amz-Tagging"))
	o := &stored{body: body, header: h.Clone(), etag: etag, hidden: s.lag, tags: map[string]string{}}
	for k := range tags {
		o.tags[k] = tags.Get(k)
	}
	if s.keep != nil {
		s.keep(o.header)
	}
	s.objects[key] = o
	return o
}

func (s *habits) get(w http.ResponseWriter, req *http.Request, key string) {
	o := s.objects[key]
	switch {
	case key == "":
		return
	case s.blind:
		w.WriteHeader(http.StatusForbidden)
		return
	case o == nil || o.hidden > 0:
		if o != nil {
			o.hidden--
		}
		w.WriteHeader(http.StatusNotFound)
		return
	}
	for name, v := range o.header {
		if strings.HasPrefix(name, "X-Amz-Meta-") || strings.HasPrefix(name, "Content-") && name != "Content-Md5" ||
			slices.Contains([]string{"Cache-Control", "Expires", "X-Amz-Website-Redirect-Location", "X-Amz-Storage-Class"}, name) {
			w.Header()[name] = v
		}
	}
	h := w.Header()
	h.Set("Content-Length", fmt.Sprint(len(o.body)))
	h.Set("ETag", `"`+o.etag+`"`)
	h.Set("Last-Modified", cmp.Or(s.dated, time.Now().UTC().Format(http.TimeFormat)))
	if !s.noSums && cmp.Or(o.sha, o.parts) != "" {
		h.Set("X-Amz-Checksum-Sha256", cmp.Or(o.sha, o.parts))
	}
	if n := len(o.tags); n > 0 && !s.noCount {
		h.Set("X-Amz-Tagging-Count", fmt.Sprint(n))
	}
	if req.Method == http.MethodGet {
		_, _ = w.Write(o.body)
	}
}

func (s *habits) list(w http.ResponseWriter, q url.Values) {
	order := s.order
	if order == nil {
		order = strings.Compare
	}
	keys := slices.DeleteFunc(slices.SortedFunc(maps.Keys(s.objects), order), func(k string) bool {
		return !strings.HasPrefix(k, q.Get("prefix")) || q.Get("start-after") != "" && order(k, q.Get("start-after")) <= 0
	})
	more := s.page > 0 && len(keys) > s.page
	if more {
		keys = keys[:s.page]
	}
	_, _ = fmt.Fprintf(w, "<ListBucketResult><IsTruncated>%v</IsTruncated>", more)
	for _, k := range keys {
		_, _ = fmt.Fprintf(w, "<Contents><Key>")
		_ = xml.EscapeText(w, []byte(k))
		_, _ = fmt.Fprintf(w, "</Key><Size>%d</Size><ETag>%s</ETag>%s</Contents>", len(s.objects[k].body), s.objects[k].etag, s.modified)
	}
	_, _ = io.WriteString(w, "</ListBucketResult>")
}

type tagSet struct {
	Tags []struct{ Key, Value string } `xml:"TagSet>Tag"`
}

func (s *habits) tagging(w http.ResponseWriter, method, key string, body []byte) {
	o := s.objects[key]
	switch {
	case s.noTagging && method == http.MethodGet:
		s.fail(w, http.StatusNotImplemented, "NotImplemented")
	case o == nil:
		s.fail(w, http.StatusNotFound, "NoSuchKey")
	case method == http.MethodGet:
		_, _ = io.WriteString(w, "<Tagging><TagSet>")
		for k, v := range o.tags {
			_, _ = fmt.Fprintf(w, "<Tag><Key>%s</Key><Value>%s</Value></Tag>", k, v)
		}
		_, _ = io.WriteString(w, "</TagSet></Tagging>")
	default:
		o.tags = map[string]string{}
		var set tagSet
		_ = xml.Unmarshal(body, &set)
		for _, t := range set.Tags {
			o.tags[t.Key] = t.Value
		}
	}
}

func (s *habits) upload(w http.ResponseWriter, req *http.Request, what, key string, q url.Values, body []byte) {
	id := q.Get("uploadId")
	u := s.uploads[id]
	if u == nil && what != "POST uploads" {
		s.fail(w, http.StatusNotFound, "NoSuchUpload")
		return
	}
	switch what {
	case "POST uploads":
		s.serial++
		id = fmt.Sprint(s.serial)
		h := req.Header.Clone()
		if s.noPartTags {
			h.Del("X-Amz-Tagging")
		}
		s.uploads[id] = &uploading{header: h, parts: map[string][]byte{}}
		_, _ = fmt.Fprintf(w, "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>", id)
	case "PUT uploadId":
		u.parts[fmt.Sprintf("%05s", q.Get("partNumber"))] = body
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, md5.Sum(body)))
	case "DELETE uploadId":
		delete(s.uploads, id)
		w.WriteHeader(http.StatusNoContent)
	case "GET uploadId": // ListParts
		_, _ = io.WriteString(w, "<ListPartsResult></ListPartsResult>")
	case "POST uploadId":
		// "A request could return a 200 OK response and then fail": the body says so.
		if s.failIn200 {
			_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
			return
		}
		var all, sums, shas []byte
		for _, n := range slices.Sorted(maps.Keys(u.parts)) {
			b := u.parts[n]
			m, h := md5.Sum(b), sha256.Sum256(b)
			all, sums, shas = append(all, b...), append(sums, m[:]...), append(shas, h[:]...)
		}
		h := sha256.Sum256(shas)
		o := s.put(key, all, u.header, fmt.Sprintf("%x-%d", md5.Sum(sums), len(u.parts)))
		o.parts = fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h[:]), len(u.parts))
		delete(s.uploads, id)
		if s.errorIn200 > 0 {
			s.errorIn200--
			_, _ = io.WriteString(w, "<Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>")
			return
		}
		_, _ = fmt.Fprintf(w, "<CompleteMultipartUploadResult><ETag>%s</ETag></CompleteMultipartUploadResult>", o.etag)
	}
}

func (s *habits) target(t *testing.T, prefix string) *tobucket.Target {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	target, err := tobucket.New(tobucket.Options{
		Bucket: "bucket", Prefix: prefix, Endpoint: srv.URL, PathStyle: true, MaxBackoff: 2 * time.Millisecond,
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}),
	})
	must(t, err)
	return target
}

// made is a point, and what is in it.
type made struct {
	*restoretest.Repo
	*format.Commit
	bodies map[string][]byte
}

// point makes one of entries with content of these sizes.
func point(t *testing.T, sizes map[string]int, change func(*format.Entry)) *made {
	t.Helper()
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	bodies := map[string][]byte{}
	for _, k := range slices.Sorted(maps.Keys(sizes)) {
		e := full(k)
		if change != nil {
			change(&e)
		}
		bodies[k] = random(uint64(len(bodies)+7), sizes[k])
		src.PutEntry(e, bodies[k])
	}
	return &made{r, r.Backup(src), bodies}
}

func failures(res restore.Result) string {
	var out []string
	for _, f := range res.Failures {
		out = append(out, f.Error())
	}
	return strings.Join(out, "\n")
}

const large = 65 << 20

// What a restore set it asks back, whatever ways the target has: nothing is lost without a word, and nothing that is right
// is taken for wrong.
func TestWaysOfServers(t *testing.T) {
	whole := t
	plain := map[bool]*made{} // points of entries that are not changed, with a large one and without
	for _, c := range []struct {
		name   string
		server *habits
		change func(*format.Entry)
		says   string   // of every failure; "": there is none
		fails  []string // keys
		notes  string
		again  bool // a second run with changed may put something
		large  bool // with an object that goes in parts
		names  bool // never takes for a difference what the server added
	}{
		{name: "none", server: &habits{}, large: true},
		{name: "no SHA-256", server: &habits{noSums: true}, large: true},
		{name: "no SHA-256, ETags that are no MD5", server: &habits{noSums: true, opaqueETags: true}, again: true, large: true},
		{name: "no count of tags", server: &habits{noCount: true}},
		{name: "tags of uploads in parts are ignored", server: &habits{noPartTags: true}, large: true},
		{name: "the same, and no count of tags", server: &habits{noPartTags: true, noCount: true, noSums: true}, large: true},
		{name: "no tagging", server: &habits{noTagging: true, noPartTags: true, noCount: true}, notes: "tags could not be read", large: true},
		{name: "HEAD lags", server: &habits{lag: 3}},
		{name: "HEAD lags for ever", server: &habits{lag: 1 << 30}, says: "shows something else: nothing", fails: []string{"small", "middle", "empty"}, again: true},
		{name: "an error in a 200, and the upload done", server: &habits{errorIn200: 1}, large: true},
		{name: "an error in a 200, and not done", server: &habits{failIn200: true}, says: "AccessDenied", fails: []string{"large"}, again: true, large: true},
		{name: "other bytes", server: &habits{store: flip, noSums: true}, says: "shows something else", fails: []string{"small", "middle", "large"}, again: true, large: true},
		{name: "half of it", server: &habits{store: func(_ string, b []byte) []byte { return b[:len(b)/2] }, noSums: true}, says: "bytes, not", fails: []string{"small", "middle", "large"}, again: true, large: true},
		{name: "a header lost", server: &habits{keep: without("Content-Language")}, says: `Content-Language is not set, not "de"`, fails: []string{"small", "middle", "empty"}, again: true},
		{name: "metadata lost", server: &habits{keep: without("X-Amz-Meta-Why")}, says: "metadata why is missing", fails: []string{"small", "middle", "empty"}, again: true},
		{name: "a date written anew", server: &habits{keep: func(h http.Header) { h.Set("Expires", "Wednesday, 21-Oct-26 07:28:00 GMT") }}},
		{name: "an encoding of the way", server: &habits{keep: func(h http.Header) { h.Set("Content-Encoding", "aws-chunked,br") }}},
		{name: "a type of its own", server: &habits{keep: func(h http.Header) { h.Set("Content-Type", "binary/octet-stream") }}, change: func(e *format.Entry) { e.ContentType = "" }},
		{name: "a redirect lost", server: &habits{keep: without("X-Amz-Website-Redirect-Location")}, change: func(e *format.Entry) { e.WebsiteRedirect = "/x" }, notes: "website redirect locations", again: true},
		{name: "an Expires that is no date lost", server: &habits{keep: without("Expires")}, change: func(e *format.Entry) { e.Expires = "never" }, notes: "Expires headers that are no dates", again: true},
		{name: "a class lost", server: &habits{keep: without("X-Amz-Storage-Class")}, change: func(e *format.Entry) { e.StorageClass = "STANDARD_IA" }, notes: "the storage class STANDARD_IA"},
		{name: "empty metadata lost", server: &habits{keep: without("X-Amz-Meta-Void")}, change: func(e *format.Entry) { e.Metadata["void"] = "" }, notes: "metadata without a value", again: true},
		{name: "metadata called otherwise", server: &habits{keep: func(h http.Header) { h.Set("X-Amz-Meta-A-B", h.Get("X-Amz-Meta-A_b")); h.Del("X-Amz-Meta-A_b") }}, change: func(e *format.Entry) { e.Metadata["a_b"] = "1" }, notes: "metadata names", again: true},
		{name: "metadata of its own", server: &habits{keep: func(h http.Header) { h.Set("X-Amz-Meta-Gateway", "1") }}, notes: "metadata without its own gateway", again: true, names: true},
		{name: "keys it refuses", server: &habits{refuse: func(k string) string {
			if k == "in/middle" {
				return "InvalidObjectName"
			}
			return ""
		}}, says: "cannot hold the key", fails: []string{"middle"}, again: true},
		{name: "objects dated without a zone", server: &habits{dated: "2026-01-02T03:04:05"}},
		{name: "listing times without a zone", server: &habits{modified: "<LastModified>2026-01-02T03:04:05</LastModified>"}},
		{name: "listing times of another form", server: &habits{modified: "<LastModified>Fri, 02 Jan 2026 03:04:05 GMT</LastModified>"}},
		{name: "listing times that are none", server: &habits{modified: "<LastModified/><LastModified>yesterday</LastModified>"}},
		{name: "no right to look", server: &habits{blind: true}, notes: "could not be looked at", again: true},
	} {
		if testing.Short() && c.large && c.server.noSums {
			continue // under the race detector; whole without
		}
		t.Run(c.name, func(t *testing.T) {
			sizes := map[string]int{"small": 100, "middle": 5 << 20, "empty": 0}
			if c.large {
				sizes["large"] = large
			}
			p := plain[c.large]
			switch {
			case c.change != nil:
				p = point(t, sizes, c.change)
			case p == nil:
				p = point(whole, sizes, nil)
				plain[c.large] = p
			}
			s := c.server
			do := func(o restore.Overwrite) restore.Result {
				return run(t, restore.Options{Reader: p.Reader(nil), Commit: p.Commit, Target: s.target(t, "in/"), Overwrite: o})
			}
			res := do(restore.Never)
			if int(res.Failed) != len(c.fails) || int(res.Entries) != len(sizes)-len(c.fails) || res.Differs > 0 {
				t.Fatalf("%+v", res)
			}
			for _, f := range res.Failures {
				if !slices.Contains(c.fails, f.Key) || !strings.Contains(f.Error(), c.says) {
					t.Errorf("%v; should say %q", f, c.says)
				}
			}
			if notes := strings.Join(res.Notes, "\n"); c.notes == "" && notes != "" || !strings.Contains(notes, c.notes) {
				t.Errorf("notes: %q, want %q", notes, c.notes)
			}
			for k, b := range p.bodies {
				if o := s.objects["in/"+k]; !slices.Contains(c.fails, k) && (!bytes.Equal(o.body, b) || !s.noTagging && !maps.Equal(o.tags, full(k).Tags)) {
					t.Errorf("%q: %d bytes, tags %v", k, len(o.body), o.tags)
				}
			}
			if len(s.uploads) > 0 {
				t.Errorf("%d uploads left", len(s.uploads))
			}
			if len(c.fails) > 0 || s.blind {
				return
			}
			if res = do(restore.Never); int(res.Skipped) != len(sizes) || res.Differs > 0 && !c.names {
				t.Errorf("never again: %+v", res)
			}
			if res = do(restore.Changed); res.Failed > 0 || res.Differs > 0 || !c.again && res.Entries > 0 {
				t.Errorf("changed: %+v", res)
			}
			if len(s.uploads) > 0 {
				t.Errorf("%d uploads left", len(s.uploads))
			}
		})
	}
}

func flip(_ string, b []byte) []byte {
	if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return b
}

func without(name string) func(http.Header) { return func(h http.Header) { h.Del(name) } }

// Other bytes of the same size are found by changed, however little the target says of content.
func TestOtherBytesOfTheSameSize(t *testing.T) {
	sizes := map[string]int{"small": 100, "middle": 6 << 20, "large": large, "right": 100, "right large": large}
	for _, c := range []struct {
		name   string
		server *habits
	}{
		{"SHA-256", &habits{}},
		{"MD5", &habits{noSums: true}},
		{"ETags that are no MD5", &habits{noSums: true, opaqueETags: true}},
		{"ETags that are always the same", &habits{noSums: true, constantETags: true}},
	} {
		if testing.Short() && c.server.noSums && !c.server.constantETags {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			p := point(t, sizes, func(e *format.Entry) {
				if c.server.constantETags {
					e.ETag = strings.Repeat("ab", 16)
				}
			})
			s := c.server
			do := func() restore.Result {
				return run(t, restore.Options{Reader: p.Reader(nil), Commit: p.Commit, Target: s.target(t, ""), Overwrite: restore.Changed})
			}
			if res := do(); res.Failed > 0 {
				t.Fatalf("%s", failures(res))
			}
			for _, k := range []string{"small", "middle", "large"} {
				o := s.objects[k]
				o.body = flip(k, bytes.Clone(o.body))
				sum := sha256.Sum256(o.body)
				if k == "large" {
					sum = sha256.Sum256(sum[:])
					o.parts = base64.StdEncoding.EncodeToString(sum[:]) + o.parts[strings.Index(o.parts, "-"):]
					if !s.opaqueETags && !s.constantETags {
						o.etag = fmt.Sprintf("%x", md5.Sum(o.body)) + o.etag[strings.Index(o.etag, "-"):]
					}
					continue
				}
				o.sha = base64.StdEncoding.EncodeToString(sum[:])
				if !s.opaqueETags && !s.constantETags {
					o.etag = fmt.Sprintf("%x", md5.Sum(o.body))
				}
			}
			res := do()
			if res.Failed > 0 || res.Entries < 3 || !s.opaqueETags && !s.constantETags && (res.Entries != 3 || res.Skipped != 2) {
				t.Errorf("%+v\n%s", res, failures(res))
			}
			for k, b := range p.bodies {
				if !bytes.Equal(s.objects[k].body, b) {
					t.Errorf("%q was left as it was", k)
				}
			}
		})
	}
}

// What a server loses of each object is said of each, however many there are, and ends nothing.
func TestManyLosses(t *testing.T) {
	sizes := map[string]int{}
	for i := range 250 {
		sizes[fmt.Sprintf("%03d", i)] = i
	}
	p := point(t, sizes, nil)
	s := &habits{keep: without("Content-Disposition")}
	res := run(t, restore.Options{Reader: p.Reader(nil), Commit: p.Commit, Target: s.target(t, "")})
	if int(res.Failed) != len(sizes) || len(s.objects) != len(sizes) {
		t.Errorf("%d failed, %d are there", res.Failed, len(s.objects))
	}
	if !strings.Contains(failures(res), "Content-Disposition is not set") {
		t.Errorf("%s", failures(res)[:200])
	}
}

// A server that gives another ETag afterwards than it gave to the PUT costs waiting once.
func TestOtherETagsAfterwards(t *testing.T) {
	p := point(t, map[string]int{"a": 1, "b": 10, "c": 6 << 20}, nil)
	s := &habits{shifted: true}
	for _, o := range []restore.Overwrite{restore.Never, restore.Changed} {
		res := run(t, restore.Options{Reader: p.Reader(nil), Commit: p.Commit, Target: s.target(t, ""), Overwrite: o})
		if res.Failed+res.Differs > 0 || o == restore.Changed && res.Entries > 0 {
			t.Errorf("%s: %+v", o, res)
		}
	}
	if heads := s.calls["HEAD"]; heads > 40 {
		t.Errorf("%d HEADs for 3 objects", heads)
	}
}
