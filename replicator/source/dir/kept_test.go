package dirsource

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// TestTimesOutOfRange: no date that somebody gives a file keeps it, or anything else, out of a point.
func TestTimesOutOfRange(t *testing.T) {
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	for sec, want := range map[int64]time.Time{
		1833029933770:     last, // the year 60,056
		1<<63 - 1:         last,
		-1 << 63:          time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		-62167219201:      time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		last.Unix() + 1:   last,
		last.Unix():       last,
		-1:                time.Unix(-1, 0),
		time.Now().Unix(): time.Unix(time.Now().Unix(), 0),
	} {
		if got := timeOf(unix.Timespec{Sec: sec}); !got.Equal(want) {
			t.Errorf("%d: %s instead of %s", sec, got, want)
		}
	}
	root := inMemory(t) // where such times are kept
	put(t, root, "far", []byte("x"))
	put(t, root, "good", []byte("x"))
	far := []unix.Timespec{{Sec: 1833029933770}, {Sec: 1833029933770}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, root+"/far", far, 0); err != nil {
		t.Fatal(err)
	}
	v := lying(t, root)
	if got := missing(t, v); got["far"] != "" || got["good"] != "" {
		t.Errorf("%q", got)
	}
	e := find(t, v, "far")
	r, err := v.Open(t.Context(), e, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	var st unix.Stat_t
	if err := unix.Stat(root+"/far", &st); err != nil || st.Mtim.Sec < last.Unix() {
		return // this file system does not keep them
	}
	if !e.Modified.Equal(last) || len(v.Notes()) != 1 || v.Notes()[0].Key != "far" {
		t.Errorf("%s, %v", e.Modified, v.Notes())
	}
}

// TestXattrs: attributes of every name space that a restore can set are kept, of files, folders and links.
func TestXattrs(t *testing.T) {
	root := t.TempDir()
	put(t, root, "f", []byte("x"))
	put(t, root, "d/f", nil)
	if err := os.Symlink("f", root+"/link"); err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{}
	for key, names := range map[string][]string{
		"f":    {"user.a", "user.empty", "trusted.overlay.opaque", "security.holdfast"},
		"d/":   {"user.b", "trusted.overlay.opaque"},
		"link": {"trusted.c"},
	} {
		for _, name := range names {
			value := []byte("v\x00")
			if strings.HasSuffix(name, "empty") {
				value = nil
			}
			err := unix.Lsetxattr(root+"/"+strings.TrimSuffix(key, "/"), name, value, 0)
			switch {
			case err == nil:
				want[key] = append(want[key], name)
			case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOTSUP): // not root, or another file system
				t.Fatal(name, err)
			}
		}
	}
	v := lying(t, root)
	for _, key := range []string{"f", "d/", "link"} {
		e := find(t, v, key)
		if key == "f" {
			r, err := v.Open(t.Context(), e, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
		} else if err := v.Complete(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		for _, name := range want[key] {
			value, ok := e.File.Xattrs[name]
			if !ok || (len(value) == 0) != strings.HasSuffix(name, "empty") {
				t.Errorf("%s: %s is %q, %v", key, name, value, ok)
			}
		}
	}
	for name, is := range map[string]bool{"trusted.x": true, "user.": true, "system.nfs4_acl": allXattrs, "btrfs.compression": allXattrs, "system.posix_acl_default": true} {
		if kept(name) != is {
			t.Errorf("%s: kept %v", name, !is)
		}
	}
}

// mount mounts something for the length of a test; false where this user may not.
func mount(t *testing.T, from, at, kind string, flags uintptr) bool {
	t.Helper()
	err := unix.Mount(from, at, kind, flags, "")
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	return true
}

// TestOneFileSystem: what is mounted below the root, the same file system included, is recorded and not entered.
func TestOneFileSystem(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	for _, k := range []string{"a", "bind/own", "tmp/own", "proc/own", "file", "sub/deep/bind/own"} {
		put(t, root, k, []byte("below"))
	}
	put(t, other, "there", []byte("there"))
	if !mount(t, other, root+"/bind", "", unix.MS_BIND) {
		return
	}
	mount(t, "tmpfs", root+"/tmp", "tmpfs", 0)
	put(t, root, "tmp/there", nil)
	mount(t, "proc", root+"/proc", "proc", 0)
	mount(t, other+"/there", root+"/file", "", unix.MS_BIND)
	mount(t, other, root+"/sub/deep/bind", "", unix.MS_BIND)

	got := keys(t, freeze(t, newSource(t, Options{Root: root, Exclude: []string{"proc/**"}})))
	if !slices.Contains(got, "bind/there") || !slices.Contains(got, "tmp/there") || !slices.Contains(got, "sub/deep/bind/there") {
		t.Errorf("without the setting mounts are not entered: %q", got)
	}
	v := freeze(t, newSource(t, Options{Root: root, OneFileSystem: true}))
	got = keys(t, v)
	if want := []string{"./", "a", "bind/", "file", "proc/", "sub/", "sub/deep/", "sub/deep/bind/", "tmp/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, key := range []string{"bind/", "tmp/", "proc/"} {
		e := find(t, v, key)
		if err := v.Complete(t.Context(), e); err != nil || e.Missing != "" {
			t.Errorf("%s: %v, %q", key, err, e.Missing)
		}
	}
	var u *source.Unreadable
	if _, err := v.Open(t.Context(), find(t, v, "file"), 0, -1); !errors.As(err, &u) || !u.Accepted || u.Reason != anotherMount {
		t.Errorf("a file of another mount: %v", err)
	}
	// A root that is itself a mount point is what it is.
	if got := keys(t, freeze(t, newSource(t, Options{Root: root + "/tmp", OneFileSystem: true}))); !slices.Contains(got, "there") {
		t.Errorf("%q", got)
	}
}
