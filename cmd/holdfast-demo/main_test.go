package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test program be the S3 server that the demo starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serveArgument {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestDemo plays all of it twice: as it is, and with one bit of one restored object flipped, which must be noticed.
func TestDemo(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	program, err := buildHoldfast(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	o := options{files: 300, program: program}

	t.Run("whole", func(t *testing.T) {
		var out bytes.Buffer
		if err := play(t.Context(), o, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, want := range []string{
			"16 refused, 0 allowed", "7 refused, 0 allowed", "0 differences", "exit code 4", "point 1: 303 objects", "point 2: 303 objects",
			"Not one is left", "image/ami-0123456789abcdef0.json is ami-", "2 disks, 2147.5 MB, and the AMI's fields: 0 differences", "AMI with 2 disks",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in the output:\n%s", want, out.String())
			}
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		o := o
		o.corrupt = true
		var out bytes.Buffer
		if err := play(t.Context(), o, &out); !errors.Is(err, errDiffers) {
			t.Fatalf("the comparison did not fail but %v\n%s", err, out.String())
		}
		if n := strings.Count(out.String(), "DIFFERS in point"); n != 1 {
			t.Errorf("%d objects differ, not the one:\n%s", n, out.String())
		}
		if !strings.Contains(out.String(), "other bytes: SHA-256") {
			t.Errorf("it is not the bytes that differ:\n%s", out.String())
		}
		if n := strings.Count(out.String(), "DIFFERS in the AMI: /dev/"); n != 1 {
			t.Errorf("%d disks differ, not the one:\n%s", n, out.String())
		}
	})
	if left, err := filepath.Glob(filepath.Join(temp, "holdfast-demo-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestStopped: a demo that is stopped leaves nothing behind.
func TestStopped(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	out := &trigger{at: "Two backups", do: cancel}
	if err := play(ctx, options{files: 100, program: os.Args[0]}, out); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// trigger is a writer that does something when a text comes along.
type trigger struct {
	at string
	do func()
}

func (w *trigger) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.at) {
		w.do()
	}
	return len(p), nil
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
	}{{[]string{"-h"}, 0}, {[]string{"-nothing"}, 2}, {[]string{"argument"}, 2}, {[]string{"-files", "5"}, 2}} {
		var out, errs bytes.Buffer
		if code := command(c.args, &out, &errs); code != c.code {
			t.Errorf("%v: exit code %d, not %d", c.args, code, c.code)
		}
		if out.Len() > 0 || errs.Len() == 0 {
			t.Errorf("%v: %q on standard output, %q on standard error", c.args, out.String(), errs.String())
		}
	}
}
