package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// loading reads what the cache has not seen of what runs find content by.
type loading struct{ *vaults }

// load reads the placements and index segments of one vault that the cache has not seen: what earlier runs, killed ones
// and other machines' included, have stored; and forgets what the vault does not list any more. A segment that is damaged
// or not signed by the repository is reported and left out: its chunks are stored again.
//
// A signature does not make a segment true: who stole the host key signs as well as its owner. So what this machine knows
// itself goes before what it is told; of several that tell, the one that the vault has had longest is believed; a lock
// counts only once it was read back here; and a version on top of another is not believed to be ours before it was read.
func (s *loading) load(ctx context.Context, k *keeper) error {
	if err := k.names.look(); err != nil {
		return err
	}
	l, err := k.names.listAll(ctx)
	if err != nil {
		return err
	}
	if err := k.placements.loadPlacements(ctx, k.chain, l); err != nil {
		return err
	}
	if err := k.names.compare(ctx, l); err != nil {
		return err
	}
	if err := s.settleDoubts(ctx, k); err != nil {
		return err
	}
	if err := k.names.looked(); err != nil {
		return err
	}
	return s.loadIndexes(ctx, k)
}

// segment is an object of placements or index lines that the cache has not seen.
type segment struct {
	info    store.Info // the newest version, which is tried first
	arrived time.Time  // the oldest version's
}

// takeHearsay remembers where objects are said to be, as far as nothing is known of them here. What is said of their locks
// counts for none: a lock is read where something leans on it, what the point needs, what content is found in, what is folded;
// see holds. So a machine that lost its cache asks for as many locks as its point needs, and not for all that are there. Where
// there are locks the latest end that is said is kept, to tell what is gone from what was taken away in its time.
func (k *placementsOf) takeHearsay(lines []format.Placement) error {
	fresh := map[string]format.Placement{}
	for _, p := range lines {
		if p.Mode = ""; k.vault.Locking.Mode == store.ModeNone {
			p.Until = format.Time{}
		}
		known, ok := fresh[p.Name]
		if !ok {
			var err error
			if known, ok, err = k.placement(p.Name); err != nil {
				return err
			}
		}
		switch {
		case !ok:
			fresh[p.Name] = p
		case known.Mode == "" && p.Until.After(known.Until.Time):
			known.Until = p.Until
			fresh[p.Name] = known
		}
	}
	return k.cache.Places.Put(k.vault.Name, slices.Collect(maps.Values(fresh)))
}

// confirmAll reads the locks of objects of which is only said how they are locked.
func (k *locksOf) confirmAll(ctx context.Context, names []string) error {
	if k.vault.Locking.Mode == store.ModeNone {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for _, name := range names {
		p, ok, err := k.placement(name)
		if err != nil {
			_ = g.Wait()
			return err
		}
		if ok && p.Mode == "" {
			g.Go(func() error { return k.confirmLock(gctx, p) })
		}
	}
	return g.Wait()
}

// confirmLock reads one lock. Without one the object stays as it is known.
func (k *locksOf) confirmLock(ctx context.Context, p format.Placement) error {
	info, got, err := k.vault.Read.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version})
	if err != nil && !Unreadable(ctx, err) {
		return fmt.Errorf("read the lock of %s: %w", p.Name, err)
	}
	if err != nil || info.Size != p.Size {
		return k.cache.Places.Drop(k.vault.Name, p.Name) // it is looked for where it is needed
	}
	p.Version, p.Mode, p.Until = info.Version, string(got.Mode), format.At(got.Until)
	if got.Mode == store.ModeNone || got.Until.IsZero() {
		return nil
	}
	return k.cache.Places.Put(k.vault.Name, []format.Placement{p})
}

// junkMark is what the cache remembers a segment by that turned out to be junk, so that it is read once.
func junkMark(info store.Info) string {
	return fmt.Sprintf("junk/%s@%s/%d", info.Name, info.Version, info.Modified.UnixNano())
}

// junk reports whether what lies there now was read before and is none of ours.
func (k *keeper) junk(info store.Info) (bool, error) {
	junk, err := k.cache.Segments.Loaded(k.vault.Name, junkMark(info))
	if junk {
		k.report.send(Tampered, info.Name, "left out: it is still there and none of ours")
	}
	return junk, err
}

// dismiss passes over a segment that cannot be used, and remembers it: at once if the bytes under its name are the right ones
// and none of ours, and else only when a second run finds it so, since bytes can be damaged on their way. Where there are
// no versions, what is damaged today may be mended tomorrow and look the same.
func (k *keeper) dismiss(ctx context.Context, info store.Info, why error) error {
	if err := k.passOver(ctx, info.Name, why); err != nil {
		return err
	}
	if info.Version == "" || errors.Is(why, format.ErrNewer) || errors.Is(why, errNoDescriptor) { // a newer program, of the same cache, reads it
		return nil
	}
	mark := junkMark(info)
	if !proven(why) {
		before, err := k.cache.Segments.Loaded(k.vault.Name, "once/"+mark)
		if err != nil {
			return err
		}
		if !before {
			mark = "once/" + mark
		}
	}
	return k.cache.Segments.MarkLoaded(k.vault.Name, mark)
}

// proven reports whether err is about bytes that had the right hash, or were opened with our key.
func proven(err error) bool {
	return errors.As(err, new(foreign)) || errors.Is(err, format.ErrSignature) || errors.Is(err, format.ErrMalformed)
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

// loadIndexes reads the index segments that the placements name, in order of arrival.
func (s *loading) loadIndexes(ctx context.Context, k *keeper) error {
	var fresh []indexed
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for p, err := range s.cache.Places.Indexed(k.vault.Name) {
		done := true
		if err == nil {
			done, err = s.cache.Segments.Loaded(k.vault.Name, p.Name)
		}
		if err != nil {
			_ = g.Wait()
			return err
		}
		if done {
			continue
		}
		if info, ok := k.fresh[p.Name]; ok {
			mu.Lock()
			fresh = append(fresh, indexed{segment{info, info.Modified}, p.Index})
			mu.Unlock()
			continue
		}
		g.Go(func() error { // the listing left it out
			info, _, err := k.vault.Read.Stat(gctx, store.Ref{Name: p.Name, Version: p.Version})
			if err != nil {
				return k.passOver(gctx, p.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			fresh = append(fresh, indexed{segment{info, info.Modified}, p.Index})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	k.fresh = nil
	slices.SortFunc(fresh, func(a, b indexed) int {
		return cmp.Or(a.arrived.Compare(b.arrived), strings.Compare(a.info.Name, b.info.Name))
	})
	for _, seg := range fresh {
		if err := s.loadIndex(ctx, k, seg); err != nil {
			return err
		}
	}
	return nil
}

// indexAt notes when a vault got an object with index segments that was not read yet: of several that tell where a chunk is, the
// one that it has had longest is believed.
func (k *namesOf) indexAt(info store.Info) error {
	done, err := k.cache.Segments.Loaded(k.vault.Name, info.Name)
	if err != nil || done {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fresh == nil {
		k.fresh = map[string]store.Info{}
	}
	k.fresh[info.Name] = info
	return nil
}

// indexed is a meta object with its frames that are index segments.
type indexed struct {
	segment
	frames []format.Frame
}

func (s *loading) loadIndex(ctx context.Context, k *keeper, seg indexed) error {
	name := seg.info.Name
	if junk, err := k.junk(seg.info); err != nil || junk {
		return err
	}
	w := &witness{repo: k.chain, arrived: seg.arrived}
	err := k.reader.Frames(ctx, name, seg.frames, func(_ int, plain []byte) error {
		h, lines, err := format.DecodeIndex(plain, w.verify)
		if err == nil {
			err = w.belongs(h)
		}
		if err != nil || !s.ofUse(h) {
			return err
		}
		return s.takeIndex(lines)
	})
	if err = w.word(err); err != nil && !errors.Is(err, errDistrusted) {
		return k.dismiss(ctx, seg.info, err)
	}
	return s.cache.Segments.MarkLoaded(k.vault.Name, name)
}

// takeIndex remembers where chunks are said to be, as far as nothing that can still be used is known of them here.
func (s *loading) takeIndex(lines []format.IndexLine) error {
	fresh := make([]format.IndexLine, 0, len(lines))
	for _, l := range lines {
		known, ok, err := s.cache.Chunks.Get(l.ID)
		if err != nil {
			return err
		}
		if ok && known.Pack != l.Pack {
			if ok, err = s.held(format.PackName(known.Pack)); err != nil {
				return err
			}
		}
		if !ok {
			fresh = append(fresh, l)
		}
	}
	return s.cache.Chunks.Put(fresh)
}

// errDistrusted: it came after the key that signed it was distrusted. That is known and no news.
var errDistrusted = errors.New("its key is distrusted since before it came")

// errNoDescriptor: a segment of a descriptor that is not in the chain. It may be there again tomorrow.
var errNoDescriptor = errors.New("it was written under a change of keys that this vault does not show")

// witness checks signatures of index segments that arrived at a time, and remembers whose the last one is, and whether one is of a
// distrusted key.
type witness struct {
	repo       *Repository
	arrived    time.Time
	by         *signer
	distrusted bool
}

func (w *witness) verify(msg, sig []byte) bool {
	w.by = w.repo.Trust().maker(signature{domain: attest.Index, msg: msg, sig: sig})
	if w.by == nil {
		return false
	}
	distrusted := w.repo.Trust().distrusts(*w.by, w.arrived)
	w.distrusted = w.distrusted || distrusted
	return !distrusted
}

// belongs holds the header of a segment that was verified against the chain: the descriptor that it names has to list the key that
// signed it.
func (w *witness) belongs(h format.SegmentHeader) error {
	if h.Repository != w.repo.ID {
		return fmt.Errorf("an index of another repository: %w", format.ErrMalformed)
	}
	n := w.repo.Trust().number(h.Descriptor)
	if n < 0 {
		return fmt.Errorf("descriptor %.16s..: %w", h.Descriptor, errNoDescriptor)
	}
	if !w.repo.Chain[n].Lists(format.UseJob, w.by.Key.Key) {
		return fmt.Errorf("descriptor %d does not list the key that signed it: %w", n, format.ErrMalformed)
	}
	return nil
}

// word puts what is known of the signature into an error.
func (w *witness) word(err error) error {
	if w.distrusted {
		return errDistrusted
	}
	return err
}

// passOver reports a segment that cannot be used and goes on; only a failing vault stops the run.
func (k *keeper) passOver(ctx context.Context, name string, err error) error {
	f := Classify(ctx, err)
	if f.OfObject() && f != Refused || errors.Is(err, seal.ErrNoKey) {
		k.report.send(Tampered, name, "left out: %v", err)
		if errors.Is(err, format.ErrNewer) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.newer = append(k.newer, name)
		}
		return nil
	}
	return err
}
