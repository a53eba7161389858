package watch

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

func TestAllowed(t *testing.T) {
	at := func(all ...schedule.Clock) (out []schedule.When) {
		for _, c := range all {
			out = append(out, schedule.When{Every: schedule.Daily, At: c})
		}
		return out
	}
	every := func(e schedule.Every) []schedule.When { return []schedule.When{{Every: e}} }
	for name, c := range map[string]struct {
		runs []schedule.When
		want time.Duration
	}{
		"none":    {nil, 0},
		"never":   {every(schedule.Never), 0},
		"hourly":  {every(schedule.Hourly), 3 * time.Hour},
		"nightly": {at(150), 30 * time.Hour},
		"twice":   {at(150, 150+12*60), 15 * time.Hour},
		"uneven":  {at(60, 120, 180), 22*time.Hour + 22*time.Hour/4},
		"weekly":  {every(schedule.Weekly), 7*24*time.Hour + 12*time.Hour},
		"monthly": {every(schedule.Monthly), 31*24*time.Hour + 12*time.Hour},
	} {
		if got := Allowed(c.runs); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestHours(t *testing.T) {
	h := Hours{Window: schedule.Window{From: 23 * 60, To: 2 * 60}, Zone: time.FixedZone("X", 3600)}
	for text, want := range map[string]bool{"22:00": true, "00:59": true, "01:00": false, "21:59": false, "12:00": false} {
		at, err := time.Parse("15:04", text)
		if err != nil || h.hold(at) != want {
			t.Errorf("%s UTC: %t, %v", text, !want, err)
		}
	}
	if !(Hours{}).hold(time.Now()) {
		t.Error("no hours are all hours")
	}
	for from, want := range map[schedule.Window]schedule.Window{
		{}:                           {},
		{From: 120, To: 240}:         {From: 120, To: 600},
		{From: 22 * 60, To: 23 * 60}: {From: 22 * 60, To: 5 * 60},
		{From: 60, To: 20 * 60}:      {},
	} {
		if got := RunHours(from); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}
