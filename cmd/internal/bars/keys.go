package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/storetest/synthetic"
)

// oddKeys are names that applications use and few places keep. AWS takes all of them.
func oddKeys() []string {
	deep := strings.Repeat("d/", 250) + "leaf"
	keys := []string{
		"empty", "plain", "a b", " leading", "trailing ", "two  spaces", "a+b", "a%20b", "100%", "%", "%2F", "%00",
		"caf\u00e9", "cafe\u0301", "\u65e5\u672c/\u8a9e", "\U0001F600", "\uE000", "\uFB01", "\u212B", "soft\u00adhyphen", "softhyphen", "left\u202eright", "\ufeffbom",
		"quote\"", "quote'", "back`tick", "back\\slash", "<&>", "semi;colon", "a=b&c=d", "#hash", "what?", "star*", "[a-z]", "{x}", "~", "-rf", "$HOME", "C:\\x", "com1", "NUL",
		"tab\there", "new\nline", "return\rhere", "escape\x1b[31m", "\x01", "a\x1fb", "del\x7f", "zero\x00byte",
		strings.Repeat("k", 1024), strings.Repeat("s", 255), strings.Repeat("s", 256), fourSegments(), deep,
		"/lead", "//two", "a//b", "a/b", "a///c", "end/", "folder/", "folder/in",
		"x", "x-1", "x/y", "x/y/z", "x.txt",
		".", "..", "./here", "../up", "a/./b", "a/../b", "a/..", "a/.", "..hidden", "...", ".dot/x", "a/...", "../../../../../../tmp/escaped",
		"Case", "case", "CASE/x", "Stra\u00dfe", "STRASSE",
		"planted/in", "planted-file", ".holdfast-part-0", "lost+found/x",
	}
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf("ones/%03d", i))
	}
	return slices.Compact(slices.Sorted(slices.Values(keys)))
}

// fourSegments is a key of 1,023 bytes that a directory can hold.
func fourSegments() string {
	return strings.Join([]string{strings.Repeat("1", 255), strings.Repeat("2", 255), strings.Repeat("3", 255), strings.Repeat("4", 255)}, "/")
}

// oddSize gives the length of what is put under a key.
func oddSize(key string) int64 {
	switch {
	case key == "empty" || key == "folder/":
		return 0
	case strings.HasPrefix(key, "ones/"):
		return 1
	}
	return int64(20 + len(key)%40)
}

// contents is what is under each key.
type contents map[string]string

func (c contents) keys() []string { return slices.Sorted(maps.Keys(c)) }

// nested reports whether a key is the folder of another one, or lies in one that is a key.
func (c contents) nested(key string) bool {
	for k := range c {
		if strings.HasPrefix(k, key+"/") || strings.HasPrefix(key, k+"/") {
			return true
		}
	}
	return false
}

// origin is a source with odd keys, and what it holds.
type origin struct {
	name   string
	at     place
	holds  contents
	bucket *bucket        // if it is one of a server's
	to     []servers.Kind // the buckets that its point is restored to
}

func awkward(ctx context.Context, w *world) (err error) {
	bucket, err := synthetic.Start(synthetic.Options{
		Shape: synthetic.Keys(oddKeys()...),
		Describe: func(_ int64, o *synthetic.Object) {
			o.Size, o.Modified = oddSize(o.Key), time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	all := contents{}
	for _, k := range oddKeys() {
		b, err := bucket.Content(k)
		if err != nil {
			return err
		}
		all[k] = string(b)
	}
	kinds := []servers.Kind{servers.KindVersityGW, servers.KindMinIO, servers.KindGoFakeS3}
	origins := []origin{{name: "synthetic", at: place{bucket.Location().String(), bucket.Credentials()}, holds: all, to: kinds}}
	for _, k := range kinds {
		o, err := w.kept(ctx, k, all)
		if err != nil {
			return err
		}
		if err := o.listable(ctx, o.bucket); err != nil {
			return err
		}
		origins = append(origins, o)
	}
	dir, err := w.oddFolder()
	if err != nil {
		return err
	}
	for _, o := range append(origins, dir) {
		if err := roundTrips(ctx, w, o); err != nil {
			return fmt.Errorf("from %s: %w", o.name, err)
		}
	}
	return plantedInPoint(ctx, w)
}

// kept puts everything on a server and finds out what it really holds then.
func (w *world) kept(ctx context.Context, k servers.Kind, all contents) (o origin, err error) {
	b, err := w.newBucket(ctx, k)
	if err != nil {
		return o, err
	}
	c := b.s.Admin()
	refused := 0
	for _, key := range all.keys() {
		// Streamed signatures are off, as everywhere here. What is refused is refused.
		_, err := c.PutObject(ctx, b.name, key, strings.NewReader(all[key]), int64(len(all[key])), minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true})
		if ctx.Err() != nil {
			return o, ctx.Err()
		}
		if err != nil {
			refused++
		}
	}
	o = origin{name: string(k), to: []servers.Kind{k}}
	if o.holds, err = b.contents(ctx, all); err != nil {
		return o, err
	}
	exact := 0
	for key, body := range o.holds {
		if all[key] == body {
			exact++
		}
	}
	o.bucket = b
	fmt.Printf("%s: %d of %d keys kept as they are, %d refused, %d lost or taken for others\n", k, exact, len(all), refused, len(all)-refused-exact)
	o.at, err = b.asSource(ctx)
	return o, err
}

// listable takes away what the bucket holds and does not list as it is: a source cannot know of it. (A key with control
// characters that a server lists under another name makes a point incomplete, see the tests of s3source.)
func (o *origin) listable(ctx context.Context, b *bucket) error {
	c := b.s.Admin()
	listed := map[string]bool{}
	for i := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		if i.Err != nil {
			return i.Err
		}
		listed[i.Key] = true
	}
	var hidden []string
	for key := range o.holds {
		if !listed[key] {
			hidden = append(hidden, key)
			delete(o.holds, key)
			if err := c.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}); err != nil {
				return err
			}
		}
	}
	slices.Sort(hidden)
	fmt.Printf("%s does not list as they are: %.40q\n", o.name, hidden)
	return nil
}

// contents reads a whole bucket; what is listed and cannot be read is left out. Of the expected ones those count too that
// the server gives when asked, and does not list (MinIO: x/y beside x) or lists under another name (control characters).
func (b *bucket) contents(ctx context.Context, expected contents) (contents, error) {
	c, out := b.s.Admin(), contents{}
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		if data, err := b.get(ctx, o.Key); err == nil {
			out[o.Key] = data
		} else if strings.TrimSpace(o.Key) == "" && o.Size == int64(len(expected[o.Key])) {
			out[o.Key] = expected[o.Key] // this client refuses to ask for it
		}
	}
	for key, body := range expected {
		if _, ok := out[key]; !ok && !aliased(key) {
			if data, err := b.get(ctx, key); err == nil && data == body {
				out[key] = data
			}
		}
	}
	return out, ctx.Err()
}

// aliased reports whether a server that keeps objects as files would take the key for another one.
func aliased(key string) bool {
	for i, s := range strings.Split(key, "/") {
		if s == "." || s == ".." || s == "" && (i == 0 || !strings.HasSuffix(key, "/") || strings.Contains(key, "//")) {
			return true
		}
	}
	return false
}

func (b *bucket) get(ctx context.Context, key string) (string, error) {
	body, _, _, err := (&minio.Core{Client: b.s.Admin()}).GetObject(ctx, b.name, key, minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	return string(data), err
}

// oddFolder makes a directory of names that no bucket has.
func (w *world) oddFolder() (o origin, err error) {
	root := w.path("odd")
	o = origin{name: "directory", at: dirAt(root), holds: contents{}, to: []servers.Kind{servers.KindGoFakeS3, servers.KindMinIO}}
	names := []string{
		"plain", "empty", "not utf-8 \xff", "\xfe/\xfd", "caf\u00e9", "cafe\u0301", "new\nline", "tab\t", "\x01", "\x7f", "quote\"'", "back\\slash", "a b", "a+b", "%2F", "100%",
		strings.Repeat("n", 255), strings.Repeat("\xf0", 255), "Case", "case", "Stra\u00dfe", "STRASSE", "...", "..hidden", "-rf", "C:", "aux.c", " ", "~", "d/empty folder/x",
		strings.Repeat("deep/", 220) + "leaf", "x.d/y", "x",
	}
	for i := range 1000 {
		names = append(names, fmt.Sprintf("ones/%03d", i))
	}
	for i, n := range names {
		body := fmt.Sprintf("content %d of %q", i, n)
		switch oddSize(n) {
		case 0, 1:
			body = string(rune('a' + i%26))[:oddSize(n)]
		}
		if err := writeBelow(root, n, body); err != nil {
			return o, err
		}
		o.holds[n] = body
	}
	return o, nil
}

func writeBelow(root, name, body string) error {
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return os.WriteFile(p, []byte(body), 0o644)
}

// roundTrips makes a point of a source and restores it everywhere.
func roundTrips(ctx context.Context, w *world, o origin) error {
	fmt.Printf("-- from %s: %d keys\n", o.name, len(o.holds))
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	j, err := newJob(ctx, w, o.at, vault, reader)
	if err != nil {
		return err
	}
	if o.name == string(servers.KindGoFakeS3) {
		if err := j.withoutTags(); err != nil { // it answers a question for tags with the object
			return err
		}
	}
	time.Sleep(2100 * time.Millisecond) // what changed within two seconds of the reading is looked at again
	first, err := j.run(ctx, "run")
	if err != nil {
		return err
	}
	again, err := j.run(ctx, "run, nothing changed")
	if err != nil {
		return err
	}
	w.bar(again.BytesRead == 0 && again.Added+again.Changed+again.Deleted == 0, "nothing changed is seen as such: +%d ~%d -%d, %d bytes read", again.Added, again.Changed, again.Deleted, again.BytesRead)
	costs := []cost{first.cost, again.cost}
	for _, to := range []func(context.Context, *job, string, origin) (cost, error){w.toTar, w.toFolder, w.toPlanted} {
		c, err := to(ctx, j, first.Point, o)
		if err != nil {
			return err
		}
		costs = append(costs, c)
	}
	for _, k := range o.to {
		c, err := toBucket(ctx, w, j, first.Point, o, k)
		if err != nil {
			return err
		}
		costs = append(costs, c)
	}
	w.inMemory(costs...)
	return nil
}

// withoutTags sets tags: never.
func (j *job) withoutTags() error {
	file := filepath.Join(j.dir, "holdfast.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.Replace(text, []byte("retention:"), []byte("    tags: never\nretention:"), 1), 0o600)
}

// back is what came of a restore.
type back struct {
	cost
	out      []byte
	Entries  int64
	Skipped  int64
	Failed   int64
	Failures []struct {
		Key    string
		KeyB64 string `json:"key_b64"`
		Error  string
	}
}

// refused gives the keys that were not restored, with what was said of each.
func (b back) refused() (map[string]string, error) {
	out := map[string]string{}
	for _, f := range b.Failures {
		if f.KeyB64 != "" {
			raw, err := base64.StdEncoding.DecodeString(f.KeyB64)
			if err != nil {
				return nil, err
			}
			f.Key = string(raw)
		}
		out[f.Key] = f.Error
	}
	if int64(len(out)) != b.Failed {
		return nil, fmt.Errorf("%d entries failed and %d are named", b.Failed, len(out))
	}
	return out, nil
}

// bring restores with nothing but a restore key and the vault's reader; that something is refused is no error here.
func (j *job) bring(ctx context.Context, point string, to place, flags ...string) (b back, err error) {
	args := append([]string{"--json", "restore", point, "--vault", j.reader.url, "--identity", j.identity, "--credentials", "env:BARS_READER", "--to", to.url}, flags...)
	env := append(environment(), "HOME="+filepath.Join(j.dir, "nowhere"))
	env = append(env, credentials("READER", j.reader.creds)...)
	if to.creds.AccessKeyID != "" {
		args = append(args, "--to-credentials", "env:BARS_TARGET")
		env = append(env, credentials("TARGET", to.creds)...)
	}
	cmd := exec.CommandContext(ctx, j.w.holdfast, args...)
	cmd.Dir, cmd.Env = j.dir, env
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	err = cmd.Run()
	b.cost.peak = peakOf(cmd.ProcessState)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		return b, fmt.Errorf("restore to %s: %w\n%s", to.url, err, tail(diag.Bytes()))
	}
	b.out = out.Bytes()
	for line := range bytes.Lines(append(slices.Clone(diag.Bytes()), out.Bytes()...)) {
		var summary struct{ Point, Seconds *json.RawMessage } // members come in no certain order
		if json.Unmarshal(line, &summary) == nil && summary.Point != nil && summary.Seconds != nil {
			return b, json.Unmarshal(line, &b)
		}
	}
	return b, fmt.Errorf("restore to %s printed no summary: %s", to.url, tail(diag.Bytes()))
}

// settle compares what is at a target with what was to come: every key is there with its own content, or refused by name;
// nothing else is there. must says which have to be there; the others must not.
func (w *world) settle(what string, b back, holds, is contents, must func(key string) bool) error {
	refused, err := b.refused()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var wrong []string
	for _, key := range holds.keys() {
		body, there := is[key]
		reason, no := refused[key]
		switch {
		case there && body != holds[key]:
			wrong = append(wrong, fmt.Sprintf("%.60q has other content", key))
		case there == no:
			wrong = append(wrong, fmt.Sprintf("%.60q is there: %t, refused: %t %s", key, there, no, reason))
		case no && must(key):
			wrong = append(wrong, fmt.Sprintf("%.60q need not have been refused: %s", key, reason))
		case there && !must(key):
			wrong = append(wrong, fmt.Sprintf("%.60q is there and should have been refused", key))
		}
	}
	for key := range is {
		if _, ok := holds[key]; !ok {
			wrong = append(wrong, fmt.Sprintf("%.60q came from nowhere", key))
		}
	}
	for key := range refused {
		if _, ok := holds[key]; !ok && !(strings.HasSuffix(key, "/") && holds.nested(strings.TrimSuffix(key, "/"))) {
			wrong = append(wrong, fmt.Sprintf("%.60q was refused and is not in the source", key))
		}
	}
	w.bar(len(wrong) == 0, "%s: %d keys there with their own content, %d refused by name, %d wrong", what, len(is), len(refused), len(wrong))
	for _, line := range wrong[:min(len(wrong), 10)] {
		fmt.Println("    " + line)
	}
	return nil
}
