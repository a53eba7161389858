package repo

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Content reads what the vaults of a session hold, from whichever has it.
type Content struct{ *vaults }

// Page reads one page of a manifest or needs tree from any vault that has it; it is a tree.Load. A *LostError says that
// none has.
func (s *Content) Page(ctx context.Context, ref format.PageRef) (page []byte, err error) {
	err = s.from(ctx, ref.Object, nil, func(ctx context.Context, k *keeper) error {
		page, err = k.reader.Page(ctx, ref)
		return err
	})
	return page, err
}

// Extent reads one extent page likewise.
func (s *Content) Extent(ctx context.Context, x format.Extent) (page []byte, err error) {
	err = s.from(ctx, x.Object, nil, func(ctx context.Context, k *keeper) error {
		page, err = k.reader.Extent(ctx, x)
		return err
	})
	return page, err
}

// Size is the stored size of an object some vault is known to hold; ok is false where none is.
func (s *Content) Size(name string) (size int64, ok bool, err error) {
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
func (s *Content) Usable(ctx context.Context, packName string) (bool, error) {
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
		if !k.locks.holds(p, k.clock().Add(reuseMargin)) {
			err := s.patiently(ctx, k, func(ctx context.Context) error { return k.locks.extend(ctx, p, need) })
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

// Holds reports whether some active vault has the object: by its placement, or, where none is known, by looking for it
// and reading it.
func (s *Content) Holds(ctx context.Context, name string) (bool, error) {
	ks, err := s.holders(name)
	if err != nil {
		return false, err
	}
	for _, k := range ks {
		if _, ok, err := k.placement(name); err != nil || ok {
			return ok, err
		}
		err := s.patiently(ctx, k, func(ctx context.Context) error {
			_, err := k.adopt(ctx, name, -1, nil)
			return err
		})
		if err == nil {
			return true, nil
		}
		if ctx.Err() == nil && (Classify(ctx, err).Lost() || !s.inStep(k)) {
			continue
		}
		if err := s.settle(ctx, k, err); err != nil {
			return false, err
		}
	}
	if err := s.living(ctx); err != nil {
		return false, err
	}
	if len(s.active()) == len(s.keepers) { // else the vault that was left out may have it
		s.report.send(Missing, name, "no vault has it any more: what it held is read from the source again for new points; older points have lost it")
	}
	return false, nil
}

// SizeOf is Size, and looks in the vaults for an object that none is known to hold: the placements that named it may be lost.
func (s *Content) SizeOf(ctx context.Context, name string) (int64, error) {
	size, ok, err := s.Size(name)
	if err != nil || ok {
		return size, err
	}
	err = fmt.Errorf("%s: no vault in use has it: %w", name, ErrMissing)
	for _, k := range s.active() {
		p, kerr := k.adopt(ctx, name, -1, nil)
		if kerr == nil {
			return p.Size, nil
		}
		err = fmt.Errorf("find %s in vault %s: %w", name, k.vault.Name, kerr)
	}
	return 0, err
}
