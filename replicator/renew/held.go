package renew

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// clockOf is the vault's time, by which locks are counted; ours, where it has none to tell.
func clockOf(ctx context.Context, o Options) (time.Time, error) {
	if o.Vault.Inspect == nil {
		return o.Now(), nil
	}
	facts, err := o.Vault.Inspect.Inspect(ctx)
	return facts.Clock, err // one that is off is refused where the renewal begins
}

// held gives what all records say is held of the points. Those that cannot be read may tell of holds too, and the points that others tell of
// can be helped all the same.
func held(ctx context.Context, o Options, clock time.Time, listed []repo.Point) (evidence.Standing, error) {
	ours := map[format.Hash]bool{} // a thief with a reporter's key may tell of any number of others
	for _, p := range listed {
		ours[p.ID] = true
	}
	from := evidence.Of(o.Vault.Read, o.Repository)
	from.Report = evidence.Told(o.Report)
	return evidence.Stand(ctx, from, clock, func(id format.Hash) bool { return ours[id] })
}

// reach lets the vault's locks go as far as holds may, where only held points ask for that. What a hold asks for beyond its own ceiling, as a
// configuration without one has it, is locked as far as that goes now, and further by later renewals.
func reach(o Options, clock time.Time, vault *repo.Vault, points []needed.Point, holds map[format.Hash]time.Time) (held, short int) {
	l := &vault.Locking
	most := clock.Add(l.Ceiling - l.Slack)
	furthest := clock.Add(max(l.Ceiling, o.Reach) - l.Slack - repo.MaxClockOffset) // whatever clock the vault goes by
	others := false
	for i := range points {
		p := &points[i]
		own := retain.Later(o.Repository.Trust().Kept(p.Commit), o.Until)
		if !holds[p.ID].After(own) {
			others = others || p.Until.After(most)
			continue
		}
		held++
		if l.Ceiling > 0 && p.Until.After(furthest) {
			p.Until = retain.Later(furthest, own).UTC().Truncate(time.Second)
			short++
		}
		others = others || own.After(most)
	}
	if l.Ceiling > 0 && held > 0 && !others {
		l.Ceiling = max(l.Ceiling, o.Reach)
	}
	return held, short
}
