package main

import (
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A point whose time is over says so, unless somebody holds it: prune may delete it at any time.
func TestPointsThatAreOver(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) format.Time { return format.At(now.Add(d)) }
	hold := func(d time.Duration) *evidence.Hold { return &evidence.Hold{Until: at(d)} }
	for name, c := range map[string]struct {
		keep time.Duration
		hold *evidence.Hold
		over bool
	}{
		"kept": {keep: time.Second}, "over": {keep: -time.Second, over: true}, "just over": {over: true},
		"held": {keep: -time.Hour, hold: hold(time.Hour)}, "held no more": {keep: -time.Hour, hold: hold(-time.Minute), over: true},
	} {
		p := browse.Point{Point: repo.Point{PointID: format.PointID{Source: "site", SignedAt: at(-100 * time.Hour)}}, Line: &format.PointLine{RetainUntil: at(c.keep), Status: format.StatusComplete}}
		for _, json := range []bool{false, true} {
			var out, table strings.Builder
			u := newUI(nil, nil)
			u.out, u.json = &out, json
			r := (&reading{app: &app{ui: u, now: func() time.Time { return now }}, repo: &repo.Repository{}, vault: &vault{name: "disk"}}).share()
			w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
			if err := r.shows.printPoint(w, p, nil, pointSaid{hold: c.hold}); err != nil || w.Flush() != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(table.String(), ", over") || strings.Contains(out.String(), `"over":true`); got != c.over {
				t.Errorf("%s: %s%s", name, table.String(), out.String())
			}
		}
	}
}
