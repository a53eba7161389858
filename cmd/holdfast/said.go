package main

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// pointSaid is what records say of one point.
type pointSaid struct {
	acks []evidence.Ack // the newest first
	hold *evidence.Hold // the one that ends last of those that are not over
}

// holdJSON is a hold of a point, for scripts.
type holdJSON struct {
	Until    string `json:"until"`
	By       string `json:"by"` // person, guard
	At       string `json:"at"`
	Reporter string `json:"reporter"`
	Reason   string `json:"reason"`
}

// byWhom says who made a hold, for scripts.
func byWhom(h evidence.Hold) string {
	if h.By == "" {
		return "person"
	}
	return h.By
}

// keptUntil is until when a point is kept: as it says itself, or longer where it is held.
func (s pointSaid) keptUntil(p browse.Point) (until time.Time) {
	if c := p.Kept(); c != nil {
		until = c.RetainUntil.Time
	} else if p.Line != nil {
		until = p.Line.RetainUntil.Time
	}
	if s.hold != nil && s.hold.Until.After(until) {
		until = s.hold.Until.Time
	}
	return until
}

// isAcknowledged reports whether somebody looked at the marks of this very point and found it right.
func isAcknowledged(ctx context.Context, r *reading, p browse.Point) (bool, error) {
	said, err := saidOf(ctx, r, []browse.Point{p})
	return len(said[p.ID].acks) > 0, err
}

// maxSaidRecords is how many records are read for what they say of points, the newest first.
const maxSaidRecords = 2000

// saidOf reads in one pass what records of a vault say of points.
func saidOf(ctx context.Context, r *reading, points []browse.Point) (map[format.Hash]pointSaid, error) {
	if !r.repo.Vouched() || len(points) == 0 {
		return nil, nil
	}
	marked := false
	for _, p := range points {
		marked = marked || p.Line != nil && len(p.Line.Marks) > 0
	}
	most := 0
	if marked {
		most = maxSaidRecords
	}
	l, err := evidence.List(ctx, r.view().Records(), most)
	if err != nil {
		return nil, err
	}
	out := map[format.Hash]pointSaid{}
	if _, err := l.Latest(func(f evidence.Found) bool {
		for _, a := range evidence.AcksOf(f) {
			s := out[a.Point]
			s.acks = append(s.acks, a)
			out[a.Point] = s
		}
		return true
	}); err != nil {
		return nil, err
	}
	holds, err := l.Holds()
	if err != nil {
		return nil, err
	}
	for _, h := range holds {
		s := out[h.Point]
		if !h.Over(r.now()) && (s.hold == nil || h.Until.After(s.hold.Until.Time)) {
			s.hold = &h
			out[h.Point] = s
		}
	}
	return out, nil
}
