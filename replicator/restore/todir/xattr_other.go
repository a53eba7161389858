//go:build !linux

package todir

import "golang.org/x/sys/unix"

// absent reports whether err says that this file system has no attributes.
func absent(err error) bool { return err == unix.ENOTSUP || err == unix.ENOSYS }

// hasDefaultACL and dropACLs are for Linux, whose ACLs are attributes that folders hand down.
func hasDefaultACL(int) bool { return false }

func dropACLs(int) {}
