package wholefile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(path+Suffix, []byte("of a write that was cut off, and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "", "two"} {
		if err := Write(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%q instead of %q, %v", got, want, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Lstat(path + Suffix); !os.IsNotExist(err) {
		t.Errorf("something is left: %v", err)
	}
	if err := Write(filepath.Join(path, "below a file"), nil); err == nil {
		t.Error("written below a file")
	}
}
