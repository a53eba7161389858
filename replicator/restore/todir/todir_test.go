package todir_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	g := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = g.Read(b)
	return b
}

func into(t *testing.T, root string) *todir.Target {
	t.Helper()
	target, err := todir.New(todir.Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func run(t *testing.T, o restore.Options) restore.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := restore.Run(ctx, o)
	if err != nil {
		t.Fatalf("%+v: %v", res, err)
	}
	return res
}

// tree describes everything below root: kind, mode, owner, time, content, links, holes' existence, attributes.
func tree(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, p)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		s := fmt.Sprintf("%o %d:%d %v", st.Mode, st.Uid, st.Gid, time.Unix(st.Mtim.Unix()).UTC())
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s += " -> " + to
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			s += fmt.Sprintf(" %x", b)
			if st.Nlink > 1 {
				if first, ok := inodes[st.Ino]; ok {
					s += " = " + first
				} else {
					inodes[st.Ino] = name
				}
			}
		}
		buf := make([]byte, 256)
		if n, err := unix.Lgetxattr(p, "user.holdfast", buf); err == nil {
			s += fmt.Sprintf(" xattr %q", buf[:n])
		}
		out[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t testing.TB, got, want map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("%s:\n got %.200s\nwant %.200s", k, got[k], want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s should not be there", k)
		}
	}
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func point(t *testing.T, root string) (*restoretest.Repo, *format.Commit) {
	t.Helper()
	r := restoretest.New(t)
	src, err := dirsource.New(dirsource.Options{Root: root})
	must(t, err)
	return r, r.Backup(src)
}

// fill makes a tree with one of everything.
func fill(t *testing.T, root string) {
	t.Helper()
	p := func(name string) string { return filepath.Join(root, name) }
	must(t, os.MkdirAll(p("d/e/f"), 0o755), os.MkdirAll(p("d.x"), 0o750), os.MkdirAll(p("sealed/in"), 0o755))
	must(t,
		os.WriteFile(p("d/small"), []byte("small"), 0o640), os.WriteFile(p("d/empty"), nil, 0o600),
		os.WriteFile(p("d/e/large"), random(1, 9<<20), 0o755), os.WriteFile(p("d/e/mid"), random(2, 2<<20), 0o400),
		os.WriteFile(p("sealed/in/x"), []byte("x"), 0o444), os.WriteFile(p("back\\slash"), []byte("y"), 0o644),
		os.WriteFile(p("bytes-\xff\xfe"), []byte("z"), 0o644),
		os.Symlink("../nowhere", p("d/link")), os.Symlink("/etc/passwd", p("d/abs")),
		os.Link(p("d/small"), p("d.x/second")), os.Link(p("d/small"), p("d/third")),
	)
	f, err := os.Create(p("d/sparse"))
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 12<<20)
	must(t, err, f.Truncate(20<<20), f.Close())
	if err := unix.Setxattr(p("d/small"), "user.holdfast", []byte("attr"), 0); err != nil {
		t.Log("no attributes here:", err)
	}
	old := time.Date(2001, 2, 3, 4, 5, 6, 789012345, time.UTC)
	must(t, os.Chmod(p("d/e/large"), 0o755|fs.ModeSetuid), os.Chmod(p("sealed/in"), 0o500))
	must(t, os.Chtimes(p("d/empty"), old, old), os.Chtimes(p("sealed/in"), old, old), os.Chtimes(p("sealed"), old, old), os.Chtimes(root, old, old), os.Chmod(root, 0o751))
}

func TestTreeComesBackAsItWas(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "a", "to")
	must(t, os.Mkdir(from, 0o755))
	fill(t, from)
	r, c := point(t, from)
	o := restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Memory: 64 << 20}
	var settled, shown int64
	done := make(chan [2]int64, 1024)
	o.Progress = func(e, b int64) { done <- [2]int64{e, b} }
	res := run(t, o)
	close(done)
	for d := range done {
		settled, shown = settled+d[0], shown+d[1]
	}
	if res.Failed != 0 || res.Entries != c.Entries || res.Bytes != c.Bytes || settled != c.Entries || shown != c.Bytes {
		t.Errorf("%+v; shown %d, %d; the point has %d, %d", res, settled, shown, c.Entries, c.Bytes)
	}
	want := tree(t, from)
	same(t, tree(t, to), want)
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(to, "d/sparse"), &st))
	if st.Blocks*512 > 4<<20 {
		t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
	}

	for _, ow := range []restore.Overwrite{restore.Never, restore.Changed} {
		res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: ow})
		if res.Failed != 0 || res.Bytes != 0 {
			t.Errorf("again with %s: %+v", ow, res)
		}
		same(t, tree(t, to), want)
	}
	must(t, os.Chmod(filepath.Join(to, "sealed/in"), 0o700), os.WriteFile(filepath.Join(to, "d/e/mid"), []byte("changed"), 0o600), os.WriteFile(filepath.Join(to, "mine"), nil, 0o600))
	res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: restore.Never})
	if b, _ := os.ReadFile(filepath.Join(to, "d/e/mid")); string(b) != "changed" {
		t.Errorf("never overwrote: %+v", res)
	}
	res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: restore.Changed})
	if res.Bytes != 2<<20 {
		t.Errorf("changed restored %+v", res)
	}
	must(t, os.Remove(filepath.Join(to, "mine")))
	old := time.Date(2001, 2, 3, 4, 5, 6, 789012345, time.UTC)
	must(t, os.Chtimes(to, old, old))
	same(t, tree(t, to), want)
}

func TestDryRunChangesNothing(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
	must(t, os.Mkdir(from, 0o755))
	fill(t, from)
	r, c := point(t, from)
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), DryRun: true})
	if res.Entries != c.Entries || res.Bytes != c.Bytes || res.Failed != 0 {
		t.Errorf("%+v", res)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target is there: %v", err)
	}
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)})
	before := tree(t, to)
	res = run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), DryRun: true, Overwrite: restore.Always})
	if res.Bytes != c.Bytes {
		t.Errorf("%+v", res)
	}
	same(t, tree(t, to), before)
}

// Keys that no directory can hold fail by name; nothing leaves the target, nothing is written for another key, the others come.
func TestKeysThatAreNoPaths(t *testing.T) {
	r := restoretest.New(t)
	long := strings.Repeat("n", 256)
	bad := []string{"../out", "a/../../out", "/abs", "a//b", "./x", "a/./b", "x/y", "x/y/z", "nul\x00", long, "d/" + long, "s/in", "end/", ".holdfast-part-1", "..", ".", "/"}
	good := []string{strings.Repeat("d/", 300) + "deep", "a/b", "x", "x.txt", "x-1", "back\\slash", "..x", "...", "a/..b", "ünï", "\xff", "f/", "zz"}
	body := []byte("content of ")
	var entries []*format.Entry
	for _, k := range append(slices.Clone(bad), good...) {
		b := append(slices.Clone(body), k[:min(len(k), 50)]...)
		if k == "f/" {
			entries = append(entries, restoretest.Object(k, nil))
			continue
		}
		entries = append(entries, restoretest.Object(k, b, r.Pack(b)...))
	}
	outside := t.TempDir()
	entries = append(entries, &format.Entry{Kind: format.KindSymlink, Key: "s", File: &format.File{Target: outside, Mode: 0o777}})
	slices.SortFunc(entries, func(a, b *format.Entry) int { return strings.Compare(a.Key, b.Key) })
	c := r.Point(64, entries...)
	base := t.TempDir()
	to := filepath.Join(base, "to")
	var failed []string
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Failed: func(f restore.Failure) {
		failed = append(failed, f.Key)
		if !errors.Is(f, restore.ErrRefused) || !strings.Contains(f.Error(), "--to -") {
			t.Errorf("%q: %v", f.Key, f.Err)
		}
	}})
	slices.Sort(bad)
	slices.Sort(failed)
	if !slices.Equal(failed, bad) {
		t.Errorf("refused %.40q\n   want %.40q", failed, bad)
	}
	if res.Entries != int64(len(good)+1) {
		t.Errorf("%+v", res)
	}
	for _, k := range good {
		if k == "f/" {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(to, k)); err != nil || string(b) != "content of "+k[:min(len(k), 50)] {
			t.Errorf("%q: %q %v", k, b, err)
		}
	}
	for _, d := range []string{base, outside} {
		des, err := os.ReadDir(d)
		must(t, err)
		if len(des) > 1 || len(des) == 1 && des[0].Name() != "to" {
			t.Errorf("%s: %v", d, des)
		}
	}
}

// What was planted at the target is not followed either.
func TestPlantedLinksAreNotFollowed(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	for _, k := range []string{"dir/x", "file", "in/x", "obstacle", "ok"} {
		src.Put(k, []byte("new "+k))
	}
	c := r.Backup(src)
	to, outside := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "victim")
	must(t, os.WriteFile(victim, []byte("old"), 0o644), os.Mkdir(filepath.Join(to, "real"), 0o755), os.MkdirAll(filepath.Join(to, "obstacle/full"), 0o755),
		os.Symlink(outside, filepath.Join(to, "dir")), os.Symlink(victim, filepath.Join(to, "file")), os.Symlink("real", filepath.Join(to, "in")))
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: restore.Always})
	var failed []string
	for _, f := range res.Failures {
		failed = append(failed, f.Key)
	}
	if !slices.Equal(failed, []string{"dir/x", "in/x", "obstacle"}) {
		t.Errorf("refused %q: %+v", failed, res)
	}
	if b, _ := os.ReadFile(victim); string(b) != "old" {
		t.Error("wrote through a link")
	}
	if st, err := os.Lstat(filepath.Join(to, "file")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("file: %v %v", st, err)
	}
	for _, d := range []string{outside, filepath.Join(to, "real")} {
		if des, _ := os.ReadDir(d); len(des) > 1 || len(des) == 1 && des[0].Name() != "victim" {
			t.Errorf("%s: %v", d, des)
		}
	}
}

// slow delays and counts reads of packs, and can end the test's patience.
type slow struct {
	store.Reader
	after atomic.Int64 // opens left: they come from many goroutines
	then  func()
}

func (s *slow) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(ref.Name, "packs/") {
		if s.after.Add(-1) == 0 {
			s.then()
		}
	}
	return s.Reader.Open(ctx, ref, off, n)
}

func TestCancelledAndRunAgainConverges(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.Mkdir(from, 0o755))
	fill(t, from)
	for i := range 300 {
		must(t, os.WriteFile(filepath.Join(from, fmt.Sprintf("many-%03d", i)), random(uint64(i), 30<<10), 0o644))
	}
	r, c := point(t, from)
	to := filepath.Join(t.TempDir(), "to")
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for n := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		s := &slow{Reader: r.Store, then: cancel}
		s.after.Store(int64(6 + 4*n))
		start := time.Now()
		_, err := restore.Run(ctx, restore.Options{Reader: r.Reader(s), Commit: c, Target: into(t, to), Overwrite: restore.Changed, Memory: 64 << 20})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if time.Since(start) > 10*time.Second {
			t.Errorf("took %s to stop", time.Since(start))
		}
		for name, what := range tree(t, to) {
			// A folder that has not its own attributes yet says so, as the root says that a restore is unfinished.
			if strings.Contains(name, ".holdfast-part-") && name != ".holdfast-part-unfinished" && filepath.Base(name) != ".holdfast-part-folder" {
				t.Errorf("%s was left: %.80s", name, what)
			}
		}
	}
	// What a kill leaves is swept by the next run.
	must(t, os.MkdirAll(filepath.Join(to, "d"), 0o755), os.WriteFile(filepath.Join(to, "d", ".holdfast-part-00-1"), []byte("half"), 0o600))
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: restore.Changed})
	if res.Failed != 0 {
		t.Errorf("%+v", res)
	}
	same(t, tree(t, to), tree(t, from))
}

func TestTwoRestoresIntoOnePlace(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	src.Put("a", []byte("x"))
	c := r.Backup(src)
	to := t.TempDir()
	first := into(t, to)
	must(t, first.Begin(t.Context(), restore.Job{Commit: c}))
	_, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)})
	if err == nil || !strings.Contains(err.Error(), "another restore") {
		t.Errorf("error is %v", err)
	}
	must(t, first.Close())
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)})
}

// Random trees come back as they were.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(5) {
		g := rand.New(rand.NewPCG(seed, 1))
		from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
		segs := []string{"a", "a.", "a-b", "b", "é", "e\u0301", "a b", "...", "\xfe"}
		for range g.IntN(40) {
			p := from
			for range 1 + g.IntN(4) {
				p = filepath.Join(p, segs[g.IntN(len(segs))])
			}
			if os.MkdirAll(filepath.Dir(p), 0o755) != nil {
				continue // a file is in the way
			}
			size := []int{0, 1, 5, 70000, 1 << 20, 5 << 20}[g.IntN(6)]
			if os.WriteFile(p, bytes.Repeat([]byte{byte(size), 1}, size/2+1)[:size], 0o644) == nil {
				must(t, os.Chmod(p, []fs.FileMode{0o644, 0o400, 0o777, 0}[g.IntN(4)]))
			}
		}
		r, c := point(t, from)
		run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Memory: 64 << 20})
		same(t, tree(t, to), tree(t, from))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A stolen writer's key can put a pack of its own making over ours: sealed to the same keys, with frames in the same
// places. It shows when the whole is hashed, and the right one is found under it.
func TestForgedPackIsFoundOut(t *testing.T) {
	r := restoretest.New(t)
	frames := [][]byte{random(1, 2<<20), random(2, 3<<20), random(3, 2<<20)}
	right := r.Pack(frames...)
	frames[1] = random(4, 3<<20)
	forged := r.Pack(frames...)
	if right[1].Frame != forged[1].Frame {
		t.Fatalf("the forgery lies elsewhere: %+v, %+v", right[1].Frame, forged[1].Frame)
	}
	frames[1] = random(2, 3<<20)
	whole := slices.Concat(frames...)
	e := &format.Entry{Kind: format.KindObject, Key: "large", Size: int64(len(whole)), SHA256: sha256.Sum256(whole), Chunks: right, Modified: format.At(time.Unix(1e9, 0))}
	c := r.Point(1, e)
	r.Cover(format.PackName(right[0].Pack), r.Bytes(format.PackName(forged[0].Pack)))
	to := t.TempDir()
	res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)})
	got, err := os.ReadFile(filepath.Join(to, "large"))
	if err != nil || !bytes.Equal(got, whole) || res.Failed != 0 {
		t.Errorf("%d of %d bytes, %v; %+v", len(got), len(whole), err, res)
	}
	if len(r.Findings()) == 0 {
		t.Error("nobody says that something lies on top")
	}
}
