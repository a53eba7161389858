package format

import (
	"bytes"
	"cmp"
	"fmt"
)

// Bounds on index segments, each of which is one frame, and on placements objects, which may have several.
const (
	MaxSegment        = MaxFrame // plain bytes of an index segment, header and signature included
	MaxSegmentLines   = 1 << 16
	MaxPlacements     = 1 << 18 // lines of a placements object, in all its frames
	MaxReplaces       = 1 << 10
	maxHeader         = 4<<10 + MaxExt
	maxPlacementsHead = 128 << 10
	maxIndexFrames    = 64 // index segments in one meta object
)

// EncodePlacements writes the plain form of a placements object of a single frame; h's Format, Kind and Lines are set here.
// The signature in the object's name vouches for it, see PlacementsID.
func EncodePlacements(h SegmentHeader, lines []Placement) ([]byte, error) {
	h.Kind = KindPlacements
	b, err := encodeSegment(h, len(lines), func(i int, b []byte) ([]byte, error) { return lines[i].AppendLine(b) })
	if err == nil && len(b) > MaxFrame {
		err = fmt.Errorf("encode %s: %d bytes: %w", h.Kind, len(b), ErrBounds)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// PlacementsDecoder reads a placements object frame by frame. The caller has verified the signature in its name, and that
// the stored bytes have the hash in it.
type PlacementsDecoder struct {
	Header SegmentHeader
	Lines  []Placement
	begun  bool
}

// Frame takes the next frame: the first one begins with the header, all hold whole lines.
func (d *PlacementsDecoder) Frame(plain []byte) error {
	if err := d.frame(plain); err != nil {
		return fmt.Errorf("%s: %w", KindPlacements, err)
	}
	return nil
}

func (d *PlacementsDecoder) frame(plain []byte) (err error) {
	if !d.begun {
		if err := checkHead(plain, KindPlacements); err != nil {
			return err
		}
		if d.Header, plain, err = cutHeader(plain, KindPlacements); err != nil {
			return err
		}
		d.begun = true
	} else if len(plain) == 0 {
		return fmt.Errorf("an empty frame: %w", ErrMalformed)
	}
	if n := len(d.Lines) + bytes.Count(plain, []byte{'\n'}); n > d.Header.Lines || len(plain) > 0 && plain[len(plain)-1] != '\n' {
		return fmt.Errorf("%d lines instead of %d: %w", n, d.Header.Lines, ErrMalformed)
	}
	for len(plain) > 0 {
		var line []byte
		line, plain, _ = bytes.Cut(plain, []byte{'\n'})
		p, err := ParsePlacement(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", len(d.Lines), err)
		}
		d.Lines = append(d.Lines, p)
	}
	return nil
}

// Done is called behind the last frame.
func (d *PlacementsDecoder) Done() error {
	if !d.begun || len(d.Lines) != d.Header.Lines {
		return fmt.Errorf("%s: %d lines instead of %d: %w", KindPlacements, len(d.Lines), d.Header.Lines, ErrMalformed)
	}
	return nil
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
	h, rest, err := cutHeader(msg, kind)
	if err != nil {
		return fail(err)
	}
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

// cutHeader reads the header, and gives what stands behind it.
func cutHeader(msg []byte, kind string) (h SegmentHeader, rest []byte, err error) {
	most := maxHeader
	if kind == KindPlacements {
		most = maxPlacementsHead
	}
	n := bytes.IndexByte(msg[:min(len(msg), most)], '\n')
	if n < 0 {
		return h, nil, fmt.Errorf("header: %w", ErrBounds)
	}
	if err := unmarshal(msg[:n+1], &h); err != nil {
		return SegmentHeader{}, nil, err
	}
	if err := h.check(kind); err != nil {
		return SegmentHeader{}, nil, err
	}
	return h, msg[n+1:], nil
}

func (h *SegmentHeader) check(kind string) error {
	if err := checkKindOf(h.Format, h.Kind, kind); err != nil {
		return err
	}
	if h.Repository.IsZero() {
		return fmt.Errorf("no repository: %w", ErrMalformed)
	}
	index := kind == KindIndex
	if h.Descriptor.IsZero() == index || h.ChunkKey.IsZero() == index {
		return fmt.Errorf("descriptor and chunk key stand in each index segment and nowhere else: %w", ErrMalformed)
	}
	if (h.Vault != "") != (kind == KindPlacements) || h.Vault != "" && !ValidName(h.Vault) {
		return fmt.Errorf("vault %q: %w", clip([]byte(h.Vault)), ErrMalformed)
	}
	most := MaxSegmentLines
	if kind == KindPlacements {
		most = MaxPlacements
	}
	if h.Lines < 0 || h.Lines > most {
		return fmt.Errorf("%d lines: %w", h.Lines, ErrBounds)
	}
	return cmp.Or(checkTime(h.Written), h.checkReplaces(kind))
}

// checkReplaces: hashes in ascending order, none twice, and in placements only.
func (h *SegmentHeader) checkReplaces(kind string) error {
	if len(h.Replaces) > 0 && kind != KindPlacements {
		return fmt.Errorf("replaces: %w", ErrMalformed)
	}
	if len(h.Replaces) > MaxReplaces {
		return fmt.Errorf("replaces %d objects: %w", len(h.Replaces), ErrBounds)
	}
	var last Hash
	for _, r := range h.Replaces {
		if bytes.Compare(r[:], last[:]) <= 0 { // no hash is zero
			return fmt.Errorf("replaces is not in order: %w", ErrMalformed)
		}
		last = r
	}
	return nil
}
