package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// memoryBar is what a run or restore at the default limit of 256 MiB may have resident at most.
const memoryBar = 300 << 20

// world is what the parts share: a folder, the built program, the servers that were started.
type world struct {
	dir      string
	holdfast string
	started  map[servers.Kind]*servers.Server
	extra    []func() error // of parts: called at the end, the last first
	serial   int
	missed   int
}

func newWorld(ctx context.Context) (w *world, err error) {
	base := os.Getenv("BARS_TMP")
	if base != "" {
		if err := os.MkdirAll(base, 0o700); err != nil {
			return nil, err
		}
		// The servers' data goes there too.
		if err := os.Setenv("TMPDIR", base); err != nil {
			return nil, err
		}
	}
	w = &world{started: map[servers.Kind]*servers.Server{}}
	if w.dir, err = os.MkdirTemp(base, "holdfast-bars-"); err != nil {
		return nil, err
	}
	w.holdfast = os.Getenv("BARS_HOLDFAST")
	if w.holdfast != "" {
		return w, nil
	}
	w.holdfast = filepath.Join(w.dir, "holdfast")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", w.holdfast, "./cmd/holdfast").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("build holdfast: %w\n%s", err, out), w.close())
	}
	return w, nil
}

func (w *world) close() error {
	var errs []error
	for _, end := range slices.Backward(w.extra) {
		errs = append(errs, end())
	}
	for _, s := range w.started {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// server gives the running server of a kind.
func (w *world) server(ctx context.Context, k servers.Kind) (*servers.Server, error) {
	if s := w.started[k]; s != nil {
		return s, nil
	}
	s, err := servers.Start(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", k, err)
	}
	w.started[k] = s
	return s, nil
}

// path gives a fresh name in the world's folder.
func (w *world) path(what string) string {
	w.serial++
	return filepath.Join(w.dir, fmt.Sprintf("%s-%d", what, w.serial))
}

// bar says whether a promise held.
func (w *world) bar(held bool, format string, args ...any) {
	verdict := "held  "
	if !held {
		verdict = "MISSED"
		w.missed++
	}
	fmt.Printf("  [%s] %s\n", verdict, fmt.Sprintf(format, args...))
}

// cost is what a finished process took.
type cost struct {
	wall, cpu time.Duration
	peak      int64 // bytes resident at most
}

func (c cost) String() string {
	return fmt.Sprintf("wall %6.2f s, CPU %6.2f s, peak %4d MiB", c.wall.Seconds(), c.cpu.Seconds(), c.peak>>20)
}

// execute runs a program to its end. Its standard error is part of the error if it fails.
func execute(ctx context.Context, dir string, env []string, bin string, args ...string) (stdout []byte, c cost, err error) {
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir, cmd.Env = dir, env
	var out, diag bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diag
	began := time.Now()
	err = cmd.Run()
	c.wall = time.Since(began)
	if s := cmd.ProcessState; s != nil {
		c.cpu, c.peak = s.UserTime()+s.SystemTime(), peakOf(s)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(bin), strings.Join(args, " "), err, tail(out.Bytes()), tail(diag.Bytes()))
	}
	return out.Bytes(), c, err
}

// peakOf is the most a finished process had resident, in bytes.
func peakOf(s *os.ProcessState) int64 {
	if s != nil {
		if r, ok := s.SysUsage().(*syscall.Rusage); ok {
			return r.Maxrss << 10
		}
	}
	return 0
}

// residentOf is the most a running process has had resident so far, in bytes, without what it got from the one that
// started it; 0 if that cannot be known.
func residentOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, text, _ = bytes.Cut(text, []byte("VmHWM:"))
	var kib int64
	if _, err := fmt.Sscan(string(text), &kib); err != nil {
		return 0
	}
	return kib << 10
}

func tail(b []byte) []byte { return b[max(0, len(b)-4096):] }

// ownPeak is the most this program itself had resident. Linux counts the memory of the process that started another one
// towards the other's peak, so a peak below this one means no more than "not above".
func ownPeak() int64 {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return r.Maxrss << 10
}
