package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// thinning is a run that lets go of stored objects of which the new point would need little: instead of lengthening their
// locks it reads that little from the source again, by range where objects are large, and stores it anew. Old points keep
// what they need by the locks it has. Where the reading fails the old object is kept and its lock lengthened.
//
// What it takes is weighed: storing the living part again for the point's time against keeping the whole for as long as
// its lock would be lengthened. As every entry of the last point has to be looked at, it must be worth a reading of the
// manifest.
type thinning struct {
	packs  map[format.Hash]bool
	meta   map[string]bool // objects with pages of manifests: the pages are written anew, and nothing is read for them
	failed atomic.Int64    // readings that came to nothing
}

const (
	// thinShare: an object of which more than so many quarters are needed is never let go.
	thinShare = 3
	// bareShare: in vaults without locks, where nothing is lengthened, one of which more than a sixteenth is needed.
	bareShare = 16
	// maxThin bounds the memory of the names of what is let go; the rest waits for a later run.
	maxThin = 1 << 17
	// maxThinFailures: after so many the source is not asked again only to save space.
	maxThinFailures = 100
)

// scales weigh what a point needs.
type scales struct {
	s        *repo.Session
	now      time.Time
	thin     *thinning
	waste    int64 // bytes of what would be let go that nothing needs
	manifest int64 // bytes of the manifest
}

func newScales(s *repo.Session, now time.Time) *scales {
	return &scales{s: s, now: now, thin: &thinning{packs: map[format.Hash]bool{}, meta: map[string]bool{}}}
}

// add weighs one object of the last point's needs list.
func (w *scales) add(n format.Need) error {
	pack, meta := strings.HasPrefix(n.Name, format.PrefixPacks), strings.HasPrefix(n.Name, format.PrefixMeta)
	if meta {
		w.manifest += n.Living
	}
	if !pack && !meta || n.Living > n.Size/4*thinShare || len(w.thin.packs)+len(w.thin.meta) >= maxThin {
		return nil
	}
	from, to, locks, err := w.s.Locks.Lengthening(n.Name)
	if err != nil {
		return err
	}
	switch {
	case locks && from.Equal(to): // it stays whatever happens
		return nil
	case locks:
		keeping := float64(n.Size) * to.Sub(retain.Later(from, w.now)).Hours()
		if float64(n.Living)*to.Sub(w.now).Hours() >= keeping {
			return nil
		}
	case n.Living > n.Size/bareShare:
		return nil
	}
	if pack {
		sum, err := format.ParseName(n.Name)
		if err != nil {
			return err
		}
		w.thin.packs[sum] = true
	} else {
		w.thin.meta[n.Name] = true
	}
	w.waste += n.Size - n.Living
	return nil
}

// verdict gives what is let go; nil: nothing, or not enough to be worth it.
func (w *scales) verdict() *thinning {
	if w.waste <= w.manifest || len(w.thin.packs)+len(w.thin.meta) == 0 {
		return nil
	}
	return w.thin
}

// forecast gives for each vault how many locks the new point would ask to have lengthened: those of what the last one needs
// and would be kept.
func (e *keeping) forecast(ctx context.Context) ([]repo.Lengthening, error) {
	if e.parent == nil {
		e.work.Standing = int64(len(e.s.Repository().Standing()))
	}
	if err := e.density(ctx); err != nil {
		return nil, err
	}
	return e.s.Locks.Forecast(func(yield func(format.Need, error) bool) {
		if e.parent == nil || e.mend != nil {
			return
		}
		own := !e.work.Back
		if own {
			e.work.Last = Density{Bytes: e.parent.Bytes, Entries: e.parent.Entries}
		}
		var list keptLeaves
		for n, err := range tree.Needs(ctx, e.s.Content.Page, e.parent.Needs, list.visit) {
			if own {
				e.work.Last.weighs(n)
			}
			e.work.Needs++
			sum, perr := format.ParseName(n.Name)
			root := e.parent.Manifest
			if err == nil && n.Name == root.Object {
				list.changes() // the root, at least, goes elsewhere
				if n.Living <= root.Frame.Length {
					continue // nothing but the root lives there, and each point has its own
				}
			}
			if err == nil && perr == nil && (e.thin.leaves(n.Name) || e.thin.leavesPack(sum)) {
				list.changes()
				continue
			}
			if !yield(n, err) || err != nil {
				return
			}
		}
		for _, name := range list.objects() {
			if !yield(format.Need{Name: name, Size: -1}, nil) {
				return
			}
		}
	})
}

// keptLeaves gathers, along the lines of a needs list, the objects of leaf pages that the next list can refer to as they are. Names of
// new objects, which nobody knows beforehand, may still come to stand on one.
type keptLeaves struct {
	leaf string // the object that the one at hand is in; "" where it changes
	kept map[string]bool
}

// visit takes the page that the next lines are on.
func (k *keptLeaves) visit(ref format.PageRef) {
	k.end()
	if ref.Level == 0 {
		k.leaf = ref.Object
	}
}

// changes says that a line of the page at hand changes.
func (k *keptLeaves) changes() { k.leaf = "" }

func (k *keptLeaves) end() {
	if k.leaf != "" {
		if k.kept == nil {
			k.kept = map[string]bool{}
		}
		k.kept[k.leaf] = true
	}
	k.leaf = ""
}

// objects gives them, in order, behind the last line.
func (k *keptLeaves) objects() []string {
	k.end()
	return slices.Sorted(maps.Keys(k.kept))
}

// leaves reports whether a metadata object is let go.
func (h *thinning) leaves(object string) bool { return h != nil && h.meta[object] }

// leavesPack reports whether a pack is let go.
func (h *thinning) leavesPack(pack format.Hash) bool { return h != nil && h.packs[pack] }

// touches reports whether something an entry of the parent refers to is let go.
func (h *thinning) touches(ctx context.Context, old *format.Entry, r extents) (bool, error) {
	if h == nil || old.Kind != format.KindObject && old.Kind != format.KindFile || h.failed.Load() >= maxThinFailures {
		return false, nil
	}
	for _, x := range old.Extents {
		if h.leaves(x.Object) {
			return true, nil
		}
	}
	for c, err := range tree.Chunks(ctx, r.Extent, old) {
		if err != nil {
			return false, fmt.Errorf("read where %q was: %w", old.Key, err)
		}
		if !c.Hole && h.leavesPack(c.Pack) {
			return true, nil
		}
	}
	return false, nil
}

// keepOld carries an entry over after all whose content could not be read again.
func (e *fetching) keepOld(ctx context.Context, t *task) error {
	e.thin.failed.Add(1)
	t.data, t.pieces, t.extents, t.entry = nil, nil, nil, t.old
	return e.needs.entry(ctx, t.old, e.s.Content, 1) // what it was taken off for
}

// readAgain reads of a large object what lies in packs that are let go, and refers to the rest where it is.
func (e *largeFiles) readAgain(ctx context.Context, t *task) error {
	listed := *t.entry
	l := &layout{e: e.engine, t: t}
	var off int64
	for c, err := range tree.Chunks(ctx, e.s.Content.Extent, t.old) {
		if err != nil {
			return err
		}
		p := piece{known: c}
		if !c.Hole && e.thin.leavesPack(c.Pack) {
			if p, err = e.placeAgain(ctx, listed, c, off); err != nil {
				return err
			}
		}
		off += c.Size
		if err := l.add(ctx, p, c.Size); err != nil {
			return err
		}
	}
	if err := l.end(); err != nil {
		return err
	}
	*t.entry = *t.old
	t.entry.Chunks, t.entry.Extents = nil, nil
	return nil
}

// placeAgain reads one chunk from the source and sends it off; where that does not give the same bytes the chunk stays
// where it is.
func (e *largeFiles) placeAgain(ctx context.Context, listed format.Entry, c format.Chunk, off int64) (piece, error) {
	buf := make([]byte, c.Size)
	err := e.readRange(ctx, &listed, off, buf)
	if ctx.Err() != nil {
		return piece{}, ctx.Err()
	}
	if err != nil || sha256.Sum256(buf) != c.Sum {
		e.thin.failed.Add(1)
		return piece{known: c}, nil
	}
	return e.place(ctx, e.look(buf))
}

func (e *largeFiles) readRange(ctx context.Context, listed *format.Entry, off int64, buf []byte) error {
	body, err := e.view.Open(ctx, listed, off, int64(len(buf)))
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.ReadFull(body, buf)
	e.fetch.count(n)
	return err
}
