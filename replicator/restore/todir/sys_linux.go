package todir

import "golang.org/x/sys/unix"

// syncAll has the file system that fd is on write everything out.
func syncAll(fd int) error { return unix.Syncfs(fd) }

func mknodat(dir int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dir, name, mode, int(dev))
}
