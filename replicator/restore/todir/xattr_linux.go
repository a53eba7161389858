package todir

import (
	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
)

// absent reports whether err says that there is no such attribute, or that this file system has none.
func absent(err error) bool {
	return err == unix.ENODATA || err == unix.ENOTSUP || err == unix.ENOSYS
}

// hasDefaultACL reports whether what is made in a folder gets an ACL from it.
func hasDefaultACL(dir int) bool {
	n, err := unix.Fgetxattr(dir, acl.Default, nil)
	return err == nil && n > 0
}

// dropACLs takes away the lists that a new file or folder got from the folder it was made in. Its mode stays: it was made
// with one that gives nobody else anything, so neither does what is left of the list.
func dropACLs(fd int) {
	_ = unix.Fremovexattr(fd, acl.Default) // what stays is found when it is asked back
	_ = unix.Fremovexattr(fd, acl.Access)
}
