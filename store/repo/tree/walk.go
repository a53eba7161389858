package tree

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"math"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Load reads one page. What it gives is checked here against the reference's sum.
type Load func(ctx context.Context, ref format.PageRef) ([]byte, error)

// Page loads one page and checks it against its reference. That of an empty tree need not be stored, and is not asked for.
func Page(ctx context.Context, load Load, ref format.PageRef) (page []byte, err error) {
	if ref.Entries > 0 {
		if page, err = load(ctx, ref); err != nil {
			return nil, err
		}
	}
	if sha256.Sum256(page) != ref.Sum {
		return nil, fmt.Errorf("page at %q in %s has the wrong hash: %w", ref.First, ref.Object, format.ErrMalformed)
	}
	return page, nil
}

// Leaves gives the references to the leaf pages that can hold keys >= from, in order; none of an empty tree that is not stored. visit, if not nil, is called for
// each inner page on the way before it is loaded, the root included unless it is a leaf. An error ends the sequence.
func Leaves(ctx context.Context, load Load, root format.PageRef, from string, visit func(format.PageRef)) iter.Seq2[format.PageRef, error] {
	return leaves(ctx, load, root, from, visit, nil)
}

// Gap is asked about a page that could not be read: true passes over it and whatever is below it, false ends the walk
// with the error.
type Gap func(ref format.PageRef, err error) bool

func leaves(ctx context.Context, load Load, root format.PageRef, from string, visit func(format.PageRef), gap Gap) iter.Seq2[format.PageRef, error] {
	return func(yield func(format.PageRef, error) bool) {
		w := walker{ctx: ctx, load: load, from: from, visit: visit, gap: gap, yield: yield}
		w.page(root, parseRoot)
	}
}

type walker struct {
	ctx   context.Context
	load  Load
	from  string
	visit func(format.PageRef)
	gap   Gap // may be nil
	yield func(format.PageRef, error) bool
	order order

	around *around // nil: an error ends the walk
}

// page walks one page, which parse decodes if it is an inner one, and reports whether to go on.
func (w *walker) page(ref format.PageRef, parse func(page []byte, ref format.PageRef) ([]format.PageRef, error)) bool {
	if ref.Nowhere() {
		return true
	}
	if err := w.order.see(ref); err != nil {
		w.yield(format.PageRef{}, err)
		return false
	}
	if ref.Level == 0 {
		return w.yield(ref, nil)
	}
	if w.visit != nil {
		w.visit(ref)
	}
	page, err := Page(w.ctx, w.load, ref)
	if err != nil && w.gap != nil && w.gap(ref, err) {
		return true
	}
	if err != nil && w.around != nil {
		return w.mend(ref, err)
	}
	if err != nil {
		w.yield(format.PageRef{}, err)
		return false
	}
	refs, err := parse(page, ref)
	if err != nil {
		w.yield(format.PageRef{}, err)
		return false
	}
	for i, r := range refs {
		// A page may end with the first key of the next one where a cap cut through one key's versions.
		next := ""
		if i+1 < len(refs) {
			next = refs[i+1].First
		}
		if next != "" && next < w.from {
			continue
		}
		if !w.child(r, next) {
			return false
		}
	}
	return true
}

// child walks a page below the one at hand; next is the first key of the one beside it, if there is any.
func (w *walker) child(ref format.PageRef, next string) bool {
	if w.around == nil {
		return w.page(ref, parseInner)
	}
	if w.around.to != "" && ref.First >= w.around.to {
		return false
	}
	w.around.below(next)
	defer w.around.up()
	return w.page(ref, parseInner)
}

// parseInner decodes an inner page and holds it against what its parent said of it.
func parseInner(page []byte, parent format.PageRef) ([]format.PageRef, error) {
	lines := bytes.Count(page, []byte{'\n'})
	if lines == 0 || lines > format.MaxPageLines {
		return nil, fmt.Errorf("inner page at %q has %d lines: %w", parent.First, lines, format.ErrBounds)
	}
	refs := make([]format.PageRef, 0, lines)
	var entries, content, missing int64
	for line, err := range format.PageLines(page) {
		if err != nil {
			return nil, err
		}
		r, err := format.ParsePageRef(line)
		if err != nil {
			return nil, err
		}
		if r.Object == "" { // in the same one as this page
			r.Object = parent.Object
		}
		if r.Level != parent.Level-1 {
			return nil, fmt.Errorf("page of level %d under one of level %d: %w", r.Level, parent.Level, format.ErrMalformed)
		}
		if n := len(refs); r.First == "" || n > 0 && r.First < refs[n-1].First {
			return nil, fmt.Errorf("inner page at %q is not sorted: %w", parent.First, format.ErrMalformed)
		}
		// No number of entries comes near the largest number; one that does is a lie, and would wrap.
		if r.Entries > math.MaxInt64-entries {
			return nil, fmt.Errorf("inner page at %q: %w", parent.First, format.ErrBounds)
		}
		entries, content, missing = entries+r.Entries, format.AddSizes(content, r.Bytes), missing+r.Missing
		refs = append(refs, r)
	}
	if parent.First != "" && refs[0].First != parent.First || entries != parent.Entries || content != parent.Bytes || missing != parent.Missing {
		return nil, fmt.Errorf("inner page at %q does not match its reference: %w", parent.First, format.ErrMalformed)
	}
	return refs, nil
}

// Rooted gives a root its first key back, which a commit object leaves out: it is the first key on the root's page.
func Rooted(ctx context.Context, load Load, root format.PageRef) (format.PageRef, error) {
	if root.First != "" || root.Entries == 0 {
		return root, nil
	}
	page, err := Page(ctx, load, root)
	if err != nil {
		return root, err
	}
	refs, err := parseRoot(page, root)
	if err == nil {
		root.First = refs[0].First
	}
	return root, err
}

// Entries gives the manifest entries with from <= key < to ("" : to the end), in order.
func Entries(ctx context.Context, load Load, root format.PageRef, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		last := ""
		for leaf, err := range Leaves(ctx, load, root, from, nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			if to != "" && leaf.First >= to {
				return
			}
			if leaf.First < last {
				yield(nil, overlap(leaf))
				return
			}
			for e, err := range LeafEntries(ctx, load, leaf) {
				if err != nil {
					yield(nil, err)
					return
				}
				last = e.Key
				if e.Key < from {
					continue
				}
				if to != "" && e.Key >= to {
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// overlap: the page before holds keys that belong behind leaf's first.
func overlap(leaf format.PageRef) error {
	return fmt.Errorf("page before %q reaches beyond it: %w", leaf.First, format.ErrMalformed)
}

// LeafEntries gives the entries of one leaf page, checking their order and number.
func LeafEntries(ctx context.Context, load Load, leaf format.PageRef) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		page, err := Page(ctx, load, leaf)
		if err != nil {
			yield(nil, err)
			return
		}
		var n int64
		last := leaf.First
		for line, err := range format.PageLines(page) {
			var e *format.Entry
			if err == nil {
				e, err = format.ParseEntry(line)
			}
			if err == nil && (e.Key < last || n == 0 && leaf.First != "" && e.Key != leaf.First) {
				err = fmt.Errorf("page at %q is not sorted: %w", leaf.First, format.ErrMalformed)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			last = e.Key
			n++
			if !yield(e, nil) {
				return
			}
		}
		if n != leaf.Entries {
			yield(nil, fmt.Errorf("page at %q has %d entries instead of %d: %w", leaf.First, n, leaf.Entries, format.ErrMalformed))
		}
	}
}
