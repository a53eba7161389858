package repo

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// secureParallel is how many objects of one vault are looked at or lengthened at once.
const secureParallel = 16

// Locks keeps up the locks of what points need, and gives vaults what they lack.
type Locks struct {
	*vaults
	placing *placing
	copying *semaphore.Weighted // bytes on their way from one vault to another
}

// Secure makes sure that every active vault holds each of the needs, locked until the session's time at least: from its
// placement, by lengthening the lock, or by copying the object from another vault. What runs out first comes first. A vault
// where that fails is left out. An object that some active vault lacks and none can give is in the *LostError that comes
// back. needs is walked once.
func (s *Locks) Secure(ctx context.Context, needs iter.Seq2[format.Need, error]) (err error) {
	lists := make([]*dueList, len(s.keepers))
	for i, k := range s.keepers {
		lists[i] = &dueList{cache: s.cache, name: "due-" + k.vault.Name}
		defer func() { err = errors.Join(err, lists[i].close()) }()
	}
	until := s.until()
	for n, err := range needs {
		if err != nil {
			return err
		}
		if err := s.collect(lists, n, until); err != nil {
			return err
		}
	}
	lost := &losses{}
	if err := s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		return s.secureAll(ctx, k, lists[i], lost)
	}); err != nil {
		return err
	}
	return lost.err(s.vaults)
}

// collect puts an object on the list of every vault in step that is not known to hold it for long enough.
func (s *Locks) collect(lists []*dueList, n format.Need, until time.Time) error {
	for i, k := range s.keepers {
		if !s.inStep(k) {
			continue
		}
		p, ok, err := k.placement(n.Name)
		if err != nil {
			return err
		}
		if ok && k.locks.holds(p, until) {
			continue
		}
		if err := lists[i].add(due{vault: i, until: p.Until.Time, need: until, name: n.Name, size: n.Size}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Locks) secureAll(ctx context.Context, k *keeper, list *dueList, lost *losses) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for d, err := range list.all() {
		if err != nil {
			_ = g.Wait() // the list's own error is the one to give
			return err
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			err := s.secure(gctx, k, d.name, d.size, d.need)
			if Classify(gctx, err).Lost() {
				lost.add(k, d.name, err)
				return nil
			}
			if err == nil {
				err = s.placing.keepUp(gctx, k)
			}
			return err
		})
	}
	return g.Wait()
}

// SecureSegments keeps up the locks of index segments and placements objects, which no point needs but later runs use,
// and copies index segments into vaults that lack them: content is then found in any vault that outlives the others. As no
// point needs them, one whose lock cannot be lengthened is reported and fails nothing.
func (s *Locks) SecureSegments(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, k *keeper) error { return s.secureSegments(ctx, k) })
}

func (s *Locks) secureSegments(ctx context.Context, k *keeper) error {
	until := s.until()
	old, err := s.placing.foldable(k)
	if err != nil {
		return err
	}
	let := map[string]bool{}
	for _, o := range old {
		let[o.Name] = true
	}
	var due []format.Placement
	for p, err := range k.segments() {
		if err != nil {
			return err
		}
		if !let[p.Name] && !k.locks.holds(p, until) {
			due = append(due, p)
		}
	}
	slices.SortFunc(due, func(a, b format.Placement) int { return a.Until.Compare(b.Until.Time) })
	if err := s.extendAll(ctx, k, due, until); err != nil {
		return err
	}
	return s.copySegments(ctx, k, until)
}

func (s *Locks) copySegments(ctx context.Context, k *keeper, until time.Time) error {
	for _, other := range s.givers() {
		if other == k {
			continue
		}
		for p, err := range s.cache.Places.Indexed(other.vault.Name) {
			if err != nil {
				return err
			}
			if _, ok, err := k.placement(p.Name); err != nil {
				return err
			} else if ok {
				continue
			}
			_, err := s.obtain(ctx, k, p.Name, p.Size, until)
			if Classify(ctx, err).Lost() {
				continue // it was reported; what it said is in the cache
			}
			if err != nil {
				return err
			}
			if err := s.cache.Segments.MarkLoaded(k.vault.Name, p.Name); err != nil {
				return err
			}
			if err := s.placing.keepUp(ctx, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// extendAll lengthens the locks of segments, those that run out first coming first. One that is gone or damaged is
// reported and done without: what it said is in the cache, or can be rebuilt from manifests. One whose lock the vault does
// not lengthen is reported and tried again by the next run; where it lengthens none, no more are tried.
func (s *Locks) extendAll(ctx context.Context, k *keeper, due []format.Placement, until time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	var refused atomic.Int64
	for _, p := range due {
		if refused.Load() >= maxRefused {
			break
		}
		g.Go(func() error {
			err := k.locks.extend(gctx, p, until)
			if err == nil {
				return s.placing.keepUp(gctx, k)
			}
			switch {
			case gctx.Err() != nil:
				return gctx.Err()
			case Classify(gctx, err).Lost():
				return k.lose(p.Name, err)
			}
			if refused.Add(1) <= maxRefused {
				k.report.send(Unlocked, p.Name, "no point needs it; its lock could not be lengthened, which the next run tries again: %v", err)
			}
			return nil
		})
	}
	return g.Wait()
}

// maxRefused is how often lengthening locks is tried that are not needed for a commit, when the vault does not do it.
const maxRefused = secureParallel

// Lengthening tells from when to when the locks of an object have to reach further for the session's time, over all
// active vaults that keep locks: from is the lock that runs out first, as far as is known here, to what would be set. They
// are equal where no lock has to be lengthened; locks is false where no vault keeps any. A vault that has not got the object
// does not count: it is given a copy.
func (s *Locks) Lengthening(name string) (from, to time.Time, locks bool, err error) {
	until := s.until()
	for _, k := range s.active() {
		if k.vault.Locking.Mode == store.ModeNone {
			continue
		}
		p, ok, err := k.placement(name)
		if err != nil {
			return from, to, locks, err
		}
		locks = true
		if !ok {
			continue
		}
		if to.IsZero() || p.Until.Before(from) {
			from = p.Until.Time
		}
		if end := until.Add(k.vault.Locking.Slack); end.After(to) {
			to = end
		}
	}
	if !from.Before(until) {
		to = from
	}
	return from, to, locks, nil
}

// Lengthening is what a run would do about the locks of one vault.
type Lengthening struct {
	Locks     int64   // lengthened, or looked at where a lock that was read back once does not count for ever
	Longer    int64   // of these, those that end too early as far as is known
	ByteHours float64 // what is bound by that, beside what was before
	Stored    int64   // bytes of all that is placed there now
}

// Forecast gives for each vault what a point that needs these objects until the session's time asks of locks, beside those of
// index segments and placements.
func (s *Locks) Forecast(needs iter.Seq2[format.Need, error]) ([]Lengthening, error) {
	out, err := s.forecast(needs)
	if err != nil {
		return nil, err
	}
	until := s.until()
	for i, k := range s.keepers {
		if !s.inStep(k) {
			continue
		}
		if k.vault.Locking.Mode != store.ModeNone {
			if err := s.segmentsDue(k, until, &out[i]); err != nil {
				return nil, err
			}
		}
		for p, err := range s.cache.Places.All(k.vault.Name) {
			if err != nil {
				return nil, err
			}
			out[i].Stored += p.Size
		}
	}
	return out, nil
}

// forecast counts the locks of needs alone.
func (s *Locks) forecast(needs iter.Seq2[format.Need, error]) ([]Lengthening, error) {
	until := s.until()
	out := make([]Lengthening, len(s.keepers))
	for n, err := range needs {
		if err != nil {
			return nil, err
		}
		for i, k := range s.keepers {
			if !s.inStep(k) {
				continue
			}
			p, ok, err := k.placement(n.Name)
			if err != nil {
				return nil, err
			}
			if k.vault.Locking.Mode != store.ModeNone && !(ok && k.locks.seems(p, until)) {
				out[i].add(k, p, until)
			}
		}
	}
	return out, nil
}

// add counts a lock that has to be looked at, or lengthened.
func (l *Lengthening) add(k *keeper, p format.Placement, until time.Time) {
	l.Locks++
	if !p.Until.Before(until) {
		return
	}
	l.Longer++
	from := p.Until.Time
	if now := k.clock(); from.Before(now) {
		from = now
	}
	l.ByteHours += float64(p.Size) * until.Add(k.vault.Locking.Slack).Sub(from).Hours()
}

// segmentsDue counts the locks of index segments and placements that a run lengthens, beside those that points need. What the run
// folds into its own placements is let go.
func (s *Locks) segmentsDue(k *keeper, until time.Time, l *Lengthening) error {
	var placements []format.Placement
	for p, err := range k.segments() {
		switch {
		case err != nil:
			return err
		case k.locks.seems(p, until):
		case len(p.Index) > 0:
			l.add(k, p, until)
		default:
			placements = append(placements, p)
		}
	}
	all, err := k.placements.unfolded()
	if err != nil {
		return err
	}
	folded := map[string]bool{}
	for _, o := range foldInto(int(l.Locks)+leastStored, all).chosen {
		folded[o.Name] = true
	}
	for _, p := range placements {
		if !folded[p.Name] {
			l.add(k, p, until)
		}
	}
	return nil
}

// leastStored is how many objects a run stores that changed something, beside its placements and its commit object.
const leastStored = 3

// segments gives what later runs use and no point needs: meta objects with index segments, and placements objects.
func (k *keeper) segments() iter.Seq2[format.Placement, error] {
	return func(yield func(format.Placement, error) bool) {
		for _, some := range []iter.Seq2[format.Placement, error]{k.cache.Places.Indexed(k.vault.Name), k.cache.Places.Under(k.vault.Name, format.PrefixPlacements)} {
			for p, err := range some {
				if !yield(p, err) || err != nil {
					return
				}
			}
		}
	}
}

// Standing gives the objects every point needs besides content: the descriptors, the points they vouch for, and the host key's
// sealed copies.
func (r *Repository) Standing() []format.Need {
	seen := map[string]bool{}
	var out []format.Need
	add := func(name string, size int64) {
		if !seen[name] {
			seen[name] = true
			out = append(out, format.Need{Name: name, Size: size, Living: size})
		}
	}
	for _, l := range r.Chain {
		add(l.Name, l.Size)
		add(l.HostKey, l.HostKeyLen)
		for _, n := range l.vouchedIn {
			add(n.Name, n.Size)
		}
	}
	return out
}
