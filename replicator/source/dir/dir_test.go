package dirsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func newSource(t testing.TB, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, root, key string, body []byte) {
	t.Helper()
	path := root + "/" + key
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// A file system's clock moves in steps of some milliseconds: what changes twice within one cannot be noticed.
	time.Sleep(5 * time.Millisecond)
	if err := os.WriteFile(path, body, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	keys := append(sourcetest.DefaultKeys(), "\xff\xfe", "new\nline", "b\\c", "deep/"+strings.Repeat("d/", 60)+"f")
	sourcetest.Run(t, sourcetest.Harness{Keys: keys, New: func(t *testing.T) *sourcetest.Fixture {
		root := t.TempDir()
		return &sourcetest.Fixture{
			Source: newSource(t, Options{Root: root}),
			Put:    func(t *testing.T, key string, body []byte) { put(t, root, key, body) },
			Delete: func(t *testing.T, key string) {
				if err := os.Remove(root + "/" + key); err != nil {
					t.Fatal(err)
				}
			},
			Rich: func(t *testing.T) []sourcetest.Want { return rich(t, root) },
		}
	}})
}

// rich makes one of everything a directory can hold.
func rich(t *testing.T, root string) []sourcetest.Want {
	mtime := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put(t, root, "file", []byte("content"))
	must(os.Chmod(root+"/file", 0o640|os.ModeSetuid))
	hasXattrs := unix.Setxattr(root+"/file", "user.colour", []byte("bl\x00ue"), 0) == nil
	must(os.Chtimes(root+"/file", mtime, mtime))
	must(os.Link(root+"/file", root+"/link"))
	must(os.Mkdir(root+"/folder", 0o750))
	if hasXattrs {
		must(unix.Setxattr(root+"/folder", "user.f", []byte("1"), 0))
	}
	must(os.Symlink("../no/\xffwhere", root+"/symlink"))
	must(os.Symlink("folder", root+"/symlink to folder"))
	must(unix.Mkfifo(root+"/fifo", 0o600))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(err)
	defer unix.Close(fd) //nolint:errcheck // test
	short := fmt.Sprintf("/proc/self/fd/%d/socket", dirFD(t, root))
	must(unix.Bind(fd, &unix.SockaddrUnix{Name: short}))
	file := func(t *testing.T, e *format.Entry) {
		if e.Kind != format.KindFile || e.File.Mode != 0o4640 || !e.Modified.Equal(mtime) || e.File.Links != 2 || e.File.Inode == 0 {
			t.Errorf("%+v %+v", e, e.File)
		}
		if e.File.UID != uint32(os.Getuid()) || e.File.GID != uint32(os.Getgid()) || e.File.Changed.IsZero() {
			t.Errorf("%+v", e.File)
		}
		if hasXattrs && string(e.File.Xattrs["user.colour"]) != "bl\x00ue" {
			t.Errorf("extended attributes %q", e.File.Xattrs)
		}
	}
	is := func(kind format.Kind, check func(*format.File) bool) func(*testing.T, *format.Entry) {
		return func(t *testing.T, e *format.Entry) {
			if e.Kind != kind || e.Size != 0 || !check(e.File) {
				t.Errorf("%+v %+v", e, e.File)
			}
		}
	}
	return []sourcetest.Want{
		{Key: "file", Check: file}, {Key: "link", Check: file},
		{Key: "folder/", Check: is(format.KindDir, func(f *format.File) bool {
			return f.Mode == 0o750 && (!hasXattrs || string(f.Xattrs["user.f"]) == "1")
		})},
		{Key: "./", Check: is(format.KindDir, func(f *format.File) bool { return f.Mode != 0 })},
		{Key: "symlink", Check: is(format.KindSymlink, func(f *format.File) bool { return f.Target == "../no/\xffwhere" })},
		{Key: "symlink to folder", Check: is(format.KindSymlink, func(f *format.File) bool { return f.Target == "folder" })},
		{Key: "fifo", Check: is(format.KindSpecial, func(f *format.File) bool { return f.Type == "fifo" && f.Mode == 0o600 })},
		{Key: "socket", Check: is(format.KindSpecial, func(f *format.File) bool { return f.Type == "socket" })},
	}
}

func dirFD(t *testing.T, dir string) int {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func freeze(t testing.TB, s source.Source) source.View {
	t.Helper()
	v, err := s.Freeze(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func keys(t testing.TB, v source.View) (out []string) {
	t.Helper()
	for e, err := range v.Entries(context.Background(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Key)
	}
	return out
}

func find(t testing.TB, v source.View, key string) *format.Entry {
	t.Helper()
	for e, err := range v.Entries(context.Background(), key, key+"\x00") {
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	t.Fatalf("%q is not listed", key)
	return nil
}

// TestOrder: whatever the names, the walk gives the sorted list of keys, and every range its part.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		root, err := os.MkdirTemp("", "order")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(root) //nolint:errcheck // test
		want := map[string]bool{"./": true}
		name := rapid.StringMatching(`[-a.b0 /]{1,8}`)
		for range rapid.IntRange(1, 12).Draw(r, "n") {
			key := strings.Trim(filepath.Clean(name.Draw(r, "name")), "/")
			if key == "" || strings.HasPrefix(key, "..") || key == "." {
				continue
			}
			dir := filepath.Dir(key)
			if os.MkdirAll(root+"/"+dir, 0o755) != nil {
				continue
			}
			for d := dir; d != "."; d = filepath.Dir(d) {
				want[d+"/"] = true
			}
			if st, err := os.Lstat(root + "/" + key); err == nil && st.IsDir() {
				continue
			}
			if err := os.WriteFile(root+"/"+key, nil, 0o644); err != nil {
				r.Fatal(err)
			}
			want[key] = true
		}
		var sorted []string
		for k := range want {
			sorted = append(sorted, k)
		}
		slices.Sort(sorted)
		s, err := New(Options{Root: root})
		if err != nil {
			r.Fatal(err)
		}
		v, err := s.Freeze(context.Background())
		if err != nil {
			r.Fatal(err)
		}
		defer v.Close() //nolint:errcheck // test
		bound := rapid.OneOf(rapid.SampledFrom(sorted), rapid.StringMatching(`[-a.b0/]{0,4}`))
		for _, b := range [][2]string{{"", ""}, {bound.Draw(r, "from"), bound.Draw(r, "to")}} {
			var got, part []string
			for e, err := range v.Entries(context.Background(), b[0], b[1]) {
				if err != nil {
					r.Fatal(err)
				}
				got = append(got, e.Key)
			}
			for _, k := range sorted {
				if k >= b[0] && (b[1] == "" || k < b[1]) {
					part = append(part, k)
				}
			}
			if !slices.Equal(got, part) {
				r.Fatalf("range %q: got %q, want %q", b, got, part)
			}
		}
	})
}

func TestExclude(t *testing.T) {
	root := t.TempDir()
	for _, k := range []string{"a", "tmp/x", "tmp/y/z", "sub/n.bak", "sub/n", "keep/tmp/x"} {
		put(t, root, k, nil)
	}
	if err := os.Chmod(root+"/tmp", 0); err != nil { // not even opened
		t.Fatal(err)
	}
	defer os.Chmod(root+"/tmp", 0o755) //nolint:errcheck // test
	got := keys(t, freeze(t, newSource(t, Options{Root: root, Exclude: []string{"tmp/**", "**/*.bak"}})))
	if want := []string{"./", "a", "keep/", "keep/tmp/", "keep/tmp/x", "sub/", "sub/n"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := New(Options{Root: root, Exclude: []string{"["}}); err == nil {
		t.Error("a bad pattern passed")
	}
}

// TestSymlinkRace: a folder or file that becomes a symbolic link after it was listed leads nowhere.
func TestSymlinkRace(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	put(t, root, "d/f", []byte("inside"))
	put(t, outside, "f", []byte("secret"))
	v := freeze(t, newSource(t, Options{Root: root}))
	e := find(t, v, "d/f")
	if err := errors.Join(os.Rename(root+"/d", root+"/old"), os.Symlink(outside, root+"/d")); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open(t.Context(), e, 0, -1); !errors.Is(err, source.ErrChanged) && !errors.Is(err, source.ErrGone) {
		t.Errorf("a folder that became a link: %v", err)
	}
	// Even one that names the outside file's own inode.
	o := find(t, freeze(t, newSource(t, Options{Root: outside})), "f")
	o.Key = "d/f"
	if _, err := v.Open(t.Context(), o, 0, -1); !errors.Is(err, source.ErrChanged) && !errors.Is(err, source.ErrGone) {
		t.Errorf("a link was followed out of the root: %v", err)
	}
	if fd, err := openSteps(v.(*view).root, "d/f", unix.O_RDONLY|unix.O_NOFOLLOW); err == nil { //nolint:forcetypeassert // test
		_ = unix.Close(fd)
		t.Error("the step-by-step open followed a link")
	}
}

// TestFIFOInPlace: a FIFO that took the place of a file must not block.
func TestFIFOInPlace(t *testing.T) {
	root := t.TempDir()
	put(t, root, "f", []byte("x"))
	v := freeze(t, newSource(t, Options{Root: root}))
	e := find(t, v, "f")
	if err := errors.Join(os.Remove(root+"/f"), unix.Mkfifo(root+"/f", 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Open(t.Context(), e, 0, -1); !errors.Is(err, source.ErrChanged) {
		t.Error(err)
	}
	special := find(t, v, "f")
	if _, err := v.Open(t.Context(), special, 0, -1); err == nil {
		t.Error("a FIFO was opened")
	}
}

func TestSparse(t *testing.T) {
	root := t.TempDir()
	f, err := os.Create(root + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{1 << 20, 8 << 20} {
		if _, err := f.WriteAt(bytes.Repeat([]byte("x"), 64<<10), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(20<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	put(t, root, "dense", []byte("dense"))
	put(t, root, "empty", nil)
	v := freeze(t, newSource(t, Options{Root: root}))
	ranges := func(key string) (out []source.Range, sum int64) {
		body, err := v.Open(t.Context(), find(t, v, key), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close() //nolint:errcheck // test
		for at := int64(0); ; {
			hole, data, err := body.(source.Sparse).Next(4096) //nolint:forcetypeassert // what is tested
			if err != nil {
				t.Fatal(err)
			}
			if data > 0 {
				out, sum = append(out, source.Range{Off: at + hole, Len: data}), sum+data
				if _, err := io.CopyN(io.Discard, body, data); err != nil {
					t.Fatal(err)
				}
			}
			if at += hole + data; hole+data == 0 {
				return out, sum
			}
		}
	}
	got, sum := ranges("sparse")
	if len(got) != 2 || sum > 1<<20 || got[0].Off > 1<<20 || got[1].Off+got[1].Len < 8<<20+64<<10 {
		t.Errorf("data ranges %v", got)
	}
	if got, _ := ranges("dense"); !slices.Equal(got, []source.Range{{Off: 0, Len: 5}}) {
		t.Errorf("data ranges %v", got)
	}
	if got, _ := ranges("empty"); len(got) != 0 {
		t.Errorf("data ranges %v", got)
	}
}

// TestDenied: the system cannot deny root anything, so what it would answer is also put in by hand.
func TestDenied(t *testing.T) {
	root := t.TempDir()
	put(t, root, "a", []byte("x"))
	put(t, root, "closed/b", []byte("x"))
	put(t, root, "z", []byte("x"))
	v := freeze(t, newSource(t, Options{Root: root})).(*view) //nolint:forcetypeassert // test
	e := find(t, v, "a")
	for err, want := range map[error]string{unix.EACCES: "access denied", unix.EPERM: "access denied", unix.EIO: "input/output error"} {
		var u *source.Unreadable
		if got := failure("open", e.Key, err); !errors.As(got, &u) || u.Reason != want || !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
	if err := failure("open", "k", unix.EMFILE); !errors.Is(err, unix.EMFILE) || errors.As(err, new(*source.Unreadable)) {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		if err := errors.Join(os.Chmod(root+"/closed", 0), os.Chmod(root+"/z", 0)); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(root+"/closed", 0o755) //nolint:errcheck // test
		if e := find(t, v, "closed/"); e.Missing != "access denied" || e.Kind != format.KindDir {
			t.Errorf("%+v", e)
		}
		var u *source.Unreadable
		if _, err := v.Open(t.Context(), find(t, v, "z"), 0, -1); !errors.As(err, &u) || u.Reason != "access denied" {
			t.Error(err)
		}
	}
	// What a walk makes of a folder that cannot be opened, whoever runs this.
	var got []*format.Entry
	w := walk{v: v, ctx: t.Context(), yield: func(e *format.Entry, err error) bool { got = append(got, e); return err == nil }}
	if !w.closedFolder(v.root, "closed", "closed/", unix.EACCES) || len(got) != 1 || got[0].Missing != "access denied" || got[0].File.Inode == 0 {
		t.Errorf("%+v", got)
	}
	if w.closedFolder(v.root, "closed", "closed/", unix.EMFILE) {
		t.Error("the walk went on without descriptors")
	}
}

func TestFreezeErrors(t *testing.T) {
	for _, root := range []string{t.TempDir() + "/none", os.Args[0]} {
		if _, err := newSource(t, Options{Root: root}).Freeze(t.Context()); err == nil {
			t.Errorf("%s: no error", root)
		}
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no root: no error")
	}
}

func TestMounts(t *testing.T) {
	v := freeze(t, newSource(t, Options{Root: "/", OneFileSystem: true, Exclude: []string{"[!p]*/**"}}))
	got := keys(t, v)
	if !slices.Contains(got, "proc/") || slices.ContainsFunc(got, func(k string) bool { return strings.HasPrefix(k, "proc/s") }) {
		t.Errorf("%q", got)
	}
}

func BenchmarkWalk(b *testing.B) {
	root := b.TempDir()
	for i := range 200 {
		dir := fmt.Sprintf("%s/d%03d", root, i)
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			if err := os.WriteFile(fmt.Sprintf("%s/f%03d", dir, j), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	v := freeze(b, newSource(b, Options{Root: root}))
	for b.Loop() {
		if n := len(keys(b, v)); n != 20201 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20201, "ns/entry")
}

func BenchmarkRead(b *testing.B) {
	root := b.TempDir()
	put(b, root, "small", make([]byte, 4096))
	put(b, root, "large", make([]byte, 64<<20))
	v := freeze(b, newSource(b, Options{Root: root}))
	buf := make([]byte, 1<<20)
	for _, key := range []string{"small", "large"} {
		b.Run(key, func(b *testing.B) {
			e := find(b, v, key)
			b.SetBytes(e.Size)
			for b.Loop() {
				r, err := v.Open(context.Background(), e, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = r.Read(buf)
				}
				if err != io.EOF { //nolint:errorlint // bare
					b.Fatal(err)
				}
				_ = r.Close()
			}
		})
	}
}
