package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Every is how often something is run.
type Every int

// From never to once an hour.
const (
	Never Every = iota
	Monthly
	Weekly
	Daily
	Hourly
)

// Clock is a time of day in minutes since midnight.
type Clock int

// String is the time as HH:MM.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", c/60, c%60) }

// day is how many minutes a day has.
const day = 24 * 60

// When is when something is run, by the clock of the machine that runs it. The zero value is never.
type When struct {
	Every Every
	Day   time.Weekday // of Weekly
	At    Clock        // not of Hourly, which is at each full hour; of Monthly on the first of the month
}

// Whens is what a rhythm can be, for messages.
const Whens = "never, hourly, daily, weekly, monthly, a time such as 02:30, or a weekday and a time such as sun 04:30"

// ParseWhen reads a rhythm. What the text does not name is as in usual: the weekday and the time of day.
func ParseWhen(text string, usual When) (When, error) {
	words := strings.Fields(strings.ToLower(text))
	if len(words) == 0 || len(words) > 2 {
		return When{}, fmt.Errorf("%q is no rhythm; write %s", clip(text), Whens)
	}
	w := When{Every: Daily, Day: usual.Day, At: usual.At}
	if every, ok := rhythms()[words[0]]; ok {
		w.Every = every
	} else if d, ok := weekday(words[0]); ok {
		w.Every, w.Day = Weekly, d
	} else if strings.ContainsAny(words[0], "0123456789") && len(words) == 1 {
		words = append(words, words[0])
	} else {
		return When{}, fmt.Errorf("%q is no rhythm; write %s", clip(text), Whens)
	}
	if len(words) == 1 {
		return w.plain(), nil
	}
	if w.Every == Never || w.Every == Hourly {
		return When{}, fmt.Errorf("%q: %s takes no time of day", clip(text), words[0])
	}
	var err error
	w.At, err = ParseClock(words[1])
	return w.plain(), err
}

// plain drops what a rhythm has no use for, so that equal ones compare equal.
func (w When) plain() When {
	switch w.Every {
	case Never, Hourly:
		return When{Every: w.Every}
	case Weekly:
		return w
	}
	w.Day = 0
	return w
}

// String is the rhythm as ParseWhen reads it.
func (w When) String() string {
	switch w.Every {
	case Never:
		return "never"
	case Hourly:
		return "hourly"
	case Monthly:
		return "monthly " + w.At.String()
	case Weekly:
		return strings.ToLower(w.Day.String()[:3]) + " " + w.At.String()
	}
	return w.At.String()
}

func rhythms() map[string]Every {
	return map[string]Every{"never": Never, "hourly": Hourly, "daily": Daily, "weekly": Weekly, "monthly": Monthly}
}

func weekday(word string) (time.Weekday, bool) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		name := strings.ToLower(d.String())
		if word == name || word == name[:3] {
			return d, true
		}
	}
	return 0, false
}

// ParseClock reads a time of day, such as 02:30.
func ParseClock(text string) (Clock, error) {
	h, m, ok := strings.Cut(text, ":")
	hour, minute := digits(h), digits(m)
	if !ok || len(m) != 2 || hour < 0 || hour > 23 || minute < 0 || minute > 59 {
		return 0, fmt.Errorf("%q is no time of day; write one from 00:00 to 23:59", clip(text))
	}
	return Clock(60*hour + minute), nil
}

// digits reads one or two digits; -1 for anything else.
func digits(s string) int {
	if len(s) < 1 || len(s) > 2 {
		return -1
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// Window is the part of a day in which runs may begin; it may go over midnight. The zero value is all of it.
type Window struct{ From, To Clock }

// ErrNoWindow is a part of a day that has no length.
var ErrNoWindow = errors.New("it begins and ends at the same time; leave it out if runs may begin at any time")

// ParseWindow reads a part of a day, such as 02:00-06:00.
func ParseWindow(text string) (Window, error) {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return Window{}, fmt.Errorf("%q is no part of a day; write two times such as 02:00-06:00", clip(text))
	}
	f, err := ParseClock(strings.TrimSpace(from))
	t, terr := ParseClock(strings.TrimSpace(to))
	if err := errors.Join(err, terr); err != nil {
		return Window{}, err
	}
	if f == t {
		return Window{}, ErrNoWindow
	}
	return Window{f, t}, nil
}

// String is the window as it is written.
func (w Window) String() string { return w.From.String() + "-" + w.To.String() }

// Holds reports whether a run may begin at c.
func (w Window) Holds(c Clock) bool { return w == (Window{}) || (c-w.From+day)%day < w.length() }

// left is how long after c runs may still begin; a day where they always may.
func (w Window) left(c Clock) time.Duration {
	if w == (Window{}) {
		return 24 * time.Hour
	}
	return time.Duration((w.To-c+day)%day) * time.Minute
}

func (w Window) length() Clock { return (w.To - w.From + day) % day }

// Times are the rhythms of all that can be scheduled.
type Times struct {
	Run    []When // one at least, but for never
	Window Window // in which runs begin
	Renew  When
	Verify When
	Drill  When
	Report When
	Status When
}

// DefaultTimes are those of a configuration that says nothing.
func DefaultTimes() Times {
	return Times{
		Run:    []When{{Every: Daily, At: 2*60 + 30}},
		Renew:  When{Every: Monthly, At: 4 * 60},
		Verify: When{Every: Weekly, Day: time.Sunday, At: 5 * 60},
		Drill:  When{Every: Monthly, At: 6 * 60},
		Report: When{Every: Monthly, At: 8 * 60},
		Status: When{Every: Daily, At: 7 * 60},
	}
}

// calendar is a rhythm as systemd's OnCalendar= takes it.
func (w When) calendar() string {
	switch w.Every {
	case Hourly:
		return "*-*-* *:00:00"
	case Weekly:
		return w.Day.String()[:3] + " *-*-* " + w.At.String() + ":00"
	case Monthly:
		return "*-*-01 " + w.At.String() + ":00"
	}
	return "*-*-* " + w.At.String() + ":00"
}

// cron is a rhythm as the first five fields of a crontab.
func (w When) cron() string {
	at := fmt.Sprintf("%d %d", w.At%60, w.At/60)
	switch w.Every {
	case Hourly:
		return "0 * * * *"
	case Weekly:
		return fmt.Sprintf("%s * * %d", at, int(w.Day))
	case Monthly:
		return at + " 1 * *"
	}
	return at + " * * *"
}

// apart is the least time between two of these.
func apart(whens []When) time.Duration {
	least := 24 * time.Hour
	for i, a := range whens {
		if a.Every == Hourly {
			return time.Hour
		}
		for j, b := range whens {
			if i != j {
				least = min(least, time.Duration((b.At-a.At+day-1)%day+1)*time.Minute)
			}
		}
	}
	return least
}

// clip keeps what a message repeats short.
func clip(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
