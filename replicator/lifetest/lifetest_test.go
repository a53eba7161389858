package lifetest_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
)

// TestMonthsOfDailyRuns is the two years of .ci/parts/renewal in small: every living point's every object is locked to the
// point's own retain-until on every day, locks are lengthened about once in a slack period at most, and what is stored
// stays near what is needed. No delete is asked for by anything but prune: nothing else has the means.
func TestMonthsOfDailyRuns(t *testing.T) {
	w, err := lifetest.New(t.Context(), lifetest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	days := 120
	if testing.Short() {
		days = 60
	}
	f, err := w.Live(t.Context(), days, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", f)
	if f.Waste > 1.5 || max(f.Packs, f.First) > 1.2 || f.Pruned == 0 || f.Points < 35 {
		t.Errorf("%+v", f)
	}
	if got := w.Meter.Snapshot().Asked["remove"].Calls; got != int64(f.Pruned) {
		t.Errorf("%d deletes were asked for, prune deleted %d", got, f.Pruned)
	}
}
