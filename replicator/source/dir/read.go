package dirsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxXattrs bounds the names and values of one entry's extended attributes together, in bytes.
const maxXattrs = 1 << 20

// openEntry opens e for reading and checks that it is what was listed.
func (v *view) openEntry(e *format.Entry) (int, error) {
	if e.Kind != format.KindFile {
		return -1, fmt.Errorf("open %q: it has no content", e.Key)
	}
	// O_NONBLOCK: a FIFO that has taken the file's place must not block the open.
	fd, err := openBeneath(v.root, e.Key, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC)
	if err != nil {
		return -1, failure("open", e.Key, err)
	}
	if err := unchanged("open", fd, e); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unchanged is source.ErrChanged if fd is not what e was listed from.
func unchanged(op string, fd int, e *format.Entry) error {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return failure(op, e.Key, err)
	}
	if !same(e, &st) {
		return fmt.Errorf("%s %q: %w", op, e.Key, source.ErrChanged)
	}
	return nil
}

// Open implements source.View.
func (v *view) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if off < 0 || off > e.Size {
		return nil, fmt.Errorf("open %q at %d of %d bytes: out of range", e.Key, off, e.Size)
	}
	fd, err := v.openEntry(e)
	if err != nil {
		return nil, err
	}
	if off == 0 {
		if e.File.Xattrs, err = readXattrs(fd, e.Key, false); err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	}
	if n < 0 || n > e.Size-off {
		n = e.Size - off
	}
	return &stream{ctx: ctx, fd: fd, e: *e, off: off, end: off + n}, nil
}

// Complete implements source.View.
func (v *view) Complete(ctx context.Context, e *format.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if e.File == nil {
		return fmt.Errorf("complete %q: not an entry of a directory", e.Key)
	}
	key := e.Key
	if key == rootKey {
		key = "."
	}
	fd, err := openBeneath(v.root, key, pathFlags|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return failure("look at", e.Key, err)
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	if err := unchanged("look at", fd, e); err != nil {
		return err
	}
	e.File.Xattrs, err = readXattrs(fd, e.Key, true)
	return err
}

// Data implements source.Holes.
func (v *view) Data(ctx context.Context, e *format.Entry) iter.Seq2[source.Range, error] {
	return func(yield func(source.Range, error) bool) {
		fd, err := v.openEntry(e)
		if err != nil {
			yield(source.Range{}, err)
			return
		}
		defer unix.Close(fd) //nolint:errcheck // read only
		for off := int64(0); off < e.Size; {
			if err := ctx.Err(); err != nil {
				yield(source.Range{}, err)
				return
			}
			r, err := nextData(fd, off, e.Size)
			if err != nil {
				yield(source.Range{}, failure("find the holes of", e.Key, err))
				return
			}
			if r.Len > 0 && !yield(r, nil) {
				return
			}
			off = r.Off + r.Len
		}
		if err := unchanged("find the holes of", fd, e); err != nil {
			yield(source.Range{}, err)
		}
	}
}

// nextData gives the first stretch of data at or after off; of no bytes at size if there is none.
func nextData(fd int, off, size int64) (source.Range, error) {
	start, err := unix.Seek(fd, off, seekData)
	switch {
	case errors.Is(err, unix.ENXIO):
		return source.Range{Off: size}, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return source.Range{Off: off, Len: size - off}, nil // no such seeks here: all is data
	case err != nil:
		return source.Range{}, err
	}
	end, err := unix.Seek(fd, start, seekHole)
	if err != nil {
		return source.Range{}, err
	}
	start, end = min(start, size), min(end, size)
	if end <= start && start < size {
		return source.Range{}, unix.EIO // a file system that does not advance
	}
	return source.Range{Off: start, Len: end - start}, nil
}

// stream is the content of one file. It checks that the file is what was listed before it hands out the last bytes, so
// that a reader who asks for exactly the size sees the change too.
type stream struct {
	ctx      context.Context //nolint:containedctx // a stream ends with the call that opened it
	fd       int
	e        format.Entry
	off, end int64
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
	n, err := s.pread(p)
	switch {
	case err != nil:
		s.err = failure("read", s.e.Key, err)
		return 0, s.err
	case n == 0 && len(p) > 0:
		s.err = fmt.Errorf("read %q: cut short at %d: %w", s.e.Key, s.off, source.ErrChanged)
		return 0, s.err
	}
	s.off += int64(n)
	if s.off == s.end {
		if s.err = unchanged("read", s.fd, &s.e); s.err != nil {
			return 0, s.err
		}
		s.err = io.EOF
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	return n, nil
}

func (s *stream) pread(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Pread(s.fd, p, s.off)
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
