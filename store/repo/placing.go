package repo

import (
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// endAll is Writer.FlushPlacements at the end of a run: what is written takes in what some of the earlier runs wrote.
func (s *placing) endAll(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, k *keeper) error { return s.endPlacements(ctx, k) })
}

func (s *placing) flushPlacements(ctx context.Context, k *keeper) error {
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
func (s *placing) putPlacements(ctx context.Context, k *keeper, lines []format.Placement, replaces []format.Hash) error {
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
	if err := s.cache.Places.Put(k.vault.Name, []format.Placement{p}); err != nil {
		return err
	}
	if err := s.cache.Said.Put(k.vault.Name, cache.Said{Name: name, Bytes: int64(len(plain))}, names, replaces); err != nil {
		return err
	}
	return s.cache.Segments.MarkLoaded(k.vault.Name, name)
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
