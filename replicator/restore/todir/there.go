package todir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// found is what stands at an entry's place.
type found struct {
	there bool
	st    unix.Stat_t
	at    fileID
}

// find looks at an entry's place.
func (t *finding) find(n *node, name string, e *format.Entry) (f found, err error) {
	if n.absent || n.fresh {
		return f, nil
	}
	dir, err := n.pin()
	if err != nil {
		return f, err
	}
	defer n.unpin()
	err = retry(func() error { return unix.Fstatat(dir, name, &f.st, unix.AT_SYMLINK_NOFOLLOW) })
	switch {
	case err == unix.ENOENT:
		return f, nil
	case err != nil:
		return f, explain("look at", name, err)
	}
	f.there, f.at = true, idOf(&f.st)
	switch {
	case kindOf(&f.st) == unix.S_IFDIR && !ofDirectory(e):
		return f, refuse("a folder is at the target where %q must be", name)
	case t.job.Overwrite == restore.Never && t.torn(dir, name, &f.st, e):
		f.there = false
	}
	return f, nil
}

func kindOf(st *unix.Stat_t) uint32 { return uint32(st.Mode) & unix.S_IFMT }

// kindFor gives the kind of file that an entry is.
func kindFor(e *format.Entry) uint32 {
	switch {
	case e.Kind == format.KindSymlink:
		return unix.S_IFLNK
	case e.Kind != format.KindSpecial:
		return unix.S_IFREG
	}
	return specials[e.File.Type]
}

var kindNames = map[uint32]string{
	unix.S_IFDIR: "a folder", unix.S_IFREG: "a file", unix.S_IFLNK: "a symbolic link",
	unix.S_IFIFO: "a fifo", unix.S_IFSOCK: "a socket", unix.S_IFCHR: "a character device", unix.S_IFBLK: "a block device",
}

// seen names what visibly differs at an entry's place: kind, size, mode, where a link points, and the time of files.
func (t *finding) seen(n *node, name string, f *found, e *format.Entry) []string {
	if is, want := kindOf(&f.st), kindFor(e); is != want {
		return []string{kindNames[is] + ", not " + kindNames[want]}
	}
	w := t.plan(n.manner, e)
	out := visibly(&f.st, &w, e.Kind.HasContent())
	if e.Kind == format.KindSymlink {
		dir, err := n.pin()
		if err == nil {
			defer n.unpin()
		}
		if err != nil || !pointsTo(dir, name, e.File.Target) {
			out = append(out, "another target")
		}
	}
	return out
}

func differs(what []string) error {
	return fmt.Errorf("%w: %s", restore.ErrDiffers, strings.Join(what, "; "))
}

func pointsTo(dir int, name, target string) bool {
	buf := make([]byte, len(target)+1)
	k, err := unix.Readlinkat(dir, name, buf)
	return err == nil && string(buf[:k]) == target
}

// sameOdd reports whether a link or special file is just what the entry is.
func (t *finding) sameOdd(n *node, name string, f *found, e *format.Entry) bool {
	if kindOf(&f.st) != kindFor(e) {
		return false
	}
	dir, err := n.pin()
	if err != nil {
		return false
	}
	defer n.unpin()
	if e.Kind == format.KindSymlink && !pointsTo(dir, name, e.File.Target) {
		return false
	}
	if e.Kind == format.KindSpecial && (kindFor(e) == unix.S_IFCHR || kindFor(e) == unix.S_IFBLK) && uint64(f.st.Rdev) != e.File.Rdev {
		return false
	}
	h, err := pathHandle(dir, name)
	if err != nil {
		return false
	}
	defer h.close()
	w := t.plan(n.manner, e)
	diff, err := differences(h, &w)
	return err == nil && len(diff) == 0
}

// sameFile compares a file with content with its entry: whether it has the content, and what else is different. A file that
// cannot be read is another.
func (t *finding) sameFile(ctx context.Context, dir int, name string, m manner, e *format.Entry) (f *os.File, content bool, diff []string) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false, nil
	}
	f = os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || kindOf(&st) != unix.S_IFREG || st.Size != e.Size || !holds(ctx, f, e) {
		return f, false, nil
	}
	w := t.plan(m, e)
	if diff, err = differences(openHandle(fd), &w); err != nil {
		return f, false, nil
	}
	return f, true, diff
}

// holds reports whether a file has the entry's content.
func holds(ctx context.Context, f io.Reader, e *format.Entry) bool {
	r := &reader{ctx, f}
	sum := e.NewSum()
	file, ok := f.(*os.File)
	if !ok || e.Kind != format.KindImage && !e.Sparse {
		_, err := io.CopyBuffer(sum, r, make([]byte, min(128<<10, max(e.Size, 512))))
		return err == nil && sum.Sum() == e.SHA256
	}
	buf := make([]byte, 128<<10)
	for at := int64(0); at < e.Size; {
		from, to := dataAt(file, at, e.Size)
		sum.Zeros(from - at)
		n, err := io.CopyBuffer(sum, &reader{ctx, io.NewSectionReader(file, from, to-from)}, buf)
		if err != nil || n != to-from {
			return false
		}
		at = to
	}
	return sum.Sum() == e.SHA256
}

// dataAt gives the first stretch of data of a file from at on; none, at its end, if there is no more. What a system does
// not tell is data.
func dataAt(f *os.File, at, size int64) (from, to int64) {
	from, err := f.Seek(at, seekData)
	if errors.Is(err, unix.ENXIO) {
		return size, size
	}
	if err != nil || from < at {
		return at, size
	}
	if to, err = f.Seek(from, seekHole); err != nil || to <= from {
		to = size
	}
	return min(from, size), min(to, size)
}

// reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // of one call
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
