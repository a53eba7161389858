package tree

import (
	"context"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Side says which of two trees a leaf belongs to.
type Side int

// The trees of Diff.
const (
	Old Side = iota
	New
)

// Leaf is a leaf page that only one of two trees has.
type Leaf struct {
	Side Side
	Ref  format.PageRef
}

// Diff gives the leaves that are not in both trees, of both together in order of their first keys. Stretches that the
// trees share are passed over without being loaded, whole subtrees at once. A leaf that both trees have may still be
// given, for both sides, where the versions of one key fill several pages. A nil root is an empty tree.
func Diff(ctx context.Context, load Load, older, newer *format.PageRef) iter.Seq2[Leaf, error] {
	return func(yield func(Leaf, error) bool) {
		d := differ{ctx: ctx, load: load}
		for side, root := range []*format.PageRef{older, newer} {
			if root != nil {
				d.ahead[side] = [][]format.PageRef{{*root}}
			}
		}
		for {
			a, b := d.head(Old), d.head(New)
			switch {
			case a == nil && b == nil:
				return
			case a != nil && b != nil && a.Level == b.Level && a.Sum == b.Sum && a.First == b.First:
				d.drop(Old)
				d.drop(New)
				continue
			}
			side := Old
			if a == nil || b != nil && before(b, a) {
				side = New
			}
			ref := *d.head(side)
			d.drop(side)
			if err := d.order[side].see(ref); err != nil {
				yield(Leaf{}, err)
				return
			}
			if ref.Level > 0 {
				if err := d.open(side, ref); err != nil {
					yield(Leaf{}, err)
					return
				}
			} else if !yield(Leaf{side, ref}, nil) {
				return
			}
		}
	}
}

// before says which page to take first: the one with the lesser key, and of equal ones the higher, since the other may
// turn up below it.
func before(a, b *format.PageRef) bool {
	if a.First != b.First {
		return a.First < b.First
	}
	return a.Level > b.Level
}

// differ holds, for each tree, the references still ahead: a run for each level being walked, the lowest last.
type differ struct {
	ctx   context.Context
	load  Load
	ahead [2][][]format.PageRef
	begun [2]bool // the root was opened
	order [2]order
}

func (d *differ) head(s Side) *format.PageRef {
	runs := d.ahead[s]
	for len(runs) > 0 && len(runs[len(runs)-1]) == 0 {
		runs = runs[:len(runs)-1]
	}
	d.ahead[s] = runs
	if len(runs) == 0 {
		return nil
	}
	return &runs[len(runs)-1][0]
}

// drop passes over the head.
func (d *differ) drop(s Side) {
	last := len(d.ahead[s]) - 1
	d.ahead[s][last] = d.ahead[s][last][1:]
}

// open puts the pages below ref ahead.
func (d *differ) open(s Side, ref format.PageRef) error {
	page, err := Page(d.ctx, d.load, ref)
	if err != nil {
		return err
	}
	parse := parseInner
	if !d.begun[s] {
		parse, d.begun[s] = parseRoot, true
	}
	refs, err := parse(page, ref)
	if err != nil {
		return err
	}
	d.ahead[s] = append(d.ahead[s], refs)
	return nil
}
