package dirsource

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// readLive reads a key as it is; midway is called after the first bytes.
func readLive(t *testing.T, v *view, e *format.Entry, midway func()) ([]byte, source.LiveStream) {
	t.Helper()
	s, err := v.OpenLive(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	head := make([]byte, 1000)
	n, err := s.Read(head)
	if err != nil && err != io.EOF { //nolint:errorlint // bare
		t.Fatal(err)
	}
	if midway != nil {
		time.Sleep(5 * time.Millisecond) // see put
		midway()
	}
	rest, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return append(head[:n], rest...), s
}

func appendTo(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLive: what is written to while it is read is as long as it was at one moment, and known as unsettled.
func TestLive(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	for _, c := range []struct {
		what      string
		midway    func(t *testing.T, path string)
		want      []byte
		unsettled bool
	}{
		{"left alone", nil, content, false},
		{"appended to", func(t *testing.T, path string) { appendTo(t, path, []byte("more")) }, content, true},
		{"cut short", func(t *testing.T, path string) {
			if err := os.Truncate(path, 5000); err != nil {
				t.Fatal(err)
			}
		}, content[:5000], true},
		{"replaced", func(t *testing.T, path string) {
			if err := errors.Join(os.WriteFile(path+"~", []byte("new"), 0o600), os.Rename(path+"~", path)); err != nil {
				t.Fatal(err)
			}
		}, content, true}, // its last name went: that changes ctime
		{"removed", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, content, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			root := t.TempDir()
			put(t, root, "f", []byte("as it was listed"))
			v := lying(t, root)
			e := find(t, v, "f")
			put(t, root, "f", content)
			if _, err := v.Open(t.Context(), e, 0, -1); !errors.Is(err, source.ErrChanged) {
				t.Fatalf("opened as listed: %v", err)
			}
			var midway func()
			if c.midway != nil {
				midway = func() { c.midway(t, root+"/f") }
			}
			got, s := readLive(t, v, e, midway)
			size, unsettled, other := s.Settle()
			if !bytes.Equal(got, c.want) || size != int64(len(c.want)) || unsettled != c.unsettled || other {
				t.Errorf("%d bytes instead of %d; settled as %d, %v, %v", len(got), len(c.want), size, unsettled, other)
			}
			if e.Size != int64(len(content)) {
				t.Errorf("opened with %d bytes", e.Size)
			}
		})
	}
}

// TestLiveIsNoFile: what is no file any more is listed again.
func TestLiveIsNoFile(t *testing.T) {
	root := t.TempDir()
	put(t, root, "f", []byte("x"))
	v := lying(t, root)
	e := find(t, v, "f")
	for _, make := range []func() error{
		func() error { return os.Mkdir(root+"/f", 0o755) },
		func() error { return unix.Mkfifo(root+"/f", 0o600) },
		func() error { return os.Symlink("/etc/passwd", root+"/f") },
	} {
		if err := errors.Join(os.RemoveAll(root+"/f"), make()); err != nil {
			t.Fatal(err)
		}
		if _, err := v.OpenLive(t.Context(), e); !errors.Is(err, source.ErrChanged) {
			t.Error(err)
		}
	}
}

// TestLengths: files that the kernel makes up are listed with no size, or with a page, and read to their ends.
func TestLengths(t *testing.T) {
	for _, c := range []struct{ root, key string }{
		{"/proc/sys/fs", "file-max"},      // listed with no size, and given at once or never
		{"/proc/sys/kernel", "ostype"},    //
		{"/proc/self", "status"},          //
		{"/proc", "filesystems"},          //
		{"/sys/kernel/mm", "no such key"}, // see below
	} {
		key := c.key
		if c.root == "/sys/kernel/mm" {
			if c.root, key = aPage(); c.root == "" {
				continue // no sysfs here
			}
		}
		want, err := os.ReadFile(c.root + "/" + key)
		if err != nil {
			t.Fatal(err)
		}
		v := lying(t, c.root)
		e := find(t, v, key)
		if e.Size == int64(len(want)) {
			t.Fatalf("%s/%s is listed with its size", c.root, key)
		}
		r, err := v.Open(t.Context(), e, 0, -1)
		if err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		if !errors.Is(err, source.ErrLength) && !errors.Is(err, source.ErrChanged) { // sysfs dates a file anew when it is looked at
			t.Errorf("%s/%s, read as listed: %v", c.root, key, err)
		}
		got, s := readLive(t, v, e, nil)
		size, unsettled, other := s.Settle()
		if size != int64(len(got)) || unsettled || !other || key != "status" && !bytes.Equal(got, want) {
			t.Errorf("%s/%s: %q instead of %q; %d, %v, %v", c.root, key, got, want, size, unsettled, other)
		}
	}
}

// aPage finds a file that sysfs lists with 4,096 bytes and is shorter.
func aPage() (root, key string) {
	for _, path := range []string{"/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/uevent_seqnum", "/sys/kernel/fscaps", "/sys/kernel/profiling"} {
		if st, err := os.Stat(path); err == nil && st.Size() == 4096 {
			i := strings.LastIndexByte(path, '/')
			return path[:i], path[i+1:]
		}
	}
	return "", ""
}

// TestHugeMadeUp: what a file system without blocks lists with more than any disk holds is refused before it is read.
func TestHugeMadeUp(t *testing.T) {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat("/proc/kcore", &st) != nil || st.Size <= maxBare {
		return // the kernel shows nobody else its memory
	}
	v := lying(t, "/proc")
	var u *source.Unreadable
	if _, err := v.Open(t.Context(), find(t, v, "kcore"), 0, -1); !errors.As(err, &u) || u.Accepted {
		t.Error(err)
	}
}

// TestFolderInUse: a folder in which files come and go is what it is.
func TestFolderInUse(t *testing.T) {
	root := t.TempDir()
	put(t, root, "d/f", nil)
	if err := os.Symlink("one", root+"/link"); err != nil {
		t.Fatal(err)
	}
	v := lying(t, root)
	folder, link := find(t, v, "d/"), find(t, v, "link")
	put(t, root, "d/g", nil)
	if err := errors.Join(os.Remove(root+"/link"), os.Symlink("two", root+"/link"), os.Chmod(root+"/d", 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, e := range []*format.Entry{folder, link} {
		if err := v.Complete(t.Context(), e); !errors.Is(err, source.ErrChanged) {
			t.Errorf("%q: %v", e.Key, err)
		}
		if err := v.CompleteLive(t.Context(), e); err != nil {
			t.Errorf("%q: %v", e.Key, err)
		}
	}
	if folder.File.Mode != 0o700 || link.File.Target != "two" {
		t.Errorf("%+v, %+v", folder.File, link.File)
	}
	if err := errors.Join(os.RemoveAll(root+"/d"), os.WriteFile(root+"/d", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := v.CompleteLive(t.Context(), folder); !errors.Is(err, source.ErrChanged) && !errors.Is(err, source.ErrGone) {
		t.Error(err)
	}
}
