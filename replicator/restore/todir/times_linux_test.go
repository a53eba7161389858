package todir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestTimesBeyondTheFileSystem: times that this file system has not, at both ends of what an entry can carry, fail nothing: the
// entries have the nearest time that it has, which is noted, and a second restore finds them right.
func TestTimesBeyondTheFileSystem(t *testing.T) {
	r, body := restoretest.New(t), []byte("body")
	times := map[string]time.Time{
		"late": time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), "early": time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), "usual": time.Unix(1e9, 0),
		"ext4 ends": time.Date(2446, 5, 10, 22, 38, 56, 0, time.UTC), "before 1901": time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	var entries []*format.Entry
	for _, key := range []string{"before 1901", "early", "ext4 ends", "late", "usual"} {
		e := restoretest.Object(key, body, r.Pack(body)...)
		e.Kind, e.Modified, e.File = format.KindFile, format.At(times[key]), &format.File{Mode: 0o600, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		entries = append(entries, e)
	}
	c := r.Point(64, entries...)
	places := map[string]string{"temporary folder": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "times"); err == nil { // another file system
		places["memory"] = dir
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
	}
	for place, dir := range places {
		// What this file system makes of each is asked of it, by the same call.
		probe, other := filepath.Join(dir, "probe"), int64(0)
		must(t, os.WriteFile(probe, nil, 0o600))
		is := map[string]time.Time{}
		for key, at := range times {
			if unix.UtimesNanoAt(unix.AT_FDCWD, probe, []unix.Timespec{{Sec: at.Unix()}, {Sec: at.Unix()}}, 0) != nil {
				continue
			}
			var st unix.Stat_t
			must(t, unix.Lstat(probe, &st))
			if is[key] = time.Unix(st.Mtim.Unix()); !is[key].Equal(at) {
				other++
			}
		}
		root := filepath.Join(dir, "to")
		for n, ow := range []restore.Overwrite{restore.Never, restore.Changed, restore.Never} {
			res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, root), Overwrite: ow})
			if res.Failed > 0 || res.Differs > 0 || n == 0 != (res.Entries == 5) {
				t.Errorf("%s: %+v", place, res)
			}
			if told := strings.Contains(strings.Join(res.Notes, "\n"), "does not keep their exact times"); n == 0 && told != (other > 0) {
				t.Errorf("%s: %d times are others, noted is %v: %q", place, other, told, res.Notes)
			}
		}
		for key, want := range is {
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(root, key), &st))
			if got := time.Unix(st.Mtim.Unix()); !got.Equal(want) {
				t.Errorf("%s: %s is dated %v, not %v", place, key, got.UTC(), want.UTC())
			}
		}
	}
}
