package report

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TypeReport is the type of records of reports.
const TypeReport = "report"

// said is what is read of a record's body: see docs/format.md, records.
type said struct {
	Began string            `json:"began"`
	Lines []json.RawMessage `json:"lines"`
}

// saidRun, saidVerify, saidDrill, saidRehearsal and saidDoctor are lines of records.
type saidRun struct {
	Source  string      `json:"source"`
	Vault   string      `json:"vault"`
	Point   format.Hash `json:"point"`
	Status  string      `json:"status"`
	Marks   []string    `json:"marks"`
	Missing int64       `json:"missing"`
	Read    int64       `json:"bytes_read"`
	Stored  int64       `json:"bytes_stored"`
	Alarms  int         `json:"alarm_count"`
}

type saidVerify struct {
	Vault  string  `json:"vault"`
	Sample float64 `json:"sample"`
	Verification
}

type saidDrill struct {
	Vault string `json:"vault"`
	Drill
	Report string `json:"report"` // the page's name in the vault
}

type saidRehearsal struct {
	Vault string `json:"vault"`
	Rehearsal
}

const maxStatement = 12 // lines of what follows from a rehearsal

type saidDoctor struct {
	Subject  string `json:"subject"`
	Check    string `json:"check"`
	Severity string `json:"severity"`
	Diagnosis
}

// records reads every record of the vault, in order, and folds what they say of this vault.
func (l *looking) records(ctx context.Context) error {
	re := l.p.View.Repository
	if !re.Keys().Reporting() {
		l.unknown("evidence", "runs, verifications, drills and earlier reports", "the repository has no reporter, so nothing leaves a record: `holdfast key add-reporter` makes a key for one")
		return nil
	}
	names := []string{l.p.View.Vault}
	if !format.ValidName(l.p.View.Vault) {
		var err error
		if names, err = re.VaultNames(ctx, l.p.View.In); err != nil {
			return err
		}
	}
	t := &telling{looking: l, names: names}
	return Follow(ctx, l.p.View.Records(), &l.v.Evidence, t.take)
}

// telling takes what records say.
type telling struct {
	*looking
	names []string // of this vault, as runs call it
}

func (t *telling) here(vault string) bool { return slices.Contains(t.names, vault) }

// take is given each record.
func (t *telling) take(f evidence.Found) {
	at := f.Record.Time.Time
	if at.Before(t.o.From) || at.After(t.o.To) {
		if f.Record.Type == "run" && !f.Newer && at.Before(t.o.From) {
			t.runs(f, at, true)
		}
		return
	}
	switch f.Record.Type {
	case "run":
		t.runs(f, at, false)
	case "verify":
		each(f, func(x saidVerify) {
			if !t.here(x.Vault) {
				return
			}
			x.At, x.Reporter, x.Verification.Sample = stamp(at), f.Reporter, x.Sample
			t.v.Checks.VerifyCount++
			t.v.Checks.Verifications = newest(t.v.Checks.Verifications, x.Verification, func(v Verification) string { return v.At })
		})
	case "drill":
		each(f, func(x saidDrill) {
			if !t.here(x.Vault) {
				return
			}
			x.At, x.Reporter, x.Page = stamp(at), f.Reporter, clip(x.Report)
			t.v.Checks.DrillCount++
			t.v.Checks.Drills = newest(t.v.Checks.Drills, x.Drill, func(d Drill) string { return d.At })
		})
	case "rehearsal":
		each(f, func(x saidRehearsal) {
			if !t.here(x.Vault) {
				return
			}
			x.At, x.Reporter = stamp(at), f.Reporter
			x.Status, x.Source, x.Point, x.Seed = clip(x.Status), clip(x.Source), clip(x.Point), clip(x.Seed)
			x.Statement = x.Statement[:min(len(x.Statement), maxStatement)]
			for i := range x.Statement {
				x.Statement[i] = clip(x.Statement[i])
			}
			t.v.Checks.RehearsCount++
			t.v.Checks.Rehearsals = newest(t.v.Checks.Rehearsals, x.Rehearsal, func(r Rehearsal) string { return r.At })
		})
	case "doctor":
		t.doctor(f, at)
	case "coverage":
		each(f, func(x Coverage) {
			x.At, x.Reporter = stamp(at), f.Reporter
			if t.v.coverage == nil || t.v.coverage.At < x.At {
				t.v.coverage = &x
			}
		})
	}
}

// doctor takes a visit of doctor, which is about the whole set-up: lines of what was not well, and a sum.
func (t *telling) doctor(f evidence.Found, at time.Time) {
	var sum *Diagnosis
	findings := []string{}
	each(f, func(x saidDoctor) {
		switch {
		case x.Check != "" && len(findings) < maxFound:
			findings = append(findings, clip(fmt.Sprintf("%s: %s: %s", x.Subject, x.Check, x.Severity)))
		case x.Check == "":
			sum = &x.Diagnosis
		}
	})
	if sum == nil {
		return
	}
	sum.At, sum.Reporter, sum.Findings = stamp(at), f.Reporter, findings
	t.v.Checks.DiagnoseCount++
	t.v.Checks.Diagnoses = newest(t.v.Checks.Diagnoses, *sum, func(d Diagnosis) string { return d.At })
}

// runs takes the lines of a run. Of one before the period only what it leaves for the first gap counts.
func (t *telling) runs(f evidence.Found, at time.Time, earlier bool) {
	began := at
	var b said
	if json.Unmarshal(f.Record.Body, &b) == nil {
		if x, err := time.Parse(time.RFC3339, b.Began); err == nil && x.Before(at) {
			began = x
		}
	}
	each(f, func(x saidRun) {
		if !t.here(x.Vault) {
			return
		}
		s := t.of(x.Source)
		if s == nil || !format.ValidName(x.Source) {
			return
		}
		if s.firstRun.IsZero() || began.Before(s.firstRun) {
			s.firstRun = began
		}
		whole := x.Status == format.StatusComplete && !slices.Contains(x.Marks, format.MarkEmpty)
		if earlier {
			if e := (event{began.Unix(), at.Unix()}); whole && e.signed > s.before.signed {
				s.before = e
			}
			return
		}
		r := Runs{Records: 1, Alarms: x.Alarms, BytesRead: x.Read, Stored: x.Stored, Missing: x.Missing}
		switch x.Status {
		case format.StatusComplete:
			r.Complete = 1
		case "incomplete":
			r.Incomplete = 1
		default:
			r.Failed = 1
		}
		s.runs.add(r)
		if whole && !x.Point.IsZero() && t.event(s, x.Point, event{began.Unix(), at.Unix()}) {
			s.fromRuns++ // the point itself is over, and deleted
		}
	})
}

// each gives the lines of a record that are of a kind; a line that is not is passed by.
func each[T any](f evidence.Found, take func(T)) {
	var b said
	if f.Newer || json.Unmarshal(f.Record.Body, &b) != nil {
		return
	}
	for _, raw := range b.Lines {
		var x T
		if json.Unmarshal(raw, &x) == nil {
			take(x)
		}
	}
}

// newest adds to a list that has the newest first, and drops the oldest where they are too many.
func newest[T any](list []T, x T, at func(T) string) []T {
	i := 0
	for i < len(list) && at(list[i]) > at(x) {
		i++
	}
	if list = slices.Insert(list, i, x); len(list) > maxListed {
		list = list[:maxListed]
	}
	return list
}

// Follow reads every record of a vault, checks each series and the sequence of reports, and gives each record to take, which may be nil.
// What is wrong is part of e; an error is about the vault as a whole.
func Follow(ctx context.Context, o evidence.Options, e *Evidence, take func(evidence.Found)) error {
	s := &sequence{e: e, types: map[string]*TypeCount{}}
	o.Report = func(f evidence.Finding) {
		if e.Found++; len(e.Findings) < maxFound {
			e.Findings = append(e.Findings, ChainFinding{string(f.Kind), clip(f.Name), clip(f.Detail)})
		}
	}
	o.Memory = func(f evidence.FoundSeries) error {
		if len(e.Series) < maxFound {
			e.Series = append(e.Series, Series{f.Reporter, stamp(f.Series.Time), f.Records, f.Last.Number, stamp(f.Time.Time), f.Last.Sum.String()})
		}
		return nil
	}
	o.Each = func(f evidence.Found) error {
		e.Records++
		s.count(f)
		if f.Newer {
			e.Newer++
		}
		if x, ok := LineOf(f); ok {
			s.report(f, x)
		}
		if take != nil {
			take(f)
		}
		return nil
	}
	if err := evidence.Read(ctx, o); err != nil {
		return err
	}
	for _, name := range sorted(s.types) {
		e.Types = append(e.Types, *s.types[name])
	}
	return nil
}

// sequence follows the reports of one reporter after another, in order of their records.
type sequence struct {
	e        *Evidence
	types    map[string]*TypeCount
	reporter string
	last     *Line
}

// count counts a record by its type.
func (s *sequence) count(f evidence.Found) {
	t := s.types[f.Record.Type]
	if t == nil {
		if len(s.types) == maxFound {
			return
		}
		t = &TypeCount{Type: f.Record.Type}
		s.types[f.Record.Type] = t
	}
	t.Count++
	t.Newest = max(t.Newest, stamp(f.Record.Time.Time))
}

// report takes the record of one, and looks whether it follows the one before.
func (s *sequence) report(f evidence.Found, x Line) {
	if s.reporter != f.Reporter {
		s.reporter, s.last = f.Reporter, nil
	}
	find := func(text string, args ...any) {
		s.e.Chains = append(s.e.Chains, ReportFinding{f.Reporter, x.Number, fmt.Sprintf(text, args...)})
	}
	if len(s.e.Chains) < maxFound {
		switch l := s.last; {
		case l == nil && x.Number == 1 && x.Previous != "":
			find("it is the first of its reporter, and names one before")
		case l == nil: // the first in this vault, which may have joined later
		case x.Number <= l.Number:
			find("forked: the number was given already, and number %d came before this record: two machines make reports with one key, or one was set back", l.Number)
		case x.Number > l.Number+1:
			find("missing: the report before it, number %d, left no record here", x.Number-1)
		case x.Previous != l.Figures:
			find("unchained: it names %.16s.. as the report before, which is %.16s..", x.Previous, l.Figures)
		}
	}
	s.last = &x
	x.Vaults = x.Vaults[:min(len(x.Vaults), maxListed)]
	s.e.Count++
	made := Made{Reporter: f.Reporter, At: stamp(f.Record.Time.Time), Record: f.Name, Line: x}
	s.e.Reports = newest(s.e.Reports, made, func(m Made) string { return fmt.Sprintf("%s %012d", m.At, m.Number) })
}

// Next numbers the report: after the newest of this reporter in any of the vaults.
func (r *Report) Next(reporter string) {
	id := &r.Identity
	id.Reporter, id.Number, id.Unnumbered = reporter, 1, ""
	for _, v := range r.Vaults {
		i := slices.IndexFunc(v.Evidence.Reports, func(m Made) bool { return m.Reporter == reporter })
		if i < 0 {
			continue
		}
		m := v.Evidence.Reports[i]
		if m.Number >= id.Number {
			id.Number = m.Number + 1
			id.Previous = &Previous{m.Number, m.Figures, m.Page, m.At, m.From, m.To}
		}
	}
	if p := id.Previous; p != nil {
		end, e1 := time.Parse(time.RFC3339, p.To)
		begin, e2 := time.Parse(time.RFC3339, id.From)
		if cmp.Or(e1, e2) == nil && begin.After(end) {
			id.Uncovered = int64(begin.Sub(end) / time.Second)
		}
	}
}

// Record is the line of the report's own record.
func (r *Report) Record(s Seal) Line {
	out := Line{Number: r.Identity.Number, Figures: s.Figures, Page: s.Page, From: r.Identity.From, To: r.Identity.To, Verdict: r.Verdict, Vaults: []string{}}
	if p := r.Identity.Previous; p != nil {
		out.Previous = p.Figures
	}
	for _, v := range r.Vaults {
		if format.ValidName(v.Name) {
			out.Vaults = append(out.Vaults, v.Name)
		}
	}
	return out
}

// LineOf gives what the record of a report says; false of any other record.
func LineOf(f evidence.Found) (out Line, ok bool) {
	if f.Record.Type == TypeReport {
		each(f, func(x Line) { out, ok = x, true })
	}
	return out, ok
}
