package backup

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const (
	pointLines = 1024           // average lines of a leaf page of a points list
	overAfter  = 72 * time.Hour // a point is over so long after it is kept
)

// pointsWriter writes the list of a source's earlier points: that of the point this run goes by, and what came after it.
type pointsWriter struct {
	*engine
	*tree.ListWriter
	b     *tree.Builder
	pages bool            // there are any
	in    map[string]bool // objects of pages

	dates  []time.Time    // until when the points on the page at hand are kept
	before repo.LeafDates // of lines on it that were not read
}

// pointsList is a points list whose last pages have no place yet.
type pointsList struct {
	b    *tree.Builder // nil: it is empty
	held []string      // objects of earlier runs that its pages are in
}

// root gives the list's root once the object that was being filled is stored, under this name.
func (l pointsList) root(object string) format.PageRef {
	if l.b == nil {
		return format.EmptyTree(object)
	}
	return l.b.Top()
}

// objects gives those that its pages are in, once its root is known.
func (l pointsList) objects(root format.PageRef) []string {
	if l.b == nil {
		return nil
	}
	if slices.Contains(l.held, root.Object) {
		return l.held
	}
	return append(slices.Clone(l.held), root.Object)
}

// writePoints writes the points list into the object that sink fills. Pages of the list before to which nothing is added stay as
// they are, with lines of points that are over, unless these are more than half.
func (e *lists) writePoints(ctx context.Context, sink *repo.Sink) (list pointsList, err error) {
	var fresh []format.PointLine // that no list told of
	for _, h := range e.counting {
		if !h.Told {
			fresh = append(fresh, h.Line)
		}
	}
	slices.SortFunc(fresh, func(a, b format.PointLine) int { return strings.Compare(a.Key(), b.Key()) })
	known := e.newKnownPages(ctx)
	cut := tree.Cut{Leaf: pointLines, Fanout: e.params.Fanout}
	w := &pointsWriter{engine: e.engine, in: map[string]bool{}}
	w.b = tree.NewBuilder(sink, cut, known.find, func(ref format.PageRef) { w.in[ref.Object] = true })
	w.ListWriter = tree.NewListWriter(w.b, cut)
	w.Ended = w.endLeaf
	e.memo = repo.ListMemo{}
	if err := w.merge(ctx, known, fresh); err != nil {
		return list, err
	}
	if !w.pages {
		return list, nil
	}
	if err := w.b.Finish(ctx); err != nil {
		return list, err
	}
	// What is being filled goes on with a page of the needs list: so its object need not be on that list.
	if full, err := sink.SealFull(ctx); err != nil {
		return list, err
	} else if full {
		w.b.Top()
	}
	return pointsList{w.b, slices.Sorted(maps.Keys(w.in))}, nil
}

// merge walks the leaves of the list before, and puts what is new where it belongs.
func (w *pointsWriter) merge(ctx context.Context, known *knownPages, fresh []format.PointLine) error {
	var leaves []format.PageRef // a few: a thousand points each
	if w.heads.List.Entries > 0 {
		for leaf, err := range tree.Leaves(ctx, w.s.Content.Page, w.heads.List, "", known.add) {
			if err != nil {
				return err
			}
			known.add(leaf)
			leaves = append(leaves, leaf)
		}
	}
	old := w.heads.Memo
	if old != nil && len(old.Leaves) == len(leaves) && w.mend == nil {
		w.memo.Lines = slices.Clone(old.Lines)
		if ok, err := w.extend(ctx, old, leaves, fresh); ok || err != nil {
			return err
		}
		w.memo.Leaves = nil
	}
	last := ""
	for i, leaf := range leaves {
		n := len(fresh)
		if i+1 < len(leaves) {
			n, _ = slices.BinarySearchFunc(fresh, leaves[i+1].First, func(p format.PointLine, first string) int { return strings.Compare(p.Key(), first) })
		}
		if err := w.leaf(ctx, leaf, fresh[:n], i == len(leaves)-1, &last); err != nil {
			return err
		}
		fresh = fresh[n:]
	}
	for _, p := range fresh {
		if err := w.add(ctx, p); err != nil {
			return err
		}
	}
	return w.End(ctx)
}

// extend takes over the pages of the list before without reading their lines, and adds the new ones to the last. ok is false where lines of
// it are over, or new ones do not come last.
func (w *pointsWriter) extend(ctx context.Context, old *repo.ListMemo, leaves []format.PageRef, fresh []format.PointLine) (ok bool, err error) {
	if len(leaves) == 0 || len(old.Lines) == 0 || len(fresh) == 0 || fresh[0].Key() <= old.Lines[len(old.Lines)-1].Key() {
		return false, nil
	}
	last := len(leaves) - 1
	for i, leaf := range leaves {
		end := old.Leaves[i].Half
		if i == last {
			end = old.Leaves[i].First
		}
		if old.Leaves[i].Entries != leaf.Entries || end.Add(overAfter).Before(w.takenAt) {
			return false, nil
		}
	}
	page, err := tree.Page(ctx, w.s.Content.Page, leaves[last])
	if err != nil {
		return false, err
	}
	if n := int64(bytes.Count(page, []byte{'\n'})); n != leaves[last].Entries {
		return false, nil // reading its lines tells what is wrong
	}
	w.pages = true
	for i, leaf := range leaves[:last] {
		w.memo.Leaves = append(w.memo.Leaves, old.Leaves[i])
		if err := w.b.Reuse(ctx, leaf); err != nil {
			return false, err
		}
	}
	w.Resume(leaves[last], page)
	w.before = old.Leaves[last]
	for _, p := range fresh {
		if err := w.add(ctx, p); err != nil {
			return false, err
		}
	}
	return true, w.End(ctx)
}

// leaf takes over a page of the list before, as it is or with more lines.
func (w *pointsWriter) leaf(ctx context.Context, leaf format.PageRef, more []format.PointLine, final bool, last *string) error {
	var lines []format.PointLine
	over, changed := 0, false
	for p, err := range tree.PointLines(ctx, w.s.Content.Page, leaf, last) {
		if err != nil {
			return err
		}
		if w.over(p) {
			over++
		}
		if now, ok := w.heads.Changed[p.ID]; ok {
			p, changed = now, true
		}
		lines = append(lines, p)
	}
	// A leaf behind one that ended within a page, or that is to be added to or changed, is written anew.
	if len(more) == 0 && !changed && over*2 <= len(lines) && !final && !w.Filling() && !w.large.lost(ctx, leaf.Object) {
		w.pages = true
		for _, p := range lines {
			w.remember(p)
		}
		w.endLeaf()
		return w.b.Reuse(ctx, leaf)
	}
	lines = append(lines, more...)
	slices.SortFunc(lines, func(a, b format.PointLine) int { return strings.Compare(a.Key(), b.Key()) })
	for _, p := range lines {
		if err := w.add(ctx, p); err != nil {
			return err
		}
	}
	if final {
		return nil
	}
	return w.End(ctx)
}

func (w *pointsWriter) over(p format.PointLine) bool {
	return p.RetainUntil.Add(overAfter).Before(w.takenAt)
}

// counts reports whether a point that is none of the last ones says anything for the retention of later ones: it is kept, or fills a slot
// whose time has not passed.
func (e *lists) counts(p format.PointLine) bool {
	return len(p.Slots) > 0 && (p.RetainUntil.After(e.takenAt) || retain.AnyNow(p.Slots, e.takenAt))
}

func (w *pointsWriter) add(ctx context.Context, p format.PointLine) error {
	if w.over(p) { // it may fill a slot all the same
		w.memo.Lines = append(w.memo.Lines, p)
		return nil
	}
	w.pages = true
	err := w.Add(ctx, p.Key(), p.Bytes, func(lines []byte) ([]byte, error) {
		lines, err := p.AppendLine(lines)
		if err != nil {
			err = fmt.Errorf("point %s: %w", p.ID, err)
		}
		return lines, err
	})
	w.remember(p) // on the page that Add may have begun
	return err
}

// remember takes a line that is on the page at hand.
func (w *pointsWriter) remember(p format.PointLine) {
	if w.memo.Lines = append(w.memo.Lines, p); len(w.memo.Lines)%format.MaxPageLines == 0 {
		w.memo.Trim(w.lists.counts) // memory does not grow with the list
	}
	w.dates = append(w.dates, p.RetainUntil.Time)
}

// endLeaf remembers when the lines of a page are over. Of those that were not read only the first date is known.
func (w *pointsWriter) endLeaf() {
	slices.SortFunc(w.dates, time.Time.Compare)
	d := repo.LeafDates{Entries: w.before.Entries + int64(len(w.dates))}
	if n := len(w.dates); n > 0 {
		d.First, d.Half = w.dates[0], w.dates[n/2]
	}
	if w.before.Entries > 0 {
		if len(w.dates) == 0 || w.before.First.Before(d.First) {
			d.First = w.before.First
		}
		d.Half = d.First
	}
	w.memo.Leaves = append(w.memo.Leaves, d)
	w.dates, w.before = w.dates[:0], repo.LeafDates{}
}
