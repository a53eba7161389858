//go:build !linux

package todir

import "golang.org/x/sys/unix"

// handle is one thing whose attributes are read and set. What cannot be opened is named by its folder and name here:
// other systems have no descriptors for links.
type handle struct {
	fd   int
	dir  int
	name string
}

func openHandle(fd int) handle { return handle{fd: fd} }

func pathHandle(dir int, name string) (handle, error) { return handle{-1, dir, name}, nil }

func (h handle) close() {}

func (h handle) stat(st *unix.Stat_t) error {
	return retry(func() error {
		if h.fd < 0 {
			return unix.Fstatat(h.dir, h.name, st, unix.AT_SYMLINK_NOFOLLOW)
		}
		return unix.Fstat(h.fd, st)
	})
}

func (h handle) chown(uid, gid int) error {
	return retry(func() error {
		if h.fd < 0 {
			return unix.Fchownat(h.dir, h.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
		}
		return unix.Fchown(h.fd, uid, gid)
	})
}

func (h handle) chmod(mode uint32) error {
	return retry(func() error {
		if h.fd < 0 {
			return unix.Fchmodat(h.dir, h.name, mode, unix.AT_SYMLINK_NOFOLLOW)
		}
		return unix.Fchmod(h.fd, mode)
	})
}

func (h handle) list(b []byte) (int, error) {
	if h.fd < 0 {
		return 0, unix.ENOTSUP
	}
	return unix.Flistxattr(h.fd, b)
}

func (h handle) get(name string, b []byte) (int, error) {
	if h.fd < 0 {
		return 0, unix.ENOTSUP
	}
	return unix.Fgetxattr(h.fd, name, b)
}

func (h handle) set(name string, value []byte) error {
	if h.fd < 0 {
		return unix.ENOTSUP
	}
	return unix.Fsetxattr(h.fd, name, value, 0)
}

func (h handle) remove(name string) error {
	if h.fd < 0 {
		return unix.ENOTSUP
	}
	return unix.Fremovexattr(h.fd, name)
}

// openUp is for Linux: elsewhere a folder's mode cannot be changed without following its name.
func openUp(int, string) bool { return false }
