package repo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// keeper stores and locks objects in one vault, and remembers where they are. Every lock is read back before it counts.
type keeper struct {
	placements *placementsOf
	names      *namesOf
	locks      *locksOf

	vault    *Vault
	cache    *cache.Cache
	chain    *Repository // as this vault shows it: when descriptors came, and where they end
	reader   *Reader
	overview *overview
	kept     kept
	offset   time.Duration // vault's clock minus ours
	ahead    time.Time     // until when what is needed now will soon be needed: see Session.Foresee
	now      func() time.Time
	report   Report
	listed   []string              // placements objects that the vault has, by name; nil: too many
	fresh    map[string]store.Info // meta objects with index segments that were not read yet, as listed
	life     context.Context       // ends when the vault is left out: nothing waits any longer for it
	end      context.CancelFunc

	mu       sync.Mutex
	pending  []format.Placement // read back, not yet in a placements object
	newer    []string           // placements objects that only a newer program reads
	unplaced int64              // bytes of what was stored since they were last written
	folds    map[string]bool    // placements objects that the end of the run takes into its own
	flushed  time.Time          // when that was
	dated    time.Time          // the vault's own time of what was stored last
	datedAt  time.Time          // ours when it was read back
	failed   error              // the first failure: nothing more is put here in this run
	calls    Calls

	committed time.Time     // until when the commit object is locked; zero: there is none, or no locks
	joined    bool          // it was opened
	behind    bool          // the others do not wait for it, and nothing is asked of it: see behind.go
	waits     int           // of others for this vault, at this moment
	since     time.Time     // when they began
	waited    time.Duration // how long others have waited for it
	point     format.Hash   // that it was brought to, where it was left behind
}

// newKeeper makes a session's keeper. All it asks of the vault ends when the vault is left out.
func newKeeper(v *Vault, now func() time.Time, report Report) *keeper {
	k := bareKeeper(nil, now, report.in(v.Name))
	k.flushed = now()
	k.life, k.end = context.WithCancel(context.Background())
	v, k.overview = withOverview(k.guarded(v))
	k.vault = v.eitherName()
	return k
}

// bareKeeper is one outside of a session: it asks the vault as it is given.
func bareKeeper(v *Vault, now func() time.Time, report Report) *keeper {
	k := &keeper{vault: v, now: now, report: report}
	k.placements, k.names, k.locks = &placementsOf{k}, &namesOf{k}, &locksOf{k}
	return k
}

// Calls counts what a keeper did.
type Calls struct {
	Objects  int64 // stored
	Bytes    int64 // stored
	Extended int64 // locks lengthened
	Copied   int64 // objects taken from another vault
}

// fail remembers the first error of this vault.
func (k *keeper) fail(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed == nil {
		k.failed = fmt.Errorf("vault %s: %w", k.vault.Name, err)
		k.end()
	}
	return k.failed
}

func (k *keeper) err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// clock is the vault's time, to the second, rounded down: never later than what the vault itself would say.
func (k *keeper) clock() time.Time { return k.now().Add(k.offset).UTC().Truncate(time.Second) }

// locksOf are the locks of one vault's objects.
type locksOf struct{ *keeper }

// retention is what an object needs that must be held until need: the same and the slack, within the ceiling.
func (k *locksOf) retention(need time.Time) (store.Retention, error) {
	l := k.vault.Locking
	if l.Mode == store.ModeNone {
		return store.Retention{}, nil
	}
	until := need.Add(l.Slack).UTC().Truncate(time.Second)
	if l.Ceiling > 0 && until.After(k.clock().Add(l.Ceiling)) {
		return store.Retention{}, fmt.Errorf("lock until %s: %w of %g days in vault %s: shorten the retention or the slack, or raise lock.ceiling",
			until.Format(time.DateOnly), ErrCeiling, l.Ceiling.Hours()/24, k.vault.Name)
	}
	return store.Retention{Mode: l.Mode, Until: until}, nil
}

// put stores an object locked for need and slack, reads the lock back, and notes the placement.
func (k *keeper) put(ctx context.Context, name string, body []byte, sum format.Hash, need time.Time, index []format.Frame) (format.Placement, error) {
	p, err := k.store(ctx, name, body, sum, need)
	if err != nil {
		return p, err
	}
	p.Index = index
	return p, k.note(p)
}

// store is put without noting the placement.
func (k *keeper) store(ctx context.Context, name string, body []byte, sum format.Hash, need time.Time) (format.Placement, error) {
	p, _, err := k.deliver(ctx, name, body, sum, need)
	return p, err
}

// deliver is store; arrived is the vault's own timestamp of the object.
func (k *keeper) deliver(ctx context.Context, name string, body []byte, sum format.Hash, need time.Time) (p format.Placement, arrived time.Time, err error) {
	want, err := k.locks.retention(need)
	if err != nil {
		return p, arrived, err
	}
	crc := crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))
	ref, err := k.vault.Write.Put(ctx, name, bytes.NewReader(body), int64(len(body)), store.PutOptions{
		Retention: want, SHA256: sum, CRC32C: binary.BigEndian.AppendUint32(nil, crc),
	})
	if err != nil {
		return p, arrived, err
	}
	p, arrived, err = k.readBack(ctx, ref, int64(len(body)), want)
	if err != nil {
		return p, arrived, err
	}
	k.kept.put(store.Ref{Name: p.Name, Version: p.Version}, body)
	k.mu.Lock()
	k.calls.Objects++
	k.calls.Bytes += int64(len(body))
	k.unplaced += int64(len(body))
	k.dated, k.datedAt = arrived, k.now()
	k.mu.Unlock()
	return p, arrived, nil
}

// readBack holds an object to the lock it should have. A lock that did not take is asked for once more, then refused.
func (k *keeper) readBack(ctx context.Context, ref store.Ref, size int64, want store.Retention) (p format.Placement, arrived time.Time, err error) {
	for try := 0; ; try++ {
		info, got, err := k.vault.Read.Stat(ctx, ref)
		if err != nil {
			return p, arrived, fmt.Errorf("read back the lock: %w", err)
		}
		if size >= 0 && info.Size != size {
			return p, arrived, fmt.Errorf("%s has %d bytes instead of %d: %w", ref.Name, info.Size, size, store.ErrChecksum)
		}
		if got.Covers(want) {
			return format.Placement{Name: ref.Name, Version: info.Version, Size: info.Size, Mode: string(got.Mode), Until: format.At(got.Until)}, info.Modified, nil
		}
		if try > 0 {
			return p, arrived, fmt.Errorf("%s: asked for %s until %s, read back %q until %s: %w: %w; run `holdfast init` against a bucket with object lock",
				ref.Name, want.Mode, want.Until.Format(time.RFC3339), got.Mode, got.Until.Format(time.RFC3339), ErrNotLocked, store.ErrNoLock)
		}
		ref.Version = info.Version
		if err := k.vault.Lock.Extend(ctx, ref, want); err != nil {
			return p, arrived, fmt.Errorf("repair the lock: %w", err)
		}
	}
}

// note remembers a placement, here at once and in the vault at the next flush.
func (k *keeper) note(p format.Placement) error {
	if err := k.cache.Places.Put(k.vault.Name, []format.Placement{p}); err != nil {
		return err
	}
	if !format.Placed(p.Name) {
		return nil // it is found by its name
	}
	k.mu.Lock()
	k.pending = append(k.pending, p)
	k.mu.Unlock()
	return nil
}

// placement is where the vault holds name, if that is known.
func (k *keeper) placement(name string) (format.Placement, bool, error) {
	return k.cache.Places.Get(k.vault.Name, name)
}

// holds reports whether a placement's lock, as read back, reaches need, so that the vault need not be asked. Governance
// can be taken away, and what has no lock can go: those are looked at again.
func (k *locksOf) holds(p format.Placement, need time.Time) bool {
	return k.vault.Locking.Mode == store.Compliance && p.Mode == string(store.Compliance) && !p.Until.Before(need)
}

// seems is holds, by what is only said of the lock: good for a forecast, and for nothing that anything leans on.
func (k *locksOf) seems(p format.Placement, need time.Time) bool {
	return k.holds(p, need) || k.vault.Locking.Mode == store.Compliance && p.Mode == "" && !p.Until.Before(need)
}

// further is what a lock is set to that has to be lengthened: at once for what is foreseen, where that is within the ceiling.
func (k *locksOf) further(need time.Time) (store.Retention, error) {
	if k.ahead.After(need) {
		if r, err := k.retention(k.ahead); err == nil {
			return r, nil
		}
	}
	return k.retention(need)
}

// extend lengthens the lock of exactly the version placed, and reads it back. Where there are no locks it sees to it that
// the object is still there.
func (k *locksOf) extend(ctx context.Context, p format.Placement, need time.Time) error {
	want, err := k.further(need)
	if err != nil {
		return err
	}
	ref := store.Ref{Name: p.Name, Version: p.Version}
	info, got, err := k.vault.Read.Stat(ctx, ref)
	whole := err == nil && info.Size == p.Size
	if k.vault.Locking.Mode == store.ModeNone && whole {
		return nil
	}
	if Unreadable(ctx, err) || err == nil && !whole {
		if info, err = k.reader.Locate(ctx, p.Name); err == nil {
			ref = info.Ref
			_, got, err = k.vault.Read.Stat(ctx, ref)
		}
	}
	if err != nil {
		return fmt.Errorf("extend the lock of %s: %w", p.Name, err)
	}
	ref.Version = info.Version
	least := store.Retention{Mode: want.Mode, Until: need}
	np := format.Placement{Name: ref.Name, Version: info.Version, Size: info.Size, Mode: string(got.Mode), Until: format.At(got.Until)}
	if !got.Covers(least) {
		if err := k.vault.Lock.Extend(ctx, ref, want); err != nil {
			return fmt.Errorf("extend the lock of %s: %w", p.Name, err)
		}
		k.mu.Lock()
		k.calls.Extended++
		k.mu.Unlock()
		if np, _, err = k.readBack(ctx, ref, -1, least); err != nil {
			return err
		}
	}
	np.Index = p.Index
	if np.Version == p.Version && np.Until.Equal(p.Until.Time) { // as a placements object says already
		return k.cache.Places.Put(k.vault.Name, []format.Placement{np})
	}
	return k.note(np)
}

// adopt finds an object whose placement is not known among what the vault holds, by reading it. A size below zero is
// not known.
func (k *keeper) adopt(ctx context.Context, name string, size int64, index []format.Frame) (format.Placement, error) {
	info, err := k.reader.Locate(ctx, name)
	if err != nil {
		return format.Placement{}, err
	}
	if size >= 0 && info.Size != size {
		return format.Placement{}, fmt.Errorf("%s: %w", name, ErrDamaged)
	}
	_, got, err := k.vault.Read.Stat(ctx, info.Ref)
	if err != nil {
		return format.Placement{}, err
	}
	p := format.Placement{Name: name, Version: info.Version, Size: info.Size, Mode: string(got.Mode), Until: format.At(got.Until), Index: index}
	return p, k.note(p)
}

// lose forgets where an object was and says so. Nothing of the vault's is changed.
func (k *keeper) lose(name string, why error) error {
	kind := Missing
	if !errors.Is(why, ErrMissing) {
		kind = Damaged
	}
	k.report.send(kind, name, "%v", why)
	if p, ok, err := k.placement(name); err == nil && ok {
		k.kept.drop(store.Ref{Name: name, Version: p.Version})
	}
	return k.cache.Places.Drop(k.vault.Name, name)
}

// Minus is what was done since an earlier count.
func (c Calls) Minus(b Calls) Calls {
	return Calls{c.Objects - b.Objects, c.Bytes - b.Bytes, c.Extended - b.Extended, c.Copied - b.Copied}
}
