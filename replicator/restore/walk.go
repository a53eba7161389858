package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// maxVersions is how many versions of one key are held at once while the target is asked about them.
const maxVersions = 1024

// walker goes through the manifest in order, asks the target about every key and starts what is to be fetched. It
// belongs to one goroutine.
type walker struct {
	*run
	window  window
	group   []*format.Entry // versions of the key that is being collected
	chain   *chain          // of that key, once it had a turn
	turns   []*turn         // that wait for the target's answers, in order
	waiting int64           // bytes of those
	last    string          // the key seen last
	history bool            // there can be several versions of it
	torn    error           // not nil: newer ones may be lost
	paths   tree.Paths
	seen    int64
}

// walk ends when everything is started; what is in flight then is the caller's to wait for.
func (w *walker) walk(ctx context.Context) error {
	from, end := w.bounds()
	for leaf, err := range w.chosen(w.o.Reader.Leaves(ctx, w.o.Commit, from, end, nil)) {
		if lost, ok := errors.AsType[*tree.Lost](err); ok {
			if err := w.lostPart(lost); err != nil {
				return err
			}
			continue
		}
		if n, ok := errors.AsType[*tree.NotNewest](err); ok {
			w.tear(n.Key, n.Err)
			continue
		}
		if err != nil {
			if err = w.lostRest(ctx, err); err != nil {
				return err
			}
			break
		}
		if end != "" && leaf.First >= end {
			break
		}
		if err := w.leaf(ctx, leaf); err != nil {
			return err
		}
	}
	if err := w.end(ctx); err != nil {
		return err
	}
	for len(w.turns) > 0 {
		if err := w.settleFirst(ctx); err != nil {
			return err
		}
	}
	return w.flush(ctx)
}

// bounds gives the range of keys that the includes can match: those of the part with their common literal beginning.
func (w *walker) bounds() (from, end string) {
	if n := len(w.o.Keys); n > 0 {
		return w.o.Keys[0], w.o.Keys[n-1] + "\x00"
	}
	for i, g := range w.o.Include {
		lit := g
		if n := strings.IndexAny(g, `*?[\`); n >= 0 {
			lit = g[:n]
		}
		if i == 0 {
			from = lit
		}
		n := 0
		for n < len(from) && n < len(lit) && from[n] == lit[n] {
			n++
		}
		from = from[:n]
	}
	return w.o.Part.Range(from)
}

// leaf walks one page. One that cannot be read, or is not what it should be, fails by its first key; the next one may do.
func (w *walker) leaf(ctx context.Context, leaf format.PageRef) error {
	var n int64
	for e, err := range tree.LeafEntries(ctx, w.o.Reader.Page, leaf) {
		if err != nil {
			if !damaged(ctx, err) {
				return fmt.Errorf("read the manifest: %w", err)
			}
			err = fmt.Errorf("manifest page from here on: %w", err)
			next := leaf.First
			if n > 0 { // which key follows is not known
				next = w.last
			}
			w.tear(next, err)
			return w.tally.fail(Failure{Key: leaf.First, Entries: max(leaf.Entries-n, 1), Err: err})
		}
		n++
		if err := w.entry(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// tear notes that what comes next, and is lost, may be newer versions of a key.
func (w *walker) tear(key string, why error) {
	if key == w.last && w.history {
		w.torn = &tree.NotNewest{Key: key, Err: why}
	}
}

// lostPart records a stretch of the manifest that is lost. How many of its entries would match is not known then.
func (w *walker) lostPart(lost *tree.Lost) error {
	w.tear(lost.From, lost.Err)
	entries := lost.Entries
	if len(w.o.Keys) > 0 {
		end := lost.To
		if lost.Leaf { // where it ends is not known
			end = ""
		}
		if entries = min(entries, w.keysIn(lost.From, end)); entries == 0 {
			return nil
		}
	} else if !w.include.Empty() || !w.o.Part.IsWhole() {
		entries = 1
	}
	return w.tally.fail(Failure{Key: lost.From, Entries: entries, Err: lost})
}

// lostRest records that the manifest cannot be read further.
func (w *walker) lostRest(ctx context.Context, err error) error {
	if !damaged(ctx, err) {
		return fmt.Errorf("read the manifest: %w", err)
	}
	w.tear(w.last, err)
	rest := int64(1)
	if w.include.Empty() && w.o.Part.IsWhole() {
		rest = max(w.o.Commit.Manifest.Entries-w.seen, 1)
	}
	what := "manifest after this key"
	if w.last == "" {
		what = "manifest from its beginning"
	}
	if len(w.o.Keys) > 0 {
		if rest = w.keysIn(w.last, ""); rest == 0 {
			return nil
		}
	}
	return w.tally.fail(Failure{Key: w.last, Entries: rest, Err: fmt.Errorf("%s: %w", what, err)})
}

// entry collects the versions of one key. They have their turn when more come than are held, or another key does.
func (w *walker) entry(ctx context.Context, e *format.Entry) error {
	w.seen++
	if e.Key < w.last {
		return w.tally.lost(e, fmt.Errorf("manifest: this key stands after %q: %w", w.last, format.ErrMalformed))
	}
	if e.Key != w.last {
		if err := w.end(ctx); err != nil {
			return err
		}
	}
	w.last, w.history, w.torn = e.Key, e.Versioned(), nil
	twice := w.paths.See(e)
	if !w.o.Part.Take(e) || len(w.o.Keys) > 0 && w.keysIn(e.Key, e.Key+"\x00") == 0 {
		return nil
	}
	if !w.include.Empty() && !w.include.Match(e.Key) || w.exclude.Match(e.Key) {
		return nil
	}
	switch {
	case twice != nil:
		return w.tally.lost(e, twice)
	case !w.o.Target.KeepsVersions():
		w.group = w.group[:0] // the last is the current one
	case e.Unusable != nil:
		return w.tally.lost(e, e.Unusable)
	case e.Missing != "":
		return w.notInPoint(e)
	case len(w.group) == maxVersions: // of which e is not the last
		if err := w.turn(ctx, false); err != nil {
			return err
		}
	}
	w.group = append(w.group, e)
	return nil
}

func (w *walker) notInPoint(e *format.Entry) error {
	return w.tally.lost(e, fmt.Errorf("%w: %s", ErrNotInPoint, e.Missing))
}

// end gives the versions that were collected their turn: they are the key's last.
func (w *walker) end(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	torn := w.torn
	w.torn = nil
	if len(w.group) > 0 && !w.o.Target.KeepsVersions() {
		switch e := w.group[0]; {
		case torn != nil:
			w.group = w.group[:0]
			return w.tally.lost(e, fmt.Errorf("left out, as an older one must not stand for it: %w", torn))
		case e.Unusable != nil:
			w.group = w.group[:0]
			return w.tally.lost(e, e.Unusable)
		case e.Missing != "":
			w.group = w.group[:0]
			return w.notInPoint(e)
		case e.Kind == format.KindMarker:
			w.group = w.group[:0]
		}
	}
	if len(w.group) == 0 {
		return nil
	}
	if torn != nil {
		if err := w.tally.fail(Failure{Key: w.last, Entries: 1, Err: fmt.Errorf("what is current now is the newest version that is left: %w", torn)}); err != nil {
			return err
		}
	}
	return w.turn(ctx, true)
}

// start sets one item on its way.
func (w *walker) start(ctx context.Context, it *item) error {
	if it.isLarge(w.limits) {
		if !w.slots.TryAcquire(1) {
			// Those that hold a slot may wait for what is still in the window.
			if err := w.flush(ctx); err != nil {
				return err
			}
			if err := w.slots.Acquire(ctx, 1); err != nil {
				return err
			}
		}
		return w.startLarge(ctx, it)
	}
	it.cost = it.weigh()
	if w.window.full(it, w.limits) {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	if !w.small.TryAcquire(it.cost) {
		if err := w.flush(ctx); err != nil {
			return err
		}
		if err := w.small.Acquire(ctx, it.cost); err != nil {
			return err
		}
	}
	if w.queue != nil {
		it.fetched = make(chan struct{})
		w.queue <- it
	}
	if it.empty {
		return w.arrived(ctx, it)
	}
	w.window.add(it)
	return nil
}

// startLarge restores an entry as its content streams by, on a goroutine of its own.
func (w *walker) startLarge(ctx context.Context, it *item) error {
	it.large = true
	if w.queue != nil {
		w.queue <- it
		return nil
	}
	if it.open() {
		w.inFlight.Add(1)
		w.work.Go(func() error {
			defer w.inFlight.Done()
			return w.finish(ctx, it)
		})
	}
	return nil
}
