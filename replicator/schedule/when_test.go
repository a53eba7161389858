package schedule

import (
	"strings"
	"testing"
	"time"
)

func TestParseWhen(t *testing.T) {
	usual := When{Every: Weekly, Day: time.Sunday, At: 300}
	for text, want := range map[string]When{
		"never":         {},
		"hourly":        {Every: Hourly},
		"daily":         {Every: Daily, At: 300},
		"02:30":         {Every: Daily, At: 150},
		"2:30":          {Every: Daily, At: 150},
		"daily 23:59":   {Every: Daily, At: 1439},
		"weekly":        {Every: Weekly, Day: time.Sunday, At: 300},
		"Tue":           {Every: Weekly, Day: time.Tuesday, At: 300},
		"tuesday 04:00": {Every: Weekly, Day: time.Tuesday, At: 240},
		"monthly":       {Every: Monthly, At: 300},
		"monthly 00:00": {Every: Monthly},
	} {
		if got, err := ParseWhen(text, usual); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		} else if again, err := ParseWhen(got.String(), When{}); err != nil || again != got {
			t.Errorf("%q is written %q, which is %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "24:00", "02:60", "0230", "02:3", "-1:30", "+2:30", "02:30:00", "wekly", "never 02:30", "hourly 02:30", "daily 99:00", "sun", "1 2 3", "tues"} {
		if got, err := ParseWhen(text, usual); (err == nil) != (text == "sun") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		window, at string
		holds      bool
		left       time.Duration
	}{
		{"02:00-06:00", "02:00", true, 4 * time.Hour},
		{"02:00-06:00", "05:59", true, time.Minute},
		{"02:00-06:00", "06:00", false, 0},
		{"02:00-06:00", "01:59", false, 0},
		{"22:00-04:00", "23:30", true, 4*time.Hour + 30*time.Minute},
		{"22:00-04:00", "03:59", true, time.Minute},
		{"22:00-04:00", "04:00", false, 0},
		{"22:00-04:00", "12:00", false, 0},
	} {
		w, err := ParseWindow(c.window)
		if err != nil {
			t.Fatal(err)
		}
		at, err := ParseClock(c.at)
		if err != nil {
			t.Fatal(err)
		}
		if w.Holds(at) != c.holds || c.holds && w.left(at) != c.left {
			t.Errorf("%s at %s: %v, %v left", w, at, w.Holds(at), w.left(at))
		}
	}
	for _, text := range []string{"", "02:00", "02:00-02:00", "02:00-26:00", "night"} {
		if w, err := ParseWindow(text); err == nil {
			t.Errorf("%q is %s", text, w)
		}
	}
}

// TestForms: the same rhythm for systemd and for cron.
func TestForms(t *testing.T) {
	for text, want := range map[string]string{
		"hourly":    "*-*-* *:00:00 | 0 * * * *",
		"02:30":     "*-*-* 02:30:00 | 30 2 * * *",
		"sat 23:05": "Sat *-*-* 23:05:00 | 5 23 * * 6",
		"sun 00:00": "Sun *-*-* 00:00:00 | 0 0 * * 0",
		"monthly":   "*-*-01 00:00:00 | 0 0 1 * *",
	} {
		w, err := ParseWhen(text, When{})
		if got := w.calendar() + " | " + w.cron(); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestApart(t *testing.T) {
	for texts, want := range map[string]time.Duration{
		"02:30": 24 * time.Hour, "hourly": time.Hour, "02:30 14:30": 12 * time.Hour, "23:00 01:00 12:00": 2 * time.Hour,
	} {
		var all []When
		for _, text := range strings.Fields(texts) {
			w, err := ParseWhen(text, When{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, w)
		}
		if got := apart(all); got != want {
			t.Errorf("%s: %s", texts, got)
		}
	}
}
