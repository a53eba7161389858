package format

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"
)

// PageLines splits the plain bytes of a page into its lines, without their newlines. The page is empty or ends in a
// newline, has at most MaxPageLines lines, and none is empty or longer than MaxLine. After an error the sequence ends.
func PageLines(page []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n := 0; len(page) > 0; n++ {
			line, rest, ok := bytes.Cut(page, []byte{'\n'})
			var err error
			switch {
			case n == MaxPageLines:
				err = fmt.Errorf("page of more than %d lines: %w", MaxPageLines, ErrBounds)
			case len(line)+1 > MaxLine:
				err = fmt.Errorf("page with a line of %d bytes: %w", len(line)+1, ErrBounds)
			case !ok:
				err = fmt.Errorf("page whose last line does not end: %w", ErrMalformed)
			case len(line) == 0:
				err = fmt.Errorf("page with an empty line: %w", ErrMalformed)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(line, nil) {
				return
			}
			page = rest
		}
	}
}

// parseLine is the frame of every one-line decoder.
func parseLine(what string, line []byte, scan func(*members), check func() error) error {
	s, err := scanLine(line)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	scan(&s)
	s.want('}')
	if err := s.end(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// AppendLine appends r as one line of an inner page.
func (r PageRef) AppendLine(b []byte) ([]byte, error) {
	b, err := r.append(b)
	if err != nil {
		return b, err
	}
	return append(b, '\n'), nil
}

// MarshalJSON gives the line without its newline: the form in which a root stands in a commit object.
func (r PageRef) MarshalJSON() ([]byte, error) { return r.append(nil) }

// UnmarshalJSON is ParsePageRef.
func (r *PageRef) UnmarshalJSON(b []byte) error {
	p, err := ParsePageRef(b)
	if err != nil {
		return err
	}
	*r = p
	return nil
}

func (r PageRef) append(b []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return b, fmt.Errorf("encode page reference: %w", err)
	}
	b = append(b, '{')
	b = optInt(b, "level", int64(r.Level))
	b = appendFirst(b, r.First)
	b = appendInt(b, "entries", r.Entries)
	b = appendInt(b, "bytes", r.Bytes)
	b = optText(b, "object", r.Object)
	b = appendFrame(b, r.Frame)
	b = appendHash(b, "sha256", r.Sum)
	b = optText(b, "digest", r.Digest)
	b = optInt(b, "tags_read", r.TagsRead)
	b = optExt(optInt(b, "missing", r.Missing), r.Ext)
	return append(b, '}'), nil
}

func appendFirst(b []byte, first string) []byte {
	if utf8.ValidString(first) {
		return appendQuoted(appendName(b, "first", ""), first)
	}
	return appendBase64(appendName(b, "first", "_b64"), []byte(first))
}

// ParsePageRef parses a line of an inner page, or a root.
func ParsePageRef(line []byte) (PageRef, error) {
	var r PageRef
	if err := parseLine("page reference", line, r.scan, func() error { return r.check() }); err != nil {
		return PageRef{}, err
	}
	return r, nil
}

func (r *PageRef) scan(s *members) {
	r.Level = int(s.optUint("level", MaxLevel))
	r.First = s.text("first")
	s.must("entries")
	r.Entries = s.int()
	s.must("bytes")
	r.Bytes = s.int()
	r.Object = s.optText("object")
	r.Frame = s.frame()
	s.must("sha256")
	r.Sum = s.hash()
	r.Digest = s.optText("digest")
	r.TagsRead = s.optInt("tags_read")
	r.Missing = s.optInt("missing")
	r.Ext = s.ext()
}

func (r *PageRef) check() error {
	if r.Level < 0 || r.Level > MaxLevel {
		return fmt.Errorf("level %d: %w", r.Level, ErrBounds)
	}
	if len(r.First) > MaxKey || r.Entries < 0 || r.Bytes < 0 || r.TagsRead < 0 || r.Missing < 0 || r.Missing > r.Entries {
		return fmt.Errorf("%d entries, %d bytes, %d missing: %w", r.Entries, r.Bytes, r.Missing, ErrBounds)
	}
	if r.Level == 0 && r.Entries > MaxPageLines {
		return fmt.Errorf("leaf of %d entries: %w", r.Entries, ErrBounds)
	}
	if (r.Entries == 0) != (r.Frame.Plain == 0) || r.Entries == 0 && r.First != "" || r.Entries == 0 && (r.Level != 0 || r.Bytes != 0) {
		return fmt.Errorf("only the one page of an empty tree is empty: %w", ErrMalformed)
	}
	if r.Sum.IsZero() {
		return fmt.Errorf("no sha256: %w", ErrMalformed)
	}
	if r.Digest != "" && !isDigest(r.Digest) {
		return fmt.Errorf("digest: %w", ErrMalformed)
	}
	if r.Object != "" && nameUnder(r.Object, PrefixMeta) != nil && nameUnder(r.Object, PrefixNeeds) != nil {
		return badName(r.Object)
	}
	return cmp.Or(checkFrame(r.Frame), r.Ext.orNone())
}

func isDigest(s string) bool {
	if len(s) != 32 {
		return false
	}
	for i := range len(s) {
		if unhex(s[i]) > 15 {
			return false
		}
	}
	return true
}

// AppendLine appends n as one line of a needs list's leaf page.
func (n Need) AppendLine(b []byte) ([]byte, error) {
	if err := n.check(); err != nil {
		return b, fmt.Errorf("encode need: %w", err)
	}
	b = append(b, '{')
	b = appendText(b, "name", n.Name)
	b = appendInt(b, "size", n.Size)
	b = optExt(optPages(appendInt(b, "living", n.Living), n.Pages), n.Ext)
	return append(b, '}', '\n'), nil
}

// ParseNeed parses a line of a needs list's leaf page.
func ParseNeed(line []byte) (Need, error) {
	var n Need
	scan := func(s *members) {
		s.must("name")
		n.Name = s.quoted()
		s.must("size")
		n.Size = s.int()
		s.must("living")
		n.Living = s.int()
		n.Pages = s.optPages()
		n.Ext = s.ext()
	}
	if err := parseLine("need", line, scan, func() error { return n.check() }); err != nil {
		return Need{}, err
	}
	return n, nil
}

func (n *Need) check() error {
	if n.Size < 1 || n.Size > MaxPack || n.Living < 0 {
		return fmt.Errorf("%d bytes, %d living: %w", n.Size, n.Living, ErrBounds)
	}
	if len(n.Pages) > 0 && !strings.HasPrefix(n.Name, PrefixMeta) {
		return fmt.Errorf("pages of a manifest in %s: %w", n.Name, ErrMalformed)
	}
	_, err := ParseName(n.Name)
	return cmp.Or(err, n.Pages.check(), n.Ext.orNone())
}
