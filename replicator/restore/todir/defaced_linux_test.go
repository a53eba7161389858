package todir_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
)

// exact is tree with every extended attribute, how many names a file has, and what specials are.
func exact(t testing.TB, root string) map[string]string {
	t.Helper()
	out := tree(t, root)
	for name := range out {
		p := filepath.Join(root, name)
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		out[name] += fmt.Sprintf(" rdev %d", st.Rdev)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			out[name] += fmt.Sprintf(" names %d", st.Nlink)
		}
		buf := make([]byte, 4096)
		n, err := unix.Llistxattr(p, buf)
		if err != nil {
			continue
		}
		names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
		slices.Sort(names)
		for _, attr := range names {
			value := make([]byte, 4096)
			if n, err := unix.Lgetxattr(p, attr, value); err == nil {
				out[name] += fmt.Sprintf(" %s=%x", attr, value[:n])
			}
		}
	}
	return out
}

const isRoot = 0 // the user to whom every owner can be given

// keepsAttributes reports whether the file system of the tests has extended attributes and ACLs.
func keepsAttributes(t *testing.T) bool {
	t.Helper()
	dir := t.TempDir()
	if unix.Setxattr(dir, "user.probe", nil, 0) != nil || unix.Setxattr(dir, acl.Access, acl.Named(0o750, 1, 5), 0) != nil {
		t.Log("no attributes or ACLs here")
		return false
	}
	return true
}

// defacing is one way to make a restored tree another.
type defacing struct {
	name    string
	key     string // what never names; empty: it cannot be seen without reading
	do      func(p func(string) string) error
	rooted  bool // takes root
	attrs   bool // takes extended attributes
	special bool
}

var whenTime = time.Date(2011, 12, 13, 14, 15, 16, 171819202, time.UTC)

// rewrite puts other bytes into a file and gives it back its time.
func rewrite(p string, b []byte) error {
	st, err := os.Stat(p)
	if err == nil {
		if err = os.WriteFile(p, b, 0); err == nil {
			err = os.Chtimes(p, st.ModTime(), st.ModTime())
		}
	}
	return err
}

func swap(p string, make func(string) error) error {
	if err := os.RemoveAll(p); err != nil {
		return err
	}
	return make(p)
}

func folder(p string) error  { return os.Mkdir(p, 0o755) }
func filled(p string) error  { return os.MkdirAll(filepath.Join(p, "inner"), 0o755) }
func regular(p string) error { return os.WriteFile(p, []byte("regular"), 0o644) }
func linked(p string) error  { return os.Symlink("/etc/passwd", p) }
func fifo(p string) error    { return unix.Mkfifo(p, 0o644) }

func defacings() []defacing {
	d := []defacing{
		{name: "content of the same size and time", do: func(p func(string) string) error { return rewrite(p("d/file"), []byte("FILE")) }},
		{name: "content of another size", key: "d/file", do: func(p func(string) string) error { return rewrite(p("d/file"), []byte("longer")) }},
		{name: "an empty file filled", key: "d/empty", do: func(p func(string) string) error { return rewrite(p("d/empty"), []byte("x")) }},
		{name: "mode", key: "d/file", do: func(p func(string) string) error { return os.Chmod(p("d/file"), 0o666) }},
		{name: "set-ID bit", key: "d/file", do: func(p func(string) string) error { return os.Chmod(p("d/file"), 0o640|fs.ModeSetuid) }},
		{name: "mode of a folder", key: "d/", do: func(p func(string) string) error { return os.Chmod(p("d"), 0o777) }},
		{name: "sticky bit of a folder", key: "d/", do: func(p func(string) string) error { return os.Chmod(p("d"), 0o750|fs.ModeSticky) }},
		{name: "time", key: "d/file", do: func(p func(string) string) error { return os.Chtimes(p("d/file"), whenTime, whenTime) }},
		{name: "a nanosecond", key: "d/file", do: func(p func(string) string) error {
			st, err := os.Stat(p("d/file"))
			if err != nil {
				return err
			}
			return os.Chtimes(p("d/file"), whenTime, st.ModTime().Add(1))
		}},
		{name: "time of a folder", do: func(p func(string) string) error { return os.Chtimes(p("d"), whenTime, whenTime) }},
		{name: "owner", rooted: true, do: func(p func(string) string) error { return os.Chown(p("d/file"), 12, 0) }},
		{name: "group", rooted: true, do: func(p func(string) string) error { return os.Chown(p("d/file"), 0, 12) }},
		{name: "owner of a folder", rooted: true, do: func(p func(string) string) error { return os.Chown(p("d"), 12, 12) }},
		{name: "owner of a link", rooted: true, do: func(p func(string) string) error { return os.Lchown(p("link"), 12, 12) }},
		{name: "value of an attribute", attrs: true, do: func(p func(string) string) error { return unix.Setxattr(p("d/attr"), "user.a", []byte("other"), 0) }},
		{name: "an attribute more", attrs: true, do: func(p func(string) string) error { return unix.Setxattr(p("d/attr"), "user.more", nil, 0) }},
		{name: "an attribute less", attrs: true, do: func(p func(string) string) error { return unix.Removexattr(p("d/attr"), "user.a") }},
		{name: "an empty attribute less", attrs: true, do: func(p func(string) string) error { return unix.Removexattr(p("d/attr"), "user.empty") }},
		{name: "an attribute of a folder", attrs: true, do: func(p func(string) string) error { return unix.Setxattr(p("d"), "user.more", []byte("x"), 0) }},
		{name: "another ACL", key: "d/listed", attrs: true, do: func(p func(string) string) error {
			return unix.Setxattr(p("d/listed"), acl.Access, acl.Named(0o640, 13, 4), 0)
		}},
		{name: "an ACL more", attrs: true, do: func(p func(string) string) error {
			return unix.Setxattr(p("d/file"), acl.Access, acl.Named(0o640, 13, 4), 0)
		}},
		{name: "an ACL less", attrs: true, do: func(p func(string) string) error { return unix.Removexattr(p("d/listed"), acl.Access) }},
		{name: "a default ACL more", attrs: true, do: func(p func(string) string) error {
			return unix.Setxattr(p("d"), acl.Default, acl.Named(0o750, 13, 7), 0)
		}},
		{name: "a default ACL less", attrs: true, do: func(p func(string) string) error { return unix.Removexattr(p("shared"), acl.Default) }},
		{name: "where a link points", key: "link", do: func(p func(string) string) error { return swap(p("link"), linked) }},
		{name: "time of a link", do: func(p func(string) string) error {
			ts := unix.NsecToTimespec(whenTime.UnixNano())
			return unix.UtimesNanoAt(unix.AT_FDCWD, p("link"), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
		}},
		{name: "a hard link apart", key: "two/b", do: func(p func(string) string) error {
			b, err := os.ReadFile(p("two/b"))
			if err == nil {
				err = swap(p("two/b"), func(p string) error { return os.WriteFile(p, b, 0o644) })
			}
			return err
		}},
		{name: "two files joined", do: func(p func(string) string) error {
			return swap(p("d/file"), func(to string) error { return os.Link(p("d/attr"), to) })
		}},
		{name: "equal files joined", do: func(p func(string) string) error {
			return swap(p("d/twin2"), func(to string) error { return os.Link(p("d/twin1"), to) })
		}},
		{name: "two pairs joined", do: func(p func(string) string) error {
			for _, n := range []string{"two/c", "two/d"} {
				if err := swap(p(n), func(to string) error { return os.Link(p("two/a"), to) }); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "two files joined that have names elsewhere", do: func(p func(string) string) error {
			return swap(p("two/o2"), func(to string) error { return os.Link(p("two/o1"), to) })
		}},
		{name: "a file is gone", do: func(p func(string) string) error { return os.Remove(p("d/file")) }},
		{name: "a folder is gone", do: func(p func(string) string) error { return os.RemoveAll(p("two")) }},
		{name: "a mode that forbids all", key: "d/", do: func(p func(string) string) error { return os.Chmod(p("d"), 0) }},
		{name: "a special file's mode", key: "pipe", special: true, do: func(p func(string) string) error { return os.Chmod(p("pipe"), 0o666) }},
	}
	// Every kind in the place of every other.
	for key, place := range map[string]string{"d/file": "d/file", "shared/": "shared", "link": "link", "pipe": "pipe"} {
		for kind, make := range map[string]func(string) error{"file": regular, "folder": folder, "full folder": filled, "link": linked, "fifo": fifo} {
			if key == "d/file" && kind == "file" || key == "shared/" && strings.HasSuffix(kind, "folder") || key == "link" && kind == "link" || key == "pipe" && kind == "fifo" {
				continue
			}
			d = append(d, defacing{name: key + " became a " + kind, key: key, special: key == "pipe", do: func(p func(string) string) error { return swap(p(place), make) }})
		}
	}
	return d
}

// original makes the tree that is defaced.
func original(t *testing.T, root string, attrs bool) {
	t.Helper()
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(p("d"), 0o750), os.Mkdir(p("shared"), 0o755), os.Mkdir(p("two"), 0o755))
	for name, body := range map[string]string{
		"d/file": "file", "d/empty": "", "two/o1": "elsewhere", "two/o2": "elsewhere", "d/attr": "attr", "d/listed": "listed", "d/twin1": "twin", "d/twin2": "twin", "two/a": "two", "two/c": "two",
	} {
		must(t, os.WriteFile(p(name), []byte(body), 0o600), os.Chmod(p(name), 0o640))
	}
	elsewhere := t.TempDir() // on the same file system, and not in the point
	must(t, os.Link(p("two/o1"), filepath.Join(elsewhere, "1")), os.Link(p("two/o2"), filepath.Join(elsewhere, "2")))
	must(t, os.Link(p("two/a"), p("two/b")), os.Link(p("two/c"), p("two/d")), os.Symlink("d/file", p("link")), unix.Mkfifo(p("pipe"), 0o600))
	if attrs {
		must(t,
			unix.Setxattr(p("d/attr"), "user.a", []byte("value"), 0), unix.Setxattr(p("d/attr"), "user.empty", nil, 0),
			unix.Setxattr(p("d/listed"), acl.Access, acl.Named(0o640, 12, 6), 0), unix.Setxattr(p("shared"), acl.Default, acl.Named(0o750, 12, 7), 0))
	}
	old := time.Date(2001, 2, 3, 4, 5, 6, 789012345, time.UTC)
	for _, name := range []string{"d/file", "d/empty", "d/attr", "d/listed", "d/twin1", "d/twin2", "two/a", "two/c", "two/o1", "two/o2", "d", "shared", "two", "."} {
		must(t, os.Chtimes(p(name), old, old))
	}
}

func TestADefacedFolderIsNamedAndPutRight(t *testing.T) {
	attrs := keepsAttributes(t)
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.Mkdir(from, 0o755))
	original(t, from, attrs)
	r, c := point(t, from)
	want := exact(t, from)
	delete(want, ".") // the target is no content
	for _, name := range []string{"two/o1", "two/o2"} {
		want[name] = strings.Replace(want[name], " names 2", " names 1", 1) // the other is not in the point
	}
	for _, d := range defacings() {
		if d.rooted && os.Geteuid() != isRoot || d.attrs && !attrs {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "to")
			options := func(ow restore.Overwrite) restore.Options {
				target, err := todir.New(todir.Options{Root: to, Specials: true})
				must(t, err)
				return restore.Options{Reader: r.Reader(nil), Commit: c, Target: target, Overwrite: ow, Memory: 64 << 20}
			}
			check := func(when string) {
				t.Helper()
				got := exact(t, to)
				delete(got, ".")
				for name := range got {
					if strings.Contains(name, ".aside-") {
						delete(got, name)
					}
				}
				if !maps.Equal(got, want) {
					t.Log(when)
					same(t, got, want)
				}
			}
			run(t, options(restore.Never))
			check("restored")
			must(t, d.do(func(name string) string { return filepath.Join(to, name) }))

			left := exact(t, to)
			res := run(t, options(restore.Never))
			named := map[string]bool{}
			for _, f := range res.Failures {
				if f.Differs {
					named[f.Key] = true
				}
			}
			if d.key != "" && !named[d.key] || d.key == "" && len(named) > 0 {
				t.Errorf("never named %v, want %q", named, d.key)
			}
			for name, was := range left {
				if is := exact(t, to)[name]; is != was && name != "." && !strings.Contains(d.name, "gone") {
					t.Errorf("never changed %s:\n was %s\n  is %s", name, was, is)
				}
			}

			o := options(restore.Changed)
			o.DryRun = true
			run(t, o)
			if res := run(t, options(restore.Changed)); res.Failed+res.Differs > 0 {
				t.Errorf("%+v", res)
			}
			check("put right")
			if res := run(t, options(restore.Changed)); res.Failed+res.Differs > 0 || res.Bytes != 0 {
				t.Errorf("a second time: %+v", res)
			}
			if res := run(t, options(restore.Never)); res.Failed+res.Differs > 0 || res.Bytes != 0 || res.Entries > 1 {
				t.Errorf("nothing differs any more: %+v", res)
			}
			check("and stayed so")
		})
	}
}
