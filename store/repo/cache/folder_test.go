package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// holdEnv makes the test program, run again, hold a cache open until it is killed.
const holdEnv = "HOLDFAST_TEST_HOLD_CACHE"

func TestHold(t *testing.T) {
	dir := os.Getenv(holdEnv)
	if dir == "" {
		return // only of use to TestBusyAndKilled
	}
	c, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.Counter("left behind")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.Chunks.Put([]format.IndexLine{line(1)}), c.Segments.MarkLoaded("v", "one"), c.Chunks.Put([]format.IndexLine{line(2)}), n.Add("key", 5), n.settle())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("HELD")
	time.Sleep(time.Minute)
}

func TestBusyAndKilled(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestHold$")
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := out.Read(b); err != nil || string(b) != "HELD" {
		t.Fatalf("%q %v", b, err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "already running") {
		t.Errorf("another process: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it was to be killed")
	}
	c := start(t, dir)
	if got, ok, err := c.Chunks.Get(hash(1)); !ok || err != nil || got != chunk(line(1)) {
		t.Errorf("what was synced, after a kill: %v %v", ok, err)
	}
	if got, ok, err := c.Chunks.Get(hash(2)); err != nil || (ok && got != chunk(line(2))) {
		t.Errorf("what was not synced, after a kill: %v %v", ok, err)
	}
	if ok, err := c.Segments.Loaded("v", "one"); !ok || err != nil {
		t.Errorf("segment after a kill: %v %v", ok, err)
	}
	err = c.each("test", []byte{keyScratch}, func(k, _ []byte) (bool, error) {
		t.Errorf("left behind: %q", k)
		return true, nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrBusy) {
		t.Errorf("the same process: %v", err)
	}
	if bad := aside(t, dir); len(bad) != 0 {
		t.Errorf("set aside: %v", bad)
	}
}

// A copy of the folder taken at any moment, as after a power cut, opens, and knows what was synced.
func TestCopiedWhileOpen(t *testing.T) {
	base := t.TempDir()
	c := start(t, filepath.Join(base, "live"))
	for round := range uint64(20) {
		var lines []format.IndexLine
		for i := range uint64(500) {
			lines = append(lines, line(round*500+i))
		}
		if err := errors.Join(c.Chunks.Put(lines), c.Segments.MarkLoaded("v", fmt.Sprint(round))); err != nil {
			t.Fatal(err)
		}
		if round%5 != 4 {
			continue
		}
		dir := filepath.Join(base, fmt.Sprint("copy", round))
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(base, "live"))); err != nil {
			t.Fatal(err)
		}
		d := start(t, dir)
		for r := range round + 1 {
			if ok, err := d.Segments.Loaded("v", fmt.Sprint(r)); !ok || err != nil {
				t.Fatalf("segment %d: %v %v", r, ok, err)
			}
			if got, ok, err := d.Chunks.Get(hash(r*500 + 499)); !ok || err != nil || got != chunk(line(r*500+499)) {
				t.Fatalf("chunk of segment %d: %v %v", r, ok, err)
			}
		}
	}
}

func aside(t *testing.T, dir string) []string {
	t.Helper()
	bad, err := filepath.Glob(dir + ".bad-*")
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// fill makes a closed cache that holds 20,000 chunks in tables.
func fill(t *testing.T, dir string) {
	t.Helper()
	c := start(t, dir)
	var lines []format.IndexLine
	for i := range uint64(20_000) {
		lines = append(lines, line(i))
	}
	if err := c.Chunks.Put(lines); err != nil {
		t.Fatal(err)
	}
	if err := c.db.Flush(); err != nil {
		t.Fatal(err)
	}
	stop(t, c)
}

func TestSetAside(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"other version": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, versionFile), []byte("holdfast cache 99\n"), 0o600)
		},
		"longer version": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, versionFile), []byte(version+"x"), 0o600)
		},
		"no version":  func(dir string) error { return os.Remove(filepath.Join(dir, versionFile)) },
		"no manifest": func(dir string) error { return removeAll(filepath.Join(dir, dbDir, "MANIFEST-*")) },
		"no tables":   func(dir string) error { return removeAll(filepath.Join(dir, dbDir, "*.sst")) },
		"manifest of junk": func(dir string) error {
			m, err := filepath.Glob(filepath.Join(dir, dbDir, "MANIFEST-*"))
			if err != nil || len(m) == 0 {
				return fmt.Errorf("%v %v", m, err)
			}
			return os.WriteFile(m[len(m)-1], bytes.Repeat([]byte("junk"), 1000), 0o600)
		},
		"a file": func(dir string) error {
			p := filepath.Join(dir, dbDir)
			return errors.Join(os.RemoveAll(p), os.WriteFile(p, []byte("not a database"), 0o600))
		},
		"other merger": func(dir string) error {
			o, err := filepath.Glob(filepath.Join(dir, dbDir, "OPTIONS-*"))
			if err != nil || len(o) == 0 {
				return fmt.Errorf("%v %v", o, err)
			}
			for _, f := range o {
				b, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				if err := os.WriteFile(f, bytes.ReplaceAll(b, []byte("holdfast.sum.v1"), []byte("holdfast.sum.v0")), 0o600); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			for round := range 2 {
				fill(t, dir)
				if err := spoil(dir); err != nil {
					t.Fatal(err)
				}
				c := start(t, dir)
				if _, ok, err := c.Chunks.Get(hash(1)); ok || err != nil {
					t.Errorf("an old chunk is known: %v %v", ok, err)
				}
				stop(t, c)
				if bad := aside(t, dir); len(bad) != 1 || bad[0] != fmt.Sprintf("%s.bad-%d", dir, round+1) {
					t.Errorf("set aside: %v", bad)
				}
			}
		})
	}
}

func removeAll(pattern string) error {
	files, err := filepath.Glob(pattern)
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("nothing matches %s", pattern)
	}
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// Tables whose blocks were changed are met when they are read: as an error then, and by starting over the next time.
func TestCorruptTables(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	fill(t, dir)
	tables, err := filepath.Glob(filepath.Join(dir, dbDir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range len(b) / 10 {
			b[i] ^= 0x55
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := start(t, dir)
	failed := len(aside(t, dir)) > 0 // the database looks at its tables in the background too, and may have been first
	for n := range uint64(1000) {
		got, ok, err := c.Chunks.Get(hash(n))
		if err != nil {
			failed = true
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("chunk %d: %v", n, err)
			}
		} else if ok && got != chunk(line(n)) {
			t.Fatalf("chunk %d is wrong", n)
		}
	}
	if !failed {
		t.Fatal("nothing was noticed")
	}
	stop(t, c)
	c = start(t, dir)
	if _, ok, err := c.Chunks.Get(hash(1)); ok || err != nil {
		t.Errorf("after starting over: %v %v", ok, err)
	}
	if bad := aside(t, dir); len(bad) != 1 {
		t.Errorf("set aside: %v", bad)
	}
}

// Values that this package did not write are an error, never a panic and never believed.
func TestForeignValues(t *testing.T) {
	good, err := encodeChunk(nil, chunk(line(1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range [][]byte{nil, {}, []byte("junk"), good[:len(good)-1], append(bytes.Clone(good), 0), bytes.Repeat([]byte{0xff}, 60)} {
		dir := filepath.Join(t.TempDir(), "cache")
		c := start(t, dir)
		placementKey, err := namedKey(keyPlacement, "v", "n")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.db.Set(chunkKey(hash(1)), value, nil), c.db.Set(placementKey, value, nil)); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := c.Chunks.Get(hash(1)); !errors.Is(err, ErrCorrupt) || ok || got != (format.Chunk{}) {
			t.Errorf("% x: %v %v %v", value, got, ok, err)
		}
		if len(value) < 20 {
			if got, ok, err := c.Places.Get("v", "n"); !errors.Is(err, ErrCorrupt) || ok {
				t.Errorf("% x: %v %v %v", value, got, ok, err)
			}
			for p, err := range c.Places.All("v") {
				if !errors.Is(err, ErrCorrupt) {
					t.Errorf("% x: %v %v", value, p, err)
				}
			}
		}
		stop(t, c)
		c = start(t, dir)
		if _, ok, err := c.Chunks.Get(hash(1)); ok || err != nil {
			t.Errorf("after starting over: %v %v", ok, err)
		}
	}
}

// fullDisk fails every write, and every read if asked to.
func fullDisk(reads bool) errorfs.Injector {
	return errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite || reads {
			return syscall.ENOSPC
		}
		return nil
	})
}

// A disk that fails is an error from then on, not the end of the process, and no reason to throw the cache away.
func TestDiskFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	fill(t, dir)
	for name, reads := range map[string]bool{"writing": false, "reading too": true} {
		t.Run(name, func(t *testing.T) {
			on := errorfs.Toggle{Injector: fullDisk(reads)}
			c, err := open(dir, Options{}, errorfs.Wrap(vfs.Default, &on))
			if err != nil {
				t.Fatal(err)
			}
			on.On()
			failed := false
			for n := range uint64(50) {
				var lines []format.IndexLine
				for i := range uint64(2000) {
					lines = append(lines, line(n*2000+i))
				}
				if err := errors.Join(c.Chunks.Put(lines), c.Sync()); err != nil {
					failed = true
				} else if failed {
					t.Fatal("it failed and then went on")
				}
			}
			if !failed {
				t.Error("nothing was noticed")
			}
			on.Off()
			_ = c.Close() // it may say that it could not
			d := start(t, dir)
			if _, ok, err := d.Chunks.Get(hash(1)); !ok || err != nil {
				t.Errorf("what was there before: %v %v", ok, err)
			}
			stop(t, d)
			if bad := aside(t, dir); len(bad) != 0 {
				t.Errorf("set aside: %v", bad)
			}
		})
	}
}

func TestOpenTrouble(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil || errors.Is(err, ErrBusy) {
		t.Errorf("a file: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "cache")
	fill(t, dir)
	if _, err := open(dir, Options{}, errorfs.Wrap(vfs.Default, fullDisk(false))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if bad := aside(t, dir); len(bad) != 0 {
		t.Errorf("a full disk sets the cache aside: %v", bad)
	}
	c := start(t, dir)
	if _, ok, err := c.Chunks.Get(hash(1)); !ok || err != nil {
		t.Errorf("after the disk was full: %v %v", ok, err)
	}
}
