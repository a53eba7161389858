package todir_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// levels walks down folders called d inside each other and says how many there are and what the last one holds. It takes
// them apart on the way, since the clean-up of tests would hold each of them open.
func levels(t *testing.T, root string, visit func(dir int)) (n int) {
	t.Helper()
	dir, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(dir)
	done := t.TempDir()
	for {
		in, err := unix.Openat(dir, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == unix.ENOENT {
			return n
		}
		must(t, err)
		n++
		visit(in)
		if err := unix.Renameat(in, "d", dir, "next"); err != nil && err != unix.ENOENT {
			t.Fatal(err)
		}
		must(t, unix.Renameat(dir, "d", unix.AT_FDCWD, filepath.Join(done, strconv.Itoa(n))), unix.Close(in))
		if err := unix.Renameat(dir, "next", dir, "d"); err != nil && err != unix.ENOENT {
			t.Fatal(err)
		}
	}
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	des, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(des)
}

// unhurried is run without an end to its patience: this takes many steps, and the machine may be busy.
func unhurried(t *testing.T, o restore.Options) restore.Result {
	t.Helper()
	res, err := restore.Run(t.Context(), o)
	must(t, err)
	return res
}

// Any depth that a key can have: no more folders are open than a few hundred, whether each has an entry of its own or not.
func TestAnyDepth(t *testing.T) {
	r := restoretest.New(t)
	body := random(7, 40<<10)
	chunks := r.Pack(body)
	const withEntries, without = 1500, 32000
	var entries []*format.Entry
	for i := 1; i <= withEntries; i++ {
		dir := restoretest.Object(strings.Repeat("d/", i), nil)
		dir.Kind, dir.SHA256, dir.File = format.KindDir, format.Hash{}, &format.File{Mode: 0o750}
		entries = append(entries, dir)
		if i%100 == 0 {
			entries = append(entries, restoretest.Object(dir.Key+"a file", body, chunks...))
		}
	}
	entries = append(entries, restoretest.Object(strings.Repeat("d/", without)+"end", body, chunks...))
	slices.SortFunc(entries, func(a, b *format.Entry) int { return strings.Compare(a.Key, b.Key) })
	c := r.Point(64, entries...)
	before, most := openFiles(t), 0
	s := &slow{Reader: r.Store}
	s.then = func() { s.after.Store(1); most = max(most, openFiles(t)) }
	s.after.Store(1)
	to := filepath.Join(t.TempDir(), "to")
	res := unhurried(t, restore.Options{Reader: r.Reader(s), Commit: c, Target: into(t, to)})
	if res.Failed > 0 || res.Entries != int64(len(entries)) {
		t.Fatalf("%d of %d entries, %d failed", res.Entries, len(entries), res.Failed)
	}
	for _, ow := range []restore.Overwrite{restore.Never, restore.Changed} {
		if res := unhurried(t, restore.Options{Reader: r.Reader(s), Commit: c, Target: into(t, to), Overwrite: ow}); res.Failed+res.Differs > 0 {
			t.Errorf("again with %s: %d failed, %d differ", ow, res.Failed, res.Differs)
		}
	}
	files, wrong, level := 0, 0, 0
	n := levels(t, to, func(dir int) {
		level++
		var st unix.Stat_t
		if level <= withEntries && (unix.Fstat(dir, &st) != nil || st.Mode&0o777 != 0o750) {
			wrong++
		}
		for _, name := range []string{"a file", "end"} {
			if unix.Fstatat(dir, name, &st, 0) == nil && st.Size == int64(len(body)) {
				files++
			}
		}
	})
	if n != without || files != withEntries/100+1 || wrong > 0 {
		t.Errorf("%d folders, %d files, %d wrong modes", n, files, wrong)
	}
	if most == 0 || most-before > 200 {
		t.Errorf("%d descriptors before, %d at most", before, most)
	}
	if after := openFiles(t); after > before+1 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Many folders that wait for their content are no more descriptors either.
func TestManyFoldersAtOnce(t *testing.T) {
	r := restoretest.New(t)
	body := random(8, 1<<10)
	chunks := r.Pack(body)
	var entries []*format.Entry
	for i := range 3000 {
		name := string([]rune{rune('a' + i/676%26), rune('a' + i/26%26), rune('a' + i%26)})
		entries = append(entries, restoretest.Object(name+"/x", body, chunks...))
	}
	c := r.Point(64, entries...)
	before, most := openFiles(t), 0
	s := &slow{Reader: r.Store}
	s.then = func() { s.after.Store(1); most = max(most, openFiles(t)) }
	s.after.Store(1)
	res := unhurried(t, restore.Options{Reader: r.Reader(s), Commit: c, Target: into(t, filepath.Join(t.TempDir(), "to"))})
	if res.Failed > 0 || res.Entries != 3000 || most == 0 || most-before > 200 {
		t.Errorf("%d failed; %d descriptors before, %d at most", res.Failed, before, most)
	}
}
