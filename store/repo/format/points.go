package format

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// PointLine is one line of a points list: an earlier point of the same source, with all that is listed of one, so that nobody
// has to read every commit object. Lines are sorted by Key.
type PointLine struct {
	SignedAt    Time // whole seconds
	ID          Hash
	TakenAt     Time
	RetainUntil Time
	Mode        string
	Status      string
	SourceKind  string
	Slots       []string
	Marks       []string
	Entries     int64
	Bytes       int64
	Missing     int64
	Vaults      []string // in which the writer found it, sorted
	Ext         Ext
}

// MaxPointVaults is how many vaults a line of a points list names.
const MaxPointVaults = 16

// Predecessor is a point that another follows.
type Predecessor struct {
	ID          Hash `json:"id"`
	SignedAt    Time `json:"signed_at"`
	RetainUntil Time `json:"retain_until"`
}

// EmptyTree is the root of a tree without lines: nothing is there to be fetched. object is any well-formed name of its kind.
func EmptyTree(object string) PageRef { return PageRef{Object: object, Sum: sha256.Sum256(nil)} }

// Nowhere reports whether the reference is to the page of an empty tree that is not stored: its object is a name and no more.
func (r *PageRef) Nowhere() bool { return r.Frame.Length == 0 }

// Key is what the lines of a points list are sorted by: the signed time and the ID, as in the point's name.
func (p *PointLine) Key() string {
	return p.SignedAt.UTC().Format(stampLayout) + "-" + p.ID.String()
}

// Marked reports whether the point carries a mark.
func (p *PointLine) Marked(mark string) bool { return slices.Contains(p.Marks, mark) }

// Line is what a points list says of the point with this ID.
func (c *Commit) Line(id Hash) PointLine {
	return PointLine{
		SignedAt: c.SignedAt, ID: id, TakenAt: c.TakenAt, RetainUntil: c.RetainUntil, Mode: c.Mode, Status: c.Status, SourceKind: c.SourceKind,
		Slots: c.Slots, Marks: c.Marks, Entries: c.Entries, Bytes: c.Bytes, Missing: c.Missing,
	}
}

// AppendLine appends p as one line of a points list's leaf page.
func (p PointLine) AppendLine(b []byte) ([]byte, error) {
	if err := p.check(); err != nil {
		return b, fmt.Errorf("encode point: %w", err)
	}
	b = append(b, '{')
	b = appendText(b, "point", p.Key())
	b = optTime(b, "taken_at", p.TakenAt)
	b = optTime(b, "retain_until", p.RetainUntil)
	b = optText(b, "mode", p.Mode)
	b = appendText(b, "status", p.Status)
	b = appendText(b, "source_kind", p.SourceKind)
	b = optNames(b, "slots", p.Slots)
	b = optNames(b, "marks", p.Marks)
	b = appendInt(b, "entries", p.Entries)
	b = appendInt(b, "bytes", p.Bytes)
	b = optInt(b, "missing", p.Missing)
	b = optExt(optNames(b, "vaults", p.Vaults), p.Ext)
	return append(b, '}', '\n'), nil
}

// ParsePointLine parses a line of a points list.
func ParsePointLine(line []byte) (PointLine, error) {
	var p PointLine
	scan := func(s *members) {
		s.must("point")
		p.SignedAt, p.ID = s.pointKey()
		p.TakenAt = s.optTime("taken_at")
		p.RetainUntil = s.optTime("retain_until")
		p.Mode = s.optText("mode")
		s.must("status")
		p.Status = s.quoted()
		s.must("source_kind")
		p.SourceKind = s.quoted()
		p.Slots = s.optNames("slots", maxSlots)
		p.Marks = s.optNames("marks", maxMarks)
		s.must("entries")
		p.Entries = s.int()
		s.must("bytes")
		p.Bytes = s.int()
		p.Missing = s.optInt("missing")
		p.Vaults = s.optNames("vaults", MaxPointVaults)
		p.Ext = s.ext()
	}
	if err := parseLine("point", line, scan, func() error { return p.check() }); err != nil {
		return PointLine{}, err
	}
	return p, nil
}

// pointKey consumes a string STAMP-ID.
func (s *members) pointKey() (t Time, id Hash) {
	text := s.quoted()
	if s.err != nil {
		return t, id
	}
	t, rest, err := stampBefore(text, text)
	if err == nil {
		err = id.UnmarshalText([]byte(rest))
	}
	if err != nil || (&PointLine{SignedAt: t, ID: id}).Key() != text {
		s.fail("point")
	}
	return t, id
}

func optNames(b []byte, name string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendName(b, name, ""), '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, v)
	}
	return append(b, ']')
}

// optNames reads what the function of that name writes.
func (s *members) optNames(name string, limit int) (list []string) {
	if s.member(name, "") {
		s.list(limit, func() { list = append(list, s.quoted()) })
	}
	return list
}

func (p *PointLine) check() error {
	if p.ID.IsZero() || p.SignedAt.IsZero() || p.SignedAt.Nanosecond() != 0 || p.TakenAt.IsZero() || p.RetainUntil.IsZero() {
		return fmt.Errorf("no ID, or a time is missing: %w", ErrMalformed)
	}
	for _, t := range []Time{p.SignedAt, p.TakenAt, p.RetainUntil} {
		if err := checkTime(t); err != nil {
			return err
		}
	}
	if p.Mode != "" && p.Mode != "compliance" && p.Mode != "governance" {
		return fmt.Errorf("lock mode %q: %w", clip([]byte(p.Mode)), ErrMalformed)
	}
	if p.Status != StatusComplete && p.Status != StatusIncomplete {
		return fmt.Errorf("status %q: %w", clip([]byte(p.Status)), ErrMalformed)
	}
	if !ValidName(p.SourceKind) {
		return fmt.Errorf("kind of source %q: %w", clip([]byte(p.SourceKind)), ErrMalformed)
	}
	if p.Entries < 0 || p.Bytes < 0 || p.Missing < 0 || p.Missing > p.Entries {
		return fmt.Errorf("%d entries, %d bytes, %d missing: %w", p.Entries, p.Bytes, p.Missing, ErrBounds)
	}
	if len(p.Slots) > maxSlots || len(p.Marks) > maxMarks || len(p.Vaults) > MaxPointVaults {
		return fmt.Errorf("%d slots, %d marks, %d vaults: %w", len(p.Slots), len(p.Marks), len(p.Vaults), ErrBounds)
	}
	for _, s := range p.Slots {
		if !ValidName(s) {
			return fmt.Errorf("slot %q: %w", clip([]byte(s)), ErrMalformed)
		}
	}
	for _, names := range [][]string{p.Marks, p.Vaults} {
		for i, n := range names {
			if !ValidName(n) || i > 0 && names[i-1] >= n {
				return fmt.Errorf("%q: %w", clip([]byte(strings.Join(names, " "))), ErrMalformed)
			}
		}
	}
	return p.Ext.orNone()
}

// checkPredecessors: each once, sorted by ID.
func checkPredecessors(list []Predecessor) error {
	if len(list) > MaxPredecessor {
		return fmt.Errorf("%d predecessors: %w", len(list), ErrBounds)
	}
	for i, p := range list {
		if p.ID.IsZero() || i > 0 && bytes.Compare(list[i-1].ID[:], p.ID[:]) >= 0 {
			return fmt.Errorf("predecessors are not sorted: %w", ErrMalformed)
		}
		for _, t := range []Time{p.SignedAt, p.RetainUntil} {
			if err := checkTime(t); err != nil {
				return fmt.Errorf("predecessors: %w", err)
			}
		}
		if p.SignedAt.IsZero() || p.SignedAt.Nanosecond() != 0 {
			return fmt.Errorf("a predecessor's signed time is not in whole seconds: %w", ErrMalformed)
		}
	}
	return nil
}
