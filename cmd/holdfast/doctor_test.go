package main

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/retain"
)

// TestShortestDays: the shortest span of all sources of a vault counts, whichever kind it is, with the slack.
func TestShortestDays(t *testing.T) {
	days := func(n int) retain.Span { return retain.Span{Duration: time.Duration(n) * 24 * time.Hour} }
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		keep retain.Policy
		want int
	}{
		{"hours", retain.Policy{Hourly: days(2), Daily: days(35), Yearly: retain.Span{Months: 12}}, 12},
		{"days", retain.Policy{Daily: days(35), Weekly: days(84)}, 45},
		{"months", retain.Policy{Hourly: days(90), Monthly: retain.Span{Months: 1}}, 40},
		{"years", retain.Policy{Yearly: retain.Span{Months: 12}}, 375},
	} {
		j := (&job{config: &config.Config{Sources: []config.Source{
			{Name: "site", Vaults: []string{"offsite"}, Retention: c.keep},
			{Name: "elsewhere", Vaults: []string{"other"}, Retention: retain.Policy{Hourly: days(1)}},
		}}}).share()
		if got := j.heals.shortestDays("offsite", days(10), now); got != c.want {
			t.Errorf("%s: %d days, want %d", c.name, got, c.want)
		}
	}
}
