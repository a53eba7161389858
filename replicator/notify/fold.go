package notify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// plan is what one receiver is to be told of a report.
type plan struct {
	kind      Kind // empty: nothing
	severity  Severity
	held      bool // there was too much within the hour
	problems  []Problem
	recovered []Problem
}

// weeklyCommand is the command that says that all is well.
const weeklyCommand = "run"

// plan holds what was found against what the receiver knows. Problems that are new are told at once; known ones with them, or
// alone once a day; those that are over once. weekly: all that is well is told once a week.
func (t *told) plan(r *Report, found []keyed, weekly bool, now time.Time) plan {
	p := plan{severity: OfExit(r.Exit)}
	news, due := false, false
	for _, f := range found {
		was, known := t.Open[f.key]
		q := f.Problem
		waits := known && was.Told.IsZero()
		if known && !q.fresh {
			q.Since = at(was.Since)
			if q.old && waits && was.Text != q.Text { // what was found, and did not get there, was not found again
				q.Text = was.Text + "\n" + q.Text
			}
		}
		if was.Repeats > 0 && !q.fresh {
			q.Repeats = was.Repeats + 1
		}
		q.New = q.fresh || waits || !known && !q.old || q.extent > was.Extent
		news = news || q.New || !known
		if !f.event || waits { // what happened and was told does not happen again a day later
			due = due || now.Sub(was.Told) >= again || was.Told.After(now)
		}
		p.severity = worse(p.severity, q.Severity)
		p.problems = append(p.problems, q)
	}
	for _, key := range slices.Sorted(maps.Keys(t.Open)) {
		switch o := t.Open[key]; {
		case has(found, key):
		case o.Event: // it has no end to tell, but it has to be told
			if o.Told.IsZero() && r.looked(o) {
				q := o.problem()
				q.New, news = true, true
				p.severity = worse(p.severity, q.Severity)
				p.problems = append(p.problems, q)
			}
		case r.covers(o) && !slices.ContainsFunc(found, o.beside):
			p.recovered = append(p.recovered, o.problem())
		}
	}
	switch {
	case news:
		p.kind = KindProblem
	case due:
		p.kind = KindStill
	case len(p.recovered) > 0:
		p.kind = KindRecovered
	case weekly && r.Command == weeklyCommand && r.Exit == 0 && len(t.Open) == 0 && (now.Sub(t.Weekly) >= week || t.Weekly.After(now)):
		p.kind = KindWell
	}
	if p.kind != "" && p.kind != KindWell && len(t.Sent) >= burst {
		p.held = slices.ContainsFunc(t.Sent, func(s sent) bool { return s.Severity == p.severity })
	}
	p.cut()
	return p
}

// cut leaves of what is told as much as a message holds, and says how much there was. What is new goes before what was told.
func (p *plan) cut() {
	p.problems, p.recovered = first(p.problems, "problems; what is new and the worst of them stand here"), first(p.recovered, "problems that are over")
}

// first are the problems that a message holds.
func first(all []Problem, what string) []Problem {
	n := len(all)
	if n <= maxProblems {
		return all
	}
	slices.SortStableFunc(all, func(a, b Problem) int {
		return cmp.Or(btoi(b.New)-btoi(a.New), b.Severity.rank()-a.Severity.rank())
	})
	all = all[:maxProblems]
	last := &all[maxProblems-1]
	last.Text = fmt.Sprintf("%s\nThere are %d %s.", cut(last.Text, maxText), n, what)
	return all
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func has(found []keyed, key string) bool {
	return slices.ContainsFunc(found, func(f keyed) bool { return f.key == key })
}

// beside reports whether a problem that was found stands in the place of this one: then this one has changed and is not over. So it is
// with several that are told one by one, or all in one.
func (o open) beside(f keyed) bool {
	return f.Command == o.Command && f.Source == o.Source && (f.Vault == o.Vault || f.Vault == "" || o.Vault == "") && f.scope == o.Scope &&
		(f.about == o.About || o.Group != "" && f.group == o.Group && (f.whole || o.Whole))
}

func (o open) problem() Problem {
	return Problem{Command: o.Command, Source: o.Source, Vault: o.Vault, Severity: o.Severity, Code: o.Code, Finding: o.Finding, Text: o.Text, Since: at(o.Since)}
}

// maxOpen bounds what is remembered for a receiver.
const maxOpen = 1000

// found is what is remembered of a problem that was found; reached: it was told.
func (t *told) found(f keyed, reached bool, now time.Time) open {
	o, known := t.Open[f.key]
	if !known {
		o = open{Command: f.Command, Scope: f.scope, About: f.about, Source: f.Source, Vault: f.Vault, Severity: f.Severity, Code: f.Code, Since: now}
		if since, err := time.Parse(time.RFC3339, f.Since); err == nil && f.old {
			o.Since = since
		}
	}
	waits := known && o.Told.IsZero()
	switch {
	case waits && !reached && f.old: // what waits to be told is what was found
	case waits && !reached && f.fresh:
		o.Text = cut(o.Text+"\n"+f.Text, maxText)
	default:
		o.Text, o.Finding = f.Text, f.Finding
	}
	o.Seen, o.Event, o.Group, o.Whole = now, f.event, f.group, f.whole
	if !f.fresh {
		o.Repeats++
	}
	switch {
	case reached:
		o.Told, o.Extent, o.Repeats = now, f.extent, 0
	case f.fresh || f.extent > o.Extent:
		o.Told = time.Time{}
	}
	return o
}

// note remembers what came of a plan: err is why a message did not get there.
func (t *told) note(p plan, r *Report, found []keyed, err error, now time.Time) {
	reached := p.kind != "" && !p.held && err == nil
	for _, f := range found {
		t.Open[f.key] = t.found(f, reached, now)
	}
	for key, o := range t.Open {
		// What is over is forgotten once that was told; what has changed, at once; what happened, once it was told itself.
		if o.Event {
			if r.looked(o) && !has(found, key) && (reached || !o.Told.IsZero()) {
				delete(t.Open, key)
			}
			continue
		}
		if r.covers(o) && !has(found, key) && (reached || slices.ContainsFunc(found, o.beside)) {
			delete(t.Open, key)
		}
	}
	if n := len(t.Open) - maxOpen; n > 0 {
		keys := slices.SortedFunc(maps.Keys(t.Open), func(a, b string) int {
			return cmp.Or(t.Open[a].Seen.Compare(t.Open[b].Seen), cmp.Compare(a, b))
		})
		for _, key := range keys[:n] {
			delete(t.Open, key)
		}
	}
	switch {
	case p.kind == "":
	case p.held:
		t.Held++
	default:
		t.delivery(err, now)
		if err == nil {
			t.Sent, t.Held = append(t.Sent, sent{now, p.severity}), 0
			if p.kind == KindWell {
				t.Weekly = now
			}
		}
	}
}

// delivery remembers whether something got there.
func (t *told) delivery(err error, now time.Time) {
	if err == nil {
		t.Failing, t.Error, t.Last = time.Time{}, "", now
		return
	}
	if t.Failing.IsZero() || t.Failing.After(now) {
		t.Failing = now
	}
	t.Error = err.Error()
}

// pending lists what is not over, what was not told first, then the newest.
func (t *told) pending() (out []Pending) {
	for _, o := range t.Open {
		p := Pending{o.problem(), o.Told}
		if p.New = o.Told.IsZero(); o.Repeats > 1 {
			p.Repeats = o.Repeats
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b Pending) int {
		return cmp.Or(a.Told.Compare(b.Told), cmp.Compare(b.Since, a.Since), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Vault, b.Vault), cmp.Compare(a.Text, b.Text))
	})
	return out
}
