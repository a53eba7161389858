package backup_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A vault that was lost and begun anew is missed by the run that fills it again, and by none after it, however little time lies between.
func TestAWipedVaultIsMissedOnce(t *testing.T) {
	for n := range 30 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			r := newRig(t, 2)
			src := memsource.New(memsource.Options{Now: r.now})
			src.Put("a", []byte("content"))
			r.source = src
			soon := func() {
				r.mu.Lock()
				r.clock = r.clock.Add(time.Duration(rng.IntN(1200)) * time.Millisecond)
				r.mu.Unlock()
			}
			for range 1 + rng.IntN(4) {
				r.run()
				soon()
			}
			which := rng.IntN(2)
			s := memstore.New(memstore.Options{Now: r.now})
			r.stores[which] = s
			v := *r.vaults[which]
			v.Read, v.Write, v.Lock, v.Inspect = s, s, s, s
			r.vaults[which] = &v
			if rng.IntN(2) == 0 {
				r.run() // the other vault alone
				soon()
			}
			r.init()
			soon()
			r.run()
			soon()
			r.findings()
			r.run()
			for _, f := range r.findings() { // what this machine remembers of the vault before it is for init to forget
				if strings.Contains(f, "a later point says") {
					t.Error("the run after:", f)
				}
			}
		})
	}
}

// TestAllThatAWipedVaultHeldIsMissed: each point that it had, also the last one before it was wiped, once; whether or not a run without it lies
// between.
func TestAllThatAWipedVaultHeldIsMissed(t *testing.T) {
	for name, runs := range map[string]struct{ before, away int }{
		"one point": {1, 0}, "one point and a run without": {1, 1}, "some": {4, 0}, "some and a run without": {4, 1}, "some and runs without": {4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2)
			src := memsource.New(memsource.Options{Now: r.now})
			src.Put("a", []byte("content"))
			r.source = src
			had := map[string]bool{}
			next := func() *backup.Result {
				r.clock = r.clock.Add(time.Minute)
				return r.run()
			}
			for range runs.before {
				had[next().Point.String()] = true
			}
			s := memstore.New(memstore.Options{Now: r.now})
			r.stores[0] = s
			v := *r.vaults[0]
			v.Read, v.Write, v.Lock, v.Inspect = s, s, s, s
			r.vaults[0] = &v
			for range runs.away {
				next()
			}
			r.clock = r.clock.Add(time.Minute)
			r.init()
			if _, _, err := cache.LosePoints(r.cache, r.vaults[0].Name, r.now()); err != nil {
				t.Fatal(err)
			}
			r.findings()
			next()
			told := map[string]int{}
			for _, f := range r.findings() {
				object, point := strings.CutPrefix(f, "missing: "+format.PrefixPoints)
				for id := range had {
					if point && strings.Contains(object, id) {
						told[id]++
					}
				}
			}
			for id := range had {
				if told[id] != 1 {
					t.Errorf("point %.12s, which the vault had, is missed %d times", id, told[id])
				}
			}
			next()
			for _, f := range r.findings() {
				t.Error("the run after:", f)
			}
			lost, err := cache.PointsLost(r.cache, r.vaults[0].Name)
			if err != nil || len(lost) != len(had) {
				t.Errorf("%d points are remembered as lost, of %d: %v", len(lost), len(had), err)
			}
		})
	}
}
