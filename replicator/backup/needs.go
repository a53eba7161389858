package backup

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
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

	mu  sync.Mutex
	c   *cache.Counter
	err error // the first failure of a call that could not return one
}

func newTally(c *cache.Cache, name string, beyond bool) (*tally, error) {
	counter, err := c.Counter(name)
	if err != nil {
		return nil, err
	}
	return &tally{c: counter, beyond: beyond}, nil
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

// usesPage and dropsPage are called for every page of the new tree and of the parent's. Their errors come out of all.
func (n *tally) usesPage(ref format.PageRef) { _ = n.add(ref.Object, ref.Frame.Length) }
func (n *tally) dropsPage(ref format.PageRef) {
	if n.beyond {
		_ = n.add(ref.Object, -ref.Frame.Length)
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

// all gives the sums by name.
func (n *tally) all() iter.Seq2[cache.Item, error] {
	return func(yield func(cache.Item, error) bool) {
		n.mu.Lock()
		err := n.err
		n.mu.Unlock()
		if err != nil {
			yield(cache.Item{}, err)
			return
		}
		n.c.All()(yield)
	}
}

// writeLists writes the points list and the needs list, into one object where they are small.
func (e *engine) writeLists(ctx context.Context) (needs, points format.PageRef, err error) {
	sink := e.s.NeedsSink()
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
func (e *engine) writeNeeds(ctx context.Context, sink *repo.Sink, lists []string) (format.PageRef, error) {
	known := e.newKnownPages(ctx)
	pages := map[string]bool{} // objects the list itself is in
	cut := tree.NewCut([32]byte{}, e.params)
	b := tree.NewBuilder(sink, cut, known.find, func(ref format.PageRef) { pages[ref.Object] = true })
	w := tree.NewListWriter(b, cut)
	err := e.s.Secure(ctx, func(yield func(format.Need, error) bool) {
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
	if err := b.Anew(ctx, e.s.Page); err != nil {
		return format.PageRef{}, err
	}
	root, err := b.Root(ctx)
	if err != nil {
		return root, err
	}
	pages[root.Object] = true
	return root, e.s.Secure(ctx, func(yield func(format.Need, error) bool) {
		for name := range pages {
			if !yield(format.Need{Name: name, Size: -1}, nil) {
				return
			}
		}
	})
}

// needsOf gives what a committed point needs, its needs list's own objects last.
func (e *engine) needsOf(ctx context.Context, c *format.Commit) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		pages := map[string]bool{c.Needs.Object: true}
		for n, err := range tree.Needs(ctx, e.s.Page, c.Needs, func(ref format.PageRef) { pages[ref.Object] = true }) {
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

// mergedNeeds gives the new point's needs in order of name.
func (e *engine) mergedNeeds(ctx context.Context, known *knownPages, lists []string) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		next, stop := iter.Pull2(e.changes(ctx, lists))
		defer stop()
		item, err, more := next()
		give := func(n format.Need) bool { return n.Living <= 0 || yield(n, nil) }
		upTo := func(name string) bool { // changes of objects the parent did not need
			for more && err == nil && (name == "" || item.Name < name) {
				if !give(item) {
					return false
				}
				item, err, more = next()
			}
			return true
		}
		for old, oerr := range e.oldNeeds(ctx, known) {
			if oerr != nil {
				yield(format.Need{}, oerr)
				return
			}
			if strings.HasPrefix(old.Name, format.PrefixNeeds) {
				continue // of the parent's points list
			}
			if !upTo(old.Name) {
				return
			}
			if more && err == nil && item.Name == old.Name {
				if !isStanding(old.Name) {
					old.Living += item.Living
				}
				item, err, more = next()
			}
			if !give(old) {
				return
			}
		}
		if err == nil && !upTo("") {
			return
		}
		if err != nil {
			yield(format.Need{}, err)
		}
	}
}

func (e *engine) oldNeeds(ctx context.Context, known *knownPages) iter.Seq2[format.Need, error] {
	if e.parent == nil || e.mend != nil {
		return func(func(format.Need, error) bool) {}
	}
	reuse := known.add
	if e.scattered { // every page is written anew
		reuse = nil
	}
	return tree.Needs(ctx, e.s.Page, e.parent.Needs, reuse)
}

// changes gives the tally and the objects every point needs, by name, with sizes; lists are among these.
func (e *engine) changes(ctx context.Context, lists []string) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		standing := e.s.Repository().Standing()
		for _, name := range lists {
			size, err := e.s.SizeOf(ctx, name)
			if err != nil {
				yield(format.Need{}, err)
				return
			}
			standing = append(standing, format.Need{Name: name, Size: size, Living: size})
		}
		slices.SortFunc(standing, func(a, b format.Need) int { return strings.Compare(a.Name, b.Name) })
		for item, err := range e.needs.all() {
			if err != nil {
				yield(format.Need{}, err)
				return
			}
			for len(standing) > 0 && standing[0].Name < item.Key {
				if !yield(standing[0], nil) {
					return
				}
				standing = standing[1:]
			}
			if item.Sum == 0 {
				continue
			}
			var size int64
			var err error
			if item.Sum > 0 {
				size, err = e.s.SizeOf(ctx, item.Key)
			} else {
				size, _, err = e.s.Size(item.Key)
			}
			if !yield(format.Need{Name: item.Key, Size: size, Living: item.Sum}, err) || err != nil {
				return
			}
		}
		for _, n := range standing {
			if !yield(n, nil) {
				return
			}
		}
	}
}

func isStanding(name string) bool {
	return strings.HasPrefix(name, format.PrefixDescriptors) || strings.HasPrefix(name, format.PrefixKeys)
}
