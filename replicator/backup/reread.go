package backup

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Reread says that a configuration means another retention now than when the last points were made: spans that it does
// not name were taken from the default then, and are 0 now.
type Reread struct {
	Last       time.Time // when the last point was taken that shows it
	Was, Is    time.Time // until when it is kept, and until when it would be
	Next       time.Time // until when the point of this run is kept
	NextBefore time.Time // until when it would have been kept
}

// maxReread is how many of the last points are looked at.
const maxReread = 60

// readAnew finds out whether the newest point for which the two readings differ was made under the old one. It is told once
// a source, as far as the cache remembers.
func (e *keeping) readAnew(earlier []retain.Earlier) (*Reread, error) {
	o := e.o
	if o.Before == (retain.Policy{}) || o.Before == o.Retention {
		return nil, nil
	}
	if told, err := e.s.Cache().Segments.Loaded("", e.rereadMark()); err != nil || told {
		return nil, err
	}
	for i, h := range slices.Backward(e.counting) {
		if i < len(e.counting)-maxReread {
			break
		}
		if h.Line.Status != format.StatusComplete || h.Line.Marked(format.MarkEmpty) {
			continue
		}
		at := h.Line.TakenAt.Time
		was := retain.Decide(o.Before, at, earlier[:i]).RetainUntil.Truncate(time.Second)
		is := retain.Decide(o.Retention, at, earlier[:i]).RetainUntil.Truncate(time.Second)
		if was.Equal(is) {
			continue
		}
		if !h.Line.RetainUntil.Equal(was) {
			return nil, nil // made under the new one, or by another configuration
		}
		return &Reread{Last: at, Was: was, Is: is, Next: e.decision.RetainUntil, NextBefore: retain.Decide(o.Before, e.takenAt, earlier).RetainUntil}, nil
	}
	return nil, nil
}

// toldAnew remembers that it is told of with the result of this run.
func (e *keeping) toldAnew() error {
	if e.reread == nil {
		return nil
	}
	return e.s.Cache().Segments.MarkLoaded("", e.rereadMark())
}

// rereadMark names the retention that was told of. Without hourly it is as it was when there were no hours, so that nothing is told again.
func (e *keeping) rereadMark() string {
	p := e.o.Retention
	mark := fmt.Sprintf("retention/%s/{%v %v %v %v}", e.o.Name, p.Daily, p.Weekly, p.Monthly, p.Yearly)
	if !p.Hourly.IsZero() {
		mark += fmt.Sprintf(" and %v of hours", p.Hourly)
	}
	return mark
}
