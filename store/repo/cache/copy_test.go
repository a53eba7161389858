package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// TestCopy: a copy has what the cache has, and what is done to it stays in it.
func TestCopy(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "index")
	_, drop, err := Copy(dir) // there is none yet
	if err != nil {
		t.Fatal(err)
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(base); len(left) != 0 {
		t.Fatalf("copying nothing left %v", left)
	}
	note := func(dir, put string) string {
		c, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		was, err := c.Notes.Get("offsite", "x")
		if err == nil && put != "" {
			err = c.Notes.Put("offsite", "x", []byte(put))
		}
		if err := errors.Join(err, c.Close()); err != nil {
			t.Fatal(err)
		}
		return string(was)
	}
	note(dir, "first")
	own, drop, err := Copy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := note(own, "second"); got != "first" {
		t.Errorf("the copy has %q", got)
	}
	if got := note(dir, ""); got != "first" {
		t.Errorf("the cache has %q, which the copy was given", got)
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	open, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Copy(dir); !errors.Is(err, ErrBusy) {
		t.Errorf("copying an open cache: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	// One that was killed is cleared away by the next, and one that is open is not.
	left, _, err := Copy(dir)
	if err != nil {
		t.Fatal(err)
	}
	note(left, "")
	used, dropUsed, err := Copy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed copy left is there: %v", err)
	}
	busy, err := Open(used, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, drop, err = Copy(dir)
	if err := errors.Join(err, busy.Close(), drop(), dropUsed()); err != nil {
		t.Fatal(err)
	}
}

// TestKeptCopy: what is kept is in the copy, what is added there or dropped is not seen beside it.
func TestKeptCopy(t *testing.T) {
	base := t.TempDir()
	k := NewKept(filepath.Join(base, "kept"))
	a, b := store.Ref{Name: "meta/a", Version: "1"}, store.Ref{Name: "meta/b", Version: "1"}
	k.Put("v", a, []byte("a"))
	c, drop, err := k.Copy()
	if err != nil {
		t.Fatal(err)
	}
	c.Put("v", b, []byte("b"))
	if got, ok := c.Whole("v", a, 10); !ok || string(got) != "a" {
		t.Errorf("the copy has %q", got)
	}
	c.Drop("v", a)
	if _, ok := k.Whole("v", a, 10); !ok {
		t.Error("dropping it in the copy dropped it")
	}
	if _, ok := k.Whole("v", b, 10); ok {
		t.Error("what the copy was given is there")
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(base, copyName+"old")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-2 * leftAfter)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	if _, drop, err = k.Copy(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left weeks ago is there: %v", err)
	}
	if err := drop(); err != nil {
		t.Fatal(err)
	}
}
