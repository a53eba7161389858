package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/holdfast-backup/holdfast/store"
)

// claims are the two ways in which the kernel gives a file its name and refuses one that is taken. Tests replace them.
type claims struct {
	link   func(root *os.Root, from, to string) error
	rename func(root *os.Root, from, to string) error
}

// claim gives the finished temporary file tmp its name; fs.ErrExist if that is taken. Nothing is ever overwritten, and no
// name ever holds half an object:
//
//   - link(2) refuses to replace, in every file system that has it;
//   - where there are no hard links (FAT, many FUSE and network file systems), renameat2(2) with RENAME_NOREPLACE does;
//   - where there is neither, the name is looked at and the file renamed under the lock that every writer of this vault
//     takes. That holds between all programs on one machine. Two machines with the same folder mounted could both find the
//     name free: the names of stored objects hold the hash of their bytes, so then the same bytes take their own place.
func (s *Store) claim(tmp, name string) error {
	err := s.claims.link(s.root, tmp, name)
	if !lacking(err) {
		return err
	}
	err = s.claims.rename(s.root, tmp, name)
	if !lacking(err) {
		return err
	}
	unlock, err := s.kept.lockRecords()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.root.Lstat(name); err == nil {
		return fs.ErrExist
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = s.root.Rename(tmp, name)
	if errors.Is(err, syscall.EXDEV) {
		return fmt.Errorf("%w: %s is on another file system than %s; keep a directory vault on one: %w", store.ErrUnsupported, path.Dir(name), temporary, err)
	}
	return err
}

// lacking reports whether err says that the file system has no such call, rather than that it refuses this one.
// EPERM is what link(2) documents for a file system without hard links; EINVAL is FUSE's answer to flags of a rename, and EIO
// that of FUSE programs to what they never thought of (rclone mount). If it is a disk that fails, the next way fails too.
func lacking(err error) bool {
	for _, no := range []error{syscall.EPERM, syscall.ENOSYS, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.EINVAL, syscall.EMLINK, syscall.EXDEV, syscall.EIO, errors.ErrUnsupported} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
