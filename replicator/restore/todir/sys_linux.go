package todir

import "golang.org/x/sys/unix"

// How a file is asked where its data is.
const (
	seekData = unix.SEEK_DATA
	seekHole = unix.SEEK_HOLE
)

// syncAll has the file system that fd is on write everything out.
func syncAll(fd int) error { return unix.Syncfs(fd) }

// allocate reserves room for n bytes at off.
func allocate(fd int, off, n int64) error { return unix.Fallocate(fd, 0, off, n) }

// flush has the disk begin to write n bytes at off, and does not wait: the sync at the end then finds less to do.
func flush(fd int, off, n int64) {
	if n >= reserveMin {
		_ = unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WRITE)
	}
}

func mknodat(dir int, name string, mode uint32, dev uint64) error {
	return unix.Mknodat(dir, name, mode, int(dev))
}
