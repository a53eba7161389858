package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// earlier is a look at the extents of the parent's entry. Of those on pages of level 1 it keeps one page: they are asked for
// in order.
type earlier struct {
	page  format.Extent
	lines []format.Extent
}

// oldExtent finds the same page among the parent's.
func (e *largeFiles) oldExtent(ctx context.Context, t *task, x *extent) (format.Extent, bool, error) {
	if x.was != nil {
		return *x.was, isSame(*x.was, x.ref), nil
	}
	if t.old == nil || t.image != nil {
		return format.Extent{}, false, nil
	}
	o, ok := holding(t.old.Extents, x.ref.From)
	if ok && o.Level > 0 {
		if e.lost(ctx, o.Object) {
			return o, false, nil
		}
		if err := t.earlier.turnTo(ctx, e.engine, t.old.Kind, o); err != nil {
			return o, false, fmt.Errorf("read where %q was: %w", t.old.Key, err)
		}
		o, ok = holding(t.earlier.lines, x.ref.From)
	}
	return o, ok && isSame(o, x.ref), nil
}

// turnTo reads a page of level 1, unless it is the one at hand.
func (r *earlier) turnTo(ctx context.Context, e *engine, kind format.Kind, page format.Extent) error {
	if r.page == page {
		return nil
	}
	r.page, r.lines = format.Extent{}, r.lines[:0]
	for x, err := range tree.Extents(ctx, e.s.Content.Extent, &format.Entry{Kind: kind, Extents: []format.Extent{page}}, 0, nil) {
		if err != nil {
			return err
		}
		r.lines = append(r.lines, x)
	}
	r.page = page
	return nil
}

// holding gives the last of some extents, which are in order, that does not begin behind a byte.
func holding(list []format.Extent, at int64) (format.Extent, bool) {
	i, found := slices.BinarySearchFunc(list, at, func(x format.Extent, at int64) int { return cmp.Compare(x.From, at) })
	if !found {
		i--
	}
	if i < 0 {
		return format.Extent{}, false
	}
	return list[i], true
}

// isSame reports whether two extents have the same page in the same place.
func isSame(a, b format.Extent) bool {
	return a.Level == b.Level && a.From == b.From && a.Size == b.Size && !a.Hole && a.Sum == b.Sum
}

// lost reports whether no vault has an object; only a run that mends asks.
func (e *largeFiles) lost(ctx context.Context, object string) bool {
	return e.mend != nil && e.mend.isLost(ctx, object)
}

// innerPages puts the extents of an entry that has too many of them on pages of level 1, or refers to the parent's pages where
// these are the same.
func (m *manifest) innerPages(ctx context.Context, t *task) error {
	all := t.entry.Extents
	if len(all) <= format.MaxExtents {
		return nil
	}
	t.entry.Extents = nil
	var slots []*tree.Slot
	for some := range slices.Chunk(all, format.MaxInner) {
		x := format.Extent{Level: 1, From: some[0].From}
		var page []byte
		var err error
		for _, line := range some {
			x.Size += line.Size
			if page, err = line.AppendLine(page); err != nil {
				return err
			}
		}
		x.Sum = sha256.Sum256(page)
		var slot *tree.Slot
		if o, ok := holding(t.innerBefore(), x.From); ok && isSame(o, x) && m.mend == nil && !m.thin.leaves(o.Object) {
			x.Object, x.Frame, x.Ext = o.Object, o.Frame, o.Ext
		} else if slot, err = m.sink.Page(ctx, page); err != nil {
			return err
		}
		slots = append(slots, slot)
		t.entry.Extents = append(t.entry.Extents, x)
	}
	if err := m.sink.Seal(ctx); err != nil {
		return err
	}
	for i, slot := range slots {
		x := &t.entry.Extents[i]
		if slot != nil {
			x.Object, x.Frame = slot.Object(), slot.Frame
		}
		if err := m.needs.add(x.Object, x.Frame.Length); err != nil {
			return err
		}
	}
	return nil
}

// innerBefore gives the parent's extents of level 1, in order, perhaps with others.
func (t *task) innerBefore() []format.Extent {
	switch {
	case t.image != nil:
		return t.image.inner
	case t.old != nil:
		return t.old.Extents
	}
	return nil
}
