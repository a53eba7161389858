package format

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math"
)

// maxPairs bounds metadata, tags, checksums and extended attributes: a map takes many times the memory of its line.
const maxPairs = 1 << 14

// check holds an entry to the rules of docs/format.md, the same for those who write and those who read.
func (e *Entry) check() error {
	if err := e.checkKey(); err != nil {
		return err
	}
	if e.Size < 0 || e.MissingMeta < 0 || e.TagsRead < 0 {
		return fmt.Errorf("negative number: %w", ErrBounds)
	}
	if len(e.Metadata) > maxPairs || len(e.Tags) > maxPairs || len(e.Checksums) > maxPairs {
		return fmt.Errorf("more than %d pairs: %w", maxPairs, ErrBounds)
	}
	if err := cmp.Or(checkTime(e.Modified), e.Ext.orNone()); err != nil {
		return err
	}
	if err := e.checkKind(); err != nil {
		return err
	}
	return e.checkContent()
}

// checkKey is what every kind has to keep to.
func (e *Entry) checkKey() error {
	if e.Key == "" {
		return fmt.Errorf("no key: %w", ErrMalformed)
	}
	if len(e.Key) > MaxKey {
		return fmt.Errorf("key of %d bytes: %w", len(e.Key), ErrBounds)
	}
	return nil
}

// checkKind holds File and kind together.
func (e *Entry) checkKind() error {
	f := e.File
	switch e.Kind {
	case KindObject, KindMarker, KindImage:
		if f != nil {
			return fmt.Errorf("file attributes on what is no file: %w", ErrMalformed)
		}
		return nil
	case KindFile, KindDir, KindSymlink, KindSpecial:
	default:
		return fmt.Errorf("unknown kind %q: %w", clip([]byte(e.Kind)), ErrMalformed)
	}
	switch {
	case f == nil:
		return fmt.Errorf("a %s without file attributes: %w", e.Kind, ErrMalformed)
	case len(f.Xattrs) > maxPairs:
		return fmt.Errorf("%d extended attributes: %w", len(f.Xattrs), ErrBounds)
	case f.Mode > 0o7777:
		return fmt.Errorf("mode %o: %w", f.Mode, ErrBounds)
	case f.Target != "" && e.Kind != KindSymlink, f.Target == "" && e.Kind == KindSymlink && e.Missing == "":
		return fmt.Errorf("symlinks, and only those, have a target: %w", ErrMalformed)
	}
	if e.Kind == KindSpecial {
		switch f.Type {
		case "fifo", "socket", "char", "block":
		default:
			return fmt.Errorf("special file of type %q: %w", clip([]byte(f.Type)), ErrMalformed)
		}
	} else if f.Type != "" {
		return fmt.Errorf("a %s with a type: %w", e.Kind, ErrMalformed)
	}
	return cmp.Or(checkTime(f.Changed), f.Ext.orNone())
}

// checkContent holds size, hash and references together.
func (e *Entry) checkContent() error {
	content := e.Kind.HasContent()
	if err := e.checkUnread(); err != nil {
		return err
	}
	if e.Unsettled && (e.Kind != KindFile || e.Missing != "") {
		return fmt.Errorf("unsettled, and no file that was read: %w", ErrMalformed)
	}
	if e.Sparse && (e.Kind != KindFile || e.Missing != "" || e.Size == 0 || len(e.Chunks) == 1 && !e.Chunks[0].Hole) {
		return fmt.Errorf("sparse, and no file with holes: %w", ErrMalformed)
	}
	if !content && e.Size != 0 {
		return fmt.Errorf("a %s of %d bytes: %w", e.Kind, e.Size, ErrMalformed)
	}
	if !content || e.Missing != "" {
		if !e.SHA256.IsZero() || len(e.Chunks) > 0 || len(e.Extents) > 0 {
			return fmt.Errorf("content where there can be none: %w", ErrMalformed)
		}
		return nil
	}
	switch {
	case e.SHA256.IsZero():
		return fmt.Errorf("no sha256: %w", ErrMalformed)
	case e.Kind == KindImage && (len(e.Chunks) > 0 || e.Size == 0):
		return fmt.Errorf("an image without extents: %w", ErrMalformed)
	case e.Kind == KindImage && e.Size > MaxImage:
		return fmt.Errorf("an image of %d bytes: %w", e.Size, ErrBounds)
	case e.Size == 0 && e.SHA256 != sha256.Sum256(nil):
		return fmt.Errorf("sha256 of an empty entry: %w", ErrMalformed)
	case len(e.Chunks) > 0 && len(e.Extents) > 0:
		return fmt.Errorf("both chunks and extents: %w", ErrMalformed)
	case len(e.Chunks) > MaxEntryChunks:
		return fmt.Errorf("%d chunks in one entry: %w", len(e.Chunks), ErrBounds)
	case len(e.Extents) > MaxExtents:
		return fmt.Errorf("%d extents in one entry: %w", len(e.Extents), ErrBounds)
	}
	sum, err := e.checkReferences()
	if err != nil {
		return err
	}
	if sum != e.Size {
		return fmt.Errorf("references to %d of %d bytes: %w", sum, e.Size, ErrMalformed)
	}
	return nil
}

// checkUnread holds what could not be read of an image to the image: whole blocks, in order, apart from each other.
func (e *Entry) checkUnread() error {
	if len(e.Unread) == 0 {
		return nil
	}
	if e.Kind != KindImage || e.Missing != "" {
		return fmt.Errorf("only images that were read have ranges that were not: %w", ErrMalformed)
	}
	if len(e.Unread) > MaxUnread {
		return fmt.Errorf("%d ranges that were not read: %w", len(e.Unread), ErrBounds)
	}
	at := int64(-1)
	for _, u := range e.Unread {
		if u.From <= at || u.Size < 1 || u.From > e.Size || u.Size > e.Size-u.From || u.Reason == "" || len(u.Reason) > MaxReason {
			return fmt.Errorf("%d bytes from %d that were not read: %w", u.Size, u.From, ErrBounds)
		}
		at = u.From + u.Size
		if u.From%ImageBlock != 0 || at%ImageBlock != 0 && at != e.Size {
			return fmt.Errorf("%d bytes from %d that were not read are no whole blocks: %w", u.Size, u.From, ErrMalformed)
		}
		if err := u.Ext.orNone(); err != nil {
			return err
		}
	}
	return nil
}

// checkReferences checks each chunk or extent and gives the bytes they cover.
func (e *Entry) checkReferences() (int64, error) {
	var sum int64
	for i := range e.Chunks {
		c := &e.Chunks[i]
		if err := c.check(); err != nil {
			return 0, fmt.Errorf("chunk %d: %w", i, err)
		}
		if !c.Hole && len(e.Chunks) == 1 && !c.Sum.IsZero() && c.Sum != e.SHA256 {
			return 0, fmt.Errorf("only chunk and entry have different sha256: %w", ErrMalformed)
		}
		if !c.Hole && len(e.Chunks) > 1 && c.Sum.IsZero() {
			return 0, fmt.Errorf("chunk %d without sha256: %w", i, ErrMalformed)
		}
		if c.Size > math.MaxInt64-sum {
			return 0, fmt.Errorf("chunk %d: %w", i, ErrBounds)
		}
		sum += c.Size
	}
	for i := range e.Extents {
		x := &e.Extents[i]
		if err := cmp.Or(x.check(), x.In(e.Kind)); err != nil {
			return 0, fmt.Errorf("extent %d: %w", i, err)
		}
		if x.From != sum {
			return 0, fmt.Errorf("extent %d from %d instead of %d: %w", i, x.From, sum, ErrMalformed)
		}
		if x.Size > math.MaxInt64-sum {
			return 0, fmt.Errorf("extent %d: %w", i, ErrBounds)
		}
		sum += x.Size
	}
	return sum, nil
}

func (c *Chunk) check() error {
	if c.Hole {
		if c.Size < 1 || c.Pack != (Hash{}) || c.Frame != (Frame{}) || c.At != 0 || c.Sum != (Hash{}) {
			return fmt.Errorf("hole: %w", ErrMalformed)
		}
		return c.Ext.orNone()
	}
	if c.Pack.IsZero() {
		return fmt.Errorf("no pack: %w", ErrMalformed)
	}
	return cmp.Or(checkWithin(c.Frame, c.At, c.Size), c.Ext.orNone())
}

// checkWithin holds a piece to the frame it lies in.
func checkWithin(f Frame, at, size int64) error {
	if err := checkFrame(f); err != nil {
		return err
	}
	if at < 0 || size < 1 || size > f.Plain || at > f.Plain-size {
		return fmt.Errorf("%d bytes at %d of a frame of %d: %w", size, at, f.Plain, ErrBounds)
	}
	return nil
}

// In holds an extent to the kind of entry that it belongs to.
func (x *Extent) In(k Kind) error {
	switch {
	case k != KindImage && (!x.Content.IsZero() || x.Digest != ""):
		return fmt.Errorf("only images have such: %w", ErrMalformed)
	case k != KindImage:
		return nil
	case x.Level == 0 && (x.From%ImageRange != 0 || x.Size > ImageRange || !x.Hole && x.Content.IsZero()):
		return fmt.Errorf("%d bytes from %d are no range of an image: %w", x.Size, x.From, ErrMalformed)
	case x.Level == 1 && (x.From%(MaxInner*ImageRange) != 0 || x.Size > MaxInner*ImageRange):
		return fmt.Errorf("%d bytes from %d are no ranges of an image: %w", x.Size, x.From, ErrMalformed)
	}
	return nil
}

func (x *Extent) check() error {
	if x.From < 0 || x.Size < 1 || x.Level < 0 || x.Level > 1 {
		return fmt.Errorf("%d bytes from %d: %w", x.Size, x.From, ErrBounds)
	}
	if x.Level == 1 && (x.Hole || !x.Content.IsZero() || x.Digest != "") {
		return fmt.Errorf("more than a page of level 1 has: %w", ErrMalformed)
	}
	if x.Digest != "" && !isDigest(x.Digest) {
		return fmt.Errorf("digest: %w", ErrMalformed)
	}
	if err := x.Ext.orNone(); err != nil {
		return err
	}
	if x.Hole {
		if x.Object != "" || x.Frame != (Frame{}) || !x.Sum.IsZero() || !x.Content.IsZero() {
			return fmt.Errorf("a hole with a page: %w", ErrMalformed)
		}
		return nil
	}
	if x.Sum.IsZero() {
		return fmt.Errorf("no sha256: %w", ErrMalformed)
	}
	if x.Frame.Plain < 1 {
		return fmt.Errorf("empty page: %w", ErrMalformed)
	}
	if err := nameUnder(x.Object, PrefixMeta); err != nil {
		return err
	}
	return checkFrame(x.Frame)
}

// checkFrame bounds a frame. Only the page of an empty tree has a frame of nothing.
func checkFrame(f Frame) error {
	if f.Offset < 0 || f.Length < 0 || f.Length > MaxPack || f.Offset > MaxPack-f.Length || f.Plain < 0 || f.Plain > MaxFrame {
		return fmt.Errorf("frame [%d,%d,%d]: %w", f.Offset, f.Length, f.Plain, ErrBounds)
	}
	if f.Plain > 0 && f.Length == 0 {
		return fmt.Errorf("frame [%d,%d,%d]: %w", f.Offset, f.Length, f.Plain, ErrMalformed)
	}
	return nil
}

// checkTime refuses years that have no four digits.
func checkTime(t Time) error {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("year %d: %w", y, ErrBounds)
	}
	return nil
}
