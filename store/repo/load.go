package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// load reads the placements and index segments of one vault that the cache has not seen: what earlier runs, killed ones
// and other machines' included, have stored; and forgets what the vault does not list any more. A segment that is damaged or not signed by the repository is reported and
// left out: its chunks are stored again.
func (s *Session) load(ctx context.Context, k *keeper) error {
	seen := ""
	for info, err := range k.vault.Read.Versions(ctx, format.PrefixPlacements) {
		if err != nil {
			return fmt.Errorf("list placements: %w", err)
		}
		if info.Name == seen {
			continue
		}
		seen = info.Name
		if err := s.loadPlacements(ctx, k, info); err != nil {
			return err
		}
	}
	if err := s.compare(ctx, k); err != nil {
		return err
	}
	if err := s.settleDoubts(ctx, k); err != nil {
		return err
	}
	return s.loadIndexes(ctx, k)
}

func (s *Session) loadPlacements(ctx context.Context, k *keeper, info store.Info) error {
	_, sum, err := format.ParsePlacementsName(info.Name)
	if err != nil {
		k.report.send(Tampered, info.Name, "not the name of a placements object")
		return nil
	}
	if done, err := s.cache.Loaded(k.vault.Name, info.Name); err != nil || done {
		return err
	}
	body, got, err := whole(ctx, k.vault.Read, info.Ref, sum, format.MaxPack, k.report)
	if err != nil {
		return k.passOver(info.Name, err)
	}
	err = scanBytes(ctx, body, func(plain []byte) error {
		_, lines, err := format.DecodePlacements(plain, s.verifier(attest.Placements))
		if err != nil {
			return err
		}
		return s.cache.PutPlacements(k.vault.Name, lines)
	})
	if err == nil {
		// Known to the cache so that its own lock is kept up; Until is read when that is looked at.
		err = s.cache.PutPlacements(k.vault.Name, []format.Placement{{Name: info.Name, Version: got.Version, Size: got.Size}})
	}
	if err != nil {
		return k.passOver(info.Name, err)
	}
	return s.cache.MarkLoaded(k.vault.Name, info.Name)
}

// scanBytes gives visit each frame of a plain object that is in memory.
func scanBytes(ctx context.Context, body []byte, visit func(plain []byte) error) error {
	o, err := pack.Open(ctx, int64(len(body)), func(_ context.Context, off, n int64) ([]byte, error) {
		return slices.Clone(body[off : off+n]), nil
	})
	if err != nil {
		return err
	}
	return o.Scan(ctx, func(_ format.Frame, plain []byte) error { return visit(plain) })
}

// loadIndexes reads the index segments that the placements name.
func (s *Session) loadIndexes(ctx context.Context, k *keeper) error {
	for p, err := range s.cache.Placements(k.vault.Name) {
		if err != nil {
			return err
		}
		if !p.Index {
			continue
		}
		if done, err := s.cache.Loaded(k.vault.Name, p.Name); err != nil {
			return err
		} else if done {
			continue
		}
		err := k.reader.Scan(ctx, p.Name, func(_ format.Frame, plain []byte) error {
			_, lines, err := format.DecodeIndex(plain, s.verifier(attest.Index))
			if err != nil {
				return err
			}
			return s.cache.PutIndex(lines)
		})
		if err != nil {
			if err = k.passOver(p.Name, err); err != nil {
				return err
			}
			continue
		}
		if err := s.cache.MarkLoaded(k.vault.Name, p.Name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) verifier(d attest.Domain) func(msg, sig []byte) bool {
	return func(msg, sig []byte) bool { return s.repo.verify(d, msg, sig) }
}

// passOver reports a segment that cannot be used and goes on; only a failing vault stops the run.
func (k *keeper) passOver(name string, err error) error {
	if notOurs(err) || errors.Is(err, format.ErrSignature) || wrongVersion(err) {
		k.report.send(Tampered, name, "left out: %v", err)
		return nil
	}
	return err
}
