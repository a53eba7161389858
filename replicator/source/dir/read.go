package dirsource

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxXattrs bounds the names and values of one entry's extended attributes together, in bytes.
const maxXattrs = 1 << 20

// maxXattrCount bounds their number: the format's bound.
const maxXattrCount = 1 << 14

// openEntry opens e for reading and checks that it is what was listed.
func (v *view) openEntry(e *format.Entry) (int, error) {
	if e.Kind != format.KindFile {
		return -1, fmt.Errorf("open %q: it has no content", e.Key)
	}
	fd, err := v.openFile(e.Key)
	if err != nil {
		return -1, failure("open", e.Key, err)
	}
	err = unchanged("open", fd, e)
	if errors.Is(err, source.ErrChanged) && len(e.Key) >= longKey { // perhaps a folder that is held has been moved
		_ = unix.Close(fd)
		v.deep.forget(e.Key)
		if fd, err = v.openFile(e.Key); err != nil {
			return -1, failure("open", e.Key, err)
		}
		err = unchanged("open", fd, e)
	}
	if err == nil {
		err = v.allowed(fd, e)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openFile opens a key. O_NONBLOCK: a FIFO that has taken the file's place must not block the open, nor a file that the kernel
// makes up block the reading.
func (v *view) openFile(key string) (int, error) {
	return v.open(key, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC)
}

// maxBare is the largest size a file may be listed with on a file system that says it has no blocks at all: /proc/kcore is
// listed with 128 TiB.
const maxBare = 1 << 40

// allowed refuses an open file that is not to be read.
func (v *view) allowed(fd int, e *format.Entry) error {
	if e.Size > maxBare && bare(fd) {
		return &source.Unreadable{Key: e.Key, Reason: fmt.Sprintf("listed with %d bytes on a file system that has none", e.Size)}
	}
	if !v.src.oneFS {
		return nil
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return failure("open", e.Key, err)
	}
	if v.isApart(fd, &st) {
		return &source.Unreadable{Key: e.Key, Reason: anotherMount, Accepted: true}
	}
	return nil
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
		if e.File.Xattrs, err = v.readXattrs(fd, e.Key, false); err != nil {
			_ = unix.Close(fd)
			return nil, err
		}
	}
	whole := n < 0 || n >= e.Size-off
	if whole {
		n = e.Size - off
	}
	return &stream{ctx: ctx, fd: fd, e: *e, off: off, end: off + n, whole: whole}, nil
}

// OpenLive implements source.Live.
func (v *view) OpenLive(ctx context.Context, e *format.Entry) (source.LiveStream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(e.Key) >= longKey {
		v.deep.forget(e.Key) // it is to be what is there now
	}
	fd, err := v.openFile(e.Key)
	if err != nil {
		return nil, failure("open", e.Key, err)
	}
	s, err := v.live(ctx, fd, e)
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return s, nil
}

// live gives the stream of what is open as fd, and makes e what that is.
func (v *view) live(ctx context.Context, fd int, e *format.Entry) (*liveStream, error) {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return nil, failure("open", e.Key, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %q: %w: no file any more", e.Key, source.ErrChanged)
	}
	now := v.entry(e.Key, &st)
	if err := v.allowed(fd, now); err != nil {
		return nil, err
	}
	var err error
	if now.File.Xattrs, err = v.readXattrs(fd, e.Key, false); err != nil {
		return nil, err
	}
	*e = *now
	return &liveStream{stream: stream{ctx: ctx, fd: fd, e: *now, end: now.Size}}, nil
}

// Complete implements source.View.
func (v *view) Complete(ctx context.Context, e *format.Entry) error {
	if e.File == nil {
		return fmt.Errorf("complete %q: not an entry of a directory", e.Key)
	}
	fd, err := v.lookAt(ctx, e)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	if err := unchanged("look at", fd, e); err != nil {
		return err
	}
	e.File.Xattrs, err = v.readXattrs(fd, e.Key, true)
	return err
}

// lookAt opens a key for its path only.
func (v *view) lookAt(ctx context.Context, e *format.Entry) (int, error) {
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	key := e.Key
	if key == rootKey {
		key = "."
	}
	fd, err := v.open(key, pathFlags|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return -1, failure("look at", e.Key, err)
	}
	return fd, nil
}

// CompleteLive implements source.Live.
func (v *view) CompleteLive(ctx context.Context, e *format.Entry) error {
	if len(e.Key) >= longKey {
		v.deep.forget(e.Key) // it is to be what is there now
	}
	fd, err := v.lookAt(ctx, e)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // read only
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return failure("look at", e.Key, err)
	}
	now := v.entry(e.Key, &st)
	if now.Kind != e.Kind || now.Kind == format.KindFile {
		return fmt.Errorf("look at %q: %w: a %s by now", e.Key, source.ErrChanged, now.Kind)
	}
	if now.Kind == format.KindSymlink {
		if now.File.Target, err = readlinkOf(fd, v.root, e.Key); err != nil {
			return failure("read the link", e.Key, err)
		}
	}
	if now.File.Xattrs, err = v.readXattrs(fd, e.Key, true); err != nil {
		return err
	}
	*e = *now
	return nil
}
