package restore

import (
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// whole checks the content of an entry as one, piece by piece as it goes by.
type whole struct {
	e     *format.Entry
	sum   *format.ContentSum // neither: the one chunk's hash is the whole's
	image *format.ImageSum   // of an image, whose chunks were checked one by one
}

func newWhole(e *format.Entry) *whole {
	w := &whole{e: e}
	switch {
	case e.Kind == format.KindImage:
		w.image = format.NewImageSum(e.Size)
	case !isOneChunk(e):
		w.sum = e.NewSum()
	}
	return w
}

func (w *whole) add(c format.Chunk, p Piece) error {
	if w.image != nil {
		return w.image.Chunk(c)
	}
	if w.sum != nil {
		_, _ = w.sum.Write(p.Data) // a hash does not fail
		w.sum.Zeros(p.Hole)
	}
	return nil
}

// check says at the end whether it was what the entry says.
func (w *whole) check() error {
	if w.image != nil && w.image.Sum() != w.e.SHA256 {
		return mismatch("its sum is not the manifest's")
	}
	if w.sum != nil && w.sum.Sum() != w.e.SHA256 {
		return mismatch("its SHA-256 is not the manifest's")
	}
	return nil
}
