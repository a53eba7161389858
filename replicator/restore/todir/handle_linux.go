package todir

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// handle is one open thing whose attributes are read and set: always that thing, whatever its name leads to meanwhile.
type handle struct {
	fd   int
	path string // how it is reached where it is open for its path only: a link, fifo, device or socket
}

// openHandle is for what is open for reading or writing. It is not closed here.
func openHandle(fd int) handle { return handle{fd: fd} }

// pathHandle opens what must not be opened itself. The path leads to the very thing, a symbolic link included.
func pathHandle(dir int, name string) (handle, error) {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return handle{fd, "/proc/self/fd/" + strconv.Itoa(fd)}, err
}

func (h handle) close() { _ = unix.Close(h.fd) }

func (h handle) stat(st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstat(h.fd, st) })
}

func (h handle) chown(uid, gid int) error {
	return retry(func() error { return unix.Fchownat(h.fd, "", uid, gid, unix.AT_EMPTY_PATH) })
}

func (h handle) chmod(mode uint32) error {
	return retry(func() error {
		if h.path != "" {
			return unix.Chmod(h.path, mode)
		}
		return unix.Fchmod(h.fd, mode)
	})
}

func (h handle) list(b []byte) (int, error) {
	if h.path != "" {
		return unix.Listxattr(h.path, b)
	}
	return unix.Flistxattr(h.fd, b)
}

func (h handle) get(name string, b []byte) (int, error) {
	if h.path != "" {
		return unix.Getxattr(h.path, name, b)
	}
	return unix.Fgetxattr(h.fd, name, b)
}

func (h handle) set(name string, value []byte) error {
	return retry(func() error {
		if h.path != "" {
			return unix.Setxattr(h.path, name, value, 0)
		}
		return unix.Fsetxattr(h.fd, name, value, 0)
	})
}

func (h handle) remove(name string) error {
	return retry(func() error {
		if h.path != "" {
			return unix.Removexattr(h.path, name)
		}
		return unix.Fremovexattr(h.fd, name)
	})
}

// openUp lets the owner of a folder, who may not open it as it is, do so. A link in its place is not followed.
func openUp(dir int, name string) bool {
	fd, err := openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd) //nolint:errcheck // open for its path only
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700) == nil
}
