package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// diskSize is that of the ext4 image.
const diskSize = 1 << 30

// device stores a disk image, serves it as a network block device, and reads it with the clients that people have.
func device(ctx context.Context, w *world) error {
	if err := diskTools(); err != nil {
		return err
	}
	tree, data := w.path("tree"), w.path("data")
	root, err := goTree(ctx)
	if err != nil {
		return err
	}
	if err := os.CopyFS(tree, os.DirFS(filepath.Join(root, "src"))); err != nil {
		return err
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	disk := filepath.Join(data, "disk.raw")
	if _, _, err := execute(ctx, data, environment(), "mke2fs", "-q", "-t", "ext4", "-d", tree, disk, fmt.Sprint(diskSize>>10)); err != nil {
		return err
	}
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	s, err := w.server(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	f := &fuse{}
	endpoint, err := f.before(s)
	if err != nil {
		return err
	}
	w.extra = append(w.extra, f.close)
	j, err := newJob(ctx, w, dirAt(data), vault, through(reader, s, endpoint))
	if err != nil {
		return err
	}
	m, err := j.run(ctx, "an ext4 image of 1 GiB")
	if err != nil {
		return err
	}
	srv, uri, err := j.serve(ctx, m.Point, "disk.raw")
	if err != nil {
		return err
	}
	err = w.clients(ctx, f, uri, disk, tree)
	return errors.Join(err, w.endServe(srv))
}

// endServe stops a server that was started by serve.
func (w *world) endServe(srv *exec.Cmd) error {
	peak := residentOf(srv.Process.Pid)
	if err := srv.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := srv.Wait()
	w.bar(err == nil, "serving ends well %v", errText(err))
	w.bar(peak > 0 && peak < memoryBar, "peak memory of the server %d MiB, bar %d MiB", peak>>20, memoryBar>>20)
	return nil
}

// serve starts `holdfast serve nbd` with nothing but a restore key and the vault's reader, and gives where it serves.
func (j *job) serve(ctx context.Context, point, key string) (*exec.Cmd, string, error) {
	socket := filepath.Join(j.dir, "nbd.sock")
	args := []string{"--json", "serve", "nbd", point, key, "--vault", j.reader.url, "--identity", j.identity, "--socket", socket}
	if j.reader.creds.AccessKeyID != "" {
		args = append(args, "--credentials", "env:BARS_READER")
	}
	cmd := exec.CommandContext(ctx, j.w.holdfast, args...)
	cmd.Dir = filepath.Join(j.dir, "nowhere")
	cmd.Env = append(append(environment(), "HOME="+cmd.Dir), credentials("READER", j.reader.creds)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	var ready struct{ URI string }
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		return nil, "", errors.Join(fmt.Errorf("serve nbd: %w", err), cmd.Process.Kill(), cmd.Wait())
	}
	return cmd, ready.URI, nil
}

// clients reads the device in every way.
func (w *world) clients(ctx context.Context, f *fuse, uri, disk, tree string) error {
	dir := w.path("copies")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	run := func(label, bin string, args ...string) ([]byte, error) {
		before := f.counts()
		out, c, err := execute(ctx, dir, environment(), bin, args...)
		after := f.counts()
		fmt.Printf("%-32s %s; %d requests, %.1f MiB from the vault\n", label, c, after.requests-before.requests, float64(after.given-before.given)/(1<<20))
		return out, err
	}
	if _, err := run("nbdinfo", "nbdinfo", "--json", uri); err != nil {
		return err
	}
	before := f.counts()
	for _, at := range []string{"20M", "60M", "100M"} {
		if _, err := run("qemu-io, 4 KiB at "+at, "qemu-io", "-f", "raw", "-r", "-c", "read "+at+" 4k", uri); err != nil {
			return err
		}
	}
	few := f.counts().given - before.given
	w.bar(few > 0 && few < 8<<20, "three reads of 4 KiB take %.1f MiB from the vault, bar 8 MiB (an object's two ends, a frame, the extents)", float64(few)/(1<<20))
	copied := filepath.Join(dir, "disk.raw")
	if _, err := run("nbdcopy", "nbdcopy", uri, copied); err != nil {
		return err
	}
	_, err := run("qemu-img compare", "qemu-img", "compare", "-f", "raw", "-F", "raw", uri, disk)
	w.bar(err == nil, "qemu-img finds no difference %v", errText(err))
	return sameDisk(ctx, w, "nbdcopy", disk, tree, copied)
}
