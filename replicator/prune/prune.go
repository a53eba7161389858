// Package prune deletes from one vault what no living recovery point needs and no lock holds any more: packs and pages of
// points that are over, their commit objects, delete markers, and whatever else lies in the vault's prefix.
//
// It is the only package that is handed a store.Remover. It never deletes by name, only versions; nothing whose lock ended,
// or which arrived, less than Spare ago; nothing that a living point needs; and, if it cannot read what a living point
// needs, nothing at all. It keeps no state: broken off anywhere, it is begun again.
package prune

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
)

// Spare is how long after a lock's end, or after its arrival, a version is left alone. A run takes content for stored only
// in packs that are locked for at least as long, so the two cannot meet.
const Spare = 72 * time.Hour

// ErrUnsure: what is needed cannot be known, so nothing is deleted.
var ErrUnsure = errors.New("nothing is deleted, since it cannot be known what is needed")

// Options of a pruning of one vault.
type Options struct {
	Repository *repo.Repository
	Vault      *repo.Vault   // Read and Inspect; Locking.Mode is store.ModeNone for a directory
	Remover    store.Remover // nil: a dry run
	Retired    []string      // sources that are backed up no more: also their newest points go when they are over
	Scratch    *cache.Cache  // of its own, empty
	// Concurrency is how many requests go on at once, default 16.
	Concurrency int
	Emit        func(Item)      // called one at a time; may be nil
	Report      repo.Report     // may be nil
	Made        []cache.Made    // points that this machine remembers to have made there: where one is not listed a directory is left alone
	Progress    *progress.Count // versions looked at, and deleted; may be nil
	Now         func() time.Time
}

// Reason says why a version goes.
type Reason string

// The reasons there are.
const (
	Over     Reason = "commit object of a point that is over"
	Unneeded Reason = "no living point needs it"
	Overlaid Reason = "not the bytes of its name, or a copy of them: the right version stays"
	Marker   Reason = "delete marker"
	Stranger Reason = "not a name of this repository"
)

// Item is one version that goes, or would go in a dry run.
type Item struct {
	store.Ref
	Size     int64
	Reason   Reason
	LockOver time.Time // when its lock ended; zero: it had none
}

// Summary is what a pruning came to. Of a dry run, Removed and Bytes are what would be deleted.
type Summary struct {
	DryRun   bool
	Points   int   // in the vault
	Living   int   // of them; the others are over
	Versions int64 // listed, delete markers included
	Removed  int64
	Bytes    int64 // of what was removed
	Locked   int64 // versions that nothing living needs and that are still locked, or spared for a while
	Needed   int64 // versions that turned out to be needed by a point that came meanwhile, and were left
	Seconds  float64
}

// run is one pruning.
type run struct {
	removes *removing

	o     Options
	clock time.Time
	plan  *plan

	mu     sync.Mutex
	sum    Summary
	points map[string]bool // names of the commit objects looked at
	odd    map[string]bool // of them: signed, and passed over by readers
	unread bool            // a directory has placements of a newer version
	living []needed.Point
	over   doomed
}

// removing deletes what was decided on, a lock read again before each.
type removing struct{ *run }

// share makes the roles.
func (r *run) share() *run {
	r.removes = &removing{r}
	return r
}

// Run plans in full what goes, looks once more for points that came meanwhile, and then deletes, commit objects first: so
// a point that is over is gone before anything it needed.
func Run(ctx context.Context, o Options) (_ Summary, err error) {
	began := time.Now()
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	if o.Progress == nil {
		o.Progress = &progress.Count{}
	}
	vault := *o.Vault
	vault.Read, o.Vault = flat.NewReader(vault.Read), &vault
	if o.Remover != nil {
		o.Remover = flat.Remover{Remover: o.Remover}
	}
	r := (&run{o: o, sum: Summary{DryRun: o.Remover == nil}, points: map[string]bool{}, odd: map[string]bool{}}).share()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	err = r.all(ctx)
	r.sum.Seconds = time.Since(began).Seconds()
	return r.sum, err
}

func (r *run) all(ctx context.Context) (err error) {
	facts, err := r.o.Vault.Inspect.Inspect(ctx)
	if err != nil {
		return err
	}
	if err := repo.CheckClock(facts.Clock, r.o.Now()); err != nil {
		return err
	}
	r.clock = facts.Clock.UTC()
	if r.plan, err = newPlan(r.o.Scratch); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.plan.close()) }()
	if err := r.o.Repository.Ended(); err != nil && r.o.Vault.Locking.Mode == store.ModeNone {
		return fmt.Errorf("%w: without locks nothing is deleted while something signed is not understood: %w", ErrUnsure, err)
	}
	reader, err := repo.NewReader(r.o.Repository, r.o.Vault.Read, nil, nil, r.o.Report)
	if err != nil {
		return err
	}
	if r.living, err = r.findLiving(ctx); err != nil {
		return err
	}
	r.sum.Living = len(r.living)
	set, err := needed.Gather(ctx, reader, r.o.Scratch, "needed", r.living, func(p needed.Point, err error) error { return r.broken(ctx, p, err) })
	if err != nil {
		return unsure(ctx, err)
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	if err := r.keepSegments(ctx, set); err != nil {
		return err
	}
	if err := r.list(ctx, set); err != nil {
		return err
	}
	spared, err := r.arrivals(ctx, reader)
	if err != nil {
		return err
	}
	if spared != nil {
		defer func() { err = errors.Join(err, spared.Close()) }()
	}
	return r.removes.remove(ctx, spared)
}

// unsure says of an error about what is needed that nothing is deleted because of it.
func unsure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrUnsure, err)
}

// keepSegments keeps the index segments and placements of a directory, which keeps no locks: elsewhere those that runs
// still use are locked. What placements of a newer version say is not known: they stay, and so does every meta object, since
// any of them may hold index segments that a newer program goes by.
func (r *run) keepSegments(ctx context.Context, set *needed.Set) (err error) {
	if r.o.Vault.Locking.Mode != store.ModeNone {
		return nil
	}
	known, err := repo.OpenRenewal(ctx, repo.RenewalOptions{
		Repository: r.o.Repository, Vault: r.o.Vault, Cache: r.o.Scratch, Report: r.o.Report, Now: r.o.Now,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, known.Close()) }()
	for name, err := range known.Segments() {
		if err != nil {
			return err
		}
		if err := set.Keep(name); err != nil {
			return err
		}
	}
	for _, name := range known.Newer() {
		r.unread = true
		if err := set.Keep(name); err != nil {
			return err
		}
	}
	return nil
}
