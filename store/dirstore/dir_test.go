package dirstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/dirstore"
)

func put(s *dirstore.Store, name string, b []byte, r store.Retention) error {
	_, err := s.Put(context.Background(), name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b), Retention: r})
	return err
}

func open(t *testing.T, dir string, o dirstore.Options) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// files lists every file below dir, the store's own too.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, rerr := filepath.Rel(dir, p)
			out = append(out, rel)
			err = rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPlainCopy: a directory of files that some tool copied is a vault, without a word of ours in it and read-only too.
func TestPlainCopy(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "packs", "ab"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "packs", "ab", "x.age"), []byte("sealed"), 0o400); err != nil {
		t.Fatal(err)
	}
	for _, ro := range []bool{false, true} {
		s := open(t, dir, dirstore.Options{ReadOnly: ro})
		info, lock, err := s.Stat(t.Context(), store.Ref{Name: "packs/ab/x.age"})
		if err != nil || info.Size != 6 || lock != (store.Retention{}) {
			t.Errorf("%+v %+v %v", info, lock, err)
		}
		n := 0
		for info, err := range s.Versions(t.Context(), "", "") {
			if n++; err != nil || info.Name != "packs/ab/x.age" {
				t.Errorf("%+v, %v", info, err)
			}
		}
		if n != 1 {
			t.Errorf("%d entries", n)
		}
		if f, err := s.Inspect(t.Context()); err != nil || f.Immutable || f.ObjectLock {
			t.Errorf("%+v, %v", f, err)
		}
	}
	s := open(t, dir, dirstore.Options{ReadOnly: true})
	if err := put(s, "new", []byte("x"), store.Retention{}); !errors.Is(err, store.ErrDenied) {
		t.Errorf("put into a read-only vault: %v", err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("reading left %q", got)
	}
}

// TestOnlyWhoBeginsAVaultMakesIt: where a disk is not mounted nothing is put into the folder below.
func TestOnlyWhoBeginsAVaultMakesIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk", "vault")
	for _, ro := range []bool{true, false} {
		if _, err := dirstore.Open(dir, dirstore.Options{ReadOnly: ro}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing directory, read only %v: %v", ro, err)
		}
	}
	if _, err := os.Stat(filepath.Dir(dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	open(t, dir, dirstore.Options{Create: true})
	open(t, dir, dirstore.Options{})
}

// TestLinks: no symbolic link, wherever it points, is followed for reading, writing or listing.
func TestLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	s := open(t, dir, dirstore.Options{})
	if err := put(s, "real/object", []byte("x"), store.Retention{}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"out": outside, "in": filepath.Join(dir, "real"), "rel": "real", "file": "real/object", "dangling": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "object"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"out/object", "in/object", "rel/object", "file", "fifo", "fifo/object"} {
		if rc, err := s.Open(t.Context(), store.Ref{Name: name}, 0, -1); err == nil {
			t.Errorf("%s was followed", name)
			_ = rc.Close()
		} else if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if err := put(s, name, []byte("y"), store.Retention{}); !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrInTheWay) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: put gives %v", name, err)
		}
		if err := s.Remove(t.Context(), store.Ref{Name: name}); err == nil {
			t.Errorf("%s was removed", name)
		}
	}
	if err := put(s, "dangling", []byte("y"), store.Retention{}); err == nil {
		t.Error("a dangling link was replaced")
	}
	for info, err := range s.Versions(t.Context(), "", "") { // one file that is no object ends no listing
		if err != nil || info.Name != "real/object" {
			t.Errorf("listed: %s, %v", info.Name, err)
		}
	}
	if got := files(t, outside); len(got) != 1 {
		t.Errorf("outside now holds %q", got)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "real", "object")); err != nil || string(b) != "x" {
		t.Errorf("the object is now %q, %v", b, err)
	}
}

// TestOwnFolder: what the store keeps for itself cannot be named as an object.
func TestOwnFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	want := store.Retention{Mode: store.Compliance, Until: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	if err := put(s, "a/b", []byte("x"), want); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".holdfast", ".holdfast/retention/a/b", ".holdfast/new"} {
		if err := put(s, name, []byte("{}"), store.Retention{}); !errors.Is(err, store.ErrName) {
			t.Errorf("put %s: %v", name, err)
		}
		if err := s.Remove(t.Context(), store.Ref{Name: name}); !errors.Is(err, store.ErrName) {
			t.Errorf("remove %s: %v", name, err)
		}
	}
	for _, prefix := range []string{".holdfast", ".holdfast/", ".holdfast/retention/"} {
		for info := range s.Versions(t.Context(), prefix, "") {
			t.Errorf("under %s: %+v", prefix, info)
		}
	}
	if got := strings.Join(files(t, dir), " "); got != ".holdfast/lock .holdfast/retention/a/b a/b" {
		t.Errorf("files %s; want no temporary ones", got)
	}
}

// TestNoTraces: a Put that fails leaves no file, not even a temporary one.
func TestNoTraces(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	for _, err := range []error{
		put(s, "a", []byte("x"), store.Retention{Mode: store.Compliance, Until: time.Now().Add(-time.Hour)}),
		put(s, "a//b", []byte("x"), store.Retention{}),
	} {
		if err == nil {
			t.Error("taken")
		}
	}
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x"), 1, store.PutOptions{}); !errors.Is(err, store.ErrChecksum) {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x"), 2, store.PutOptions{}); err == nil {
		t.Error("taken")
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left %q", got)
	}
}

func TestObjectBesideItsOwnFolder(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{})
	if err := put(s, "x", []byte("x"), store.Retention{}); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "x/y", []byte("y"), store.Retention{}); !errors.Is(err, store.ErrInTheWay) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v; want in the way", err)
	}
	for _, prefix := range []string{"x/", "x/y", "x/y/z"} {
		for info, err := range s.Versions(t.Context(), prefix, "") {
			t.Errorf("%s: %v, %v", prefix, info, err)
		}
		if _, _, err := s.Stat(t.Context(), store.Ref{Name: "x/y"}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("stat: %v", err)
		}
	}
	if err := put(s, "d/e", []byte("y"), store.Retention{}); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "d", []byte("y"), store.Retention{}); err == nil {
		t.Error("a file took a folder's place")
	}
}

// TestRetentionOnlyGrows: many Extends of one name at once, from two stores as two processes would have, end with
// the longest.
func TestRetentionOnlyGrows(t *testing.T) {
	dir := t.TempDir()
	stores := []*dirstore.Store{open(t, dir, dirstore.Options{NoSync: true}), open(t, dir, dirstore.Options{NoSync: true})}
	base := time.Now().UTC().Truncate(time.Second).Add(time.Hour)
	for round := range 100 {
		name := fmt.Sprint("n", round)
		if err := put(stores[0], name, []byte("x"), store.Retention{}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 8 {
			wg.Go(func() {
				<-start
				until := base.Add(time.Duration(i) * time.Minute)
				err := stores[i%2].Extend(context.Background(), store.Ref{Name: name}, store.Retention{Mode: store.Compliance, Until: until})
				if err != nil && !errors.Is(err, store.ErrLocked) {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		longest := base.Add(7 * time.Minute)
		if _, got, err := stores[0].Stat(t.Context(), store.Ref{Name: name}); err != nil || !got.Until.Equal(longest) {
			t.Fatalf("until %v, %v; want %v", got.Until, err, longest)
		}
	}
}

// TestStricterOfBoth: a Put of the same bytes with a longer governance lock does not loosen compliance.
func TestStricterOfBoth(t *testing.T) {
	s := open(t, t.TempDir(), dirstore.Options{NoSync: true})
	sooner := time.Now().UTC().Truncate(time.Second).Add(time.Hour)
	later := sooner.Add(time.Hour)
	for _, first := range []store.Retention{{Mode: store.Compliance, Until: sooner}, {Mode: store.Governance, Until: later}} {
		second := store.Retention{Mode: store.Governance, Until: later}
		if first.Mode == store.Governance {
			second = store.Retention{Mode: store.Compliance, Until: sooner}
		}
		name := string(first.Mode)
		for _, r := range []store.Retention{first, second, first} {
			if err := put(s, name, []byte("x"), r); err != nil {
				t.Fatal(err)
			}
		}
		if _, got, err := s.Stat(t.Context(), store.Ref{Name: name}); err != nil || got.Mode != store.Compliance || !got.Until.Equal(later) {
			t.Errorf("%+v, %v; want compliance until %v", got, err, later)
		}
	}
}

// TestExpired: the injected clock ends a lock.
func TestExpired(t *testing.T) {
	now := time.Now()
	s := open(t, t.TempDir(), dirstore.Options{Now: func() time.Time { return now }})
	if err := put(s, "n", []byte("x"), store.Retention{Mode: store.Compliance, Until: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	ref := store.Ref{Name: "n"}
	if err := s.Remove(t.Context(), ref); !errors.Is(err, store.ErrLocked) {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	if err := s.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "n", []byte("other"), store.Retention{}); err != nil {
		t.Fatal(err)
	}
	if _, lock, err := s.Stat(t.Context(), ref); err != nil || lock != (store.Retention{}) {
		t.Errorf("the old lock came back: %+v, %v", lock, err)
	}
}

// TestDamagedRecord: a retention record that cannot be read is an error, never "no lock".
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, dirstore.Options{})
	if err := put(s, "n", []byte("x"), store.Retention{Mode: store.Compliance, Until: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".holdfast", "retention", "n"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Stat(t.Context(), store.Ref{Name: "n"}); err == nil {
		t.Error("stat read it as something")
	}
	if err := s.Remove(t.Context(), store.Ref{Name: "n"}); err == nil {
		t.Error("removed")
	}
}

// TestNoSpace fills a device that is always full.
func TestNoSpace(t *testing.T) {
	if err := dirstore.KindOf(&fs.PathError{Op: "write", Path: "/dev/full", Err: writeFull(t)}); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("%v; want no space", err)
	}
}

func writeFull(t *testing.T) error {
	t.Helper()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.Write([]byte("x"))
	return err
}

// TestTimestampsAreOfOneClock: an object is never older than the clock was when it was put. The kernel's own file times are.
func TestTimestampsAreOfOneClock(t *testing.T) {
	s, err := dirstore.Open(t.TempDir(), dirstore.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := range 50 {
		facts, err := s.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body := []byte{byte(i)}
		ref, err := s.Put(t.Context(), fmt.Sprint("p", i), bytes.NewReader(body), 1, store.PutOptions{SHA256: sha256.Sum256(body)})
		if err != nil {
			t.Fatal(err)
		}
		if info, _, err := s.Stat(t.Context(), ref); err != nil || info.Modified.Before(facts.Clock) {
			t.Fatalf("put at %v, dated %v, %v", facts.Clock, info.Modified, err)
		}
	}
}

// TestOneOfManyWins: of many writers of different bytes under one name, from two stores as two processes would have, one
// succeeds and its bytes stay, whatever the file system lacks.
func TestOneOfManyWins(t *testing.T) {
	for name, no := range map[string][2]syscall.Errno{"links": {}, "renames": {syscall.EPERM, 0}, "neither": {syscall.ENOSYS, syscall.EINVAL}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			stores := []*dirstore.Store{open(t, dir, dirstore.Options{NoSync: true}), open(t, dir, dirstore.Options{NoSync: true})}
			if no[0] != 0 {
				dirstore.Lacking(stores[0], no[0], no[1])
				dirstore.Lacking(stores[1], no[0], no[1])
			}
			for round := range 20 {
				won := make([]bool, 8)
				var wg sync.WaitGroup
				for i := range won {
					wg.Go(func() {
						err := put(stores[i%2], fmt.Sprint("d/n", round), []byte{byte(i)}, store.Retention{})
						if won[i] = err == nil; err != nil && !errors.Is(err, store.ErrExists) {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				got, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("d/n", round)))
				if err != nil || len(got) != 1 {
					t.Fatalf("%x, %v", got, err)
				}
				for i, w := range won {
					if w != (byte(i) == got[0]) {
						t.Errorf("round %d: writer %d won: %v; there is %d", round, i, w, got[0])
					}
				}
			}
			for _, f := range files(t, dir) {
				if strings.Contains(f, "tmp") {
					t.Errorf("%s was left", f)
				}
			}
		})
	}
}

// TestNoFileLocks: without locks a vault cannot be kept safely, and the error says that and nothing of owners and modes.
func TestNoFileLocks(t *testing.T) {
	for _, no := range []syscall.Errno{syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENOLCK} {
		s := open(t, t.TempDir(), dirstore.Options{})
		dirstore.NoLocks(s, no)
		err := put(s, "n", []byte("x"), store.Retention{Mode: store.Compliance, Until: time.Now().Add(time.Hour)})
		if !errors.Is(err, store.ErrUnsupported) || errors.Is(err, store.ErrDenied) || !strings.Contains(err.Error(), "no file locks") {
			t.Errorf("%v: %v", no, err)
		}
	}
}
