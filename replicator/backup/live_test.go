package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/source"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// busy is a directory in which things happen while it is read.
type busy struct {
	*dirsource.Source
	opened func(key string) // before a key is opened
	read   func(key string) // when its first bytes were read
	mapped bool             // every file is told to be written to, and none carries another time
	at     time.Time        // what the file system's clock shows; zero: what it does show
}

type busyView struct {
	source.View
	b *busy
}

func (b *busy) Freeze(ctx context.Context) (source.View, error) {
	v, err := b.Source.Freeze(ctx)
	return &busyView{v, b}, err
}

func (v *busyView) Clock() time.Time {
	if v.b.at.IsZero() {
		return v.View.Clock()
	}
	return v.b.at
}

func (v *busyView) live() source.Live { return v.View.(source.Live) } //nolint:forcetypeassert // a directory's is

func (v *busyView) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	v.b.opened(e.Key)
	r, err := v.View.Open(ctx, e, off, n)
	if err != nil {
		return nil, err
	}
	return &busyStream{ReadCloser: r, b: v.b, key: e.Key}, nil
}

func (v *busyView) OpenLive(ctx context.Context, e *format.Entry) (source.LiveStream, error) {
	v.b.opened(e.Key)
	r, err := v.live().OpenLive(ctx, e)
	if err != nil {
		return nil, err
	}
	return &busyLive{busyStream{ReadCloser: r, b: v.b, key: e.Key, live: true}, r}, nil
}

func (v *busyView) Complete(ctx context.Context, e *format.Entry) error {
	v.b.opened(e.Key)
	return v.View.Complete(ctx, e)
}

func (v *busyView) CompleteLive(ctx context.Context, e *format.Entry) error {
	v.b.opened(e.Key)
	return v.live().CompleteLive(ctx, e)
}

type busyStream struct {
	io.ReadCloser
	b    *busy
	key  string
	live bool // what changes is told by Settle
	done bool
}

func (s *busyStream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 100)])
	if !s.done {
		s.done = true
		s.b.read(s.key)
	}
	if err == io.EOF && s.b.mapped && !s.live { //nolint:errorlint // bare
		err = source.ErrChanged
	}
	return n, err
}

type busyLive struct {
	busyStream
	live source.LiveStream
}

func (s *busyLive) Settle() (int64, bool, bool) {
	size, unsettled, other := s.live.Settle()
	return size, unsettled || s.b.mapped, other
}

// newBusy gives a rig whose source is a directory, and the directory.
func newBusy(t *testing.T) (*rig, *busy, string) {
	t.Helper()
	r, root := newRig(t, 1), t.TempDir()
	src, err := dirsource.New(dirsource.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	b := &busy{Source: src, opened: func(string) {}, read: func(string) {}}
	r.source = b
	return r, b, root
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

// tick waits until what is written is dated later than what was: file systems date in steps.
func tick() {
	var first, now unix.Stat_t
	f, err := os.CreateTemp("", "tick")
	if err != nil {
		panic(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	for err = unix.Fstat(int(f.Fd()), &first); err == nil; err = unix.Fstat(int(f.Fd()), &now) {
		if now.Ctim != first.Ctim && now.Ino != 0 {
			return
		}
		time.Sleep(time.Millisecond)
		if err = f.Chmod(0o600); err != nil {
			break
		}
	}
	panic(err)
}

func appendTo(path string, b []byte) {
	tick()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

// TestAlwaysWrittenTo: a file that is never left alone is in the point as far as it was read, marked and counted, small ones
// and large ones; it is read again by the next run, and settled when it is left alone.
func TestAlwaysWrittenTo(t *testing.T) {
	for name, size := range map[string]int{"small": 3000, "streamed": 3 << 20} {
		t.Run(name, func(t *testing.T) {
			r, b, root := newBusy(t)
			content := body(3, size)
			write(t, root+"/app.log", content)
			write(t, root+"/still", []byte("still"))
			b.read = func(key string) {
				if key == "app.log" {
					appendTo(root+"/app.log", []byte("one more line\n"))
				}
			}
			first := r.run()
			e := r.entry(first.Point, "app.log")
			if first.Status != format.StatusComplete || first.Unsettled != 1 || first.Missing != 0 || !e.Unsettled || e.Recheck {
				t.Fatalf("%+v, %+v", first, e)
			}
			got := r.contents(0, first.Point)["app.log"]
			now, err := os.ReadFile(root + "/app.log")
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(got)) != e.Size || len(got) < size || !bytes.HasPrefix(now, got) {
				t.Errorf("%d bytes that are not the file's first", len(got))
			}
			if e := r.entry(first.Point, "still"); e.Unsettled {
				t.Error("what was left alone is unsettled")
			}
			b.read = func(string) {}
			r.clock = r.clock.Add(time.Hour)
			second := r.run()
			if e := r.entry(second.Point, "app.log"); second.Unsettled != 0 || e.Unsettled || second.Changed != 1 {
				t.Errorf("left alone: %+v, %+v", second, e)
			}
			if got := r.contents(0, second.Point)["app.log"]; !bytes.Equal(got, now) {
				t.Errorf("left alone: %d bytes instead of %d", len(got), len(now))
			}
		})
	}
}

// TestUnsettledIsReadAgain: an unsettled entry is read again, and once more where it had just changed; then no more.
func TestUnsettledIsReadAgain(t *testing.T) {
	r, b, root := newBusy(t)
	write(t, root+"/db", body(4, 5000))
	dated, err := os.Stat(root + "/db")
	if err != nil {
		t.Fatal(err)
	}
	b.read = func(key string) { // in place, and dated as before, as a mapped file is
		if key != "db" {
			return
		}
		tick()
		if err := os.Chtimes(root+"/db", dated.ModTime(), dated.ModTime()); err != nil {
			t.Error(err)
		}
	}
	if first := r.run(); first.Unsettled != 1 {
		t.Fatalf("%+v", first)
	}
	b.read = func(string) {}
	var st unix.Stat_t
	if err := unix.Stat(root+"/db", &st); err != nil {
		t.Fatal(err)
	}
	changed := time.Unix(st.Ctim.Unix())
	for _, c := range []struct {
		since time.Duration // the change, when the run reads
		read  int64
		again bool // the next run reads it again: it had just changed
	}{{0, 5000, true}, {50 * time.Millisecond, 5000, true}, {time.Hour, 5000, false}, {time.Hour, 0, false}} {
		r.clock = r.clock.Add(time.Hour)
		b.at = changed.Add(c.since)
		res := r.run()
		if e := r.entry(res.Point, "db"); res.BytesRead != c.read || res.Unsettled != 0 || e.Unsettled || e.Recheck != c.again {
			t.Errorf("%s after the change: %+v, %+v", c.since, res, e)
		}
	}
}

// TestUnsettledIsReadAgainThoughListedAsBefore: also where the listing says the same of it, as of a mapped file whose times change
// when it is written out.
func TestUnsettledIsReadAgainThoughListedAsBefore(t *testing.T) {
	r, b, root := newBusy(t)
	write(t, root+"/db", body(4, 5000))
	b.mapped, b.at = true, time.Now().Add(time.Hour)
	if first := r.run(); first.Unsettled != 1 {
		t.Fatalf("%+v", first)
	}
	b.mapped = false
	for _, read := range []int64{5000, 0} {
		r.clock = r.clock.Add(time.Hour)
		if res := r.run(); res.BytesRead != read || res.Unsettled != 0 || res.Changed != 0 {
			t.Errorf("%d bytes are to be read: %+v", read, res)
		}
	}
}

// TestUnsettledMissing: with MissUnsettled such a file is missing, with the reason that it was written to.
func TestUnsettledMissing(t *testing.T) {
	r, b, root := newBusy(t)
	r.unsettled = backup.MissUnsettled
	write(t, root+"/app.log", body(1, 3000))
	b.read = func(key string) {
		if key == "app.log" {
			appendTo(root+"/app.log", []byte("more"))
		}
	}
	res := r.run()
	e := r.entry(res.Point, "app.log")
	if res.Status != format.StatusIncomplete || res.Missing != 1 || res.Unsettled != 0 || !strings.Contains(e.Missing, "was written to while it was read") {
		t.Fatalf("%+v, %+v", res, e)
	}
}

// TestReplacedBetweenListingAndReading: a file that is a link, a pipe or a folder by the time it is read, and the other way
// round, ends no run.
func TestReplacedBetweenListingAndReading(t *testing.T) {
	kinds := map[string]func(path string) error{
		"file":   func(path string) error { return os.WriteFile(path, []byte("a file by now"), 0o600) },
		"larger": func(path string) error { return os.WriteFile(path, body(5, 2<<20), 0o600) },
		"link":   func(path string) error { return os.Symlink("elsewhere", path) },
		"pipe":   func(path string) error { return unix.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"gone":   func(string) error { return nil },
	}
	for from := range kinds {
		for to, make := range kinds {
			if from == to || from == "gone" || from == "folder" {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				r, b, root := newBusy(t)
				write(t, root+"/other", []byte("other"))
				if err := kinds[from](root + "/x"); err != nil {
					t.Fatal(err)
				}
				done := false
				b.opened = func(key string) {
					if key == "x" && !done {
						done = true
						tick()
						if err := errors.Join(os.RemoveAll(root+"/x"), make(root+"/x")); err != nil {
							t.Error(err)
						}
					}
				}
				res := r.run()
				if got := r.contents(0, res.Point); string(got["other"]) != "other" {
					t.Errorf("%q", got)
				}
				e := r.entry(res.Point, "x")
				switch to {
				case "gone", "folder":
					if e != nil {
						t.Errorf("%+v", e)
					}
				case "link":
					if e == nil || e.Kind != format.KindSymlink || e.File.Target != "elsewhere" {
						t.Errorf("%+v", e)
					}
				case "pipe":
					if e == nil || e.Kind != format.KindSpecial {
						t.Errorf("%+v", e)
					}
				default:
					if e == nil || e.Kind != format.KindFile || e.Missing != "" || e.Size == 0 {
						t.Errorf("%+v", e)
					}
				}
				if res.Missing != 0 {
					t.Errorf("%+v", res)
				}
			})
		}
	}
}

// TestFolderInUse: a folder in which files come and go all the time does not make a point incomplete.
func TestFolderInUse(t *testing.T) {
	r, b, root := newBusy(t)
	write(t, root+"/spool/one", []byte("1"))
	n := 0
	b.opened = func(key string) {
		if key == "spool/" {
			n++
			tick()
			if err := os.WriteFile(fmt.Sprintf("%s/spool/new%d", root, n), nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	if res := r.run(); res.Status != format.StatusComplete || res.Missing != 0 {
		t.Errorf("%+v", res)
	}
}

// TestMadeUpFiles: what the kernel lists with no size is in the point as it is.
func TestMadeUpFiles(t *testing.T) {
	r := newRig(t, 1)
	src, err := dirsource.New(dirsource.Options{Root: "/proc/sys/fs/inotify"})
	if err != nil {
		t.Fatal(err)
	}
	r.source = src
	res := r.run()
	want, err := os.ReadFile("/proc/sys/fs/inotify/max_user_watches")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.contents(0, res.Point)["max_user_watches"]; !bytes.Equal(got, want) || res.Missing != 0 || res.Unsettled != 0 {
		t.Errorf("%q instead of %q; %+v", got, want, res)
	}
	if e := r.entry(res.Point, "max_user_watches"); !e.Recheck || e.Size != int64(len(want)) {
		t.Errorf("%+v: not looked at again", e)
	}
}

// TestFailedReadingsCountNothing: what a reading used that came to nothing is not on the needs list.
func TestFailedReadingsCountNothing(t *testing.T) {
	r := newRigWith(t, 1, format.Parameters{Chunker: "fastcdc-v1.0.0", MinChunk: 2 << 10, AvgChunk: 8 << 10, MaxChunk: 32 << 10, LeafKeys: 8, Fanout: 8})
	root := t.TempDir()
	src, err := dirsource.New(dirsource.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	content := body(2, 30<<20) // of four ranges
	write(t, root+"/huge", content)
	b := &busy{Source: src, opened: func(string) {}, read: func(string) {}}
	r.source = b
	r.run()
	r.clock = r.clock.Add(time.Hour)
	write(t, root+"/huge", append(content, 'x'))
	b.read = func(key string) {
		if key == "huge" {
			appendTo(root+"/huge", []byte("y"))
		}
	}
	res := r.run()
	r.contents(0, res.Point) // which holds the needs list against the manifest
	if res.Unsettled != 1 {
		t.Errorf("%+v", res)
	}
}
