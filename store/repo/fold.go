package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Every run writes a placements object and an index segment. So that their number, and the calls that keep them locked, do
// not grow with the number of runs, they are folded: the old ones are let go, which means that they are no longer kept up
// here, never deleted by a run, and over when their locks are.
const (
	foldAt       = 8          // so many small index segments
	smallSegment = 128 << 10  // stored bytes below which index segments are small
	maxFoldLines = 4 * 32_768 // of index segments at once
	besideLines  = 1024       // at most so many stand beside a run's pages, and only beside so many bytes of these: they are
	besidePages  = 32 << 10   // locked as long as the segment, often ten times as long as their point. Else it has an object of its own
)

// A run's own placements object takes in those before it that are at most so many times as large as what it has by then, the
// smallest ones first. So each of those that are left is more than twice as large as the one before: there are a handful after any number of runs,
// and a line is written again about as often as it takes to double from one run's lines to all.
const (
	foldGrowth = 2
	foldLines  = maxSegmentLines / 2 // lines of one object
	foldBytes  = 4 << 20             // of the lines that it takes in
	foldOwn    = 1024                // lines of a run that folds; one that has more writes them by themselves
	foldHeard  = 128                 // lines of objects that this machine did not write: the lock of each may have to be read first
)

// foldable gives the placements objects of a vault that the end of this run folds into its own. What was chosen before in this
// run stays chosen: its locks were not kept up.
func (s *placing) foldable(k *keeper) ([]cache.Said, error) {
	all, err := k.placements.unfolded()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	f := foldInto(len(k.pending), all)
	k.folds = map[string]bool{}
	for _, o := range f.chosen {
		k.folds[o.Name] = true
	}
	return f.chosen, nil
}

// foldInto chooses what a run that has so many lines of its own takes in, of all that none replaces, the smallest first.
func foldInto(lines int, all []unfolded) *folding {
	f := &folding{lines: lines}
	if f.lines > foldOwn {
		f.lines = 0
	}
	for _, o := range all {
		if o.chosen {
			f.take(o.Said)
		}
	}
	for _, o := range all {
		if o.adrift && !o.chosen {
			f.take(o.Said)
		}
	}
	for _, o := range all {
		switch {
		case o.adrift || o.chosen || o.Lines > foldGrowth*f.lines:
		case !o.heard:
			f.take(o.Said)
		case f.heard+o.Lines <= foldHeard && f.take(o.Said):
			f.heard += o.Lines
		}
	}
	return f
}

// folding is what one object is to take in.
type folding struct {
	chosen   []cache.Said
	lines    int // with those of the run
	taken    int // without them, for which there is always room
	heard    int // of objects that were read from the vault
	bytes    int64
	replaces int
}

// take adds an object if there is room.
func (f *folding) take(o cache.Said) bool {
	if f.taken+o.Lines > foldLines-foldOwn || f.bytes+o.Bytes > foldBytes || f.replaces+o.Replaces >= format.MaxReplaces {
		return false
	}
	f.chosen = append(f.chosen, o)
	f.lines, f.taken, f.bytes, f.replaces = f.lines+o.Lines, f.taken+o.Lines, f.bytes+o.Bytes, f.replaces+o.Replaces+1
	return true
}

// unfolded is a placements object that none replaces.
type unfolded struct {
	cache.Said
	chosen bool // before, by this run
	adrift bool // it is gone, or under another vault's name: what it said has to be said again
	heard  bool // it was read from the vault
}

// unfolded gives the placements objects that are known and none replaces, the smallest first.
func (k *placementsOf) unfolded() (all []unfolded, err error) {
	for said, err := range k.cache.Said.By(k.vault.Name) {
		if err != nil {
			return nil, err
		}
		id, err := format.ParsePlacementsName(said.Name)
		if err != nil {
			return nil, err
		}
		_, there, err := k.placement(said.Name)
		if err != nil {
			return nil, err
		}
		heard, err := k.cache.Segments.Loaded(k.vault.Name, heardMark(said.Name))
		if err != nil {
			return nil, err
		}
		all = append(all, unfolded{said, there && k.folds[said.Name], !there || id.Vault != k.vault.Name, heard})
	}
	slices.SortStableFunc(all, func(a, b unfolded) int { return a.Lines - b.Lines })
	return all, nil
}

// heardMark is what the cache remembers a placements object by that it has from the vault.
func heardMark(name string) string { return "heard/" + name }

// endPlacements writes what is new about where a vault's objects are, together with what the objects before said that it
// replaces, and lets go of these.
func (s *placing) endPlacements(ctx context.Context, k *keeper) error {
	old, err := s.foldable(k)
	if err != nil {
		return err
	}
	k.mu.Lock()
	own := len(k.pending)
	k.mu.Unlock()
	if len(old) == 0 || own > foldOwn {
		if err := s.flushPlacements(ctx, k); err != nil || len(old) == 0 {
			return err
		}
	}
	k.mu.Lock()
	pending := k.pending
	k.pending, k.unplaced, k.flushed = nil, 0, s.now()
	k.mu.Unlock()
	err = s.fold(ctx, k, pending, old)
	if err != nil {
		k.mu.Lock()
		k.pending = append(pending, k.pending...)
		k.mu.Unlock()
	}
	return err
}

// fold writes one placements object that says what is new and all that still holds of what others said.
func (s *placing) fold(ctx context.Context, k *keeper, pending []format.Placement, old []cache.Said) error {
	lines, seen := []format.Placement{}, map[string]bool{}
	say := func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		p, ok, err := k.placement(name)
		if ok {
			lines = append(lines, p)
		}
		return err
	}
	for _, p := range pending { // they stand in the cache too
		if err := say(p.Name); err != nil {
			return err
		}
	}
	var over []string
	replaces := map[format.Hash]bool{}
	for _, o := range old {
		names, before, err := s.cache.Said.In(k.vault.Name, o.Name)
		if err != nil {
			return err
		}
		if err := k.locks.confirmAll(ctx, names); err != nil { // a line says what was read back, not what others say
			return err
		}
		for _, n := range names {
			if err := say(n); err != nil {
				return err
			}
		}
		over = append(over, o.Name)
		k.placements.addReplaced(replaces, o.Name, before)
	}
	if len(lines) > 0 || len(replaces) > 0 {
		sums := slices.SortedFunc(maps.Keys(replaces), func(a, b format.Hash) int { return bytes.Compare(a[:], b[:]) })
		if err := s.putPlacements(ctx, k, lines, sums); err != nil {
			return err
		}
	}
	return k.placements.letGoOfPlacements(over)
}

// addReplaced adds what an object that is folded had replaced, and itself, as far as it is there.
func (k *placementsOf) addReplaced(to map[format.Hash]bool, name string, before []format.Hash) {
	id, err := format.ParsePlacementsName(name)
	if err != nil || id.Vault != k.vault.Name { // nothing under another name is replaced
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	to[id.Sum] = true
	there := k.listed == nil
	about := make(map[string]format.Hash, len(before))
	for _, sum := range before {
		if about[sum.String()] = sum; there {
			to[sum] = true
		}
	}
	if len(about) == 0 {
		return
	}
	for _, name := range k.listed {
		if sum, ok := about[sumIn(name)]; ok {
			to[sum] = true
		}
	}
}

// sumIn gives the digits of the hash in the name of a placements object: it stands behind the time and a dash.
func sumIn(name string) string {
	const from, to = len("20260102T150405Z-"), len("20260102T150405Z-") + 2*sha256.Size
	rest := name[strings.LastIndexByte(name, '/')+1:]
	if len(rest) < to {
		return ""
	}
	return rest[from:to]
}

// EndIndex puts the last index lines of a run beside the pages that sink takes, together with the lines of the small segments
// before, where these have become many: they are let go.
func (s *Writer) EndIndex(ctx context.Context, sink *Sink, lines []format.IndexLine) error {
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
func (s *Writer) letGoOf(k *keeper, names []string) error {
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
	return s.cache.Places.Put(k.vault.Name, known)
}

// smallSegments gives the lines that still hold of small index segments, and the objects that these are in, where there are
// many. A segment that cannot be read is left alone.
func (s *Writer) smallSegments(ctx context.Context) (lines []format.IndexLine, done []string, err error) {
	small := map[string]bool{}
	for _, k := range s.active() {
		for p, err := range s.cache.Places.Indexed(k.vault.Name) {
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
func (s *Writer) indexLines(ctx context.Context, name string) ([]format.IndexLine, error) {
	var out []format.IndexLine
	frames, err := s.indexIn(name)
	if err != nil {
		return nil, err
	}
	err = s.from(ctx, name, nil, func(ctx context.Context, k *keeper) error {
		out = nil
		return k.reader.Frames(ctx, name, frames, func(_ int, plain []byte) error {
			// Who signed it was looked at when it was loaded. What counts here is that the cache says the same.
			h, lines, err := format.DecodeIndex(plain, func(_, _ []byte) bool { return true })
			if err != nil || !s.ofUse(h) {
				return err
			}
			for _, l := range lines {
				c, ok, err := s.cache.Chunks.Get(l.ID)
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
