package tree

import (
	"fmt"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// order watches over the pages that one walk comes by. First keys never go back, and no page comes twice: so a walk is never
// longer than what is stored. Without that a page could refer many times to one below it, that one to another, and a few
// kilobytes would hold more entries than anybody can count. Pages with the same first key are the only ones that can be the
// same, so only these are remembered: there are several where one key's versions fill several pages.
type order struct {
	first string
	seen  map[format.Hash]struct{}
}

// maxSameFirst bounds the memory of pages with one first key: about 64 versions each where leaves are smallest.
const maxSameFirst = 1 << 18

// met reports whether see would refuse a page.
func (o *order) met(ref format.PageRef) bool {
	_, again := o.seen[ref.Sum]
	return ref.First < o.first || again && ref.First == o.first
}

// see takes note of a page before it is read.
func (o *order) see(ref format.PageRef) error {
	if ref.First == "" {
		return nil // a root, whose first key a commit object leaves out
	}
	switch {
	case ref.First < o.first:
		return fmt.Errorf("page at %q stands behind one at %q: %w", ref.First, o.first, format.ErrMalformed)
	case ref.First > o.first:
		o.first = ref.First
		clear(o.seen)
	}
	if _, again := o.seen[ref.Sum]; again {
		return fmt.Errorf("page at %q is referred to twice: %w", ref.First, format.ErrMalformed)
	}
	if len(o.seen) >= maxSameFirst {
		return fmt.Errorf("more than %d pages at %q: %w", maxSameFirst, ref.First, format.ErrBounds)
	}
	if o.seen == nil {
		o.seen = map[format.Hash]struct{}{}
	}
	o.seen[ref.Sum] = struct{}{}
	return nil
}
