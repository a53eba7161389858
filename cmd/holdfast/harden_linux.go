package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps keys out of core files and away from debuggers of the same user.
func forbidCoreDumps() error {
	return errors.Join(
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
}
