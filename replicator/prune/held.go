package prune

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// doomed is the points that are over but for what records say is held: what they need goes.
type doomed struct {
	points []needed.Point // whose commit objects can be read
	dark   []repo.Point   // whose commit objects cannot: nobody knows what they need
}

// held reads what every record says is held, of the points of the vault, and ends as unsure where that leaves open what is needed of points that are over.
func (r *run) held(ctx context.Context, over doomed) (map[format.Hash]time.Time, error) {
	ours := map[format.Hash]bool{} // a thief with a reporter's key may tell of any number of others
	for _, p := range over.points {
		ours[p.ID] = true
	}
	for _, p := range over.dark {
		ours[p.ID] = true
	}
	if len(ours) == 0 {
		return nil, nil
	}
	o := evidence.Of(r.o.Vault.Read, r.o.Repository)
	o.Report = evidence.Told(r.o.Report)
	s, err := evidence.Stand(ctx, o, r.clock.Add(-Spare), func(id format.Hash) bool { return ours[id] })
	if err != nil {
		return nil, unsure(ctx, err)
	}
	for _, p := range over.dark {
		if until, ok := s.Until[p.ID]; ok {
			return nil, fmt.Errorf("%w: point %s of %s is held until %s, and its commit object cannot be read: copy it there from another vault",
				ErrUnsure, p.ID, p.Source, until.Format(time.RFC3339))
		}
	}
	if s.Unread.Err == nil {
		return s.Until, nil
	}
	could := func(p repo.Point) bool { _, known := s.Until[p.ID]; return !known && r.couldHold(s.Unread, p) }
	i := slices.IndexFunc(over.points, func(p needed.Point) bool { return could(p.Point) })
	j := slices.IndexFunc(over.dark, func(p repo.Point) bool { return !p.Distrusted && could(p) })
	if i < 0 && j < 0 {
		return s.Until, nil
	}
	var p repo.Point
	if i >= 0 {
		p = over.points[i].Point
	} else {
		p = over.dark[j]
	}
	return nil, fmt.Errorf("%w: point %s of %s is over, and %s may hold it and cannot be read (%d such in all): copy it there from another vault, let this credential read %s, or use a newer holdfast, as the reason asks for: %w",
		ErrUnsure, p.ID, p.Source, s.Unread.Name, s.Unread.Records, format.PrefixReports, s.Unread.Err)
}

// couldHold reports whether a record that cannot be read may be about a point: not where the point was signed after the record came. The times
// of a directory's files are what its medium makes of them, and tell nothing.
func (r *run) couldHold(u evidence.Unread, p repo.Point) bool {
	return r.o.Vault.Locking.Mode == store.ModeNone || u.Came.IsZero() || !p.SignedAt.After(u.Came.Add(2*repo.MaxClockOffset))
}
