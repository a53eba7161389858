package dirstore

import (
	"os"
	"syscall"
)

// KindOf is kindOf, for the one failure that a test cannot make happen in a real directory.
var KindOf = kindOf

// Lacking has a store's file system answer as one without hard links does, and as one without renames that refuse to
// replace if rename is not 0.
func Lacking(s *Store, link, rename syscall.Errno) {
	s.claims.link = func(*os.Root, string, string) error { return link }
	if rename != 0 {
		s.claims.rename = func(*os.Root, string, string) error { return rename }
	}
}

// NoLocks has a store's file system answer as one without flock(2) does.
func NoLocks(s *Store, errno syscall.Errno) { s.flock = func(int, int) error { return errno } }
