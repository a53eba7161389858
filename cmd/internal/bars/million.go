package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/storetest/synthetic"
)

const (
	manyKeys    = 1_000_000
	tagKeys     = 2_000
	tagRotation = time.Minute
)

// million lists and reads a million objects that a formula makes up, and looks at what runs cost after that.
func million(ctx context.Context, w *world) error {
	return w.many(ctx, "flat", synthetic.Options{Shape: withTagged(synthetic.Flat(manyKeys))})
}

// trees does the same with other shapes of the key space, and with versions.
func trees(ctx context.Context, w *world) error {
	return errors.Join(
		w.many(ctx, "deep", synthetic.Options{Shape: withTagged(synthetic.Deep(manyKeys, 10, 5))}),
		w.many(ctx, "skewed", synthetic.Options{Shape: withTagged(synthetic.Skewed(manyKeys))}),
		w.many(ctx, "versions", synthetic.Options{
			Shape:    withTagged(synthetic.Deep(manyKeys/2, 100, 2)),
			Versions: func(i int64) int { return 1 + int(i%3) },
			Marker:   func(i int64, n int) bool { return i%9 == 8 && n == 2 },
		}),
	)
}

// withTagged puts some keys beside the many for what is to be tried with tags alone.
func withTagged(many synthetic.Shape) synthetic.Shape {
	return synthetic.Join([]string{"many/", "tagged/"}, []synthetic.Shape{many, synthetic.Flat(tagKeys)})
}

// crowd is a synthetic bucket and the job that reads it.
type crowd struct {
	*job
	bucket *synthetic.Server
	in     *minio.Client // of the vault's owner
	vault  string        // its bucket
	costs  []cost
}

func (w *world) many(ctx context.Context, name string, o synthetic.Options) (err error) {
	fmt.Printf("-- %s\n", name)
	bucket, err := synthetic.Start(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bucket.Close()) }()
	c, err := newCrowd(ctx, w, bucket, o.Versions != nil)
	if err != nil {
		return err
	}
	keys := o.Shape.Len - tagKeys
	once := bucket.Key(keys / 3)
	if err := bucket.Unreadable(once, 1); err != nil {
		return err
	}
	tagsRead := time.Now()
	if err := c.tags(ctx, false); err != nil {
		return err
	}
	if err := c.whole(ctx, keys, once); err != nil {
		return err
	}
	if err := c.unchanged(ctx); err != nil {
		return err
	}
	if err := c.edited(ctx, keys); err != nil {
		return err
	}
	if wait := time.Until(tagsRead.Add(tagRotation + 5*time.Second)); wait > 0 {
		time.Sleep(wait)
	}
	if err := c.tags(ctx, true); err != nil {
		return err
	}
	w.inMemory(c.costs...)
	return nil
}

// newCrowd makes a job with three sources: the many objects; and others twice, with both ways of reading tags again.
func newCrowd(ctx context.Context, w *world, bucket *synthetic.Server, versioned bool) (*crowd, error) {
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return nil, err
	}
	at := func(prefix string) place {
		l := bucket.Location()
		l.Prefix = prefix
		return place{l.String(), bucket.Credentials()}
	}
	j, err := newJob(ctx, w, at("many/"), vault, reader)
	if err != nil {
		return nil, err
	}
	versions := "current"
	if versioned {
		versions = "all"
	}
	more := fmt.Sprintf("    versions: %s\n", versions)
	for _, s := range [][2]string{{"always", "always"}, {"rotating", "1m"}} {
		more += fmt.Sprintf("  - name: %s\n    url: %q\n    credentials: env:BARS_SOURCE\n    versions: %s\n    tags: %s\n", s[0], at("tagged/").url, versions, s[1])
	}
	file := filepath.Join(j.dir, "holdfast.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text = bytes.Replace(text, []byte("retention:"), []byte(more+"retention:"), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	s, err := w.server(ctx, servers.KindMinIO)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(vault.url, "s3://"), "/")
	return &crowd{job: j, bucket: bucket, in: s.Admin(), vault: name}, nil
}

// did is a finished run.
type did struct {
	made
	asked synthetic.Stats // of the bucket
	grown int64           // bytes that the vault holds more, as its owner counts them
	log   string
}

// runSource runs one source, which must end with this status.
func (c *crowd) runSource(ctx context.Context, label, source, status string) (d did, err error) {
	held, err := c.held(ctx)
	if err != nil {
		return d, err
	}
	before := c.bucket.Stats()
	out, cost, err := execute(ctx, c.dir, c.env, c.w.holdfast, "--json", "run", source)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 && status == "incomplete" {
		d.log, err = err.Error(), nil
	}
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &d.made); err != nil {
		return d, fmt.Errorf("what run printed cannot be read: %w: %s", err, tail(out))
	}
	d.cost = cost
	c.costs = append(c.costs, cost)
	now := c.bucket.Stats()
	d.asked = synthetic.Stats{
		Pages: now.Pages - before.Pages, Gets: now.Gets - before.Gets, Heads: now.Heads - before.Heads,
		Tags: now.Tags - before.Tags, Refused: now.Refused - before.Refused,
	}
	if d.grown, err = c.held(ctx); err != nil {
		return d, err
	}
	d.grown -= held
	fmt.Printf("%-32s %s; %d entries (+%d ~%d -%d), read %d B, stored %d B in %d objects; source: %d pages, %d GET, %d HEAD, %d tags\n",
		label, cost, d.Entries, d.Added, d.Changed, d.Deleted, d.BytesRead, d.BytesStored, d.ObjectsStored, d.asked.Pages, d.asked.Gets, d.asked.Heads, d.asked.Tags)
	if d.Status != status {
		return d, fmt.Errorf("%s: status %q instead of %q", label, d.Status, status)
	}
	return d, nil
}

// held counts what the vault holds, every version.
func (c *crowd) held(ctx context.Context) (n int64, err error) {
	for o := range c.in.ListObjects(ctx, c.vault, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return 0, o.Err
		}
		n += o.Size
	}
	return n, nil
}

// whole makes the first point, in which one object could not be read, and the next one, which must have it.
func (c *crowd) whole(ctx context.Context, keys int64, once string) error {
	first, err := c.runSource(ctx, "first run", "tree", "incomplete")
	if err != nil {
		return err
	}
	c.w.bar(first.Entries >= keys, "first run: %d entries of %d keys, %.0f a second", first.Entries, keys, float64(first.Entries)/first.wall.Seconds())
	c.w.bar(strings.Contains(first.log, once), "the object that could not be read is named")
	second, err := c.runSource(ctx, "the same, all readable", "tree", "complete")
	if err != nil {
		return err
	}
	o, _ := c.bucket.Current(once)
	c.w.bar(second.asked.Gets == 1 && second.BytesRead == o.Size && second.Entries == first.Entries,
		"what could not be read once is read in the next run: %d GET, %d bytes of %d", second.asked.Gets, second.BytesRead, o.Size)
	line, err := c.entry(ctx, "tree", once)
	if err != nil {
		return err
	}
	c.w.bar(line.Missing == "" && len(line.SHA256) == 64, "it stands in the point: missing %q, sha256 %.16s", line.Missing, line.SHA256)
	return nil
}

// unchanged runs again and holds it to what an unchanged run may cost.
func (c *crowd) unchanged(ctx context.Context) error {
	d, err := c.runSource(ctx, "nothing changed", "tree", "complete")
	if err != nil {
		return err
	}
	c.w.bar(d.BytesStored < 1<<20 && d.grown < 1<<20, "unchanged run wrote %d bytes, the vault holds %d more, bar %d", d.BytesStored, d.grown, 1<<20)
	c.w.bar(d.asked.Gets == 0 && d.asked.Heads == 0 && d.asked.Tags == 0, "and asked the source for nothing but %d pages of its listing", d.asked.Pages)
	c.w.bar(d.peak < memoryBar, "and had %d MiB resident at most, bar %d MiB", d.peak>>20, memoryBar>>20)
	return nil
}

// edited changes little and sees that little is read.
func (c *crowd) edited(ctx context.Context, keys int64) error {
	changed := c.bucket.Key(keys/2 + 5)
	if err := errors.Join(
		c.bucket.Change(changed), c.bucket.Delete(c.bucket.Key(keys/4)),
		c.bucket.Add(synthetic.Object{Key: "many/object of its own", Size: 77_777}),
	); err != nil {
		return err
	}
	time.Sleep(2100 * time.Millisecond) // what changed within two seconds of the reading is looked at again
	d, err := c.runSource(ctx, "one changed, added, deleted", "tree", "complete")
	if err != nil {
		return err
	}
	// Where there are versions a change and a deletion are each one version more.
	right := d.Added == 1 && d.Changed == 1 && d.Deleted == 1 || d.Added == 3 && d.Changed == 0 && d.Deleted == 0
	o, _ := c.bucket.Current(changed)
	c.w.bar(right && d.BytesRead == o.Size+77_777, "found +%d ~%d -%d, read %d bytes", d.Added, d.Changed, d.Deleted, d.BytesRead)
	c.w.bar(d.grown < 1<<20, "and wrote %d bytes", d.grown)
	return nil
}

// shown is what `ls --json` prints of an entry.
type shown struct {
	Key     string            `json:"key"`
	SHA256  string            `json:"sha256"`
	Missing string            `json:"missing"`
	Tags    map[string]string `json:"tags"`
}

// entry looks a key up in the newest point, as its newest version is.
func (c *crowd) entry(ctx context.Context, source, key string) (e shown, err error) {
	out, _, err := execute(ctx, c.dir, c.env, c.w.holdfast, "--json", "ls", source+"@latest", key)
	if err != nil {
		return e, err
	}
	for line := range bytes.Lines(out) {
		var next shown
		if err := json.Unmarshal(line, &next); err != nil {
			return e, err
		}
		if next.Key == key {
			e = next
		}
	}
	if e.Key == "" {
		return e, fmt.Errorf("%q is not in the newest point of %s", key, source)
	}
	return e, nil
}

// tags makes the first points of the sources that tags are tried with, changes some tags and looks when they appear.
func (c *crowd) tags(ctx context.Context, late bool) error {
	key := c.bucket.Key(manyOf(c) + tagKeys/2)
	look := func(label, source string, seen bool) error {
		d, err := c.runSource(ctx, label, source, "complete")
		if err != nil {
			return err
		}
		e, err := c.entry(ctx, source, key)
		if err != nil {
			return err
		}
		is := e.Tags["retagged"] == "1"
		c.w.bar(is == seen && (d.Changed == 1) == seen, "tags of one object, %s: changed %d, in the point %t", label, d.Changed, is)
		return nil
	}
	if late {
		return look("rotating, after the rotation", "rotating", true)
	}
	for _, source := range []string{"always", "rotating"} {
		if _, err := c.runSource(ctx, "tags, first run: "+source, source, "complete"); err != nil {
			return err
		}
	}
	if err := c.bucket.Retag(key); err != nil {
		return err
	}
	// Within the rotation nothing is asked, so that it is the rotation that shows the change later.
	return errors.Join(look("always", "always", true), look("rotating, at once", "rotating", false))
}

// manyOf is how many keys of the formula come before those that tags are tried with.
func manyOf(c *crowd) int64 { return c.bucket.Len() - tagKeys }
