package tree

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The same entries give the same pages, and nothing is written but the root, which is another each time; a few changed keys leave all other leaves
// as they were, and inner pages away from the change are found again.
func TestReuse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, cut := anyEntries().Draw(t, "entries"), anyCut().Draw(t, "cut")
		s := newShelf(rapid.IntRange(1, 9).Draw(t, "per"))
		old := plant(t, s, cut, entries, nil)
		before := s.put
		again := plant(t, s, cut, entries, old)
		if len(entries) == 0 {
			if again.root != old.root || s.put != before {
				t.Fatalf("an empty tree wrote %d pages, root %+v instead of %+v", s.put-before, again.root, old.root)
			}
			return
		}
		// Where one key's versions fill several pages, these and what is above them are not told apart.
		if wrote := s.put - before; wrote != 1 && !old.twins() {
			t.Fatalf("unchanged entries wrote %d pages, root %+v instead of %+v", wrote, again.root, old.root)
		}
		if again.root.Sum == old.root.Sum || again.root.Entries != old.root.Entries || again.root.Level != old.root.Level {
			t.Fatalf("unchanged entries: root %+v, before %+v", again.root, old.root)
		}
		before = s.put
		changed := slices.Clone(entries)
		touched := map[string]bool{}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			i := rapid.IntRange(0, len(changed)-1).Draw(t, "at")
			changed[i] = entry(changed[i].Key, 1000)
			touched[changed[i].Key] = true
		}
		now := plant(t, s, cut, changed, old)
		if got := collect(t, s, now.root, "", ""); !slices.Equal(got, texts(changed)) {
			t.Fatalf("got %v\nwant %v", got, texts(changed))
		}
		// A changed value moves no cut (unless by size), so leaves without a touched key stay.
		fresh := 0
		for _, l := range now.leaves {
			if !slices.Contains(old.leaves, l) {
				fresh++
			}
		}
		if versions := leavesWith(old, entries, touched); fresh > versions {
			t.Fatalf("%d new leaves, but touched keys lie in %d", fresh, versions)
		}
		// Each new leaf needs at most one new page a level above it.
		// Of pages with the same first key, which one key's versions fill, only one is known.
		if wrote, most := s.put-before, fresh*(now.root.Level+1)+twins(old); wrote > most {
			t.Fatalf("%d pages written for %d new leaves in a tree of level %d", wrote, fresh, now.root.Level)
		}
	})
}

// twins reports whether two pages of a level have the same first key.
func (b *built) twins() bool {
	type place struct {
		level int
		first string
	}
	seen := map[place]bool{}
	for _, r := range b.all {
		p := place{r.Level, r.First}
		if seen[p] {
			return true
		}
		seen[p] = true
	}
	return false
}

// twins counts the inner pages that share their first key with another of their level.
func twins(b *built) (n int) {
	type place struct {
		level int
		first string
	}
	seen := map[place]int{}
	for _, r := range append(slices.Clone(b.all), b.root) {
		if r.Level > 0 {
			seen[place{r.Level, r.First}]++
		}
	}
	for _, k := range seen {
		if k > 1 {
			n += k
		}
	}
	return n
}

// leavesWith counts the leaves that hold a touched key.
func leavesWith(b *built, entries []*format.Entry, touched map[string]bool) int {
	n, at := 0, 0
	for _, l := range b.leaves {
		hit := false
		for _, e := range entries[at : at+int(l.Entries)] {
			hit = hit || touched[e.Key]
		}
		at += int(l.Entries)
		if hit {
			n++
		}
	}
	return n
}

// Keys added or removed change only pages near them: cuts depend on the keys alone.
func TestCutsAreLocal(t *testing.T) {
	var entries []*format.Entry
	for i := range 20_000 {
		entries = append(entries, entry(string([]byte{'k', byte('a' + i/2600), byte('a' + i/100%26), byte('0' + i/10%10), byte('0' + i%10)}), 1))
	}
	slices.SortFunc(entries, func(a, b *format.Entry) int { return cmpString(a.Key, b.Key) })
	cut := Cut{Leaf: 16, Fanout: 8}
	s := newShelf(50)
	old := plant(t, s, cut, entries, nil)
	if old.root.Level < 3 {
		t.Fatalf("a tree of level %d proves little", old.root.Level)
	}
	before := s.put
	less := slices.Delete(slices.Clone(entries), 7000, 7001)
	now := plant(t, s, cut, less, old)
	// The deleted key may have been a cut: two leaves become one, or a run of capped ones shifts up to the next cut.
	if wrote := s.put - before; wrote > 8*(now.root.Level+1) {
		t.Errorf("one deleted key of %d wrote %d pages", len(entries), wrote)
	}
	if got := collect(t, s, now.root, "", ""); !slices.Equal(got, texts(less)) {
		t.Error("the walk differs")
	}
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Every page of the tree is emitted exactly once, the root included.
func TestEmit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, cut := anyEntries().Draw(t, "entries"), anyCut().Draw(t, "cut")
		s := newShelf(3)
		tr := plant(t, s, cut, entries, nil)
		var walked []format.PageRef
		for l, err := range Leaves(context.Background(), s.load, tr.root, "", func(r format.PageRef) { walked = append(walked, r) }) {
			if err != nil {
				t.Fatal(err)
			}
			walked = append(walked, l)
		}
		count := map[format.PageRef]int{}
		for _, r := range tr.all {
			count[r]++
			if r.Object == "" {
				t.Fatalf("emitted without a place: %+v", r)
			}
		}
		for _, r := range walked {
			count[r]--
		}
		for r, n := range count {
			if n != 0 {
				t.Fatalf("page %+v is off by %d", r, n)
			}
		}
	})
}

// The digest of an inner page is made from its children's, and an empty one below shows at the root.
func TestDigestsAndAggregates(t *testing.T) {
	ctx := context.Background()
	s := newShelf(4)
	leaf := func(first, digest string, tags, missing int64) format.PageRef {
		return format.PageRef{First: first, Entries: 2, Bytes: 10, Digest: digest, TagsRead: tags, Missing: missing}
	}
	grow := func(refs ...format.PageRef) format.PageRef {
		b := NewBuilder(s, Cut{Leaf: 4, Fanout: 100}, nil, nil)
		for _, r := range refs {
			if err := b.Leaf(ctx, r, []byte(r.First+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		root, err := b.Root(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return root
	}
	const d1, d2 = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	a := grow(leaf("a", d1, 50, 0), leaf("b", d2, 20, 1), leaf("c", d1, 0, 1))
	if a.Level != 1 || a.Entries != 6 || a.Bytes != 30 || a.Missing != 2 || a.TagsRead != 20 {
		t.Errorf("root says %+v", a)
	}
	if a.Digest != JoinDigests(JoinDigests(d1, d2), d1) || len(a.Digest) != 32 {
		t.Errorf("digest %q", a.Digest)
	}
	if b := grow(leaf("a", d1, 0, 0), leaf("b", "", 0, 0), leaf("c", d1, 0, 0)); b.Digest != "" {
		t.Errorf("a leaf to be looked at again is lost in %q", b.Digest)
	}
	if JoinDigests(d1, d2) == JoinDigests(d2, d1) {
		t.Error("the order does not show in the digest")
	}
	if _, err := NewBuilder(s, Cut{}, nil, nil).Root(ctx); err != ErrEmpty {
		t.Errorf("no pages: %v", err)
	}
}

// A page must fit a frame, however long the keys are.
func TestLongKeysFitFrames(t *testing.T) {
	ctx := context.Background()
	s := newShelf(4)
	b := NewBuilder(s, Cut{Leaf: 64, Fanout: 1024}, nil, nil)
	long := make([]byte, 60<<10)
	for i := range long {
		long[i] = 1 // six characters each in JSON
	}
	for i := range 60 {
		key := string([]byte{byte('a' + i/26), byte('a' + i%26)}) + string(long)
		if err := b.Leaf(ctx, format.PageRef{First: key, Entries: 1}, []byte(key[:2]+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Root(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	for _, pages := range s.pages {
		for _, p := range pages {
			if len(p) > format.MaxFrame {
				t.Fatalf("page of %d bytes, a frame holds %d", len(p), format.MaxFrame)
			}
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	ctx := context.Background()
	b := NewBuilder(newShelf(1), Cut{Leaf: 4, Fanout: 4}, nil, nil)
	if err := b.Reuse(ctx, format.PageRef{First: "a", Entries: 1, Level: 1, Object: "x"}); err == nil {
		t.Error("an inner page was taken for a leaf")
	}
	if err := b.Reuse(ctx, format.PageRef{First: "a", Entries: 1}); err == nil {
		t.Error("a leaf without a place was taken")
	}
}
