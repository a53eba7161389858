package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnfinishedFileIsRemoved: half a key is worse than none, since the next try is refused by it.
func TestUnfinishedFileIsRemoved(t *testing.T) {
	full := errors.New("disk is full")
	path := filepath.Join(t.TempDir(), "key")
	err := createSecretFile(path, func(f *os.File) error {
		if _, err := f.WriteString("AGE-SECRET-K"); err != nil {
			t.Fatal(err)
		}
		return full
	})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a file was left: %v", err)
	}
	// Closed under it: the sync fails.
	err = createSecretFile(path, func(f *os.File) error { return f.Close() })
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unsynced file was left: %v", err)
	}
	if err := createSecretFile(path, func(*os.File) error { return nil }); err != nil {
		t.Errorf("the next try: %v", err)
	}
	// What was there before is never removed.
	if err := createSecretFile(path, func(*os.File) error { return full }); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("a file that was there before is gone: %v", err)
	}
}
