package renew

import (
	"context"
	"iter"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Protection is how long one point is held.
type Protection struct {
	Until  time.Time // when the first lock ends of all the point needs; zero: something has none
	Object string    // whose lock that is
}

// Locks reads locks back, each once for all the points that ask for it.
type Locks struct {
	r *repo.Renewal

	mu    sync.Mutex
	known map[string]time.Time
}

const (
	lockReaders = 16
	maxKnown    = 1 << 18 // bounds the memory of known; what was forgotten is read again
)

// NewLocks begins.
func NewLocks(r *repo.Renewal) *Locks { return &Locks{r: r, known: map[string]time.Time{}} }

// Protected tells how long everything one point needs is locked, its commit object included. An object without the right
// bytes is not protected at all.
func (l *Locks) Protected(ctx context.Context, point repo.Head) (Protection, error) {
	var p Protection
	none := true
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lockReaders)
	for w, err := range l.objects(ctx, point) {
		if err != nil {
			_ = g.Wait() // the walk's own error is the one to give
			return p, err
		}
		g.Go(func() error {
			until, err := l.lock(gctx, w)
			if err != nil {
				return err
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if none || until.Before(p.Until) {
				none, p.Until, p.Object = false, until, w.Name
			}
			return nil
		})
	}
	return p, g.Wait()
}

func (l *Locks) lock(ctx context.Context, w repo.Wanted) (time.Time, error) {
	l.mu.Lock()
	until, ok := l.known[w.Name]
	l.mu.Unlock()
	if ok {
		return until, nil
	}
	lock, err := l.r.ReadBack(ctx, w)
	if err != nil && !repo.Classify(ctx, err).Unusable() {
		return time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.known) >= maxKnown {
		clear(l.known)
	}
	l.known[w.Name] = lock.Until
	return lock.Until, nil
}

// objects gives what one point needs: its commit object, what is on its needs list, and what that list is in.
func (l *Locks) objects(ctx context.Context, point repo.Head) iter.Seq2[repo.Wanted, error] {
	return func(yield func(repo.Wanted, error) bool) {
		if !yield(repo.Wanted{Name: point.Name, Size: -1}, nil) {
			return
		}
		held := map[string]bool{} // a few objects a point
		page := func(ref format.PageRef) { held[ref.Object] = true }
		for n, err := range tree.Needs(ctx, l.r.Reader().Page, point.Commit.Needs, page) {
			if !yield(repo.Wanted{Name: n.Name, Size: n.Size}, err) || err != nil {
				return
			}
		}
		for name := range held {
			if !yield(repo.Wanted{Name: name, Size: -1}, nil) {
				return
			}
		}
	}
}
