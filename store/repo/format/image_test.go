package format

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// imageSumOf computes the sum as docs/format.md says it, the plain way.
func imageSumOf(b []byte) Hash {
	total := sha256.New()
	total.Write([]byte("holdfast/1/image\x00"))
	total.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	for from := 0; from < len(b); from += ImageRange {
		var r []byte
		for at := from; at < min(from+ImageRange, len(b)); at += ImageBlock {
			block := b[at:min(at+ImageBlock, len(b))]
			if !bytes.Equal(block, make([]byte, len(block))) {
				sum := sha256.Sum256(block)
				r = append(binary.BigEndian.AppendUint64(r, uint64(at/ImageBlock)), sum[:]...)
			}
		}
		if r != nil {
			sum := sha256.Sum256(r)
			total.Write(binary.BigEndian.AppendUint64(nil, uint64(from/ImageRange)))
			total.Write(sum[:])
		}
	}
	return Hash(total.Sum(nil))
}

// However the content is added, its sum is the one the specification describes.
func TestImageSum(t *testing.T) {
	if testing.Short() { // nothing runs beside it, and the race detector would keep notes of 2 GiB
		return
	}
	b := make([]byte, 2*ImageRange+3*ImageBlock+512)
	for _, at := range []int{0, 3*ImageBlock + 17, ImageRange - 1, 2 * ImageRange, 2*ImageRange + 3*ImageBlock + 511} {
		b[at] = 7
	}
	want := imageSumOf(b)
	s := NewImageSum(int64(len(b)))
	for rest := b; len(rest) > 0; { // in pieces that are no blocks
		n := min(len(rest), 700_001)
		_, _ = s.Write(rest[:n])
		rest = rest[n:]
	}
	if got := s.Sum(); got != want {
		t.Errorf("written: %s, not %s", got, want)
	}
	s = NewImageSum(int64(len(b)))
	ranges := NewImageSum(int64(len(b)))
	var r RangeSum
	for at := 0; at < len(b); at += ImageBlock {
		block := b[at:min(at+ImageBlock, len(b))]
		c := Chunk{Hole: true, Size: int64(len(block))}
		if !bytes.Equal(block, make([]byte, len(block))) {
			c = Chunk{Pack: Hash{1}, Size: int64(len(block)), Sum: sha256.Sum256(block)}
			r.Block(int64(at/ImageBlock), c.Sum)
		}
		if err := s.Chunk(c); err != nil {
			t.Fatal(err)
		}
		if end := at + len(block); end%ImageRange == 0 || end == len(b) {
			ranges.Range(r.Sum(), int64(end-at/ImageRange*ImageRange))
			r = RangeSum{}
		}
	}
	if got := s.Sum(); got != want {
		t.Errorf("by chunks: %s, not %s", got, want)
	}
	if got := ranges.Sum(); got != want {
		t.Errorf("by ranges: %s, not %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := NewImageSum(4 * ImageBlock)
		var all []byte
		for len(all) < 4*ImageBlock {
			n := min(rapid.SampledFrom([]int{1, 5000, ImageBlock - 1, ImageBlock, 2*ImageBlock + 1}).Draw(t, "n"), 4*ImageBlock-len(all))
			if rapid.Bool().Draw(t, "zeros") {
				s.Zeros(int64(n))
				all = append(all, make([]byte, n)...)
				continue
			}
			piece := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, n)
			_, _ = s.Write(piece)
			all = append(all, piece...)
		}
		if s.Sum() != imageSumOf(all) {
			t.Fatal("another sum")
		}
	})
}

// A chunk that is no block of the image is refused.
func TestImageChunks(t *testing.T) {
	for _, c := range []Chunk{{Size: 1000, Sum: Hash{1}}, {Size: 2 * ImageBlock, Sum: Hash{1}}, {Hole: true, Size: 1000}, {Hole: true, Size: 5 * ImageBlock}} {
		if err := NewImageSum(4 * ImageBlock).Chunk(c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}
