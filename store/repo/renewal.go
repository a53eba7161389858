package repo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Wanted is one stored object that points need, and until when.
type Wanted struct {
	Name  string
	Size  int64 // -1: not known
	Until time.Time
}

// RenewalOptions open a Renewal.
type RenewalOptions struct {
	Repository *Repository
	Vault      *Vault       // Read, Lock and Inspect; nothing is written. Who only looks needs Read: the local clock counts then
	Cache      *cache.Cache // takes what the vault's placements say; its own, not a session's
	Report     Report
	Now        func() time.Time // default time.Now
}

// Renewal looks after the locks of one vault without any private key and without writing an object: what it knows it has
// from signed placements and from the vault. It is safe for concurrent use by readers of what is known; one survey and one
// Extend go on at a time.
type Renewal struct {
	k        *keeper
	list     *dueList
	unhelped unhelped
}

// OpenRenewal checks the vault's clock, reads its placements, and holds them against its listing.
func OpenRenewal(ctx context.Context, o RenewalOptions) (*Renewal, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	k := newKeeper(o.Vault, o.Now, o.Report)
	k.cache = o.Cache
	if k.vault.Inspect != nil {
		if err := k.meet(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	place := func(name string) (format.Placement, bool) {
		p, ok, err := k.placement(name)
		return p, ok && err == nil
	}
	if k.reader, err = NewReader(o.Repository, k.vault.Read, nil, place, k.report); err != nil {
		return nil, err
	}
	if err := k.names.look(); err != nil {
		return nil, err
	}
	defer k.overview.end()
	if err := k.placements.loadPlacements(ctx, o.Repository, nil); err != nil {
		return nil, err
	}
	if err := k.names.compare(ctx, nil); err != nil {
		return nil, err
	}
	return &Renewal{k: k}, nil
}

// Close lets go of the vault.
func (r *Renewal) Close() error {
	r.k.end()
	if r.list == nil {
		return nil
	}
	return r.list.close()
}

// Clock is the vault's time.
func (r *Renewal) Clock() time.Time { return r.k.clock() }

// Reader reads needs lists: plain objects only.
func (r *Renewal) Reader() *Reader { return r.k.reader }

// ReadBack is the lock of an object's right version as the vault has it now; the zero time is no lock.
func (r *Renewal) ReadBack(ctx context.Context, w Wanted) (store.Retention, error) {
	p, err := r.find(ctx, w)
	return store.Retention{Mode: store.Mode(p.Mode), Until: p.Until.Time}, err
}

// Forecast is what a renewal is going to do.
type Forecast struct {
	Objects int64     // that points need; the lock of each was read
	Due     int64     // locks to be lengthened: three calls each, to look, to lengthen, to read back
	First   time.Time // when the first of these runs out; zero: it has, or there is none
	Lost    int64     // objects whose right bytes the vault has not got; each was reported
}

// Survey reads the lock of every object and finds those that do not hold for long enough. A lock that would have to reach
// beyond the ceiling is refused here, before any is lengthened.
func (r *Renewal) Survey(ctx context.Context, wanted iter.Seq2[Wanted, error], looked func()) (Forecast, error) {
	if r.list != nil {
		if err := r.list.close(); err != nil {
			return Forecast{}, err
		}
	}
	r.list = &dueList{cache: r.k.cache, name: "renewal"}
	var mu sync.Mutex // guards f and the list
	var f Forecast
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for w, err := range wanted {
		if err == nil {
			_, err = r.k.locks.retention(w.Until)
		}
		if err != nil {
			_ = g.Wait() // the walk's own error is the one to give
			return f, err
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			p, err := r.find(gctx, w)
			if looked != nil {
				looked()
			}
			mu.Lock()
			defer mu.Unlock()
			f.Objects++
			switch {
			case Classify(gctx, err).Lost():
				f.Lost++
				r.unhelped.add(w.Name)
				r.k.report.send(lossOf(err), w.Name, "%v", err)
				return nil
			case err != nil:
				return err
			case store.Retention{Mode: store.Mode(p.Mode), Until: p.Until.Time}.Covers(store.Retention{Mode: r.k.vault.Locking.Mode, Until: w.Until}):
				return nil
			}
			if f.Due++; !p.Until.IsZero() && (f.First.IsZero() || p.Until.Before(f.First)) {
				f.First = p.Until.Time
			}
			return r.list.add(due{until: p.Until.Time, need: w.Until, name: w.Name, size: w.Size})
		})
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return f, err
}

// Renewed is what a renewal did.
type Renewed struct {
	Looked   int64 // locks looked at
	Extended int64 // lengthened
	Lost     int64 // objects whose right bytes the vault has not got; each was reported
	Refused  int64 // locks that the vault did not lengthen; each was reported
}

// Extend lengthens the locks that Survey found, what runs out first coming first, always of the version whose bytes are
// right. The points' own objects come after all that they need, as their locks say that all of it is held: most is asked until when each of
// them may be locked, and [Renewal.Helped] answers by then. An object that cannot be helped is reported and the others are done; an error says that the vault itself is in
// trouble, or that it lengthened none of the first locks. A renewal that was broken off is taken up by another: it finds
// longer locks and leaves them.
func (r *Renewal) Extend(ctx context.Context, most func(context.Context, Wanted) (time.Time, error), done func()) (Renewed, error) {
	x := &extending{r: r, done: done}
	err := x.pass(ctx, func(d due) (due, bool, error) { return d, !strings.HasPrefix(d.name, format.PrefixPoints), nil })
	if err != nil {
		return x.sum(), err
	}
	err = x.pass(ctx, func(d due) (due, bool, error) {
		if !strings.HasPrefix(d.name, format.PrefixPoints) {
			return d, false, nil
		}
		until, err := most(ctx, Wanted{Name: d.name, Size: d.size, Until: d.need})
		if err == nil && until.Before(d.need) {
			x.refused.Add(1)
			r.k.report.send(Unlocked, d.name, "its lock is not lengthened to %s: not all that the point needs is locked so far", d.need.Format(time.RFC3339))
			d.need = until
		}
		return d, true, err
	})
	return x.sum(), err
}

// extending is one Extend.
type extending struct {
	r                     *Renewal
	done                  func()
	looked, lost, refused atomic.Int64
}

func (x *extending) sum() Renewed {
	x.r.k.mu.Lock()
	defer x.r.k.mu.Unlock()
	return Renewed{Looked: x.looked.Load(), Extended: x.r.k.calls.Extended, Lost: x.lost.Load(), Refused: x.refused.Load()}
}

// pass goes through the list and sees to what take takes.
func (x *extending) pass(ctx context.Context, take func(due) (due, bool, error)) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for d, err := range x.r.list.all() {
		ours := false
		if err == nil {
			d, ours, err = take(d)
		}
		if err != nil {
			_ = g.Wait() // the list's own error is the one to give
			return err
		}
		if gctx.Err() != nil {
			break
		}
		if ours {
			g.Go(func() error { return x.one(gctx, d) })
		}
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	return err
}

// one sees to one lock; an error is about the vault.
func (x *extending) one(ctx context.Context, d due) error {
	err := x.r.extend(ctx, d)
	x.looked.Add(1)
	if x.done != nil {
		x.done()
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case Classify(ctx, err).Lost():
		x.lost.Add(1)
		x.r.unhelped.add(d.name)
		x.r.k.report.send(lossOf(err), d.name, "%v", err)
		return nil
	case store.Retryable(err):
		return err
	}
	x.refused.Add(1)
	x.r.unhelped.add(d.name)
	x.r.k.report.send(Unlocked, d.name, "its lock could not be lengthened: %v", err)
	if n := x.sum(); n.Refused >= maxRefused && n.Extended == 0 {
		return fmt.Errorf("the vault lengthened none of the first %d locks: %w", n.Refused, err)
	}
	return nil
}

// Helped reports whether nothing is known that an object lacks: it is not lost, and no lengthening of its lock was refused. All reports whether
// that is so of every object.
func (r *Renewal) Helped(name string) (helped, all bool) { return r.unhelped.without(name) }

// unhelped are the names of objects that are lost, or whose locks the vault did not lengthen.
type unhelped struct {
	mu    sync.Mutex
	names map[string]bool
	more  bool // than are remembered: then none is known to be well
}

// maxUnhelped bounds the memory of names.
const maxUnhelped = 1 << 17

func (u *unhelped) add(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.names == nil {
		u.names = map[string]bool{}
	}
	if len(u.names) >= maxUnhelped {
		u.more = true
		return
	}
	u.names[name] = true
}

func (u *unhelped) without(name string) (helped, all bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.more && !u.names[name], len(u.names) == 0
}

func lossOf(err error) FindingKind {
	if errors.Is(err, ErrMissing) {
		return Missing
	}
	return Damaged
}

// extend sees to one lock.
func (r *Renewal) extend(ctx context.Context, d due) error {
	p, err := r.find(ctx, Wanted{Name: d.name, Size: d.size, Until: d.need})
	if err != nil {
		return err
	}
	least := store.Retention{Mode: r.k.vault.Locking.Mode, Until: d.need}
	if (store.Retention{Mode: store.Mode(p.Mode), Until: p.Until.Time}).Covers(least) {
		return nil
	}
	want, err := r.k.locks.retention(d.need)
	if err != nil {
		return err
	}
	ref := store.Ref{Name: p.Name, Version: p.Version}
	if err := r.k.vault.Lock.Extend(ctx, ref, want); err != nil {
		return err
	}
	if _, _, err := r.k.readBack(ctx, ref, -1, least); err != nil {
		return err
	}
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	r.k.calls.Extended++
	return nil
}

// find gives the version whose bytes are right, with its lock as the vault has it: the one placed, if it is there with its
// size, or one whose hash is compared now.
func (r *Renewal) find(ctx context.Context, w Wanted) (format.Placement, error) {
	p, ok, err := r.k.placement(w.Name)
	if err != nil {
		return p, err
	}
	if ok {
		info, lock, err := r.k.vault.Read.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version})
		if err == nil && info.Size == p.Size {
			p.Version, p.Mode, p.Until = info.Version, string(lock.Mode), format.At(lock.Until)
			return p, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return p, err
		}
	}
	sum, most := format.Hash{}, int64(format.MaxPack)
	if strings.HasPrefix(w.Name, format.PrefixPoints) {
		var id format.PointID
		id, err = format.ParsePointName(w.Name)
		sum, most = id.ID, format.MaxCommit
	} else {
		sum, err = format.ParseName(w.Name)
	}
	if err != nil {
		return p, err
	}
	info, err := locate(ctx, r.k.vault.Read, w.Name, sum, most, r.k.report)
	if err != nil {
		return p, err
	}
	if w.Size >= 0 && info.Size != w.Size {
		return p, fmt.Errorf("%s: %w", w.Name, ErrDamaged)
	}
	_, lock, err := r.k.vault.Read.Stat(ctx, info.Ref)
	p = format.Placement{Name: w.Name, Version: info.Version, Size: info.Size, Mode: string(lock.Mode), Until: format.At(lock.Until)}
	if err == nil { // the next time it need not be read
		err = r.k.cache.Places.Put(r.k.vault.Name, []format.Placement{p})
	}
	return p, err
}

// Newer gives the names of placements objects that are signed as they must be and that only a newer program can read.
func (r *Renewal) Newer() []string {
	r.k.mu.Lock()
	defer r.k.mu.Unlock()
	return slices.Clone(r.k.newer)
}

// Segments gives the names of the placements objects and index segments that are known.
func (r *Renewal) Segments() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for p, err := range r.k.segments() {
			if err != nil {
				yield("", err)
				return
			}
			if !yield(p.Name, nil) {
				return
			}
		}
	}
}
