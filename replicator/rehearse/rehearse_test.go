package rehearse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/rehearse"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// spoiling is a target that changes what was restored, as a bad disk does.
type spoiling struct {
	restore.Target
	after func()
}

func (s spoiling) Close() error {
	err := s.Target.Close()
	s.after()
	return err
}

// rehearsal runs one in an empty folder; spoil, which may be nil, is shown each folder that was restored into.
func rehearsal(t *testing.T, r *restoretest.Repo, c *format.Commit, o rehearse.Options, spoil func(folder string)) (*rehearse.Result, []rehearse.Finding, error) {
	t.Helper()
	var found []rehearse.Finding
	o.Reader, o.Commit, o.Scratch = r.Reader(nil), c, t.TempDir()
	o.Found = func(f rehearse.Finding) { found = append(found, f) }
	o.Target = func(folder string) (restore.Target, error) {
		to, err := todir.New(todir.Options{Root: folder})
		if err != nil || spoil == nil {
			return to, err
		}
		return spoiling{to, func() { spoil(folder) }}, nil
	}
	if o.Most == 0 {
		o.Most = 200
	}
	if o.Bytes == 0 {
		o.Bytes = 1 << 30
	}
	res, err := rehearse.Run(t.Context(), o)
	return res, found, err
}

// point has objects of all sizes, some with versions and some deleted.
func point(t *testing.T) (*restoretest.Repo, *format.Commit) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{AllVersions: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 1500 {
		src.Put(fmt.Sprintf("small/%04d", i), fmt.Appendf(nil, "content of %d", i))
	}
	for i := range 60 {
		src.Put(fmt.Sprintf("middle/%04d", i), random(rnd, 70_000+1000*i))
	}
	for i := range 3 {
		src.Put(fmt.Sprintf("large/%04d", i), random(rnd, 1_500_000))
		src.Put(fmt.Sprintf("empty/%04d", i), nil)
	}
	for i := range 40 { // older versions are no part of what a folder holds, and must not stand for the newest
		src.Put(fmt.Sprintf("small/%04d", i*7), fmt.Appendf(nil, "newer content of %d", i))
	}
	src.Delete("small/0001")
	return r, r.Backup(src)
}

func TestAllIsWell(t *testing.T) {
	r, c := point(t)
	asked := int64(0)
	res, found, err := rehearsal(t, r, c, rehearse.Options{Seed: 9, Room: func(bytes, entries int64) error { asked = bytes; return nil }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Entries != 1499+60+3+3 || res.Older != 42 || res.Of != res.Entries || res.Compared < 190 || res.Compared > 200 || res.Bad+res.Untested+res.BesideBad+res.Lost != 0 || len(found) > 0 {
		t.Errorf("%+v, %v", res, found)
	}
	if len(res.Strata) != 4 || len(res.Batches) != 9 || res.Time == nil || res.Beside == 0 || asked < res.ComparedBytes {
		t.Errorf("%+v; %d bytes were asked for", res, asked)
	}
	if res.Share.Likely != 0 || res.Share.Most < 0.01 || res.Share.Most > 0.02 {
		t.Errorf("%+v", res.Share)
	}
	list, err := os.ReadDir(filepath.Dir(res.Folder))
	if err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	n := int64(0)
	_ = filepath.WalkDir(res.Folder, func(_ string, d fs.DirEntry, _ error) error {
		if d.Type().IsRegular() {
			n++
		}
		return nil
	})
	if n != res.Compared {
		t.Errorf("%d files of %d compared", n, res.Compared)
	}

	res, _, err = rehearsal(t, r, c, rehearse.Options{Whole: true}, nil)
	if err != nil || !res.Whole || res.Compared != res.Entries || res.Share != (rehearse.Share{}) || res.Seconds == 0 || res.TooLarge != 0 {
		t.Errorf("%+v %v", res, err)
	}
	no := errors.New("no room")
	if _, _, err = rehearsal(t, r, c, rehearse.Options{Room: func(int64, int64) error { return no }}, nil); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
}

// TestTheDiskIsRead: what is wrong on the disk is found although the restore was sure of it, whatever it is.
func TestTheDiskIsRead(t *testing.T) {
	r, c := point(t)
	for name, spoil := range map[string]func(path string) error{
		"a byte": func(p string) error {
			b, err := os.ReadFile(p)
			if err == nil {
				b[len(b)/2] ^= 1
				err = os.WriteFile(p, b, 0o600)
			}
			return err
		},
		"shorter": func(p string) error { return os.Truncate(p, 3) },
		"gone":    os.Remove,
		"a link":  func(p string) error { return errors.Join(os.Remove(p), os.Symlink("/etc/hostname", p)) },
		"a folder": func(p string) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
		},
	} {
		for _, whole := range []bool{false, true} {
			if !whole && name != "a byte" { // many small restores, each of which waits for the disk
				continue
			}
			spoilt := 0
			res, found, err := rehearsal(t, r, c, rehearse.Options{Seed: 3, Whole: whole}, func(folder string) {
				if filepath.Base(folder) != rehearse.Restored {
					return
				}
				list, _ := os.ReadDir(filepath.Join(folder, "small"))
				for _, e := range list[:5] {
					if err := spoil(filepath.Join(folder, "small", e.Name())); err != nil {
						t.Fatal(err)
					}
					spoilt++
				}
			})
			if err != nil || spoilt != 5 || res.Bad != 5 || len(found) != 5 || res.Share.Most <= res.Share.Likely && !whole {
				t.Errorf("%s: %+v %v %v", name, res, found, err)
			}
			for _, f := range found {
				if !f.Bad || !strings.HasPrefix(f.Key, "small/") {
					t.Errorf("%s: %+v", name, f)
				}
			}
		}
	}
}

// TestDamageIsNamed: entries of a pack that is damaged are bad, each by name with its reason; of a lost page as many as stood there.
func TestDamageIsNamed(t *testing.T) {
	r, c := point(t)
	for _, name := range r.Names("packs/")[:1] {
		lose(t, r, name)
	}
	res, found, err := rehearsal(t, r, c, rehearse.Options{Whole: true}, nil)
	if err != nil || res.Bad == 0 || int64(len(found)) != res.Bad || res.Untested != 0 {
		t.Errorf("%+v, %d found, %v", res, len(found), err)
	}
	for _, f := range found {
		if !f.Bad || f.Key == "" || f.Err == nil {
			t.Errorf("%+v", f)
		}
	}
	truth := float64(res.Bad) / float64(res.Entries)
	sampled, _, err := rehearsal(t, r, c, rehearse.Options{Seed: 5}, nil)
	if err != nil || sampled.Share.Most < truth || sampled.Bad == 0 {
		t.Errorf("%+v %v; %g are bad", sampled, err, truth)
	}

	r, c = point(t)
	for _, name := range r.Names("meta/") {
		lose(t, r, name)
	}
	res, found, err = rehearsal(t, r, c, rehearse.Options{}, nil)
	if err != nil || res.Lost != c.Manifest.Entries || len(found) == 0 || res.Share.Most != 1 {
		t.Errorf("%+v, %v, %v", res, found, err)
	}
}

func lose(t *testing.T, r *restoretest.Repo, name string) {
	t.Helper()
	for info, err := range r.Store.Versions(t.Context(), name, "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Store.Attacker().Lose(info.Ref); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNotForAFolder: a key that no folder can hold is not tested, and nobody calls it bad.
func TestNotForAFolder(t *testing.T) {
	r := restoretest.New(t)
	src := memsource.New(memsource.Options{})
	for i := range 20 {
		src.Put(fmt.Sprintf("a/%d", i), []byte("x"))
	}
	src.Put("a//b", []byte("y"))
	src.Put("../up", []byte("z"))
	res, found, err := rehearsal(t, r, r.Backup(src), rehearse.Options{}, nil)
	if err != nil || res.Untested != 2 || res.Bad != 0 || res.Compared != 20 || len(found) != 2 || found[0].Bad {
		t.Errorf("%+v %v %v", res, found, err)
	}
}

// TestRemove: folders that keep their owner out go, too.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "f"), bytes.Repeat([]byte("x"), 9), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	if err := rehearse.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
