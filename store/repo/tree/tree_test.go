package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// shelf is a Sink and a Load in memory. It seals an object whenever it holds per pages.
type shelf struct {
	per    int
	open   []*Slot
	plain  [][]byte
	serial int
	pages  map[string][][]byte // object to its pages; a frame's offset is the page's number
	put    int                 // pages ever given
	loads  map[format.Hash]int
}

func newShelf(per int) *shelf {
	return &shelf{per: per, pages: map[string][][]byte{}, loads: map[format.Hash]int{}}
}

func (s *shelf) Page(ctx context.Context, plain []byte) (*Slot, error) {
	return s.Refs(ctx, func() ([]byte, error) { return plain, nil })
}

func (s *shelf) Refs(ctx context.Context, encode func() ([]byte, error)) (*Slot, error) {
	if len(s.open) >= s.per {
		if err := s.Seal(ctx); err != nil {
			return nil, err
		}
	}
	plain, err := encode()
	if err != nil {
		return nil, err
	}
	slot := &Slot{Frame: format.Frame{Offset: int64(len(s.open)), Length: 1, Plain: int64(len(plain))}}
	s.open, s.plain = append(s.open, slot), append(s.plain, bytes.Clone(plain))
	s.put++
	return slot, nil
}

func (s *shelf) Seal(context.Context) error {
	if len(s.open) == 0 {
		return nil
	}
	s.serial++
	name := format.MetaName(sha256.Sum256([]byte{byte(s.serial), byte(s.serial >> 8), 7}))
	for _, slot := range s.open {
		slot.Name(name)
	}
	s.pages[name] = s.plain
	s.open, s.plain = nil, nil
	return nil
}

func (s *shelf) load(_ context.Context, ref format.PageRef) ([]byte, error) {
	s.loads[ref.Sum]++
	p := s.pages[ref.Object]
	if ref.Frame.Offset >= int64(len(p)) {
		return nil, fmt.Errorf("no page %d in %q", ref.Frame.Offset, ref.Object)
	}
	return p[ref.Frame.Offset], nil
}

func entry(key string, size int64) *format.Entry {
	e := &format.Entry{Key: key, Size: size, SHA256: sha256.Sum256(nil)}
	if size > 0 {
		e.SHA256 = sha256.Sum256([]byte(key))
		e.Chunks = []format.Chunk{{Hole: true, Size: size}}
	}
	return e
}

// built is a finished tree.
type built struct {
	root   format.PageRef
	leaves []format.PageRef
	all    []format.PageRef // as emit gave them
}

func known(prev *built) Known {
	if prev == nil {
		return nil
	}
	return func(level int, first string) (format.PageRef, bool) {
		for _, r := range append(slices.Clone(prev.all), prev.root) {
			if r.Level == level && r.First == first {
				return r, true
			}
		}
		return format.PageRef{}, false
	}
}

// plant builds a tree the way a writer does. Leaves that prev holds with the same content are reused.
func plant(t rapid.TB, s *shelf, cut Cut, entries []*format.Entry, prev *built) *built {
	t.Helper()
	ctx := context.Background()
	out := &built{}
	b := NewBuilder(s, cut, known(prev), func(r format.PageRef) { out.all = append(out.all, r) }).Salted("file:///x")
	var page []byte
	var ref format.PageRef
	flush := func() {
		if ref.Entries == 0 && len(entries) > 0 {
			return
		}
		sum := format.Hash(sha256.Sum256(page))
		ref.Digest = sum.String()[:32]
		var err error
		if i := indexLeaf(prev, ref.First, sum); i >= 0 {
			err = b.Reuse(ctx, prev.leaves[i])
		} else {
			err = b.Leaf(ctx, ref, page)
		}
		if err != nil {
			t.Fatal(err)
		}
		page, ref = nil, format.PageRef{}
	}
	last := ""
	for _, e := range entries {
		if cut.LeafBefore(e.Key, e.Key == last, int(ref.Entries), len(page)) {
			flush()
		}
		if ref.Entries == 0 {
			ref.First = e.Key
		}
		var err error
		if page, err = e.AppendLine(page); err != nil {
			t.Fatal(err)
		}
		ref.Entries++
		ref.Bytes += e.Size
		last = e.Key
	}
	flush()
	var err error
	if out.root, err = b.Root(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.all {
		if r.Level == 0 {
			out.leaves = append(out.leaves, r)
		}
	}
	return out
}

func indexLeaf(prev *built, first string, sum format.Hash) int {
	if prev == nil {
		return -1
	}
	return slices.IndexFunc(prev.leaves, func(r format.PageRef) bool { return r.First == first && r.Sum == sum })
}

func collect(t rapid.TB, s *shelf, root format.PageRef, from, to string) []string {
	t.Helper()
	var out []string
	for e, err := range Entries(context.Background(), s.load, root, from, to) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%q/%d", e.Key, e.Size))
	}
	return out
}

func texts(entries []*format.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprintf("%q/%d", e.Key, e.Size))
	}
	return out
}

func anyKey() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-c]{1,3}/[a-z0-9]{1,6}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 6), func(b []byte) string { return string(b) }),
	)
}

// anyEntries gives sorted entries; a key may have several versions.
func anyEntries() *rapid.Generator[[]*format.Entry] {
	return rapid.Custom(func(t *rapid.T) []*format.Entry {
		keys := rapid.SliceOfNDistinct(anyKey(), 0, 300, rapid.ID).Draw(t, "keys")
		slices.Sort(keys)
		var out []*format.Entry
		for i, k := range keys {
			versions := 1
			if i%17 == 3 {
				versions = rapid.IntRange(1, 30).Draw(t, "versions")
			}
			for range versions {
				out = append(out, entry(k, int64(len(out))))
			}
		}
		return out
	})
}

func anyCut() *rapid.Generator[Cut] {
	return rapid.Custom(func(t *rapid.T) Cut {
		var key [32]byte
		key[0] = rapid.Byte().Draw(t, "key")
		return Cut{Key: key, Leaf: rapid.IntRange(1, 20).Draw(t, "leaf"), Fanout: rapid.IntRange(2, 20).Draw(t, "fanout")}
	})
}

func TestWalkGivesBackEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, cut := anyEntries().Draw(t, "entries"), anyCut().Draw(t, "cut")
		s := newShelf(rapid.IntRange(1, 9).Draw(t, "per"))
		tr := plant(t, s, cut, entries, nil)
		if got := collect(t, s, tr.root, "", ""); !slices.Equal(got, texts(entries)) {
			t.Fatalf("got %v\nwant %v", got, texts(entries))
		}
		var size int64
		for _, e := range entries {
			size += e.Size
		}
		if tr.root.Entries != int64(len(entries)) || tr.root.Bytes != size {
			t.Fatalf("root says %d entries, %d bytes; there are %d, %d", tr.root.Entries, tr.root.Bytes, len(entries), size)
		}
		for _, l := range tr.leaves {
			if l.Entries > int64(capFactor*cut.Leaf) {
				t.Fatalf("leaf of %d lines at an average of %d", l.Entries, cut.Leaf)
			}
		}
		at := map[int]int{tr.root.Level: 1}
		for _, r := range tr.all {
			if r != tr.root {
				at[r.Level]++
			}
		}
		for level := 1; level <= tr.root.Level; level++ {
			if at[level] > max((at[level-1]+1)/2, 1) {
				t.Fatalf("%d pages of level %d over %d", at[level], level, at[level-1])
			}
		}
		from, to := anyKey().Draw(t, "from"), anyKey().Draw(t, "to")
		if len(entries) > 0 && rapid.Bool().Draw(t, "from a key that is there") {
			from = entries[rapid.IntRange(0, len(entries)-1).Draw(t, "which")].Key // one that a cap cut apart, at times
		}
		var want []*format.Entry
		for _, e := range entries {
			if e.Key >= from && e.Key < to {
				want = append(want, e)
			}
		}
		if got := collect(t, s, tr.root, from, to); !slices.Equal(got, texts(want)) {
			t.Fatalf("from %q to %q: got %v\nwant %v", from, to, got, texts(want))
		}
	})
}

// Pages do not wait for their object's name without end: memory would grow with the number of keys. What is there already
// waits for nothing.
func TestWaitingIsBounded(t *testing.T) {
	s := newShelf(1 << 30)
	told := 0
	b := NewBuilder(s, Cut{Leaf: 16, Fanout: 128}, nil, func(format.PageRef) { told++ })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	leaves := 3*maxUnnamed + 10
	if testing.Short() { // under the race detector; whole without
		leaves = maxUnnamed + 10
	}
	reused, most := 0, 0
	for i := range leaves {
		first := fmt.Sprintf("k%08d", i)
		must(b.Leaf(t.Context(), format.PageRef{First: first, Entries: 1}, []byte(first)))
		if i%2 == 0 {
			before := told
			must(b.Reuse(t.Context(), format.PageRef{First: first, Object: format.MetaName(sha256.Sum256(nil)), Frame: format.Frame{Length: 1, Plain: 1}, Sum: sha256.Sum256(nil), Entries: 1}))
			if reused++; told == before {
				t.Fatal("a page that is there already waits")
			}
		}
		most = max(most, len(b.unnamed))
		for _, l := range b.levels {
			most = max(most, len(l.lines))
		}
	}
	root, err := b.Root(t.Context())
	must(err)
	if root.Entries != int64(leaves+reused) || most > maxUnnamed || told < leaves+reused {
		t.Errorf("%d entries; up to %d pages waited; emit was told of %d", root.Entries, most, told)
	}
}

// A whole tree fits into one object: its pages refer to each other without its name, and are found again in it.
func TestOneObject(t *testing.T) {
	var entries []*format.Entry
	for i := range 3000 {
		entries = append(entries, entry(fmt.Sprintf("k%05d", i), 1))
	}
	cut := Cut{Leaf: 8, Fanout: 8}
	s := newShelf(1 << 30)
	old := plant(t, s, cut, entries, nil)
	if len(s.pages) != 1 || old.root.Level < 3 || old.root.Object == "" {
		t.Fatalf("%d objects, root %+v", len(s.pages), old.root)
	}
	for _, r := range old.all {
		if r.Level > 0 && bytes.Contains(s.pages[r.Object][r.Frame.Offset], []byte(`"object"`)) {
			t.Fatalf("the page at %q of level %d names an object", r.First, r.Level)
		}
	}
	entries[1500] = entry(entries[1500].Key, 2)
	before := s.put
	now := plant(t, s, cut, entries, old)
	if wrote := s.put - before; len(s.pages) != 2 || wrote != old.root.Level+1 {
		t.Errorf("one changed entry wrote %d pages into %d objects, in a tree of level %d", wrote, len(s.pages)-1, old.root.Level)
	}
	if got := collect(t, s, now.root, "", ""); !slices.Equal(got, texts(entries)) {
		t.Error("the walk differs")
	}
	// Set back to what it was: pages of the first object are the same again only if they lie in it.
	entries[1500] = entry(entries[1500].Key, 1)
	if again := plant(t, s, cut, entries, now); again.root.Entries != old.root.Entries {
		t.Errorf("root %+v", again.root)
	} else if got := collect(t, s, again.root, "", ""); !slices.Equal(got, texts(entries)) {
		t.Error("the walk differs after the change was taken back")
	}
}

// An empty tree may be stored or not: nobody asks for its page.
func TestEmptyTreesAreNotAskedFor(t *testing.T) {
	asked := func(_ context.Context, ref format.PageRef) ([]byte, error) {
		return nil, fmt.Errorf("%s was asked for", ref.Object)
	}
	for _, frame := range []format.Frame{{}, {Offset: 100, Length: 9}} {
		meta, needs := format.EmptyTree(format.MetaName(format.Hash{1})), format.EmptyTree(format.NeedsName(format.Hash{1}))
		meta.Frame, needs.Frame = frame, frame
		for e, err := range Entries(t.Context(), asked, meta, "", "") {
			t.Errorf("%+v: entry %v, %v", frame, e, err)
		}
		for n, err := range Needs(t.Context(), asked, needs, nil) {
			t.Errorf("%+v: need %v, %v", frame, n, err)
		}
		for p, err := range Points(t.Context(), asked, needs, nil) {
			t.Errorf("%+v: point %v, %v", frame, p, err)
		}
		for d, err := range Diff(t.Context(), asked, &meta, &meta) {
			t.Errorf("%+v: difference %v, %v", frame, d, err)
		}
		if root, err := Rooted(t.Context(), asked, meta); err != nil || root.First != "" {
			t.Errorf("%+v: root %+v, %v", frame, root, err)
		}
	}
}
