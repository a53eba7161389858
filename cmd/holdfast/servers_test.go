package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// TestServers runs testdata/servers/*.txtar: the whole flow between real S3 servers, each user with exactly the policy that
// the documentation gives for it.
func TestServers(t *testing.T) {
	w := &world{t: t, buckets: map[string]*bucket{}}
	cmds := scriptCommands(t)
	maps.Copy(cmds, map[string]scriptCommand{
		"bucket": w.bucket, "user": w.user, "grant": w.grant, "fill": w.fill, "put": w.put, "load": w.load, "wipe": w.wipe, "alike": w.alike, "harmless": w.harmless, "bury": w.bury, "touch": w.touch, "shorten": w.shorten, "history": w.history,
		"front": w.front, "overlay": w.overlay, "uncover": w.uncover, "drop": w.drop, "flood": w.flood, "asked": w.asked, "lots": w.lots, "foretold": foretold,
	})
	testscript.Run(t, testscript.Params{
		Files:               serverScripts(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               bare,
		Cmds:                cmds,
		UpdateScripts:       *update,
	})
}

// serverScripts lists the scripts of TestServers. With -short those that run on either server run on MinIO, and those that hold what
// is said of bad input stay out, as in scripts.
func serverScripts(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/servers/*.txtar")
	if err != nil || len(all) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	if testing.Short() {
		words := []string{"owner-reads", "same-place"}
		all = slices.DeleteFunc(all, func(p string) bool {
			name := strings.TrimSuffix(filepath.Base(p), ".txtar")
			return strings.HasSuffix(name, "-versitygw") || strings.HasPrefix(name, "bad-") || slices.Contains(words, name)
		})
	}
	return all
}

// world is what the scripts of TestServers share.
type world struct {
	t       *testing.T
	mu      sync.Mutex
	buckets map[string]*bucket // by name
}

type bucket struct {
	name   string
	prefix string
	on     *servers.Server // what the program talks to: the server's recording proxy, or the strict one
}

func (w *world) find(ts *testscript.TestScript, variable string) *bucket {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.buckets[ts.Getenv(variable+"_BUCKET")]
	if b == nil {
		ts.Fatalf("there is no bucket %s", variable)
	}
	return b
}

// bucket VARIABLE SERVER OPTION... makes a bucket and sets $VARIABLE to its URL. SERVER is versitygw, minio or gofakes3, with
// strict: before it for a front that refuses what AWS refuses, or skewed: for one whose clock is six minutes ahead.
// OPTIONs: lock, versioning, retention (three days by default), prefix=TEXT.
func (w *world) bucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: bucket VARIABLE SERVER OPTION...")
	}
	front, kind, ok := strings.Cut(args[1], ":")
	if !ok {
		front, kind = "", front
	}
	srv := shared.Get(w.t, servers.Kind(kind))
	var o servers.BucketOptions
	prefix := ""
	for _, a := range args[2:] {
		switch {
		case a == "lock":
			o.Lock = true
		case a == "versioning":
			o.Versioning = true
		case a == "retention":
			o.Lock, o.DefaultRetention = true, 3*24*time.Hour
		case strings.HasPrefix(a, "prefix="):
			prefix = a[len("prefix="):]
		default:
			ts.Fatalf("unknown option %s", a)
		}
	}
	name, err := srv.MakeBucket(context.Background(), o)
	ts.Check(err)
	if o.Lock && o.Versioning {
		ts.Check(srv.Admin().EnableVersioning(context.Background(), name)) // lock means it everywhere but with gofakes3
	}
	b := &bucket{name: name, prefix: prefix, on: srv}
	at := srv.URL(name, prefix)
	switch front {
	case "strict":
		b.on = servers.Strict(w.t, srv)
		at = b.on.URL(name, prefix)
	case "skewed":
		l := srv.Location(name)
		l.Endpoint, l.Prefix = skewed(w.t, srv.Endpoint), prefix
		at = l.String()
	}
	w.mu.Lock()
	w.buckets[name] = b
	w.mu.Unlock()
	ts.Setenv(args[0]+"_BUCKET", name)
	ts.Setenv(args[0], at)
}

// skewed is a front whose answers carry a Date six minutes ahead.
func skewed(t *testing.T, backend string) string {
	to, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(6*time.Minute).UTC().Format(http.TimeFormat))
			return nil
		},
	}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.URL
}

// user VARIABLE BUCKET POLICY makes a user with exactly one policy and sets what env:VARIABLE reads. POLICY is writer, reader
// or source as documented, partial (a source of which only docs/ can be read), or root.
func (w *world) user(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: user VARIABLE BUCKET POLICY")
	}
	b := w.find(ts, args[1])
	var p servers.Policy
	switch args[2] {
	case "writer":
		p = servers.WriterPolicy(b.name)
	case "reader":
		p = servers.ReaderPolicy(b.name)
	case "source":
		p = servers.SourceReaderPolicy(b.name)
	case "partial":
		text := strings.Replace(servers.SourceReaderPolicy(b.name).JSON(), b.name+"/*", b.name+"/docs/*", 1)
		var doc struct{ Statement servers.Policy }
		ts.Check(json.Unmarshal([]byte(text), &doc))
		p = doc.Statement
	case "auditor":
		at, err := vendor.Get(string(b.on.Kind))
		ts.Check(err)
		doc, err := vendor.PolicyFor(at, vendor.Auditor, vendor.PolicyOptions{Bucket: b.name, Prefix: b.prefix, Principal: "whoever", MaxDays: 400})
		ts.Check(err)
		p, err = servers.ParsePolicy(doc.Text)
		ts.Check(err)
	case "root":
	default:
		ts.Fatalf("unknown policy %s", args[2])
	}
	c := b.on.Root
	if p != nil {
		var err error
		w.mu.Lock() // bucket policies are read and written whole
		c, err = b.on.MakeUser(context.Background(), p)
		w.mu.Unlock()
		ts.Check(err)
	}
	ts.Setenv(args[0]+"_ACCESS_KEY_ID", c.AccessKeyID)
	ts.Setenv(args[0]+"_SECRET_ACCESS_KEY", c.SecretAccessKey)
}

// grant USER BUCKET FILE replaces what a user may do by the policy in a file, such as `holdfast policy` prints, and more
// actions after it: on the bucket, and, after "objects", on its objects.
func (w *world) grant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: grant USER BUCKET FILE [ACTION...] [objects ACTION...]")
	}
	b := w.find(ts, args[1])
	p, err := servers.ParsePolicy(ts.ReadFile(args[2]))
	ts.Check(err)
	onBucket, onObjects := args[3:], []string(nil)
	if i := slices.Index(onBucket, "objects"); i >= 0 {
		onBucket, onObjects = onBucket[:i], onBucket[i+1:]
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := store.Credentials{AccessKeyID: ts.Getenv(args[0] + "_ACCESS_KEY_ID"), SecretAccessKey: ts.Getenv(args[0] + "_SECRET_ACCESS_KEY")}
	ts.Check(b.on.SetPolicy(context.Background(), c, p.Allowing(b.name, onBucket, onObjects)))
}

// fill BUCKET puts objects of every kind a user has.
func (w *world) fill(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	random := rand.New(rand.NewPCG(1, 2))
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(random.Uint32())
	}
	for key, content := range map[string][]byte{
		"docs/a.txt": []byte("some text"), "docs/empty": {}, "docs/big": big, "docs/sp ace+ü&.txt": []byte("odd name"), "secret/s": []byte("denied to some"),
	} {
		putObject(ts, b, key, content, minio.PutObjectOptions{
			ContentType: "text/x-test", CacheControl: "max-age=60", ContentDisposition: "inline", ContentLanguage: "de",
			UserMetadata: map[string]string{"owner": "ann", "key-size": fmt.Sprint(len(key))}, UserTags: map[string]string{"class": "a b", "n": "1"},
		})
	}
	for i := range 30 {
		putObject(ts, b, fmt.Sprintf("docs/many/%02d.json", i), []byte(fmt.Sprintf(`{"number":%d}`, i)), minio.PutObjectOptions{ContentType: "application/json"})
	}
}

func putObject(ts *testscript.TestScript, b *bucket, key string, content []byte, o minio.PutObjectOptions) {
	o.SendContentMd5, o.DisableContentSha256 = true, true // else the body comes in signed chunks, which versitygw keeps as a content encoding
	_, err := b.on.Admin().PutObject(context.Background(), b.name, key, bytes.NewReader(content), int64(len(content)), o)
	ts.Check(err)
}

// lots BUCKET PREFIX NUMBER BYTES puts so many objects of so many bytes, half of which shrink to nothing.
func (w *world) lots(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: lots BUCKET PREFIX NUMBER BYTES")
	}
	b := w.find(ts, args[0])
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	bytes, err := strconv.Atoi(args[3])
	ts.Check(err)
	seed := sha256.Sum256([]byte(b.name + args[1]))
	random := rand.NewChaCha8(seed)
	for i := range n {
		content := make([]byte, bytes)
		_, _ = random.Read(content[:bytes/2])
		putObject(ts, b, fmt.Sprintf("%s/%06d", args[1], i), content, minio.PutObjectOptions{})
	}
}

// put BUCKET KEY TEXT puts one object.
func (w *world) put(ts *testscript.TestScript, neg bool, args []string) {
	putObject(ts, w.find(ts, args[0]), args[1], []byte(args[2]), minio.PutObjectOptions{})
}

// load BUCKET DIR puts all files below a directory into a bucket, as a copy of a directory vault.
func (w *world) load(ts *testscript.TestScript, neg bool, args []string) {
	b, dir := w.find(ts, args[0]), ts.MkAbs(args[1])
	ts.Check(filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		putObject(ts, b, filepath.ToSlash(strings.TrimPrefix(path, dir+"/")), content, minio.PutObjectOptions{})
		return nil
	}))
}

// wipe BUCKET deletes every object of a bucket without versions, as an attacker at the primary does.
func (w *world) wipe(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	c := b.on.Admin()
	for o := range c.ListObjects(context.Background(), b.name, minio.ListObjectsOptions{Recursive: true}) {
		ts.Check(o.Err)
		ts.Check(c.RemoveObject(context.Background(), b.name, o.Key, minio.RemoveObjectOptions{}))
	}
}

// bury BUCKET PREFIX lays a delete marker on each object below a prefix, as a stolen administrator's key can.
func (w *world) bury(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	c := b.on.Admin()
	n := 0
	for o := range c.ListObjects(context.Background(), b.name, minio.ListObjectsOptions{Prefix: args[1], Recursive: true}) {
		ts.Check(o.Err)
		ts.Check(c.RemoveObject(context.Background(), b.name, o.Key, minio.RemoveObjectOptions{}))
		n++
	}
	if n == 0 {
		ts.Fatalf("nothing lies below %s", args[1])
	}
}

// object is all a user can see of one.
type object struct {
	Sum      [32]byte
	Headers  map[string]string
	Metadata map[string]string
	Tags     map[string]string
}

func (b *bucket) objects(ts *testscript.TestScript) map[string]object {
	ctx, c := context.Background(), b.on.Admin()
	out := map[string]object{}
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		ts.Check(o.Err)
		r, err := c.GetObject(ctx, b.name, o.Key, minio.GetObjectOptions{})
		ts.Check(err)
		content, err := io.ReadAll(r)
		ts.Check(err)
		info, err := r.Stat()
		ts.Check(err)
		var t *tags.Tags
		t, err = c.GetObjectTagging(ctx, b.name, o.Key, minio.GetObjectTaggingOptions{})
		ts.Check(err)
		x := object{Sum: sha256.Sum256(content), Headers: map[string]string{}, Metadata: map[string]string{}, Tags: t.ToMap()}
		for _, h := range []string{"Content-Type", "Cache-Control", "Content-Disposition", "Content-Language", "Content-Encoding", "Expires"} {
			x.Headers[h] = info.Metadata.Get(h)
		}
		for k, v := range info.UserMetadata {
			x.Metadata[strings.ToLower(k)] = v
		}
		out[o.Key] = x
	}
	return out
}

// alike BUCKET BUCKET demands that two buckets hold the same objects, with headers, metadata and tags.
func (w *world) alike(ts *testscript.TestScript, neg bool, args []string) {
	a, b := w.find(ts, args[0]).objects(ts), w.find(ts, args[1]).objects(ts)
	if len(a) < 30 || !slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) {
		ts.Fatalf("%d and %d objects: %v, %v", len(a), len(b), slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
	}
	for k, x := range a {
		y := b[k]
		if x.Sum != y.Sum || !maps.Equal(x.Headers, y.Headers) || !maps.Equal(x.Metadata, y.Metadata) || !maps.Equal(x.Tags, y.Tags) {
			ts.Fatalf("%q differs:\n%v\n%v", k, x, y)
		}
	}
}

// history BUCKET BUCKET demands that two buckets hold the same versions and delete markers of the same keys, in the same order.
func (w *world) history(ts *testscript.TestScript, neg bool, args []string) {
	a, b := w.find(ts, args[0]).versions(ts), w.find(ts, args[1]).versions(ts)
	if len(a) < 5 || !slices.Equal(a, b) {
		ts.Fatalf("these differ:\n%q\n%q", a, b)
	}
}

func (b *bucket) versions(ts *testscript.TestScript) []string {
	ctx, c := context.Background(), b.on.Admin()
	var out []string
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		ts.Check(o.Err)
		content := []byte("a delete marker")
		if !o.IsDeleteMarker {
			r, err := c.GetObject(ctx, b.name, o.Key, minio.GetObjectOptions{VersionID: o.VersionID})
			ts.Check(err)
			content, err = io.ReadAll(r)
			ts.Check(err)
		}
		out = append(out, fmt.Sprintf("%s %v %.40s", o.Key, o.IsLatest, content))
	}
	return out
}

// harmless BUCKET demands of all requests the program ever sent to it: no DELETE, no bypass of a lock, and no change to the
// bucket itself; and that there were some at all.
func (w *world) harmless(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	n := 0
	for _, r := range b.on.Log() {
		rest, ok := strings.CutPrefix(r.Path, "/"+b.name)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		n++
		if bad := harm(r, strings.Trim(rest, "/") == ""); bad != "" {
			ts.Fatalf("%s: %s %s?%s", bad, r.Method, r.Path, r.Query)
		}
	}
	if n == 0 {
		ts.Fatalf("no request was recorded")
	}
}

func harm(r servers.Request, toBucket bool) string {
	q, _ := url.ParseQuery(r.Query)
	switch {
	case r.Method == http.MethodDelete || q.Has("delete"):
		return "a delete"
	case r.Header.Get("X-Amz-Bypass-Governance-Retention") != "":
		return "a bypass"
	case toBucket && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "a change to the bucket"
	case q.Has("uploads") || q.Has("uploadId"):
		return "an upload in parts"
	case r.Method != http.MethodGet && (q.Has("legal-hold") || q.Has("acl") || q.Has("tagging")):
		return "a change beside content and retention"
	}
	return ""
}

// TestHarm proves that harmless can fail.
func TestHarm(t *testing.T) {
	for _, c := range []struct {
		r        servers.Request
		toBucket bool
		bad      bool
	}{
		{servers.Request{Method: "PUT"}, false, false},
		{servers.Request{Method: "PUT", Query: "retention=&versionId=x"}, false, false},
		{servers.Request{Method: "GET", Query: "versions="}, true, false},
		{servers.Request{Method: "DELETE"}, false, true},
		{servers.Request{Method: "POST", Query: "delete="}, true, true},
		{servers.Request{Method: "PUT", Query: "lifecycle="}, true, true},
		{servers.Request{Method: "PUT", Query: "object-lock="}, true, true},
		{servers.Request{Method: "PUT", Header: http.Header{"X-Amz-Bypass-Governance-Retention": {"true"}}}, false, true},
		{servers.Request{Method: "POST", Query: "uploads="}, false, true},
	} {
		if got := harm(c.r, c.toBucket); (got != "") != c.bad {
			t.Errorf("%+v: %q", c.r, got)
		}
	}
}
