package todir

import "golang.org/x/sys/unix"

// syncAll has the file system that fd is on write everything out.
func syncAll(fd int) error { return unix.Syncfs(fd) }

// allocate reserves room for n bytes at off.
func allocate(fd int, off, n int64) error { return unix.Fallocate(fd, 0, off, n) }

func mknodat(dir int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dir, name, mode, int(dev))
}
