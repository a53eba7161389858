package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/metrics"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What each command says of itself to receivers and metrics. Nothing is gathered of a command that is not expected.

// severityOf is what an error comes to, and its name.
func severityOf(err error) (notify.Severity, string) {
	if s, ok := errors.AsType[*signalled](err); ok {
		return notify.OfExit(s.code), s.name
	}
	code, name := exitOf(context.Background(), err)
	return notify.OfExit(code), name
}

// ran takes a line of a run.
func (n *taking) ran(l ran) {
	if n.command == "" {
		return
	}
	severity, code := severityOf(l.err)
	switch {
	case l.Status == format.StatusIncomplete:
		severity, code = notify.Incomplete, "incomplete"
	case l.Status == "failed" && severity == notify.Well:
		severity = notify.Failed
	}
	if severity == notify.Well && len(l.Alarms) > 0 {
		severity = notify.Alarm
	}
	about := "source " + l.Source + ": " // which the result says itself
	r := notify.Result{
		Source: l.Source, Vault: l.Vault, Status: l.Status, Severity: severity, Code: code, Point: l.Point, RetainUntil: l.RetainUntil, LockedUntil: l.LockedUntil,
		Seconds: l.Seconds, Error: strings.TrimPrefix(l.Error, about),
	}
	for _, f := range l.said {
		f.Text = strings.TrimPrefix(f.Text, about)
		r.Alarms = append(r.Alarms, f)
	}
	if l.err == nil {
		r.Counts = map[string]int64{
			"entries": l.Entries, "bytes": l.Bytes, "added": l.Added, "changed": l.Changed, "deleted": l.Deleted, "missing": l.Missing,
			"bytes_read": l.BytesRead, "bytes_stored": l.BytesStored, "objects_stored": l.ObjectsStored,
		}
	}
	n.results = append(n.results, r)
	at := metrics.Labels{"source": l.Source, "vault": l.Vault}
	n.measures.sample("last_run_timestamp_seconds", at, metrics.Seconds(n.now()))
	n.measures.sample("last_run_duration_seconds", at, l.Seconds)
	n.measures.sample("last_run_alarms", at, float64(len(l.Alarms)))
	complete := l.Status == format.StatusComplete
	n.measures.sample("last_run_success", at, metrics.Truth(complete && len(l.Alarms) == 0))
	if l.err != nil {
		return // the rest stays as the last run that got so far said it
	}
	for name, v := range map[string]int64{
		"last_run_entries": l.Entries, "last_run_missing_entries": l.Missing, "last_run_added_entries": l.Added, "last_run_changed_entries": l.Changed,
		"last_run_deleted_entries": l.Deleted, "last_run_size_bytes": l.Bytes, "last_run_read_bytes": l.BytesRead, "last_run_stored_bytes": l.BytesStored,
	} {
		n.measures.sample(name, at, float64(v))
	}
	// An alarm is told by metrics of its own; that there is a copy is told by these. An empty point is none.
	if complete && !slices.Contains(l.Marks, format.MarkEmpty) {
		n.measures.sample("last_success_timestamp_seconds", at, metrics.Seconds(n.now()))
		n.point(at, l.taken, parsed(l.RetainUntil), parsed(l.LockedUntil))
	}
}

// point says of what time and until when the newest complete point is. It is all there is to say of it.
func (n *taking) point(at metrics.Labels, taken, kept, locked time.Time) {
	n.owned = append(n.owned, at)
	n.measures.sample("point_missing", at, metrics.Truth(taken.IsZero()))
	for name, t := range map[string]time.Time{
		"point_taken_timestamp_seconds": taken, "point_retain_until_timestamp_seconds": kept, "point_locked_until_timestamp_seconds": locked,
	} {
		if !t.IsZero() {
			n.measures.sample(name, at, metrics.Seconds(t))
		}
	}
}

// parsed reads a time that was written for scripts; zero for none.
func parsed(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// verified takes the summary of a verification of a whole vault.
func (n *taking) verified(l verifiedJSON) {
	if n.command == "" {
		return
	}
	severity := map[string]notify.Severity{"ok": notify.Well, "tampered": notify.Alarm}[l.Status]
	if severity == "" {
		severity = notify.Damage
	}
	if severity == notify.Well && len(l.said) > 0 {
		severity = notify.Alarm // nothing was found, and too little was looked at
	}
	counts := map[string]int64{"missing": l.Missing, "damaged": l.Damaged, "unlocked": l.Unlocked, "tampered": l.Tampered}
	at := metrics.Labels{"vault": l.Vault}
	for kind, v := range counts {
		n.measures.sample("last_verify_findings", metrics.Labels{"vault": l.Vault, "finding": kind}, float64(v))
	}
	n.measures.sample("last_verify_duration_seconds", at, l.Seconds)
	counts["points"], counts["objects"], counts["bytes"] = int64(l.Points), l.Objects, l.Bytes
	r := notify.Result{Vault: l.Vault, Status: l.Status, Severity: severity, Seconds: l.Seconds, Counts: counts, Alarms: l.said}
	if severity == notify.Damage {
		r.Extent = l.Missing + l.Damaged + l.Unlocked
		r.Error = fmt.Sprintf("%d missing, %d damaged, %d not locked as long as their points need", l.Missing, l.Damaged, l.Unlocked)
	}
	n.results = append(n.results, r)
	if l.Status != "ok" {
		return
	}
	// What held when it was looked at closely held for who looks less closely; a sample counts for locks only, as in status.
	now := metrics.Seconds(n.now())
	if t := l.turnJSON; t != nil { // a part was looked at, and the rest before: all that had been stored by then was, since
		oldest := parsed(t.RotationOldest)
		if oldest.IsZero() {
			return
		}
		now, l.Sample, l.LocksChecked = metrics.Seconds(oldest), 100, t.RotationLocks
	}
	verified := func(level string) {
		n.measures.sample("verified_timestamp_seconds", metrics.Labels{"vault": l.Vault, "level": level}, now)
	}
	if l.LocksChecked {
		verified("locks")
	}
	if l.Sample == 100 && l.Level != "locks" {
		verified("bytes")
		if l.Level == "content" {
			verified("content")
		}
	}
}

// drilled takes the drill of a vault.
func (n *taking) drilled(l drilledJSON, err error) {
	if n.command == "" {
		return
	}
	severity, code := severityOf(err)
	switch l.Status {
	case "weak":
		severity, l.Error = notify.Alarm, cmp.Or(l.Error, "nothing got through, but the key may do more than it should")
	case "broken":
		severity, l.Error = notify.Damage, cmp.Or(l.Error, "an attack got through")
	}
	counts := map[string]int64{"attacks": int64(l.Attacks)}
	for name, v := range l.Counts {
		counts[name] = int64(v)
	}
	n.results = append(n.results, notify.Result{Vault: l.Vault, Status: l.Status, Severity: severity, Code: code, Seconds: l.Seconds, Counts: counts, Error: l.Error, LockedUntil: l.LockedUntil})
	at := metrics.Labels{"vault": l.Vault}
	n.measures.sample("last_drill_timestamp_seconds", at, metrics.Seconds(n.now()))
	n.measures.sample("last_drill_held", at, metrics.Truth(l.Status == "held" || l.Status == "incomplete"))
}

// diagnosed takes what doctor found.
func (n *taking) diagnosed(l diagnosisJSON) {
	if n.command == "" {
		return
	}
	severity := map[string]notify.Severity{"ok": notify.Well, "warning": notify.Alarm, "critical": notify.Damage}[l.Status]
	if severity == "" {
		severity = notify.Failed
	}
	found := ""
	if severity != notify.Well {
		found = fmt.Sprintf("%s, %s, %d not tested", plural(l.Critical, "critical finding", "critical findings"), plural(l.Warning, "warning", "warnings"), l.NotTested)
	}
	n.results = append(n.results, notify.Result{Status: l.Status, Severity: severity, Seconds: l.Seconds, Error: found, Extent: int64(l.Critical), Counts: map[string]int64{
		"ok": int64(l.OK), "info": int64(l.Info), "not_tested": int64(l.NotTested), "warning": int64(l.Warning), "critical": int64(l.Critical),
	}})
}

// renewed takes the summary of a renewal.
func (n *taking) renewed(l renewedJSON) {
	if n.command == "" {
		return
	}
	r := notify.Result{Vault: l.Vault, Status: "ok", Severity: notify.Well, Seconds: l.Seconds, Alarms: l.said, Extent: l.Refused + l.Lost, Counts: map[string]int64{
		"points": int64(l.Points), "objects": l.Objects, "due": l.Due, "extended": l.Extended, "refused": l.Refused, "lost": l.Lost,
	}}
	if l.Refused+l.Lost > 0 {
		r.Status, r.Severity = "damaged", notify.Damage
	}
	n.results = append(n.results, r)
	at := metrics.Labels{"vault": l.Vault}
	n.measures.sample("last_renew_extended_locks", at, float64(l.Extended))
	n.measures.sample("last_renew_failed_locks", at, float64(l.Refused+l.Lost))
}

// held takes what became of a hold in a vault.
func (n *taking) held(l holdLine, err error) {
	if n.command == "" {
		return
	}
	severity, code := severityOf(err)
	if l.Status == heldShort {
		severity, code = notify.Damage, "damaged"
	}
	n.results = append(n.results, notify.Result{
		Source: l.Source, Vault: l.Vault, Status: l.Status, Severity: severity, Code: code, Point: l.Point, LockedUntil: l.LockedUntil, Error: l.Error,
		Counts: map[string]int64{"locks_extended": l.Extended},
	})
}

// pruned takes the summary of a prune.
func (n *taking) pruned(l pruneJSON) {
	if n.command == "" {
		return
	}
	n.results = append(n.results, notify.Result{Vault: l.Vault, Status: "ok", Severity: notify.Well, Seconds: l.Seconds, Alarms: l.said, Counts: map[string]int64{
		"points": int64(l.Points), "living": int64(l.Living), "versions": l.Versions, "deleted": l.Deleted, "deleted_bytes": l.DeletedBytes,
	}})
	n.measures.sample("last_prune_deleted_bytes", metrics.Labels{"vault": l.Vault}, float64(l.DeletedBytes))
}

// vaultStood takes what is to be looked at of a vault as a whole.
func (n *taking) vaultStood(v standing) {
	if n.command == "" || len(v.alarms()) == 0 {
		return
	}
	n.results = append(n.results, notify.Result{Vault: v.vault, Status: "alarm", Severity: notify.Alarm, Alarms: v.alarms()})
}

// stood takes how a source stands in a vault.
func (n *taking) stood(v standing, s status.Source, o status.Options) {
	if n.command == "" || !s.Wanted {
		return
	}
	line := standingOf(v, s, o)
	r := notify.Result{Source: s.Name, Vault: v.vault, Status: state(s), Severity: notify.Well, Point: line.Point, RetainUntil: line.RetainUntil}
	for _, text := range s.Alarms {
		r.Alarms = append(r.Alarms, notify.Finding{Text: text})
	}
	if len(line.Alarms) > 0 {
		r.Severity = notify.Alarm
	}
	if s.Point == nil || !s.RPOMet || s.Short != nil {
		r.Severity, r.Code = notify.Damage, "behind"
		if s.Point != nil && s.RPOMet {
			r.Code = "short"
		}
	}
	n.results = append(n.results, r)
	at := metrics.Labels{"source": s.Name, "vault": v.vault}
	n.measures.sample("status_timestamp_seconds", at, metrics.Seconds(n.now()))
	n.measures.sample("status_alarms", at, float64(len(line.Alarms)+len(v.alarms())))
	n.measures.sample("protection_short", at, metrics.Truth(s.Short != nil))
	var taken, kept time.Time
	if s.Point != nil {
		taken, kept = s.Point.Line.TakenAt.Time, s.Point.Line.RetainUntil.Time
	}
	n.point(at, taken, kept, s.Protected)
}
