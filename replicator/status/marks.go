package status

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// State is what became of a mark.
type State string

// What becomes of marks.
const (
	Open         State = "open"         // an alarm stands: nobody acknowledged it, and no clean point came after
	Acknowledged State = "acknowledged" // somebody looked at this very point and found it right
	Over         State = "over"         // a later point was acknowledged, or is clean
)

// Mark is a point that carries marks.
type Mark struct {
	Point    browse.Point
	State    State
	Acks     []evidence.Ack // of this very point, the newest first
	Findings []Found        // what its run told, where a record of it was read
}

// Found is one rule of the guard and how many entries it was about.
type Found struct {
	Rule  string `json:"rule"`
	Count int64  `json:"count"`
}

// maxMarkRecords is how many records are read for what runs found and what was acknowledged, the newest first.
const maxMarkRecords = 2000

// Marks gives the points that carry marks, by source and time, the oldest first.
func Marks(ctx context.Context, v browse.View) ([]Mark, error) {
	var out []Mark
	clean := map[string]format.Time{} // the newest complete point without a mark
	for p, err := range browse.Points(ctx, v, "") {
		if err != nil {
			return nil, err
		}
		switch {
		case p.Line == nil || p.Distrusted:
		case len(p.Line.Marks) > 0:
			out = append(out, Mark{Point: p, State: Open})
		case p.Complete():
			clean[p.Source] = p.SignedAt
		}
	}
	if len(out) == 0 || !v.Repository.Vouched() {
		return out, nil
	}
	acks, found, err := told(ctx, v)
	if err != nil {
		return nil, err
	}
	for i := range out {
		m := &out[i]
		m.Findings = found[m.Point.ID]
		for _, a := range acks {
			if a.Point == m.Point.ID {
				m.Acks, m.State = append(m.Acks, a), Acknowledged
			}
		}
		if m.State == Acknowledged {
			continue
		}
		if at := clean[m.Point.Source]; at.After(m.Point.SignedAt.Time) || covered(acks, m.Point.Point) {
			m.State = Over
		}
	}
	return out, nil
}

// covered reports whether a point gives no alarm any more: it was acknowledged, or a later one of its source. Of points of one second
// only what was named is: another of them may have come later.
func covered(acks []evidence.Ack, p repo.Point) bool {
	return slices.ContainsFunc(acks, func(a evidence.Ack) bool {
		return a.Source == p.Source && (a.Point == p.ID || p.SignedAt.Before(a.SignedAt.Time))
	})
}

// told gives what somebody acknowledged, and what runs told in their records of the points they made.
func told(ctx context.Context, v browse.View) (acks []evidence.Ack, found map[format.Hash][]Found, err error) {
	found = map[format.Hash][]Found{}
	_, err = evidence.Latest(ctx, v.Records(), maxMarkRecords, func(f evidence.Found) bool {
		acks = append(acks, evidence.AcksOf(f)...)
		var b struct {
			Lines []struct {
				Point    format.Hash `json:"point"`
				Findings []Found     `json:"findings"`
			} `json:"lines"`
		}
		if f.Newer || f.Record.Type != "run" || json.Unmarshal(f.Record.Body, &b) != nil {
			return true
		}
		for _, l := range b.Lines {
			if len(l.Findings) > 0 {
				found[l.Point] = l.Findings
			}
		}
		return true
	})
	return acks, found, err
}
