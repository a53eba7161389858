package repo

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// HoldPoint lengthens the lock of a point's commit object to the session's time, in every active vault that has it and keeps
// locks: of the version whose bytes are right. What the point needs is for Secure. A vault that has not got the object is
// passed over: runs put it there no more.
func (s *Locks) HoldPoint(ctx context.Context, p Point) error {
	need := s.until()
	return s.each(ctx, func(ctx context.Context, k *keeper) error {
		if k.vault.Locking.Mode == store.ModeNone {
			return nil
		}
		info, err := locate(ctx, k.vault.Read, p.Name, p.ID, format.MaxCommit, k.report)
		if Classify(ctx, err).Lost() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("hold point %s: %w", p.ID, err)
		}
		return k.locks.holdVersion(ctx, info.Ref, need)
	})
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
