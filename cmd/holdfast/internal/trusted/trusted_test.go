package trusted

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwners: whose files are whose, for a user, for root, and for root on a user's behalf.
func TestOwners(t *testing.T) {
	for _, c := range []struct {
		who  Who
		owns map[uint32]bool
	}{
		{Who{UID: 1000, Sudo: 1000}, map[uint32]bool{0: true, 1000: true, 1001: false, 65534: false}},
		{Who{UID: 0, Sudo: 0}, map[uint32]bool{0: true, 1000: false}},
		{Who{UID: 0, Sudo: 1000}, map[uint32]bool{0: true, 1000: true, 1001: false}},
	} {
		for uid, want := range c.owns {
			if got := c.who.owns(uid); got != want {
				t.Errorf("%+v trusts what %d owns: %v", c.who, uid, got)
			}
		}
	}
	env := func(v string) func(string) (string, bool) { return func(string) (string, bool) { return v, true } }
	me := uint32(os.Geteuid())
	for text, want := range map[string]uint32{"": me, "x": me, "-1": me, "4294967296": me} {
		if got := Me(env(text)); got.UID != me || got.Sudo != want {
			t.Errorf("SUDO_UID=%q: %+v", text, got)
		}
	}
	if got := Me(env("1234")); me == 0 && got.Sudo != 1234 || me != 0 && got.Sudo != me {
		t.Errorf("%+v", got) // only root believes it
	}
}

// TestModes: who can write decides, of the file and of its folder.
func TestModes(t *testing.T) {
	me := Me(func(string) (string, bool) { return "", false })
	for _, c := range []struct {
		dir, file           os.FileMode
		file0, named0, dir0 bool // trusted by File, Named; the folder by Folder
	}{
		{0o755, 0o644, true, true, true},
		{0o700, 0o600, true, true, true},
		{0o755, 0o646, false, false, true},
		{0o755, 0o666, false, false, true},
		{0o777, 0o644, false, true, false},
		{0o757, 0o644, false, true, false},
		{0o777 | os.ModeSticky, 0o644, false, true, false},
	} {
		t.Run(fmt.Sprintf("%o %o", c.dir, c.file), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "d")
			path := filepath.Join(dir, "a file")
			lay(t, dir, path, c.dir, c.file)
			for what, x := range map[string]struct {
				err  error
				want bool
			}{"file": {me.File(path), c.file0}, "named": {me.Named(path), c.named0}, "folder": {me.Folder(dir), c.dir0}} {
				if (x.err == nil) != x.want || x.err != nil && !errors.Is(x.err, ErrNotTrusted) {
					t.Errorf("%s: %v", what, x.err)
				}
				if x.err != nil && !strings.Contains(x.err.Error(), "chmod go-w") {
					t.Errorf("%s: what to do is not said: %v", what, x.err)
				}
			}
		})
	}
}

func lay(t *testing.T, dir, path string, d, f os.FileMode) {
	t.Helper()
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(path, nil, 0o600), os.Chmod(path, f), os.Chmod(dir, d)); err != nil {
		t.Fatal(err)
	}
}

// TestOthers: what another user owns is refused, file or folder, also where a link leads to it. Root can make such.
func TestOthers(t *testing.T) {
	stranger := Who{UID: uint32(os.Geteuid()) + 4711, Sudo: uint32(os.Geteuid()) + 4711}
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := errors.Join(os.Chown(path, 1234, 1234), os.Chown(dir, 1234, 1234)); err != nil {
			t.Fatal(err)
		}
	}
	for what, err := range map[string]error{"file": stranger.File(path), "named": stranger.Named(path), "folder": stranger.Folder(dir)} {
		if !errors.Is(err, ErrNotTrusted) || !strings.Contains(err.Error(), "belongs to user") || !strings.Contains(err.Error(), "chown") {
			t.Errorf("%s: %v", what, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Named(link); !errors.Is(err, ErrNotTrusted) {
		t.Errorf("through a link: %v", err)
	}
	me := Me(func(string) (string, bool) { return "", false })
	folder := filepath.Join(t.TempDir(), "folder")
	if err := os.Symlink(t.TempDir(), folder); err != nil {
		t.Fatal(err)
	}
	if err := me.Folder(folder); !errors.Is(err, ErrNotTrusted) || !strings.Contains(err.Error(), "is a link") {
		t.Errorf("a folder that is a link: %v", err)
	}
}

// TestNothing: what is not there, or has no owner that matters, is no fault.
func TestNothing(t *testing.T) {
	me := Me(func(string) (string, bool) { return "", false })
	dir := t.TempDir()
	for _, err := range []error{me.File(filepath.Join(dir, "no")), me.Named(filepath.Join(dir, "no")), me.Folder(filepath.Join(dir, "no")), me.Named("/dev/null"), me.File(filepath.Join(dir, "no", "no"))} {
		if err != nil {
			t.Error(err)
		}
	}
}
