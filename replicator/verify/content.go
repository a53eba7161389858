package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const (
	windowPieces = 4096     // single-chunk entries looked at together, so that frames they share are decoded once
	windowBytes  = 16 << 20 // or as soon as they come to this much content
	batchBytes   = 8 << 20  // content of one large entry fetched and held at once
)

// content decodes what the points' manifests refer to. Leaf pages that a point shares with the one before it (of the
// same source) had their content compared there; that all they refer to is on the needs list is checked for each point.
func (r *run) content(ctx context.Context, points []*point) error {
	seen := map[format.Hash]bool{} // roots of manifest and needs together
	var todo []*point
	for _, p := range points {
		if p.commit.HeadOnly() {
			continue // said when it was read
		}
		both := append(p.commit.Manifest.Sum[:], p.commit.Needs.Sum[:]...)
		if k := format.Hash(sha256.Sum256(both)); !seen[k] {
			seen[k] = true
			todo = append(todo, p)
			r.o.Progress.Total.Add(p.commit.Entries)
		}
	}
	var before *point
	var closed []*point
	for _, p := range todo {
		if before != nil && before.Source != p.Source {
			before = nil
		}
		whole, err := r.manifest(ctx, p, before)
		if errors.Is(err, seal.ErrNoKey) && ctx.Err() == nil {
			closed = append(closed, p)
			whole, err = false, nil
		}
		if err != nil {
			return err
		}
		if before = p; !whole {
			before = nil // not all of its pages were compared
		}
	}
	return closedTo(closed, len(todo))
}

// closedTo is the error that some points hold what the given keys do not open, such as what was stored before a key was added.
// The others were gone through all the same.
func closedTo(closed []*point, of int) error {
	if len(closed) == 0 {
		return nil
	}
	var names []string
	for _, p := range closed[:min(len(closed), maxNamed)] {
		names = append(names, fmt.Sprintf("%.12s of %s", p.ID, p.Source))
	}
	if more := len(closed) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("verify: %d of %d points were made with other restore keys as well, and what those alone open was not compared (%s): give these keys too, "+
		"each with --identity: %w", len(closed), of, strings.Join(names, ", "), seal.ErrNoKey)
}

// maxNamed bounds the points that an error names.
const maxNamed = 10

// manifest goes through one point and reports whether that was possible to the end.
func (r *run) manifest(ctx context.Context, p, before *point) (whole bool, err error) {
	needs, err := r.needsOf(ctx, p)
	if err != nil {
		return false, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(min(r.o.Concurrency, maxDecoders))
	w := &walk{run: r, p: p, needs: needs, g: g}
	err = w.leaves(gctx, before)
	if err == nil {
		err = w.flush(gctx)
	}
	// A goroutine's error ends the walk too; it is the one that says why.
	if werr := g.Wait(); werr != nil {
		err = werr
	}
	return !w.broken, err
}

// walk is the way through one point's manifest.
type walk struct {
	*run
	p     *point
	needs *needed
	g     *errgroup.Group

	entries, bytes, missing int64
	passed                  int64 // entries of unknown kinds, of which nobody knows whether they are missing
	paths                   tree.Paths
	broken                  bool // a page could not be read: what is counted above is not everything
	win                     []piece
	size                    int64
}

// leaves walks the leaf pages beside those of the point before.
func (w *walk) leaves(ctx context.Context, before *point) error {
	old := newEarlier(ctx, w.reader.Page, before)
	defer old.close()
	visit := func(ref format.PageRef) {
		w.uses(ref.Object)
		w.needs.pages.met(ref)
	}
	losses := w.losses.Load()
	for leaf, err := range w.reader.Leaves(ctx, w.p.commit, "", "", visit) {
		if lost, ok := errors.AsType[*tree.Lost](err); ok {
			w.broken = true
			if err := w.failed(ctx, lost.Object, "manifest", lost); err != nil {
				return err
			}
			continue
		}
		if errors.As(err, new(*tree.NotNewest)) {
			continue // what is lost was told
		}
		if err != nil {
			w.broken = true
			return w.trouble(ctx, w.p.commit.Manifest.Object, w.p.ID, fmt.Errorf("manifest: %w", err))
		}
		visit(leaf)
		if err := w.leaf(ctx, leaf, old.has(leaf)); err != nil {
			return err
		}
	}
	// Entries that could not be read and were accepted, such as archived objects, do not count in the manifest's missing ones.
	if m := w.p.commit.Manifest; !w.broken && (w.entries != m.Entries || w.bytes != m.Bytes || w.missing+w.passed < m.Missing) {
		w.lost(repo.Damaged, m.Object, "the manifest promises %d entries of %d bytes, %d missing, and holds %d of %d, %d missing",
			m.Entries, m.Bytes, m.Missing, w.entries, w.bytes, w.missing)
	}
	if !w.broken && losses == w.losses.Load() { // where a page is lost nobody can say of all others
		w.marks()
	}
	return nil
}

// marks compares what the needs list says of the manifest's pages with those that were met.
func (w *walk) marks() {
	if w.needs.all {
		return
	}
	for _, name := range w.needs.pages.wrong() {
		w.find(repo.Damaged, name, w.p.ID, "the needs list names other pages in it than the manifest refers to: what stands behind a lost page would not be found, "+
			"or be an earlier point's")
	}
}

// lost passes on a finding about what becomes of entries: not once for each object, as others are.
func (w *walk) lost(k repo.FindingKind, name, detail string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pass(Finding{repo.Finding{Kind: k, Name: name, Detail: fmt.Sprintf(detail, args...)}, w.p.ID})
}

// failed is trouble for what becomes of entries.
func (w *walk) failed(ctx context.Context, name, what string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	k, ok := judge(ctx, err)
	if !ok {
		return fmt.Errorf("verify: %w", err)
	}
	w.lost(k, name, "%s: %v", what, err)
	return nil
}

// uses checks that a stored object which the manifest refers to is on the needs list.
func (w *walk) uses(name string) {
	if !w.needs.has(name) {
		w.unlisted(name)
	}
}

func (w *walk) usesChunk(c format.Chunk) {
	if !c.Hole && !w.needs.hasSum(c.Pack) {
		w.unlisted(format.PackName(c.Pack))
	}
}

func (w *walk) unlisted(name string) {
	w.find(repo.Damaged, name, w.p.ID, "the manifest refers to it, and the needs list leaves it out: its lock would not be kept up")
}

// leaf goes through one leaf page; known says that its content was compared for an earlier point.
func (w *walk) leaf(ctx context.Context, leaf format.PageRef, known bool) error {
	for e, err := range tree.LeafEntries(ctx, w.reader.Page, leaf) {
		if err != nil {
			w.broken = true
			return w.failed(ctx, leaf.Object, fmt.Sprintf("%d entries from %q on cannot be read", leaf.Entries, leaf.First), err)
		}
		w.entries++
		w.bytes = format.AddSizes(w.bytes, e.Size)
		if e.Lost() != "" {
			w.missing++
		}
		w.o.Progress.Done.Add(1)
		for _, c := range e.Chunks {
			w.usesChunk(c)
		}
		if !known {
			w.mu.Lock()
			w.sum.Entries++
			w.mu.Unlock()
		}
		if use, err := w.usable(ctx, leaf, e, known); err != nil {
			return err
		} else if !use {
			continue
		}
		read := !known && e.Missing == "" && w.checks.opens(e)
		if err := w.entry(ctx, e, read); err != nil {
			return err
		}
	}
	return nil
}

// usable reports whether more can be said of an entry than its name. One of an unknown kind is passed by and counted; one
// that no reader may use is a finding. known says that it was counted for an earlier point.
func (w *walk) usable(ctx context.Context, leaf format.PageRef, e *format.Entry, known bool) (bool, error) {
	err := cmp.Or(e.Unusable, w.paths.See(e))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, format.ErrUnknownKind):
		w.passed++
		if !known {
			w.mu.Lock()
			w.sum.UnknownKind++
			w.mu.Unlock()
		}
		return false, nil
	}
	return false, w.failed(ctx, leaf.Object, fmt.Sprintf("%q cannot be restored", e.Key), err)
}

// entry checks one entry; with read its content too.
func (w *walk) entry(ctx context.Context, e *format.Entry, read bool) error {
	if !read || len(e.Extents) == 0 && len(e.Chunks) == 0 {
		if read && e.Kind.HasContent() {
			w.done(1)
		}
		return w.extents(ctx, e)
	}
	if len(e.Chunks) == 1 && !e.Chunks[0].Hole {
		c := e.Chunks[0]
		if c.Sum.IsZero() {
			c.Sum = e.SHA256
		}
		w.win = append(w.win, piece{key: e.Key, chunk: c})
		w.size += c.Size
		if len(w.win) >= windowPieces || w.size >= windowBytes {
			return w.flush(ctx)
		}
		return nil
	}
	w.g.Go(func() error { return w.large(ctx, e) })
	return ctx.Err()
}

func (w *walk) done(n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum.EntriesRead += n
}

// extents checks the extent pages of an entry whose content is not read.
func (w *walk) extents(ctx context.Context, e *format.Entry) error {
	for _, err := range w.chunks(ctx, e) {
		if err != nil {
			return w.failed(ctx, extentOf(e, err), fmt.Sprintf("%q", e.Key), err)
		}
	}
	return nil
}

// extentError says in which object an extent page is broken.
type extentError struct {
	object string
	err    error
}

func (x *extentError) Error() string { return x.err.Error() }
func (x *extentError) Unwrap() error { return x.err }

func extentOf(e *format.Entry, err error) string {
	var x *extentError
	if errors.As(err, &x) {
		return x.object
	}
	return e.Extents[0].Object
}

// chunks gives an entry's chunks in order, those in extent pages included, which are held against the entry.
func (w *walk) chunks(ctx context.Context, e *format.Entry) iter.Seq2[format.Chunk, error] {
	return func(yield func(format.Chunk, error) bool) {
		for _, c := range e.Chunks {
			if !yield(c, nil) {
				return
			}
		}
		inner := func(x format.Extent) { w.uses(x.Object) }
		for x, err := range tree.Extents(ctx, w.reader.Extent, e, 0, inner) {
			if err != nil {
				yield(format.Chunk{}, &extentError{x.Object, err})
				return
			}
			if !x.Hole {
				w.uses(x.Object)
			}
			for c, err := range tree.ExtentChunks(ctx, w.reader.Extent, x) {
				if err != nil {
					yield(c, &extentError{x.Object, err})
					return
				}
				w.usesChunk(c)
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}
