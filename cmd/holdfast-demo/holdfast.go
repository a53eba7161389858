package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// buildHoldfast builds the program that users run, from the tree this demo lies in and with that tree's own go.mod, so
// that not even a version of a library comes from the demo's. A ready program is taken as it is.
func buildHoldfast(ctx context.Context, dir, ready string) (string, error) {
	if ready != "" {
		return filepath.Abs(ready)
	}
	root, err := treeRoot(ctx)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "holdfast")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", bin, "./cmd/holdfast")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, bytes.TrimSpace(out))
	}
	return bin, nil
}

// treeRoot is the folder of the tree that this demo lies in.
func treeRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	// It is two folders above this module.
	root := filepath.Dir(filepath.Dir(filepath.Dir(strings.TrimSpace(string(out)))))
	if _, err := os.Stat(filepath.Join(root, "cmd", "holdfast", "main.go")); err != nil {
		return "", fmt.Errorf("the demo builds Holdfast from the tree it lies in; run it there, with go -C cmd/holdfast-demo run . (%w)", err)
	}
	return root, nil
}

// machine is a computer that holdfast runs on: a folder and an environment of its own, and nothing of anybody else's.
type machine struct {
	story   *story
	bin     string
	dir     string
	env     []string
	verbose bool
}

func (d *demo) newMachine(name string) (*machine, error) {
	m := &machine{story: &d.story, bin: d.bin, dir: filepath.Join(d.dir, name), verbose: d.verbose}
	home := filepath.Join(m.dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	m.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CACHE_HOME=" + filepath.Join(home, ".cache"), "TMPDIR=" + d.dir}
	return m, nil
}

// knows puts a credential into the machine's environment, where a configuration's env:PREFIX finds it.
func (m *machine) knows(prefix string, a account) {
	m.env = append(m.env, prefix+"_ACCESS_KEY_ID="+a.ID, prefix+"_SECRET_ACCESS_KEY="+a.Secret)
}

// ran is what a command came to.
type ran struct {
	out, err string
	code     int
}

// holdfast runs the program as somebody types it, and shows what it prints. Any exit code not among ok is an error.
func (m *machine) holdfast(ctx context.Context, ok []int, args ...string) (ran, error) {
	m.command(args)
	r, err := m.quiet(ctx, ok, args...)
	if err != nil {
		return r, err
	}
	m.show(r.out)
	if m.verbose {
		m.show(r.err)
	}
	return r, nil
}

// command shows what is typed.
func (m *machine) command(args []string) {
	m.story.say("$ %s", wrap("holdfast "+typed(args), wide, " \\", "      "))
}

// quiet runs the program and shows nothing.
func (m *machine) quiet(ctx context.Context, ok []int, args ...string) (ran, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, m.bin, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = m.dir, m.env, &stdout, &stderr
	endWithParent(cmd)
	runtime.LockOSThread() // the kernel watches the thread that starts a child, not the program
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	r := ran{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("holdfast %s: %w", args[0], err)
	}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if !slices.Contains(ok, r.code) {
		return r, fmt.Errorf("holdfast %s: exit code %d\n%s%s", typed(args), r.code, r.out, r.err)
	}
	return r, nil
}

// showEnds prints the first lines of a long output and its last two.
func (m *machine) showEnds(text string) {
	lines := slices.Collect(strings.Lines(text))
	const first, last = 3, 2
	if len(lines) <= first+last+1 || m.verbose {
		m.show(text)
		return
	}
	m.show(strings.Join(lines[:first], ""))
	m.story.say("  … %d more lines like these …", len(lines)-first-last)
	m.show(strings.Join(lines[len(lines)-last:], ""))
}

// show prints a command's lines.
func (m *machine) show(text string) {
	for line := range strings.Lines(text) {
		if !m.verbose {
			line = wrap(line, wide, "", "    ")
		}
		if line = strings.TrimRight(line, "\n"); line != "" {
			m.story.say("  %s", line)
		}
	}
}

// typed is a command line as one would type it.
func typed(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " ?&*'\"$") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
