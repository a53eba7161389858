package backup_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// turning tells when a run has found what it goes on from and turns to its source.
type turning struct {
	source.Source
	told func()
}

func (s turning) Freeze(ctx context.Context) (source.View, error) {
	s.told()
	return s.Source.Freeze(ctx)
}

// asked counts what one run asks, by what that does: before it turns to its source, and in all. A listing counts once.
func (r *rig) asked() (before, all map[string]int) {
	r.t.Helper()
	var counts [6]atomic.Int64
	ops := []string{"open", "stat", "extend", "put", "inspect", "versions"}
	r.wrap(0, func(op, _ string) bool {
		for i, o := range ops {
			if o == op {
				counts[i].Add(1)
			}
		}
		return false
	})
	now := func() map[string]int {
		out := map[string]int{}
		for i, o := range ops {
			out[o] = int(counts[i].Load())
		}
		return out
	}
	src := r.source
	r.source = turning{src, func() { before = now() }}
	r.run()
	r.source = src
	r.wrap(0, nil)
	return before, now()
}

// TestLostCacheAsksForWhatIsNeeded: a machine that lost its cache reads the locks of what its point needs, each once, and not
// of all that is stored; nothing in opening grows with the number of runs.
func TestLostCacheAsksForWhatIsNeeded(t *testing.T) {
	for _, mode := range []store.Mode{store.Compliance, store.Governance, store.ModeNone} {
		t.Run("mode "+string(mode), func(t *testing.T) {
			r := newRig(t, 1)
			r.vaults[0].Locking.Mode = mode
			src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
			r.source = src
			change(r, src, want, "stays", body(1, 100))
			runs := 40
			for n := range runs {
				r.clock = r.clock.Add(time.Hour)
				change(r, src, want, "k", body(uint64(100+n), 100))
				r.run()
			}
			stored := len(r.names(0, ""))
			r.cache = t.TempDir()
			change(r, src, want, "k", body(7, 100))
			before, all := r.asked()
			t.Logf("%d objects stored; %v before its own work, %v in all", stored, before, all)
			if stored < 4*runs {
				t.Fatalf("only %d objects are stored", stored)
			}
			// The newest point needs a pack for each of the two, a page or two, and what every point needs.
			if before["stat"]+before["open"] > 40 || all["stat"]+all["open"] > 70 {
				t.Errorf("%v before its own work, %v in all", before, all)
			}
			if r.saw(repo.Missing, "") || r.saw(repo.Tampered, "") {
				t.Error("something is wrong in the vault")
			}
		})
	}
}

// TestSaidLocksAreRead: without its cache a machine believes no lock that is only said: what its point needs is read, in whichever
// of these ways the point comes to need it, and lengthened where it is shorter.
func TestSaidLocksAreRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *rig, src *memsource.Source, want map[string][]byte)
	}{
		{"nothing changed", func(*rig, *memsource.Source, map[string][]byte) {}},
		{"another entry changed", func(r *rig, src *memsource.Source, want map[string][]byte) {
			change(r, src, want, "other", body(5, 100))
		}},
		{"the same content under another name", func(r *rig, src *memsource.Source, want map[string][]byte) {
			change(r, src, want, "copy", body(1, 100))
		}},
		{"everything is written anew", func(r *rig, src *memsource.Source, want map[string][]byte) {
			for i := range 20 {
				change(r, src, want, fmt.Sprintf("k/%02d", i), body(uint64(i+1), 100))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1)
			src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
			r.source = src
			for i := range 20 {
				change(r, src, want, fmt.Sprintf("k/%02d", i), body(uint64(i+1), 100))
			}
			r.run()
			// Placements say that everything is locked for weeks; the vault's owner had the vendor take the locks off.
			for _, o := range r.names(0, "") {
				if err := r.stores[0].Attacker().Unlock(o.Ref); err != nil {
					t.Fatal(err)
				}
			}
			r.clock = r.clock.Add(time.Hour)
			r.cache = t.TempDir()
			c.change(r, src, want)
			res := r.run()
			equal(t, r.contents(0, res.Point), want) // contents looks at every lock that the point needs
		})
	}
}

// TestRunAsksForWhatChanged: a run that changed one entry asks as much with many points in the vault as with a few: one listing of
// everything, one look at the vault's settings, and what it stores, each read back. What the run before stored is not read, nor are the
// descriptors.
func TestRunAsksForWhatChanged(t *testing.T) {
	r := newRig(t, 1)
	r.kept = cache.NewKept(t.TempDir())
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	change(r, src, want, "stays", body(1, 100))
	made := 0
	for _, runs := range []int{2, 6, 30} {
		for ; made < runs; made++ {
			r.clock = r.clock.Add(time.Minute)
			change(r, src, want, "k", body(uint64(100+made), 100))
			r.run()
		}
		r.clock = r.clock.Add(time.Minute)
		change(r, src, want, "k", body(uint64(10_000+made), 100))
		_, all := r.asked()
		t.Logf("after %d runs: %v", made, all)
		if want := (map[string]int{"versions": 1, "inspect": 1, "put": 5, "stat": 5, "extend": 0, "open": 0}); !maps.Equal(all, want) {
			t.Errorf("after %d runs: %v, not %v", made, all, want)
		}
	}
	if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") || r.saw(repo.Tampered, "") {
		t.Error("something is wrong in the vault")
	}
}

// TestSecondSourceIsListedAnew: what a session listed when it opened is not what its later runs go by: points that others made
// meanwhile are seen.
func TestSecondSourceIsListedAnew(t *testing.T) {
	r := newRig(t, 1)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	change(r, src, want, "k", body(1, 100))
	r.source = src
	s, err := r.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 3 { // of one session, each after the one before
		r.clock = r.clock.Add(time.Minute)
		change(r, src, want, "k", body(uint64(r.clock.Unix()), 100))
		res, err := backup.Run(t.Context(), backup.Options{
			Source: src, Name: "uploads", Session: s, Retention: retain.Policy{Daily: retain.Span{Duration: 35 * 24 * time.Hour}}, TagsMaxAge: -1, Memory: 64 << 20, Now: r.local,
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, res.Point.String())
		c := commitOf(r, res.Point)
		if n := len(ids); n > 1 && (len(c.Predecessors) != 1 || c.Predecessors[0].ID.String() != ids[n-2]) {
			t.Errorf("point %d of the session follows %v", n, c.Predecessors)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNeedsListsStayTogether: however many runs each change another entry, the pages of the list of what the newest point needs
// lie in a few objects, each of which a run reads, and what that costs is bounded.
func TestNeedsListsStayTogether(t *testing.T) {
	r := newRig(t, 2)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	runs := 90
	if testing.Short() { // under the race detector; whole without
		runs = 40
	}
	for n := range runs {
		change(r, src, want, fmt.Sprintf("k/%04d", n), body(uint64(n), 100))
	}
	var last *backup.Result
	worst, lines := 0, int64(0)
	for n := range runs {
		r.clock = r.clock.Add(time.Minute)
		change(r, src, want, fmt.Sprintf("k/%04d", n), body(uint64(1000+n), 100))
		last = r.run()
		c := commitOf(r, last.Point)
		in := map[string]bool{c.Needs.Object: true}
		var bytes int64
		for _, err := range tree.Needs(t.Context(), plain(r, 0).Page, c.Needs, func(ref format.PageRef) {
			in[ref.Object], bytes = true, bytes+ref.Frame.Length
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		worst, lines = max(worst, len(in)), c.Needs.Entries
		if most := 3 + int(bytes>>15); len(in) > most {
			t.Errorf("run %d: the list of %d bytes lies in %d objects, at most %d", n, bytes, len(in), most)
		}
	}
	t.Logf("%d lines, in %d objects at worst", lines, worst)
	if lines < int64(runs) {
		t.Fatalf("only %d lines", lines)
	}
	for vault := range 2 {
		equal(t, r.contents(vault, last.Point), want)
	}
	if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") || r.saw(repo.Tampered, "") {
		t.Error("something is wrong in the vault")
	}
}

// plain reads plain objects of a vault.
func plain(r *rig, vault int) *repo.Reader {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[vault], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	reader, err := repo.NewReader(rp, r.stores[vault], nil, nil, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return reader
}

// TestWhatIsKeptIsNoProof: objects that this machine keeps are read there only as long as the vault lists that very version. What a vault
// lost, covered, or has cut short is noticed and mended as without; so is what a verification found damaged; and a file that went bad, or
// that is another's, costs a request and nothing else.
func TestWhatIsKeptIsNoProof(t *testing.T) {
	type scene struct {
		r   *rig
		src *memsource.Source
		dir string
	}
	each := func(r *rig, do func(info store.Info)) {
		for _, prefix := range []string{format.PrefixMeta, format.PrefixNeeds} {
			for _, info := range r.names(0, prefix) {
				do(info)
			}
		}
	}
	files := func(t *testing.T, dir string, do func(path string, body []byte)) {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) < 4 {
			t.Fatalf("%d files are kept, %v", len(entries), err)
		}
		for _, e := range entries {
			body, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			do(filepath.Join(dir, e.Name()), body)
		}
	}
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, s scene)
		told   repo.FindingKind // empty: nothing is
		mended bool
	}{
		{"lost", func(_ *testing.T, s scene) { each(s.r, func(info store.Info) { loseVault(s.r, 0, info) }) }, repo.Missing, true},
		{"cut short", func(t *testing.T, s scene) {
			each(s.r, func(info store.Info) {
				if err := s.r.stores[0].Attacker().Damage(info.Ref, func(b []byte) []byte { return b[:len(b)-1] }); err != nil {
					t.Fatal(err)
				}
			})
		}, repo.Damaged, true},
		{"found damaged", func(t *testing.T, s scene) {
			each(s.r, func(info store.Info) {
				if err := s.r.stores[0].Attacker().Damage(info.Ref, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }); err != nil {
					t.Fatal(err)
				}
				if err := cache.Doubt(s.r.cache, "vault0", []string{info.Name}); err != nil {
					t.Fatal(err)
				}
			})
		}, repo.Damaged, true},
		{"the newest point lost", func(_ *testing.T, s scene) {
			points := s.r.names(0, format.PrefixPoints)
			loseVault(s.r, 0, points[len(points)-1])
		}, repo.Missing, true},
		{"files gone bad", func(t *testing.T, s scene) {
			files(t, s.dir, func(path string, body []byte) {
				body[len(body)/2] ^= 1
				if err := os.WriteFile(path, body, 0o600); err != nil {
					t.Fatal(err)
				}
			})
		}, "", false},
		{"files cut short", func(t *testing.T, s scene) {
			files(t, s.dir, func(path string, body []byte) {
				if err := os.WriteFile(path, body[:len(body)/2], 0o600); err != nil {
					t.Fatal(err)
				}
			})
		}, "", false},
		{"the folder gone", func(t *testing.T, s scene) {
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
		}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := scene{r: newRigWith(t, 1, tiny()), dir: t.TempDir()}
			s.r.kept = cache.NewKept(s.dir)
			src, want := varied(s.r)
			s.r.run()
			change(s.r, src, want, "k/0020", body(2, 5000))
			s.r.clock = s.r.clock.Add(time.Hour)
			s.r.run()
			s.r.saw("", "")
			c.spoil(t, scene{s.r, src, s.dir})
			change(s.r, src, want, "k/0021", body(1, 400))
			s.r.clock = s.r.clock.Add(time.Hour)
			res := s.r.run()
			noFailures(t, res)
			s.r.mu.Lock()
			told := slices.ContainsFunc(s.r.found, func(f repo.Finding) bool { return f.Kind == c.told })
			n := len(s.r.found)
			s.r.mu.Unlock()
			if c.told == "" && n > 0 || c.told != "" && !told {
				t.Errorf("%d findings", n)
			}
			if c.mended != (res.BytesRead > 400) {
				t.Errorf("read %d bytes", res.BytesRead)
			}
			equal(t, s.r.contents(0, res.Point), want)
		})
	}
}
