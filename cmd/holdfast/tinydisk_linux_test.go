package main

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// tinyDisk DIR SIZE|ro|rw mounts a file system of SIZE (64k, say) at DIR, or makes one that is mounted there read-only or
// writable again. It needs root and the right to mount.
func tinyDisk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tinydisk DIR SIZE|ro|rw")
	}
	dir := ts.MkAbs(args[0])
	switch args[1] {
	case "ro":
		ts.Check(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		return
	case "rw":
		ts.Check(unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
		return
	}
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+args[1]))
	ts.Defer(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			ts.Logf("unmount %s: %v", dir, err)
		}
	})
}

// canMount finds out by doing it.
func canMount() bool {
	dir, err := os.MkdirTemp("", "holdfast-mount-")
	if err != nil {
		return false
	}
	defer func() { _ = os.Remove(dir) }()
	if unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return unix.Unmount(dir, unix.MNT_DETACH) == nil
}
