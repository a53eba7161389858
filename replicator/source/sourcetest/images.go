package sourcetest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Disk is a fixture of a source of disk images: one disk, of which snapshots are taken.
type Disk struct {
	Source source.Source
	Size   int64 // bytes, of at least 100 blocks
	// Take takes a snapshot in which exactly these blocks were written.
	Take func(t *testing.T, blocks map[int64][]byte)
	// Lose deletes the snapshot before the last one.
	Lose func(t *testing.T)
}

// RunImages holds a driver to the contract of source.Images. newDisk gives a disk without a snapshot.
func RunImages(t *testing.T, newDisk func(t *testing.T) *Disk) {
	d := newDisk(t)
	was := map[int64][]byte{0: pattern(1), 1: pattern(2), 50: pattern(3), 99: pattern(4)}
	d.Take(t, was)
	first := d.entry(t)
	full(t, d, first, nil, was)

	is := maps.Clone(was)
	is[1], is[60] = pattern(5), pattern(6)
	delete(is, 50)
	d.Take(t, is)
	second := d.entry(t)
	if second.Key != first.Key || second.ETag == first.ETag {
		t.Errorf("a later snapshot of the same disk is %+v, the first was %+v", second, first)
	}
	t.Run("Since", func(t *testing.T) { since(t, d, second, first, map[int64]bool{0: true, 99: true}) })
	t.Run("Full", func(t *testing.T) { full(t, d, second, nil, is) })
	d.Lose(t)
	t.Run("BaseGone", func(t *testing.T) { full(t, d, second, first, is) })
	t.Run("Gone", func(t *testing.T) {
		view := freeze(t, d)
		d.Take(t, is)
		d.Lose(t)
		e := *second
		img, err := view.Image(t.Context(), &e, nil)
		if err == nil {
			_, err = img.Read(t.Context(), 0, make([]byte, format.ImageBlock))
		}
		if !errors.Is(err, source.ErrGone) {
			t.Errorf("a snapshot that is gone: %v", err)
		}
	})
}

func pattern(b byte) []byte { return bytes.Repeat([]byte{b, 'p'}, format.ImageBlock/2) }

// imageView is a View that lists images.
type imageView interface {
	source.View
	source.Images
}

func freeze(t *testing.T, d *Disk) imageView {
	t.Helper()
	v, err := d.Source.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	view, ok := v.(imageView)
	if !ok {
		t.Fatal("the view reads no images")
	}
	return view
}

// entry lists the one disk: with the listing's fields only.
func (d *Disk) entry(t *testing.T) *format.Entry {
	t.Helper()
	var all []*format.Entry
	for e, err := range freeze(t, d).Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) != 1 {
		t.Fatalf("%d entries", len(all))
	}
	e := all[0]
	if e.Kind != format.KindImage || e.Size != d.Size || e.ETag == "" || e.Modified.IsZero() || e.Metadata != nil || e.Tags != nil || !e.SHA256.IsZero() || e.Missing != "" {
		t.Errorf("listed as %+v", e)
	}
	return e
}

func begin(t *testing.T, d *Disk, e, base *format.Entry) source.Image {
	t.Helper()
	read := *e
	img, err := freeze(t, d).Image(t.Context(), &read, base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := img.Close(); err != nil {
			t.Error(err)
		}
	})
	a, b := *e, read
	b.Metadata, b.Tags = nil, nil
	if string(a.AppendListing(nil)) != string(b.AppendListing(nil)) || len(read.Metadata) == 0 {
		t.Errorf("completed to %+v", read)
	}
	return img
}

// full reads an image of which nothing is known.
func full(t *testing.T, d *Disk, e, base *format.Entry, want map[int64][]byte) {
	t.Helper()
	img := begin(t, d, e, base)
	known, why := img.Since()
	if known || (base != nil) != (why != "") {
		t.Errorf("since %t %q", known, why)
	}
	var listed []int64
	for b, err := range img.Blocks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, b.N)
	}
	if !slices.Equal(listed, slices.Sorted(maps.Keys(want))) {
		t.Errorf("blocks %v", listed)
	}
	var g errgroup.Group
	for n, block := range want {
		g.Go(func() error {
			buf := make([]byte, format.ImageBlock)
			sum, err := img.Read(t.Context(), n, buf)
			if err == nil && (!bytes.Equal(buf, block) || sum != sha256.Sum256(block)) {
				t.Errorf("block %d is another", n)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// since reads what is said of an image that was read before.
func since(t *testing.T, d *Disk, e, base *format.Entry, same map[int64]bool) {
	img := begin(t, d, e, base)
	if known, why := img.Since(); !known || why != "" {
		t.Fatalf("since %t %q", known, why)
	}
	got := map[int64]bool{}
	for b, err := range img.Blocks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Same {
			got[b.N] = true
		}
	}
	if !maps.Equal(got, same) {
		t.Errorf("the same are %v instead of %v", got, same)
	}
}
