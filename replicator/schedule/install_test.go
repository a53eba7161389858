package schedule

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	actions := func(files ...File) (out []Action) {
		t.Helper()
		changes, err := Install(dir, files, IsUnit)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			out = append(out, c.Action)
		}
		return out
	}
	one, two := File{"holdfast.service", Mark + "\n1"}, File{"holdfast-drill.timer", Mark + "\n2"}
	put("holdfast-mine.service", "[Unit]\n")
	put("other.service", Mark)
	put(CronFile, Mark)
	if got := actions(one, two); !slices.Equal(got, []Action{Written, Written}) {
		t.Errorf("at first: %v", got)
	}
	if info, err := os.Stat(filepath.Join(dir, one.Name)); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	if got := actions(one, two); !slices.Equal(got, []Action{Unchanged, Unchanged}) {
		t.Errorf("again: %v", got)
	}
	if got := actions(File{one.Name, Mark + "\nnew"}); !slices.Equal(got, []Action{Written, Removed}) {
		t.Errorf("one less: %v", got)
	}
	// Somebody else's, and a unit that was masked: nothing is written, the others neither.
	put(two.Name, "[Timer]\n")
	if err := os.Symlink("/dev/null", filepath.Join(dir, "holdfast-x.service")); err != nil {
		t.Fatal(err)
	}
	for _, f := range []File{two, {"holdfast-x.service", Mark}} {
		if _, err := Install(dir, []File{one, f}, IsUnit); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, one.Name)); err != nil || string(text) != Mark+"\nnew" {
		t.Errorf("%q, %v", text, err)
	}
	names, err := Installed(dir, IsUnit)
	if err != nil || !slices.Equal(names, []string{one.Name}) {
		t.Fatalf("%q, %v", names, err)
	}
	if changes, err := Remove(dir, names); err != nil || len(changes) != 1 {
		t.Errorf("%v, %v", changes, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 5 {
		t.Errorf("%v are left, %v", left, err)
	}
}
