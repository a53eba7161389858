package backup_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// What metadata may take of a vault for each of 20,000 files: pages of the manifest, and index segments.
const (
	maxManifestBytes = 87
	maxIndexBytes    = 46
)

// TestMetadataIsLight: 20,000 files with all that a file system knows of them.
func TestMetadataIsLight(t *testing.T) {
	const files = 20_000
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	g := rand.New(rand.NewPCG(1, 2))
	for i := range files {
		at := r.clock.Add(-time.Duration(g.Int64N(5*365*24*3600)) * time.Second)                   // as archives keep it
		changed := r.clock.Add(-24*time.Hour + time.Duration(i/10)*4*time.Millisecond + 3_913_372) // the kernel's clock ticks every 4 ms
		e := format.Entry{
			Kind: format.KindFile, Key: fmt.Sprintf("srv/site/pages/%03d/article-%05d.html", i/100, i), Modified: format.At(at),
			File: &format.File{Mode: 0o644, UID: 33, GID: 33, User: "www-data", Group: "www-data", Changed: format.At(changed), Inode: uint64(1_000_000 + i), Device: 2049, Links: 1},
		}
		src.PutEntry(e, body(uint64(i), 100+i%200))
	}
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	if res.Status != format.StatusComplete || res.Entries != files {
		t.Fatalf("%+v", res)
	}
	in := r.reader()
	var pages int64
	_, c := r.commit(0, res.Point)
	for leaf, err := range tree.Leaves(t.Context(), in.Page, c.Manifest, "", func(ref format.PageRef) { pages += ref.Frame.Length }) {
		if err != nil {
			t.Fatal(err)
		}
		pages += leaf.Frame.Length
	}
	var meta int64
	for info, err := range r.stores[0].Versions(t.Context(), format.PrefixMeta, "") {
		if err != nil {
			t.Fatal(err)
		}
		meta += info.Size
	}
	t.Logf("%.1f bytes of manifest and %.1f of index a file", float64(pages)/files, float64(meta-pages)/files)
	if pages > maxManifestBytes*files {
		t.Errorf("%d bytes of manifest for %d files", pages, files)
	}
	if meta-pages > maxIndexBytes*files {
		t.Errorf("%d bytes of index for %d files", meta-pages, files)
	}
}
