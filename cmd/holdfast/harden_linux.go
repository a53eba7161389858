package main

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// forbidCoreDumps keeps keys out of core files and away from debuggers of the same user.
func forbidCoreDumps() error {
	return errors.Join(
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0),
		unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}),
	)
}

// processorTime is how much this process has taken.
func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
