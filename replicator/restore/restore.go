// Package restore brings a recovery point back: it walks the manifest in order, fetches what its entries are made of in
// large ranges, verifies every byte, and hands entries to a Target (subpackages todir, tobucket, totar).
//
// Small entries are collected in windows, so that a frame which many of them share is fetched and decoded once; large
// ones stream, a few batches ahead. One bad key, object or page fails what depends on it, by name; the others go on.
// Memory is bounded by Options.Memory, whatever the point holds. The package needs a reader of one vault and nothing else: it must never write
// to a vault, need a cache, or hand a target bytes whose hash was not checked.
package restore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/part"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// Options of a restore.
type Options struct {
	Reader *repo.Reader // with a restore key
	Commit *format.Commit
	Target Target

	Part    part.Part // what of the point is restored, as if it were all of it
	Include []string  // globs against the whole key, as it is in the part; none: everything
	Exclude []string
	Keys    []string // these keys alone, sorted; none: all. Pages without any of them are not fetched

	Overwrite   Overwrite
	DryRun      bool  // decide and count; fetch no content, change nothing
	Memory      int64 // bytes, for the process as a whole; default 256 MiB
	Concurrency int   // entries handed to the target at once; default 16

	// Progress is told of entries that are settled and content bytes that were restored or skipped. May be nil; it is
	// called concurrently.
	Progress func(entries, bytes int64)
	// Failed is told of every failure as it happens. May be nil; calls do not overlap.
	Failed func(Failure)
}

// DefaultMemory is Options.Memory where it is not given, and MinMemory the least there can be.
const (
	DefaultMemory = 256 << 20
	MinMemory     = 64 << 20
)

// maxFailures bounds Result.Failures; Options.Failed hears of all.
const maxFailures = 1000

// Failure is an entry, or a stretch of the manifest, that was not restored.
type Failure struct {
	Key     string
	Version string
	Entries int64 // how many entries it stands for: 1, or those of a manifest page that cannot be read
	Missing bool  // the point never had it (ErrNotInPoint), or not all of it (ErrPartly): counted in Result.Missing, not in Failed
	Differs bool  // something else is at the target and was left (ErrDiffers): counted in Result.Skipped and Differs
	Err     error
}

func (f Failure) Error() string { return fmt.Sprintf("%q: %v", f.Key, f.Err) }

// Unwrap gives the cause.
func (f Failure) Unwrap() error { return f.Err }

// Result of a restore. A dry run counts what would be restored.
type Result struct {
	Entries  int64 // restored
	Bytes    int64 // of content, restored
	Skipped  int64 // there already
	Differs  int64 // of those skipped: not as in the point, see Failures
	Ignored  int64 // not what this target holds
	Failed   int64 // not restored, see Failures
	Missing  int64 // not in the recovery point
	Failures []Failure
	Notes    []string // what was not kept of what was restored
	Seconds  float64
}

// run is one restore.
type run struct {
	o                Options
	job              Job
	include, exclude glob.Set
	tally            *tally
	limits           limits

	small   *semaphore.Weighted // bytes of small entries that are in flight
	fetches *semaphore.Weighted // vault objects read at once
	slots   *semaphore.Weighted // large entries restored at once

	work     *errgroup.Group // every goroutine of the run
	inFlight sync.WaitGroup  // fetches of windows, and large entries
	ready    chan *item      // small entries whose content is there
	queue    chan *item      // an InOrder target's, in order
	scratch  pack.Scratch    // buffers of large entries' chunks
	streams  atomic.Int64    // large entries whose content is on its way
}

// limits share out the memory.
type limits struct {
	small     int64 // bytes of small entries in flight
	window    int64 // bytes of one window
	whole     int64 // the largest entry handled as a small one
	stream    int64 // bytes of one batch of a large entry in flight
	ahead     int64 // batches of one large entry fetched at once
	streams   int64
	fetches   int64
	target    int64
	looks     int64 // bytes of entries that the target is being asked about
	maxLooks  int   // and how many turns of keys (see turn)
	maxWindow int   // entries
}

// crowdedStream is the bytes of one batch in flight where the processors are busy without: enough that the next chunk is there when the one
// before it is written. What lies in memory beyond that has left the caches by the time it is wanted, and costs a third more.
const crowdedStream = 2 << 20

// share divides memory: about a sixth each for small entries, large entries, ranges in flight and the target; the rest is
// for opened objects, manifest pages and garbage not yet collected.
//
// A receiver that goes on with a large version after a small one must leave another to take what fetches hand over: so
// fewer large entries than receivers.
func share(memory int64, receivers int) limits {
	unit := memory / 256
	l := limits{
		small: 40 * unit, window: 13 * unit, whole: 4 * unit,
		stream: 6 * unit, ahead: 2, streams: min(4, int64(receivers)-1, max(1, memory>>25)), fetches: 5,
		target: 40 * unit, looks: 8 * unit, maxLooks: 2 * receivers, maxWindow: 4096,
	}
	if memory < 128<<20 { // every batch has buffers for a frame beside
		l.ahead = 1
	}
	return l
}

// Run restores. The result is filled in as far as it went, also beside an error. Failures of single entries are not an error: see
// Result.Failed. A cancelled context ends it with the context's error.
func Run(ctx context.Context, o Options) (Result, error) {
	start := time.Now()
	r, err := newRun(o)
	if err != nil {
		return Result{}, err
	}
	err = r.all(ctx)
	res := r.tally.result()
	if err == nil {
		res.Notes = o.Target.Notes()
	}
	res.Seconds = time.Since(start).Seconds()
	return res, err
}

func newRun(o Options) (*run, error) {
	if o.Reader == nil || o.Commit == nil || o.Target == nil {
		return nil, errors.New("restore: reader, commit and target are needed")
	}
	switch o.Overwrite {
	case "":
		o.Overwrite = Never
	case Never, Changed, Always:
	default:
		return nil, fmt.Errorf("restore: overwrite is %q; use never, changed or always", o.Overwrite)
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < MinMemory {
		return nil, fmt.Errorf("restore: a memory limit of %d bytes is too little; give at least %d MiB", o.Memory, MinMemory>>20)
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 16
	}
	o.Concurrency = max(o.Concurrency, 2)
	r := &run{o: o, limits: share(o.Memory, o.Concurrency), tally: &tally{progress: o.Progress, failed: o.Failed}}
	var err error
	if r.include, err = glob.ParseSet(o.Include); err != nil {
		return nil, fmt.Errorf("restore: include: %w", err)
	}
	if r.exclude, err = glob.ParseSet(o.Exclude); err != nil {
		return nil, fmt.Errorf("restore: exclude: %w", err)
	}
	r.small = semaphore.NewWeighted(r.limits.small)
	r.fetches = semaphore.NewWeighted(r.limits.fetches)
	r.slots = semaphore.NewWeighted(r.limits.streams)
	return r, nil
}

// all runs from Begin to Close.
func (r *run) all(ctx context.Context) (err error) {
	t := r.o.Target
	r.job = Job{
		Commit: r.o.Commit, Overwrite: r.o.Overwrite, DryRun: r.o.DryRun, Concurrency: r.o.Concurrency,
		Partial: !r.o.Part.IsWhole() || !r.include.Empty() || !r.exclude.Empty() || len(r.o.Keys) > 0,
		Memory:  r.limits.target, Fail: func(key string, err error) { r.tally.late(key, err) },
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if err := t.Begin(ctx, r.job); err != nil {
		return err
	}
	if err := r.stages(ctx); err != nil {
		// The stages' own context ends with their first error; what the caller's says comes first.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	if r.o.DryRun {
		return nil
	}
	return t.Finish(ctx)
}

// stages runs the walk, the fetches and the receivers until all are done or one fails.
func (r *run) stages(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	r.work = g
	if r.o.Target.InOrder() {
		// What is in flight is bounded by bytes, and every entry costs some: the queue never fills.
		r.queue = make(chan *item, r.limits.small/entryCost+r.limits.streams+1)
		g.Go(func() error { return r.receiveInOrder(ctx) })
	} else {
		r.ready = make(chan *item)
		for range r.o.Concurrency {
			g.Go(func() error { return r.receive(ctx) })
		}
	}
	g.Go(func() error {
		if r.queue != nil {
			defer close(r.queue)
		} else {
			defer close(r.ready)
		}
		w := walker{run: r}
		err := w.walk(ctx)
		r.inFlight.Wait() // whoever fetches may still send to ready
		return err
	})
	return g.Wait()
}
