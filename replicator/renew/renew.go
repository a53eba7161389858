// Package renew lengthens the locks that living recovery points of one vault need, with the renewer's credential: list,
// read, extend. It has no private key and writes no object. It also tells how long each point is protected.
//
// In a vault where all is well it finds nothing to lengthen, as every point was locked to its own retain-until before it
// was committed. It is for the days on which something is not well: locks that were taken off a governance vault, that a
// server lost or a copy of the bucket did not carry; and, when no new points come any more, for keeping those there are
// longer than was planned. It must never act on a version whose bytes are not the right ones.
package renew

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options of a renewal of one vault.
type Options struct {
	Repository *repo.Repository
	Vault      *repo.Vault   // Read, Lock and Inspect; without a lock mode that of the points is used
	Points     []format.Hash // only these; none: all that are not over
	Until      time.Time     // hold what they need until then at least; zero: until each point's own retain-until, or the end of its hold
	Reach      time.Duration // how far ahead a hold may lock, where that is more than the vault's ceiling
	Made       []cache.Made  // points that this machine made there; those that are not listed are reported, as are those that other points tell of
	DryRun     bool
	Scratch    *cache.Cache // of its own, empty
	Report     repo.Report
	Progress   *progress.Count  // locks read, and lengthened; may be nil
	Now        func() time.Time // default time.Now
}

// Summary is what a renewal came to.
type Summary struct {
	DryRun     bool
	Points     int
	Until      time.Time // until when the point that is held longest is
	Objects    int64     // stored objects that the points need
	Due        int64     // whose lock was too short
	First      time.Time // when the first of these locks ends, or ended; zero: there was none
	Extended   int64
	Refused    int64 // locks that the vault did not lengthen
	Lost       int64 // objects without the right bytes in any version
	Held       int   // points that are held longer than they are kept
	HeldShort  int   // of these, whose hold reaches further than the ceilings let a lock be set now
	Distrusted int   // points that were passed over: their key was distrusted before they came
	Broken     int   // points of which not all could be read that they need, and records, which may say that points are held
	Newer      int   // records that a newer holdfast wrote: they may hold points, whose locks that one looks after
	Seconds    float64
}

// ErrNoPoint: a point that was named is not in the vault.
var ErrNoPoint = errors.New("no such point in this vault")

// Run renews. Locks that run out first are lengthened first. It keeps no state: broken off, it is begun again and finds what
// is done already.
func Run(ctx context.Context, o Options) (s Summary, err error) {
	began := time.Now()
	if o.Progress == nil {
		o.Progress = &progress.Count{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s.DryRun = o.DryRun
	defer func() {
		s.Seconds = time.Since(began).Seconds()
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	clock, err := clockOf(ctx, o)
	if err != nil {
		return s, err
	}
	listed, err := o.Repository.Points(ctx, o.Vault.Read, "", o.Report)
	if err != nil {
		return s, err
	}
	standing, err := held(ctx, o, clock, listed)
	if err != nil {
		return s, err
	}
	holds, unread := standing.Until, standing.Unread
	s.Newer = unread.Newer
	points, broken, distrusted, err := choose(ctx, o, listed, holds)
	if err != nil {
		return s, err
	}
	vault := *o.Vault
	if vault.Locking.Mode == store.ModeNone {
		vault.Locking.Mode = modeOf(points)
	}
	s.Held, s.HeldShort = reach(o, clock, &vault, points, holds)
	r, err := repo.OpenRenewal(ctx, repo.RenewalOptions{Repository: o.Repository, Vault: &vault, Cache: o.Scratch, Report: o.Report, Now: o.Now})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	points = slices.DeleteFunc(points, func(p needed.Point) bool {
		over := !p.Commit.RetainUntil.After(r.Clock()) && !holds[p.ID].After(r.Clock())
		return !p.Until.After(r.Clock()) || len(o.Points) == 0 && over
	})
	s.Points, s.Broken, s.Distrusted = len(points), broken+unread.Records-unread.Newer, distrusted
	for _, p := range points {
		if p.Until.After(s.Until) {
			s.Until = p.Until
		}
	}
	if s.Points == 0 {
		return s, nil
	}
	own := &ownLocks{o: o, r: r, points: points, broken: map[string]bool{}}
	set, err := needed.Gather(ctx, r.Reader(), o.Scratch, "needed", points, func(p needed.Point, err error) error {
		if !repo.Classify(ctx, err).Unusable() {
			return err
		}
		s.Broken++
		own.broken[p.Name] = true
		report(o.Report, repo.Damaged, p.Name, err)
		return nil // the others can be helped all the same
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	f, err := r.Survey(ctx, set.All(), func() { o.Progress.Done.Add(1) })
	s.Objects, s.Due, s.First, s.Lost = f.Objects, f.Due, f.First, f.Lost
	if err != nil || o.DryRun {
		return s, err
	}
	done, err := r.Extend(ctx, own.most, func() { o.Progress.Done.Add(1) })
	s.Extended, s.Refused, s.Lost = done.Extended, done.Refused, s.Lost+done.Lost
	return s, err
}

// modeOf is the lock mode that the points were made with: the strictest.
func modeOf(points []needed.Point) store.Mode {
	mode := store.Governance
	for _, p := range points {
		if p.Commit.Mode == string(store.Compliance) {
			mode = store.Compliance
		}
	}
	return mode
}

// choose gives all points, or those that were named, with how long they are to be held. broken counts those that cannot be
// read, distrusted those that a thief may have made: what he signed lengthens no lock, unless it is named.
func choose(ctx context.Context, o Options, listed []repo.Point, holds map[format.Hash]time.Time) (out []needed.Point, broken, distrusted int, err error) {
	wanted := map[format.Hash]bool{}
	for _, id := range o.Points {
		wanted[id] = true
	}
	for _, p := range listed {
		if len(o.Points) > 0 && !wanted[p.ID] {
			continue
		}
		_, held := holds[p.ID]
		named := wanted[p.ID] || held // somebody who may sign named it
		if p.Distrusted && !named {
			distrusted++
			continue
		}
		c, err := o.Repository.Commit(ctx, o.Vault.Read, p, o.Report)
		switch {
		case err == nil, errors.Is(err, format.ErrNewer) && c != nil: // its head says what it needs
		case wanted[p.ID] || !repo.Classify(ctx, err).Unusable():
			return nil, broken, distrusted, err
		default: // the others can be helped all the same
			report(o.Report, repo.Damaged, p.Name, err)
			broken++
			continue
		}
		if why := o.Repository.Trust().Doubt(c); why != nil {
			report(o.Report, repo.Tampered, p.Name, why)
			if !named {
				distrusted++
				continue
			}
		}
		until := retain.Later(o.Repository.Trust().Kept(c), retain.Later(o.Until, holds[p.ID]))
		out = append(out, needed.Point{Head: repo.Head{Point: p, Commit: c}, Until: until.UTC().Truncate(time.Second)})
	}
	for id := range wanted {
		if !slices.ContainsFunc(listed, func(p repo.Point) bool { return p.ID == id }) {
			return nil, broken, distrusted, fmt.Errorf("point %s: %w", id, ErrNoPoint)
		}
	}
	if len(o.Points) == 0 {
		err = withheld(ctx, o, listed, out)
	}
	return out, broken, distrusted, err
}

// withheld reports points that are kept and that the vault does not list: what they need cannot be held.
func withheld(ctx context.Context, o Options, listed []repo.Point, points []needed.Point) error {
	reader, err := repo.NewReader(o.Repository, o.Vault.Read, nil, nil, nil)
	if err != nil {
		return err
	}
	w := repo.Withheld{In: o.Vault.Read, Page: reader.Page, Vault: o.Vault.Name, Listed: listed, Made: o.Made, Now: o.Now()}
	for _, p := range points {
		w.Read = append(w.Read, p.Head)
	}
	return o.Repository.CheckAllListed(ctx, w, o.Report)
}

func report(r repo.Report, kind repo.FindingKind, name string, err error) {
	if r != nil {
		r(repo.Finding{Kind: kind, Name: name, Detail: err.Error()})
	}
}
