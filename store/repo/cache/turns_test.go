package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestTurns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	a, err := OpenTurns(dir, "offsite")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := a.Load(); b != nil || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := OpenTurns(dir, "offsite"); !errors.Is(err, ErrBusy) {
		t.Errorf("taken twice: %v", err)
	}
	other, err := OpenTurns(dir, "second")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"one", "two"} {
		if err := a.Save([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	// A write that was cut off leaves the one before.
	path := filepath.Join(dir, turnsDir, "offsite", turnsIn)
	if err := os.WriteFile(path+newSuffix, []byte("tw"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Close(), other.Close()); err != nil {
		t.Fatal(err)
	}
	if a, err = OpenTurns(dir, "offsite"); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if b, err := a.Load(); string(b) != "two" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), maxTurns+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Load(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "..", "a/b"} {
		if _, err := OpenTurns(dir, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
