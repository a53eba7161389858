package pack

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	// window is how far back a frame refers. Frames are about 1 MiB; an encoder keeps memory in proportion to it.
	window = 1 << 20
	// maxParallel bounds how many frames are coded at once by one Encoder or Decoder, and with it the memory kept: about
	// 4 MiB each for encoding.
	maxParallel = 16
	// spare is room behind the decoded bytes that lets the library write in large steps to the end.
	spare = 64
)

func parallel() int { return min(runtime.GOMAXPROCS(0), maxParallel) }

// Encoder makes frames. It is safe for concurrent use; more callers than processors wait their turn.
type Encoder struct{ z *zstd.Encoder }

// NewEncoder makes an encoder. Its buffers are reused from frame to frame: make one and share it.
func NewEncoder() (*Encoder, error) { return newEncoder(zstd.SpeedDefault) }

// NewListEncoder makes an encoder for pages of plain lists, most of whose bytes are hashes: it takes a third of the time for these, and
// they shrink no less.
func NewListEncoder() (*Encoder, error) { return newEncoder(zstd.SpeedFastest) }

func newEncoder(level zstd.EncoderLevel) (*Encoder, error) {
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithWindowSize(window),
		zstd.WithEncoderConcurrency(parallel()),
		// age and the object's name vouch for the bytes already.
		zstd.WithEncoderCRC(false),
		zstd.WithZeroFrames(true),
		// So that every frame states its size: small ones would not otherwise. References reach no further back for it.
		zstd.WithSingleSegment(true),
	)
	if err != nil {
		return nil, fmt.Errorf("making a zstd encoder: %w", err)
	}
	return &Encoder{z}, nil
}

// Frame appends one zstd frame that holds plain, at most format.MaxFrame bytes, and gives the extended slice. Bytes that
// do not shrink are stored in raw blocks; a frame is at most MaxFrameLength bytes.
func (e *Encoder) Frame(dst, plain []byte) []byte {
	if len(plain) >= sampledFrom && e.noise(plain) {
		return appendRaw(dst, plain)
	}
	dst = slices.Grow(dst, e.z.MaxEncodedSize(len(plain)))
	out := e.z.EncodeAll(plain, dst)
	frame := out[len(dst):]
	if len(frame) < len(plain) {
		return out
	}
	// The encoder keeps blocks raw that do not shrink, so most often this is a raw frame already.
	if s, err := whole(frame); err == nil && s.raw {
		return out
	}
	return appendRaw(dst, plain)
}

const (
	sampledFrom = 256 << 10 // frames from this size are looked at first
	stride      = 8 << 10   // a look every so many bytes ..
	look        = 512       // .. at so many
	tried       = 32 << 10  // bytes in the middle that are tried
)

// noise reports whether plain looks as if it would not shrink: wherever one looks its bytes are spread evenly, and a piece
// from its middle that was tried did not get smaller. Encrypted and compressed content then costs no time; a wrong answer
// costs some space. Many small files share a frame, so a look at one place is not enough.
func (e *Encoder) noise(plain []byte) bool {
	var count [256]int
	looks := 0
	for at := 0; at+look <= len(plain); at += stride {
		high := 0
		for _, b := range plain[at:][:look] {
			count[b]++
			high += int(b >> 7)
		}
		// Half of them are to be expected, give or take 11: text has none.
		if high < look/2-66 || high > look/2+66 {
			return false
		}
		looks++
	}
	for _, n := range count {
		if mean := looks * look / 256; n < mean/2 || n > mean+mean/2 {
			return false
		}
	}
	mid := plain[len(plain)/2:][:tried]
	return len(e.z.EncodeAll(mid, make([]byte, 0, tried+1024))) >= tried
}

// Decoder turns frames back into bytes. It is safe for concurrent use.
type Decoder struct{ z *zstd.Decoder }

// NewDecoder makes a decoder. Its buffers are reused from frame to frame: make one and share it.
func NewDecoder() (*Decoder, error) { return newDecoder(parallel()) }

func newDecoder(n int) (*Decoder, error) {
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(n),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(format.MaxFrame),
		zstd.WithDecoderMaxWindow(format.MaxFrame),
	)
	if err != nil {
		return nil, fmt.Errorf("making a zstd decoder: %w", err)
	}
	return &Decoder{z}, nil
}

// Frame appends what the frame holds, which must be plain bytes long, and gives the extended slice. frame must be exactly
// one zstd frame. Sizes are checked against format.MaxFrame and against each other before anything is allocated.
// Errors wrap [ErrDamaged].
func (d *Decoder) Frame(dst, frame []byte, plain int64) ([]byte, error) {
	s, err := whole(frame)
	if err != nil {
		return nil, err
	}
	if s.plain != plain {
		return nil, fmt.Errorf("%w: a frame of %d bytes where %d were expected", ErrDamaged, s.plain, plain)
	}
	// The library's bound counts what stands before, so it is given an empty slice over the room behind dst.
	dst = slices.Grow(dst, int(plain)+spare)
	out, err := d.z.DecodeAll(frame, dst[len(dst):])
	if err != nil {
		return nil, fmt.Errorf("%w: decoding a frame: %v", ErrDamaged, err)
	}
	if int64(len(out)) != plain {
		return nil, fmt.Errorf("%w: a frame gave %d bytes where %d were expected", ErrDamaged, len(out), plain)
	}
	whole := dst[:len(dst)+len(out)]
	if len(out) > 0 && &out[0] != &whole[len(dst)] {
		copy(whole[len(dst):], out)
	}
	return whole, nil
}
