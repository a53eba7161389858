package cache

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// TestKept: what is kept is given for that vault, name and version alone, to nobody but the owner of the machine's account.
func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	k := NewKept(dir)
	ref := store.Ref{Name: "meta/ab/abc.age", Version: "v1"}
	body := []byte("as it lies in the vault")
	k.Put("offsite", ref, body)
	k.Put("offsite", store.Ref{Name: "meta/ab/none.age"}, body) // without a version
	k.Put("offsite", store.Ref{Name: "large", Version: "v1"}, make([]byte, maxKeptObject+1))
	for _, c := range []struct {
		vault string
		ref   store.Ref
		want  bool
	}{
		{"offsite", ref, true},
		{"other", ref, false},
		{"offsite", store.Ref{Name: ref.Name, Version: "v2"}, false},
		{"offsite", store.Ref{Name: ref.Name + "x", Version: "v1"}, false},
		{"offsite", store.Ref{Name: "meta/ab/none.age"}, false},
		{"offsite", store.Ref{Name: "large", Version: "v1"}, false},
	} {
		got, ok := k.Whole(c.vault, c.ref, int64(len(body)))
		part := make([]byte, 4)
		if ok != c.want || ok && !bytes.Equal(got, body) || k.ReadAt(c.vault, c.ref, part, 3) != c.want || c.want && string(part) != "it l" {
			t.Errorf("%s %v: %q %t, %q", c.vault, c.ref, got, ok, part)
		}
	}
	if _, ok := k.Whole("offsite", ref, int64(len(body))-1); ok {
		t.Error("more than was asked for")
	}
	if k.ReadAt("offsite", ref, make([]byte, len(body)), 1) {
		t.Error("read beyond the end")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	info, err := entries[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}
	k.Drop("offsite", ref)
	if _, ok := k.Whole("offsite", ref, 100); ok {
		t.Error("dropped and still there")
	}
	var none *Kept
	none.Put("offsite", ref, body)
	none.Drop("offsite", ref)
	none.Trim()
	if none.ReadAt("offsite", ref, make([]byte, 1), 0) {
		t.Error("nothing keeps something")
	}
}

// TestKeptIsBounded: of too many files, or bytes, those go that were not used for longest.
func TestKeptIsBounded(t *testing.T) {
	for _, c := range []struct {
		name       string
		size, most int
	}{
		{"files", 10, maxKeptFiles},
		{"bytes", maxKeptObject, maxKeptBytes / maxKeptObject},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := NewKept(t.TempDir())
			ref := func(i int) store.Ref { return store.Ref{Name: fmt.Sprint(i), Version: "v"} }
			body := make([]byte, c.size)
			for i := range c.most + 3 {
				k.Put("offsite", ref(i), body)
				path, _ := k.path("offsite", ref(i))
				at := time.Unix(int64(1_000_000+i), 0)
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			k.ReadAt("offsite", ref(0), make([]byte, 1), 0)
			k.Trim()
			for i := range c.most + 3 {
				if there, want := k.ReadAt("offsite", ref(i), make([]byte, 1), 0), i == 0 || i > 3; there != want {
					t.Errorf("%d is kept: %t", i, there)
				}
			}
		})
	}
}
