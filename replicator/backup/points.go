package backup

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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

// writePoints writes the points list into the object that sink fills. Pages of the list before to which nothing is added stay as
// they are, with lines of points that are over, unless these are more than half.
func (e *engine) writePoints(ctx context.Context, sink *repo.Sink) (list pointsList, err error) {
	var fresh []format.PointLine // that no list told of
	for _, h := range e.counting {
		if h.Commit != nil {
			fresh = append(fresh, h.Line)
		}
	}
	slices.SortFunc(fresh, func(a, b format.PointLine) int { return strings.Compare(a.Key(), b.Key()) })
	known := e.newKnownPages(ctx)
	cut := tree.Cut{Leaf: pointLines, Fanout: e.params.Fanout}
	w := &pointsWriter{engine: e, in: map[string]bool{}}
	w.b = tree.NewBuilder(sink, cut, known.find, func(ref format.PageRef) { w.in[ref.Object] = true })
	w.ListWriter = tree.NewListWriter(w.b, cut)
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
	if w.list.Entries > 0 {
		for leaf, err := range tree.Leaves(ctx, w.s.Page, w.list, "", known.add) {
			if err != nil {
				return err
			}
			known.add(leaf)
			leaves = append(leaves, leaf)
		}
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

// leaf takes over a page of the list before, as it is or with more lines.
func (w *pointsWriter) leaf(ctx context.Context, leaf format.PageRef, more []format.PointLine, final bool, last *string) error {
	var lines []format.PointLine
	over, changed := 0, false
	for p, err := range tree.PointLines(ctx, w.s.Page, leaf, last) {
		if err != nil {
			return err
		}
		if w.over(p) {
			over++
		}
		if now, ok := w.changed[p.ID]; ok {
			p, changed = now, true
		}
		lines = append(lines, p)
	}
	// A leaf behind one that ended within a page, or that is to be added to or changed, is written anew.
	if len(more) == 0 && !changed && over*2 <= len(lines) && !final && !w.Filling() && !w.lost(ctx, leaf.Object) {
		w.pages = true
		return w.b.Reuse(ctx, leaf)
	}
	lines = slices.DeleteFunc(append(lines, more...), w.over)
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

func (w *pointsWriter) add(ctx context.Context, p format.PointLine) error {
	if w.over(p) {
		return nil
	}
	w.pages = true
	return w.Add(ctx, p.Key(), p.Bytes, func(lines []byte) ([]byte, error) {
		lines, err := p.AppendLine(lines)
		if err != nil {
			err = fmt.Errorf("point %s: %w", p.ID, err)
		}
		return lines, err
	})
}
