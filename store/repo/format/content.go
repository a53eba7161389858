package format

import (
	"crypto/sha256"
	"hash"
)

// SparseOver is from how many bytes of holes on a writer takes the image sum of a file's content instead of its SHA-256, and
// marks it sparse: hashing zeros takes ten minutes a TiB, at the writing and at each reading, and a file of holes can have any size.
const SparseOver = 64 << 20

// ContentSum computes what stands in an entry's SHA256 from the bytes of its content, in order: their SHA-256, or their image
// sum. It belongs to one goroutine.
type ContentSum struct {
	plain hash.Hash
	image *ImageSum
}

// NewSum starts the sum of an entry's content.
func (e *Entry) NewSum() *ContentSum {
	if e.Kind == KindImage || e.Sparse {
		return &ContentSum{image: NewImageSum(e.Size)}
	}
	return &ContentSum{plain: sha256.New()}
}

// Write adds bytes. It implements io.Writer and never fails.
func (s *ContentSum) Write(p []byte) (int, error) {
	if s.image != nil {
		return s.image.Write(p)
	}
	return s.plain.Write(p)
}

// zeroBlock is what holes are made of.
var zeroBlock [64 << 10]byte

// Zeros adds n zero bytes. Of an image or a sparse file they cost nothing.
func (s *ContentSum) Zeros(n int64) {
	if s.image != nil {
		s.image.Zeros(n)
		return
	}
	for ; n > 0; n -= int64(len(zeroBlock)) {
		s.plain.Write(zeroBlock[:min(n, int64(len(zeroBlock)))])
	}
}

// Sum gives the sum, once everything was added.
func (s *ContentSum) Sum() Hash {
	if s.image != nil {
		return s.image.Sum()
	}
	return Hash(s.plain.Sum(nil))
}
