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
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// reuseMargin is the least lock a pack must have left for content to be found in it without lengthening it first; prune
// spares whatever ended less than this ago, so the two cannot meet.
const reuseMargin = 72 * time.Hour

// Store puts one object into every active vault, locked and read back.
func (s *Session) Store(ctx context.Context, name string, sealed pack.Sealed) error {
	return s.store(ctx, name, sealed.Body, sealed.Sum, nil)
}

// store puts an object into every active vault. index are its frames that are index segments.
func (s *Session) store(ctx context.Context, name string, body []byte, sum format.Hash, index []format.Frame) error {
	need := s.until()
	return s.each(ctx, func(ctx context.Context, k *keeper) error {
		if _, err := k.put(ctx, name, body, sum, need, index); err != nil || len(index) == 0 {
			return err
		}
		return s.cache.MarkLoaded(k.vault.Name, name)
	})
}

// Size is the stored size of an object some vault is known to hold; ok is false where none is.
func (s *Session) Size(name string) (size int64, ok bool, err error) {
	for _, k := range s.keepers {
		p, ok, err := k.placement(name)
		if err != nil || ok {
			return p.Size, ok, err
		}
	}
	return 0, false, nil
}

// Usable reports whether content may be found in a stored pack instead of being stored again: some vault in step holds it,
// from which the others can get it, and no lock is about to end. A lock with less than three days left is lengthened first.
func (s *Session) Usable(ctx context.Context, packName string) (bool, error) {
	need := s.until()
	held := false
	for _, k := range s.active() {
		p, ok, err := k.placement(packName)
		if err != nil {
			return false, err
		}
		if !ok {
			continue // taken from another vault before the commit, see Secure
		}
		if !k.holds(p, k.clock().Add(reuseMargin)) {
			err := s.patiently(ctx, k, func(ctx context.Context) error { return k.extend(ctx, p, need) })
			if err != nil && !s.inStep(k) && ctx.Err() == nil {
				continue // what it has does not count any more
			}
			if err != nil {
				return false, nil // it is stored again instead; if the vault itself is in trouble that shows there
			}
		}
		held = true
	}
	return held, nil
}

// StoreIndex writes index lines as signed segments in objects of their own, so that a later run finds the chunks.
func (s *Session) StoreIndex(ctx context.Context, lines []format.IndexLine) error {
	for some := range slices.Chunk(lines, maxSegmentLines) {
		sink := s.MetaSink()
		if err := sink.Index(some); err != nil {
			return err
		}
		if err := sink.Seal(ctx); err != nil {
			return err
		}
	}
	return nil
}

// indexSegment makes a signed segment of at most maxSegmentLines lines.
func (s *Session) indexSegment(lines []format.IndexLine) ([]byte, error) {
	h := format.SegmentHeader{
		Repository: s.repo.ID, Descriptor: s.repo.Chain[len(s.repo.Chain)-1].Sum, ChunkKey: s.chunkKeyID(), Written: format.At(s.Now()),
	}
	return format.EncodeIndex(h, lines, s.signer(attest.Index))
}

// maxSegmentLines keeps a segment within one frame: a line is at most about 230 bytes.
const maxSegmentLines = 32_768

// FlushPlacements writes what is new about where objects are into each vault.
func (s *Session) FlushPlacements(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, k *keeper) error { return s.flushPlacements(ctx, k) })
}

// EndPlacements is FlushPlacements at the end of a run: what is written takes in what some of the earlier runs wrote.
func (s *Session) EndPlacements(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, k *keeper) error { return s.endPlacements(ctx, k) })
}

func (s *Session) flushPlacements(ctx context.Context, k *keeper) error {
	k.mu.Lock()
	lines := k.pending
	k.pending = nil
	k.flushed, k.unplaced = s.now(), 0
	k.mu.Unlock()
	for len(lines) > 0 {
		n := min(len(lines), maxSegmentLines/2)
		if err := s.putPlacements(ctx, k, lines[:n], nil); err != nil {
			k.mu.Lock()
			k.pending = append(lines, k.pending...)
			k.mu.Unlock()
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// putPlacements writes one placements object, which makes others superfluous.
func (s *Session) putPlacements(ctx context.Context, k *keeper, lines []format.Placement, replaces []format.Hash) error {
	lines = slices.Clone(lines)
	names := make([]string, len(lines))
	for i := range lines {
		if names[i] = lines[i].Name; lines[i].Mode == "" {
			lines[i].Until = format.Time{} // said by others, and not read back
		}
	}
	h := format.SegmentHeader{Repository: s.repo.ID, Vault: k.vault.Name, Written: format.At(k.clock()), Replaces: replaces}
	plain, err := format.EncodePlacements(h, placedAt(lines, flat.Place))
	if err != nil {
		return err
	}
	sealed, err := s.sealOne(plain)
	if err != nil {
		return err
	}
	id := format.PlacementsID{Vault: k.vault.Name, Written: h.Written, Sum: sealed.Sum, Hint: format.KeyHint(s.host.Public())}
	id.Signature = s.signer(attest.Placements)(id.Message(s.repo.ID))
	name := id.Name()
	p, err := k.store(ctx, name, sealed.Body, sealed.Sum, s.until())
	if err != nil {
		return err
	}
	k.mu.Lock()
	if k.listed != nil {
		k.listed = append(k.listed, name)
	}
	k.mu.Unlock()
	// It does not list itself: it is found by its name. The cache knows it so that its lock is kept up.
	if err := s.cache.PutPlacements(k.vault.Name, []format.Placement{p}); err != nil {
		return err
	}
	if err := s.cache.PutSaid(k.vault.Name, cache.Said{Name: name, Bytes: int64(len(plain))}, names, replaces); err != nil {
		return err
	}
	return s.cache.MarkLoaded(k.vault.Name, name)
}

// placedAt gives placements with other names and versions: in memory an object goes by the name that references use, in the
// vault it is placed where it lies.
func placedAt(lines []format.Placement, by func(store.Ref) store.Ref) []format.Placement {
	out := slices.Clone(lines)
	for i := range out {
		p := &out[i]
		at := by(store.Ref{Name: p.Name, Version: p.Version})
		p.Name, p.Version = at.Name, at.Version
	}
	return out
}

// sealOne makes a plain object of a single frame.
func (s *Session) sealOne(plain []byte) (pack.Sealed, error) {
	b, err := pack.NewBuilder(nil, nil)
	if err != nil {
		return pack.Sealed{}, err
	}
	if _, err := b.Add(s.enc.Frame(nil, plain)); err != nil {
		return pack.Sealed{}, err
	}
	return b.Close()
}

func (s *Session) signer(d attest.Domain) func([]byte) []byte {
	return func(msg []byte) []byte { return attest.Sign(s.host.Signing, d, msg) }
}

// Commit signs a point and stores it in every vault that is still active, last of all. The caller has secured every
// object the point needs there (see Secure) and filled in everything but Format, Kind, Repository, Descriptor and
// SignedAt. It gives the point's ID.
func (s *Session) Commit(ctx context.Context, c *format.Commit) (format.Hash, error) {
	begun := s.stored()
	if err := s.EndPlacements(ctx); err != nil {
		return format.Hash{}, err
	}
	c.Format, c.Kind, c.Repository = format.Version, "point", s.repo.ID
	c.Manifest.First, c.Manifest.Digest = "", "" // it is plain: no key may stand in it
	c.Descriptor = s.repo.Chain[len(s.repo.Chain)-1].Sum
	if err := s.timely(ctx, c.RetainUntil.Time, begun); err != nil {
		return format.Hash{}, err
	}
	return s.signInTime(ctx, c)
}

// signInTime signs a point for the vaults' time and stores it.
func (s *Session) signInTime(ctx context.Context, c *format.Commit) (format.Hash, error) {
	for try := 0; ; try++ {
		c.SignedAt = format.At(s.signedAt(c.TakenAt.Time, try))
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

// errEarly is a vault that gave a point a time before its signed one: readers will not take that point.
var errEarly = fmt.Errorf("%w: the vault dated the point long before the time it gave when asked, and no reader would take it; have its clock set right, then run again", store.ErrClock)

// commitTries is how often a point that came out too early is signed again.
const commitTries = 3

// signedAt is the time a point says it was signed: a second before the vaults' own, and more with each further try, since
// a vault of several machines need not date an object with the clock it answers with. The first try is not before the point was begun.
func (s *Session) signedAt(taken time.Time, try int) time.Time {
	now := s.Now()
	t := now.Add(-time.Second << (3 * try))
	if try == 0 && t.Before(taken) {
		t = taken
	}
	if t.After(now) {
		t = now
	}
	return t
}

// pointName signs for a point.
func (s *Session) pointName(c *format.Commit, id format.Hash) string {
	p := format.PointID{Source: c.Source, SignedAt: c.SignedAt, ID: id, Hint: format.KeyHint(s.host.Public())}
	p.Signature = s.signer(attest.Point)(p.Message(s.repo.ID))
	return p.Name()
}

// commit signs a point that is filled in and stores it.
func (s *Session) commit(ctx context.Context, c *format.Commit) (format.Hash, error) {
	body, err := format.EncodeCommit(c)
	if err != nil {
		return format.Hash{}, err
	}
	id := format.Hash(sha256.Sum256(body))
	name := s.pointName(c, id)
	if err := s.cache.MarkLoaded("", ownMark(id)); err != nil {
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
		return s.cache.NotePoint(k.vault.Name, cache.Made{Name: name, Until: c.RetainUntil.Time})
	})
	if err == nil && slices.Contains(early, true) {
		return id, &earlyError{early}
	}
	return id, err
}

// earlyError is errEarly with the vaults that it is about.
type earlyError struct{ vaults []bool }

func (e *earlyError) Error() string { return errEarly.Error() }
func (e *earlyError) Unwrap() error { return errEarly }

// withoutEarly leaves out the vaults that a point came out too early in, however it was signed; in the others it stands.
func (s *Session) withoutEarly(early *earlyError) error {
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
func (s *Session) timely(ctx context.Context, until time.Time, begun []int64) error {
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
func (s *Session) stored() []int64 {
	out := make([]int64, len(s.keepers))
	for i, k := range s.keepers {
		k.mu.Lock()
		out[i] = k.calls.Objects
		k.mu.Unlock()
	}
	return out
}

// sameClock is how far a vault's time of an object and the time it gave when asked may be apart to be taken for one clock's.
const sameClock = 5 * time.Second

// metBy reports whether the vault's time of an object that it was given since so many shows that its clock, and ours, go on as
// they did when it was asked.
func (k *keeper) metBy(objects int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls.Objects > objects && k.dated.Sub(k.datedAt.Add(k.offset)).Abs() <= sameClock
}
