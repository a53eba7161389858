package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxRecords is how many records are read at most, the newest first: of hourly runs two weeks, of a nightly one a year.
const maxRecords = 400

// Records is what reporters said of one vault, and of one source in it. Times are those of the records, by a vault's clock.
type Records struct {
	Verified map[verify.Level]time.Time // when all of the vault last held, by how closely it was looked at; a closer look counts for the others
	Drilled  time.Time                  // when the vault was last attacked as an exercise; zero: not within the records that were read
	Drill    string                     // what came of that: held, incomplete, weak, broken
	Ran      time.Time                  // when the source last ran
	Run      string                     // what came of that: complete, incomplete, failed
	Older    bool                       // there are older records, which were not read: what is zero here may have been

	runAlarms int       // that it raised
	unwell    string    // what the newest verification found, if it did not hold
	looked    time.Time // when that was; zero: no verification was seen
	unread    []string  // records that are there and cannot be read
	gap       string    // what the names of the records show first: one is missing, or there twice
	gaps      int       // how often
}

// body is what is read of a record's: see docs/format.md, reports.
type body struct {
	Lines []line `json:"lines"`
}

type line struct {
	Source string       `json:"source"`
	Vault  string       `json:"vault"`
	Status string       `json:"status"`
	Level  verify.Level `json:"level"`
	Sample float64      `json:"sample"`          // percent
	Locks  bool         `json:"locks_checked"`   // the vault keeps some
	Oldest string       `json:"rotation_oldest"` // of a turn of a rotation: all that had been stored by then was read since
	InTurn bool         `json:"rotation_locks"`  // with the locks

	Missing    int64 `json:"missing"`
	Damaged    int64 `json:"damaged"`
	Unlocked   int64 `json:"unlocked"`
	Tampered   int64 `json:"tampered"`
	AlarmCount int   `json:"alarm_count"`
}

// records are those of a vault, gathered from the newest on: what was said first counts.
type records struct {
	vault Records
	runs  map[string]Records // by source
	acks  []evidence.Ack     // as far as they were looked for
	holds []evidence.Hold
}

// read gathers what the newest records say of a vault and of sources in it, until all is known that they can say: in one pass. Acknowledgements are
// looked for further back, of sources whose newest point is marked: marked are those. Without any record that costs a
// listing, and nothing where the repository never had a reporter.
func read(ctx context.Context, of Options, sources []string, marked []repo.Point) (*records, error) {
	v := of.View
	r := &records{vault: Records{Verified: map[verify.Level]time.Time{}}, runs: map[string]Records{}}
	if !v.Repository.Vouched() {
		return r, nil
	}
	o := v.Records()
	o.Report = func(f evidence.Finding) { r.vault.unread = append(r.vault.unread, f.Name) }
	if of.Gaps {
		o.Gaps = func(f evidence.Finding) {
			if r.vault.gaps++; r.vault.gap == "" {
				r.vault.gap = fmt.Sprintf("%.90s..: %s", f.Name, f.Detail)
			}
		}
	}
	called := sync.OnceValues(func() ([]string, error) { return called(ctx, v) }) // asked once, where there is a record
	most := maxRecords
	if len(marked) > 0 {
		most = maxMarkRecords
	}
	l, err := evidence.List(ctx, o, most)
	if err != nil {
		return nil, err
	}
	var failed error
	n := 0
	_, err = l.Latest(func(f evidence.Found) bool {
		r.acks = append(r.acks, evidence.AcksOf(f)...)
		if n++; n > maxRecords || r.whole(sources) {
			return !r.acked(marked)
		}
		names, err := called()
		if failed = err; err != nil {
			return false
		}
		var b body
		if f.Newer || json.Unmarshal(f.Record.Body, &b) != nil {
			return true // another program's
		}
		for _, l := range b.Lines {
			if slices.Contains(names, l.Vault) {
				r.take(f.Record.Type, f.Record.Time.Time, l)
			}
		}
		return !r.whole(sources) || !r.acked(marked)
	})
	r.vault.Older = l.More(maxRecords) && !r.whole(sources)
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	r.holds, err = l.Holds()
	return r, err
}

// acked reports whether the newest points of all marked sources are known to be acknowledged.
func (r *records) acked(marked []repo.Point) bool {
	for _, p := range marked {
		if !covered(r.acks, p) {
			return false
		}
	}
	return true
}

// called gives what runs call the vault: as the configuration does, or, for who has none, as its placements do.
func called(ctx context.Context, v browse.View) ([]string, error) {
	if format.ValidName(v.Vault) {
		return []string{v.Vault}, nil
	}
	return v.Repository.VaultNames(ctx, v.In)
}

// whole reports whether older records can add nothing.
func (r *records) whole(sources []string) bool {
	for _, s := range sources {
		if _, told := r.runs[s]; !told {
			return false
		}
	}
	return !r.vault.Drilled.IsZero() && !r.vault.Verified[verify.Content].IsZero()
}

// take is told of the lines of records, the newest record first.
func (r *records) take(kind string, at time.Time, l line) {
	switch kind {
	case "run":
		if _, told := r.runs[l.Source]; !told && l.Source != "" {
			r.runs[l.Source] = Records{Ran: at, Run: l.Status, runAlarms: l.AlarmCount}
		}
	case "drill":
		if r.vault.Drilled.IsZero() && l.Status != "failed" {
			r.vault.Drilled, r.vault.Drill = at, l.Status
		}
	case "verify":
		r.verified(at, l)
	}
}

// verified takes what a verification found. What held when it was looked at closely held for who looks less closely.
func (r *records) verified(at time.Time, l line) {
	if r.vault.looked.IsZero() {
		r.vault.looked = at
		if l.Status != "ok" {
			r.vault.unwell = fmt.Sprintf("%d missing, %d damaged, %d not locked long enough, %d put on top or beside", l.Missing, l.Damaged, l.Unlocked, l.Tampered)
		}
	}
	if l.Status != "ok" {
		return
	}
	if l.Oldest != "" { // a part was looked at, and the rest before: not all of it today
		oldest, err := time.Parse(time.RFC3339, l.Oldest)
		if err != nil || oldest.After(at) {
			return
		}
		at, l.Sample, l.Locks = oldest, 100, l.InTurn
	}
	levels := []verify.Level{verify.Locks, verify.Bytes, verify.Content}
	n := slices.Index(levels, l.Level) + 1
	if l.Sample < 100 {
		n = min(n, 1) // locks and names are always looked at in full
	}
	for _, level := range levels[:n] {
		if level == verify.Locks && !l.Locks {
			continue // there were none to look at
		}
		if at.After(r.vault.Verified[level]) {
			r.vault.Verified[level] = at
		}
	}
}

// of gives what is said of a source.
func (r *records) of(source string) Records {
	out := r.vault
	run := r.runs[source]
	out.Ran, out.Run, out.runAlarms = run.Ran, run.Run, run.runAlarms
	return out
}

func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ofRun says what somebody has to look at of the source's last run.
func (r Records) ofRun() (out []string) {
	if r.Run == "failed" {
		out = append(out, fmt.Sprintf("the run of %s failed; its own output says why", at(r.Ran)))
	}
	if r.runAlarms > 0 {
		out = append(out, fmt.Sprintf("the run of %s gave an alarm (%d); its own output says which", at(r.Ran), r.runAlarms))
	}
	return out
}

// ofVault says what somebody has to look at of the vault.
func (r Records) ofVault() (out []string) {
	if r.unwell != "" {
		out = append(out, fmt.Sprintf("the verification of %s did not hold: %s; `holdfast verify` names them", at(r.looked), r.unwell))
	}
	if r.Drill == "weak" || r.Drill == "broken" {
		out = append(out, fmt.Sprintf("the drill of %s came out %s; `holdfast doctor` says what mends it", at(r.Drilled), r.Drill))
	}
	if n := len(r.unread); n > 0 {
		out = append(out, fmt.Sprintf("of the newest records %d cannot be read, the newest of them %.60s..; `holdfast verify` says why", n, r.unread[0]))
	}
	if r.gaps > 0 {
		out = append(out, fmt.Sprintf("records are missing or doubled (%d): at %s; `holdfast verify` names each", r.gaps, r.gap))
	}
	return out
}
