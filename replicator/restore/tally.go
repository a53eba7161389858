package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// giveUpAfter is how many entries may fail one after the other, for reasons that are not their own, before the run ends.
const giveUpAfter = 100

// tally counts what becomes of entries. It is safe for concurrent use.
type tally struct {
	progress func(entries, bytes int64)
	failed   func(Failure)

	mu     sync.Mutex
	res    Result
	streak int // failures in a row that are no entry's own
}

func (t *tally) result() Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	res := t.res
	res.Failures = slices.Clone(res.Failures)
	return res
}

// restored counts an entry; bytes that Content.Pieces gave were shown as progress already. One of which the point lacks a
// part counts as not restored: zeros stand there, and whoever uses it must know.
func (t *tally) restored(e *format.Entry, shown bool) {
	t.mu.Lock()
	t.res.Bytes = format.AddSizes(t.res.Bytes, e.Size)
	t.streak = 0
	if len(e.Unread) == 0 {
		t.res.Entries++
	}
	t.mu.Unlock()
	if len(e.Unread) > 0 {
		if !shown {
			t.show(0, e.Size)
		}
		_ = t.lost(e, fmt.Errorf("%w: %s; zeros stand there, and all the rest was restored", ErrPartly, e.Lost())) // which ends no run
		return
	}
	if shown {
		t.show(1, 0)
	} else {
		t.show(1, e.Size)
	}
}

func (t *tally) skipped(e *format.Entry) {
	t.mu.Lock()
	t.res.Skipped++
	t.mu.Unlock()
	t.show(1, e.Size)
}

func (t *tally) ignored(e *format.Entry) {
	t.mu.Lock()
	t.res.Ignored++
	t.mu.Unlock()
	t.show(1, e.Size)
}

func (t *tally) show(entries, bytes int64) {
	if t.progress != nil {
		t.progress(entries, bytes)
	}
}

// ended counts an entry by what its receiver, or whoever was asked before, said; it gives an error if there is no point in
// going on.
func (t *tally) ended(e *format.Entry, err error, shown bool) error {
	switch {
	case err == nil:
		t.restored(e, shown)
	case errors.Is(err, ErrThere):
		t.skipped(e)
	default:
		return t.lost(e, err)
	}
	return nil
}

// lost counts an entry that could not be restored, and gives an error if there is no point in going on.
func (t *tally) lost(e *format.Entry, err error) error {
	return t.fail(Failure{
		Key: e.Key, Version: e.Version, Entries: 1, Missing: errors.Is(err, ErrNotInPoint) || errors.Is(err, ErrPartly), Differs: errors.Is(err, ErrDiffers), Err: err,
	})
}

// late is lost for an entry that was counted as restored.
func (t *tally) late(key string, err error) {
	t.mu.Lock()
	t.res.Entries--
	t.mu.Unlock()
	_ = t.fail(Failure{Key: key, Entries: 1, Err: err}) // the run is asked to stop by those that are still to come
}

func (t *tally) fail(f Failure) error {
	t.mu.Lock()
	switch {
	case f.Missing:
		t.res.Missing += f.Entries
	case f.Differs:
		t.res.Skipped += f.Entries
		t.res.Differs += f.Entries
	default:
		t.res.Failed += f.Entries
	}
	if len(t.res.Failures) < maxFailures {
		t.res.Failures = append(t.res.Failures, f)
	}
	if t.failed != nil {
		t.failed(f)
	}
	give := false
	if !f.Missing && !f.Differs && !ownFault(f.Err) {
		t.streak++
		give = t.streak >= giveUpAfter
	}
	t.mu.Unlock()
	t.show(f.Entries, 0)
	if errors.Is(f.Err, store.ErrCredentials) || errors.Is(f.Err, store.ErrNoBucket) {
		return fmt.Errorf("%w: %w", ErrStop, f) // nothing that is still to come can be read either
	}
	if give {
		return fmt.Errorf("%w: %d failures in a row, the last of them: %w", ErrStop, giveUpAfter, f)
	}
	return nil
}

// ownFault reports whether err concerns one entry or stored object, so that others may well succeed.
func ownFault(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, ErrContent) || errors.Is(err, ErrNotKept) || errors.Is(err, format.ErrUnknownKind) || damaged(context.Background(), err) // of which a restore that was ended reports none
}

// damaged reports whether err says that stored bytes are missing or wrong, rather than out of reach for now.
func damaged(ctx context.Context, err error) bool { return repo.Classify(ctx, err).Lost() }
