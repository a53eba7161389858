package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// byHand opens two repositories without Holdfast: a classic one in a directory with the system's own age, and a default
// one in a bucket, mirrored by mc, with the age that reads post-quantum keys.
func byHand(ctx context.Context, w *world) error {
	dir := w.path("folder")
	if err := oddFolder(dir); err != nil {
		return err
	}
	newAge, err := servers.Binary(ctx, "age")
	if err != nil {
		return err
	}
	oldAge, err := exec.LookPath("age")
	if err != nil {
		return fmt.Errorf("%w; install age, zstd and jq", err)
	}
	vault := dirAt(w.path("vault"))
	if err := openByHand(ctx, w, dir, oldAge, vault, vault, "--classic"); err != nil {
		return err
	}
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	return openByHand(ctx, w, dir, newAge, vault, reader)
}

// oddFolder has small, large and very large files, and names that break careless scripts.
func oddFolder(dir string) error {
	files := map[string][]byte{
		"empty": nil, "one byte": {7}, "text.txt": bytes.Repeat([]byte("a line of text\n"), 900),
		"new\nline": []byte("1"), "quote \" and ' and \\ $(false) `x`": []byte("2"), "-rf": []byte("3"), "*": []byte("4"),
		"deep/er/and/deeper": []byte("5"), "not utf-8 \xff\xfe": []byte("6"), "ünï.txt": []byte("7"), " leading": []byte("8"), "tab\t": []byte("9"),
		"one-chunk.bin": noise(200 << 10), "several-chunks.bin": noise(9 << 20), "compresses.txt": bytes.Repeat([]byte("0123456789 and the rest of it\n"), 300_000),
		"zeros-inside.bin": slices.Concat(noise(3<<20), make([]byte, 24<<20), noise(2<<20)),
	}
	for i := range 40 { // so that entries and chunks have neighbours
		files[fmt.Sprintf("many/%02d", i)] = noise(1000 + 100*i)
	}
	for name, data := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(dir, "paged.bin")) // more than 256 chunks: their references stand in pages of their own
	if err != nil {
		return err
	}
	_, err = f.ReadFrom(newNoise(77, 320<<20, 0))
	return errors.Join(err, f.Close())
}

// copyOf is a vault as files, with what opens it.
type copyOf struct {
	w             *world
	dir, work     string
	age, identity string
}

func openByHand(ctx context.Context, w *world, dir, age string, vault, reader place, keyFlags ...string) error {
	j, err := newJob(ctx, w, dirAt(dir), vault, reader, keyFlags...)
	if err != nil {
		return err
	}
	m, err := j.run(ctx, strings.Join(append([]string{"run with keygen"}, keyFlags...), " "))
	if err != nil {
		return err
	}
	c := &copyOf{w: w, dir: strings.TrimPrefix(vault.url, "file://"), work: w.path("work"), age: age, identity: j.identity}
	if strings.HasPrefix(vault.url, "s3:") {
		c.dir = w.path("mirror")
		if err := mirror(ctx, w, vault, c.dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(c.work, 0o700); err != nil {
		return err
	}
	listing, err := c.script(ctx, m.Point)
	if err != nil {
		return err
	}
	entries, err := parseListing(listing)
	if err != nil {
		return err
	}
	was, err := folderState(dir, true)
	if err != nil {
		return err
	}
	if err := c.packs(ctx, entries); err != nil {
		return err
	}
	return c.restoreAll(ctx, m.Point, was, entries)
}

// mirror copies a bucket to a directory, as mc does it.
func mirror(ctx context.Context, w *world, vault place, to string) error {
	mc, err := servers.Binary(ctx, "mc")
	if err != nil {
		return err
	}
	u, err := url.Parse(vault.url)
	if err != nil {
		return err
	}
	at, err := url.Parse(u.Query().Get("endpoint"))
	if err != nil {
		return err
	}
	at.User = url.UserPassword(vault.creds.AccessKeyID, vault.creds.SecretAccessKey)
	_, _, err = execute(ctx, w.dir, append(environment(), "HOME="+w.dir, "MC_HOST_vault="+at.String()), mc,
		"--quiet", "--config-dir", filepath.Join(w.dir, "mc"), "mirror", "vault/"+u.Host+u.Path, to)
	return err
}

// script runs docs/restore-by-hand.sh.
func (c *copyOf) script(ctx context.Context, args ...string) ([]byte, error) {
	path, err := filepath.Abs("docs/restore-by-hand.sh")
	if err != nil {
		return nil, err
	}
	out, _, err := execute(ctx, c.work, append(environment(), "AGE="+c.age), "/bin/sh", append([]string{path, c.dir, c.identity}, args...)...)
	return out, err
}

func parseListing(listing []byte) (entries []*format.Entry, err error) {
	for line := range bytes.Lines(listing) {
		e, err := format.ParseEntry(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return nil, fmt.Errorf("a line of the script's listing: %w", err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// restoreAll gets every file back with the script.
func (c *copyOf) restoreAll(ctx context.Context, point string, was state, entries []*format.Entry) error {
	out := filepath.Join(c.work, "out")
	bad, holes, paged := 0, 0, 0
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(was)), func(key string) bool {
		return strings.HasPrefix(key, "many/") && !strings.HasSuffix(key, "7") // a run of the script takes a while
	})
	for _, key := range keys {
		if _, err := c.script(ctx, point, key, out); err != nil {
			return fmt.Errorf("%q: %w", key, err)
		}
		i, err := readFile(out, map[uint64]string{}, key)
		if err != nil {
			return err
		}
		if i.sum != was[key].sum {
			fmt.Printf("    %q came back different\n", key)
			bad++
		}
		if err := os.Remove(out); err != nil {
			return err
		}
	}
	for _, e := range entries {
		holes += len(slices.DeleteFunc(slices.Clone(e.Chunks), func(k format.Chunk) bool { return !k.Hole }))
		paged += min(len(e.Extents), 1)
	}
	c.w.bar(bad == 0 && holes > 0 && paged > 0, "restore-by-hand.sh got %d files back, %d differ; among them %d of extent pages, and %d holes", len(keys), bad, paged, holes)
	return nil
}

// packs opens every pack with age and zstd alone and finds every chunk in it that an entry refers to.
func (c *copyOf) packs(ctx context.Context, entries []*format.Entry) error {
	wanted := map[format.Hash][]format.Chunk{}
	for _, e := range entries {
		chunks := slices.Clone(e.Chunks)
		for _, x := range e.Extents {
			more, err := c.extent(ctx, x)
			if err != nil {
				return err
			}
			chunks = append(chunks, more...)
		}
		for _, k := range chunks {
			if !k.Hole {
				wanted[k.Pack] = append(wanted[k.Pack], k)
			}
		}
	}
	opened, found := 0, 0
	err := filepath.WalkDir(filepath.Join(c.dir, "packs"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(p, ".age") {
			return err
		}
		h, err := format.ParseHash(strings.TrimSuffix(d.Name(), ".age"))
		if err != nil {
			return err
		}
		n, err := c.pack(ctx, p, wanted[h])
		opened, found = opened+1, found+n
		return err
	})
	if err != nil {
		return err
	}
	all := 0
	for _, l := range wanted {
		all += len(l)
	}
	c.w.bar(opened >= 3 && opened == len(wanted) && found == all, "%s -d | zstd -d opened %d packs; %d of %d chunks found in them", filepath.Base(c.age), opened, found, all)
	return nil
}

// pack decodes one pack and gives how many of the chunks are where they should be. Frames lie one behind the other, so a
// chunk's place in the output is known from the frames before it.
func (c *copyOf) pack(ctx context.Context, path string, chunks []format.Chunk) (found int, err error) {
	plain, _, err := execute(ctx, c.work, environment(), "/bin/sh", "-c", `"$1" -d -i "$2" "$3" | zstd -dcq`, "sh", c.age, c.identity, path)
	if err != nil {
		return 0, err
	}
	frames := map[int64]format.Frame{}
	for _, k := range chunks {
		frames[k.Frame.Offset] = k.Frame
	}
	starts := map[int64]int64{} // by offset in the payload: offset in the output
	var at, next int64
	for _, off := range slices.Sorted(maps.Keys(frames)) {
		if off != next {
			return 0, fmt.Errorf("%s: no chunk refers to what lies between %d and %d", path, next, off)
		}
		starts[off] = at
		at, next = at+frames[off].Plain, off+frames[off].Length
	}
	if at != int64(len(plain)) {
		return 0, fmt.Errorf("%s decodes to %d bytes, its frames have %d", path, len(plain), at)
	}
	for _, k := range chunks {
		from := starts[k.Frame.Offset] + k.At
		if sha256.Sum256(plain[from:from+k.Size]) == k.Sum {
			found++
		}
	}
	return found, nil
}

// extent reads an extent page with age and zstd.
func (c *copyOf) extent(ctx context.Context, x format.Extent) (chunks []format.Chunk, err error) {
	page, _, err := execute(ctx, c.work, environment(), "/bin/sh", "-c",
		`"$1" -d -i "$2" "$3" | tail -c "+$4" | head -c "$5" | zstd -dcq`, "sh", c.age, c.identity, filepath.Join(c.dir, x.Object),
		fmt.Sprint(x.Frame.Offset+1), fmt.Sprint(x.Frame.Length))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(page) {
		k, err := format.ParseChunk(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			return nil, err
		}
		chunks = append(chunks, k)
	}
	return chunks, nil
}
