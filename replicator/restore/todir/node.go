package todir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// node is one folder that is being restored into. It is held open, so that nothing that happens to the path above it
// leads elsewhere. It is let go when the walk has left it and all that was to go into it is there; then its own
// attributes are set.
type node struct {
	t      *Target
	parent *node
	name   string
	fd     int  // -1: is not there, and this is a dry run
	fresh  bool // made by this run: nothing can be in it but ours
	manner manner
	entry  *format.Entry // its attributes, if they are to be set
	refs   atomic.Int32  // the walk, folders inside, receivers

	// The walk's own.
	files  []string          // taken names that the next one may begin with: see claim
	folded map[string]string // where the file system folds names: as folded, to the name
}

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// claim takes a name in this folder, or says who has it. Keys come in byte order, so "x" comes before "x/y", and between
// them only names that begin with "x": the names that matter form a stack.
func (n *node) claim(name string, folder bool) error {
	next := name
	if folder {
		next += "/"
	}
	for len(n.files) > 0 && !strings.HasPrefix(next, n.files[len(n.files)-1]) {
		n.files = n.files[:len(n.files)-1]
	}
	if folder && slices.Contains(n.files, name) {
		return refuse("%q is a file in this recovery point too, so it cannot be a folder", name)
	}
	if n.manner.windows {
		if err := checkWindows(name); err != nil {
			return err
		}
	}
	if n.manner.folds {
		f := fold(name)
		if old, ok := n.folded[f]; ok && old != name {
			return refuse("this file system cannot tell %q from %q", name, old)
		}
		if n.folded == nil {
			n.folded = make(map[string]string)
		}
		n.folded[f] = name
	}
	if !folder {
		n.files = append(n.files, name)
	}
	return nil
}

// hold keeps the folder open until release.
func (n *node) hold() *node {
	n.refs.Add(1)
	return n
}

// release lets go. The last one sets the folder's attributes.
func (n *node) release() {
	if n.refs.Add(-1) > 0 {
		return
	}
	if !n.t.drop(n) {
		return // closed by Close
	}
	if n.entry != nil && n.fd >= 0 && !n.t.job.DryRun {
		if err := n.t.dress(n.fd, n.entry); err != nil {
			n.t.job.Fail(n.entry.Key, err)
		}
	}
	if n.fd >= 0 {
		_ = unix.Close(n.fd) // a folder has no data to lose
	}
	if n.parent != nil {
		n.parent.release()
	}
}

// enter opens the folder name inside n, making it if need be. entry is given if the point has one for it.
func (n *node) enter(name string, entry *format.Entry) (*node, error) {
	if err := n.claim(name, true); err != nil {
		return nil, err
	}
	c := &node{t: n.t, parent: n, name: name, fd: -1, manner: n.manner}
	mode := uint32(0o777)
	if entry != nil && entry.File != nil {
		mode = 0o700 // until its own is set
	}
	if n.fd >= 0 {
		if !n.t.job.DryRun {
			err := retry(func() error { return unix.Mkdirat(n.fd, name, mode) })
			if err != nil && err != unix.EEXIST {
				return nil, explain("make folder", name, err)
			}
			c.fresh = err == nil
		}
		if err := c.open(); err != nil {
			return nil, err
		}
	}
	c.refs.Store(1)
	n.hold()
	n.t.keep(c)
	return c, nil
}

// open opens a folder that should be there.
func (c *node) open() error {
	fd, err := openat(c.parent.fd, c.name, openDir, 0)
	switch {
	case err == unix.ENOENT && c.t.job.DryRun:
		return nil
	case err == unix.ELOOP || err == unix.ENOTDIR:
		return refuse("a file or symbolic link is at the target where the folder %q must be; it is not followed or replaced", c.name)
	case err != nil:
		return explain("open folder", c.name, err)
	}
	c.fd = fd
	c.manner = c.mannerOf()
	if !c.fresh && !c.t.job.DryRun {
		return c.sweep()
	}
	return nil
}

// own says that the folder's attributes are to be those of e. One we could not write into for now is opened up.
func (c *node) own(e *format.Entry) {
	c.entry = e
	if c.fd < 0 || c.fresh || c.t.job.DryRun {
		return
	}
	var st unix.Stat_t
	if unix.Fstat(c.fd, &st) == nil && st.Mode&0o700 != 0o700 {
		_ = unix.Fchmod(c.fd, uint32(st.Mode)&0o7777|0o700) // if not, what is to go into it says so
	}
}

// sweep removes what a restore that was killed left in a folder: the lock on the root says that none is running.
func (c *node) sweep() error {
	fd, err := openat(c.fd, ".", openDir, 0)
	if err != nil {
		return nil // not readable: then nothing of ours can be found
	}
	d := os.NewFile(uintptr(fd), c.name)
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if strings.HasPrefix(name, tempPrefix) && name != markName {
				if err := unix.Unlinkat(c.fd, name, 0); err != nil && err != unix.ENOENT {
					return explain("remove what an interrupted restore left", name, err)
				}
			}
		}
		if err != nil || len(names) == 0 {
			return nil
		}
	}
}

// descend gives the folder that path p lies in, leaving those that the walk is done with.
func (t *Target) descend(dir []string) (*node, error) {
	same := 0
	for same < len(dir) && same+1 < len(t.stack) && t.stack[same+1].name == dir[same] {
		same++
	}
	t.leave(same + 1)
	for _, name := range dir[same:] {
		top := t.stack[len(t.stack)-1]
		c, err := top.enter(name, nil)
		if err != nil {
			return nil, err
		}
		t.stack = append(t.stack, c)
	}
	return t.stack[len(t.stack)-1], nil
}

// leave lets go of the folders beyond the first n of the stack.
func (t *Target) leave(n int) {
	for len(t.stack) > n {
		top := t.stack[len(t.stack)-1]
		t.stack = t.stack[:len(t.stack)-1]
		top.release()
	}
}

// keep and drop know the open folders, so that Close finds those whose receivers were never called.
func (t *Target) keep(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes[n] = struct{}{}
}

func (t *Target) drop(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.nodes[n]
	delete(t.nodes, n)
	return ok
}

// openat is unix.Openat without interruptions.
func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags, mode)
		return err
	})
	return fd, err
}

// retry repeats what a signal interrupted.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// explain says what an error of the file system means for the restore.
func explain(op, name string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %s %q: %w", errStop, op, name, err)
	case errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EILSEQ), errors.Is(err, unix.EINVAL):
		return refuse("%s %q: %v", op, name, err)
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EEXIST):
		return refuse("a folder is at the target where %q must be", name)
	}
	return fmt.Errorf("%s %q: %w", op, name, err)
}
