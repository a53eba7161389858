package report

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// event is one complete point: when it was taken, and when it was there. Unix seconds.
type event struct{ taken, signed int64 }

// folding is one source being added up. Of a point of the period 16 bytes are kept and the beginning of its ID; of others nothing.
type folding struct {
	points               int
	oldest               time.Time
	complete, incomplete int // of the period
	events               []event
	ids                  map[uint64]bool
	before               event // the newest complete one before the period
	firstRun             time.Time
	fromRuns             int
	runs                 Runs
	shortly              time.Duration // the shortest that one of its points is kept
}

const maxSources = 4096 // that are told apart; a vault has as many names as its points' signers chose

func (l *looking) of(source string) *folding {
	f := l.ss[source]
	if f == nil && len(l.ss) < maxSources {
		f = &folding{ids: map[uint64]bool{}}
		l.ss[source] = f
	}
	return f
}

// point is given every point, by source and time.
func (l *looking) point(p browse.Point) {
	all := &l.v.Points
	all.Total++
	f := l.of(p.Source)
	if f == nil {
		l.dropped = true
		return
	}
	if f.points++; f.points == 1 {
		f.oldest = p.SignedAt.Time
	}
	switch {
	case p.Distrusted:
		all.Distrusted++
		return
	case p.Line == nil:
		all.Unreadable++
		return
	}
	complete := p.Complete() && !p.Empty() && p.Doubt == nil // what status takes as complete
	if len(p.Line.Marks) > 0 {
		all.Marked++
	}
	if complete {
		all.Complete++
	} else {
		all.Incomplete++
	}
	l.sample.add(p, l.o.Now)
	if kept := p.Line.RetainUntil.Sub(p.SignedAt.Time); complete && kept > 0 && (f.shortly == 0 || kept < f.shortly) {
		f.shortly = kept
	}
	switch at := p.SignedAt.Time; {
	case at.After(l.o.To):
		return
	case at.Before(l.o.From):
		if complete {
			f.before = event{p.Line.TakenAt.Unix(), at.Unix()}
		}
		return
	}
	l.month(p.SignedAt.Time, complete)
	if !complete {
		f.incomplete++
		return
	}
	f.complete++
	l.event(f, p.ID, event{p.Line.TakenAt.Unix(), p.SignedAt.Unix()})
}

// event keeps a complete point of the period, once. It is false where that is kept already.
func (l *looking) event(f *folding, id format.Hash, e event) bool {
	key := binary.BigEndian.Uint64(id[:8])
	if f.ids[key] {
		return false
	}
	if l.events == maxEvents {
		l.dropped = true
		return false
	}
	l.events++
	f.ids[key] = true
	f.events = append(f.events, e)
	return true
}

// maxMonths bounds what is told by month: a hundred years.
const maxMonths = 1200

func (l *looking) month(at time.Time, complete bool) {
	name := monthOf(at)
	all := &l.v.Points.Months
	i, ok := slices.BinarySearchFunc(*all, name, func(m Month, name string) int { return strings.Compare(m.Month, name) })
	if !ok {
		if len(*all) >= maxMonths {
			return
		}
		*all = slices.Insert(*all, i, Month{Month: name})
	}
	if complete {
		(*all)[i].Complete++
	} else {
		(*all)[i].Incomplete++
	}
}

// fold puts what was added up into the sources.
func (l *looking) fold() {
	if l.dropped {
		l.unknown("targets", "all of the sequence", "there are more points or sources than one report keeps in memory: gaps may be told that are none")
	}
	for i := range l.v.Sources {
		s := &l.v.Sources[i]
		f := l.ss[s.Source]
		if f == nil {
			s.Gaps = []Gap{}
			continue
		}
		s.Kept, s.Complete, s.Incomplete, s.Oldest = f.points, f.complete, f.incomplete, stamp(f.oldest)
		s.FromRuns, s.Runs = f.fromRuns, f.runs
		f.gaps(s, l.o, time.Duration(l.r.Targets.Allowed)*time.Second)
		l.v.Runs.add(f.runs)
	}
}

func (r *Runs) add(o Runs) {
	r.Records, r.Complete, r.Incomplete, r.Failed, r.Alarms = r.Records+o.Records, r.Complete+o.Complete, r.Incomplete+o.Incomplete, r.Failed+o.Failed, r.Alarms+o.Alarms
	r.BytesRead, r.Stored, r.Missing = r.BytesRead+o.BytesRead, r.Stored+o.Stored, r.Missing+o.Missing
}

// gaps finds how old the newest complete point ever was in the period. A point that is over is deleted, as it should be; so from points alone it is only known for as far back
// as none can be over yet, and from the records of runs for as far back as there are some.
func (f *folding) gaps(s *Source, o Options, allowed time.Duration) {
	s.Gaps = []Gap{}
	slices.SortFunc(f.events, func(a, b event) int { return cmp.Or(cmp.Compare(a.signed, b.signed), cmp.Compare(a.taken, b.taken)) })
	from := o.Now.Add(-f.shortly)
	if !f.firstRun.IsZero() && f.firstRun.Before(from) {
		from = f.firstRun
	}
	if from.Before(o.From) {
		from = o.From
	}
	if f.before.signed == 0 && len(f.events) == 0 {
		return // there is nothing to judge
	}
	last, seen := f.before.taken, f.before.signed != 0
	start := from.Unix()
	s.JudgedFrom = stamp(from)
	var worst int64
	step := func(taken, until int64) {
		if age := until - taken; age > 0 {
			worst = max(worst, age)
			if allowed > 0 && age > int64(allowed/time.Second) {
				s.gap(Gap{stamp(time.Unix(taken, 0)), stamp(time.Unix(until, 0)), age})
			}
		}
	}
	for _, e := range f.events {
		if seen && e.signed > start {
			step(max(last, start), e.signed) // what was before that nobody knows
		}
		if !seen || e.taken > last {
			last, seen = e.taken, true
		}
	}
	end := o.To
	if o.Now.Before(end) {
		end = o.Now
	}
	step(last, end.Unix())
	s.Achieved = &worst
}

// gap takes a gap among the longest.
func (s *Source) gap(g Gap) {
	s.GapCount++
	i, _ := slices.BinarySearchFunc(s.Gaps, g, func(a, b Gap) int { return cmp.Compare(b.Seconds, a.Seconds) })
	if s.Gaps = slices.Insert(s.Gaps, i, g); len(s.Gaps) > maxGaps {
		s.Gaps = s.Gaps[:maxGaps]
	}
}

func levels() []verify.Level { return []verify.Level{verify.Locks, verify.Bytes, verify.Content} }

// stamp writes a time; empty for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func monthOf(t time.Time) string { return t.UTC().Format("2006-01") }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clip bounds a text that others may have written, and makes it valid.
func clip(s string) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + " .."
	}
	return s
}
