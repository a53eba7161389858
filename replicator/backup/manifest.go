package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// lockedSink lets the manifest and the readers of very large objects share one object being filled.
type lockedSink struct {
	mu   sync.Mutex
	sink *repo.Sink
}

func (l *lockedSink) Page(ctx context.Context, plain []byte) (*tree.Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sink.Page(ctx, plain)
}

func (l *lockedSink) Refs(ctx context.Context, encode func() ([]byte, error)) (*tree.Slot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sink.Refs(ctx, encode)
}

func (l *lockedSink) Seal(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sink.Seal(ctx)
}

// writeManifest turns the tasks into leaf pages, in key order.
func (e *engine) writeManifest(ctx context.Context) error {
	m := &manifest{engine: e}
	for {
		t, ok, err := receive(ctx, e.pipe.manifest)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		weight := t.weight()
		if err := m.take(ctx, t); err != nil {
			return err
		}
		if left := e.pipe.waiting.Add(-weight); e.pipe.pressed.Load() && left <= waitingMax/2 {
			poke(e.pipe.relieved)
		}
	}
	if err := m.endPage(ctx, ""); err != nil || m.pages {
		return err
	}
	return e.tree.Leaf(ctx, format.PageRef{}, nil) // a source that is empty, or all of which went meanwhile, has one empty page
}

// manifest is the leaf page being written.
type manifest struct {
	*engine
	lines  []byte
	ref    format.PageRef
	pages  bool // there is one
	unsure bool // something on the page was not read as listed: no digest
}

func (m *manifest) take(ctx context.Context, t *task) error {
	switch {
	case t.reuse != nil:
		m.stats.entries.Add(t.reuse.Entries)
		m.stats.holds(t.reuse.Bytes)
		m.stats.missing.Add(t.reuse.Missing)
		m.pages = true
		return m.tree.Reuse(ctx, *t.reuse)
	case t.cut:
		return m.endPage(ctx, t.sum)
	}
	m.unsure = m.unsure || t.unsure
	if t.dropped {
		if m.keep.isContent(t.entry) {
			m.stats.found.Add(-1)
		}
		return nil
	}
	if err := m.resolve(ctx, t); err != nil {
		return err
	}
	return m.add(ctx, t)
}

// resolve fills in where an entry's content is.
func (m *manifest) resolve(ctx context.Context, t *task) error {
	if m.mend != nil { // what is carried over from the parent counts as well
		if err := m.needs.entry(ctx, t.entry, m.s.Content, 1); err != nil {
			return err
		}
	}
	for _, p := range t.pieces {
		if err := p.wait(ctx); err != nil {
			return err
		}
		c := p.chunk()
		if err := m.needs.usesChunk(c); err != nil {
			return err
		}
		t.entry.Chunks = append(t.entry.Chunks, c)
	}
	for object, n := range t.uses {
		if err := m.needs.add(object, n); err != nil {
			return err
		}
	}
	t.uses = nil
	unnamed := false
	for i := range t.extents {
		x := &t.extents[i]
		if err := m.large.writeExtent(ctx, t, x, m.needs.add); err != nil {
			return err
		}
		unnamed = unnamed || x.slot != nil && x.slot.Object() == ""
	}
	if unnamed {
		if err := m.sink.Seal(ctx); err != nil {
			return err
		}
	}
	for _, x := range t.extents {
		if x.slot != nil {
			x.ref.Object, x.ref.Frame = x.slot.Object(), x.slot.Frame
			if err := m.needs.add(x.ref.Object, x.ref.Frame.Length); err != nil {
				return err
			}
		}
		t.entry.Extents = append(t.entry.Extents, x.ref)
	}
	if t.image != nil && t.entry.Missing == "" {
		if err := m.resolveImage(ctx, t); err != nil {
			return err
		}
	}
	return m.innerPages(ctx, t)
}

// add appends an entry to the page.
func (m *manifest) add(ctx context.Context, t *task) error {
	n := t.entry
	lines, err := n.AppendLine(m.lines)
	if errors.Is(err, format.ErrBounds) && n.Missing == "" { // with its references it is too much
		if lines, err = m.refuse(t, err); err == nil {
			n = t.entry
		}
	}
	if err != nil {
		return fmt.Errorf("entry %q: %w", n.Key, err)
	}
	m.lines = lines
	if m.ref.Entries == 0 {
		m.ref.First = n.Key
	}
	m.ref.Entries++
	m.ref.Bytes = format.AddSizes(m.ref.Bytes, n.Size)
	if n.TagsRead != 0 && (m.ref.TagsRead == 0 || n.TagsRead < m.ref.TagsRead) {
		m.ref.TagsRead = n.TagsRead
	}
	m.count(t)
	if len(m.lines) >= tree.MaxLeafBytes {
		m.unsure = true // the listing's digest is of more than this page
		if err := m.endPage(ctx, ""); err != nil {
			return err
		}
		m.unsure = true
	}
	return nil
}

// refuse makes an entry missing that was read and that the format cannot hold with all it refers to.
func (m *manifest) refuse(t *task, why error) ([]byte, error) {
	n := t.entry
	for _, c := range n.Chunks {
		if !c.Hole {
			if err := m.needs.add(format.PackName(c.Pack), -c.Share()); err != nil {
				return nil, err
			}
		}
	}
	// What the pages of its extents refer to stays counted: it is kept for longer than it would have to be.
	for _, x := range n.Extents {
		if !x.Hole {
			if err := m.needs.add(x.Object, -x.Frame.Length); err != nil {
				return nil, err
			}
		}
	}
	t.entry = reduced(n, n.Key, refusalOf(why))
	return t.entry.AppendLine(m.lines)
}

func (m *manifest) count(t *task) {
	m.watch.read(t)
	m.stats.entries.Add(1)
	m.stats.holds(t.entry.Size)
	if t.entry.Unsettled {
		m.stats.unsettled.Add(1)
		m.unsure = true
		if m.o.Unsettling != nil {
			m.o.Unsettling(t.entry.Key)
		}
	}
	lost := t.entry.Lost()
	if lost == "" {
		return
	}
	if !t.accepted {
		m.ref.Missing++
		m.stats.missing.Add(1)
		m.unsure = true
	}
	m.o.Missing(t.entry.Key, lost)
}

// endPage closes the leaf page being written.
func (m *manifest) endPage(ctx context.Context, digest string) error {
	ref, lines := m.ref, m.lines
	if !m.unsure {
		ref.Digest = digest
	}
	m.ref, m.lines, m.unsure = format.PageRef{}, m.lines[:0], false
	if ref.Entries == 0 {
		return nil
	}
	m.pages = true
	return m.tree.Leaf(ctx, ref, lines)
}

// knownPages remembers the parent's pages that were looked at last, so that a page which comes out the same is referred
// to instead of written again. Both trees are walked in the same order, so a window is enough.
type knownPages struct {
	lost  func(object string) bool // its pages must not be referred to again; may be nil
	mu    sync.Mutex
	at    map[pageKey]format.PageRef
	size  int               // of their first keys
	order map[int][]pageKey // by level: leaves are many and must not push out the inner pages above them
}

type pageKey struct {
	level int
	first string
}

const (
	maxKnown      = 4096     // pages of a level that are remembered
	maxKnownBytes = 16 << 20 // and of all, by the length of their first keys
)

func (e *lists) newKnownPages(ctx context.Context) *knownPages {
	k := &knownPages{at: map[pageKey]format.PageRef{}, order: map[int][]pageKey{}}
	switch {
	case e.mend != nil:
		k.lost = func(object string) bool { return e.mend.isLost(ctx, object) }
	case e.thin != nil:
		k.lost = e.thin.leaves
	}
	return k
}

func (k *knownPages) add(ref format.PageRef) {
	if k.lost != nil && k.lost(ref.Object) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := pageKey{ref.Level, ref.First}
	if _, ok := k.at[key]; !ok {
		order := k.order[key.level]
		k.size += len(key.first)
		for len(order) >= maxKnown || k.size > maxKnownBytes && len(order) > 0 {
			k.size -= len(order[0].first)
			delete(k.at, order[0])
			order = order[1:]
		}
		k.order[key.level] = append(order, key)
	}
	k.at[key] = ref
}

func (k *knownPages) find(level int, first string) (format.PageRef, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ref, ok := k.at[pageKey{level, first}]
	return ref, ok
}
