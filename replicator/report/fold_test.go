package report

import (
	"testing"
	"time"
)

// TestGaps: how old the newest complete point was, as far back as it can be known.
func TestGaps(t *testing.T) {
	day := int64(24 * 60 * 60)
	now := time.Unix(1000*day, 0)
	o := Options{Now: now, To: now, From: time.Unix(900*day, 0)}
	daily := func(from, to int64) (out []event) {
		for d := from; d <= to; d++ {
			out = append(out, event{d * day, d*day + 60})
		}
		return out
	}
	for name, c := range map[string]struct {
		f      folding
		worst  int64
		gaps   int
		judged int64
	}{
		"each day":                         {folding{events: daily(900, 999), shortly: 2400 * time.Hour}, day + 60, 0, 900},
		"a week without":                   {folding{events: append(daily(900, 950), daily(958, 999)...), shortly: 2400 * time.Hour}, 8*day + 60, 1, 900},
		"thinned before what can be over":  {folding{events: append([]event{{910 * day, 910*day + 60}}, daily(990, 999)...), shortly: 10 * 24 * time.Hour}, day + 60, 0, 990},
		"thinned, and runs tell otherwise": {folding{events: append([]event{{910 * day, 910*day + 60}}, daily(990, 999)...), shortly: 10 * 24 * time.Hour, firstRun: time.Unix(905*day, 0)}, 80*day + 60, 1, 905},
		"none since before the period":     {folding{before: event{890 * day, 890*day + 60}, shortly: 24 * time.Hour}, 110 * day, 1, 999},
		"the last one is old":              {folding{events: daily(985, 990), shortly: 2400 * time.Hour}, 10 * day, 1, 900},
		"begun in the period":              {folding{events: daily(995, 999), shortly: 2400 * time.Hour}, day + 60, 0, 900},
	} {
		var s Source
		c.f.gaps(&s, o, 26*time.Hour)
		if s.Achieved == nil || *s.Achieved != c.worst || s.GapCount != c.gaps || len(s.Gaps) != c.gaps || s.JudgedFrom != stamp(time.Unix(c.judged*day, 0)) {
			t.Errorf("%s: %v, %d gaps, judged from %s", name, *s.Achieved, s.GapCount, s.JudgedFrom)
		}
	}
	var s Source
	(&folding{}).gaps(&s, o, time.Hour)
	if s.Achieved != nil || s.JudgedFrom != "" {
		t.Error("something is known of a source without points")
	}
}

// TestGapsAreBounded: the longest are listed, and all are counted.
func TestGapsAreBounded(t *testing.T) {
	var s Source
	for i := range 100 {
		s.gap(Gap{Seconds: int64(i * 7 % 100)})
	}
	if s.GapCount != 100 || len(s.Gaps) != maxGaps || s.Gaps[0].Seconds != 99 || s.Gaps[maxGaps-1].Seconds != 90 {
		t.Errorf("%+v", s)
	}
}
