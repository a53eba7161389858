package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// What an image is cut into.
const (
	ImageBlock = 512 << 10 // bytes of a block: each that is not all zeros is one chunk
	ImageRange = 1 << 30   // bytes of a range: one extent
)

// imageDomain begins what an image's sum is taken of.
const imageDomain = "holdfast/1/image\x00"

// RangeSum computes the sum of one range of an image, which stands in its extent: the SHA-256 of, for each block of the
// range that is not all zeros, in order, the block's number within the image (8 bytes, big-endian) and its SHA-256. A range
// of zeros has the zero sum. The zero value is ready.
type RangeSum struct{ h hash.Hash }

// Block adds a block that is not all zeros.
func (r *RangeSum) Block(n int64, sum Hash) {
	if r.h == nil {
		r.h = sha256.New()
	}
	var b [40]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	copy(b[8:], sum[:])
	r.h.Write(b[:])
}

// Sum gives the range's sum.
func (r *RangeSum) Sum() (sum Hash) {
	if r.h != nil {
		r.h.Sum(sum[:0])
	}
	return sum
}

// ImageSum computes the sum that stands in an image entry's sha256: the SHA-256 of "holdfast/1/image", a zero byte, the
// image's size (8 bytes, big-endian) and, for each range that is not all zeros, in order, its number (8 bytes) and sum. So
// a writer knows it without the bytes of blocks that have not changed, and a reader that has checked each chunk needs not
// hash again. Everything is added in order, from the beginning to the end. It belongs to one goroutine.
type ImageSum struct {
	size  int64
	at    int64 // bytes added
	total hash.Hash
	cur   RangeSum // of the range that at is in
	block []byte   // bytes of a block that is not whole yet
}

// NewImageSum starts the sum of an image of size bytes.
func NewImageSum(size int64) *ImageSum {
	s := &ImageSum{size: size, total: sha256.New()}
	s.total.Write([]byte(imageDomain))
	s.number(size)
	return s
}

func (s *ImageSum) number(n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	s.total.Write(b[:])
}

// Write adds content bytes as they come. It implements io.Writer and never fails.
func (s *ImageSum) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(s.block) == 0 && len(p) >= ImageBlock {
			s.whole(p[:ImageBlock])
			p = p[ImageBlock:]
			continue
		}
		k := min(ImageBlock-len(s.block), len(p))
		s.block = append(s.block, p[:k]...)
		p = p[k:]
		if len(s.block) == ImageBlock {
			s.whole(s.block)
			s.block = s.block[:0]
		}
	}
	return n, nil
}

// whole adds a block's bytes.
func (s *ImageSum) whole(b []byte) {
	if bytes.Count(b, []byte{0}) == len(b) {
		s.advance(int64(len(b)))
		return
	}
	s.data(sha256.Sum256(b), int64(len(b)))
}

// Zeros adds n zero bytes. Where a block has been begun by Write they go on with it.
func (s *ImageSum) Zeros(n int64) {
	var zeros [4 << 10]byte
	for n > 0 && len(s.block) > 0 {
		k := min(n, int64(ImageBlock-len(s.block)), int64(len(zeros)))
		_, _ = s.Write(zeros[:k])
		n -= k
	}
	whole := n / ImageBlock * ImageBlock
	s.advance(whole)
	for n -= whole; n > 0; {
		k := min(n, int64(len(zeros)))
		_, _ = s.Write(zeros[:k])
		n -= k
	}
}

// Chunk adds a chunk whose bytes are known to have the hash it says. In an image it is one block, or a hole of whole ones.
func (s *ImageSum) Chunk(c Chunk) error {
	if err := c.checkInImage(s.at, s.size); err != nil {
		return err
	}
	if c.Hole {
		s.advance(c.Size)
	} else {
		s.data(c.Sum, c.Size)
	}
	return nil
}

// Range adds a whole range, or what the image has of its last one, by its sum.
func (s *ImageSum) Range(sum Hash, size int64) {
	s.endRange(s.at/ImageRange, sum)
	s.at += size
}

func (s *ImageSum) data(sum Hash, size int64) {
	s.cur.Block(s.at/ImageBlock, sum)
	s.advance(size)
}

// advance moves on and ends the ranges that are over.
func (s *ImageSum) advance(n int64) {
	before := s.at / ImageRange
	s.at += n
	if s.at/ImageRange != before {
		s.endRange(before, s.cur.Sum())
		s.cur = RangeSum{}
	}
}

func (s *ImageSum) endRange(n int64, sum Hash) {
	if !sum.IsZero() {
		s.number(n)
		s.total.Write(sum[:])
	}
}

// Sum gives the image's sum, once everything was added.
func (s *ImageSum) Sum() (sum Hash) {
	if len(s.block) > 0 {
		s.whole(s.block)
		s.block = s.block[:0]
	}
	s.endRange(s.at/ImageRange, s.cur.Sum())
	s.cur = RangeSum{}
	s.total.Sum(sum[:0])
	return sum
}

// checkInImage holds a chunk at a position of an image to what an image is made of.
func (c *Chunk) checkInImage(at, size int64) error {
	end := at + c.Size
	switch {
	case at%ImageBlock != 0 || end > size || end%ImageBlock != 0 && end != size:
		return fmt.Errorf("chunk of %d bytes at %d of an image of %d: %w", c.Size, at, size, ErrMalformed)
	case !c.Hole && c.Size != min(ImageBlock, size-at):
		return fmt.Errorf("chunk of %d bytes at %d is no block of an image: %w", c.Size, at, ErrMalformed)
	}
	return nil
}
