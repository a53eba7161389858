package todir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// receiver puts one thing into a folder.
type receiver struct {
	t    *Target
	in   *node
	name string
}

// Restore implements restore.Receiver.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	defer r.in.release()
	if err := ctx.Err(); err != nil {
		return err
	}
	temp := r.t.tempName()
	var err error
	switch e.Kind {
	case format.KindSymlink:
		err = r.symlink(temp, e)
	case format.KindSpecial:
		err = r.special(temp, e)
	default:
		err = r.file(ctx, temp, e, c)
	}
	if err != nil {
		return err
	}
	if err := retry(func() error { return unix.Renameat(r.in.fd, temp, r.in.fd, r.name) }); err != nil {
		r.discard(temp)
		return explain("name", r.name, err)
	}
	r.t.links.restored(e)
	return nil
}

func (r receiver) discard(temp string) {
	_ = retry(func() error { return unix.Unlinkat(r.in.fd, temp, 0) }) // the next restore sweeps what is left
}

// file writes content and attributes under the temporary name.
func (r receiver) file(ctx context.Context, temp string, e *format.Entry, c restore.Content) error {
	mode := uint32(0o600)
	if e.File == nil {
		mode = 0o666 // less the umask: buckets and disks know no modes
	}
	fd, err := openat(r.in.fd, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return explain("create", r.name, err)
	}
	if err = r.write(ctx, fd, e, c); err == nil {
		err = r.t.dressFile(r.in.fd, fd, temp, e)
	}
	// Some file systems say only now that they could not keep it.
	if cerr := unix.Close(fd); err == nil && cerr != nil && cerr != unix.EINTR {
		err = explain("close", r.name, cerr)
	}
	if err != nil {
		r.discard(temp)
	}
	return err
}

// write writes the content; holes stay holes.
func (r receiver) write(ctx context.Context, fd int, e *format.Entry, c restore.Content) error {
	if b, ok := c.Whole(); ok && (len(e.Chunks) == 0 || !hasHole(e)) {
		return r.writeAt(fd, b, 0)
	}
	err := r.writePieces(fd, e, c.Rough(ctx))
	if !errors.Is(err, restore.ErrContent) {
		return err
	}
	if err := retry(func() error { return unix.Ftruncate(fd, 0) }); err != nil {
		return explain("write", r.name, err)
	}
	return r.writePieces(fd, e, c.Pieces(ctx))
}

func (r receiver) writePieces(fd int, e *format.Entry, pieces iter.Seq2[restore.Piece, error]) error {
	var at int64
	hole := false
	// An entry that lists its chunks says whether there are holes.
	reserved := len(e.Extents) == 0 && !hasHole(e)
	if reserved {
		if err := r.reserve(fd, 0, e.Size); err != nil {
			return err
		}
	}
	for p, err := range pieces {
		if err != nil {
			return err
		}
		if p.Hole > 0 {
			hole = true
		} else {
			if !reserved {
				if err := r.reserve(fd, at, p.Len()); err != nil {
					return err
				}
			}
			if err := r.writeAt(fd, p.Data, at); err != nil {
				return err
			}
			flush(fd, at, p.Len())
		}
		at += p.Len()
	}
	if !hole {
		return nil
	}
	if err := retry(func() error { return unix.Ftruncate(fd, at) }); err != nil {
		return explain("set the size of", r.name, err)
	}
	return nil
}

func hasHole(e *format.Entry) bool {
	for i := range e.Chunks {
		if e.Chunks[i].Hole {
			return true
		}
	}
	return false
}

// reserve has the file system find room before it is written to. Writing large pieces then costs ext4 a fraction of the
// processor time, files lie in one piece, and a full disk is found first.
func (r receiver) reserve(fd int, at, n int64) error {
	if n < reserveMin {
		return nil
	}
	err := retry(func() error { return allocate(fd, at, n) })
	if err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EFBIG {
		return explain("write", r.name, err)
	}
	return nil // not every file system can
}

// reserveMin is the least that is worth a system call.
const reserveMin = 256 << 10

func (r receiver) writeAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return explain("write", r.name, err)
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// symlink makes a link under the temporary name. Where it points to is the point's business: nothing here follows it.
func (r receiver) symlink(temp string, e *format.Entry) error {
	target := e.File.Target
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return refuse("a symbolic link to %q", target)
	}
	if err := retry(func() error { return unix.Symlinkat(target, r.in.fd, temp) }); err != nil {
		return explain("link", r.name, err)
	}
	if err := r.t.dressLink(r.in.fd, temp, e); err != nil {
		r.discard(temp)
		return err
	}
	return nil
}

// special makes a device, fifo or socket under the temporary name.
func (r receiver) special(temp string, e *format.Entry) error {
	kinds := map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "char": unix.S_IFCHR, "block": unix.S_IFBLK}
	kind, ok := kinds[e.File.Type]
	if !ok {
		return refuse("a special file of type %q", e.File.Type)
	}
	if err := retry(func() error { return mknodat(r.in.fd, temp, kind|0o600, e.File.Rdev) }); err != nil {
		return explain("make a "+e.File.Type, r.name, err)
	}
	err := r.t.dressLink(r.in.fd, temp, e)
	if err == nil {
		if err = retry(func() error { return unix.Fchmodat(r.in.fd, temp, e.File.Mode, 0) }); err != nil {
			err = fmt.Errorf("set the mode of %q: %w", r.name, err)
		}
	}
	if err != nil {
		r.discard(temp)
	}
	return err
}
