package format

import (
	"bytes"
	"fmt"
)

// Bounds on index segments and placements, which are read whole: one is one frame. A writer that has more writes several.
const (
	MaxSegment      = MaxFrame // plain bytes, header and signature included
	MaxSegmentLines = 1 << 16
	maxHeader       = 4 << 10
)

// EncodePlacements writes the plain form of a placements object; h's Format, Kind and Lines are set here. sign is given
// everything before the signature line.
func EncodePlacements(h SegmentHeader, lines []Placement, sign func(msg []byte) []byte) ([]byte, error) {
	h.Kind = KindPlacements
	return encodeSegment(h, len(lines), func(i int, b []byte) ([]byte, error) { return lines[i].AppendLine(b) }, sign)
}

// DecodePlacements reads the plain form of a placements object. verify is asked before any line is looked at; its no is
// ErrSignature.
func DecodePlacements(plain []byte, verify func(msg, sig []byte) bool) (SegmentHeader, []Placement, error) {
	var lines []Placement
	h, err := decodeSegment(plain, KindPlacements, verify, func(n int) { lines = make([]Placement, 0, n) }, func(line []byte) error {
		p, err := ParsePlacement(line)
		lines = append(lines, p)
		return err
	})
	if err != nil {
		return SegmentHeader{}, nil, err
	}
	return h, lines, nil
}

// EncodeIndex writes the plain form of an index segment; see EncodePlacements.
func EncodeIndex(h SegmentHeader, lines []IndexLine, sign func(msg []byte) []byte) ([]byte, error) {
	h.Kind = KindIndex
	return encodeSegment(h, len(lines), func(i int, b []byte) ([]byte, error) { return lines[i].AppendLine(b) }, sign)
}

// DecodeIndex reads the plain form of an index segment; see DecodePlacements.
func DecodeIndex(plain []byte, verify func(msg, sig []byte) bool) (SegmentHeader, []IndexLine, error) {
	var lines []IndexLine
	h, err := decodeSegment(plain, KindIndex, verify, func(n int) { lines = make([]IndexLine, 0, n) }, func(line []byte) error {
		l, err := ParseIndexLine(line)
		lines = append(lines, l)
		return err
	})
	if err != nil {
		return SegmentHeader{}, nil, err
	}
	return h, lines, nil
}

func encodeSegment(h SegmentHeader, n int, line func(int, []byte) ([]byte, error), sign func([]byte) []byte) ([]byte, error) {
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
	if b, err = appendSignature(b, sign); err != nil {
		return fail(err)
	}
	if len(b) > MaxSegment {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	return b, nil
}

func decodeSegment(plain []byte, kind string, verify func(msg, sig []byte) bool, start func(n int), line func([]byte) error) (SegmentHeader, error) {
	h, msg, sig, err := segmentHeader(plain, kind)
	if err != nil {
		return SegmentHeader{}, fmt.Errorf("%s: %w", kind, err)
	}
	if !verify(msg, sig) {
		return SegmentHeader{}, fmt.Errorf("%s: %w", kind, ErrSignature)
	}
	_, rest, _ := bytes.Cut(msg, []byte{'\n'})
	if n := bytes.Count(rest, []byte{'\n'}); n != h.Lines {
		return SegmentHeader{}, fmt.Errorf("%s: %d lines instead of %d: %w", kind, n, h.Lines, ErrMalformed)
	}
	start(h.Lines)
	for i := range h.Lines {
		var l []byte
		l, rest, _ = bytes.Cut(rest, []byte{'\n'})
		if err := line(l); err != nil {
			return SegmentHeader{}, fmt.Errorf("%s: line %d: %w", kind, i, err)
		}
	}
	return h, nil
}

// segmentHeader reads first and last line.
func segmentHeader(plain []byte, kind string) (h SegmentHeader, msg, sig []byte, err error) {
	if len(plain) > MaxSegment {
		return h, nil, nil, fmt.Errorf("%d bytes: %w", len(plain), ErrBounds)
	}
	if err := checkHead(plain, kind); err != nil {
		return h, nil, nil, err
	}
	if msg, sig, err = splitSignature(plain); err != nil {
		return h, nil, nil, err
	}
	n := bytes.IndexByte(msg[:min(len(msg), maxHeader)], '\n')
	if n < 0 {
		return h, nil, nil, fmt.Errorf("header: %w", ErrBounds)
	}
	if err := unmarshal(msg[:n+1], &h); err != nil {
		return h, nil, nil, err
	}
	return h, msg, sig, h.check(kind)
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
