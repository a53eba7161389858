package tree

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Whatever mix of skipping leaves and taking entries is used, every entry is met exactly once and in order, and a leaf
// is opened only if an entry of it was asked for.
func TestCursor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries, cut := anyEntries().Draw(t, "entries"), anyCut().Draw(t, "cut")
		s := newShelf(4)
		tr := plant(t, s, cut, entries, nil)
		var opened []format.PageRef
		c := NewCursor(context.Background(), s.load, &tr.root, nil, func(r format.PageRef) { opened = append(opened, r) }, nil)
		defer c.Close()
		at, skipped, inLeaf := 0, 0, 0
		for {
			if rapid.Bool().Draw(t, "look at the leaf") {
				leaf, err := c.Leaf()
				if err != nil {
					t.Fatal(err)
				}
				if leaf != nil {
					if inLeaf != 0 {
						t.Fatalf("a leaf is given with %d entries of the one before untaken", inLeaf)
					}
					if leaf.Entries > 0 && leaf.First != entries[at].Key {
						t.Fatalf("leaf at %q, the next key is %q", leaf.First, entries[at].Key)
					}
					if rapid.Bool().Draw(t, "skip") {
						at += int(leaf.Entries)
						skipped++
						c.Skip()
						continue
					}
				} else if inLeaf == 0 && at < len(entries) {
					t.Fatalf("no leaf between two leaves, at %d of %d", at, len(entries))
				}
			}
			e, err := c.Peek()
			if err != nil {
				t.Fatal(err)
			}
			if e == nil {
				break
			}
			if again, _ := c.Peek(); again != e {
				t.Fatal("peeking twice gives two entries")
			}
			if inLeaf == 0 {
				inLeaf = int(opened[len(opened)-1].Entries)
			}
			if e.Key != entries[at].Key || e.Size != entries[at].Size {
				t.Fatalf("entry %q at %d, want %q", e.Key, at, entries[at].Key)
			}
			c.Take()
			at++
			inLeaf--
		}
		if at != len(entries) || len(opened)+skipped != len(tr.leaves) {
			t.Fatalf("met %d of %d entries; %d leaves opened, %d skipped, %d in all", at, len(entries), len(opened), skipped, len(tr.leaves))
		}
		for range 3 { // the end stays the end
			if e, err := c.Peek(); e != nil || err != nil {
				t.Fatal(e, err)
			}
			if l, err := c.Leaf(); l != nil || err != nil {
				t.Fatal(l, err)
			}
		}
		for _, l := range tr.leaves {
			if !slices.Contains(opened, l) && s.loads[l.Sum] > 0 {
				t.Fatalf("skipped leaf at %q was fetched", l.First)
			}
		}
	})
}

func TestCursorOverNothing(t *testing.T) {
	c := NewCursor(context.Background(), nil, nil, nil, nil, nil)
	defer c.Close()
	if l, err := c.Leaf(); l != nil || err != nil {
		t.Error(l, err)
	}
	if e, err := c.Peek(); e != nil || err != nil {
		t.Error(e, err)
	}
}

// An error stays: nothing after it is given, wherever it comes from.
func TestCursorErrors(t *testing.T) {
	boom := errors.New("boom")
	var entries []*format.Entry
	for i := range 400 {
		entries = append(entries, entry(string([]byte{'k', byte('a' + i/26), byte('a' + i%26)}), 1))
	}
	s := newShelf(4)
	tr := plant(t, s, Cut{Leaf: 8, Fanout: 4}, entries, nil)
	for broken := range len(s.all()) {
		n := 0
		load := func(ctx context.Context, ref format.PageRef) ([]byte, error) {
			if n++; n > broken {
				return nil, boom
			}
			return s.load(ctx, ref)
		}
		c := NewCursor(context.Background(), load, &tr.root, nil, nil, nil)
		got := 0
		for {
			e, err := c.Peek()
			if err != nil {
				if !errors.Is(err, boom) {
					t.Fatal(err)
				}
				break
			}
			if e == nil {
				t.Fatalf("after %d loads the end came without the error, at %d of %d entries", broken, got, len(entries))
			}
			c.Take()
			got++
		}
		if l, err := c.Leaf(); l != nil || !errors.Is(err, boom) {
			t.Fatalf("after the error: %v, %v", l, err)
		}
		c.Close()
	}
}

// all lists the pages.
func (s *shelf) all() [][]byte {
	var out [][]byte
	for _, p := range s.pages {
		out = append(out, p...)
	}
	return out
}
