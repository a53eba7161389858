package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// diskTools says what is missing of the programs that look into disks.
func diskTools() error {
	for _, p := range []string{"nbdinfo", "nbdcopy", "qemu-img", "qemu-io", "mke2fs", "e2fsck", "debugfs", "zstd"} {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s is needed: apt-get install libnbd-bin qemu-utils e2fsprogs zstd", p)
		}
	}
	return nil
}

// sameDisk holds a disk that came back in some way against the image that it was, and against the tree that is on it.
func sameDisk(ctx context.Context, w *world, how, img, tree, file string) error {
	_, _, err := execute(ctx, w.dir, environment(), "cmp", img, file)
	w.bar(err == nil, "%s: cmp finds it identical to the image %v", how, errText(err))
	was, is := used(img), used(file)
	w.bar(is > 0 && is <= was+was/10, "%s: it takes %d B (du), the image itself %d: holes are holes", how, is, was)
	_, _, err = execute(ctx, w.dir, environment(), "e2fsck", "-fn", file)
	w.bar(err == nil, "%s: e2fsck -fn finds the file system clean %v", how, errText(err))
	out := w.path("files")
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	_, _, err = execute(ctx, w.dir, environment(), "debugfs", "-R", "rdump / "+out, file)
	var diff []byte
	if err == nil {
		diff, _, err = execute(ctx, w.dir, environment(), "diff", "-r", "--no-dereference", "--exclude=lost+found", tree, out)
	}
	w.bar(err == nil, "%s: every file read through debugfs is the original tree's, %d bytes of differences %v", how, len(diff), errText(err))
	return os.RemoveAll(out)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return "(" + text[:min(len(text), 300)] + ")"
}

// used is what a file takes on its disk, in bytes; -1 if that cannot be known.
func used(path string) int64 {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return -1
	}
	return st.Blocks * 512
}
