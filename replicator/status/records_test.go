package status

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/verify"
)

// Records come the newest first: what was said last counts, and only what was looked at in full.
func TestWhatRecordsSay(t *testing.T) {
	at := func(day int) time.Time { return time.Date(2026, 11, day, 2, 0, 0, 0, time.UTC) }
	type said struct {
		kind string
		day  int
		line line
	}
	verified := func(day int, level verify.Level, status string, sample float64) said {
		return said{"verify", day, line{Status: status, Level: level, Sample: sample, Missing: 3, Locks: true}}
	}
	turned := func(day, oldest int, level verify.Level) said {
		return said{"verify", day, line{Status: "ok", Level: level, Sample: 12, Oldest: at(oldest).Format(time.RFC3339), InTurn: true}}
	}
	for name, c := range map[string]struct {
		said                  []said
		locks, bytes, content int // days, 0: never
		alarm                 string
	}{
		"nothing":                {},
		"locks":                  {said: []said{verified(9, verify.Locks, "ok", 100)}, locks: 9},
		"content":                {said: []said{verified(9, verify.Content, "ok", 100)}, locks: 9, bytes: 9, content: 9},
		"a sample":               {said: []said{verified(9, verify.Content, "ok", 50), verified(8, verify.Bytes, "ok", 100)}, locks: 9, bytes: 8},
		"each level by itself":   {said: []said{verified(9, verify.Locks, "ok", 100), verified(7, verify.Bytes, "ok", 100), verified(5, verify.Content, "ok", 100)}, locks: 9, bytes: 7, content: 5},
		"damage, not yet well":   {said: []said{verified(9, verify.Bytes, "damaged", 100), verified(7, verify.Bytes, "ok", 100)}, locks: 7, bytes: 7, alarm: "3 missing"},
		"damage, and well since": {said: []said{verified(9, verify.Bytes, "ok", 100), verified(7, verify.Bytes, "damaged", 100)}, locks: 9, bytes: 9},
		"a vault without locks":  {said: []said{{"verify", 9, line{Status: "ok", Level: verify.Bytes, Sample: 100}}}, bytes: 9},
		"in turns":               {said: []said{turned(9, 3, verify.Bytes)}, locks: 3, bytes: 3},
		"locks in turns":         {said: []said{turned(9, 4, verify.Locks), turned(8, 3, verify.Bytes)}, locks: 4, bytes: 3},
		"in turns after a whole": {said: []said{turned(9, 3, verify.Bytes), verified(5, verify.Bytes, "ok", 100)}, locks: 5, bytes: 5},
		"in turns, of no locks":  {said: []said{{"verify", 9, line{Status: "ok", Level: verify.Bytes, Oldest: at(3).Format(time.RFC3339)}}}, bytes: 3},
		"in turns, in future":    {said: []said{turned(9, 10, verify.Bytes)}},
		"a run that failed":      {said: []said{{"run", 9, line{Source: "site", Status: "failed"}}}, alarm: "the run of 2026-11-09T02:00:00Z failed"},
		"a weak drill":           {said: []said{{"drill", 9, line{Status: "weak"}}, {"drill", 8, line{Status: "held"}}}, alarm: "drill of 2026-11-09T02:00:00Z came out weak"},
		"a drill that failed":    {said: []said{{"drill", 9, line{Status: "failed"}}, {"drill", 8, line{Status: "held"}}}},
		"a run with alarms":      {said: []said{{"run", 9, line{Source: "site", Status: "complete", AlarmCount: 2}}}, alarm: "the run of 2026-11-09T02:00:00Z gave an alarm (2)"},
		"another source's run":   {said: []said{{"run", 9, line{Source: "other", Status: "complete", AlarmCount: 2}}}},
		"a run without, since":   {said: []said{{"run", 9, line{Source: "site"}}, {"run", 8, line{Source: "site", AlarmCount: 2}}}},
	} {
		r := &records{vault: Records{Verified: map[verify.Level]time.Time{}}, runs: map[string]Records{}}
		for _, s := range c.said {
			r.take(s.kind, at(s.day), s.line)
		}
		got := r.of("site")
		for level, day := range map[verify.Level]int{verify.Locks: c.locks, verify.Bytes: c.bytes, verify.Content: c.content} {
			if when := got.Verified[level]; when.IsZero() != (day == 0) || day != 0 && !when.Equal(at(day)) {
				t.Errorf("%s: %s: %s", name, level, when)
			}
		}
		if alarms := strings.Join(append(got.ofRun(), got.ofVault()...), "\n"); (alarms == "") != (c.alarm == "") || !strings.Contains(alarms, c.alarm) {
			t.Errorf("%s: alarms: %s", name, alarms)
		}
	}
	if alarms := (Records{unread: []string{"reports/web-1/b", "reports/web-1/a"}}).ofVault(); len(alarms) != 1 || !strings.Contains(alarms[0], "2 cannot be read, the newest of them reports/web-1/b") {
		t.Errorf("%q", alarms)
	}
}
