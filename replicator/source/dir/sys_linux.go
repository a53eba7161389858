package dirsource

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	noatime    = unix.O_NOATIME
	pathOnly   = unix.O_PATH
	pathFlags  = unix.O_PATH
	seekData   = unix.SEEK_DATA
	seekHole   = unix.SEEK_HOLE
	noSuchAttr = unix.ENODATA
	allXattrs  = false
)

// readlinkOf gives where the symbolic link points that is open as fd.
func readlinkOf(fd, _ int, _ string) (string, error) { return readlinkAt(fd, "") }

// mountOf gives the number of the mount that a name in dir, or with "" dir itself, is on: bind mounts of one file system
// have the same device and different ones. 0: the kernel (before 5.8) does not say. It opens nothing, waits for no server and
// mounts nothing.
func mountOf(dir int, name string) (uint64, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var stx unix.Statx_t
	for {
		err := unix.Statx(dir, name, flags, unix.STATX_MNT_ID, &stx)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS):
			return 0, nil
		case err != nil:
			return 0, err
		case stx.Mask&unix.STATX_MNT_ID == 0:
			return 0, nil
		}
		return stx.Mnt_id, nil
	}
}

// bare reports whether the file system of fd says that it has no blocks: what the kernel makes up while it is read, and some
// servers in user space.
func bare(fd int) bool {
	var st unix.Statfs_t
	for {
		err := unix.Fstatfs(fd, &st)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && st.Blocks == 0
	}
}

// openBeneath opens path below dir and follows no symbolic link: in one call where the kernel can.
func openBeneath(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags), //nolint:gosec // open flags are positive
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&pathOnly == 0 {
		how.Flags |= noatime
	}
	for {
		fd, err := unix.Openat2(dir, path, &how)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EAGAIN),
			errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.EINVAL), errors.Is(err, unix.E2BIG):
			return openSteps(dir, path, flags) // an old kernel, a sandbox, a file of another's, or a very long path
		}
		return fd, err
	}
}

// readNames gives every name in the folder open as fd, and whether it is a folder. unix.ENOENT: the folder was removed while
// it was read, or its system says so.
func readNames(fd int, visit func(name []byte, folder bool) error) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		for b := buf[:n]; len(b) > 0; {
			// struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name ending in a zero byte.
			if len(b) < 19 {
				return unix.EIO
			}
			size := int(binary.NativeEndian.Uint16(b[16:]))
			if size < 19 || size > len(b) {
				return unix.EIO
			}
			kind, name := b[18], b[19:size]
			b = b[size:]
			if i := bytes.IndexByte(name, 0); i >= 0 {
				name = name[:i]
			}
			if string(name) == "." || string(name) == ".." {
				continue
			}
			if err := visit(name, isFolder(fd, name, kind)); err != nil {
				return err
			}
		}
	}
}

// isFolder asks where the listing does not say.
func isFolder(fd int, name []byte, kind byte) bool {
	if kind != unix.DT_UNKNOWN {
		return kind == unix.DT_DIR
	}
	var st unix.Stat_t
	return fstatat(fd, string(name), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// xattrCalls gives the calls for a descriptor. One that was opened for its path only is reached through /proc, which
// leads to the very thing that is open, a symbolic link included.
func xattrCalls(fd int, pathOnly bool) (list func([]byte) (int, error), get func(string, []byte) (int, error)) {
	if !pathOnly {
		return func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
			func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) }
	}
	path := "/proc/self/fd/" + strconv.Itoa(fd)
	return func(b []byte) (int, error) { return unix.Listxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Getxattr(path, name, b) }
}
