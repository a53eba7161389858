//go:build unix

package trusted

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

func ownerOf(info fs.FileInfo) (owner, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return owner{}, false
	}
	return owner{st.Uid, st.Gid}, true
}

// readOnly reports whether path lies on a file system to which nobody here can write, whatever its mode says: so Kubernetes
// mounts configuration and secrets.
func readOnly(path string) bool { return unix.Access(path, unix.W_OK) == unix.EROFS }
