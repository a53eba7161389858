package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A source that goes from something to nothing is most likely a disk that is not mounted, a tag that was renamed or a
// bucket that somebody wiped. The point is made all the same, marked as empty, until somebody says that it is right:
// readers pass over it, it fills no slot, and the last point that was not empty is held as long as if it had been made now.

// Emptied says of a run that it found nothing where there had been something.
type Emptied struct {
	Last *repo.Head // the last point that was not empty; nil where there is none any more
}

// isContent reports whether an entry is something of its own: the folders that stay when a disk is not mounted, and the
// delete markers of what is gone, are nothing, and neither is what a source lists whatever is selected.
func (e *keeping) isContent(n *format.Entry) bool {
	if s, ok := e.view.(source.Surroundings); ok && s.Surrounds(n.Key) {
		return false
	}
	return n.Kind != format.KindDir && n.Kind != format.KindMarker && n.Unusable == nil
}

// emptied reports whether nothing was found in a source that had something, without anybody having said that this is
// right. What could not be listed may be something, unless other things are known to have gone.
func (e *keeping) emptied() bool {
	if e.o.AllowEmpty || e.stats.found.Load() > 0 {
		return false
	}
	if e.parent != nil && e.parent.Marked(format.MarkEmpty) && e.watch.acks.covers(e.parentID, e.parent.SignedAt.Time) {
		return e.stats.gone.Load() > 0 // it was acknowledged that nothing is there
	}
	if e.parent != nil && e.parent.Marked(format.MarkEmpty) || e.stats.gone.Load() > 0 {
		return true
	}
	if _, ok := e.view.(source.Surroundings); ok {
		return false // the bytes of the last point need not be of anything that counts
	}
	return e.stats.unlisted.Load() == 0 && e.last != nil && e.last.Line.Bytes > 0
}

// isFirst reports whether this source has nothing in it and never was backed up before.
func (e *keeping) isFirst() bool {
	return e.parent == nil && e.last == nil && e.stats.found.Load() == 0 && e.stats.unlisted.Load() == 0 && !e.o.AllowEmpty
}

// lastFilled gives the newest complete point that is not marked as empty, or the newest incomplete one where there is no other.
func lastFilled(points []repo.Head) *repo.Head {
	var last *repo.Head
	for i := range points {
		p := &points[i]
		whole := p.Line.Status == format.StatusComplete
		if !p.Line.Marked(format.MarkEmpty) && (whole || last == nil || last.Line.Status != format.StatusComplete) {
			last = p
		}
	}
	return last
}

// keeping decides what the new point counts for, and how long points are kept.
type keeping struct{ *engine }

// conclude decides what becomes of the point, once it is known what is in it: one that is incomplete, or marked, fills no
// slot and is kept for the shortest span. It gives the point's status and marks.
func (e *keeping) conclude(ctx context.Context) (status string, marks []string, err error) {
	status = format.StatusComplete
	if e.stats.missing.Load() > 0 {
		status = format.StatusIncomplete
	}
	if e.emptied() {
		marks = []string{format.MarkEmpty}
		e.empty = &Emptied{Last: e.last}
		if e.last != nil && !e.o.DryRun {
			if err := e.hold(ctx, e.last, "the last point that is not empty"); err != nil {
				return "", nil, err
			}
		}
	}
	if status != format.StatusComplete || marks != nil {
		e.decision = retain.Decision{RetainUntil: retain.Shortest(e.o.Retention, e.takenAt)}
	}
	if e.suspect = e.watch.judge(ctx); e.suspect != nil {
		marks = append(marks, format.MarkSuspect)
		if err := e.holdClean(ctx, e.suspect); err != nil {
			return "", nil, err
		}
	}
	return status, marks, e.s.Begin(e.decision.RetainUntil)
}

// holdClean holds the last clean point for the time that is set, within the vaults' ceilings. A suspect point itself is kept as any
// other: most alarms are none in the end.
func (e *keeping) holdClean(ctx context.Context, s *Suspect) error {
	want := e.o.Guard.Hold
	if want <= 0 || s.Clean == nil || e.o.DryRun {
		return nil
	}
	until := e.takenAt.Add(want)
	if most := e.s.Furthest(); until.After(most) {
		e.watch.say("the last clean point is held until %s only: no lock of these vaults may reach further (lock.ceiling)", most.UTC().Format(time.DateOnly))
		until = most
	}
	if until.Before(e.decision.RetainUntil) {
		until = e.decision.RetainUntil
	}
	if err := e.s.Begin(until); err != nil {
		return err
	}
	s.Held = until // in a directory, too: prune goes by the record of it
	return e.hold(ctx, s.Clean, "the last clean point")
}

// hold holds everything that a point needs until the time that the session stores for: as long as a whole point would be kept that
// was made now, or longer. What is lost of it is told and does not keep the run from its end.
func (e *keeping) hold(ctx context.Context, p *repo.Head, what string) error {
	err := hold(ctx, e.s, p)
	if isLost(err) {
		if e.o.Remark != nil {
			e.o.Remark("", fmt.Sprintf("%s, %.12s, cannot be kept whole: %v", what, p.ID, err))
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("hold %s: %w", what, err)
	}
	return nil
}
