package dirsource

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	noatime    = 0
	pathOnly   = 0
	pathFlags  = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_SYMLINK
	seekHole   = 3
	seekData   = 4
	noSuchAttr = unix.ENOATTR
	allXattrs  = true // they have no name spaces
)

// readlinkOf gives where the symbolic link points that is key below root.
func readlinkOf(_, root int, key string) (string, error) { return readlinkAt(root, key) }

// mountOf gives 0: this system does not number mounts.
func mountOf(int, string) (uint64, error) { return 0, nil }

// bare reports whether the file system of fd says that it has no blocks.
func bare(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Blocks == 0
}

// openBeneath opens path below dir and follows no symbolic link.
func openBeneath(dir int, path string, flags int) (int, error) {
	if flags&unix.O_SYMLINK != 0 {
		flags &^= unix.O_NOFOLLOW // O_SYMLINK opens the link itself
	}
	return openSteps(dir, path, flags)
}

// readNames gives every name in the folder open as fd, and whether it is a folder.
func readNames(fd int, visit func(name []byte, folder bool) error) error {
	own, err := unix.Dup(fd)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(own), "folder")
	defer f.Close() //nolint:errcheck // read only
	for {
		names, err := f.Readdirnames(4096)
		for _, name := range names {
			var st unix.Stat_t
			folder := fstatat(fd, name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
			if err := visit([]byte(name), folder); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func xattrCalls(fd int, _ bool) (list func([]byte) (int, error), get func(string, []byte) (int, error)) {
	return func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) }
}
