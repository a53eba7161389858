package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// signing commits points.
type signing struct {
	*vaults
	placing *placing
}

// Commit signs a point and stores it in every vault that is still active, last of all. The caller has secured every
// object the point needs there (see Locks.Secure) and filled in everything but Format, Kind, Repository, Descriptor and
// SignedAt. It gives the point's ID.
func (s *Session) Commit(ctx context.Context, c *format.Commit) (format.Hash, error) {
	begun := s.signing.stored()
	if err := s.placing.endAll(ctx); err != nil {
		return format.Hash{}, err
	}
	c.Format, c.Kind, c.Repository = format.Version, "point", s.repo.ID
	c.Manifest.First, c.Manifest.Digest = "", "" // it is plain: no key may stand in it
	c.Descriptor = s.repo.Chain[len(s.repo.Chain)-1].Sum
	if err := s.signing.timely(ctx, c.RetainUntil.Time, begun); err != nil {
		return format.Hash{}, err
	}
	return s.signing.signInTime(ctx, c)
}

// signInTime signs a point for the vaults' time and stores it.
func (s *signing) signInTime(ctx context.Context, c *format.Commit) (format.Hash, error) {
	for try := 0; ; try++ {
		c.SignedAt = format.At(s.signedAt(latest(c), try))
		id, err := s.commit(ctx, c)
		var early *earlyError
		switch {
		case !errors.As(err, &early):
			return id, err
		case try == commitTries:
			return id, s.withoutEarly(early)
		}
	}
}

// signedAt is the time a point says it was signed: a second before the vaults' own, and more with each further try, since
// a vault of several machines need not date an object with the clock it answers with. The first try is not before what came before, also
// where a vault's answers, whose times are whole seconds and can be a second old, seem to be.
func (s *signing) signedAt(before time.Time, try int) time.Time {
	now := s.Now()
	t := now.Add(-time.Second << (3 * try))
	if try == 0 && t.Before(before) && !before.After(now.Add(sameClock)) {
		t = before
	}
	return t
}

// latest is when the last thing was that came before a point's signature: its beginning, or a point that it follows. Vaults tell the time
// in whole seconds: by their clocks a run can seem to come before one that it followed at once.
func latest(c *format.Commit) time.Time {
	t := c.TakenAt.Time
	for _, p := range c.Predecessors {
		if p.SignedAt.After(t) {
			t = p.SignedAt.Time
		}
	}
	return t
}

// pointName signs for a point.
func (s *signing) pointName(c *format.Commit, id format.Hash) string {
	p := format.PointID{Source: c.Source, SignedAt: c.SignedAt, ID: id, Hint: format.KeyHint(s.host.Public())}
	p.Signature = s.signer(attest.Point)(p.Message(s.repo.ID))
	return p.Name()
}

// commit signs a point that is filled in and stores it.
func (s *signing) commit(ctx context.Context, c *format.Commit) (format.Hash, error) {
	body, err := format.EncodeCommit(c)
	if err != nil {
		return format.Hash{}, err
	}
	id := format.Hash(sha256.Sum256(body))
	name := s.pointName(c, id)
	if err := s.cache.Segments.MarkLoaded("", ownMark(id)); err != nil {
		return format.Hash{}, err
	}
	early := make([]bool, len(s.keepers))
	err = s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		p, arrived, err := k.deliver(ctx, name, body, id, c.RetainUntil.Time)
		if err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		k.mu.Lock()
		k.committed = p.Until.Time
		k.mu.Unlock()
		if early[i] = c.SignedAt.After(arrived); early[i] {
			return nil
		}
		return s.cache.Points.Put(k.vault.Name, cache.Made{Name: name, Until: c.RetainUntil.Time})
	})
	if err == nil && slices.Contains(early, true) {
		return id, &earlyError{early}
	}
	return id, err
}

// withoutEarly leaves out the vaults that a point came out too early in, however it was signed; in the others it stands.
func (s *signing) withoutEarly(early *earlyError) error {
	for i, k := range s.keepers {
		if early.vaults[i] {
			_ = k.fail(errEarly) // it is in the vault's result
		}
	}
	if len(s.active()) == 0 {
		return errEarly
	}
	return nil
}

// timely has the vaults' time once more and refuses a point that would be over already. A machine may have slept
// for weeks, or its clock been set, since the run began: locks that were read back then need not hold any more, and a
// signed time from the future would make a point that no reader takes. Where something was stored since begun, the vault's own
// time of that tells it.
func (s *signing) timely(ctx context.Context, until time.Time, begun []int64) error {
	if err := s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		if k.metBy(begun[i]) {
			return nil
		}
		return k.meet(ctx)
	}); err != nil {
		return err
	}
	if now := s.Now(); !until.After(now) {
		return fmt.Errorf("%w: the point was to be kept until %s and it is %s now: the run took longer than its point is kept, or this machine slept; nothing was committed, run it again",
			store.ErrClock, until.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// stored is how many objects each vault was given so far.
func (s *signing) stored() []int64 {
	out := make([]int64, len(s.keepers))
	for i, k := range s.keepers {
		k.mu.Lock()
		out[i] = k.calls.Objects
		k.mu.Unlock()
	}
	return out
}

// commitLate stores a point that other vaults hold: the same, or the same signed anew where that is long ago, or ahead of
// this vault's clock.
func (s *signing) commitLate(ctx context.Context, c *format.Commit) (format.Hash, error) {
	again := *c
	if age := s.Now().Sub(c.SignedAt.Time); age > lateCommit || age < time.Second {
		return s.signInTime(ctx, &again)
	}
	body, err := format.EncodeCommit(c)
	if err != nil {
		return format.Hash{}, err
	}
	id := format.Hash(sha256.Sum256(body))
	name := s.pointName(c, id)
	early := false
	err = s.each(ctx, func(ctx context.Context, k *keeper) error {
		p, arrived, err := k.deliver(ctx, name, body, id, c.RetainUntil.Time)
		early = c.SignedAt.After(arrived)
		k.mu.Lock()
		k.committed = p.Until.Time
		k.mu.Unlock()
		return err
	})
	if err == nil && early {
		return s.signInTime(ctx, &again)
	}
	return id, err
}

// errEarly is a vault that gave a point a time before its signed one: readers will not take that point.
var errEarly = fmt.Errorf("%w: the vault dated the point long before the time it gave when asked, and no reader would take it; have its clock set right, then run again", store.ErrClock)

// commitTries is how often a point that came out too early is signed again.
const commitTries = 3

// earlyError is errEarly with the vaults that it is about.
type earlyError struct{ vaults []bool }

func (e *earlyError) Error() string { return errEarly.Error() }
func (e *earlyError) Unwrap() error { return errEarly }

// sameClock is how far a vault's time of an object and the time it gave when asked may be apart to be taken for one clock's.
const sameClock = 5 * time.Second

// metBy reports whether the vault's time of an object that it was given since so many shows that its clock, and ours, go on as
// they did when it was asked.
func (k *keeper) metBy(objects int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls.Objects > objects && k.dated.Sub(k.datedAt.Add(k.offset)).Abs() <= sameClock
}
