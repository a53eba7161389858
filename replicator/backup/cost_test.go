package backup_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
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

// asked counts the requests of one run, by what they do, as far as they are no listings: those before it turns to its source,
// and all.
func (r *rig) asked() (before, all map[string]int) {
	r.t.Helper()
	var counts [3]atomic.Int64
	ops := []string{"open", "stat", "extend"}
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
