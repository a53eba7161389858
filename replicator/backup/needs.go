package backup

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// tally adds up how much of which stored object the new point uses: beyond what its parent did, or, where the parent's
// own list cannot be relied on, in all. It is kept on disk.
type tally struct {
	beyond bool // the parent's uses are taken off

	mu    sync.Mutex
	c     *cache.Counter
	edges map[pageEdge]int64 // of pages of manifests
	err   error              // the first failure of a call that could not return one
}

func newTally(c *cache.Cache, name string, beyond bool) (*tally, error) {
	counter, err := c.Counter(name)
	if err != nil {
		return nil, err
	}
	return &tally{c: counter, beyond: beyond, edges: map[pageEdge]int64{}}, nil
}

func (n *tally) close() error { return n.c.Close() }

func (n *tally) add(object string, delta int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.err = n.c.Add(object, delta)
	}
	return n.err
}

func (n *tally) usesChunk(c format.Chunk) error {
	if c.Hole {
		return nil
	}
	return n.add(format.PackName(c.Pack), c.Share())
}

// usesPage and dropsPage are called for every page of the new tree and of the parent's.
func (n *tally) usesPage(ref format.PageRef) { n.page(ref, 1) }
func (n *tally) dropsPage(ref format.PageRef) {
	if n.beyond {
		n.page(ref, -1)
	}
}

// drops takes away a page of level 1, whose error comes out of the next call.
func (n *tally) drops(x format.Extent) {
	if n.beyond {
		_ = n.add(x.Object, -x.Frame.Length)
	}
}

// maxUses bounds the memory of what one entry uses until it is read: 2 TiB of it.
const maxUses = 1 << 16

// used gives what counts the uses of an entry that is being read. They are told to the tally once it was read: a reading that
// comes to nothing, such as that of a large file which is written to, must leave nothing behind there. Beyond maxUses they are
// told at once, and what a failed reading leaves is that some objects are kept for longer than they would have to be.
func (t *task) used(n *tally) func(object string, delta int64) error {
	return func(object string, delta int64) error {
		if t.uses == nil {
			t.uses = map[string]int64{}
		}
		if _, ok := t.uses[object]; !ok && len(t.uses) >= maxUses {
			return n.add(object, delta)
		}
		t.uses[object] += delta
		return nil
	}
}

// extents reads extent pages; a session does.
type extents interface {
	Extent(ctx context.Context, x format.Extent) ([]byte, error)
}

// dropsEntry takes away what an entry of the parent used.
func (n *tally) dropsEntry(ctx context.Context, e *format.Entry, r extents) error {
	if !n.beyond {
		return nil
	}
	return n.entry(ctx, e, r, -1)
}

// entry counts what an entry uses, times sign.
func (n *tally) entry(ctx context.Context, e *format.Entry, r extents, sign int64) error {
	for _, c := range e.Chunks {
		if !c.Hole {
			if err := n.add(format.PackName(c.Pack), sign*c.Share()); err != nil {
				return err
			}
		}
	}
	inner := func(x format.Extent) { _ = n.add(x.Object, sign*x.Frame.Length) } // whose error comes out of the next call
	for x, err := range tree.Extents(ctx, r.Extent, e, 0, inner) {
		if err == nil {
			err = n.extent(ctx, x, r, sign)
		}
		if err != nil {
			return fmt.Errorf("read where %q was: %w", e.Key, err)
		}
	}
	return nil
}

// extent counts what one extent of level 0 uses, its page included, times sign.
func (n *tally) extent(ctx context.Context, x format.Extent, r extents, sign int64) error {
	if x.Hole {
		return nil
	}
	for c, err := range tree.ExtentChunks(ctx, r.Extent, x) {
		if err != nil {
			return err
		}
		if c.Hole {
			continue
		}
		if err := n.add(format.PackName(c.Pack), sign*c.Share()); err != nil {
			return err
		}
	}
	return n.add(x.Object, sign*x.Frame.Length)
}

// lists writes what the new point needs, and which points came before it.
type lists struct{ *engine }

// writeLists writes the points list and the needs list, into one object where they are small.
func (e *lists) writeLists(ctx context.Context) (needs, points format.PageRef, err error) {
	sink := e.s.Writer.NeedsSink()
	list, err := e.writePoints(ctx, sink)
	if err != nil {
		return needs, points, fmt.Errorf("write the list of earlier points: %w", err)
	}
	if needs, err = e.writeNeeds(ctx, sink, list.held); err != nil {
		return needs, points, err
	}
	points = list.root(needs.Object)
	e.memo.Objects = list.objects(points)
	return needs, points, nil
}

// writeNeeds merges the parent's needs list with the tally, writes the new list, and secures every object on it, the
// list's own objects included, in every vault. lists are the objects of earlier runs that pages of the points list are in.
func (e *lists) writeNeeds(ctx context.Context, sink *repo.Sink, lists []string) (format.PageRef, error) {
	known := e.newKnownPages(ctx)
	pages := map[string]bool{} // objects the list itself is in
	cut := tree.NewCut([32]byte{}, e.params)
	b := tree.NewBuilder(sink, cut, known.find, func(ref format.PageRef) { pages[ref.Object] = true })
	w := tree.NewListWriter(b, cut)
	err := e.s.Locks.Secure(ctx, func(yield func(format.Need, error) bool) {
		for n, err := range e.mergedNeeds(ctx, known, lists) {
			if err == nil {
				err = w.Add(ctx, n.Name, n.Size, n.AppendLine)
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
	})
	if err != nil {
		return format.PageRef{}, fmt.Errorf("secure what the point needs: %w", err)
	}
	if err := w.End(ctx); err != nil {
		return format.PageRef{}, err
	}
	// The object that is being filled holds pages of the points list. As it cannot be on the needs list, it holds its root.
	if err := b.Anew(ctx, e.s.Content.Page); err != nil {
		return format.PageRef{}, err
	}
	root, err := b.Root(ctx)
	if err != nil {
		return root, err
	}
	pages[root.Object] = true
	return root, e.s.Locks.Secure(ctx, func(yield func(format.Need, error) bool) {
		for name := range pages {
			if !yield(format.Need{Name: name, Size: -1}, nil) {
				return
			}
		}
	})
}

// needsOf gives what a committed point needs, its needs list's own objects last.
func (e *lists) needsOf(ctx context.Context, c *format.Commit) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		pages := map[string]bool{}
		for n, err := range tree.Needs(ctx, e.s.Content.Page, c.Needs, func(ref format.PageRef) { pages[ref.Object] = true }) {
			if !yield(n, err) || err != nil {
				return
			}
		}
		for name := range pages {
			if !yield(format.Need{Name: name, Size: -1}, nil) {
				return
			}
		}
	}
}
