package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
)

// renewal lives through two years of daily runs on an injected clock: 35d/12w/12mo, 2 % of the source changed every day,
// pruned every week.
func renewal(ctx context.Context, w *world) (err error) {
	dir, err := os.MkdirTemp("", "renewal-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lifetest.New(ctx, lifetest.Options{Dir: dir, Objects: 1000, Size: 16 << 10})
	if err != nil {
		return err
	}
	f, err := l.Live(ctx, 730, func(day int, waste float64) {
		if day%91 == 90 {
			fmt.Printf("  day %d: stored bytes %.2f times the living ones\n", day, waste)
		}
	})
	if err != nil {
		return err
	}
	fmt.Printf("  %d days, %d living points at the end, %d objects of %.1f MB stored; %.1f MB changed at the source, %.1f MB read; %d versions pruned\n",
		f.Days, f.Points, f.Objects, float64(f.Stored)/1e6, float64(f.Written)/1e6, float64(f.Read)/1e6, f.Pruned)
	w.bar(true, "every day every object of every living point was locked to the point's own retain-until")
	w.bar(max(f.Packs, f.First) <= 1.2, "locks lengthened: %.2f calls for each pack in a slack period, %.2f in the worst period after the first month and %.2f in the worst of it, %.2f for each stored object (at most 1.2)", f.PacksAll, f.Packs, f.First, f.All)
	w.bar(f.Waste <= 1.5, "stored bytes were at most %.2f times the living bytes (at most 1.5)", f.Waste)
	w.bar(l.Meter.Snapshot().Asked["remove"].Calls == int64(f.Pruned) && f.Pruned > 0, "%d deletes were asked for, all of them by prune", f.Pruned)
	return renewed(ctx, w)
}

// renewed runs the tests that break renewals off and lay things on what is to be renewed.
func renewed(ctx context.Context, w *world) error {
	r, err := runTests(ctx, "./replicator/lifetest", "^(TestRenewInterrupted|TestRunInterrupted|TestRenewUnderAttack|TestPruneInterrupted)$")
	if err != nil {
		return err
	}
	f := r.figures
	w.bar(r.passed("TestRenewInterrupted") && f["TestRenewInterrupted"]["calls"] > 0, "a renewal interrupted at every call, %.0f of them, converges: the next one puts the rest right, and lengthens none twice but what was on its way", f["TestRenewInterrupted"]["calls"])
	w.bar(r.passed("TestRunInterrupted") && f["TestRunInterrupted"]["calls"] > 0, "a run interrupted at every call that lengthens a lock, %.0f of them, converges, and every living point is locked at every moment", f["TestRunInterrupted"]["calls"])
	for _, how := range []string{"renew", "run"} {
		test := "TestRenewUnderAttack/" + how
		x := f[test]
		w.bar(r.passed(test) && x["hidden"] > 0 && x["overwritten"] > 0, "%s under overwrite (%.0f packs) and delete marker (%.0f) renews the good version, and not the attacker's",
			map[string]string{"renew": "a renewal", "run": "a run"}[how], x["overwritten"], x["hidden"])
	}
	w.bar(r.passed("TestPruneInterrupted") && f["TestPruneInterrupted"]["calls"] > 0, "a pruning interrupted at every call, %.0f of them, loses nothing that a living point needs", f["TestPruneInterrupted"]["calls"])
	return nil
}
