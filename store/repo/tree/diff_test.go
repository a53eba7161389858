package tree

import (
	"context"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The leaves given and those both trees have make up the trees, and only a leaf of a key that fills several pages is
// ever given without need.
func TestDiff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, cut := anyEntries().Draw(t, "entries"), anyCut().Draw(t, "cut")
		s := newShelf(4)
		older := plant(t, s, cut, entries, nil)
		changed := slices.Clone(entries)
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			if len(changed) == 0 {
				break
			}
			i := rapid.IntRange(0, len(changed)-1).Draw(t, "at")
			if rapid.Bool().Draw(t, "delete") {
				changed = slices.Delete(changed, i, i+1)
			} else {
				changed[i] = entry(changed[i].Key, 100_000)
			}
		}
		newer := plant(t, s, cut, changed, older)
		clear(s.loads)
		var got [2][]format.PageRef
		last := ""
		for l, err := range Diff(context.Background(), s.load, &older.root, &newer.root) {
			if err != nil {
				t.Fatal(err)
			}
			if l.Ref.First < last {
				t.Fatalf("leaf at %q after one at %q", l.Ref.First, last)
			}
			last = l.Ref.First
			got[l.Side] = append(got[l.Side], l.Ref)
		}
		check(t, "old", got[Old], older.leaves, newer.leaves)
		check(t, "new", got[New], newer.leaves, older.leaves)
		for _, l := range append(slices.Clone(older.leaves), newer.leaves...) {
			if s.loads[l.Sum] > 0 {
				t.Fatalf("leaf at %q was loaded", l.First)
			}
		}
		if older.root == newer.root && len(s.loads) > 0 {
			t.Fatal("equal trees were loaded")
		}
	})
}

func check(t rapid.TB, side string, got, own, other []format.PageRef) {
	t.Helper()
	same := func(a, b format.PageRef) bool { return a.First == b.First && a.Sum == b.Sum }
	for _, l := range own {
		shared := slices.ContainsFunc(other, func(o format.PageRef) bool { return same(l, o) })
		given := slices.ContainsFunc(got, func(o format.PageRef) bool { return same(l, o) })
		many := 0
		for _, o := range own {
			if o.First == l.First {
				many++
			}
		}
		for _, o := range other {
			if o.First == l.First {
				many++
			}
		}
		if !shared && !given || shared && given && many <= 2 {
			t.Fatalf("%s leaf at %q: in both %t, given %t", side, l.First, shared, given)
		}
	}
	if len(got) > len(own) {
		t.Fatalf("%d leaves given, %s tree has %d", len(got), side, len(own))
	}
}

func TestDiffWithNothing(t *testing.T) {
	s := newShelf(4)
	tr := plant(t, s, Cut{Leaf: 4, Fanout: 4}, []*format.Entry{entry("a", 1), entry("b", 1)}, nil)
	for _, side := range []Side{Old, New} {
		roots := [2]*format.PageRef{}
		roots[side] = &tr.root
		n := 0
		for l, err := range Diff(t.Context(), s.load, roots[Old], roots[New]) {
			if err != nil || l.Side != side {
				t.Fatal(l, err)
			}
			n++
		}
		if n != len(tr.leaves) {
			t.Errorf("%d of %d leaves", n, len(tr.leaves))
		}
	}
	for range Diff(t.Context(), s.load, nil, nil) {
		t.Error("a leaf of nothing")
	}
}
