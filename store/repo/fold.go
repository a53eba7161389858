package repo

import (
	"context"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Every run writes a placements object or two and an index segment. So that their number, and the calls that keep them
// locked, do not grow with the number of runs, many of them are folded into few from time to time. The old ones are let
// go: no longer known here, never deleted by a run, and over when their locks are.
const (
	foldAt       = 64         // so many placements objects of one vault, or small index segments
	smallSegment = 128 << 10  // stored bytes below which an index segment is small
	maxFoldLines = 4 * 32_768 // of index segments at once
)

// foldPlacements writes all that is known of where one vault's objects are into new placements objects, and lets go of
// those before.
func (s *Session) foldPlacements(ctx context.Context, k *keeper, old []format.Placement) error {
	if len(old) < foldAt {
		return nil
	}
	k.mu.Lock()
	k.pending, k.unplaced, k.flushed = nil, 0, s.now() // they stand in the cache too
	k.mu.Unlock()
	var lines []format.Placement
	for p, err := range s.cache.Placements(k.vault.Name) {
		if err != nil {
			return err
		}
		if strings.HasPrefix(p.Name, format.PrefixPlacements) {
			continue // found by its name
		}
		if lines = append(lines, p); len(lines) < maxSegmentLines/2 {
			continue
		}
		if err := s.putPlacements(ctx, k, lines); err != nil {
			return err
		}
		lines = lines[:0]
	}
	if len(lines) > 0 {
		if err := s.putPlacements(ctx, k, lines); err != nil {
			return err
		}
	}
	return s.letGoOf(k, old)
}

// letGoOf makes the cache forget objects without their being loaded again.
func (s *Session) letGoOf(k *keeper, old []format.Placement) error {
	names := make([]string, len(old))
	for i, p := range old {
		names[i] = p.Name
	}
	return s.cache.Unplace(k.vault.Name, names...)
}

// foldIndex writes the lines of small index segments that still hold into new ones, and lets go of those before. A segment
// that cannot be read is left alone.
func (s *Session) foldIndex(ctx context.Context, small []format.Placement) error {
	if len(small) < foldAt {
		return nil
	}
	var lines []format.IndexLine
	var done []format.Placement
	for _, p := range small {
		if len(lines) >= maxFoldLines {
			break
		}
		held, err := s.indexLines(ctx, p.Name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			continue // its lock is kept up, which says what is wrong with it
		}
		lines, done = append(lines, held...), append(done, p)
	}
	if err := s.StoreIndex(ctx, lines); err != nil {
		return err
	}
	for _, k := range s.active() {
		if err := s.letGoOf(k, done); err != nil {
			return err
		}
	}
	return nil
}

// indexLines gives the lines of one segment by which content is found now, in packs that some vault holds.
func (s *Session) indexLines(ctx context.Context, name string) ([]format.IndexLine, error) {
	var out []format.IndexLine
	err := s.from(ctx, name, nil, func(ctx context.Context, k *keeper) error {
		out = nil
		return k.reader.Scan(ctx, name, func(_ format.Frame, plain []byte) error {
			// Who signed it was looked at when it was loaded. What counts here is that the cache says the same.
			_, lines, err := format.DecodeIndex(plain, func(_, _ []byte) bool { return true })
			if err != nil {
				return err
			}
			for _, l := range lines {
				c, ok, err := s.cache.Chunk(l.ID)
				if err != nil {
					return err
				}
				if !ok || c.Pack != l.Pack || c.Frame != l.Frame || c.At != l.At || c.Size != l.Size {
					continue
				}
				if ok, err = s.held(format.PackName(l.Pack)); err != nil {
					return err
				}
				if ok {
					out = append(out, l)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read index segment: %w", err)
	}
	return out, nil
}
