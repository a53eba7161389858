//go:build !linux

package main

import "syscall"

// forbidCoreDumps keeps keys out of core files.
func forbidCoreDumps() error {
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}
