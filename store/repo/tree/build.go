package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Slot is where a page will be. Object is empty until the stored object it went into is sealed and so has a name.
type Slot struct {
	Object string
	Frame  format.Frame
}

// Sink takes pages. It packs many of them into one stored object and may seal that object whenever it is full.
type Sink interface {
	// Page appends one plain page to the object being filled. The slot's Object is set at the latest by Seal.
	Page(ctx context.Context, plain []byte) (*Slot, error)
	// Seal closes the object being filled, if any, so that every slot given so far has its Object.
	Seal(ctx context.Context) error
}

// Known looks up an inner page of an earlier tree with exactly this level, first key and content.
type Known func(level int, first string, sum format.Hash) (format.PageRef, bool)

// Builder assembles a tree from its leaf pages, given in order. It belongs to one goroutine.
type Builder struct {
	sink   Sink
	cut    Cut
	known  Known                // may be nil
	emit   func(format.PageRef) // may be nil
	levels []*level
}

// maxWaiting is how many children of a level may wait for the name of the object that one of them went into. Beyond it the
// object is sealed as it is: what follows a changed page is a tree's whole rest.
const maxWaiting = 8192

// level collects the references that become the pages of one inner level. levels[0] collects references to leaves.
type level struct {
	waiting []child // not yet appended: the first one's object has no name yet
	pushed  int64   // children ever given to this level
	page    []byte  // lines of the page being filled
	agg     format.PageRef
	lines   int
	only    format.PageRef // the last child appended; the root if it is the only one
}

type child struct {
	ref  format.PageRef
	slot *Slot // nil: ref is located already
}

// NewBuilder makes a builder. emit is called once for every page of the finished tree, with its location, leaves that
// were reused included: it is how needs lists learn which objects the tree is in.
func NewBuilder(sink Sink, cut Cut, known Known, emit func(format.PageRef)) *Builder {
	return &Builder{sink: sink, cut: cut, known: known, emit: emit}
}

// Leaf adds a new leaf page. ref says what is in it (First, Entries, Bytes, Digest, TagsRead, Missing); its place and
// sum are filled in.
func (b *Builder) Leaf(ctx context.Context, ref format.PageRef, plain []byte) error {
	ref.Level, ref.Sum = 0, sha256.Sum256(plain)
	if old, ok := b.lookup(ref); ok {
		ref.Object, ref.Frame = old.Object, old.Frame
		return b.push(ctx, 1, child{ref: ref})
	}
	slot, err := b.sink.Page(ctx, plain)
	if err != nil {
		return err
	}
	return b.push(ctx, 1, child{ref, slot})
}

// Reuse adds a leaf page that an earlier tree holds already.
func (b *Builder) Reuse(ctx context.Context, ref format.PageRef) error {
	if ref.Level != 0 || ref.Object == "" {
		return fmt.Errorf("tree: page at %q of level %d cannot be reused as a leaf", ref.First, ref.Level)
	}
	return b.push(ctx, 1, child{ref: ref})
}

// ErrEmpty: a tree needs at least one leaf page, which may be empty.
var ErrEmpty = errors.New("tree: no pages")

// Root closes every level and gives the root.
func (b *Builder) Root(ctx context.Context) (format.PageRef, error) {
	if len(b.levels) == 0 {
		return format.PageRef{}, ErrEmpty
	}
	for n := 1; n <= len(b.levels); n++ {
		l := b.levels[n-1]
		if len(l.waiting) > 0 {
			if err := b.sink.Seal(ctx); err != nil {
				return format.PageRef{}, err
			}
			if err := b.drain(ctx, n); err != nil {
				return format.PageRef{}, err
			}
		}
		if l.pushed == 1 {
			return l.only, nil
		}
		if err := b.closePage(ctx, n); err != nil {
			return format.PageRef{}, err
		}
	}
	return format.PageRef{}, fmt.Errorf("tree: higher than %d levels: %w", format.MaxLevel, format.ErrBounds)
}

// push gives a child to level n (n >= 1) and appends whatever can be appended.
func (b *Builder) push(ctx context.Context, n int, c child) error {
	if n > format.MaxLevel {
		return fmt.Errorf("tree: level %d: %w", n, format.ErrBounds)
	}
	for len(b.levels) < n {
		b.levels = append(b.levels, &level{})
	}
	l := b.levels[n-1]
	l.pushed++
	l.waiting = append(l.waiting, c)
	if len(l.waiting) > maxWaiting {
		if err := b.sink.Seal(ctx); err != nil {
			return err
		}
	}
	return b.drain(ctx, n)
}

// drain appends the children whose place is known, in order.
func (b *Builder) drain(ctx context.Context, n int) error {
	l := b.levels[n-1]
	done := 0
	for _, c := range l.waiting {
		if c.slot != nil {
			if c.slot.Object == "" {
				break
			}
			c.ref.Object, c.ref.Frame = c.slot.Object, c.slot.Frame
		}
		done++
		if err := b.appendRef(ctx, n, c.ref); err != nil {
			return err
		}
	}
	l.waiting = append(l.waiting[:0], l.waiting[done:]...)
	return nil
}

func (b *Builder) appendRef(ctx context.Context, n int, ref format.PageRef) error {
	l := b.levels[n-1]
	if b.cut.innerBefore(n, ref.First, l.lines, len(l.page)) {
		if err := b.closePage(ctx, n); err != nil {
			return err
		}
	}
	if b.emit != nil {
		b.emit(ref)
	}
	page, err := ref.AppendLine(l.page)
	if err != nil {
		return err
	}
	l.page, l.only = page, ref
	l.aggregate(n, ref)
	return nil
}

// aggregate adds what a child says of the keys below it to what its page says.
func (l *level) aggregate(n int, ref format.PageRef) {
	a := &l.agg
	if l.lines == 0 {
		*a = format.PageRef{Level: n, First: ref.First, Digest: ref.Digest, TagsRead: ref.TagsRead}
	} else {
		a.Digest = JoinDigests(a.Digest, ref.Digest)
		if ref.TagsRead != 0 && (a.TagsRead == 0 || ref.TagsRead < a.TagsRead) {
			a.TagsRead = ref.TagsRead
		}
	}
	a.Entries += ref.Entries
	a.Bytes = format.AddSizes(a.Bytes, ref.Bytes)
	a.Missing += ref.Missing
	l.lines++
}

// closePage ends the page being filled at level n and gives its reference to the level above.
func (b *Builder) closePage(ctx context.Context, n int) error {
	l := b.levels[n-1]
	if l.lines == 0 {
		return nil
	}
	ref, plain := l.agg, l.page
	ref.Sum = sha256.Sum256(plain)
	c := child{ref: ref}
	if old, ok := b.lookup(ref); ok {
		c.ref.Object, c.ref.Frame = old.Object, old.Frame
	} else {
		slot, err := b.sink.Page(ctx, plain)
		if err != nil {
			return err
		}
		c.slot = slot
	}
	l.page, l.lines, l.agg = l.page[:0], 0, format.PageRef{}
	return b.push(ctx, n+1, c)
}

func (b *Builder) lookup(ref format.PageRef) (format.PageRef, bool) {
	if b.known == nil {
		return format.PageRef{}, false
	}
	return b.known(ref.Level, ref.First, ref.Sum)
}

// JoinDigests combines the digests of two neighbouring stretches; an empty one makes the whole empty.
func JoinDigests(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	s := sha256.Sum256([]byte(a + b))
	return hex.EncodeToString(s[:16])
}
