//go:build unix

package execsource

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
)

func TestConformance(t *testing.T) {
	sourcetest.RunOutput(t, func(t *testing.T) *sourcetest.Program {
		dir := t.TempDir()
		program := filepath.Join(dir, "program")
		write := func(t *testing.T, name string, body []byte, mode os.FileMode) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, name), body, mode); err != nil {
				t.Fatal(err)
			}
		}
		script := func(end string) func(*testing.T, []byte) {
			return func(t *testing.T, body []byte) {
				t.Helper()
				write(t, "body", body, 0o600)
				write(t, "script", []byte("echo >> runs\ncat body\n"+end+"\n"), 0o600)
			}
		}
		write(t, "program", []byte("#!/bin/sh\n. ./script\n"), 0o700)
		s, err := New(Options{
			Command: []string{"./program"}, Entry: "db/dump.sql", Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH")}, Timeout: time.Minute,
			Line: func(s string) { t.Errorf("it says %q", s) },
		})
		if err != nil {
			t.Fatal(err)
		}
		return &sourcetest.Program{
			Source: s, Key: "db/dump.sql",
			Runs: func(t *testing.T) int {
				b, err := os.ReadFile(filepath.Join(dir, "runs"))
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				return bytes.Count(b, []byte("\n"))
			},
			Writes: script("exit 0"), Fails: script("exit 3"), Hangs: script("exec sleep 600"),
			Gone: func(t *testing.T) {
				if err := os.Remove(program); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestNew(t *testing.T) {
	for _, o := range []Options{{}, {Command: []string{"a"}}, {Command: []string{"a"}, Entry: "b"}, {Entry: "b", Timeout: 1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if s, err := New(Options{Command: []string{"a"}, Entry: "b", Timeout: 1}); err != nil || s.Kind() != "exec" {
		t.Errorf("%v, %v", s, err)
	}
}
