package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/metrics"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// lookJSON is one look, for scripts.
type lookJSON struct {
	At     string        `json:"at"`
	Status string        `json:"status"` // well, or the name of the exit code, such as behind
	Exit   int           `json:"exit_code"`
	Next   string        `json:"next,omitempty"` // when the next look is
	Vaults []watchedJSON `json:"vaults"`
}

type watchedJSON struct {
	Vault    string            `json:"vault"`
	Status   string            `json:"status"` // well, findings or unreadable
	First    bool              `json:"first"`  // nothing was remembered
	Sources  []watchedSource   `json:"sources"`
	Findings []lookFindingJSON `json:"findings"`
	Over     []lookFindingJSON `json:"over"`
	Known    int               `json:"known"`    // foreign things that were told before
	Points   int               `json:"points"`   // that are remembered
	Requests int64             `json:"requests"` // of this look, tries included
	Seconds  float64           `json:"seconds"`
}

type watchedSource struct {
	Source    string `json:"source"`
	Point     string `json:"point"` // the newest complete one; empty: none
	TakenAt   string `json:"taken_at"`
	Age       *int64 `json:"age_seconds"` // null without a point
	Protected string `json:"protected_until"`
}

type lookFindingJSON struct {
	Kind   watch.Kind `json:"kind"`
	Source string     `json:"source,omitempty"`
	Text   string     `json:"text"`
	Since  string     `json:"since"`
	New    bool       `json:"new"`
	Event  bool       `json:"event"` // it happened: it is no state that could end
}

func findingsOf(all []watch.Finding) []lookFindingJSON {
	out := []lookFindingJSON{}
	for _, f := range all {
		out = append(out, lookFindingJSON{f.Kind, f.Source, f.Text, moment(format.At(f.Since)), f.New, f.Event})
	}
	return out
}

// print says what a look came to: with --json all of it; else what is new and what is over, and of the first look all. With --once the findings are
// what the command ends with, and stand on standard error.
func (w *watching) print(ctx context.Context, began time.Time, all []watched, err error) error {
	if w.ui.json {
		return w.ui.object(w.json(ctx, began, all, err))
	}
	for _, v := range all {
		if w.looks == 1 {
			if err := w.ui.text(v.summary()); err != nil {
				return err
			}
		}
		for _, f := range v.report.Findings {
			if (f.New || w.looks == 1) && !w.flags.once {
				if err := w.ui.text(v.line(began, f, "")); err != nil {
					return err
				}
			}
		}
		for _, f := range v.report.Over {
			if err := w.ui.text(v.line(began, f, "over: ")); err != nil {
				return err
			}
		}
	}
	if w.looks == 1 {
		w.notices.warnFailing()
	}
	return nil
}

// summary says in one line how a vault stands.
func (v watched) summary() string {
	out := "vault " + safe(v.name) + ": well"
	switch n := len(v.report.Findings); {
	case !v.complete:
		out = "vault " + safe(v.name) + ": cannot be looked at"
	case n > 0:
		out = fmt.Sprintf("vault %s: %s", safe(v.name), plural(n, "finding", "findings"))
	}
	var parts []string
	for _, s := range v.report.Sources {
		switch {
		case s.Point == nil:
			parts = append(parts, s.Name+" has no complete point")
		default:
			parts = append(parts, fmt.Sprintf("%s is %s old", s.Name, ago(s.Age)))
		}
	}
	if v.report.Known > 0 {
		parts = append(parts, fmt.Sprintf("%s told before (`holdfast status` names them)", plural(v.report.Known, "foreign thing", "foreign things")))
	}
	if len(parts) > 0 {
		out += "; " + strings.Join(parts, ", ")
	}
	return out
}

// line is one finding for people.
func (v watched) line(at time.Time, f watch.Finding, over string) string {
	where := "vault " + safe(v.name)
	if f.Source != "" {
		where += ", source " + f.Source
	}
	return fmt.Sprintf("%s %s: %s%s: %s", at.UTC().Format(time.RFC3339), where, over, f.Kind, printable(f.Text))
}

func (w *watching) json(ctx context.Context, began time.Time, all []watched, err error) lookJSON {
	code, name := exitOf(ctx, err)
	out := lookJSON{At: moment(format.At(began)), Status: name, Exit: code, Vaults: []watchedJSON{}}
	if code == exitDone {
		out.Status = "well"
	}
	if !w.flags.once {
		out.Next = moment(format.At(began.Add(w.every)))
	}
	for _, v := range all {
		j := watchedJSON{
			Vault: v.name, Status: "well", First: v.report.First, Sources: []watchedSource{}, Findings: findingsOf(v.report.Findings), Over: findingsOf(v.report.Over),
			Known: v.report.Known, Points: v.points, Requests: v.asked, Seconds: roundSeconds(v.took.Seconds()),
		}
		switch {
		case !v.complete:
			j.Status = "unreadable"
		case len(j.Findings) > 0:
			j.Status = "findings"
		}
		for _, s := range v.report.Sources {
			x := watchedSource{Source: s.Name}
			if s.Point != nil {
				age := int64(s.Age / time.Second)
				x.Point, x.TakenAt, x.Age = s.Point.ID.String(), moment(s.Point.Line.TakenAt), &age
			}
			if s.Mode != store.ModeNone {
				x.Protected = moment(format.At(s.Protected))
			}
			j.Sources = append(j.Sources, x)
		}
		out.Vaults = append(out.Vaults, j)
	}
	return out
}

// watched takes what a look at a vault came to: how its sources stand, and each finding by itself, so that each has its own beginning and end.
func (n *taking) watched(v watched, at time.Time) {
	if n.command == "" {
		return
	}
	n.results = append(n.results, notify.Result{
		Vault: v.name, Status: "looked at", Severity: notify.Well, Seconds: v.took.Round(time.Millisecond).Seconds(),
		Counts: map[string]int64{"points": int64(v.points), "requests": v.asked, "findings": int64(len(v.report.Findings)), "known": int64(v.report.Known)},
	})
	sources := map[string]bool{}
	for _, s := range v.report.Sources {
		r := notify.Result{Source: s.Name, Vault: v.name, Status: "looked at", Severity: notify.Well}
		var taken, kept time.Time
		if s.Point != nil {
			r.Point, taken, kept = s.Point.ID.String(), s.Point.Line.TakenAt.Time, s.Point.Line.RetainUntil.Time
		}
		n.results, sources[s.Name] = append(n.results, r), true
		n.point(metrics.Labels{"source": s.Name, "vault": v.name}, taken, kept, s.Protected)
	}
	for _, f := range v.report.Over { // of a source that is not there any more
		if f.Source != "" && !sources[f.Source] {
			n.results, sources[f.Source] = append(n.results, notify.Result{Source: f.Source, Vault: v.name, Status: "looked at", Severity: notify.Well}), true
		}
	}
	for _, f := range v.report.Findings {
		severity, _ := severityOf(findingComesTo(v.name, f))
		n.results = append(n.results, notify.Result{
			Source: f.Source, Vault: v.name, Status: string(f.Kind), Severity: severity, Code: string(f.Kind), About: f.ID, Error: f.Text,
			Extent: int64(f.Count), Event: f.Event, Group: string(f.Kind), Whole: f.Many,
		})
	}
	labels := metrics.Labels{"vault": v.name}
	if v.complete {
		n.measures.sample("watch_timestamp_seconds", labels, metrics.Seconds(at))
	}
	n.measures.sample("watch_findings", labels, float64(len(v.report.Findings)))
}

// defaultRuns is when runs are made where nothing says when.
func defaultRuns() []schedule.When { return schedule.DefaultTimes().Run }
