package tree

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// bombs are trees of a few kilobytes that hold together, page by page, and stand for more entries than can be walked.
func bombs(t testing.TB) map[string]func(c crib) format.PageRef {
	leaf := func(c crib, key string) format.PageRef {
		return c.put(format.PageRef{First: key, Entries: 1, Bytes: 1}, lines(t, entry(key, 1)))
	}
	over := func(c crib, below ...format.PageRef) format.PageRef {
		up := format.PageRef{Level: below[0].Level + 1, First: below[0].First}
		for _, r := range below {
			up.Entries += r.Entries
			up.Bytes += r.Bytes
		}
		return c.put(up, refs(t, below...))
	}
	times := func(r format.PageRef, n int) []format.PageRef {
		out := make([]format.PageRef, n)
		for i := range out {
			out[i] = r
		}
		return out
	}
	return map[string]func(c crib) format.PageRef{
		"one page again and again, up to 2^60": func(c crib) format.PageRef {
			r := leaf(c, "k")
			for range 5 {
				r = over(c, times(r, 4096)...)
			}
			if r.Entries != 1<<60 {
				t.Fatalf("%d entries", r.Entries)
			}
			return r
		},
		// No page twice under one parent: each level has sixteen pages, which differ in their tags_read, and each of them refers
		// to all of the level below.
		"many pages, each referring to all": func(c crib) format.PageRef {
			var below []format.PageRef
			for i := range int64(16) {
				r := leaf(c, "k")
				r.TagsRead = i + 1
				below = append(below, r)
			}
			for range format.MaxLevel - 1 {
				var level []format.PageRef
				for i := range int64(16) {
					mixed := append([]format.PageRef{}, below...)
					mixed[0].TagsRead = 100 + i
					level = append(level, over(c, mixed...))
				}
				below = level
			}
			return over(c, below...)
		},
		"two keys in turn": func(c crib) format.PageRef {
			r := over(c, leaf(c, "a"), leaf(c, "b"))
			for range 5 {
				r = over(c, times(r, 1000)...)
			}
			return r
		},
		"behind an honest beginning": func(c crib) format.PageRef {
			r := leaf(c, "z")
			for range 3 {
				r = over(c, times(r, 4096)...)
			}
			honest := over(c, over(c, over(c, leaf(c, "a"), leaf(c, "b"))))
			return over(c, honest, r)
		},
	}
}

// TestBombs: every walk ends with an error after a few pages, whatever the tree claims.
func TestBombs(t *testing.T) {
	for name, make := range bombs(t) {
		c := crib{}
		root := c.rooted(make(c))
		for what, do := range map[string]func(load Load) error{
			"leaves": func(load Load) (last error) {
				for _, err := range Leaves(t.Context(), load, root, "", nil) {
					last = err
				}
				return last
			},
			"entries": func(load Load) (last error) {
				for _, err := range Entries(t.Context(), load, root, "", "") {
					last = err
				}
				return last
			},
			"entries from the end": func(load Load) (last error) {
				for _, err := range Entries(t.Context(), load, root, root.First, "") {
					last = err
				}
				return last
			},
			"a cursor": func(load Load) error {
				cur := NewCursor(t.Context(), load, &root, nil, nil, nil)
				defer cur.Close()
				for {
					leaf, err := cur.Leaf()
					if leaf == nil || err != nil {
						return err
					}
					cur.Skip()
				}
			},
			"a difference": func(load Load) (last error) {
				for _, err := range Diff(t.Context(), load, nil, &root) {
					last = err
				}
				return last
			},
			"a difference, the other way round": func(load Load) (last error) {
				other := c.put(format.PageRef{First: "c", Entries: 1, Bytes: 1}, lines(t, entry("c", 1)))
				for _, err := range Diff(t.Context(), load, &root, &other) {
					last = err
				}
				return last
			},
			"needs": func(load Load) (last error) {
				for _, err := range Needs(t.Context(), load, root, nil) {
					last = err
				}
				return last
			},
		} {
			loads := 0
			err := do(func(ctx context.Context, ref format.PageRef) ([]byte, error) {
				if loads++; loads > 1000 {
					return nil, fmt.Errorf("read %d pages and goes on", loads)
				}
				return c.load(ctx, ref)
			})
			if !errors.Is(err, format.ErrMalformed) && !errors.Is(err, format.ErrBounds) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

// TestManyVersions: what several pages of one key honestly hold is walked.
func TestManyVersions(t *testing.T) {
	c := crib{}
	var leaves []format.PageRef
	for i := range 500 {
		e := entry("k", 1)
		e.Version = fmt.Sprintf("%06d", i)
		leaves = append(leaves, c.put(format.PageRef{First: "k", Entries: 1, Bytes: 1}, lines(t, e)))
	}
	root := c.rooted(c.put(format.PageRef{Level: 1, First: "k", Entries: 500, Bytes: 500}, refs(t, leaves...)))
	n := 0
	for _, err := range Entries(t.Context(), c.load, root, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 500 {
		t.Errorf("%d entries", n)
	}
}

// TestExtentBombs: pages of level 1 that stand for more than a disk has, or for more than a page may, too.
func TestExtentBombs(t *testing.T) {
	page := func(size int64, n int) (b []byte) {
		for i := range int64(n) {
			x := format.Extent{From: i * size, Size: size, Hole: true}
			var err error
			if b, err = x.AppendLine(b); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	kind := format.KindImage
	walk := func(b []byte, size int64) (n int, last error) {
		x := format.Extent{Level: 1, Size: size, Object: anObject, Frame: format.Frame{Length: 1, Plain: int64(len(b))}, Sum: format.Hash{1}}
		read := func(context.Context, format.Extent) ([]byte, error) { return b, nil }
		for _, err := range Extents(t.Context(), read, &format.Entry{Kind: kind, Extents: []format.Extent{x}}, 0, nil) {
			n, last = n+1, err
		}
		return n, last
	}
	if n, err := walk(page(format.ImageRange, 4), 4*format.ImageRange); err != nil || n != 4 {
		t.Errorf("whole ranges: %d, %v", n, err)
	}
	for what, size := range map[string]int64{"a byte each": 1, "a block each": format.ImageBlock, "two ranges each": 2 * format.ImageRange} {
		if n, err := walk(page(size, 4096), 4096*size); !errors.Is(err, format.ErrMalformed) || n > 2 {
			t.Errorf("%s: %d, %v", what, n, err)
		}
	}
	kind = format.KindObject
	if n, err := walk(page(1<<20, 1024), 1024<<20); err != nil || n != 1024 {
		t.Errorf("an object's ranges, of any size: %d, %v", n, err)
	}
	if n, err := walk(page(1<<20, 1025), 1025<<20); !errors.Is(err, format.ErrBounds) || n != 1025 {
		t.Errorf("more of them than stand on a page: %d, %v", n, err)
	}
	for what, line := range map[string]string{
		"a gap":           `{"from":1,"size":5,"hole":true}`,
		"beyond the page": `{"from":0,"size":11,"hole":true}`,
		"level 1 again":   `{"level":1,"from":0,"size":10,"object":"` + anObject + `","frame":[0,1,1],"sha256":"` + format.Hash{1}.String() + `"}`,
		"a range sum":     `{"from":0,"size":10,"object":"` + anObject + `","frame":[0,1,1],"sha256":"` + format.Hash{1}.String() + `","content":"` + format.Hash{1}.String() + `"}`,
		"too little":      `{"from":0,"size":9,"hole":true}`,
	} {
		if _, err := walk([]byte(line+"\n"), 10); !errors.Is(err, format.ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	e := &format.Entry{Kind: format.KindImage, Key: "vol", Size: math.MaxInt64, SHA256: format.Hash{1}, Extents: []format.Extent{{Level: 1, Size: math.MaxInt64, Object: anObject, Frame: format.Frame{Length: 1, Plain: 1}, Sum: format.Hash{1}}}}
	if _, err := e.AppendLine(nil); !errors.Is(err, format.ErrBounds) {
		t.Errorf("an image of 8 EiB: %v", err)
	}
}
