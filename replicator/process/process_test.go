//go:build unix

package process

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// told gathers lines.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (l *told) tell(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s)
}

func (l *told) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// sh is a shell that runs a script, with as much time as it needs.
func sh(script string) Options {
	return Options{Argv: []string{"sh", "-c", script}, Dir: "/", Env: []string{"PATH=" + os.Getenv("PATH"), "MARK=here"}, Timeout: time.Minute}
}

func reason(t *testing.T, err error) string {
	t.Helper()
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("no Failure: %v", err)
	}
	return f.Reason
}

func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		name, script, want string
		lines              []string
	}{
		{"well", `echo out; echo "err $MARK" >&2; printf 'no end'`, "", []string{"out", "err here", "no end"}},
		{"the environment is the one that is given", `env | grep -v -e ^PATH -e ^PWD -e ^_ -e ^SHLVL -e ^OLDPWD`, "", []string{"MARK=here"}},
		{"nothing to read", `cat; echo end`, "", []string{"end"}},
		{"badly", `echo why >&2; exit 3`, "ended with exit status 3", []string{"why"}},
		{"by a signal", `kill -9 $$`, "was ended by a signal (killed)", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &told{}
			o := sh(c.script)
			o.Line = l.tell
			err := Run(t.Context(), o)
			if got := ""; err != nil {
				got = reason(t, err)
				if got != c.want {
					t.Errorf("%q", got)
				}
			} else if c.want != "" {
				t.Error("no error")
			}
			if !slices.Equal(l.all(), c.lines) {
				t.Errorf("%q", l.all())
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "data"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad"), []byte("#!/nowhere/interpreter\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"no-such-program-anywhere", "/nowhere/program", "./absent", "./data", "./bad"} {
		o := sh("")
		o.Argv, o.Dir = []string{name}, dir
		if why := reason(t, Run(t.Context(), o)); !strings.HasPrefix(why, "could not be started: ") {
			t.Errorf("%s: %q", name, why)
		}
		if _, err := Start(t.Context(), o); err == nil {
			t.Errorf("%s was started", name)
		}
	}
	if path, err := Find("sh", "/nowhere"); err != nil || !filepath.IsAbs(path) {
		t.Errorf("%q, %v", path, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "good"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if path, err := Find("./good", dir); err != nil || path != filepath.Join(dir, "good") {
		t.Errorf("%q, %v", path, err)
	}
}

func TestOutput(t *testing.T) {
	defer goleak.VerifyNone(t)
	read := func(o Options) (string, error) {
		out, err := Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(out)
		if again := make([]byte, 1); err != nil {
			if n, err2 := out.Read(again); n != 0 || !errors.Is(err2, err) {
				t.Errorf("once more: %d, %v", n, err2)
			}
		}
		if err := out.Close(); err != nil {
			t.Error(err)
		}
		return string(b), err
	}
	l := &told{}
	o := sh(`echo err >&2; i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done`)
	o.Line = l.tell
	if s, err := read(o); err != nil || len(s) != 220000 || !slices.Equal(l.all(), []string{"err"}) {
		t.Errorf("%d bytes, %v, %q", len(s), err, l.all())
	}
	if s, err := read(sh(`echo half; exit 7`)); s != "half\n" || reason(t, err) != "ended with exit status 7" {
		t.Errorf("%q, %v", s, err)
	}
	if s, err := read(sh(`exec >&-; exit 5`)); s != "" || reason(t, err) != "ended with exit status 5" {
		t.Errorf("it closed its output and then came to nothing: %q, %v", s, err)
	}
	o = sh(`echo begun; sleep 600`)
	o.Timeout, o.grace = 500*time.Millisecond, 50*time.Millisecond
	if s, err := read(o); s != "begun\n" || reason(t, err) != "took longer than 500ms and was stopped" {
		t.Errorf("%q, %v", s, err)
	}
	o = sh(`echo begun; trap '' TERM; sleep 600 & wait; echo "more"; exit 0`)
	o.Timeout, o.grace = 500*time.Millisecond, 50*time.Millisecond
	if s, err := read(o); s != "begun\n" || !strings.HasPrefix(reason(t, err), "took longer") {
		t.Errorf("who does not listen: %q, %v", s, err)
	}
	o = sh(`echo all; sleep 600 2>&- & exit 0`)
	o.grace = 50 * time.Millisecond
	if s, err := read(o); s != "all\n" || !strings.Contains(reason(t, err), "left processes behind") {
		t.Errorf("%q, %v", s, err)
	}
}

// TestSlowReader: who reads slower than the program writes, and than it is waited for, gets all of it.
func TestSlowReader(t *testing.T) {
	defer goleak.VerifyNone(t)
	o := sh(`echo one; echo two`)
	o.Timeout, o.grace = 300*time.Millisecond, 10*time.Millisecond
	out, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	<-out.p.exited
	time.Sleep(400 * time.Millisecond)
	if b, err := io.ReadAll(out); string(b) != "one\ntwo\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}

// TestGroupIsOwn: a signal to this program's group is not one to the program that it runs.
func TestGroupIsOwn(t *testing.T) {
	out, err := Start(t.Context(), sh(`echo $$; exec sleep 600`))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if group, err := syscall.Getpgid(out.p.cmd.Process.Pid); err != nil || group != out.p.cmd.Process.Pid {
		t.Errorf("group %d of %d, %v", group, out.p.cmd.Process.Pid, err)
	}
}

func TestLines(t *testing.T) {
	l := &told{}
	w := &lineWriter{tell: l.tell}
	for _, s := range []string{"a", "b\nc\r\n\n", "10%\r20%\r", strings.Repeat("x", maxLine), "\n", strings.Repeat("y", 2*maxLine+1)} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	w.flush()
	want := []string{"ab", "c", "10%", "20%", strings.Repeat("x", maxLine), strings.Repeat("y", maxLine), strings.Repeat("y", maxLine), "y"}
	if !slices.Equal(l.all(), want) {
		t.Errorf("%q", l.all())
	}
	if cap(w.rest) > 2*maxLine {
		t.Errorf("%d bytes are held", cap(w.rest))
	}
}
