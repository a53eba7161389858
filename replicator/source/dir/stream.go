package dirsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// stream is the content of one file. It checks that the file is what was listed before it hands out the last bytes, so
// that a reader who asks for exactly the size sees the change too.
type stream struct {
	ctx      context.Context //nolint:containedctx // a stream ends with the call that opened it
	fd       int
	e        format.Entry
	off, end int64
	whole    bool // it goes to the end of the file: that it is the end is looked at
	err      error
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 && s.off < s.end {
		return 0, nil
	}
	if int64(len(p)) > s.end-s.off {
		p = p[:s.end-s.off]
	}
	n, err := s.pread(p, s.off)
	switch {
	case err != nil:
		s.err = failure("read", s.e.Key, err)
		return 0, s.err
	case n == 0 && len(p) > 0:
		if s.err = unchanged("read", s.fd, &s.e); s.err == nil {
			s.err = fmt.Errorf("read %q: ends at %d: %w", s.e.Key, s.off, source.ErrLength)
		}
		return 0, s.err
	}
	s.off += int64(n)
	if s.off == s.end {
		if s.err = s.last(); s.err != nil {
			return 0, s.err
		}
		s.err = io.EOF
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	return n, nil
}

// last checks, when the listed size is read, that the file is what was listed and ends here.
func (s *stream) last() error {
	if err := unchanged("read", s.fd, &s.e); err != nil || !s.whole || s.off == math.MaxInt64 {
		return err // behind the largest size there is nothing to look for
	}
	n, err := s.pread(make([]byte, 1), s.off)
	if err != nil {
		return failure("read", s.e.Key, err)
	}
	if n == 0 {
		return nil
	}
	if err := unchanged("read", s.fd, &s.e); err != nil { // it was appended to between the two
		return err
	}
	return fmt.Errorf("read %q: goes on after %d: %w", s.e.Key, s.off, source.ErrLength)
}

func (s *stream) pread(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Pread(s.fd, p, off)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// Close implements io.Closer.
func (s *stream) Close() error {
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd, s.err = -1, errors.New("read after close")
	return err
}

// Holes implements source.Sparse.
func (s *stream) Holes(least, enough int64) (int64, error) {
	var st unix.Stat_t
	if err := fstat(s.fd, &st); err != nil {
		return 0, failure("find the holes of", s.e.Key, err)
	}
	if st.Blocks >= st.Size/512 {
		return 0, nil
	}
	var sum int64
	for off := s.off; off < s.end && sum <= enough; {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		hole, data, err := s.after(off, least)
		if err != nil {
			return 0, err
		}
		sum += hole
		off += hole + data
	}
	return sum, nil
}

// Next implements source.Sparse.
func (s *stream) Next(least int64) (hole, data int64, err error) {
	if s.err != nil || s.off >= s.end {
		return 0, 0, nil
	}
	if hole, data, err = s.after(s.off, least); err != nil {
		return 0, 0, err
	}
	s.off += hole
	return hole, data, nil
}

// after gives the hole at off, if it has at least that many bytes, and the data behind it up to the next such hole.
func (s *stream) after(off, least int64) (hole, data int64, err error) {
	r, err := nextData(s.fd, off, s.end)
	if err != nil {
		return 0, 0, failure("find the holes of", s.e.Key, err)
	}
	at := r.Off + r.Len
	if hole = r.Off - off; hole < least {
		hole = 0
	}
	for at < s.end {
		if err := s.ctx.Err(); err != nil {
			return 0, 0, err
		}
		if r, err = nextData(s.fd, at, s.end); err != nil {
			return 0, 0, failure("find the holes of", s.e.Key, err)
		}
		if r.Off-at >= least {
			break
		}
		at = r.Off + r.Len
	}
	return hole, at - off - hole, nil
}

// nextData gives the first stretch of data at or after off; of no bytes at size if there is none.
func nextData(fd int, off, size int64) (source.Range, error) {
	start, err := unix.Seek(fd, off, seekData)
	switch {
	case errors.Is(err, unix.ENXIO):
		return source.Range{Off: size}, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ESPIPE):
		return source.Range{Off: off, Len: size - off}, nil // no such seeks here: all is data
	case err != nil:
		return source.Range{}, err
	}
	end, err := unix.Seek(fd, start, seekHole)
	if err != nil {
		return source.Range{Off: off, Len: size - off}, nil // it was cut short meanwhile: what reads it will see
	}
	start, end = min(max(start, off), size), min(end, size)
	if end <= start && start < size {
		return source.Range{}, unix.EIO // a file system that does not advance
	}
	return source.Range{Off: start, Len: max(end-start, 0)}, nil
}

// maxUnlisted is how far beyond the size it is listed with a file is read: what the kernel and some servers list with no size
// is small, and what never ends must end somewhere.
const maxUnlisted = 64 << 20

// liveStream is the content of a file that others may be writing to: see source.Live.
type liveStream struct {
	stream
	unsettled, other bool // as Settle gives them
}

// Read implements io.Reader.
func (s *liveStream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	beyond := s.off >= s.end
	if beyond {
		if err := unchanged("read", s.fd, &s.e); err != nil || s.off == math.MaxInt64 {
			return 0, s.stop(err)
		}
	} else if int64(len(p)) > s.end-s.off {
		p = p[:s.end-s.off]
	}
	n, err := s.pread(p, s.off)
	switch {
	case err != nil:
		s.err = failure("read", s.e.Key, err)
		return 0, s.err
	case beyond:
		return s.more(n)
	case n == 0: // shorter than it was listed, or cut short
		err := unchanged("read", s.fd, &s.e)
		s.other = err == nil
		return 0, s.stop(err)
	}
	s.off += int64(n)
	return n, nil
}

// more judges what came from beyond the end: nothing if all is well.
func (s *liveStream) more(n int) (int, error) {
	err := unchanged("read", s.fd, &s.e)
	if n == 0 || err != nil { // what was appended since is for the next time
		return 0, s.stop(err)
	}
	s.other = true
	if s.off += int64(n); s.off-s.end > maxUnlisted {
		s.err = &source.Unreadable{Key: s.e.Key, Reason: fmt.Sprintf("goes on for more than %d MiB after the size that it is listed with", maxUnlisted>>20)}
		return 0, s.err
	}
	return n, nil
}

// stop ends the stream with what the last look at the file came to.
func (s *liveStream) stop(err error) error {
	switch {
	case err == nil:
	case errors.Is(err, source.ErrChanged):
		s.unsettled = true
	default:
		s.err = err
		return err
	}
	s.err = io.EOF
	return s.err
}

// Settle implements source.LiveStream.
func (s *liveStream) Settle() (size int64, unsettled, other bool) { return s.off, s.unsettled, s.other }
