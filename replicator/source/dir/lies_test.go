package dirsource

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// lying gives a view whose system can be made to lie.
func lying(t *testing.T, root string) *view {
	t.Helper()
	return freeze(t, newSource(t, Options{Root: root})).(*view) //nolint:forcetypeassert // test
}

// missing gives the Missing reasons of a listing by key, "" for what is whole.
func missing(t *testing.T, v *view) map[string]string {
	t.Helper()
	out := map[string]string{}
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := out[e.Key]; twice {
			t.Errorf("%q is listed twice", e.Key)
		}
		out[e.Key] = e.Missing
		if _, err := e.AppendLine(nil); err != nil && e.Missing != "" {
			t.Errorf("%q: no point can say that it is missing: %v", e.Key, err)
		}
	}
	return out
}

func fill(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, k := range []string{"a", "b", "c", "d/in", "d/sub/deep", "e"} {
		put(t, root, k, []byte(k))
	}
	if err := os.Symlink("a", root+"/link"); err != nil {
		t.Fatal(err)
	}
	return root
}

// TestListedAndNotFound: what the system lists and says is not there is named, and never taken for deleted.
func TestListedAndNotFound(t *testing.T) {
	for name, answer := range map[string]error{notFound: unix.ENOENT, unix.ESTALE.Error(): unix.ESTALE, "input/output error": unix.EIO, "access denied": unix.EACCES} {
		t.Run(name, func(t *testing.T) {
			v := lying(t, fill(t))
			v.sys.stat = func(dir int, name string, st *unix.Stat_t) error {
				if name == "b" || name == "link" {
					return answer
				}
				return fstatat(dir, name, st)
			}
			v.sys.open = func(dir int, name string, flags int) (int, error) {
				if name == "d" {
					return -1, answer
				}
				return openAt(dir, name, flags)
			}
			got := missing(t, v)
			for _, key := range []string{"b", "d/", "link"} {
				if why, ok := got[key]; !ok || why != name {
					t.Errorf("%q: %v, %q", key, ok, why)
				}
			}
			if got["a"] != "" || got["e"] != "" || len(got) != 7 {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestRemovedMeanwhile: what is removed after it was listed is not in the listing, whole folders too, and nothing is missing.
func TestRemovedMeanwhile(t *testing.T) {
	root := fill(t)
	v := lying(t, root)
	var got []string
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key == "a" {
			if err := errors.Join(os.Remove(root+"/b"), os.RemoveAll(root+"/d"), os.Remove(root+"/link")); err != nil {
				t.Fatal(err)
			}
		}
		if got = append(got, e.Key); e.Missing != "" {
			t.Errorf("%q: %s", e.Key, e.Missing)
		}
	}
	if want := []string{"./", "a", "c", "e"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRemovedWhileItIsRead: a folder that is removed after it was opened is gone; one of which the system only says so is not.
func TestRemovedWhileItIsRead(t *testing.T) {
	for _, lie := range []bool{false, true} {
		root := fill(t)
		v := lying(t, root)
		v.sys.open = func(dir int, name string, flags int) (int, error) {
			fd, err := openAt(dir, name, flags)
			if name == "d" && err == nil && !lie {
				if err := os.RemoveAll(root + "/d"); err != nil {
					t.Fatal(err)
				}
			}
			return fd, err
		}
		if lie {
			v.sys.names = func(fd int, visit func([]byte, bool) error) error {
				n := 0
				err := readNames(fd, func(name []byte, folder bool) error { n++; return visit(name, folder) })
				if n == 2 { // only d has two
					return unix.ENOENT
				}
				return err
			}
		}
		got := missing(t, v)
		if why, ok := got["d/"]; ok != lie || lie && why != notFound {
			t.Errorf("lie %v: %q", lie, got)
		}
	}
}

// TestListingEndsEarly: a folder that cannot be listed to its end is missing, and what was heard of it is there.
func TestListingEndsEarly(t *testing.T) {
	v := lying(t, fill(t))
	v.sys.names = func(fd int, visit func([]byte, bool) error) error {
		var heard []string
		err := readNames(fd, func(name []byte, folder bool) error { heard = append(heard, string(name)); return visit(name, folder) })
		if slices.Contains(heard, "sub") || slices.Contains(heard, "e") {
			return unix.EIO
		}
		return err
	}
	got := missing(t, v)
	for key, want := range map[string]string{"./": "input/output error", "d/": "input/output error", "d/in": "", "d/sub/": "", "d/sub/deep": "", "e": ""} {
		if why, ok := got[key]; !ok || why != want {
			t.Errorf("%q: %v, %q instead of %q", key, ok, why, want)
		}
	}
	v.sys.names = func(int, func([]byte, bool) error) error { return unix.EIO }
	for _, err := range v.Entries(t.Context(), "", "") {
		if err == nil {
			t.Error("a root of which nothing could be read gave an entry")
		}
	}
}

// TestNamesTwice: some systems give a name twice while a folder changes.
func TestNamesTwice(t *testing.T) {
	v := lying(t, fill(t))
	v.sys.names = func(fd int, visit func([]byte, bool) error) error {
		return readNames(fd, func(name []byte, folder bool) error { return errors.Join(visit(name, folder), visit(name, folder)) })
	}
	if got := missing(t, v); len(got) != 10 {
		t.Errorf("%q", got)
	}
}

// TestManyRemoved: a large folder that empties while it is read is not listed again for each name.
func TestManyRemoved(t *testing.T) {
	root := inMemory(t)
	const files = smallFolder + 904
	for i := range files {
		if err := os.WriteFile(fmt.Sprintf("%s/%06d", root, i), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	v := lying(t, root)
	listings := 0
	v.sys.names = func(fd int, visit func([]byte, bool) error) error { listings++; return readNames(fd, visit) }
	n := 0
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Missing != "" {
			t.Fatalf("%q: %s", e.Key, e.Missing)
		}
		if n++; e.Key == "./" {
			continue
		}
		var i int
		if _, err := fmt.Sscanf(e.Key, "%d", &i); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(fmt.Sprintf("%s/%06d", root, i+1)) // the next one vanishes
	}
	if n != 1+files/2 || listings > files/4 {
		t.Errorf("%d entries, %d listings", n, listings)
	}
}

// TestReplacedMeanwhile: a file that became a folder, or the other way round, is named.
func TestReplacedMeanwhile(t *testing.T) {
	root := fill(t)
	v := lying(t, root)
	got := map[string]string{}
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key == "a" {
			if err := errors.Join(os.Remove(root+"/b"), os.Mkdir(root+"/b", 0o755), os.RemoveAll(root+"/d"), os.WriteFile(root+"/d", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		got[e.Key] = e.Missing
	}
	if got["b"] != changedListing || got["d/"] != changedListing {
		t.Errorf("%q", got)
	}
}

// TestUnknownType: what is neither file nor folder, link or device cannot be in a point.
func TestUnknownType(t *testing.T) {
	v := lying(t, fill(t))
	v.sys.stat = func(dir int, name string, st *unix.Stat_t) error {
		err := fstatat(dir, name, st)
		if name == "b" {
			st.Mode &^= unix.S_IFMT
		}
		return err
	}
	if got := missing(t, v); got["b"] == "" {
		t.Errorf("%q", got)
	}
}
