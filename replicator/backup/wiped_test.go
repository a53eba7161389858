package backup_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/memstore"
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
