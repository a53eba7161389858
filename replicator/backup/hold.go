package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Hold locks everything that a point needs until a time at least, in every vault of the session, and reads the locks back. The point's own
// object comes last: where that is locked so far, all the rest is. It keeps no state: broken off, it is begun again and finds what is
// done. A vault that fails is left out, and stands with its error in the session's results. What no vault has any more is a
// *repo.LostError, the point's own object where a vault has not got it right a *repo.LostPointError, and the rest is held all the same.
func Hold(ctx context.Context, s *repo.Session, p repo.Head, until time.Time) error {
	if err := s.Locks.Begin(until); err != nil {
		return fmt.Errorf("hold point %s: %w", p.ID, err)
	}
	err := hold(ctx, s, &p)
	if err == nil || isLost(err) {
		if ferr := s.Writer.FlushPlacements(ctx); ferr != nil {
			err = ferr
		}
	}
	if err != nil {
		return fmt.Errorf("hold point %s: %w", p.ID, err)
	}
	return nil
}

// ForecastHold says for each vault of the session what Hold would do there.
func ForecastHold(ctx context.Context, s *repo.Session, p repo.Head, until time.Time) ([]repo.Lengthening, error) {
	fail := func(err error) ([]repo.Lengthening, error) { return nil, fmt.Errorf("look at point %s: %w", p.ID, err) }
	if err := s.Locks.Begin(until); err != nil {
		return fail(err)
	}
	if err := s.Past.Read(ctx, &p); err != nil {
		return fail(err)
	}
	out, err := s.Locks.ForecastHold(ctx, p.Point, whatItNeeds(ctx, s, &p))
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// hold holds what a point needs until the session's time, and its own object last, as far as all is there.
func hold(ctx context.Context, s *repo.Session, p *repo.Head) error {
	if err := s.Past.Read(ctx, p); err != nil {
		return err
	}
	lost := s.Locks.Secure(ctx, whatItNeeds(ctx, s, p))
	if lost != nil && !isLost(lost) {
		return lost
	}
	own := s.Locks.HoldPoint(ctx, p.Point)
	if own != nil && !isLost(own) {
		return own
	}
	return errors.Join(lost, own)
}

// whatItNeeds gives what is on a point's needs list, then the objects that the list itself is in, and those that every point needs: keys
// may have been changed since the list was written. Each comes once.
func whatItNeeds(ctx context.Context, s *repo.Session, p *repo.Head) iter.Seq2[format.Need, error] {
	return func(yield func(format.Need, error) bool) {
		rest := map[string]int64{} // a few objects a point, and two for each change of keys
		for _, n := range s.Repository().Standing() {
			rest[n.Name] = n.Size
		}
		visit := func(ref format.PageRef) { rest[ref.Object] = -1 }
		for n, err := range tree.Needs(ctx, s.Content.Page, p.Commit.Needs, visit) {
			if !yield(n, err) || err != nil {
				return
			}
			delete(rest, n.Name)
		}
		for name, size := range rest {
			if !yield(format.Need{Name: name, Size: size}, nil) {
				return
			}
		}
	}
}
