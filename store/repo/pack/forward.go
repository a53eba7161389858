package pack

import (
	"errors"
	"io"
)

// forward is a stretch of a stored object that comes as it is read, some sealed chunks at a time. What was asked for last can
// be read again, since frames that follow each other share the sealed chunk between them; nothing before that can.
type forward struct {
	body io.ReadCloser
	end  int64  // bytes of the stretch
	at   int64  // bytes read of it
	last []byte // the bytes read last, up to at
	held int    // bytes in last
}

// forwardRoom is the room in forward.last: four sealed chunks.
const forwardRoom = 4 * edge

var errPassed = errors.New("this part of the object has been passed")

// ReadAt implements io.ReaderAt, for reads of at most a sealed chunk (edge) in ascending order.
func (f *forward) ReadAt(p []byte, off int64) (int, error) {
	from := f.at - int64(f.held)
	if off < from || len(p) > edge {
		return 0, errPassed
	}
	if off+int64(len(p)) > f.at || off+int64(len(p)) > f.end {
		if err := f.ahead(off, min(int64(len(p)), f.end-off)); err != nil {
			return 0, err
		}
		from = f.at - int64(f.held)
	}
	n := copy(p, f.last[off-from:f.held])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ahead reads up to off+n at least, and holds what lies from off on.
func (f *forward) ahead(off, n int64) error {
	if off > f.at { // a gap between two frames
		if _, err := io.CopyN(io.Discard, f.body, off-f.at); err != nil {
			return early(err)
		}
		f.at, f.held = off, 0
	}
	if n <= 0 {
		return nil
	}
	kept := copy(f.last, f.last[int64(f.held)-(f.at-off):f.held])
	got, err := io.ReadAtLeast(f.body, f.last[kept:min(int64(len(f.last)), f.end-off)], int(n)-kept)
	f.held = kept + got
	f.at += int64(got)
	return early(err)
}

// early calls an end before the end what it is.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
