package pack

import (
	"errors"
	"io"
)

// forward is a stretch of a stored object that comes as it is read, each byte once and in ascending order.
type forward struct {
	body io.ReadCloser
	end  int64 // bytes of the stretch
	at   int64 // bytes read of it
}

var errPassed = errors.New("this part of the object has been passed")

// ReadAt implements io.ReaderAt for reads in ascending order.
func (f *forward) ReadAt(p []byte, off int64) (int, error) {
	if off < f.at {
		return 0, errPassed
	}
	if off > f.at { // a gap between two frames
		skipped, err := io.CopyN(io.Discard, f.body, off-f.at)
		f.at += skipped
		if err != nil {
			return 0, early(err)
		}
	}
	n, err := io.ReadFull(f.body, p[:min(int64(len(p)), max(f.end-off, 0))])
	f.at += int64(n)
	if err != nil {
		return n, early(err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// early calls an end before the end what it is.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
