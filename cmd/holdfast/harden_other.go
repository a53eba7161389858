//go:build !linux

package main

import (
	"syscall"
	"time"
)

// forbidCoreDumps keeps keys out of core files.
func forbidCoreDumps() error {
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

// processorTime is how much this process has taken: not asked here, where there is no systemd.
func processorTime() time.Duration { return 0 }
