package backup_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// part is data in a file of holes.
type part struct {
	at int64
	b  []byte
}

// sparse makes a file with data at some places only; false where this file system has no such sizes.
func sparse(t *testing.T, path string, size int64, parts ...part) bool {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Truncate(size) != nil {
		return false
	}
	for _, p := range parts {
		if _, err := f.WriteAt(p.b, p.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	return os.Chtimes(path, old, old) == nil
}

// TestHolesCostNothing: of a file only its data is read and stored, however large it is, and what is between is one hole.
func TestHolesCostNothing(t *testing.T) {
	root, err := os.MkdirTemp("/dev/shm", "sparse") // where files of any size can be
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	r := newRig(t, 1)
	src, err := dirsource.New(dirsource.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	r.source = src
	head, middle, tail := body(1, 10_000), body(2, 3<<20), body(3, 7)
	for key, c := range map[string]struct {
		size   int64
		parts  []part
		sparse bool
	}{
		"tera":          {1 << 40, []part{{70_000, head}, {1 << 39, middle}, {1<<40 - 7, tail}}, true},
		"nothing":       {1 << 42, nil, true},
		"seven EiB":     {7 << 60, []part{{6 << 60, middle}}, true},
		"eight EiB":     {1<<63 - 1, []part{{0, head}}, true},
		"holes of 64M":  {64<<20 + 3<<20, []part{{64 << 20, middle}}, false},
		"a little more": {66<<20 + 3<<20, []part{{66 << 20, middle}}, true},
		"small holes":   {8 << 20, []part{{0, head}, {300_000, head}, {4 << 20, middle}}, false},
	} {
		t.Run(key, func(t *testing.T) {
			if !sparse(t, root+"/f", c.size, c.parts...) {
				return
			}
			r.clock = r.clock.Add(time.Hour)
			res := r.run()
			e := r.entry(res.Point, "f")
			if res.Status != format.StatusComplete || e.Sparse != c.sparse || e.Size != c.size {
				t.Fatalf("%+v, %v", res, r.missing)
			}
			if most := int64(8 << 20); res.BytesRead > most {
				t.Errorf("%d bytes were read", res.BytesRead)
			}
			// The sum is of the content, whichever holes it is stored with.
			want, at := e.NewSum(), int64(0)
			for _, p := range c.parts {
				want.Zeros(p.at - at)
				_, _ = want.Write(p.b)
				at = p.at + int64(len(p.b))
			}
			want.Zeros(c.size - at)
			if want.Sum() != e.SHA256 {
				t.Error("the sum is another")
			}
			n := 0
			for chunk, err := range tree.Chunks(t.Context(), nil, e) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; !chunk.Hole && chunk.Size > 4<<20 {
					t.Errorf("%+v", chunk)
				}
			}
			if n > 40 {
				t.Errorf("%d chunks", n)
			}
		})
	}
	if err := errors.Join(os.Remove(root+"/f"), os.WriteFile(root+"/whole", bytes.Repeat([]byte{0}, 2<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(time.Hour)
	if res := r.run(); res.Status != format.StatusComplete {
		t.Errorf("%+v", res)
	}
}

// TestHugeFilesTogether: files of holes whose sizes add up to more than a number holds harm nothing beside them.
func TestHugeFilesTogether(t *testing.T) {
	root, err := os.MkdirTemp("/dev/shm", "sparse")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	r := newRig(t, 1)
	src, err := dirsource.New(dirsource.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	r.source = src
	for _, key := range []string{"a", "b", "c"} {
		if !sparse(t, root+"/"+key, 5<<60) {
			return // not on this file system
		}
	}
	write(t, root+"/honest", []byte("honest"))
	res := r.run()
	if e := r.entry(res.Point, "honest"); res.Status != format.StatusComplete || res.Bytes != 1<<63-1 || e == nil || e.Missing != "" {
		t.Errorf("%+v", res)
	}
}
