package pack

import (
	"errors"
	"io"
)

// span is a stretch of a stored object that is at hand.
type span struct {
	at int64
	b  []byte
}

var errNotFetched = errors.New("this part of the object was not fetched")

// ReadAt implements io.ReaderAt.
func (s span) ReadAt(p []byte, off int64) (int, error) {
	if off < s.at || off > s.at+int64(len(s.b)) {
		return 0, errNotFetched
	}
	n := copy(p, s.b[off-s.at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// spans are stretches of one object; a read must lie in one of them.
type spans []span

// ReadAt implements io.ReaderAt.
func (s spans) ReadAt(p []byte, off int64) (int, error) {
	for _, one := range s {
		if off >= one.at && off+int64(len(p)) <= one.at+int64(len(one.b)) {
			return one.ReadAt(p, off)
		}
	}
	return 0, errNotFetched
}
