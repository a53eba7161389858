package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestLinks: what is written here goes nowhere else, whatever somebody has put into the folder's place or into it.
func TestLinks(t *testing.T) {
	elsewhere := t.TempDir()
	precious := filepath.Join(elsewhere, "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", dbDir, versionFile, versionFile + newSuffix, lockFile} {
		dir := filepath.Join(t.TempDir(), "index")
		c, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		path, to := filepath.Join(dir, name), precious
		if name == "" || name == dbDir {
			to = elsewhere
		}
		if err := errors.Join(os.RemoveAll(path), os.Symlink(to, path)); err != nil {
			t.Fatal(err)
		}
		if c, err := Open(dir, Options{}); !errors.Is(err, ErrLink) {
			t.Errorf("%q: %v", name, err)
			if err == nil {
				_ = c.Close()
			}
		}
		list, err := os.ReadDir(elsewhere)
		b, rerr := os.ReadFile(precious)
		if err != nil || rerr != nil || len(list) != 1 || string(b) != "precious" {
			t.Fatalf("%q: %d files, %q, %v %v", name, len(list), b, err, rerr)
		}
	}
	// A link above it, such as one to a larger disk, is its user's business.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	c, err := Open(filepath.Join(link, "index"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
