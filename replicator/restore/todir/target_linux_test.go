package todir_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/acl"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
)

// manner of one folder, as text: mode, owner, time, ACLs.
func mannerOf(t *testing.T, p string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(p, &st))
	s := fmt.Sprintf("%o %d:%d %v", st.Mode, st.Uid, st.Gid, time.Unix(st.Mtim.Unix()).UTC())
	for _, name := range []string{acl.Access, acl.Default} {
		b := make([]byte, 1024)
		if n, err := unix.Getxattr(p, name, b); err == nil {
			s += fmt.Sprintf(" %x", b[:n])
		}
	}
	return s
}

// The folder that is restored into is no content: one that was there keeps its own mode, owner, time and ACL. So do folders
// in it where what is there stays.
func TestATargetThatWasThereKeepsItsOwn(t *testing.T) {
	attrs := keepsAttributes(t)
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.MkdirAll(filepath.Join(from, "sub"), 0o700), os.Chmod(from, 0o700),
		os.WriteFile(filepath.Join(from, "a"), []byte("a"), 0o600), os.WriteFile(filepath.Join(from, "sub/b"), []byte("b"), 0o600),
		os.Chtimes(from, whenTime, whenTime))
	r, c := point(t, from)
	at := time.Date(2020, 1, 1, 0, 0, 0, 5, time.UTC)
	for _, ow := range []restore.Overwrite{restore.Never, restore.Changed, restore.Always} {
		to := filepath.Join(t.TempDir(), "to")
		sub := filepath.Join(to, "sub")
		must(t, os.MkdirAll(sub, 0o755), os.Chmod(to, 0o777|fs.ModeSticky), os.Chmod(sub, 0o775|fs.ModeSetgid))
		if attrs {
			must(t, unix.Setxattr(to, acl.Default, acl.Named(0o755, 12, 7), 0), unix.Setxattr(sub, acl.Access, acl.Named(0o755, 12, 7), 0))
		}
		if os.Geteuid() == isRoot {
			must(t, os.Chown(to, 12, 13))
		}
		must(t, os.Chtimes(to, at, at), os.Chtimes(sub, at, at))
		before, beforeSub := mannerOf(t, to), mannerOf(t, sub)
		res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to), Overwrite: ow})
		if is := mannerOf(t, to); is != before {
			t.Errorf("%s: the target was %s\n and is %s", ow, before, is)
		}
		if is := mannerOf(t, sub); (is == beforeSub) != (ow == restore.Never) {
			t.Errorf("%s: the folder in it was %s\n and is %s", ow, beforeSub, is)
		}
		if differs := res.Differs == 1 && res.Failures[0].Key == "sub/"; differs != (ow == restore.Never) {
			t.Errorf("%s: %+v", ow, res)
		}
		if b, err := os.ReadFile(filepath.Join(sub, "b")); err != nil || string(b) != "b" {
			t.Errorf("%s: %q %v", ow, b, err)
		}
		if !strings.Contains(strings.Join(res.Notes, "\n"), "it keeps its own mode") {
			t.Errorf("%s: nobody says so: %q", ow, res.Notes)
		}
	}
}

// A target that is made gets what the point's root has, also after it was broken off; so does the source's own folder.
func TestATargetThatIsMadeBecomesTheRoot(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.MkdirAll(filepath.Join(from, "sub"), 0o750), os.Chmod(from, 0o751), os.Chmod(filepath.Join(from, "sub"), 0o510),
		os.WriteFile(filepath.Join(from, "big"), random(5, 8<<20), 0o600), os.WriteFile(filepath.Join(from, "sub/big"), random(6, 8<<20), 0o600),
		os.Chtimes(from, whenTime, whenTime))
	r, c := point(t, from)
	want := tree(t, from)
	made := filepath.Join(t.TempDir(), "a/made")
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, made)})
	same(t, tree(t, made), want)

	for stop := range int64(8) {
		to := filepath.Join(t.TempDir(), "to")
		ctx, cancel := context.WithCancel(t.Context())
		s := &slow{Reader: r.Store, then: func() {
			if st, err := os.Stat(to); err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("meanwhile the target is %v, %v", st.Mode(), err)
			}
			cancel()
		}}
		s.after.Store(stop + 1)
		_, err := restore.Run(ctx, restore.Options{Reader: r.Reader(s), Commit: c, Target: into(t, to), Memory: 64 << 20})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)}); res.Differs+res.Failed > 0 {
			t.Errorf("broken off and run again: %+v", res)
		}
		same(t, tree(t, to), want)
	}

	must(t, os.Chmod(made, 0o777), os.Chtimes(made, time.Now(), time.Now()))
	target, err := todir.New(todir.Options{Root: made, InPlace: true})
	must(t, err)
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: target, Overwrite: restore.Changed})
	same(t, tree(t, made), want)

	part := filepath.Join(t.TempDir(), "part")
	run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, part), Include: []string{"big"}})
	probe := filepath.Join(t.TempDir(), "probe")
	must(t, os.Mkdir(probe, 0o777))
	if is, plain := tree(t, part), tree(t, probe); is["."][:5] != plain["."][:5] || len(is) != 2 {
		t.Errorf("a part of the point: %q; a new folder is %s", is["."], plain["."])
	}
}

// What is restored has the ACL of the point or none, whatever the target hands down, and is nobody else's at any moment.
func TestATargetHandsNothingDown(t *testing.T) {
	if !keepsAttributes(t) {
		return
	}
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.MkdirAll(filepath.Join(from, "sub/own"), 0o700),
		os.WriteFile(filepath.Join(from, "secret"), random(1, 20<<20), 0o600), os.WriteFile(filepath.Join(from, "sub/group"), random(2, 9<<20), 0o640),
		os.WriteFile(filepath.Join(from, "sub/own/listed"), random(3, 6<<20), 0o600), os.Symlink("secret", filepath.Join(from, "link")),
		unix.Setxattr(filepath.Join(from, "sub/own/listed"), acl.Access, acl.Named(0o600, 12, 4), 0),
		unix.Setxattr(filepath.Join(from, "sub/own"), acl.Default, acl.Named(0o700, 12, 5), 0), unix.Mkfifo(filepath.Join(from, "fifo"), 0o600))
	r, c := point(t, from)
	want := exact(t, from)
	delete(want, ".")
	to := filepath.Join(t.TempDir(), "to")
	must(t, os.Mkdir(to, 0o755), os.Chmod(to, 0o775|fs.ModeSetgid), unix.Setxattr(to, acl.Default, acl.Named(0o777, 4711, 7), 0))
	if os.Geteuid() == isRoot {
		must(t, os.Chown(to, 0, 13))
	}
	s := &slow{Reader: r.Store}
	var mu sync.Mutex // requests come side by side
	looks := 0
	s.then = func() {
		mu.Lock()
		defer mu.Unlock()
		s.after.Store(1) // again with the next
		_ = filepath.WalkDir(to, func(p string, d fs.DirEntry, err error) error {
			if err != nil || p == to {
				return nil
			}
			var st unix.Stat_t
			if unix.Lstat(p, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
				return nil
			}
			looks++
			allowed := uint32(0o700)
			if strings.Contains(p, "group") {
				allowed = 0o640
			}
			if strings.Contains(p, "listed") {
				allowed = 0o640 // its mask
			}
			if uint32(st.Mode)&0o777&^allowed != 0 {
				t.Errorf("meanwhile %s is %o", p, st.Mode)
			}
			return nil
		})
	}
	s.after.Store(1)
	target, err := todir.New(todir.Options{Root: to, Specials: true})
	must(t, err)
	run(t, restore.Options{Reader: r.Reader(s), Commit: c, Target: target, Memory: 64 << 20, Concurrency: 2})
	if looks == 0 {
		t.Error("nothing was looked at meanwhile")
	}
	got := exact(t, to)
	delete(got, ".")
	same(t, got, want)
}

// What a swapped link leads to is never written to, whenever it comes.
func TestALinkSwappedInWhileTheRestoreRuns(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.MkdirAll(filepath.Join(from, "d/e"), 0o755))
	for i := range 12 {
		must(t, os.WriteFile(filepath.Join(from, fmt.Sprintf("d/e/%02d", i)), random(uint64(i), 3<<20), 0o666))
	}
	must(t, os.Link(filepath.Join(from, "d/e/00"), filepath.Join(from, "d/z")))
	r, c := point(t, from)
	for _, victim := range []string{"d", "d/e"} {
		for stop := range int64(6) {
			base := t.TempDir()
			to, outside := filepath.Join(base, "to"), filepath.Join(base, "outside")
			must(t, os.MkdirAll(filepath.Join(outside, "e"), 0o700), os.WriteFile(filepath.Join(outside, "e/00"), []byte("mine"), 0o600))
			before := tree(t, outside)
			s := &slow{Reader: r.Store}
			s.then = func() {
				p := filepath.Join(to, victim)
				if os.Rename(p, filepath.Join(base, "moved")) == nil {
					_ = os.Symlink(filepath.Join(outside, strings.TrimPrefix(victim, "d")), p)
				}
			}
			s.after.Store(stop + 1)
			_, err := restore.Run(t.Context(), restore.Options{
				Reader: r.Reader(s), Commit: c, Target: into(t, to), Overwrite: restore.Always, Memory: 64 << 20, Concurrency: 2,
			})
			must(t, err)
			same(t, tree(t, outside), before)
		}
	}
}

// A folder whose name is like that of our temporary files is nobody's reason to fail.
func TestAFolderNamedLikeATemporaryFile(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	must(t, os.MkdirAll(filepath.Join(from, "d"), 0o755), os.WriteFile(filepath.Join(from, "d/x"), []byte("x"), 0o644))
	r, c := point(t, from)
	to := filepath.Join(t.TempDir(), "to")
	must(t, os.MkdirAll(filepath.Join(to, "d/.holdfast-part-00-1/full"), 0o755), os.MkdirAll(filepath.Join(to, ".holdfast-part-00-2"), 0o755))
	if res := run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, to)}); res.Failed > 0 {
		t.Errorf("%+v", res)
	}
	if _, err := os.Stat(filepath.Join(to, ".holdfast-part-00-2")); err == nil {
		t.Error("an empty one was left")
	}
}
