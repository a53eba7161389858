package renew

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// ownLocks tells how far the points' own objects may be locked: they say that all that the point needs is held.
type ownLocks struct {
	o      Options
	r      *repo.Renewal
	points []needed.Point
	broken map[string]bool // points of which not all could be read that they need
}

// most gives until when a point's own object may be locked: as wanted where all that it needs is, and else no further than the point is kept. So
// far it is to be there in any case: what is left of the point hangs on it.
func (l *ownLocks) most(ctx context.Context, w repo.Wanted) (time.Time, error) {
	_, all := l.r.Helped(w.Name)
	i := slices.IndexFunc(l.points, func(p needed.Point) bool { return p.Name == w.Name })
	if i < 0 || all && !l.broken[w.Name] {
		return w.Until, nil
	}
	p := l.points[i]
	kept := l.o.Repository.Trust().Kept(p.Commit)
	if !w.Until.After(kept) {
		return w.Until, nil
	}
	whole, err := l.whole(ctx, p.Head)
	if err != nil && !repo.Classify(ctx, err).Unusable() {
		return w.Until, err
	}
	if err != nil || !whole {
		return kept, nil
	}
	return w.Until, nil
}

// whole reports whether nothing that a point needs was refused or lost.
func (l *ownLocks) whole(ctx context.Context, p repo.Head) (bool, error) {
	for _, n := range l.r.Reader().Repository().Standing() {
		if helped, _ := l.r.Helped(n.Name); !helped {
			return false, nil
		}
	}
	for w, err := range NewLocks(l.r).objects(ctx, p) {
		if err != nil {
			return false, err
		}
		if helped, _ := l.r.Helped(w.Name); !helped {
			return false, nil
		}
	}
	return true, nil
}
