package repo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Every run writes a placements object and an index segment. So that their number, and the calls that keep them locked, do
// not grow with the number of runs, many of them are folded into few from time to time. The old ones are let go: no longer
// known here, never deleted by a run, and over when their locks are.
const (
	foldAt       = 64         // so many placements objects of one vault, or small index segments
	smallSegment = 128 << 10  // stored bytes below which index segments are small
	maxFoldLines = 4 * 32_768 // of index segments at once
	besideLines  = 1024       // at most so many stand beside a run's pages, and only beside so many bytes of these: their
	besidePages  = 1 << 20    // locks are kept up with the segment's. Else it has an object of its own
)

// superfluous gives the placements objects of a vault that the end of this run folds into one; none where they are few.
func (s *Session) superfluous(k *keeper) (map[string]bool, error) {
	old := map[string]bool{}
	for p, err := range s.cache.PlacementsUnder(k.vault.Name, format.PrefixPlacements) {
		if err != nil {
			return nil, err
		}
		old[p.Name] = true
	}
	if len(old) < foldAt {
		return nil, nil
	}
	return old, nil
}

// endPlacements writes what is new about where a vault's objects are, or, where there are many placements objects before, all
// that is known of it, and lets go of these.
func (s *Session) endPlacements(ctx context.Context, k *keeper) error {
	old, err := s.superfluous(k)
	if err != nil {
		return err
	}
	if len(old) == 0 {
		return s.flushPlacements(ctx, k)
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
	return s.cache.Unplace(k.vault.Name, slices.Collect(maps.Keys(old))...) // and not read again
}

// EndIndex puts the last index lines of a run beside the pages that sink takes, together with the lines of the small segments
// before, where these have become many: they are let go.
func (s *Session) EndIndex(ctx context.Context, sink *Sink, lines []format.IndexLine) error {
	held, done, err := s.smallSegments(ctx)
	if err != nil {
		return err
	}
	lines = append(held, lines...)
	switch {
	case len(lines) > besideLines || sink.payload() > besidePages:
		err = s.StoreIndex(ctx, lines)
	case len(lines) > 0:
		err = sink.Index(lines)
	}
	if err != nil {
		return err
	}
	for _, k := range s.active() {
		if err := s.letGoOf(k, done); err != nil {
			return err
		}
	}
	return nil
}

// letGoOf makes the cache forget that meta objects hold index segments. Points may need these objects all the same.
func (s *Session) letGoOf(k *keeper, names []string) error {
	var known []format.Placement
	for _, name := range names {
		p, ok, err := k.placement(name)
		if err != nil {
			return err
		}
		if ok {
			p.Index = nil
			known = append(known, p)
		}
	}
	return s.cache.PutPlacements(k.vault.Name, known)
}

// smallSegments gives the lines that still hold of small index segments, and the objects that these are in, where there are
// many. A segment that cannot be read is left alone.
func (s *Session) smallSegments(ctx context.Context) (lines []format.IndexLine, done []string, err error) {
	small := map[string]bool{}
	for _, k := range s.active() {
		for p, err := range s.cache.PlacementsUnder(k.vault.Name, format.PrefixMeta) {
			if err != nil {
				return nil, nil, err
			}
			if size := stored(p.Index); size > 0 && size < smallSegment {
				small[p.Name] = true
			}
		}
	}
	if len(small) < foldAt {
		return nil, nil, nil
	}
	for name := range small {
		if len(lines) >= maxFoldLines {
			break
		}
		held, err := s.indexLines(ctx, name)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			continue // its lock is kept up, which says what is wrong with it
		}
		lines, done = append(lines, held...), append(done, name)
	}
	return lines, done, nil
}

// stored is what frames take.
func stored(frames []format.Frame) (n int64) {
	for _, f := range frames {
		n += f.Length
	}
	return n
}

// indexLines gives the lines of one object's segments by which content is found now, in packs that some vault holds.
func (s *Session) indexLines(ctx context.Context, name string) ([]format.IndexLine, error) {
	var out []format.IndexLine
	frames, err := s.indexIn(name)
	if err != nil {
		return nil, err
	}
	err = s.from(ctx, name, nil, func(ctx context.Context, k *keeper) error {
		out = nil
		return k.reader.Frames(ctx, name, frames, func(_ int, plain []byte) error {
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
