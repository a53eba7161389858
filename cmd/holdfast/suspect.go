package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// findingJSON is one thing that the guard found, for scripts. A record has rule and count alone.
type findingJSON struct {
	Rule     string   `json:"rule"`
	Count    int64    `json:"count"`
	Text     string   `json:"text,omitempty"`
	Examples []string `json:"examples,omitempty"`
}

// guarding gives what the guard of a run goes by.
func (j *telling) guarding(s config.Source, session *repo.Session) *backup.Guarding {
	now := j.now()
	return &backup.Guarding{
		Hold: j.config.Guard.Hold.AddTo(now).Sub(now), KMSKeys: j.config.Guard.KMSKeys,
		Tripwires: guard.Expected(wiresOf(s, session.Writer.ChunkKey())),
		Acknowledged: func(ctx context.Context) (backup.Acknowledged, error) {
			return j.acknowledged(ctx, s, session.Repository())
		},
	}
}

// acknowledged reads from the vaults of a source what somebody acknowledged of it. One vault that tells is enough: each record is
// signed. A vault that withholds them leaves the alarm as it is.
func (j *telling) acknowledged(ctx context.Context, s config.Source, r *repo.Repository) (out backup.Acknowledged, err error) {
	out.Points = map[format.Hash]bool{}
	told := false
	for _, v := range j.vaults {
		if v.failed != nil || !slices.Contains(s.Vaults, v.name) {
			continue
		}
		acks, verr := evidence.Acks(ctx, evidence.Of(v.Reader, r))
		if verr != nil {
			err = errors.Join(err, prefixed(verr, "vault "+v.name))
			continue
		}
		told = true
		for _, a := range acks {
			if a.Source != s.Name {
				continue
			}
			out.Points[a.Point] = true
			if a.SignedAt.After(out.Until) {
				out.Until = a.SignedAt.Time
			}
		}
	}
	if told {
		return out, nil
	}
	return out, err
}

// marksOf are the marks of the point that a run made, or would make.
func marksOf(r *backup.Result) (out []string) {
	if r.Emptied != nil {
		out = append(out, format.MarkEmpty)
	}
	if r.Suspect != nil {
		out = append(out, format.MarkSuspect)
	}
	return out
}

// tellSuspect says what the guard found, and gives it for scripts and for receivers. The error is the alarm.
func (j *telling) tellSuspect(s config.Source, r *backup.Result) (lines []findingJSON, said alarms, alarm error) {
	u := r.Suspect
	if u == nil {
		return nil, nil, nil
	}
	for _, f := range u.Findings {
		lines = append(lines, findingJSON{string(f.Rule), f.Count, f.Text, f.Examples})
		j.ui.warn("source %s: the guard (%s): %s", s.Name, f.Rule, printable(f.Text))
	}
	// What is sent to people is this text alone.
	what := "an alarm of the guard stands"
	for i, f := range u.Findings {
		if i == 0 {
			what = "the guard gives an alarm"
		}
		what += fmt.Sprintf(": %s: %s", f.Rule, printable(f.Text))
	}
	if u.Since != nil {
		what += fmt.Sprintf(", since the point %.12s, signed %s", u.Since.ID, u.Since.SignedAt.UTC().Format(time.RFC3339))
	}
	clean := "there is no clean point before it"
	if u.Clean != nil {
		clean = fmt.Sprintf("the last clean point is %.12s, signed %s", u.Clean.ID, u.Clean.SignedAt.UTC().Format(time.RFC3339))
		if !u.Held.IsZero() {
			clean += ", held until " + u.Held.UTC().Format(time.DateOnly)
		}
	}
	ack := "POINT"
	if !r.Point.IsZero() {
		ack = r.Point.String()[:12]
	}
	behind := fmt.Sprintf("%s; every run says so until `holdfast guard ack %s --reason TEXT`", clean, ack)
	alarm = &marked{errSuspect, fmt.Errorf("source %s: %s; %s", s.Name, what, behind)}
	return lines, guardAlarms(u, what, behind), alarm
}

// standingGuard is the alarm of the guard that stands until somebody acknowledges it.
const standingGuard = "suspect"

// guardAlarms is what receivers are told: each finding of this run, which is news whatever was told before, or that an earlier one
// stands.
func guardAlarms(u *backup.Suspect, what, behind string) (said alarms) {
	for _, f := range u.Findings {
		if f.Again && u.Since != nil {
			continue // a bucket is set as it was: that stands
		}
		said = append(said, notify.Finding{
			Kind: string(f.Rule), Text: fmt.Sprintf("the guard gives an alarm: %s: %s; %s", f.Rule, printable(f.Text), behind), Standing: standingGuard, Fresh: true,
		})
	}
	if len(said) == 0 {
		x := notify.Finding{Kind: standingGuard, Text: what + "; " + behind, Standing: standingGuard}
		if u.Since != nil {
			x.Since = u.Since.SignedAt.Time
		}
		said = append(said, x)
	}
	return said
}
