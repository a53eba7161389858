//go:build !linux

package todir

import (
	"errors"

	"golang.org/x/sys/unix"
)

// How a file is asked where its data is.
const (
	seekData = 4
	seekHole = 3
)

// syncAll has every file system write everything out: there is no call for one of them.
func syncAll(int) error {
	return unix.Sync()
}

// allocate does nothing: other systems have no call of that meaning.
func allocate(int, int64, int64) error { return nil }

// flush does nothing, for the same reason.
func flush(int, int64, int64) {}

var errNoSpecials = errors.New("special files cannot be made on this system")

func mknodat(int, string, uint32, uint64) error { return errNoSpecials }
