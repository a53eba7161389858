package tree

import (
	"context"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Plain lists are trees whose lines have keys of their own, each once: what a point needs, earlier points, points that a change
// of keys vouches for.

// Needs gives the lines of a needs list in order of name. visit is called for every page, leaves included, so that the
// caller learns which objects hold the list itself.
func Needs(ctx context.Context, load Load, root format.PageRef, visit func(format.PageRef)) iter.Seq2[format.Need, error] {
	return list(ctx, load, root, visit, format.ParseNeed, func(n *format.Need) string { return n.Name })
}

// NeedLines gives the lines of one leaf page of a needs list, the last name before which was last.
func NeedLines(ctx context.Context, load Load, leaf format.PageRef, last *string) iter.Seq2[format.Need, error] {
	return plainLines(ctx, load, leaf, last, format.ParseNeed, func(n *format.Need) string { return n.Name })
}

// Points gives the lines of a points list in order. visit is called for every page, leaves included.
func Points(ctx context.Context, load Load, root format.PageRef, visit func(format.PageRef)) iter.Seq2[format.PointLine, error] {
	return list(ctx, load, root, visit, format.ParsePointLine, (*format.PointLine).Key)
}

// PointLines gives the lines of one leaf page of a points list, the last key before which was last.
func PointLines(ctx context.Context, load Load, leaf format.PageRef, last *string) iter.Seq2[format.PointLine, error] {
	return plainLines(ctx, load, leaf, last, format.ParsePointLine, (*format.PointLine).Key)
}

// Vouched gives the lines of a list of vouched points in order. visit is called for every page, leaves included.
func Vouched(ctx context.Context, load Load, root format.PageRef, visit func(format.PageRef)) iter.Seq2[format.Vouched, error] {
	return list(ctx, load, root, visit, format.ParseVouched, func(v *format.Vouched) string { return v.Point })
}

// list gives all lines of a plain list. visit, which may be nil, is called for every page.
func list[T any](ctx context.Context, load Load, root format.PageRef, visit func(format.PageRef), parse func([]byte) (T, error), key func(*T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		last := ""
		for leaf, err := range Leaves(ctx, load, root, "", visit) {
			if err != nil {
				yield(none, err)
				return
			}
			if visit != nil {
				visit(leaf)
			}
			for line, err := range plainLines(ctx, load, leaf, &last, parse, key) {
				if !yield(line, err) || err != nil {
					return
				}
			}
		}
	}
}

// plainLines gives the lines of one leaf page of a plain tree, whose keys are unique.
func plainLines[T any](ctx context.Context, load Load, leaf format.PageRef, last *string, parse func([]byte) (T, error), key func(*T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		page, err := Page(ctx, load, leaf)
		if err != nil {
			yield(none, err)
			return
		}
		var lines int64
		for line, err := range format.PageLines(page) {
			var v T
			if err == nil {
				v, err = parse(line)
			}
			if k := key(&v); err == nil && (k <= *last || lines == 0 && k != leaf.First) {
				err = fmt.Errorf("list is not sorted at %s: %w", k, format.ErrMalformed)
			} else {
				*last = k
			}
			if err != nil {
				yield(none, err)
				return
			}
			lines++
			if !yield(v, nil) {
				return
			}
		}
		if lines != leaf.Entries {
			yield(none, fmt.Errorf("page at %q has %d lines instead of %d: %w", leaf.First, lines, leaf.Entries, format.ErrMalformed))
		}
	}
}

// ListWriter fills the leaf pages of a plain list.
type ListWriter struct {
	b     *Builder
	cut   Cut
	lines []byte
	leaf  format.PageRef // that is being filled

	Ended func() // told that a page was closed; may be nil
}

// NewListWriter gives pages to b as cut says.
func NewListWriter(b *Builder, cut Cut) *ListWriter { return &ListWriter{b: b, cut: cut} }

// Add puts a line behind those before, whose keys come before key. size is what the line adds to the bytes of the pages above it.
func (w *ListWriter) Add(ctx context.Context, key string, size int64, appendLine func([]byte) ([]byte, error)) error {
	if w.cut.LeafBefore(key, false, int(w.leaf.Entries), len(w.lines)) {
		if err := w.End(ctx); err != nil {
			return err
		}
	}
	if w.leaf.Entries == 0 {
		w.leaf.First = key
	}
	w.leaf.Entries++
	w.leaf.Bytes = format.AddSizes(w.leaf.Bytes, size)
	var err error
	w.lines, err = appendLine(w.lines)
	return err
}

// Resume goes on with a page that was written before, and was the last one of its list, as if its lines had just been added.
func (w *ListWriter) Resume(leaf format.PageRef, page []byte) {
	w.leaf = format.PageRef{First: leaf.First, Entries: leaf.Entries, Bytes: leaf.Bytes}
	w.lines = append(w.lines[:0], page...)
}

// Filling reports whether the page at hand has lines.
func (w *ListWriter) Filling() bool { return w.leaf.Entries > 0 }

// End closes the page at hand, if it has lines.
func (w *ListWriter) End(ctx context.Context) error {
	if !w.Filling() {
		return nil
	}
	leaf, lines := w.leaf, w.lines
	w.leaf, w.lines = format.PageRef{}, w.lines[:0]
	if w.Ended != nil {
		w.Ended()
	}
	return w.b.Leaf(ctx, leaf, lines)
}
