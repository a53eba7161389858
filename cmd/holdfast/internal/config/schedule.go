package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

// schedules reads the part of a file that says when what is run.
type schedules struct{ *reader }

// read reads when what is run by itself. What it does not name keeps its default.
func (r schedules) read(n ast.Node) {
	t := &r.config.Schedule.Times
	usual := t.Run[0]
	nodes := map[schedule.When]ast.Node{} // where each time of a run stands
	var window ast.Node
	run := func(n ast.Node, what string) {
		w, ok := r.when(n, what, usual)
		if _, twice := nodes[w]; ok && twice {
			r.problem(n, "%s names a time that is there already", what)
		}
		if ok {
			t.Run, nodes[w] = append(t.Run, w), n
		}
	}
	seen := r.object(n, "schedule",
		field{"run", func(n ast.Node) {
			t.Run = nil
			if s, ok := n.(*ast.SequenceNode); ok {
				r.list(s, "schedule.run", func(i int, n ast.Node) { run(n, fmt.Sprintf("schedule.run[%d]", i)) })
				if len(s.Values) == 0 {
					r.problem(n, "schedule.run is empty; write never if nothing is to be run")
				}
				return
			}
			run(n, "schedule.run")
		}},
		r.rhythm("renew", &t.Renew, false),
		r.rhythm("verify", &t.Verify, false),
		r.rhythm("drill", &t.Drill, false),
		r.rhythm("report", &t.Report, false),
		r.rhythm("status", &t.Status, true),
		field{"window", func(n ast.Node) {
			window = n
			if s, ok := r.clock(n, "schedule.window"); ok {
				w, err := schedule.ParseWindow(s)
				if err != nil {
					r.problem(n, "schedule.window: %v", err)
				}
				t.Window = w
			}
		}},
	)
	r.config.Schedule.Named = slices.Sorted(maps.Keys(seen))
	for _, w := range t.Run {
		at := nodes[w]
		if at == nil {
			at = window
		}
		several := len(t.Run) > 1
		switch {
		case several && w.Every != schedule.Daily:
			r.problem(at, "schedule.run: several times have to be times of day, such as [\"02:30\", \"14:30\"]")
		case t.Window == (schedule.Window{}) || w.Every == schedule.Never:
		case w.Every == schedule.Hourly:
			r.problem(at, "schedule.run cannot be hourly with a window: name the hours, such as [\"02:00\", \"03:00\"]")
		case !t.Window.Holds(w.At):
			r.problem(at, "schedule.run is at %s, which is not within the window %s; name a time that is", w.At, t.Window)
		}
	}
}

// rhythm reads a rhythm of something that is done at most once a day, or once an hour.
func (r schedules) rhythm(name string, to *schedule.When, hourly bool) field {
	what := "schedule." + name
	return field{name, func(n ast.Node) {
		w, ok := r.when(n, what, *to)
		if !ok {
			return
		}
		if w.Every == schedule.Hourly && !hourly {
			r.problem(n, "%s cannot be hourly; at most daily", what)
		}
		*to = w
	}}
}

func (r schedules) when(n ast.Node, what string, usual schedule.When) (schedule.When, bool) {
	s, ok := r.clock(n, what)
	if !ok {
		return schedule.When{}, false
	}
	w, err := schedule.ParseWhen(s, usual)
	if err != nil {
		r.problem(n, "%s: %v", what, err)
	}
	return w, err == nil
}

// clock reads a text with a time in it, which YAML takes for a mapping in some places where it stands without quotes.
func (r schedules) clock(n ast.Node, what string) (string, bool) {
	if _, ok := mapping(n); ok {
		r.problem(n, "%s must be a text: put quotes around the time, such as \"02:30\"", what)
		return "", false
	}
	return r.text(n, what)
}
