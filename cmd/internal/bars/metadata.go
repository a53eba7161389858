package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const (
	metadataFiles = 20_000
	manifestMost  = 87 // stored bytes an entry
	indexMost     = 46 // stored bytes a line
)

// metadata measures what a point stores beside content: of 20,000 files, from the Go tree and as much of it again as is wanting.
func metadata(ctx context.Context, w *world) error {
	from, err := goTree(ctx)
	if err != nil {
		return err
	}
	root := w.path("files")
	for n, left := 0, metadataFiles; left > 0; n++ {
		if left, err = copySome(from, filepath.Join(root, itoa(n)), left); err != nil {
			return err
		}
	}
	y, err := newYears(ctx, w.path("years"), history{1, 1}, func(y *years) error {
		y.vault = newCounting(memstore.New(memstore.Options{Now: y.now}))
		src, err := dirsource.New(dirsource.Options{Root: root})
		y.sources[0] = changing{src, func(int, []byte) error { return nil }}
		return err
	})
	if err != nil {
		return err
	}
	r, err := repo.Find(ctx, y.vault, "", nil)
	if err != nil {
		return err
	}
	in, err := repo.NewReader(r, y.vault, []keys.Identity{y.restore}, nil, nil)
	if err != nil {
		return err
	}
	points, err := r.Points(ctx, y.vault, "", nil)
	if err != nil {
		return err
	}
	c, err := r.Commit(ctx, y.vault, points[0], nil)
	if err != nil {
		return err
	}
	var pages, plain int64
	count := func(ref format.PageRef) { pages, plain = pages+ref.Frame.Length, plain+ref.Frame.Plain }
	for leaf, err := range tree.Leaves(ctx, in.Page, c.Manifest, "", count) {
		if err != nil {
			return err
		}
		count(leaf)
	}
	index, lines, err := y.indexed(ctx, in)
	if err != nil {
		return err
	}
	per := func(bytes, n int64) float64 { return float64(bytes) / float64(n) }
	w.bar(per(pages, c.Entries) <= manifestMost, "%d entries: %.1f bytes of manifest each as stored, %.0f plain (at most %d)", c.Entries, per(pages, c.Entries), per(plain, c.Entries), manifestMost)
	w.bar(per(index, lines) <= indexMost, "%d chunks: %.1f bytes of index each as stored (at most %d)", lines, per(index, lines), indexMost)
	return nil
}

// indexed gives the stored bytes of all index segments, and their lines.
func (y *years) indexed(ctx context.Context, in *repo.Reader) (bytes, lines int64, err error) {
	c, err := cache.Open(filepath.Join(y.dir, "cache-"+itoa(y.caches)), cache.Options{Memory: 16 << 20})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for p, err := range c.Places.Indexed(vaultName) {
		if err != nil {
			return 0, 0, err
		}
		for _, f := range p.Index {
			bytes += f.Length
		}
		if err := in.Frames(ctx, p.Name, p.Index, func(_ int, plain []byte) error {
			_, some, err := format.DecodeIndex(plain, func(_, _ []byte) bool { return true })
			lines += int64(len(some))
			return err
		}); err != nil {
			return 0, 0, err
		}
	}
	return bytes, lines, nil
}

// copySome copies so many files of a tree at most, with their times, and gives how many are left.
func copySome(from, to string, most int) (left int, err error) {
	files, err := treeFiles(from)
	if err != nil {
		return most, err
	}
	if len(files) == 0 {
		return most, fmt.Errorf("%s has no files", from)
	}
	files = files[:min(len(files), most)]
	for _, rel := range files {
		path, at := filepath.Join(from, rel), filepath.Join(to, rel)
		info, err := os.Stat(path)
		if err != nil {
			return most, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return most, err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, data, info.Mode().Perm()|0o600), os.Chtimes(at, time.Time{}, info.ModTime())); err != nil {
			return most, err
		}
	}
	return most - len(files), nil
}
