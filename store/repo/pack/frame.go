package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	maxBlock    = 128 << 10 // zstd's limit on a block, plain and stored
	blockHeader = 3
	checksumLen = 4

	blockRaw        = 0
	blockRLE        = 1
	blockCompressed = 2
)

// shape is what a frame's header and the headers of its blocks say, learned without decoding a byte.
type shape struct {
	length int64 // of the stored frame
	plain  int64 // as the header states it
	first  int   // where the first block starts
	raw    bool  // every block is stored as it is
	summed bool  // a checksum follows the blocks
}

// errShort: the bytes end before the frame does. It never leaves the package bare.
var errShort = errors.New("frame is cut short")

// measure reads the shape of the frame that b starts with. It refuses what this format does not use: skippable frames,
// dictionaries, a missing content size, and sizes beyond the bounds. Errors wrap ErrDamaged, or are errShort where more
// bytes might help.
func measure(b []byte) (shape, error) {
	var h zstd.Header
	switch err := h.Decode(b); {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return shape{}, errShort
	case err != nil:
		return shape{}, fmt.Errorf("%w: no zstd frame: %v", ErrDamaged, err)
	case h.Skippable || h.DictionaryID != 0:
		return shape{}, fmt.Errorf("%w: a skippable frame or one with a dictionary", ErrDamaged)
	case !h.HasFCS || h.FrameContentSize > format.MaxFrame:
		return shape{}, fmt.Errorf("%w: the frame does not state a size up to %d bytes", ErrDamaged, format.MaxFrame)
	case h.WindowSize > format.MaxFrame:
		return shape{}, fmt.Errorf("%w: the frame asks for a window of %d bytes", ErrDamaged, h.WindowSize)
	}
	s := shape{plain: int64(h.FrameContentSize), first: h.HeaderSize, summed: h.HasCheckSum}
	if err := s.walk(b, h.HeaderSize); err != nil {
		return shape{}, err
	}
	if h.HasCheckSum {
		s.length += checksumLen
	}
	if s.length > MaxFrameLength {
		return shape{}, fmt.Errorf("%w: a frame of more than %d stored bytes", ErrDamaged, int64(MaxFrameLength))
	}
	if s.length > int64(len(b)) {
		return shape{}, errShort
	}
	return s, nil
}

// walk goes over the block headers from at on, and checks that the blocks can hold the stated size.
func (s *shape) walk(b []byte, at int) error {
	s.raw = true
	var most int64 // plain bytes that the blocks can give at most
	for last := false; !last; {
		if at > MaxFrameLength {
			return fmt.Errorf("%w: a frame of more than %d stored bytes", ErrDamaged, int64(MaxFrameLength))
		}
		if at+blockHeader > len(b) {
			return errShort
		}
		var kind, size int
		last, kind, size = block(b[at:])
		if size > maxBlock {
			return fmt.Errorf("%w: a block of %d bytes", ErrDamaged, size)
		}
		at += blockHeader
		switch kind {
		case blockRaw:
			most += int64(size)
			at += size
		case blockRLE:
			most += int64(size)
			at++
			s.raw = false
		case blockCompressed:
			most += maxBlock
			at += size
			s.raw = false
		default:
			return fmt.Errorf("%w: a block of a kind that does not exist", ErrDamaged)
		}
	}
	if most < s.plain {
		return fmt.Errorf("%w: the frame states %d bytes and its blocks hold at most %d", ErrDamaged, s.plain, most)
	}
	s.length = int64(at)
	return nil
}

// block reads a block's header, the first three bytes of b: RFC 8878, section 3.1.1.2.
func block(b []byte) (last bool, kind, size int) {
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	return h&1 != 0, int(h >> 1 & 3), int(h >> 3)
}

// whole is measure for exactly one frame: nothing may be missing and nothing may follow.
func whole(frame []byte) (shape, error) {
	s, err := measure(frame)
	if err == errShort {
		return shape{}, fmt.Errorf("%w: %v", ErrDamaged, err)
	}
	if err != nil {
		return shape{}, err
	}
	if s.length != int64(len(frame)) {
		return shape{}, fmt.Errorf("%w: %d bytes follow the frame", ErrDamaged, int64(len(frame))-s.length)
	}
	return s, nil
}

// rawLength is the most that appendRaw makes of so many plain bytes.
func rawLength(plain int64) int64 { return plain + 9 + blockHeader*(plain/maxBlock+1) }

// unraw moves the blocks of a frame of shape s together at the frame's own beginning, and gives them: the plain bytes of a
// frame whose blocks are all raw. The frame is gone.
func unraw(frame []byte, s shape) ([]byte, error) {
	n, at := 0, s.first
	for last := false; !last; {
		var size int
		last, _, size = block(frame[at:])
		at += blockHeader
		n += copy(frame[n:], frame[at:at+size])
		at += size
	}
	if int64(n) != s.plain {
		return nil, fmt.Errorf("%w: the frame states %d bytes and holds %d", ErrDamaged, s.plain, n)
	}
	return frame[:n], nil
}

// appendRaw appends a frame that holds plain as it is, in raw blocks.
func appendRaw(dst, plain []byte) []byte {
	const (
		magic         = 0xFD2FB528
		singleSegment = 1 << 5
	)
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	switch n := len(plain); {
	case n < 1<<8:
		dst = append(dst, singleSegment, byte(n))
	case n < 1<<16+1<<8:
		dst = append(dst, 1<<6|singleSegment)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n-1<<8))
	default:
		dst = append(dst, 2<<6|singleSegment)
		dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
	}
	for {
		block := plain[:min(len(plain), maxBlock)]
		plain = plain[len(block):]
		h := uint32(len(block))<<3 | blockRaw<<1
		if len(plain) == 0 {
			h |= 1
		}
		dst = append(dst, byte(h), byte(h>>8), byte(h>>16))
		dst = append(dst, block...)
		if len(plain) == 0 {
			return dst
		}
	}
}
