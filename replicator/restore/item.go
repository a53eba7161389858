package restore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// item is one version of one key on its way.
type item struct {
	e     *format.Entry
	recv  Receiver
	empty bool // its content is not needed, or is no bytes
	large bool

	// Small ones.
	cost    int64         // bytes it holds of run.small
	buf     []byte        // its content
	fetched chan struct{} // InOrder: closed when the content is there

	mu       sync.Mutex
	left     int   // chunks that have not arrived
	err      error // why one of them will not
	closed   int   // reasons why it cannot be restored yet: its content, the version before it
	next     *item // the version after it
	finished bool
}

// entryCost is what an entry costs beside its bytes, at least.
const entryCost = 1 << 10

// isLarge reports whether an entry streams.
func (it *item) isLarge(l limits) bool {
	return !it.empty && (it.e.Size > l.whole || len(it.e.Extents) > 0 || it.e.Sparse)
}

// weigh gives the memory that a small item takes, roughly.
func (it *item) weigh() int64 {
	n := int64(entryCost + 2*len(it.e.Key) + 160*len(it.e.Chunks))
	if !it.empty {
		n += it.e.Size
	}
	return n
}

// follow makes it wait for the version before it. It is called before anything else is done with it.
func (it *item) follow(before *item) {
	it.closed = 1 // content
	if before == nil {
		return
	}
	before.mu.Lock()
	defer before.mu.Unlock()
	if !before.finished {
		before.next = it
		it.closed++
	}
}

// open takes one reason to wait away and reports whether it was the last.
func (it *item) open() bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	it.closed--
	return it.closed == 0
}

// arrive records a chunk, or why it will not come, and reports whether it was the last one.
func (it *item) arrive(err error) bool {
	it.mu.Lock()
	defer it.mu.Unlock()
	if err != nil && it.err == nil {
		it.err = err
	}
	it.left--
	return it.left == 0
}

// arrived hands an item over whose content is there, or lost.
func (r *run) arrived(ctx context.Context, it *item) error {
	if r.queue != nil {
		close(it.fetched)
		return nil
	}
	if !it.open() {
		return nil // whoever restores the version before it goes on with it
	}
	select {
	case r.ready <- it:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// receive restores small items as they become ready.
func (r *run) receive(ctx context.Context) error {
	for it := range r.ready {
		if err := r.finish(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// receiveInOrder restores items one after the other.
func (r *run) receiveInOrder(ctx context.Context) error {
	for it := range r.queue {
		if !it.large {
			select {
			case <-it.fetched:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := r.restore(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// finish restores an item and the versions that only waited for it.
func (r *run) finish(ctx context.Context, it *item) error {
	for it != nil {
		if err := r.restore(ctx, it); err != nil {
			return err
		}
		it.mu.Lock()
		it.finished = true
		next := it.next
		it.mu.Unlock()
		if next == nil || !next.open() {
			return nil
		}
		it = next
	}
	return nil
}

// restore hands one item to its receiver and counts what came of it.
func (r *run) restore(ctx context.Context, it *item) error {
	c, shown := r.content(it)
	err := it.recv.Restore(ctx, it.e, c)
	if it.large {
		r.slots.Release(1)
	} else {
		it.buf = nil
		r.small.Release(it.cost)
	}
	if err != nil && stops(ctx, err) {
		return err
	}
	return r.tally.ended(it.e, err, shown)
}

// content gives what a receiver gets; shown says that its bytes are told as progress on the way.
func (r *run) content(it *item) (c Content, shown bool) {
	switch {
	case it.empty:
		return NoContent(), false
	case it.large:
		return Content{
			pieces: func(ctx context.Context) iter.Seq2[Piece, error] { return r.stream(ctx, it.e, false) },
			rough:  func(ctx context.Context) iter.Seq2[Piece, error] { return r.stream(ctx, it.e, true) },
		}, true
	case it.err != nil:
		return lost(it.err), false
	}
	return held(it.e, it.buf), false
}

// stops reports whether err ends the run.
func stops(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ErrStop)
}

// mismatch is ErrContent with what was found.
func mismatch(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrContent}, args...)...)
}
