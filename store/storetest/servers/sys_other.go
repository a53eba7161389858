//go:build !linux

package servers

import "syscall"

// dieWithParent: only Linux has a death signal; elsewhere a killed test program leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
