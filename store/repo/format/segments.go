package format

import (
	"bytes"
	"fmt"
)

// Bounds on index segments and placements, which are read whole: one is one frame. A writer that has more writes several.
const (
	MaxSegment      = MaxFrame // plain bytes, header and signature included
	MaxSegmentLines = 1 << 16
	maxHeader       = 4<<10 + MaxExt
	maxIndexFrames  = 64 // index segments in one meta object
)

// EncodePlacements writes the plain form of a placements object; h's Format, Kind and Lines are set here. The signature in
// the object's name vouches for it, see PlacementsID.
func EncodePlacements(h SegmentHeader, lines []Placement) ([]byte, error) {
	h.Kind = KindPlacements
	b, err := encodeSegment(h, len(lines), func(i int, b []byte) ([]byte, error) { return lines[i].AppendLine(b) })
	if err == nil && len(b) > MaxSegment {
		err = fmt.Errorf("encode %s: %d bytes: %w", h.Kind, len(b), ErrBounds)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// DecodePlacements reads the plain form of a placements object. The caller has verified the signature in its name, and
// that the stored bytes have the hash in it.
func DecodePlacements(plain []byte) (SegmentHeader, []Placement, error) {
	if err := checkSegment(plain, KindPlacements); err != nil {
		return SegmentHeader{}, nil, err
	}
	var lines []Placement
	h, err := decodeSegment(plain, KindPlacements, func(n int) { lines = make([]Placement, 0, n) }, func(line []byte) error {
		p, err := ParsePlacement(line)
		lines = append(lines, p)
		return err
	})
	if err != nil {
		return SegmentHeader{}, nil, err
	}
	return h, lines, nil
}

// EncodeIndex writes the plain form of an index segment; h's Format, Kind and Lines are set here. sign is given everything
// before the signature line.
func EncodeIndex(h SegmentHeader, lines []IndexLine, sign func(msg []byte) []byte) ([]byte, error) {
	h.Kind = KindIndex
	b, err := encodeSegment(h, len(lines), func(i int, b []byte) ([]byte, error) { return lines[i].AppendLine(b) })
	if err != nil {
		return nil, err
	}
	if b, err = appendSignature(b, sign); err != nil {
		return nil, fmt.Errorf("encode %s: %w", h.Kind, err)
	}
	if len(b) > MaxSegment {
		return nil, fmt.Errorf("encode %s: %d bytes: %w", h.Kind, len(b), ErrBounds)
	}
	return b, nil
}

// DecodeIndex reads the plain form of an index segment. verify is asked before any line is looked at; its no is
// ErrSignature.
func DecodeIndex(plain []byte, verify func(msg, sig []byte) bool) (SegmentHeader, []IndexLine, error) {
	if err := checkSegment(plain, KindIndex); err != nil {
		return SegmentHeader{}, nil, err
	}
	msg, sig, err := splitSignature(plain)
	if err != nil {
		return SegmentHeader{}, nil, fmt.Errorf("%s: %w", KindIndex, err)
	}
	if !verify(msg, sig) {
		return SegmentHeader{}, nil, fmt.Errorf("%s: %w", KindIndex, ErrSignature)
	}
	var lines []IndexLine
	h, err := decodeSegment(msg, KindIndex, func(n int) { lines = make([]IndexLine, 0, n) }, func(line []byte) error {
		l, err := ParseIndexLine(line)
		lines = append(lines, l)
		return err
	})
	if err != nil {
		return SegmentHeader{}, nil, err
	}
	return h, lines, nil
}

// encodeSegment writes header and lines.
func encodeSegment(h SegmentHeader, n int, line func(int, []byte) ([]byte, error)) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("encode %s: %w", h.Kind, err) }
	h.Format, h.Lines = Version, n
	if err := h.check(h.Kind); err != nil {
		return fail(err)
	}
	b, err := marshal(h)
	if err != nil {
		return fail(err)
	}
	for i := range n {
		if b, err = line(i, b); err != nil {
			return fail(fmt.Errorf("line %d: %w", i, err))
		}
	}
	return b, nil
}

// checkSegment bounds a segment and knows its format and kind, before anything else is looked at.
func checkSegment(plain []byte, kind string) error {
	if len(plain) > MaxSegment {
		return fmt.Errorf("%s: %d bytes: %w", kind, len(plain), ErrBounds)
	}
	if err := checkHead(plain, kind); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

// decodeSegment reads header and lines; start is told how many lines there are.
func decodeSegment(msg []byte, kind string, start func(n int), line func([]byte) error) (SegmentHeader, error) {
	fail := func(err error) (SegmentHeader, error) { return SegmentHeader{}, fmt.Errorf("%s: %w", kind, err) }
	var h SegmentHeader
	n := bytes.IndexByte(msg[:min(len(msg), maxHeader)], '\n')
	if n < 0 {
		return fail(fmt.Errorf("header: %w", ErrBounds))
	}
	if err := unmarshal(msg[:n+1], &h); err != nil {
		return fail(err)
	}
	if err := h.check(kind); err != nil {
		return fail(err)
	}
	rest := msg[n+1:]
	if n := bytes.Count(rest, []byte{'\n'}); n != h.Lines || len(rest) > 0 && rest[len(rest)-1] != '\n' {
		return fail(fmt.Errorf("%d lines instead of %d: %w", n, h.Lines, ErrMalformed))
	}
	start(h.Lines)
	for i := range h.Lines {
		var l []byte
		l, rest, _ = bytes.Cut(rest, []byte{'\n'})
		if err := line(l); err != nil {
			return fail(fmt.Errorf("line %d: %w", i, err))
		}
	}
	return h, nil
}

func (h *SegmentHeader) check(kind string) error {
	if err := checkKindOf(h.Format, h.Kind, kind); err != nil {
		return err
	}
	if h.Repository.IsZero() {
		return fmt.Errorf("no repository: %w", ErrMalformed)
	}
	if (h.Vault != "") != (kind == KindPlacements) || h.Vault != "" && !ValidName(h.Vault) {
		return fmt.Errorf("vault %q: %w", clip([]byte(h.Vault)), ErrMalformed)
	}
	if h.Lines < 0 || h.Lines > MaxSegmentLines {
		return fmt.Errorf("%d lines: %w", h.Lines, ErrBounds)
	}
	return checkTime(h.Written)
}
