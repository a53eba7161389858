package retain

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Span is a length of time: calendar months, and a fixed duration on top. Days are 24 hours and weeks seven days, since
// everything here is UTC; months and years follow the calendar. The zero Span is no time.
type Span struct {
	Months   int
	Duration time.Duration
}

// ErrSpan: the text is not a span.
var ErrSpan = errors.New("not a duration; write 90m, 12h, 35d, 12w, 12mo or 7y")

// maxMonths and maxDuration keep a slip of the finger from locking for longer than anyone lives; a lock cannot be taken back.
const (
	maxMonths   = 1200
	maxDuration = 100 * 366 * day
	day         = 24 * time.Hour
)

var spanForm = regexp.MustCompile(`^([0-9]{1,8})(m|h|d|w|mo|y)$`)

// Parse reads 90m, 12h, 35d, 12w, 12mo, 7y, or 0: the notation of the configuration. Over a century is refused.
func Parse(s string) (Span, error) {
	if s == "0" {
		return Span{}, nil
	}
	m := spanForm.FindStringSubmatch(s)
	if m == nil {
		return Span{}, fmt.Errorf("%.60q: %w", s, ErrSpan)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return Span{}, fmt.Errorf("%q: %w", s, ErrSpan)
	}
	var out Span
	ok := true
	switch m[2] {
	case "y":
		out.Months, ok = 12*n, n <= maxMonths/12
	case "mo":
		out.Months, ok = n, n <= maxMonths
	default:
		unit := map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day}[m[2]]
		if ok = time.Duration(n) <= maxDuration/unit; ok {
			out.Duration = time.Duration(n) * unit
		}
	}
	if !ok {
		return Span{}, fmt.Errorf("%s is over a century, longer than any vault takes", s)
	}
	return out, nil
}

// String is the span in the notation Parse reads, in the largest unit of m, h, d and of mo, y that is exact. A span of
// months and a duration, which Parse cannot give, is written as "12mo+5d"; below a minute Go's own notation is used.
func (s Span) String() string {
	switch {
	case s.IsZero():
		return "0"
	case s.Months == 0:
		return fixed(s.Duration)
	case s.Duration == 0:
		return calendar(s.Months)
	}
	return calendar(s.Months) + "+" + fixed(s.Duration)
}

func calendar(months int) string {
	if months%12 == 0 {
		return strconv.Itoa(months/12) + "y"
	}
	return strconv.Itoa(months) + "mo"
}

func fixed(d time.Duration) string {
	switch {
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return d.String()
}

// IsZero reports whether the span is no time at all.
func (s Span) IsZero() bool { return s.Months == 0 && s.Duration == 0 }

// AddTo gives the moment that lies the span after t, in UTC. A day that the month arrived at does not have becomes that
// month's last: a month after the 31st of January is the 28th or 29th of February, never a day in March.
func (s Span) AddTo(t time.Time) time.Time {
	t = t.UTC()
	if s.Months != 0 {
		y, m, d := t.Date()
		// The day before the first of the month after the one arrived at is its last day.
		last := time.Date(y, m+time.Month(s.Months)+1, 0, 0, 0, 0, 0, time.UTC).Day()
		t = time.Date(y, m+time.Month(s.Months), min(d, last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	}
	return t.Add(s.Duration)
}
