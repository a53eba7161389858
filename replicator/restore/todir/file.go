package todir

import (
	"context"
	"errors"
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

// Look implements restore.Looker, for a file that is there where what differs is to be put right: its content is read, and
// if only something else is wrong that is set right where it is.
func (r receiver) Look(ctx context.Context, e *format.Entry, _ bool) (restore.Verdict, error) {
	verdict, err := r.look(ctx, e)
	if err != nil || verdict != restore.Take || r.t.job.DryRun {
		r.in.release() // nothing more comes
	}
	return verdict, err
}

func (r receiver) look(ctx context.Context, e *format.Entry) (restore.Verdict, error) {
	dir, err := r.in.pin()
	if err != nil {
		return 0, err
	}
	defer r.in.unpin()
	f, content, diff := r.t.found.sameFile(ctx, dir, r.name, r.in.manner, e)
	if f != nil {
		defer f.Close()
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	switch {
	case !content || unix.Fstat(int(f.Fd()), &st) != nil || e.File != nil && uint64(st.Nlink) > max(e.File.Links, 1):
		return restore.Take, nil // with more names than in the point it is joined with something else
	case len(diff) == 0:
		r.t.links.restored(e)
		return restore.Skip, nil
	case st.Nlink > 1:
		return restore.Take, nil // its other names are not to change with it
	case r.t.job.DryRun:
		return restore.Done, nil
	}
	if err := r.t.attrs.dress(openHandle(int(f.Fd())), dir, r.name, e, r.in.manner); err != nil {
		return 0, err
	}
	r.t.links.restored(e)
	return restore.Done, nil
}

// Restore implements restore.Receiver.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	defer r.in.release()
	if err := ctx.Err(); err != nil {
		return err
	}
	dir, err := r.in.pin()
	if err != nil {
		return err
	}
	defer r.in.unpin()
	p := piece{receiver: r, dir: dir, temp: r.t.tempName()}
	switch e.Kind {
	case format.KindSymlink:
		err = p.symlink(e)
	case format.KindSpecial:
		err = p.special(e)
	default:
		err = p.file(ctx, e, c)
	}
	if !kept(err) {
		p.discard()
		return err
	}
	if perr := r.t.places.place(dir, p.temp, r.name, ofDirectory(e)); perr != nil {
		p.discard()
		return perr
	}
	r.t.links.restored(e)
	return err
}

// piece is what a receiver makes, under a temporary name in the open folder.
type piece struct {
	receiver
	dir  int
	temp string
}

func (p piece) discard() {
	_ = retry(func() error { return unix.Unlinkat(p.dir, p.temp, 0) }) // the next restore sweeps what is left
}

// file writes content and attributes.
func (p piece) file(ctx context.Context, e *format.Entry, c restore.Content) error {
	mode := uint32(0o600)
	if e.File == nil {
		mode = 0o666 // less the umask: buckets and disks know no modes
	} else if p.t.euid == 0 {
		mode &= e.File.Mode
	}
	fd, err := openat(p.dir, p.temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return explain("create", p.name, err)
	}
	if e.File != nil && p.in.bequeath {
		dropACLs(fd)
	}
	if err = p.write(ctx, fd, e, c); err == nil {
		err = p.t.attrs.dress(openHandle(fd), p.dir, p.temp, e, p.in.manner)
	}
	// Some file systems say only now that they could not keep it.
	if cerr := unix.Close(fd); kept(err) && cerr != nil && cerr != unix.EINTR {
		err = explain("close", p.name, cerr)
	}
	return err
}

// write writes the content; holes stay holes.
func (p piece) write(ctx context.Context, fd int, e *format.Entry, c restore.Content) error {
	if b, ok := c.Whole(); ok && (len(e.Chunks) == 0 || !hasHole(e)) {
		return p.writeAt(fd, b, 0)
	}
	err := p.writePieces(fd, e, c.Rough(ctx))
	if !errors.Is(err, restore.ErrContent) {
		return err
	}
	if err := retry(func() error { return unix.Ftruncate(fd, 0) }); err != nil {
		return explain("write", p.name, err)
	}
	return p.writePieces(fd, e, c.Pieces(ctx))
}

func (p piece) writePieces(fd int, e *format.Entry, pieces iter.Seq2[restore.Piece, error]) error {
	var at int64
	hole := false
	// An entry that lists its chunks says whether there are holes.
	reserved := len(e.Extents) == 0 && !hasHole(e)
	if reserved {
		if err := p.reserve(fd, 0, e.Size); err != nil {
			return err
		}
	}
	for part, err := range pieces {
		if err != nil {
			return err
		}
		if part.Hole > 0 {
			hole = true
		} else {
			if !reserved {
				if err := p.reserve(fd, at, part.Len()); err != nil {
					return err
				}
			}
			if err := p.writeAt(fd, part.Data, at); err != nil {
				return err
			}
			if !p.in.manner.memory {
				flush(fd, at, part.Len())
			}
		}
		at += part.Len()
	}
	if !hole {
		return nil
	}
	if err := retry(func() error { return unix.Ftruncate(fd, at) }); err != nil {
		return explain("set the size of", p.name, err)
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
// processor time, files lie in one piece, and a full disk is found first. In memory it would only cost.
func (p piece) reserve(fd int, at, n int64) error {
	if n < reserveMin || p.in.manner.memory {
		return nil
	}
	err := retry(func() error { return allocate(fd, at, n) })
	if err == unix.ENOSPC || err == unix.EDQUOT || err == unix.EFBIG {
		return explain("write", p.name, err)
	}
	return nil // not every file system can
}

// reserveMin is the least that is worth a system call.
const reserveMin = 256 << 10

func (p piece) writeAt(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return explain("write", p.name, err)
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// symlink makes a link. Where it points to is the point's business: nothing here follows it.
func (p piece) symlink(e *format.Entry) error {
	target := e.File.Target
	if target == "" || strings.IndexByte(target, 0) >= 0 {
		return refuse("a symbolic link to %q", target)
	}
	if err := retry(func() error { return unix.Symlinkat(target, p.dir, p.temp) }); err != nil {
		return explain("link", p.name, err)
	}
	return p.dressOdd(e)
}

var specials = map[string]uint32{"fifo": unix.S_IFIFO, "socket": unix.S_IFSOCK, "char": unix.S_IFCHR, "block": unix.S_IFBLK}

// special makes a device, fifo or socket.
func (p piece) special(e *format.Entry) error {
	kind, ok := specials[e.File.Type]
	if !ok {
		return refuse("a special file of type %q", e.File.Type)
	}
	if err := retry(func() error { return mknodat(p.dir, p.temp, kind|0o600&e.File.Mode, e.File.Rdev) }); err != nil {
		return explain("make a "+e.File.Type, p.name, err)
	}
	return p.dressOdd(e)
}

// dressOdd gives what cannot be opened its attributes. It is opened for its path only: whatever takes its name meanwhile is
// not touched.
func (p piece) dressOdd(e *format.Entry) error {
	h, err := pathHandle(p.dir, p.temp)
	if err != nil {
		return explain("look at", p.name, err)
	}
	defer h.close()
	var st unix.Stat_t
	if err := h.stat(&st); err != nil || kindOf(&st) != kindFor(e) {
		return refuse("something else took the place of %q while it was made", p.name)
	}
	return p.t.attrs.dress(h, p.dir, p.temp, e, p.in.manner)
}
