package repo

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// LostPointError says in which vaults a point's own object is gone or damaged. No other vault gives it: runs put it nowhere again.
type LostPointError struct {
	Vaults []string
	Err    error // of the first
}

func (e *LostPointError) Error() string {
	return fmt.Sprintf("the point's own object is gone or damaged in %s: %v", strings.Join(e.Vaults, ", "), e.Err)
}

func (e *LostPointError) Unwrap() error { return e.Err }

// HoldPoint lengthens the lock of a point's commit object to the session's time, in every active vault that has it: of the version whose
// bytes are right. Where no locks are kept it looks whether that is there. What the point needs is for Secure. Vaults where it is
// gone or damaged are in the *LostPointError that comes back; the others hold it all the same.
func (s *Locks) HoldPoint(ctx context.Context, p Point) error {
	need := s.until()
	var mu sync.Mutex
	lost := &LostPointError{}
	err := s.each(ctx, func(ctx context.Context, k *keeper) error {
		info, err := locate(ctx, k.vault.Read, p.Name, p.ID, format.MaxCommit, k.report)
		if Classify(ctx, err).Lost() {
			mu.Lock()
			defer mu.Unlock()
			lost.Vaults, lost.Err = append(lost.Vaults, k.vault.Name), cmp.Or(lost.Err, err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("hold point %s: %w", p.ID, err)
		}
		if k.vault.Locking.Mode == store.ModeNone {
			return nil // it is there
		}
		return k.locks.holdVersion(ctx, info.Ref, need)
	})
	if err == nil && len(lost.Vaults) > 0 {
		slices.Sort(lost.Vaults)
		return lost
	}
	return err
}

// ForecastHold gives for each vault what holding a point asks of locks: of these objects, and of the point's own.
func (s *Locks) ForecastHold(ctx context.Context, p Point, needs iter.Seq2[format.Need, error]) ([]Lengthening, error) {
	out, err := s.forecast(needs)
	if err != nil {
		return nil, err
	}
	until := s.until()
	err = s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		if k.vault.Locking.Mode == store.ModeNone {
			return nil
		}
		info, err := locate(ctx, k.vault.Read, p.Name, p.ID, format.MaxCommit, k.report)
		if Classify(ctx, err).Lost() {
			return nil // nothing is lengthened of it
		}
		if err != nil {
			return fmt.Errorf("look at point %s: %w", p.ID, err)
		}
		_, lock, err := k.vault.Read.Stat(ctx, info.Ref)
		if err != nil {
			return fmt.Errorf("look at point %s: %w", p.ID, err)
		}
		out[i].add(k, format.Placement{Name: p.Name, Size: info.Size, Until: format.At(lock.Until)}, until)
		return nil
	})
	return out, err
}

// holdVersion lengthens the lock of one version and reads it back, without noting a placement: commit objects have none.
func (k *locksOf) holdVersion(ctx context.Context, ref store.Ref, need time.Time) error {
	want, err := k.further(need)
	if err != nil {
		return err
	}
	least := store.Retention{Mode: want.Mode, Until: need}
	_, got, err := k.vault.Read.Stat(ctx, ref)
	if err != nil || got.Covers(least) {
		return err
	}
	if err := k.vault.Lock.Extend(ctx, ref, want); err != nil {
		return fmt.Errorf("extend the lock of %s: %w", ref.Name, err)
	}
	if _, _, err = k.readBack(ctx, ref, -1, least); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls.Extended++
	return nil
}
