package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/schedule"
)

// Watch is how `holdfast watch` looks at the vaults.
type Watch struct {
	Every time.Duration    // from one look to the next; zero: not said
	Hours *schedule.Window // in which runs store something, of a zero window always; nil: as schedule.window says
}

// The bounds of watch.every: a look asks some hundred things.
const (
	MinEvery = time.Minute
	MaxEvery = 7 * 24 * time.Hour
)

// WantEvery says what such a time has to be.
const WantEvery = "must be a time from 1m to 7d, such as 15m"

// ParseEvery reads the time from one look to the next.
func ParseEvery(s string) (time.Duration, bool) {
	span, err := retain.Parse(s)
	return span.Duration, err == nil && span.Months == 0 && span.Duration >= MinEvery && span.Duration <= MaxEvery
}

// ParseHours reads hours, or the word for all of them.
func ParseHours(s string) (*schedule.Window, error) {
	if s == "any" {
		return &schedule.Window{}, nil
	}
	w, err := schedule.ParseWindow(s)
	if errors.Is(err, schedule.ErrNoWindow) { // left out, they would follow from schedule.window
		return nil, errors.New("it begins and ends at the same time; write any if runs may store something at any time")
	}
	if err != nil {
		return nil, fmt.Errorf("%w, or any", err)
	}
	return &w, nil
}

func readWatch(r *reader, n ast.Node) {
	w := &r.config.Watch
	r.object(n, "watch",
		field{"every", func(n ast.Node) {
			s, ok := r.str(n, "watch.every")
			if !ok {
				return
			}
			if w.Every, ok = ParseEvery(s); !ok {
				r.problem(n, "watch.every %s", WantEvery)
			}
		}},
		field{"hours", func(n ast.Node) {
			s, ok := schedules{r}.clock(n, "watch.hours")
			if !ok {
				return
			}
			var err error
			if w.Hours, err = ParseHours(s); err != nil {
				r.problem(n, "watch.hours: %v", err)
			}
		}},
	)
}
