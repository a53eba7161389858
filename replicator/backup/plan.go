package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// racyFor is how recent a change must be for a page to carry no digest: the listing may not tell the next change from it.
const racyFor = 2 * time.Second

// plan lists the source in order, cuts the listing where manifest pages are cut, and compares each page with the
// parent's: as a whole by its digest, else entry by entry.
func (e *engine) plan(ctx context.Context) error {
	defer close(e.pipe.seq)
	defer close(e.pipe.small)
	defer close(e.pipe.large)
	p, err := e.newPlanner(ctx)
	if err != nil {
		return err
	}
	defer p.old.Close()
	last := ""
	for entry, err := range e.view.Entries(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("list: %w", err)
		}
		entry = p.once(shorten(entry))
		if e.cut.LeafBefore(entry.Key, entry.Key == last, len(p.page), 0) {
			if err := p.endPage(ctx); err != nil {
				return err
			}
		}
		last = entry.Key
		p.sees(entry)
		p.watch.listed(entry)
		p.page = append(p.page, entry)
	}
	if err := p.endPage(ctx); err != nil {
		return err
	}
	return p.dropRest(ctx)
}

// sees counts whether there is anything at all in the source.
func (e *engine) sees(entry *format.Entry) {
	switch {
	case entry.Missing != "":
		e.stats.unlisted.Add(1)
	case e.keep.isContent(entry):
		e.stats.found.Add(1)
	}
}

// planner holds one page of the listing beside the parent's manifest.
type planner struct {
	*engine
	old     *tree.Cursor
	page    []*format.Entry
	paths   tree.Paths
	scratch []byte
	buf     []byte
	disk    *format.Entry // the parent's image that was looked at last
	before  format.Entry  // key and time of the entry that was compared last
	hidden  string        // the key of a directory that could not be listed: what was below it is not known to be deleted
}

func (e *engine) newPlanner(ctx context.Context) (*planner, error) {
	p := &planner{engine: e}
	if e.parent == nil {
		p.old = tree.NewCursor(ctx, nil, nil, nil, nil, nil)
		return p, nil
	}
	gone := func(ref format.PageRef) {
		e.known.add(ref)
		e.needs.dropsPage(ref)
	}
	root, err := tree.Rooted(ctx, e.s.Content.Page, e.parent.Manifest)
	if err != nil && !e.passOver(e.parent.Manifest, err) {
		return nil, p.oldError(err)
	}
	if err != nil {
		p.old = tree.NewCursor(ctx, nil, nil, nil, nil, nil)
		return p, nil
	}
	p.old = tree.NewCursor(ctx, e.s.Content.Page, &root, gone, gone, e.passOver)
	return p, nil
}

// endPage decides what becomes of the page that was listed.
func (p *planner) endPage(ctx context.Context) error {
	if len(p.page) == 0 {
		return nil
	}
	defer func() { p.page = p.page[:0] }()
	if err := p.dropBefore(ctx, p.page[0].Key); err != nil {
		return err
	}
	digest := p.digest()
	leaf, err := p.old.Leaf()
	if err != nil {
		return p.oldError(err)
	}
	if p.mend == nil && p.thin == nil && leaf != nil && leaf.First == p.page[0].Key && leaf.Digest != "" && leaf.Digest == digest && p.tagsFresh(leaf.TagsRead) {
		ref := *leaf
		p.old.Skip()
		p.known.add(ref)
		p.needs.dropsPage(ref)
		for _, entry := range p.page {
			p.fate(Unchanged, entry)
		}
		return send(ctx, p.pipe.seq, &task{reuse: &ref})
	}
	if p.racy() {
		digest = ""
	}
	for _, entry := range p.page { // which belong to whoever reads them once they are dispatched
		if why, line := p.fetch.refusal(entry, p.scratch); why != "" {
			entry = reduced(entry, entry.Key, why)
		} else {
			p.scratch = line
		}
		t, err := p.compare(ctx, entry)
		if err != nil {
			return err
		}
		p.before = format.Entry{Key: entry.Key, Modified: entry.Modified}
		if err := p.dispatch(ctx, t); err != nil {
			return err
		}
	}
	return send(ctx, p.pipe.seq, &task{cut: true, sum: digest})
}

// digest is what the listing says of the page; none if there is something it could not see.
func (p *planner) digest() string {
	h := sha256.New()
	for _, entry := range p.page {
		if entry.Missing != "" {
			return ""
		}
		p.scratch = entry.AppendListing(p.scratch[:0])
		h.Write(p.scratch)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// racy reports whether something on the page changed so recently that the next change might look the same.
func (p *planner) racy() bool {
	edge := p.view.Clock().Add(-racyFor)
	for _, entry := range p.page {
		if changedAt(entry).After(edge) {
			return true
		}
	}
	return false
}

func changedAt(e *format.Entry) time.Time {
	t := e.Modified.Time
	if e.File != nil && e.File.Changed.After(t) {
		t = e.File.Changed.Time
	}
	return t
}

// tagsFresh reports whether tags read at that time (unix seconds, the oldest of a page; 0: none there) are new enough.
func (p *planner) tagsFresh(at int64) bool {
	if p.o.TagsMaxAge < 0 || at == 0 {
		return true
	}
	return p.o.TagsMaxAge > 0 && time.Unix(at, 0).Add(p.o.TagsMaxAge).After(p.o.Now())
}

// compare holds one listed entry against the parent's.
func (p *planner) compare(ctx context.Context, entry *format.Entry) (*task, error) {
	t := &task{entry: entry}
	if entry.Kind == format.KindDir && entry.Missing != "" {
		p.hidden = entry.Key
	}
	for {
		old, err := p.old.Peek()
		if err != nil {
			return nil, p.oldError(err)
		}
		if old == nil || old.Key > entry.Key {
			p.stats.added.Add(1)
			p.fate(Added, entry)
			p.watch.added(entry, &p.before)
			t.action = actionFor(entry)
			p.disks(t)
			return t, nil
		}
		p.old.Take()
		if old.Kind == format.KindImage && old.Missing == "" {
			p.disk = old
		}
		if old.Key == entry.Key && old.Version == entry.Version {
			t.old = old
			before := p.stats.changed.Load()
			err := p.judge(ctx, t)
			p.fate(fateOf(t, p.stats.changed.Load() > before), entry)
			p.disks(t)
			return t, err
		}
		// An earlier key, or a version of this key that is there no more: new versions only come behind the old ones.
		if err := p.drop(ctx, old); err != nil {
			return nil, err
		}
	}
}

// judge decides whether an entry the parent has too must be read again.
func (p *planner) judge(ctx context.Context, t *task) error {
	old, entry := t.old, t.entry
	if lost, err := p.lostContent(ctx, old); err != nil {
		return err
	} else if lost {
		t.action, t.maybe = actionFor(entry), true
		if entry.Missing != "" || !p.same(old, entry) {
			t.maybe = false
			p.stats.changed.Add(1)
		}
		return nil // nothing to drop: the needs list is counted anew
	}
	again := old.Unusable != nil || old.Recheck || old.Unsettled || old.Lost() != "" || entry.Missing != ""
	if !again && p.same(old, entry) {
		if p.tagsFresh(old.TagsRead) || actionFor(entry) != read {
			if touched, err := p.thin.touches(ctx, old, p.s.Content); err != nil || touched {
				t.action, t.again, t.maybe = read, true, true
				return errors.Join(err, p.needs.dropsEntry(ctx, old, p.s.Content))
			}
			t.action, t.entry = carry, old
			return nil
		}
		// Unchanged, but its tags are due: they change without a trace in listings.
		t.action, t.maybe, t.kept = complete, true, true
		withContentOf(entry, old)
		return nil
	}
	if (old.Recheck || old.Unsettled) && old.Missing == "" && p.sameButSize(old, entry) {
		t.maybe = true
		if entry.Kind == format.KindObject && entry.ETag != "" && entry.Missing == "" && p.same(old, entry) {
			t.kept = true
			t.action = complete // the ETag is the content's: only what goes with it can have changed unnoticed
			withContentOf(entry, old)
			return nil
		}
	}
	t.action = actionFor(entry)
	if !again && sameButClass(old, entry) {
		t.action = carry // moved to another storage class: the content is what it was
		class := entry.StorageClass
		*entry = *old
		entry.StorageClass = class
		p.watch.moved(entry)
		return nil
	}
	if !t.maybe && (old.Lost() == "" || !p.same(old, entry)) {
		p.stats.changed.Add(1)
	}
	if isDisk(old) && isDisk(entry) && t.action == read {
		return nil // much of it may be taken over: see resolveImage
	}
	return p.needs.dropsEntry(ctx, old, p.s.Content)
}

// isDisk reports whether e is a disk image that was read, or can be.
func isDisk(e *format.Entry) bool { return e.Kind == format.KindImage && e.Missing == "" }

// disks finds the base of a disk image that is to be read: the same entry as it was, or the version before it.
func (p *planner) disks(t *task) {
	if t.action != read || t.entry.Kind != format.KindImage {
		return
	}
	t.image = &imageTask{}
	if p.mend == nil && p.disk != nil && p.disk.Key == t.entry.Key {
		t.image.base = p.disk
	}
}

// same reports whether the listing says the same of both.
func (p *planner) same(a, b *format.Entry) bool {
	p.scratch, p.buf = a.AppendListing(p.scratch[:0]), b.AppendListing(p.buf[:0])
	return string(p.scratch) == string(p.buf)
}

// sameButSize reports whether the listing says the same of both but, of files, for the size: some are listed with another one
// than they have.
func (p *planner) sameButSize(old, entry *format.Entry) bool {
	if entry.Kind != format.KindFile || old.Size == entry.Size {
		return p.same(old, entry)
	}
	as := *old
	as.Size = entry.Size
	return p.same(&as, entry)
}

// sameButClass reports whether only the storage class differs.
func sameButClass(a, b *format.Entry) bool {
	return a.File == nil && b.File == nil && a.Kind == b.Kind && a.ETag != "" && a.ETag == b.ETag &&
		a.Size == b.Size && a.Modified.Equal(b.Modified.Time) && a.Version == b.Version
}

// withContentOf gives a listed entry everything the parent knows of it; Complete then reads what changes silently.
func withContentOf(entry, old *format.Entry) { *entry = *old }

// actionFor says what a new or changed entry needs.
func actionFor(entry *format.Entry) action {
	switch {
	case entry.Missing != "":
		return carry // the listing itself could not see it
	case entry.Kind.HasContent():
		return read
	case entry.Kind == format.KindMarker:
		return carry
	}
	return complete
}

// dropBefore counts the parent's entries before key as deleted, without opening a leaf that may be used again.
func (p *planner) dropBefore(ctx context.Context, key string) error {
	for {
		leaf, err := p.old.Leaf()
		if err != nil {
			return p.oldError(err)
		}
		if leaf != nil && leaf.First >= key {
			return nil
		}
		old, err := p.old.Peek()
		if err != nil {
			return p.oldError(err)
		}
		if old == nil || old.Key >= key {
			return nil
		}
		p.old.Take()
		if err := p.drop(ctx, old); err != nil {
			return err
		}
	}
}

// dropRest counts whatever the parent has left.
func (p *planner) dropRest(ctx context.Context) error {
	for {
		old, err := p.old.Peek()
		if err != nil {
			return p.oldError(err)
		}
		if old == nil {
			return nil
		}
		p.old.Take()
		if err := p.drop(ctx, old); err != nil {
			return err
		}
	}
}

func (p *planner) drop(ctx context.Context, old *format.Entry) error {
	if p.hidden == "" || !strings.HasPrefix(old.Key, p.hidden) {
		p.stats.deleted.Add(1)
		p.fate(Deleted, old)
		p.watch.gone(old)
		if p.keep.isContent(old) {
			p.stats.gone.Add(1)
		}
	} else {
		p.fate(Unread, old)
	}
	return p.needs.dropsEntry(ctx, old, p.s.Content)
}

func (p *planner) oldError(err error) error {
	return fmt.Errorf("read the manifest of the last point: %w", err)
}

// leastHeld is what is set aside for a small object at least: files that are listed with no size have some all the same.
const leastHeld = 4096

// longKey is from what length on a key's memory is counted: thousands of entries are on their way at once, and a key may have
// 64 KiB.
const longKey = 1024

// dispatch sends a task to whoever reads it and into the sequence. Memory for a small object is taken here, in order, so
// that the one the assembler waits for always has its own.
func (p *planner) dispatch(ctx context.Context, t *task) error {
	queue := p.pipe.small
	if n := int64(len(t.entry.Key)); n > longKey {
		t.long = 2 * n
		if err := p.budget.small.Acquire(ctx, t.long); err != nil {
			return err
		}
	}
	switch {
	case t.action == carry:
		return send(ctx, p.pipe.seq, t)
	case t.image != nil, t.action == read && t.entry.Size > smallMax:
		queue = p.pipe.large
		p.o.Progress.Total.Add(t.entry.Size)
	case t.action == read:
		p.o.Progress.Total.Add(t.entry.Size)
		t.held = max(t.entry.Size, leastHeld)
		if err := p.budget.small.Acquire(ctx, t.held); err != nil {
			return err
		}
	}
	t.fetched = make(chan struct{})
	if err := send(ctx, queue, t); err != nil {
		return err
	}
	return send(ctx, p.pipe.seq, t)
}
