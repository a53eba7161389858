package backup_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"runtime"
	"sort"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/image"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// vast is a source of one file of any size that is made up while it is read: islands of data, and nothing between.
type vast struct {
	size    int64
	islands []int64 // where they begin, ascending
	change  int64   // what is added to the bytes of one of them ..
	changed int     // .. this one
	when    time.Time
	read    func(n int) // told of each island that is reached
}

const islandSize = 4096

// island gives the bytes of one.
func (v *vast) island(i int) []byte {
	seed := uint64(i)
	if i == v.changed {
		seed += uint64(v.change) << 32
	}
	return body(seed, islandSize)
}

func (v *vast) Kind() string                                { return "dir" }
func (v *vast) Freeze(context.Context) (source.View, error) { return v, nil }
func (v *vast) Clock() time.Time                            { return v.when.Add(time.Hour) }
func (v *vast) Close() error                                { return nil }
func (v *vast) Complete(context.Context, *format.Entry) error {
	return nil
}

func (v *vast) Entries(context.Context, string, string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		yield(&format.Entry{Kind: format.KindFile, Key: "vast", Size: v.size, Modified: format.At(v.when), File: &format.File{Mode: 0o644}}, nil)
	}
}

func (v *vast) Open(_ context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	if n < 0 {
		n = v.size - off
	}
	return &sailing{v: v, at: off, end: off + n}, nil
}

// sailing reads it.
type sailing struct {
	v       *vast
	at, end int64
}

func (s *sailing) Close() error { return nil }

// next gives the island that holds at, or the next one.
func (s *sailing) next() int {
	return sort.Search(len(s.v.islands), func(i int) bool { return s.v.islands[i]+islandSize > s.at })
}

func (s *sailing) Read(p []byte) (int, error) {
	if s.at == s.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end-s.at)]
	i := s.next()
	n := 0
	if i < len(s.v.islands) && s.v.islands[i] <= s.at {
		n = copy(p, s.v.island(i)[s.at-s.v.islands[i]:])
	} else {
		if i < len(s.v.islands) {
			p = p[:min(int64(len(p)), s.v.islands[i]-s.at)]
		}
		clear(p)
		n = len(p)
	}
	s.at += int64(n)
	return n, nil
}

func (s *sailing) Holes(_, enough int64) (int64, error) { return enough + 1, nil }

func (s *sailing) Next(int64) (hole, data int64, err error) {
	i := s.next()
	if i == len(s.v.islands) {
		hole = s.end - s.at
		s.at = s.end
		return hole, 0, nil
	}
	if s.v.read != nil {
		s.v.read(i)
	}
	hole = s.v.islands[i] - s.at
	s.at = s.v.islands[i]
	return hole, islandSize, nil
}

// extentsIn gives the extents of level 0 of an entry, and how many pages of level 1 lead to them.
func extentsIn(r *rig, e *format.Entry) (out []format.Extent, inner int) {
	r.t.Helper()
	for x, err := range tree.Extents(r.t.Context(), r.reader().Extent, e, 0, func(format.Extent) { inner++ }) {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, x)
	}
	return out, inner
}

// reader reads the first vault with the restore key.
func (r *rig) reader() *repo.Reader {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[0], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	in, err := repo.NewReader(rp, r.stores[0], []keys.Identity{r.restore}, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return in
}

// TestFiftyTerabytes: an object of 50 TB has its extents on pages of level 1, in memory that does not grow with it; a change
// within stores what changed; and any part is read without the rest.
func TestFiftyTerabytes(t *testing.T) {
	const tera, apart = 1_000_000_000_000, 15 << 30
	v := &vast{size: 50 * tera, when: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), changed: -1}
	for at := int64(7 << 30); at < v.size-islandSize; at += apart {
		v.islands = append(v.islands, at)
	}
	r := newRig(t, 1)
	r.source = v
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early, late uint64
	v.read = func(n int) {
		switch n {
		case 600:
			early = held()
		case len(v.islands) - 1:
			late = held()
		}
	}
	first := r.run()
	e := r.entry(first.Point, "vast")
	if first.Status != format.StatusComplete || e.Size != 50*tera || first.BytesRead > int64(len(v.islands)+1)*islandSize {
		t.Fatalf("%+v", first)
	}
	// The vault is in this memory too: what it was given counts.
	if grown := int64(late) - int64(early) - first.Vaults[0].Bytes; grown > r.memory {
		t.Errorf("%d bytes held early and %d late", early, late)
	}
	if first.Vaults[0].Objects > 60 {
		t.Errorf("%d objects for %d bytes", first.Vaults[0].Objects, first.Vaults[0].Bytes)
	}
	was, inner := extentsIn(r, e)
	if len(e.Extents) > format.MaxExtents || inner != len(e.Extents) || len(was) <= 2*format.MaxInner || inner != (len(was)+format.MaxInner-1)/format.MaxInner {
		t.Fatalf("%d extents, %d pages of level 1 for %d", len(e.Extents), inner, len(was))
	}
	want := e.NewSum()
	at := int64(0)
	for i, from := range v.islands {
		want.Zeros(from - at)
		_, _ = want.Write(v.island(i))
		at = from + islandSize
	}
	if want.Zeros(v.size - at); want.Sum() != e.SHA256 {
		t.Error("another sum")
	}
	readParts(r, v, e)

	v.change, v.changed, v.when = 1, len(v.islands)/2, v.when.Add(time.Minute)
	r.clock = r.clock.Add(time.Hour)
	second := r.run()
	e = r.entry(second.Point, "vast")
	now, _ := extentsIn(r, e)
	differ := 0
	for i := range now {
		if now[i] != was[i] {
			differ++
		}
	}
	if len(now) != len(was) || differ != 1 || second.Vaults[0].Bytes > 400_000 {
		t.Errorf("%d extents of %d are new, %d bytes stored", differ, len(now), second.Vaults[0].Bytes)
	}
	readParts(r, v, e)
	r.clock = r.clock.Add(time.Hour)
	if third := r.run(); third.BytesRead != 0 {
		t.Errorf("%+v", third)
	}
}

// readParts reads islands and what is around them.
func readParts(r *rig, v *vast, e *format.Entry) {
	r.t.Helper()
	part, err := image.New(r.reader(), e, image.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, i := range []int{0, 1, v.changed, len(v.islands) / 3, len(v.islands) - 1} {
		if i < 0 {
			continue
		}
		got := make([]byte, islandSize+2000)
		if err := part.ReadAt(r.t.Context(), got, v.islands[i]-1000); err != nil {
			r.t.Fatal(err)
		}
		want := append(append(make([]byte, 1000), v.island(i)...), make([]byte, 1000)...)
		if !bytes.Equal(got, want) {
			r.t.Errorf("island %d is another", i)
		}
	}
}
