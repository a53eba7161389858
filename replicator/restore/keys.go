package restore

import (
	"iter"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// keysIn counts the keys that were asked for, with from <= key < to ("": to the end).
func (w *walker) keysIn(from, to string) int64 {
	i, _ := slices.BinarySearch(w.o.Keys, from)
	j := len(w.o.Keys)
	if to != "" {
		j, _ = slices.BinarySearch(w.o.Keys, to)
	}
	return int64(max(j-i, 0))
}

// chosen leaves out pages that hold none of the keys that were asked for. Where a page ends shows with the one behind it, so each is held back until then.
func (w *walker) chosen(leaves iter.Seq2[format.PageRef, error]) iter.Seq2[format.PageRef, error] {
	if len(w.o.Keys) == 0 {
		return leaves
	}
	return func(yield func(format.PageRef, error) bool) {
		var held *format.PageRef
		// give hands the page on that was held back; to is where its keys end at the latest.
		give := func(to string) bool {
			leaf := held
			held = nil
			return leaf == nil || w.keysIn(leaf.First, to) == 0 || yield(*leaf, nil)
		}
		for leaf, err := range leaves {
			if err != nil {
				if !give("") || !yield(leaf, err) {
					return
				}
				continue
			}
			if !give(leaf.First + "\x00") { // versions of one key may lie on both pages
				return
			}
			held = &leaf
		}
		give("")
	}
}
