package dirsource

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// inMemory gives a folder in memory where there is one: some tests make many files.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "dirsource")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// nest makes n folders of that name in each other, each with a file beside the next.
func nest(t *testing.T, root, name string, n int) {
	t.Helper()
	fd := dirFD(t, root)
	for range n {
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		f, err := unix.Openat(next, "~", unix.O_CREAT|unix.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(f, []byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = unix.Close(f)
		_ = unix.Close(fd)
		fd = next
	}
	_ = unix.Close(fd)
	t.Cleanup(func() { unnest(root, name) })
}

// unnest removes what nest made: tools that go by path cannot.
func unnest(root, name string) {
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	depth := 0
	for err == nil {
		var next int
		if next, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err == nil {
			_ = unix.Close(fd)
			fd = next
			depth++
		}
	}
	for ; depth > 0; depth-- {
		_ = unix.Unlinkat(fd, "~", 0)
		next, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return
		}
		_ = unix.Close(fd)
		fd = next
		_ = unix.Unlinkat(fd, name, unix.AT_REMOVEDIR)
	}
	_ = unix.Close(fd)
}

// descriptors counts what is open.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// TestDeep: four thousand folders in each other are listed and read with few descriptors, and each folder is opened once on
// the way down and once on the way up.
func TestDeep(t *testing.T) {
	const depth = 4000 // 8 KB of path
	root := inMemory(t)
	nest(t, root, "d", depth)
	before := descriptors(t)
	v := lying(t, root)
	opens := 0
	v.sys.open = func(dir int, name string, flags int) (int, error) { opens++; return openAt(dir, name, flags) }
	var all []*format.Entry
	most := 0
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Missing != "" {
			t.Fatalf("%d bytes of key: %s", len(e.Key), e.Missing)
		}
		if all = append(all, e); len(all)%500 == 0 {
			most = max(most, descriptors(t)-before)
		}
	}
	if len(all) != 1+2*depth || opens > 2*depth+1 || most > maxOpen+10 {
		t.Errorf("%d entries, %d opens, %d descriptors", len(all), opens, most)
	}
	for _, e := range all {
		if e.Kind == format.KindDir {
			if err := v.Complete(t.Context(), e); err != nil {
				t.Fatalf("%d bytes of key: %v", len(e.Key), err)
			}
			continue
		}
		r, err := v.Open(t.Context(), e, 0, -1)
		if err != nil {
			t.Fatalf("%d bytes of key: %v", len(e.Key), err)
		}
		b := make([]byte, 1)
		if n, err := r.Read(b); n != 1 || err != nil || b[0] != 'x' {
			t.Fatalf("%d bytes of key: %d, %v", len(e.Key), n, err)
		}
		_ = r.Close()
	}
	if held := descriptors(t) - before; held > maxHeld+10 {
		t.Errorf("%d descriptors are held", held)
	}
	last := all[depth]
	if again := find(t, v, last.Key); again.File.Inode != last.File.Inode {
		t.Errorf("%+v", again)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if left := descriptors(t) - before; left > 2 {
		t.Errorf("%d descriptors stay open", left)
	}
}

// TestPathsTooLong: what makes a key that no point can hold is named by its folder, and nothing else is harmed.
func TestPathsTooLong(t *testing.T) {
	root := inMemory(t)
	name := strings.Repeat("n", 255)
	nest(t, root, name, 260)
	put(t, root, "z", []byte("honest"))
	v := lying(t, root)
	got := missing(t, v)
	named := 0
	for key, why := range got {
		if len(key) > format.MaxKey {
			t.Errorf("a key of %d bytes", len(key))
		}
		if why != "" {
			named++
			if !strings.Contains(why, "paths of over 65536 bytes") || len(key) < format.MaxKey-512 {
				t.Errorf("%d bytes: %s", len(key), why)
			}
		}
	}
	if _, ok := got["z"]; !ok || named != 1 {
		t.Errorf("%d are missing, z: %v", named, ok)
	}
}

// TestMovedFolders: a folder that is moved while what is below it is listed is found again, or what is left of it is named.
func TestMovedFolders(t *testing.T) {
	for _, c := range []struct {
		what string
		move func(t *testing.T, root string)
		lost bool
	}{
		{"the whole tree", func(t *testing.T, root string) {
			if err := os.Rename(root+"/d", root+"/elsewhere"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a part of it", func(t *testing.T, root string) {
			if err := os.Rename(root+strings.Repeat("/d", 20), root+"/part"); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"two parts of it", func(t *testing.T, root string) {
			at := root + strings.Repeat("/d", 10)
			if err := errors.Join(os.Rename(at+strings.Repeat("/d", 10), root+"/part"), os.Rename(at, root+"/other")); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			root := inMemory(t)
			nest(t, root, "d", 100)
			v := lying(t, root)
			named, n := 0, 0
			for e, err := range v.Entries(context.Background(), "", "") {
				if err != nil {
					t.Fatal(err)
				}
				if n++; n == 90 {
					c.move(t, root)
				}
				if e.Missing != "" {
					named++
					if e.Missing != movedFolder {
						t.Errorf("%q: %s", e.Key, e.Missing)
					}
				}
			}
			if n != 201 || (named > 0) != c.lost {
				t.Errorf("%d entries, %d of them missing", n, named)
			}
		})
	}
}
