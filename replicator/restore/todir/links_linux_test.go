package todir

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// family is a point with one file under many names.
type family struct {
	r     *restoretest.Repo
	c     *format.Commit
	body  []byte
	names []string
}

func newFamily(t *testing.T, names ...string) *family {
	t.Helper()
	f := &family{r: restoretest.New(t), body: bytes.Repeat([]byte("content of all names "), 20000), names: names}
	from := t.TempDir()
	for i, name := range names {
		p := filepath.Join(from, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if i > 0 {
			must(t, os.Link(filepath.Join(from, names[0]), p))
			continue
		}
		must(t, os.WriteFile(p, f.body, 0o640), os.Chtimes(p, time.Unix(1e9, 123456789), time.Unix(1e9, 123456789)))
		if err := unix.Setxattr(p, "user.a", []byte("b"), 0); err != nil {
			t.Log("no attributes here:", err)
		}
	}
	src, err := dirsource.New(dirsource.Options{Root: from})
	must(t, err)
	f.c = f.r.Backup(src)
	return f
}

// restore restores into root with a file system that answers link(2) as link does; it gives the names by inode.
func (f *family) restore(t *testing.T, root string, ow restore.Overwrite, link func(dir int, name string, to int) error, m *manner) (restore.Result, map[uint64][]string) {
	t.Helper()
	target, err := New(Options{Root: root})
	must(t, err)
	real := target.linkat
	target.linkat = func(dir int, name string, to int, as string) error {
		if link != nil {
			if err := link(dir, name, to); err != nil {
				return err
			}
		}
		return real(dir, name, to, as)
	}
	var through restore.Target = target
	if m != nil {
		through = on{target, *m}
	}
	res, err := restore.Run(t.Context(), restore.Options{Reader: f.r.Reader(nil), Commit: f.c, Target: through, Overwrite: ow})
	must(t, err)
	if res.Failed > 0 || res.Differs > 0 {
		t.Errorf("%+v", res)
	}
	files := map[uint64][]string{}
	var first string
	for _, name := range f.names {
		p := filepath.Join(root, name)
		b, err := os.ReadFile(p)
		var st unix.Stat_t
		if err != nil || !bytes.Equal(b, f.body) || unix.Lstat(p, &st) != nil {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
			continue
		}
		attr := make([]byte, 8)
		n, _ := unix.Getxattr(p, "user.a", attr)
		is := fmt.Sprintf("%o %d:%d %v %q", st.Mode, st.Uid, st.Gid, st.Mtim, attr[:max(n, 0)])
		if first == "" {
			first = is
		}
		if is != first {
			t.Errorf("%s is %s, the first is %s", name, is, first)
		}
		files[st.Ino] = append(files[st.Ino], name)
	}
	return res, files
}

func noted(res restore.Result, text string) bool {
	return slices.ContainsFunc(res.Notes, func(n string) bool { return strings.Contains(n, text) })
}

func TestHardLinksThatCannotBeMadeAreCopies(t *testing.T) {
	f := newFamily(t, "a", "b", "d/c", "d/e/f")
	for _, no := range []unix.Errno{unix.EPERM, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EMLINK, unix.EXDEV, unix.EIO} {
		root := filepath.Join(t.TempDir(), "to")
		refuse := func(int, string, int) error { return no }
		res, files := f.restore(t, root, restore.Never, refuse, nil)
		if len(files) != 4 || !noted(res, "hard links were restored as files of their own") {
			t.Errorf("%v: %v, notes %q", no, files, res.Notes)
		}
		f.restore(t, root, restore.Changed, refuse, nil)
		f.restore(t, root, restore.Never, refuse, nil)
		if _, files := f.restore(t, root, restore.Changed, nil, nil); len(files) != 1 {
			t.Errorf("%v: where links can be made again they are not: %v", no, files)
		}
	}
	// Another error is a failure, by name.
	target, err := New(Options{Root: t.TempDir()})
	must(t, err)
	target.linkat = func(int, string, int, string) error { return unix.EACCES }
	res, err := restore.Run(t.Context(), restore.Options{Reader: f.r.Reader(nil), Commit: f.c, Target: target})
	must(t, err)
	if res.Failed != 3 {
		t.Errorf("%+v", res)
	}
}

// A file that has all the names it can have (EMLINK) is copied once, and the others are linked to the copy.
func TestCopiesAreLinkedToAgain(t *testing.T) {
	f := newFamily(t, "a", "b", "c", "d", "e", "f", "g")
	_, files := f.restore(t, filepath.Join(t.TempDir(), "to"), restore.Never, func(dir int, name string, _ int) error {
		var st unix.Stat_t
		must(t, unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW))
		if st.Nlink >= 3 {
			return unix.EMLINK
		}
		return nil
	}, nil)
	if len(files) != 3 {
		t.Errorf("%d files: %v", len(files), files)
	}
	// Names on another file system share a copy there.
	g := newFamily(t, "a", "here", "mounted/x", "mounted/y", "z")
	_, files = g.restore(t, filepath.Join(t.TempDir(), "to"), restore.Never, func(dir int, _ string, to int) error {
		var a, b unix.Stat_t
		must(t, unix.Fstat(dir, &a), unix.Fstat(to, &b))
		if a.Ino != b.Ino {
			return unix.EXDEV
		}
		return nil
	}, nil)
	if len(files) != 2 {
		t.Errorf("%d files: %v", len(files), files)
	}
}

// Where the file system has no links at all, each name is a file, and is compared as one.
func TestNoLinksAtAll(t *testing.T) {
	f := newFamily(t, "a", "b", "d/c")
	m := manner{}
	m.lacks.links = true
	root := filepath.Join(t.TempDir(), "to")
	refuse := func(int, string, int) error { t.Error("a link was tried"); return unix.EPERM }
	if res, files := f.restore(t, root, restore.Never, refuse, &m); len(files) != 3 || !noted(res, "hard links") {
		t.Errorf("%v %q", files, res.Notes)
	}
	if res, _ := f.restore(t, root, restore.Changed, refuse, &m); res.Bytes != 0 {
		t.Errorf("again: %+v", res)
	}
}

// A name that is missing is not linked to a file that only looks right, where what is there stays.
func TestWhatOnlyLooksRightIsNotLinkedTo(t *testing.T) {
	f := newFamily(t, "a", "b", "c")
	root := filepath.Join(t.TempDir(), "to")
	f.restore(t, root, restore.Never, nil, nil)
	a, b, c := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "c")
	st, err := os.Stat(a)
	must(t, err, os.Remove(b), os.Remove(c), os.WriteFile(a, bytes.Repeat([]byte("x"), len(f.body)), 0), os.Chtimes(a, st.ModTime(), st.ModTime()))
	target, err := New(Options{Root: root})
	must(t, err)
	_, err = restore.Run(t.Context(), restore.Options{Reader: f.r.Reader(nil), Commit: f.c, Target: target})
	must(t, err)
	for _, p := range []string{b, c} {
		if got, err := os.ReadFile(p); err != nil || !bytes.Equal(got, f.body) {
			t.Errorf("%s: %d bytes, %v", p, len(got), err)
		}
	}
}

// Of files all of whose names are there already nothing is remembered: a tree may have any number of them.
func TestWhatIsThereIsForgotten(t *testing.T) {
	f := newFamily(t, "a", "b", "c")
	root := filepath.Join(t.TempDir(), "to")
	f.restore(t, root, restore.Never, nil, nil)
	target, err := New(Options{Root: root})
	must(t, err)
	res, err := restore.Run(t.Context(), restore.Options{Reader: f.r.Reader(nil), Commit: f.c, Target: target})
	must(t, err)
	if l := &target.links; len(l.right)+len(l.first)+len(l.todo) > 0 || res.Skipped != 4 { // with the root
		t.Errorf("%d, %d, %d; %+v", len(l.right), len(l.first), len(l.todo), res)
	}
}

// What a file system does not keep is noted once, not compared, and nobody gets more for it.
func TestWhatAFileSystemDoesNotKeep(t *testing.T) {
	r := restoretest.New(t)
	body := []byte("body")
	var entries []*format.Entry
	for i := range 20 {
		e := restoretest.Object(fmt.Sprintf("f%02d", i), body, r.Pack(body)...)
		e.Kind, e.Modified = format.KindFile, format.At(time.Unix(1e9+1, 5e8+int64(i)))
		e.File = &format.File{Mode: 0o660, UID: 4, GID: 5, Xattrs: map[string][]byte{"user.a": nil, acl.Access: acl.Named(0o600, 12, 6)}}
		entries = append(entries, e)
	}
	entries[0].Modified = format.At(time.Unix(5, 0)) // before the file system's first time
	c := r.Point(64, entries...)
	m := manner{}
	m.where, m.tick, m.from = "/mnt/fat", 2*time.Second, time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	m.lacks.owners, m.lacks.xattrs, m.lacks.acls = true, true, true
	root := filepath.Join(t.TempDir(), "to")
	for n, ow := range []restore.Overwrite{restore.Never, restore.Changed, restore.Never} {
		target, err := New(Options{Root: root})
		must(t, err)
		res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: on{target, m}, Overwrite: ow})
		must(t, err)
		if res.Failed+res.Differs > 0 || n == 0 != (res.Entries == 20) {
			t.Errorf("%s: %+v", ow, res)
		}
		if n > 0 {
			continue
		}
		for _, what := range []string{"ACLs", "extended attributes", "exact times"} {
			if !noted(res, "20 entries lie on a file system that does not keep their "+what+" (at /mnt/fat)") {
				t.Errorf("nothing of %s: %q", what, res.Notes)
			}
		}
		if len(res.Notes) > 4 {
			t.Errorf("%d notes", len(res.Notes))
		}
	}
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(root, "f01"), &st))
	if st.Mode&0o777 != 0o600 || !time.Unix(st.Mtim.Unix()).Equal(time.Unix(1e9, 0)) {
		t.Errorf("mode %o, time %v: without its list the group has nothing", st.Mode, st.Mtim)
	}
}

func TestTimesThatAFileSystemCanHold(t *testing.T) {
	at := time.Date(2001, 2, 3, 4, 5, 7, 789_012_345, time.UTC)
	for tick, want := range map[time.Duration]time.Time{
		0: at, 100: at.Add(-45), time.Microsecond: at.Add(-345), time.Second: at.Add(-789_012_345), 2 * time.Second: at.Add(-1_789_012_345),
	} {
		if got := (&keeping{tick: tick}).nearest(at); !got.Equal(want) {
			t.Errorf("%v: %v, want %v", tick, got, want)
		}
	}
	k := keeping{from: at, until: at.Add(time.Hour)}
	if !k.nearest(at.Add(-1)).Equal(at) || !k.nearest(at.Add(2*time.Hour)).Equal(k.until) || !k.nearest(time.Time{}).IsZero() {
		t.Error("out of range")
	}
}

// One file that has no room for an attribute costs that attribute: its content is there, it is named, the rest goes on.
func TestAnAttributeWithoutRoom(t *testing.T) {
	r := restoretest.New(t)
	body := []byte("body")
	var entries []*format.Entry
	for _, key := range []string{"a", "b", "c"} {
		e := restoretest.Object(key, body, r.Pack(body)...)
		e.Kind, e.File = format.KindFile, &format.File{Mode: 0o600, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
		entries = append(entries, e)
	}
	entries[1].File.Xattrs = map[string][]byte{"user.large": bytes.Repeat([]byte("x"), 60_000), "user.small": []byte("y")}
	root := filepath.Join(t.TempDir(), "to")
	target, err := New(Options{Root: root})
	must(t, err)
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: r.Point(64, entries...), Target: target})
	must(t, err)
	for _, key := range []string{"a", "b", "c"} {
		if b, err := os.ReadFile(filepath.Join(root, key)); err != nil || string(b) != "body" {
			t.Errorf("%s: %q %v", key, b, err)
		}
	}
	switch err := unix.Setxattr(filepath.Join(root, "a"), "user.large", entries[1].File.Xattrs["user.large"], 0); err {
	case nil:
		n, err := unix.Getxattr(filepath.Join(root, "b"), "user.large", nil)
		if err != nil || n != 60_000 || res.Failed > 0 {
			t.Errorf("there is room: %d bytes, %v; %+v", n, err, res)
		}
	case unix.ENOTSUP:
		if len(res.Notes) == 0 || res.Failed > 0 {
			t.Errorf("there are no attributes here: %+v", res)
		}
	default:
		if res.Failed != 1 || res.Failures[0].Key != "b" || !strings.Contains(res.Failures[0].Error(), "user.large") || len(res.Notes) > 0 {
			t.Errorf("%v: %+v", err, res)
		}
	}
}

// Links and special files have attributes too, where the system lets them.
func TestAttributesOfLinks(t *testing.T) {
	r := restoretest.New(t)
	link := &format.Entry{Kind: format.KindSymlink, Key: "link", Modified: format.At(time.Unix(1e9, 0)), File: &format.File{
		Mode: 0o777, Target: "nowhere", UID: uint32(os.Geteuid()), GID: uint32(os.Getegid()), Xattrs: map[string][]byte{"trusted.holdfast": []byte("x")},
	}}
	root := filepath.Join(t.TempDir(), "to")
	target, err := New(Options{Root: root})
	must(t, err)
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: r.Point(64, link), Target: target})
	must(t, err)
	b := make([]byte, 8)
	n, err := unix.Lgetxattr(filepath.Join(root, "link"), "trusted.holdfast", b)
	if kept := err == nil && string(b[:max(n, 0)]) == "x"; res.Failed > 0 || kept == (len(res.Notes) > 0) {
		t.Errorf("%q %v; %+v", b[:max(n, 0)], err, res)
	}
	if os.Geteuid() == 0 && err != nil && err != unix.ENOTSUP {
		t.Errorf("root could have set it: %v", err)
	}
}

// A folder that was closed for want of room is opened again, unless something else is at its place: a link, another folder.
func TestAFolderThatWasReplacedIsNotOpenedAgain(t *testing.T) {
	for name, swap := range map[string]func(p, aside string) error{
		"nothing happened": func(string, string) error { return nil },
		"a link":           func(p, aside string) error { return os.Symlink(aside, p) },
		"another folder":   func(p, _ string) error { return os.Mkdir(p, 0o777) },
		"gone":             func(string, string) error { return nil },
	} {
		root := t.TempDir()
		target, err := New(Options{Root: root})
		must(t, err)
		must(t, target.Begin(t.Context(), restore.Job{Commit: &format.Commit{}}))
		n, err := target.descend([]string{"a", "b"})
		must(t, err)
		target.mu.Lock()
		n.shut()
		n.parent.shut()
		target.mu.Unlock()
		at, aside := filepath.Join(root, "a"), filepath.Join(t.TempDir(), "aside")
		if name != "nothing happened" {
			must(t, os.Rename(at, aside), swap(at, aside))
			if name == "another folder" {
				must(t, os.Mkdir(filepath.Join(at, "b"), 0o777))
			}
		}
		_, err = n.pin()
		if (err == nil) != (name == "nothing happened") || err != nil && !strings.Contains(err.Error(), "moved or replaced") {
			t.Errorf("%s: %v", name, err)
		}
		must(t, target.Close())
	}
}

// A link that takes the place of a fifo, or of a link, while it is made does not lead its mode, owner or time elsewhere.
func TestALinkInThePlaceOfASpecialFile(t *testing.T) {
	root, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, nil, 0o600))
	var before, after unix.Stat_t
	must(t, unix.Lstat(victim, &before))
	target, err := New(Options{Root: root, Specials: true})
	must(t, err)
	must(t, target.Begin(t.Context(), restore.Job{Commit: &format.Commit{}}))
	for _, e := range []*format.Entry{
		{Kind: format.KindSpecial, Key: "fifo", Modified: format.At(time.Unix(1e9, 0)), File: &format.File{Type: "fifo", Mode: 0o777, UID: 12, GID: 12}},
		{Kind: format.KindSpecial, Key: "socket", Modified: format.At(time.Unix(1e9, 0)), File: &format.File{Type: "socket", Mode: 0o4777, UID: 12, GID: 12}},
	} {
		p := piece{receiver: receiver{target, target.root, e.Key}, dir: target.root.fd, temp: target.tempName()}
		must(t, os.Symlink(victim, filepath.Join(root, p.temp)))
		if err := p.dressOdd(e); err == nil || kept(err) {
			t.Errorf("%s: %v", e.Key, err)
		}
		must(t, unix.Lstat(victim, &after))
		if after != before {
			t.Errorf("%s: the victim was %+v\nand is %+v", e.Key, before, after)
		}
	}
	must(t, target.Close())
}
