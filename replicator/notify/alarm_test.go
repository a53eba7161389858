package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

const suspect = "suspect"

// found is what the guard found in one run.
func found(rule, text string) Finding {
	return Finding{Kind: rule, Standing: suspect, Text: "the guard gives an alarm: " + rule + ": " + text, Fresh: true}
}

// stands is what later runs say of it.
func stands(since time.Time) Finding {
	return Finding{Kind: suspect, Standing: suspect, Text: "an alarm of the guard stands, since the point 0123456789ab", Since: since}
}

func guarded(alarms ...Finding) Report {
	return run(4, "suspect", Result{Source: "site", Vault: "disk", Status: "complete", Severity: Well, Alarms: alarms})
}

// TestGuardFindings: what the guard finds is told at once, however alike it is to what was told; what stands is never called new.
func TestGuardFindings(t *testing.T) {
	x := newTeller(t, false)
	first, second := found("deleted", "100 of 200 entries are gone"), found("deleted", "90 of 100 entries are gone")
	if got := x.tell(0, guarded(first)); got != KindProblem || !x.last().Problems[0].New || x.last().Problems[0].Finding != "deleted" {
		t.Fatalf("%q, %+v", got, x.last())
	}
	if got := x.tell(time.Hour, guarded(stands(noon))); got != "" {
		t.Errorf("the next run, in which nothing is new: %q, %+v", got, x.last().Problems)
	}
	if got := x.tell(time.Hour, guarded(second)); got != KindProblem || len(x.last().Problems) != 1 || !x.last().Problems[0].New || !strings.Contains(x.last().Text, "New:\n- source site: alarm (alarm): the guard gives an alarm: deleted: 90 of 100") {
		t.Errorf("another finding of the same rule: %q, %+v", got, x.last())
	}
	if got := x.tell(time.Hour, guarded(second, found("renamed", "x"))); got != KindProblem || len(x.last().Problems) != 2 || !x.last().Problems[0].New || !x.last().Problems[1].New {
		t.Errorf("two findings: %q, %+v", got, x.last())
	}
	if got := x.tell(12*time.Hour, guarded(stands(noon))); got != "" {
		t.Errorf("it stands: %q", got)
	}
	if p := New(x.o).Standings()[0].Open; len(p) != 1 || p[0].Told.IsZero() || p[0].Repeats != 0 {
		t.Errorf("%+v", p)
	}
	if got := x.tell(11*time.Hour, guarded(stands(noon))); got != KindStill || x.last().Problems[0].Repeats != 2 || !strings.Contains(x.last().Text, "(since 2026-11-30T12:00:00Z, found 2 times since it was last told)") || x.last().Problems[0].New || x.last().Problems[0].Finding != suspect || x.last().Problems[0].Since != at(noon) {
		t.Errorf("it still stands: %q, %+v", got, x.last())
	}
	if got := x.tell(time.Hour, fine); got != KindRecovered || len(x.last().Recovered) != 1 {
		t.Errorf("acknowledged: %q, %+v", got, x.last())
	}
	if got := x.tell(time.Hour, fine); got != "" {
		t.Errorf("that is told twice: %q", got)
	}
}

// TestGuardFindingsAreNotLost: what did not get there is told with the next run, which does not find it again.
func TestGuardFindingsAreNotLost(t *testing.T) {
	x := newTeller(t, false)
	x.tell(0, guarded(found("deleted", "100 of 200")))
	x.box.down = errors.New("refused")
	x.tell(time.Hour, guarded(found("tripwire", "a tripwire was touched"), found("renamed", "ten entries")))
	x.tell(time.Hour, guarded(stands(noon)))
	x.box.down = nil
	got := x.tell(time.Hour, guarded(stands(noon)))
	if got != KindProblem || !x.last().Problems[0].New {
		t.Fatalf("%q, %+v", got, x.last())
	}
	for _, want := range []string{"a tripwire was touched", "ten entries", "an alarm of the guard stands"} {
		if !strings.Contains(x.last().Problems[0].Text, want) {
			t.Errorf("%q is not in %q", want, x.last().Problems[0].Text)
		}
	}
	if got := x.tell(time.Hour, guarded(stands(noon))); got != "" {
		t.Errorf("told twice: %q", got)
	}
}

// TestStandingToStrangers: a receiver that was told nothing is told at once, and not that it is new.
func TestStandingToStrangers(t *testing.T) {
	x := newTeller(t, false)
	since := noon.Add(-48 * time.Hour)
	if got := x.tell(0, guarded(stands(since))); got != KindProblem || x.last().Problems[0].New || x.last().Problems[0].Since != at(since) {
		t.Errorf("%q, %+v", got, x.last())
	}
	if strings.Contains(x.last().Text, "New:") || !strings.Contains(x.last().Text, "Still:") {
		t.Error(x.last().Text)
	}
}

// TestAlarmsOfOtherThings: another stored object with the same fault is told at once, the same one is not; of more than a message
// takes no names count, since which of them it takes is chance.
func TestAlarmsOfOtherThings(t *testing.T) {
	x := newTeller(t, false)
	bad := func(n ...int) Report {
		r := Result{Vault: "disk", Status: "tampered", Severity: Alarm}
		for _, i := range n {
			name := fmt.Sprintf("packs/%02x/%064x.age", i, i)
			r.Alarms = append(r.Alarms, Finding{Kind: "tampered", Name: name, Text: "tampered: " + name + ": other bytes are on top"})
		}
		return Report{Command: "verify", Exit: 4, Code: "alarm", Results: []Result{r}}
	}
	if got := x.tell(0, bad(1)); got != KindProblem || x.last().Problems[0].Finding != "tampered" {
		t.Errorf("%q", got)
	}
	if got := x.tell(time.Minute, bad(1)); got != "" {
		t.Errorf("the same one: %q", got)
	}
	if got := x.tell(time.Minute, bad(2, 1)); got != KindProblem || len(x.last().Problems) != 2 {
		t.Errorf("another one: %q", got)
	}
	var many []int
	for i := range maxAlarms + 10 {
		many = append(many, i)
	}
	if got := x.tell(time.Minute, bad(many...)); got != KindProblem {
		t.Errorf("many: %q", got)
	}
	if got := x.tell(time.Minute, bad(many[9:]...)); got != "" {
		t.Errorf("others of many: %q, %+v", got, x.last())
	}
}

// TestItGetsWorse: more of the same damage is told at once, less of it is not.
func TestItGetsWorse(t *testing.T) {
	x := newTeller(t, false)
	lost := func(n int64) Report {
		return Report{Command: "verify", Exit: 5, Code: "damaged", Results: []Result{{Vault: "disk", Status: "damaged", Severity: Damage, Error: fmt.Sprintf("%d missing", n), Extent: n}}}
	}
	for i, s := range []struct {
		n    int64
		want Kind
	}{{1, KindProblem}, {1, ""}, {5, KindProblem}, {3, ""}, {5, ""}, {6, KindProblem}} {
		if got := x.tell(time.Minute, lost(s.n)); got != s.want {
			t.Errorf("step %d: %q instead of %q", i, got, s.want)
		}
	}
}
