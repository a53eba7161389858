package todir

import (
	"container/list"

	"golang.org/x/sys/unix"
)

// maxIdle is how many folders stay open that nobody is working in just now. A tree may have tens of thousands of folders
// inside each other, and as many that wait for their content: open descriptors are bounded by this and the concurrency.
const maxIdle = 128

// folders are the open descriptors of nodes. The one used longest ago is closed first, and opened again when it is needed:
// by its name in the nearest folder above that is open, or from a folder inside it. That it is the same folder is checked,
// so that nothing that is moved or put in its place meanwhile leads elsewhere.
type folders struct {
	idle *list.List // of *node, used last first
}

// errReplaced: the folder that was opened before is not at its place.
func errReplaced(name string) error {
	return refuse("the folder %q was moved or replaced while this restore ran", name)
}

// pin opens the folder, if it is not open, and keeps it open until unpin.
func (n *node) pin() (int, error) {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	if n.fd < 0 {
		fd, err := n.reopen()
		if err != nil {
			return -1, err
		}
		n.fd = fd
	}
	n.awake()
	n.pins++
	return n.fd, nil
}

// unpin lets the folder be closed when others need the room.
func (n *node) unpin() {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	if n.pins--; n.pins == 0 {
		n.rest()
	}
}

// opened is called when the folder was opened for the first time.
func (n *node) opened(fd int) {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	n.fd = fd
	n.rest()
}

// reopen opens a folder that was closed for want of room. t.mu is held, as in all that follow.
func (n *node) reopen() (int, error) {
	var way []*node
	up := n
	for ; up.fd < 0; up = up.parent { // the root is always open
		way = append(way, up)
	}
	fd := up.fd
	for i := len(way) - 1; i >= 0; i-- {
		next, err := openat(fd, way[i].name, openDir, 0)
		if fd != up.fd {
			_ = unix.Close(fd) // only passed through
		}
		switch err {
		case nil:
		case unix.ENOENT, unix.ELOOP, unix.ENOTDIR:
			return -1, errReplaced(way[i].name)
		default:
			return -1, explain("open folder", way[i].name, err)
		}
		fd = next
	}
	if !n.is(fd) {
		_ = unix.Close(fd)
		return -1, errReplaced(n.name)
	}
	return fd, nil
}

// is reports whether an open folder is this one.
func (n *node) is(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && idOf(&st) == n.id
}

func (n *node) awake() {
	if n.idle != nil {
		n.t.folders.idle.Remove(n.idle)
		n.idle = nil
	}
}

func (n *node) rest() {
	all := n.t.folders.idle
	n.idle = all.PushFront(n)
	for all.Len() > maxIdle {
		all.Back().Value.(*node).shut()
	}
}

func (n *node) shut() {
	n.awake()
	if n.fd >= 0 {
		_ = unix.Close(n.fd) // a folder has no data to lose
		n.fd = -1
	}
}

// close ends the folder's use. The one above it is the next that is needed: where that was closed it is opened from here,
// which costs one step however deep it lies.
func (n *node) close() {
	n.t.mu.Lock()
	defer n.t.mu.Unlock()
	if up := n.parent; up != nil && n.fd >= 0 && up.fd < 0 && !up.absent {
		fd, err := openat(n.fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		switch {
		case err != nil: // then by name, when it is needed
		case !up.is(fd):
			_ = unix.Close(fd)
		default:
			up.fd = fd
			up.rest()
		}
	}
	n.shut()
}
