// Package rehearse restores a sample of a recovery point, compares it, and says what follows for all of it.
//
// The manifest is read once, as a stream: entries are counted by kind and size, and a sample is drawn of each (sample.go). The sample is restored
// through package restore into a folder, read again from the disk there, and compared with the manifest by size and SHA-256. What a sample says of the
// whole is in bounds.go. How long a restore of all would take is measured on runs of neighbouring entries beside it, since entries that lie far
// apart share no requests. Memory is bounded by the size of the sample, whatever the point holds. The package must never write outside the folder that
// it is given, and must never call an entry good that was not read again.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Options of a rehearsal.
type Options struct {
	Reader *repo.Reader // with a restore key
	Commit *format.Commit

	Scratch string // an empty folder of our own
	Target  func(folder string) (restore.Target, error)

	Whole       bool   // restore everything, instead of a sample
	Most        int    // entries of the sample
	Bytes       int64  // that are restored at most, unless Whole
	Seed        uint64 // of the sample: with it the same is drawn again
	Memory      int64
	Concurrency int

	// Room is told before the first byte how much is going to be restored at once. An error ends the rehearsal.
	Room func(bytes, entries int64) error
	// Found is told of everything that is not good. Calls do not overlap.
	Found    func(Finding)
	Progress func(bytes int64) // may be nil; called concurrently
}

// Finding is an entry that is not as the manifest says, or of which that cannot be said.
type Finding struct {
	Key     string
	Entries int64 // how many it stands for: 1, or those of a stretch of the manifest that is lost
	Bad     bool  // damaged or lost; otherwise not tested: this folder, or the way to it, is why
	Beside  bool  // it was not drawn, but stood in a run on which times are measured
	Err     error
}

// Result of a rehearsal.
type Result struct {
	Entries int64 // that a folder can hold: the newest version of each key
	Bytes   int64
	Of      int64 // of these, those of which the bound speaks
	Share   Share

	Compared      int64 // of the sample, bad ones included
	ComparedBytes int64
	Bad           int64 // of those
	Untested      int64 // drawn, and not compared
	Beside        int64 // compared in runs of neighbours, not drawn
	BesideBad     int64
	Lost          int64 // entries of pages of the manifest that are lost: bad, each of them

	TooLarge, TooLargeBytes int64 // entries that are too large to be drawn
	Missing                 int64 // not in the point, or not all of it
	Older                   int64 // older versions and delete markers
	Unheld                  int64 // devices, fifos and sockets

	Strata  []Outcome
	Whole   bool // all of it was restored
	Folder  string
	Batches []Batch
	Time    *Duration // to restore all; nil: not known
	Seconds float64   // of the restore itself, where it was the whole
}

// Outcome is what came of a stratum.
type Outcome struct {
	Stratum
	Tested
}

// AllBad gives how many entries are known to be bad.
func (r *Result) AllBad() int64 { return r.Bad + r.BesideBad + r.Lost }

// Restored is the folder in the scratch folder where the entries are.
const Restored = "restored"

// rehearsal is one.
type rehearsal struct {
	o     Options
	res   Result
	drawn *drawn

	mu   sync.Mutex
	told map[string]bool // keys that are not good
	over context.CancelFunc
}

// ErrTooMany: so many entries are bad that there is no point in going on.
var ErrTooMany = errors.New("too many bad entries to go on")

const maxTold = 100_000

// Run rehearses. The result is filled in as far as it went.
func Run(ctx context.Context, o Options) (*Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &rehearsal{o: o, told: map[string]bool{}, over: func() {
		cancel(fmt.Errorf("%w: more than %d", ErrTooMany, maxTold))
	}}
	r.res.Folder = filepath.Join(o.Scratch, Restored)
	err := r.run(ctx)
	if err != nil && errors.Is(context.Cause(ctx), ErrTooMany) {
		err = context.Cause(ctx)
	}
	return &r.res, err
}

func (r *rehearsal) run(ctx context.Context) error {
	d, err := draw(ctx, r.o)
	if err != nil {
		return err
	}
	r.drawn, r.res.Whole = d, r.o.Whole
	r.population()
	if !r.o.Whole && int64(d.count()) == r.res.Entries { // the sample is all there is
		r.res.Whole = true
	}
	if err := r.room(); err != nil {
		return err
	}
	for _, l := range d.lost {
		r.res.Lost += l.Entries
		r.found(l)
	}
	if r.o.Whole {
		err = r.whole(ctx)
	} else {
		err = r.sample(ctx)
	}
	if err != nil {
		return err
	}
	r.conclude()
	return nil
}

// population says what there is.
func (r *rehearsal) population() {
	d := r.drawn
	for _, s := range d.strata {
		r.res.Entries += s.Entries + s.TooLarge
		r.res.Bytes = format.AddSizes(r.res.Bytes, format.AddSizes(s.Bytes, s.TooLargeBytes))
		r.res.TooLarge += s.TooLarge
		r.res.TooLargeBytes = format.AddSizes(r.res.TooLargeBytes, s.TooLargeBytes)
		r.res.Strata = append(r.res.Strata, Outcome{s, Tested{Entries: s.Entries}})
	}
	if r.o.Whole {
		r.res.TooLarge, r.res.TooLargeBytes = 0, 0
		for i := range r.res.Strata {
			s := &r.res.Strata[i]
			s.Stratum.Entries, s.Bytes = s.Stratum.Entries+s.TooLarge, format.AddSizes(s.Bytes, s.TooLargeBytes)
			s.TooLarge, s.TooLargeBytes, s.Tested.Entries = 0, 0, s.Stratum.Entries
		}
	}
	r.res.Missing, r.res.Older, r.res.Unheld = d.missing, d.older, d.unheld
}

// room asks for what is going to lie there at once: the sample, and one run of neighbours beside it.
func (r *rehearsal) room() error {
	if r.o.Room == nil {
		return nil
	}
	if r.o.Whole {
		return r.o.Room(r.res.Bytes, r.res.Entries)
	}
	var bytes, entries, most int64
	for _, list := range r.drawn.sample {
		entries += int64(len(list))
		for _, x := range list {
			bytes += x.Size
		}
	}
	if !r.res.Whole {
		for _, s := range r.drawn.stretches {
			most = max(most, s.size)
			entries = max(entries, int64(len(s.held)))
		}
	}
	return r.o.Room(bytes+most, entries)
}

// found tells of what is not good.
func (r *rehearsal) found(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.told) >= maxTold {
		r.over()
		return
	}
	if f.Beside && r.told[f.Key] {
		return // it was drawn as well, and told
	}
	r.told[f.Key] = true
	r.o.Found(f)
}

// failures are what a restore said of entries that it could not restore, by key.
type failures struct {
	mu   sync.Mutex
	keys map[string]error
}

// restore restores into a folder: keys (sorted), or everything. It gives what failed, by key.
func (r *rehearsal) restore(ctx context.Context, folder string, keys []string) (*failures, restore.Result, error) {
	to, err := r.o.Target(folder)
	if err != nil {
		return nil, restore.Result{}, err
	}
	f := &failures{keys: map[string]error{}}
	res, err := restore.Run(ctx, restore.Options{
		Reader: r.o.Reader, Commit: r.o.Commit, Target: to, Keys: keys, Memory: r.o.Memory, Concurrency: r.o.Concurrency,
		Progress: func(_, n int64) {
			if r.o.Progress != nil {
				r.o.Progress(n)
			}
		},
		Failed: func(x restore.Failure) {
			if errors.As(x.Err, new(*tree.Lost)) || x.Missing {
				return // known from the manifest, and counted there
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.keys[x.Key] = x.Err; len(f.keys) > maxTold {
				r.over()
			}
		},
	})
	if err != nil {
		return f, res, fmt.Errorf("restore: %w", err)
	}
	return f, res, nil
}

// sample restores and compares what was drawn, and then the runs of neighbours.
func (r *rehearsal) sample(ctx context.Context) error {
	var all []Item
	stratum := map[string]int{}
	for i, s := range r.res.Strata {
		for _, x := range r.drawn.sample[s.Name] {
			all = append(all, x)
			stratum[x.Key] = i
		}
	}
	failed, res, err := r.restore(ctx, r.res.Folder, keysOf(all))
	if err != nil {
		return err
	}
	if r.res.Whole {
		r.res.Seconds = res.Seconds
	}
	err = r.compare(ctx, r.res.Folder, failed, slices.Values(all), func(x Item, e error) {
		s := &r.res.Strata[stratum[x.Key]]
		r.judge(ctx, x, e, s)
	})
	if err != nil || r.res.Whole {
		return err
	}
	for i, s := range r.drawn.stretches {
		if len(s.held) == 0 {
			continue
		}
		if err := r.neighbours(ctx, filepath.Join(r.o.Scratch, fmt.Sprintf("run-%d", i+1)), s.held); err != nil {
			return err
		}
	}
	return nil
}

// judge counts what came of an entry that was drawn.
func (r *rehearsal) judge(ctx context.Context, x Item, err error, s *Outcome) {
	switch {
	case err == nil:
	case isBad(ctx, err):
		s.Bad++
		r.res.Bad++
		r.found(Finding{Key: x.Key, Entries: 1, Bad: true, Err: err})
	default:
		r.res.Untested++
		r.found(Finding{Key: x.Key, Entries: 1, Err: err})
		return
	}
	s.Compared++
	r.res.Compared++
	r.res.ComparedBytes += x.Size
}

// neighbours restores a run, times it, compares it and takes it away again.
func (r *rehearsal) neighbours(ctx context.Context, folder string, held []Item) error {
	failed, res, err := r.restore(ctx, folder, keysOf(held))
	if err != nil {
		return errors.Join(err, Remove(folder))
	}
	r.res.Batches = append(r.res.Batches, Batch{res.Entries, res.Bytes, res.Seconds})
	err = r.compare(ctx, folder, failed, slices.Values(held), func(x Item, e error) {
		switch {
		case e == nil:
			r.res.Beside++
		case isBad(ctx, e):
			r.mu.Lock()
			known := r.told[x.Key]
			r.mu.Unlock()
			if !known {
				r.res.BesideBad++
				r.res.Beside++
				r.found(Finding{Key: x.Key, Entries: 1, Bad: true, Beside: true, Err: e})
			}
		}
	})
	return errors.Join(err, Remove(folder))
}

// whole restores and compares everything.
func (r *rehearsal) whole(ctx context.Context) error {
	failed, res, err := r.restore(ctx, r.res.Folder, nil)
	if err != nil {
		return err
	}
	r.res.Seconds = res.Seconds
	stratum := map[string]*Outcome{}
	for i := range r.res.Strata {
		stratum[r.res.Strata[i].Name] = &r.res.Strata[i]
	}
	var broken error
	items := func(yield func(Item) bool) {
		broken = current(ctx, r.o.Reader, r.o.Commit, func(e *format.Entry, _ int64) bool { return e == nil || !inFolder(e) || yield(itemOf(e)) }, nil)
	}
	err = r.compare(ctx, r.res.Folder, failed, items, func(x Item, e error) { r.judge(ctx, x, e, stratum[x.stratum()]) })
	return errors.Join(err, broken)
}

// conclude says what follows.
func (r *rehearsal) conclude() {
	var tested []Tested
	for _, s := range r.res.Strata {
		if s.Compared > 0 {
			tested = append(tested, s.Tested)
			r.res.Of += s.Tested.Entries
		}
	}
	if r.res.Lost > 0 {
		tested = append(tested, Tested{r.res.Lost, r.res.Lost, r.res.Lost})
		r.res.Of += r.res.Lost
	}
	r.res.Share = Bound(tested)
	if r.res.Of > 0 { // what stood beside is known to be bad, too
		r.res.Share.Most = max(r.res.Share.Most, float64(r.res.AllBad())/float64(r.res.Of))
	}
	if r.res.Whole {
		return
	}
	if d, ok := Foretell(r.res.Batches, r.res.Entries, r.res.Bytes, r.o.Seed); ok {
		r.res.Time = &d
	}
}

func keysOf(items []Item) []string {
	keys := map[string]bool{}
	for _, x := range items {
		keys[x.Key] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// Remove takes away what was restored, also folders that do not let their owner in.
func Remove(folder string) error {
	if os.RemoveAll(folder) == nil {
		return nil
	}
	_ = filepath.WalkDir(folder, func(path string, d os.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // whether it helps shows below
		}
		return nil
	})
	return os.RemoveAll(folder)
}
