package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// mailbox is a receiver that keeps what it gets, or takes nothing.
type mailbox struct {
	got  []*Message
	down error
}

func (m *mailbox) Name() string { return "webhook hooks.example.com" }

func (m *mailbox) Send(ctx context.Context, x *Message) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if m.down == nil {
		m.got = append(m.got, x)
	}
	return m.down
}

// teller is a notifier with one receiver and a clock that the test sets.
type teller struct {
	t    *testing.T
	box  *mailbox
	now  time.Time
	o    Options
	fail []Failure // of the last report
}

func newTeller(t *testing.T, weekly bool) *teller {
	x := &teller{t: t, box: &mailbox{}, now: noon}
	x.o = Options{
		Memory: filepath.Join(t.TempDir(), "memory"), Host: "web-1", Program: "holdfast/test", Now: func() time.Time { return x.now },
		Subscribers: []Subscriber{{Receiver: x.box, ID: "a", On: []string{"run", "verify"}, Weekly: weekly}},
	}
	return x
}

// tell ends a command after some time, and gives the kind of the message that came of it.
func (x *teller) tell(after time.Duration, r Report) Kind {
	x.t.Helper()
	x.now = x.now.Add(after)
	r.Began, r.Ended = x.now.Add(-time.Minute), x.now
	had := len(x.box.got)
	var err error
	if x.fail, err = New(x.o).End(x.t.Context(), r); err != nil {
		x.t.Fatal(err)
	}
	switch n := len(x.box.got) - had; n {
	case 0:
		return ""
	case 1:
		return x.last().Kind
	default:
		x.t.Fatalf("%d messages", n)
	}
	return ""
}

func (x *teller) last() *Message { return x.box.got[len(x.box.got)-1] }

func result(source, vault string, s Severity, code string, alarms ...string) Result {
	r := Result{Source: source, Vault: vault, Status: string(s), Severity: s, Code: code, Error: code}
	for _, text := range alarms {
		r.Alarms = append(r.Alarms, Finding{Text: text})
	}
	return r
}

func run(exit int, code string, results ...Result) Report {
	return Report{Command: "run", Exit: exit, Code: code, Results: results, Errors: []string{code}}
}

var (
	fine    = run(0, "", result("site", "disk", Well, ""))
	away    = run(1, "unreachable", result("site", "disk", Failed, "unreachable"))
	denied  = run(1, "denied", result("site", "disk", Failed, "denied"))
	partial = run(3, "incomplete", result("site", "disk", Incomplete, "incomplete"))
)

func emptied(point string) Report {
	return run(4, "emptied", result("site", "disk", Well, "", "the newest point, "+point+" of 2026-11-30T02:41:10Z, found nothing"))
}

// TestFolding: a new problem at once, the same one once a day, its end once.
func TestFolding(t *testing.T) {
	const day, hour = 24 * time.Hour, time.Hour
	type step struct {
		after time.Duration
		r     Report
		want  Kind
	}
	for name, steps := range map[string][]step{
		"all is well":               {{0, fine, ""}, {day, fine, ""}},
		"at once, and over":         {{0, away, KindProblem}, {hour, fine, KindRecovered}, {hour, fine, ""}},
		"again after a day":         {{0, away, KindProblem}, {hour, away, ""}, {10 * hour, away, ""}, {11 * hour, away, KindStill}, {hour, away, ""}},
		"a daily run that is early": {{0, away, KindProblem}, {day - 20*time.Minute, away, KindStill}},
		"it changes":                {{0, away, KindProblem}, {hour, denied, KindProblem}, {hour, denied, ""}, {hour, fine, KindRecovered}},
		"it gets better":            {{0, away, KindProblem}, {hour, partial, KindProblem}, {hour, fine, KindRecovered}},
		"the same in other words":   {{0, emptied("c4ae021af458"), KindProblem}, {hour, emptied("0123456789ab"), ""}, {hour, fine, KindRecovered}},
		"a second one": {
			{0, away, KindProblem}, {hour, run(1, "unreachable", result("site", "disk", Failed, "unreachable"), result("db", "disk", Failed, "unreachable")), KindProblem},
			{hour, run(1, "unreachable", result("site", "disk", Failed, "unreachable"), result("db", "disk", Well, "")), KindRecovered}, {hour, run(0, "", result("site", "disk", Well, ""), result("db", "disk", Well, "")), KindRecovered},
		},
		"another source's run says nothing of it": {{0, away, KindProblem}, {hour, run(0, "", result("db", "disk", Well, "")), ""}, {hour, fine, KindRecovered}},
		"another vault's neither":                 {{0, away, KindProblem}, {hour, run(0, "", result("site", "other", Well, "")), ""}, {hour, fine, KindRecovered}},
		"another command neither":                 {{0, away, KindProblem}, {hour, Report{Command: "verify", Results: []Result{{Vault: "disk", Severity: Well}}}, ""}, {hour, fine, KindRecovered}},
		"before anything was looked at":           {{0, run(2, "host_key"), KindProblem}, {hour, run(2, "host_key"), ""}, {hour, fine, KindRecovered}},
		"a run that ended early covers nothing":   {{0, away, KindProblem}, {hour, run(143, "terminated"), KindProblem}, {hour, fine, KindRecovered}},
		"nobody wants to know":                    {{0, Report{Command: "drill", Exit: 5, Code: "unprotected"}, ""}},
		"the clock was set back":                  {{0, away, KindProblem}, {-48 * hour, away, KindStill}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTeller(t, false)
			for i, s := range steps {
				if got := x.tell(s.after, s.r); got != s.want {
					t.Errorf("step %d: %q instead of %q", i, got, s.want)
				}
			}
		})
	}
}

// TestSignals: a command that is stopped tells so.
func TestSignals(t *testing.T) {
	x := newTeller(t, false)
	ctx, cancel := context.WithCancel(t.Context())
	n := New(x.o)
	n.Begin(ctx, "run")
	cancel()
	if failures, err := n.End(ctx, run(143, "terminated")); err != nil || len(failures) != 0 || len(x.box.got) != 1 || x.last().Severity != Stopped {
		t.Errorf("%v, %v, %d messages", failures, err, len(x.box.got))
	}
}

// TestWhatAMessageSays: all that is not well, what of it is new, and what is over.
func TestWhatAMessageSays(t *testing.T) {
	x := newTeller(t, false)
	x.tell(0, away)
	x.tell(time.Hour, run(5, "damaged", result("site", "disk", Failed, "unreachable"), result("db", "disk", Damage, "damaged", "tampered: packs/ab/cd")))
	m := x.last()
	if m.Severity != Damage || len(m.Problems) != 3 || m.Problems[0].Severity != Damage || !m.Problems[0].New || m.ExitCode == nil || *m.ExitCode != 5 {
		t.Errorf("%+v", m)
	}
	i := slices.IndexFunc(m.Problems, func(p Problem) bool { return p.Source == "site" })
	if p := m.Problems[i]; p.New || p.Since != at(noon) {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{"New:\n- source db, vault disk: damage (damaged)", "Still:\n- source site, vault disk: failed (unreachable): unreachable (since 2026-11-30T12:00:00Z)", "exit code 5 (damaged)"} {
		if !strings.Contains(m.Text, want) {
			t.Errorf("%q is not in\n%s", want, m.Text)
		}
	}
	x.tell(time.Hour, run(0, "", result("site", "disk", Well, ""), result("db", "disk", Well, "")))
	if m := x.last(); len(m.Recovered) != 3 || m.Severity != Well || m.Title != "Holdfast on web-1: run is well again" || !strings.Contains(m.Text, "Over:\n- ") {
		t.Errorf("%+v", m)
	}
}

// TestBursts: what comes too often within an hour is held back and told later; what is of another severity never waits.
func TestBursts(t *testing.T) {
	x := newTeller(t, false)
	codes := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i"}
	failing := func(code string) Report { return run(1, code, result("site", "disk", Failed, code)) }
	for i, code := range codes {
		want := KindProblem
		if i >= burst {
			want = ""
		}
		if got := x.tell(time.Minute, failing(code)); got != want {
			t.Errorf("message %d: %q instead of %q", i, got, want)
		}
	}
	if got := x.tell(time.Minute, emptied("1")); got != KindProblem || x.last().Folded != len(codes)-burst {
		t.Errorf("another severity: %q, %+v", got, x.last())
	}
	if got := x.tell(time.Minute, failing("z")); got != "" {
		t.Errorf("still within the hour: %q", got)
	}
	if s := New(x.o).Standings()[0]; s.Held != 1 || len(s.Open) != 1 || !s.Open[0].Told.IsZero() || s.Open[0].Line() != "source site, vault disk: failed (z): z" {
		t.Errorf("%+v", s)
	}
	if got := x.tell(time.Hour, failing("z")); got != KindProblem || x.last().Folded != 1 || !x.last().Problems[0].New {
		t.Errorf("what was held is not told later: %q", got)
	}
}

// TestNothingGetsLost: what did not get there is told with the next command, also where it is over by then.
func TestNothingGetsLost(t *testing.T) {
	x := newTeller(t, false)
	x.box.down = errors.New("connection refused")
	if x.tell(0, away); len(x.fail) != 1 || x.fail[0].Receiver != "webhook hooks.example.com" || !x.fail[0].Since.Equal(noon) {
		t.Errorf("%+v", x.fail)
	}
	if x.tell(time.Hour, away); len(x.fail) != 1 || !x.fail[0].Since.Equal(noon) {
		t.Errorf("%+v", x.fail)
	}
	if s := New(x.o).Standings(); len(s) != 1 || !s[0].Failing.Equal(noon) || s[0].Error != "connection refused" || !s[0].Last.IsZero() {
		t.Errorf("%+v", s)
	}
	x.box.down = nil
	if got := x.tell(time.Hour, away); got != KindProblem || len(x.last().Undelivered) != 1 || !strings.Contains(x.last().Text, "gets no messages since "+at(noon)) {
		t.Errorf("%q", got)
	}
	if s := New(x.o).Standings(); !s[0].Failing.IsZero() || !s[0].Last.Equal(x.now) {
		t.Errorf("%+v", s)
	}
	x.tell(time.Hour, fine)
	x.box.down = errors.New("connection refused")
	x.tell(time.Hour, denied)
	x.box.down = nil
	if got := x.tell(time.Hour, fine); got != KindRecovered || x.last().Recovered[0].Code != "denied" {
		t.Errorf("what was never told, and is over: %q", got)
	}
}

// TestWeekly: once a week, by a run that is well, and never while something is not.
func TestWeekly(t *testing.T) {
	const day = 24 * time.Hour
	x := newTeller(t, true)
	for i, s := range []struct {
		after time.Duration
		r     Report
		want  Kind
	}{
		{0, Report{Command: "verify", Results: []Result{{Vault: "disk", Severity: Well}}}, ""}, {0, fine, KindWell}, {day, fine, ""}, {6*day - 10*time.Minute, fine, KindWell}, {day, fine, ""},
		{6 * day, away, KindProblem}, {time.Hour, run(0, "", result("db", "disk", Well, "")), ""}, {time.Hour, fine, KindRecovered}, {day, fine, KindWell},
	} {
		if got := x.tell(s.after, s.r); got != s.want {
			t.Errorf("step %d: %q instead of %q", i, got, s.want)
		}
	}
}

// TestMemory: without it everything is told; one that cannot be read is said so, and begun anew.
func TestMemory(t *testing.T) {
	x := newTeller(t, false)
	memory := x.o.Memory
	x.o.Memory = ""
	for range 2 {
		if got := x.tell(time.Minute, away); got != KindProblem {
			t.Errorf("without memory: %q", got)
		}
	}
	x.o.Memory = memory
	x.tell(time.Minute, away)
	for _, junk := range []string{"{", `{"version":7}`, strings.Repeat(" ", maxMemory+1)} {
		if err := os.WriteFile(filepath.Join(memory, memoryFile), []byte(junk), 0o600); err != nil {
			t.Fatal(err)
		}
		had := len(x.box.got)
		r := away
		r.Ended = x.now
		if _, err := New(x.o).End(t.Context(), r); err == nil || !strings.Contains(err.Error(), "told again") || len(x.box.got) != had+1 {
			t.Errorf("%.20q: %v, %d messages", junk, err, len(x.box.got)-had)
		}
		if got := x.tell(time.Minute, away); got != "" {
			t.Errorf("not begun anew after %.20q: %q", junk, got)
		}
	}
	if err := os.RemoveAll(memory); err != nil {
		t.Fatal(err)
	}
	if got := x.tell(time.Minute, away); got != KindProblem {
		t.Errorf("after the memory was deleted: %q", got)
	}
}

// TestMemoryStaysSmall whatever is told.
func TestMemoryStaysSmall(t *testing.T) {
	x := newTeller(t, false)
	for i := range 30 {
		var results []Result
		for j := range maxProblems {
			results = append(results, result("site", fmt.Sprintf("v%d-%d", i, j), Failed, "unreachable"))
		}
		x.tell(2*time.Hour, run(1, "vault", results...))
	}
	m, err := readMemory(x.o.Memory)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Receivers["a"].Open); n > maxOpen {
		t.Errorf("%d problems are remembered", n)
	}
	x.tell(forgotten+time.Hour, fine)
	if m, err = readMemory(x.o.Memory); err != nil || len(m.Receivers["a"].Open) != 0 {
		t.Errorf("old problems are not forgotten: %v", err)
	}
}

// TestUnitFailed: told once a day, and not where the command told what it came to.
func TestUnitFailed(t *testing.T) {
	x := newTeller(t, false)
	told := func(after time.Duration, invocation string) bool {
		x.now = x.now.Add(after)
		told, failures, err := New(x.o).UnitFailed(t.Context(), Unit{Name: "holdfast.service", Result: "oom-kill", ExitCode: "killed", ExitStatus: "KILL"}, invocation)
		if err != nil || len(failures) > 0 && x.box.down == nil {
			t.Fatalf("%v, %v", failures, err)
		}
		return told
	}
	r := away
	r.Invocation = "1111"
	x.tell(0, r)
	if told(time.Minute, "1111") {
		t.Error("told by both")
	}
	r = run(0, "", result("db", "disk", Well, ""))
	r.Invocation = "0000" // a unit of several commands, of which the first one is well
	x.tell(time.Minute, r)
	if _, err := os.Stat(x.o.Memory); err != nil {
		t.Fatal(err)
	}
	if m, err := readMemory(x.o.Memory); err != nil || slices.Contains(m.Invocations, "0000") || !slices.Contains(m.Invocations, "1111") {
		t.Errorf("%v, %v", m.Invocations, err)
	}
	x.box.down = errors.New("refused")
	r = denied
	r.Invocation = "2222"
	x.tell(time.Minute, r)
	x.box.down = nil
	if !told(time.Minute, "2222") {
		t.Error("what the command could not deliver is not told")
	}
	if m := x.last(); m.Kind != KindUnitFailed || m.Title != "Holdfast on web-1: unit holdfast.service failed (oom-kill, killed KILL)" || m.ExitCode != nil {
		t.Errorf("%+v", m)
	}
	if told(time.Hour, "3333") || told(time.Hour, "") {
		t.Error("told twice within a day")
	}
	if !told(24*time.Hour, "") {
		t.Error("not told after a day")
	}
	x.box.down = errors.New("refused")
	told(24*time.Hour, "")
	x.box.down = nil
	if !told(time.Hour, "") {
		t.Error("what did not get there is not told again")
	}
}

// Several things that are wrong with one source at once begin and end each by itself.
func TestSeveralOfOneSource(t *testing.T) {
	now := time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	report := func(about ...string) *Report {
		r := &Report{Command: "watch", Ended: now, Results: []Result{{Source: "site", Vault: "disk", Severity: Well}}}
		for _, a := range about {
			r.Results = append(r.Results, Result{Source: "site", Vault: "disk", Severity: Alarm, Status: "foreign", Error: "text of " + a, About: a})
		}
		return r
	}
	memory := &told{Open: map[string]open{}}
	turn := func(about ...string) plan {
		r := report(about...)
		found := r.problems()
		p := memory.plan(r, found, false, now)
		memory.note(p, r, found, nil, now)
		now = now.Add(time.Hour)
		return p
	}
	if p := turn("a", "b"); p.kind != KindProblem || len(p.problems) != 2 {
		t.Errorf("%+v", p)
	}
	if p := turn("b"); p.kind != KindRecovered || len(p.recovered) != 1 || p.recovered[0].Text != "text of a" {
		t.Errorf("%+v", p)
	}
	if p := turn("b", "c"); p.kind != KindProblem || p.problems[0].New == p.problems[1].New {
		t.Errorf("%+v", p)
	}
	if p := turn("b", "c"); p.kind != "" {
		t.Errorf("%+v", p)
	}
}
