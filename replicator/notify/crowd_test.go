package notify

import (
	"fmt"
	"testing"
	"time"
)

// looks is somebody who watches: each turn is a look an hour later.
type looks struct {
	now    time.Time
	memory *told
}

func newLooks() *looks { return &looks{noon, &told{Open: map[string]open{}}} }

func (l *looks) turn(err error, results ...Result) plan {
	r := &Report{Command: "watch", Ended: l.now, Results: append([]Result{{Vault: "disk", Severity: Well}, {Source: "site", Vault: "disk", Severity: Well}}, results...)}
	found := r.problems()
	p := l.memory.plan(r, found, false, l.now)
	l.memory.note(p, r, found, err, l.now)
	l.now = l.now.Add(time.Hour)
	return p
}

func watched(source, about string, s Severity) Result {
	return Result{Source: source, Vault: "disk", Severity: s, Status: "foreign", Error: "text of " + about, About: about}
}

// A problem that falls behind very many others is not over, and a message about all of them holds what is new.
func TestManyProblems(t *testing.T) {
	l := newLooks()
	last := watched("site", "zz", Alarm)
	l.turn(nil, last)
	var many []Result
	for i := range 300 {
		many = append(many, watched("", fmt.Sprint("junk", i), Damage))
	}
	if p := l.turn(nil, append(many, last)...); p.kind != KindProblem || len(p.recovered) != 0 || len(p.problems) != maxProblems {
		t.Errorf("%s, %d problems, over: %+v", p.kind, len(p.problems), p.recovered)
	}
	if p := l.turn(nil, append(many, last, watched("", "yy", Alarm))...); p.kind != KindProblem || len(p.problems) != maxProblems || !p.problems[0].New || p.problems[1].New {
		t.Errorf("%s, %d problems", p.kind, len(p.problems))
	}
	if p := l.turn(nil, append(many, last, watched("", "yy", Alarm))...); p.kind != "" {
		t.Errorf("%s", p.kind)
	}
}

// What happened has no end, and is forgotten once it was told; also of a source that nobody knows.
func TestEventsHaveNoEnd(t *testing.T) {
	l := newLooks()
	event := watched("made-up", "e", Alarm)
	event.Event = true
	if p := l.turn(nil, event); p.kind != KindProblem {
		t.Errorf("%+v", p)
	}
	if p := l.turn(nil, event); p.kind != "" {
		t.Errorf("%+v", p)
	}
	if p := l.turn(nil); p.kind != "" || len(p.recovered) != 0 || len(l.memory.Open) != 0 {
		t.Errorf("%+v, open %v", p, l.memory.Open)
	}
	// Somebody who looks once a day may meet it twice, and is told once.
	l.turn(nil, event)
	l.now = l.now.Add(22*time.Hour + 59*time.Minute)
	if p := l.turn(nil, event); p.kind != "" {
		t.Errorf("a day later: %+v", p)
	}
	l.turn(nil)
	// One that did not get there is told, though it is not found any more.
	l.turn(fmt.Errorf("down"), event)
	if p := l.turn(nil); p.kind != KindProblem || len(p.problems) != 1 || len(l.memory.Open) != 0 {
		t.Errorf("%+v, open %v", p, l.memory.Open)
	}
}

// Several that become many are not over, and more of many are told.
func TestSeveralBecomeMany(t *testing.T) {
	l := newLooks()
	one := func(about string) Result {
		x := watched("site", about, Alarm)
		x.Group = "foreign"
		return x
	}
	many := func(n int64) Result {
		x := one("many")
		x.Whole, x.Extent = true, n
		return x
	}
	l.turn(nil, one("a"), one("b"))
	if p := l.turn(nil, many(6)); p.kind != KindProblem || len(p.recovered) != 0 || len(l.memory.Open) != 1 {
		t.Errorf("%+v", p)
	}
	if p := l.turn(nil, many(5000)); p.kind != KindProblem {
		t.Errorf("%+v", p)
	}
	if p := l.turn(nil, one("a")); p.kind != KindProblem || len(p.recovered) != 0 {
		t.Errorf("%+v", p)
	}
	if p := l.turn(nil); p.kind != KindRecovered || len(p.recovered) != 1 {
		t.Errorf("%+v", p)
	}
}
