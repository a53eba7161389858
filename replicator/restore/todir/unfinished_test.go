package todir_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const mark = ".holdfast-part-unfinished"

// half is a restore that ended in the middle: some files are there, and the mark.
type half struct {
	t    *testing.T
	r    *restoretest.Repo
	c    *format.Commit
	to   string
	want map[string][]byte
}

func newHalf(t *testing.T) *half {
	t.Helper()
	h := &half{t: t, r: restoretest.New(t), to: filepath.Join(t.TempDir(), "to"), want: map[string][]byte{}}
	src := memsource.New(memsource.Options{})
	for i := range 40 {
		key := fmt.Sprintf("d%d/%02d", i%4, i)
		h.want[key] = random(uint64(i), 300<<10)
		src.Put(key, h.want[key])
	}
	h.c = h.r.Backup(src)
	// Half of it only, and then the other half of which the first file ends it.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := &slow{Reader: h.r.Store, then: cancel}
	s.after.Store(6)
	_, err := restore.Run(ctx, restore.Options{Reader: h.r.Reader(s), Commit: h.c, Target: into(t, h.to), Memory: 64 << 20})
	if err == nil {
		run(t, h.options(restore.Never)) // too quick to be stopped: as good
		must(t, os.WriteFile(filepath.Join(h.to, mark), []byte("x\n"), 0o600))
	} else if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	run(t, h.options(restore.Never, "d0/**", "d1/**")) // takes the mark away: what is there is on the disk
	if _, err := os.Stat(filepath.Join(h.to, mark)); err == nil {
		t.Fatal("the mark is there after a restore that was finished")
	}
	return h
}

func (h *half) options(o restore.Overwrite, include ...string) restore.Options {
	return restore.Options{Reader: h.r.Reader(nil), Commit: h.c, Target: into(h.t, h.to), Overwrite: o, Include: include, Memory: 64 << 20}
}

// leaveMark writes a mark as a restore of this point, or of another, would have left it before the machine was started.
func (h *half) leaveMark(boot, point string) {
	h.t.Helper()
	if point == "" {
		point = h.c.Manifest.Sum.String()
	}
	must(h.t, os.WriteFile(filepath.Join(h.to, mark), []byte(boot+"\n"+point+"\n"), 0o600))
}

// spoil makes a file what a power cut may make of it; its time stays.
func (h *half) spoil(key string, how func(path string) error) {
	h.t.Helper()
	p := filepath.Join(h.to, key)
	var st unix.Stat_t
	must(h.t, unix.Lstat(p, &st), how(p), unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{st.Mtim, st.Mtim}, 0))
}

func (h *half) wrong() (out []string) {
	for _, key := range slices.Sorted(maps.Keys(h.want)) {
		if b, err := os.ReadFile(filepath.Join(h.to, key)); err != nil || string(b) != string(h.want[key]) {
			out = append(out, key)
		}
	}
	return out
}

func (h *half) marked() bool {
	_, err := os.Stat(filepath.Join(h.to, mark))
	return err == nil
}

func zeroed(p string) error {
	st, err := os.Stat(p)
	if err != nil {
		return err
	}
	return os.WriteFile(p, make([]byte, st.Size()), 0o600)
}

func TestAPowerCutInTheMiddleLeavesNothingThatOnlyLooksWhole(t *testing.T) {
	for _, o := range []restore.Overwrite{restore.Never, restore.Changed} {
		t.Run(string(o), func(t *testing.T) {
			h := newHalf(t)
			h.leaveMark("another start of the machine", "")
			h.spoil("d0/00", zeroed)
			h.spoil("d0/04", func(p string) error { return os.Truncate(p, 0) })
			h.spoil("d1/01", func(p string) error { return os.Truncate(p, 100<<10) })
			before := len(h.wrong())
			res := run(t, h.options(o))
			if w := h.wrong(); len(w) > 0 {
				t.Errorf("still wrong: %s", w)
			}
			if res.Entries != int64(before) || res.Skipped != int64(40-before) {
				t.Errorf("%d were not right and %d were; %+v", before, 40-before, res)
			}
			if h.marked() {
				t.Error("the mark is still there")
			}
		})
	}
}

func TestTheMarkOutlivesWhatDoesNotLookAtAll(t *testing.T) {
	h := newHalf(t)
	run(t, h.options(restore.Never))
	for name, left := range map[string]func(){
		"a part of the point": func() { run(t, h.options(restore.Never, "d2/**")) },
		"a dry run": func() {
			o := h.options(restore.Never)
			o.DryRun = true
			res := run(t, o)
			if res.Entries != 1 {
				t.Errorf("a dry run would restore %d entries; one is wrong", res.Entries)
			}
		},
		"another point": func() {
			h.leaveMark("another start", strings.Repeat("0", 64))
			h.spoil("d0/00", zeroed)
			run(t, h.options(restore.Never))
			h.spoil("d0/00", zeroed)
		},
	} {
		h.leaveMark("another start", "")
		h.spoil("d0/00", zeroed)
		left()
		if !h.marked() {
			t.Errorf("%s: the mark is gone", name)
		}
	}
	h.leaveMark("another start", "")
	run(t, h.options(restore.Never))
	if w := h.wrong(); len(w) > 0 || h.marked() {
		t.Errorf("wrong: %s; the mark is there: %v", w, h.marked())
	}
}

// counting counts the bytes of packs that are read.
type counting struct {
	store.Reader
	bytes atomic.Int64
}

func (c *counting) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	body, err := c.Reader.Open(ctx, ref, off, n)
	if err != nil || !strings.HasPrefix(ref.Name, format.PrefixPacks) {
		return body, err
	}
	return countingBody{body, c}, nil
}

type countingBody struct {
	io.ReadCloser
	c *counting
}

func (b countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.c.bytes.Add(int64(n))
	return n, err
}

func TestAContinuedRestoreFetchesOnlyWhatIsMissing(t *testing.T) {
	h := newHalf(t)
	var missing int64
	for _, key := range h.wrong() {
		missing += int64(len(h.want[key]))
	}
	if missing == 0 {
		for i := 2; i < 40; i += 4 {
			must(t, os.Remove(filepath.Join(h.to, fmt.Sprintf("d2/%02d", i))))
			missing += 300 << 10
		}
	}
	there := 40 - len(h.wrong())
	c := &counting{Reader: h.r.Store}
	o := h.options(restore.Never)
	o.Reader = h.r.Reader(c)
	res := run(t, o)
	if res.Skipped != int64(there) || len(h.wrong()) > 0 {
		t.Errorf("%d were there: %+v", there, res)
	}
	// Frames of a megabyte are shared by neighbours, and a gap of up to 128 KiB is read over.
	if got := c.bytes.Load(); got > missing+missing/2+(2<<20) {
		t.Errorf("fetched %d bytes for %d that were missing", got, missing)
	}
	c.bytes.Store(0)
	o = h.options(restore.Never)
	o.Reader = h.r.Reader(c)
	if res := run(t, o); res.Skipped != 40 || c.bytes.Load() != 0 {
		t.Errorf("with everything there %d bytes were fetched: %+v", c.bytes.Load(), res)
	}
}
