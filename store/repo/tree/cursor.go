package tree

import (
	"context"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Cursor walks an earlier manifest beside a new listing: leaf by leaf where nothing changed, entry by entry elsewhere.
// It belongs to one goroutine and must be closed.
type Cursor struct {
	ctx  context.Context
	load Load
	// opened is called for every leaf that is opened rather than skipped, before its entries are given.
	opened func(format.PageRef)
	gap    Gap

	nextLeaf func() (format.PageRef, error, bool)
	stop     func()
	leaf     *format.PageRef // the next leaf, looked at but neither skipped nor opened

	nextEntry func() (*format.Entry, error, bool)
	stopEntry func()
	entry     *format.Entry // looked at but not taken
	last      string        // key of the newest entry given: the next leaf may not begin before it
	err       error
}

// NewCursor starts at the beginning of the tree. visit is called for every inner page, opened for every leaf that is
// read; both may be nil. With a gap, which may be nil, what it allows is passed over as if it were not part of the tree. A
// nil root is an empty tree.
func NewCursor(ctx context.Context, load Load, root *format.PageRef, visit, opened func(format.PageRef), gap Gap) *Cursor {
	c := &Cursor{ctx: ctx, load: load, opened: opened, gap: gap, stop: func() {}, stopEntry: func() {}}
	if root == nil {
		c.nextLeaf = func() (format.PageRef, error, bool) { return format.PageRef{}, nil, false }
		return c
	}
	c.nextLeaf, c.stop = iter.Pull2(leaves(ctx, load, *root, "", visit, gap))
	return c
}

// Close releases the cursor.
func (c *Cursor) Close() {
	c.stopEntry()
	c.stop()
}

// Leaf gives the next leaf if the cursor stands between two leaves, else nil.
func (c *Cursor) Leaf() (*format.PageRef, error) {
	if c.err != nil || c.entry != nil || c.nextEntry != nil && c.fillEntry() {
		return nil, c.err
	}
	c.fillLeaf()
	return c.leaf, c.err
}

// Skip passes over the leaf that Leaf gave.
func (c *Cursor) Skip() { c.leaf = nil }

// Peek gives the next entry without taking it, nil at the end.
func (c *Cursor) Peek() (*format.Entry, error) {
	for c.err == nil && c.entry == nil {
		if c.nextEntry != nil && c.fillEntry() {
			break
		}
		c.fillLeaf()
		if c.leaf == nil || c.err != nil {
			break
		}
		leaf := *c.leaf
		c.leaf = nil
		if c.gap != nil {
			page, err := Page(c.ctx, c.load, leaf)
			if err != nil && c.gap(leaf, err) {
				continue
			}
			// Read once: the walk below is handed the page, or the error.
			c.start(leaf, func(context.Context, format.PageRef) ([]byte, error) { return page, err })
			continue
		}
		c.start(leaf, c.load)
	}
	return c.entry, c.err
}

// start opens a leaf.
func (c *Cursor) start(leaf format.PageRef, load Load) {
	if c.opened != nil {
		c.opened(leaf)
	}
	c.nextEntry, c.stopEntry = iter.Pull2(LeafEntries(c.ctx, load, leaf))
}

// Take passes over the entry that Peek gave.
func (c *Cursor) Take() { c.entry = nil }

func (c *Cursor) fillLeaf() {
	if c.leaf != nil || c.err != nil {
		return
	}
	ref, err, ok := c.nextLeaf()
	if err != nil {
		c.err = err
		return
	}
	if ok && ref.First < c.last {
		c.err = overlap(ref)
		return
	}
	if ok {
		c.leaf = &ref
	}
}

// fillEntry looks at the open leaf's next entry and reports whether there is one; at its end the leaf is closed.
func (c *Cursor) fillEntry() bool {
	e, err, ok := c.nextEntry()
	if err != nil {
		c.err = err
	}
	if !ok || err != nil {
		c.stopEntry()
		c.nextEntry, c.stopEntry = nil, func() {}
		return false
	}
	c.entry, c.last = e, e.Key
	return true
}
