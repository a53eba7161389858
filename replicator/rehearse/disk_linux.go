package rehearse

import (
	"os"

	"golang.org/x/sys/unix"
)

// forget asks the system to read a file from the disk again, which the restore has seen everything written to. Where it does not, it is read from memory.
func forget(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
