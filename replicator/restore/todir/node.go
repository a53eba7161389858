package todir

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// node is one folder that is being restored into. It is opened by itself and known again by its inode, so that nothing
// that happens to the path above it leads elsewhere. It is let go when the walk has left it and all that was to go into it
// is there; then its own attributes are set.
type node struct {
	t        *Target
	parent   *node
	name     string
	absent   bool // is not there, and this is a dry run
	fresh    bool // made by this run: nothing can be in it but ours
	ours     bool // made by this run, or by one that was broken off before the folder had its own attributes
	bequeath bool // has a default ACL: what is made in it gets one
	manner   manner
	was      unix.Stat_t // as it was found
	id       fileID
	entry    *format.Entry // its attributes, if they are to be set
	refs     atomic.Int32  // the walk, folders inside, receivers

	// The folder's descriptor: see folders. Under Target.mu.
	fd   int // -1: closed for now
	pins int
	idle *list.Element

	// The walk's own.
	files  []string          // taken names that the next one may begin with: see claim
	folded map[string]string // where the file system folds names: as folded, to the name
}

// fileID tells one file of the target from another.
type fileID struct{ device, number uint64 }

func idOf(st *unix.Stat_t) fileID { return fileID{uint64(st.Dev), st.Ino} }

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

// hold keeps the folder from being finished until release.
func (n *node) hold() *node {
	n.refs.Add(1)
	return n
}

// release lets go. The last one finishes the folder, and then perhaps the one above it, and so on.
func (n *node) release() {
	for ; n != nil && n.refs.Add(-1) == 0; n = n.parent {
		if !n.t.drop(n) {
			return // closed by Close
		}
		if err := n.finish(); err != nil && n.entry != nil {
			n.t.job.Fail(n.entry.Key, err)
		}
		n.close()
	}
}

// finish gives the folder its own attributes, after everything in it is there. One that is to stay as it was gets back the
// time that it had.
func (n *node) finish() error {
	if n.absent || n.t.job.DryRun || n.entry == nil && !n.stays() {
		return nil
	}
	fd, err := n.pin()
	if err != nil {
		return err
	}
	defer n.unpin()
	if n.entry != nil {
		if n.ours {
			_ = retry(func() error { return unix.Unlinkat(fd, folderMark, 0) }) // the next restore would only set everything again
		}
		return n.t.attrs.dress(openHandle(fd), fd, ".", n.entry, n.manner)
	}
	var st unix.Stat_t
	if n.stays() && unix.Fstat(fd, &st) == nil && st.Mtim != n.was.Mtim {
		// It is a courtesy: whoever owns the folder may not let us.
		_ = unix.UtimesNanoAt(fd, ".", []unix.Timespec{st.Atim, n.was.Mtim}, 0)
	}
	return nil
}

// stays reports whether the folder was there and keeps its own attributes.
func (n *node) stays() bool {
	if n.fresh || n.ours || n.entry != nil || n.t.o.InPlace {
		return false
	}
	return n.parent == nil && !n.t.made || n.parent != nil && n.t.job.Overwrite == restore.Never
}

// enter opens the folder name inside n, making it if need be. entry is given if the point has one for it.
func (n *node) enter(name string, entry *format.Entry) (*node, error) {
	if err := n.claim(name, true); err != nil {
		return nil, err
	}
	c := &node{t: n.t, parent: n, name: name, fd: -1, manner: n.manner, absent: n.absent}
	if !n.absent {
		if err := c.open(entry != nil && entry.File != nil); err != nil {
			return nil, err
		}
	}
	c.refs.Store(1)
	n.hold()
	n.t.keep(c)
	return c, nil
}

// open makes the folder if it is not there, and opens it. known: the point is of a directory and says that this is a
// folder, so that its mode is its own until it is set, and a file or link in its place may be replaced.
func (c *node) open(known bool) error {
	in, err := c.parent.pin()
	if err != nil {
		return err
	}
	defer c.parent.unpin()
	fd, err := c.openOrMake(in, known)
	if (err == unix.ELOOP || err == unix.ENOTDIR) && known && c.t.job.Overwrite != restore.Never {
		if c.t.job.DryRun {
			c.absent = true
			return nil
		}
		if err = retry(func() error { return unix.Unlinkat(in, c.name, 0) }); err == nil {
			fd, err = c.openOrMake(in, known)
		}
	}
	switch {
	case err == unix.ENOENT && c.t.job.DryRun:
		c.absent = true
		return nil
	case (err == unix.ELOOP || err == unix.ENOTDIR) && known:
		return differs([]string{"a file, link or special file, not a folder"})
	case err == unix.ELOOP || err == unix.ENOTDIR:
		return refuse("a file or symbolic link is at the target where the folder %q must be; it is not followed or replaced", c.name)
	case err != nil:
		return explain("open folder", c.name, err)
	}
	if err := unix.Fstat(fd, &c.was); err != nil {
		_ = unix.Close(fd)
		return explain("look at folder", c.name, err)
	}
	c.id = idOf(&c.was)
	c.opened(fd)
	return c.begin(known)
}

func (c *node) openOrMake(in int, known bool) (int, error) {
	if !c.t.job.DryRun {
		mode := uint32(0o777)
		if known {
			mode = 0o700 // until its own is set
		}
		err := retry(func() error { return unix.Mkdirat(in, c.name, mode) })
		if err != nil && err != unix.EEXIST {
			return -1, err
		}
		c.fresh = err == nil
	}
	fd, err := openat(in, c.name, openDir, 0)
	if err == unix.EACCES && known && c.t.job.Overwrite != restore.Never && !c.t.job.DryRun && openUp(in, c.name) {
		fd, err = openat(in, c.name, openDir, 0)
	}
	return fd, err
}

// begin looks at a folder that was opened for the first time.
func (c *node) begin(known bool) error {
	fd, err := c.pin()
	if err != nil {
		return err
	}
	defer c.unpin()
	c.manner = c.mannerOf(fd)
	if c.fresh && known {
		return c.markOurs(fd)
	}
	c.bequeath = hasDefaultACL(fd)
	if !c.fresh {
		return c.sweep(fd)
	}
	return nil
}

// folderMark lies in a folder that a restore made and has not given its attributes yet. If the restore is broken off, the
// next one knows by it that they are still to be set, also where it leaves alone what was there.
const folderMark = tempPrefix + "folder"

// markOurs takes away what a new folder got from the one above it, and marks it.
func (c *node) markOurs(fd int) error {
	c.ours = true
	dropACLs(fd)
	mark, err := openat(fd, folderMark, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return explain("leave a mark in", c.name, err)
	}
	_ = unix.Close(mark) // it is empty
	return nil
}

// own says that the folder's attributes are to be those of e. One we could not write into for now is opened up.
func (c *node) own(e *format.Entry) {
	c.entry = e
	if c.absent || c.fresh || c.t.job.DryRun || c.t.euid == 0 || c.was.Mode&0o700 == 0o700 {
		return
	}
	if fd, err := c.pin(); err == nil {
		_ = unix.Fchmod(fd, uint32(c.was.Mode)&0o7777|0o700) // if not, what is to go into it says so
		c.unpin()
	}
}

// sweep removes what a restore that was killed left in a folder: the lock on the root says that none is running.
func (c *node) sweep(dir int) error {
	fd, err := openat(dir, ".", openDir, 0)
	if err != nil {
		return nil // not readable: then nothing of ours can be found
	}
	d := os.NewFile(uintptr(fd), c.name)
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			switch {
			case name == folderMark:
				c.ours = true
			case name == markName || c.t.job.DryRun || !strings.HasPrefix(name, tempPrefix):
			default:
				err := unix.Unlinkat(dir, name, 0)
				if err == unix.EISDIR || err == unix.EPERM { // as other systems say it
					_ = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) // a full one was never ours
					err = nil
				}
				if err != nil && err != unix.ENOENT {
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

// keep and drop know the folders in use, so that Close finds those whose receivers were never called.
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
