package tree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Slot is where a page will be. Its object has no name until it is sealed.
type Slot struct {
	Frame  format.Frame
	object atomic.Pointer[string]
}

// Object is the name of the stored object that the page went into; empty until that is sealed.
func (s *Slot) Object() string {
	if name := s.object.Load(); name != nil {
		return *name
	}
	return ""
}

// Name says which stored object the page went into.
func (s *Slot) Name(object string) { s.object.Store(&object) }

// Sink takes pages. It packs many of them into one stored object and may seal that object before it takes another page.
type Sink interface {
	// Page appends one plain page to the object being filled. The slot has its object at the latest after Seal.
	Page(ctx context.Context, plain []byte) (*Slot, error)
	// Refs is Page for a page that refers to others. encode is asked for the plain bytes once it is settled which object they
	// go into: what has no name by then is in the same one.
	Refs(ctx context.Context, encode func() ([]byte, error)) (*Slot, error)
	// Seal closes the object being filled, if any, so that every slot given so far has its object.
	Seal(ctx context.Context) error
}

// Known looks up a page of an earlier tree with this level and first key.
type Known func(level int, first string) (format.PageRef, bool)

// Builder assembles a tree from its leaf pages, given in order. It belongs to one goroutine. A page names no object for what
// lies in the same one as itself, which has no name while it is filled: so a whole tree fits into one.
type Builder struct {
	sink    Sink
	cut     Cut
	known   Known                // may be nil
	emit    func(format.PageRef) // may be nil
	levels  []*level
	unnamed []child          // not yet told to emit
	firsts  int              // bytes of their first keys
	top     *child           // once every level is closed
	line    *format.RootLine // a manifest's
	scratch []byte
}

// level collects the references that become the pages of one inner level. levels[0] collects references to leaves.
type level struct {
	pushed int64   // children ever given to this level
	closed bool    // a page of it has ended
	lines  []child // of the page being filled
	size   int     // plain bytes of these at most
	agg    format.PageRef
}

type child struct {
	ref  format.PageRef
	slot *Slot // nil: ref is located already
}

// located gives the reference with the place of its page, as far as that has a name.
func (c child) located() format.PageRef {
	if c.slot != nil {
		c.ref.Object, c.ref.Frame = c.slot.Object(), c.slot.Frame
	}
	return c.ref
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
	if old, ok := b.lookup(ref); ok && old.Sum == ref.Sum {
		ref.Object, ref.Frame, ref.Ext = old.Object, old.Frame, old.Ext
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

// Finish closes every level. The object being filled may take more pages, of other lists, before Root.
func (b *Builder) Finish(ctx context.Context) error {
	if len(b.levels) == 0 {
		return ErrEmpty
	}
	for n := 1; n <= len(b.levels); n++ {
		l := b.levels[n-1]
		if b.isRoot(n) {
			return b.closeRoot(ctx, n)
		}
		if l.pushed == 1 {
			b.top = &l.lines[0]
			return nil
		}
		if err := b.closePage(ctx, n); err != nil {
			return err
		}
	}
	return fmt.Errorf("tree: higher than %d levels: %w", format.MaxLevel, format.ErrBounds)
}

// Anew finishes the tree and, where its root is a page of an earlier tree, writes that again into the object being filled.
func (b *Builder) Anew(ctx context.Context, load Load) error {
	if err := b.Finish(ctx); err != nil || b.top.slot != nil {
		return err
	}
	plain, err := Page(ctx, load, b.top.ref)
	if err != nil {
		return err
	}
	top := child{ref: b.top.ref}
	if top.ref.Level > 0 {
		refs, err := parseInner(plain, top.ref)
		if err != nil {
			return err
		}
		plain = nil
		for _, r := range refs { // each with the name of its object, which is another now
			if plain, err = r.AppendLine(plain); err != nil {
				return err
			}
		}
	}
	top.ref.Sum = sha256.Sum256(plain)
	if top.slot, err = b.sink.Page(ctx, plain); err != nil {
		return err
	}
	b.top = &top
	return b.note(ctx, top)
}

// Root finishes the tree, if that was not done, seals the sink and gives the root.
func (b *Builder) Root(ctx context.Context) (format.PageRef, error) {
	if b.top == nil {
		if err := b.Finish(ctx); err != nil {
			return format.PageRef{}, err
		}
	}
	if err := b.sink.Seal(ctx); err != nil {
		return format.PageRef{}, err
	}
	return b.Top(), nil
}

// Top gives the root of a finished tree, once the sink was sealed.
func (b *Builder) Top() format.PageRef {
	b.tell()
	return b.top.located()
}

// push gives a child to level n (n >= 1).
func (b *Builder) push(ctx context.Context, n int, c child) error {
	if n > format.MaxLevel {
		return fmt.Errorf("tree: level %d: %w", n, format.ErrBounds)
	}
	for len(b.levels) < n {
		b.levels = append(b.levels, &level{})
	}
	l := b.levels[n-1]
	if b.cut.innerBefore(n, c.ref.First, len(l.lines), l.size) {
		if err := b.closePage(ctx, n); err != nil {
			return err
		}
	}
	line, err := c.located().AppendLine(b.scratch[:0])
	if err != nil {
		return err
	}
	b.scratch = line
	l.pushed++
	l.aggregate(n, c.ref)
	l.lines, l.size = append(l.lines, c), l.size+len(line)
	if c.located().Object == "" {
		l.size += objectMember // whether it is written shall not decide where pages end
	}
	return b.note(ctx, c)
}

// objectMember is what the name of a page's object takes in a line.
const objectMember = len(`"object":"meta/00/`) + 64 + len(`.age",`)

// Pages of one object that wait for its name. Beyond these bounds the object is sealed as it is.
const (
	maxUnnamed      = 8192
	maxUnnamedBytes = 16 << 20 // of first keys
)

// note tells emit of a page, at once or when its object has a name.
func (b *Builder) note(ctx context.Context, c child) error {
	if b.emit == nil {
		return nil
	}
	if ref := c.located(); ref.Object != "" {
		b.emit(ref)
		return nil
	}
	b.tell()
	b.unnamed, b.firsts = append(b.unnamed, c), b.firsts+len(c.ref.First)
	if len(b.unnamed) < maxUnnamed && b.firsts < maxUnnamedBytes {
		return nil
	}
	defer b.tell()
	return b.sink.Seal(ctx)
}

// tell gives emit the pages that waited, if the object they went into has a name by now.
func (b *Builder) tell() {
	waiting := b.unnamed
	b.unnamed, b.firsts = waiting[:0], 0
	for _, c := range waiting {
		if ref := c.located(); ref.Object != "" {
			b.emit(ref)
		} else {
			b.unnamed, b.firsts = append(b.unnamed, c), b.firsts+len(c.ref.First)
		}
	}
}

// aggregate adds what a child says of the keys below it to what its page says.
func (l *level) aggregate(n int, ref format.PageRef) {
	a := &l.agg
	if len(l.lines) == 0 {
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
}

// page encodes the page being filled as it is in an object of this name: what lies in the same one is referred to without
// a name. The object being filled has none. ok is false where something lies in that, and the page would not.
func (l *level) page(object string) (plain []byte, ok bool, err error) {
	plain = make([]byte, 0, l.size)
	for _, c := range l.lines {
		ref := c.located()
		switch {
		case object != "" && ref.Object == "":
			return nil, false, nil
		case ref.Object == object:
			ref.Object = ""
		}
		if plain, err = ref.AppendLine(plain); err != nil {
			return nil, false, err
		}
	}
	return plain, true, nil
}

// closePage ends the page being filled at level n and gives its reference to the level above.
func (b *Builder) closePage(ctx context.Context, n int) error {
	l := b.levels[n-1]
	if len(l.lines) == 0 {
		return nil
	}
	c := child{ref: l.agg}
	old, reuse := b.lookup(c.ref)
	if reuse {
		plain, ok, err := l.page(old.Object)
		if err != nil {
			return err
		}
		c.ref.Sum, c.ref.Object, c.ref.Frame = sha256.Sum256(plain), old.Object, old.Frame
		if reuse = ok && c.ref.Sum == old.Sum; reuse {
			c.ref.Ext = old.Ext
		}
	}
	if !reuse {
		var err error
		c.slot, err = b.sink.Refs(ctx, func() ([]byte, error) {
			plain, _, err := l.page("")
			c.ref.Sum = sha256.Sum256(plain)
			return plain, err
		})
		if err != nil {
			return err
		}
	}
	l.lines, l.size, l.agg, l.closed = l.lines[:0], 0, format.PageRef{}, true
	return b.push(ctx, n+1, c)
}

func (b *Builder) lookup(ref format.PageRef) (format.PageRef, bool) {
	if b.known == nil {
		return format.PageRef{}, false
	}
	return b.known(ref.Level, ref.First)
}

// JoinDigests combines the digests of two neighbouring stretches; an empty one makes the whole empty.
func JoinDigests(a, b string) string {
	if a == "" || b == "" {
		return ""
	}
	s := sha256.Sum256([]byte(a + b))
	return hex.EncodeToString(s[:16])
}
