package watch

import (
	"cmp"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

// Hours are those of a day in which runs store something. The zero value is all of them.
type Hours struct {
	Window schedule.Window
	Zone   *time.Location // of its clock; nil: UTC
}

// local is a time by the clock of the hours.
func (h Hours) local(t time.Time) time.Time { return t.In(cmp.Or(h.Zone, time.UTC)) }

// hold reports whether something may be stored at a time.
func (h Hours) hold(t time.Time) bool {
	at := h.local(t)
	return h.Window.Holds(schedule.Clock(60*at.Hour() + at.Minute()))
}

// clock writes a time by the clock of the hours.
func (h Hours) clock(t time.Time) string { return h.local(t).Format("2006-01-02 15:04 MST") }

// String is the hours as they are written.
func (h Hours) String() string { return h.Window.String() }

// RunHours are the hours that follow from the window in which runs begin: a run that began may store for some hours more.
func RunHours(begin schedule.Window) schedule.Window {
	const run, day = 6 * 60, 24 * 60
	if begin == (schedule.Window{}) || (begin.To-begin.From+day)%day >= day-run {
		return schedule.Window{}
	}
	return schedule.Window{From: begin.From, To: (begin.To + run) % day}
}

// Allowed is how old a newest complete point gets at most where the job runs by a schedule: from one run to the next, and a
// quarter more for how long runs take, and how long that differs, but 2 hours at least and 12 at most. It is 0 where nothing is run.
func Allowed(runs []schedule.When) time.Duration {
	var between time.Duration
	switch {
	case len(runs) == 0 || runs[0].Every == schedule.Never:
		return 0
	case runs[0].Every == schedule.Hourly:
		between = time.Hour
	case runs[0].Every == schedule.Weekly:
		between = 7 * 24 * time.Hour
	case runs[0].Every == schedule.Monthly:
		between = 31 * 24 * time.Hour
	default:
		between = longest(runs)
	}
	return between + min(max(between/4, 2*time.Hour), 12*time.Hour)
}

// longest is the longest time between two of several times of day.
func longest(runs []schedule.When) time.Duration {
	const day = 24 * 60
	most := schedule.Clock(0)
	for _, a := range runs {
		next := schedule.Clock(day)
		for _, b := range runs {
			if d := (b.At - a.At + day) % day; d > 0 {
				next = min(next, d)
			}
		}
		most = max(most, next)
	}
	return time.Duration(most) * time.Minute
}
