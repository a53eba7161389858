//go:build unix

package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockedBy asks the kernel which process has a file locked; 0 where it does not say, as of one in another container.
func lockedBy(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}
