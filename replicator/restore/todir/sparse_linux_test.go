package todir_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// holed is a file with data at some places only.
type holed struct {
	size  int64
	parts map[int64][]byte
}

func (h holed) make(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err, f.Truncate(h.size))
	for at, b := range h.parts {
		_, err := f.WriteAt(b, at)
		must(t, err)
	}
	must(t, f.Close(), os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
}

// sum reads a file, and gives its SHA-256 and the bytes that it takes on the disk.
func sum(t *testing.T, path string) (string, int64) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	var st unix.Stat_t
	must(t, err, unix.Fstat(int(f.Fd()), &st))
	return hex.EncodeToString(h.Sum(nil)), st.Blocks * 512
}

// spoil writes one byte into a file and gives it back its time.
func spoil(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("X"), at)
	must(t, err, f.Close(), os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
}

// TestSparseFilesComeBack: files with more than 64 MiB of holes, whose sum is the image sum, have the same bytes after a restore
// and take no more room; what is not theirs, in data or in a hole, is found out and put right.
func TestSparseFilesComeBack(t *testing.T) {
	files := map[string]holed{
		"middle":  {100 << 20, map[int64][]byte{90 << 20: random(1, 3<<20)}},
		"both":    {120 << 20, map[int64][]byte{0: random(2, 70_000), 120<<20 - 7: []byte("the end")}},
		"nothing": {80 << 20, nil},
		"unequal": {70<<20 + 1, map[int64][]byte{100_001: random(3, 5000)}},
		"few":     {20 << 20, map[int64][]byte{19 << 20: random(4, 5000)}}, // not sparse
	}
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	for name, h := range files {
		h.make(t, filepath.Join(from, name))
	}
	r := restoretest.New(t)
	src, err := dirsource.New(dirsource.Options{Root: from})
	must(t, err)
	c := r.Backup(src)
	check := func(when string, res restore.Result) {
		t.Helper()
		if res.Failed > 0 || res.Differs > 0 {
			t.Errorf("%s: %+v", when, res)
		}
		for name, h := range files {
			want, _ := sum(t, filepath.Join(from, name))
			got, room := sum(t, filepath.Join(to, name))
			if got != want {
				t.Errorf("%s: %s has other bytes", when, name)
			}
			if data := int64(8 << 20); h.size > 64<<20 && room > data {
				t.Errorf("%s: %s takes %d bytes on the disk", when, name, room)
			}
		}
	}
	o := func(ow restore.Overwrite) restore.Options {
		return restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: ow}
	}
	check("restored", run(t, o(restore.Never)))
	res := run(t, o(restore.Changed))
	check("compared", res)
	if res.Bytes != 0 || res.Skipped != 6 { // the root is one of them
		t.Errorf("what is right is written again: %+v", res)
	}
	spoil(t, filepath.Join(to, "middle"), 91<<20)
	spoil(t, filepath.Join(to, "both"), 50<<20)
	spoil(t, filepath.Join(to, "nothing"), 79<<20)
	res = run(t, o(restore.Changed))
	check("put right", res)
	if res.Bytes != 300<<20 || res.Skipped != 3 {
		t.Errorf("what was spoiled is not what is written: %+v", res)
	}
}

// TestSparseFilesByHand: docs/restore-by-hand.sh gives such a file back, byte for byte, by the sum that it has.
func TestSparseFilesByHand(t *testing.T) {
	script, err := filepath.Abs("../../../docs/restore-by-hand.sh")
	must(t, err)
	from, work := t.TempDir(), t.TempDir()
	holed{90 << 20, map[int64][]byte{5: []byte("five"), 80 << 20: random(1, 1<<20)}}.make(t, filepath.Join(from, "disk.img"))
	r := restoretest.New(t)
	src, err := dirsource.New(dirsource.Options{Root: from})
	must(t, err)
	r.Backup(src)
	vault := filepath.Join(work, "vault")
	for info, err := range r.Store.Versions(t.Context(), "", "") {
		must(t, err)
		in, err := r.Store.Open(t.Context(), info.Ref, 0, -1)
		must(t, err)
		b, err := io.ReadAll(in)
		path := filepath.Join(vault, info.Name)
		must(t, err, in.Close(), os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600))
	}
	age, err := servers.Binary(t.Context(), "age")
	must(t, err)
	for _, program := range []string{"jq", "zstd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("no %s program here to restore with", program)
			return
		}
	}
	identity, out := filepath.Join(work, "restore.key"), filepath.Join(work, "out")
	must(t, os.WriteFile(identity, []byte(r.Identity.Secret()+"\n"), 0o600))
	cmd := exec.CommandContext(t.Context(), "/bin/sh", script, vault, identity, "src@latest", "disk.img", out)
	cmd.Env = append(os.Environ(), "AGE="+age)
	told, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(told), `"sparse":true`) {
		t.Fatalf("%v: %s", err, told)
	}
	want, _ := sum(t, filepath.Join(from, "disk.img"))
	if got, _ := sum(t, out); got != want {
		t.Error("other bytes came back")
	}
}
