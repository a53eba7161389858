package watch

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// slow is how far apart may be what has to be at the same time: clocks, and a listing and what it lists.
const slow = 5 * time.Minute

// listed holds the points that are listed against those that were. set back says so where just the newest are gone.
func (l *look) listed(seen *Memory) (setBack string) {
	seen.Points = map[string]Point{}
	var last time.Time // of those that are there and were
	ends, odd := map[string]bool{}, bySource{}
	for _, p := range l.points {
		before, known := l.m.Points[p.Name]
		if p.Distrusted { // it does not have to be there, whatever end a thief gave it
			ends[p.Name] = true
			if text := distrusted(l, p, known); text != "" {
				odd.add(p.Source, p.ID.String(), text)
			}
			continue
		}
		now := remembered(l.View, p, before)
		switch {
		case known && !before.Gone.IsZero():
			l.event(Finding{Kind: Flickers, Source: p.Source, Text: fmt.Sprintf("point %.12s of %s was not listed since %s, and is again: the vault shows different things at different looks",
				p.ID, at(now.Signed), at(before.Gone))}, now.ID+at(before.Gone))
		case !known && !l.first:
			l.arrived(p, now.held().After(l.due))
		}
		if known && now.Signed.After(last) {
			last = now.Signed
		}
		if now.held().After(l.due) {
			seen.Points[p.Name] = now
		}
	}
	gone := bySource{}
	newest := true
	for _, name := range slices.Sorted(maps.Keys(l.m.Points)) {
		p := l.m.Points[name]
		if _, there := seen.Points[name]; there || ends[name] || !p.held().After(l.due) {
			continue
		}
		if p.Gone.IsZero() {
			p.Gone = l.now
		}
		seen.Points[name] = p
		l.gone = append(l.gone, p)
		newest = newest && p.Signed.After(last)
		gone.add(p.Source, p.ID, fmt.Sprintf("point %.12s of %s, which was there at the look before %s and is kept until %s, is not listed any more",
			p.ID, at(p.Signed), at(p.Gone), at(p.held())))
	}
	seen.bound()
	odd.byName().each(func(source string, things []thing) {
		l.several(Finding{Kind: Foreign, Source: source, Event: true}, "%d points that arrived were signed with a key that is distrusted: somebody has it", things)
	})
	gone.each(func(source string, things []thing) {
		l.several(Finding{Kind: Withheld, Source: source}, l.vanished(source)+" points that were there and are kept are not listed any more", things)
	})
	if was, open := l.m.Open[Finding{Kind: SetBack}.id("")]; open && len(l.gone) > 0 {
		return was.Text // what comes after it makes nothing good
	}
	if !newest || len(l.gone) < 2 || last.IsZero() {
		return ""
	}
	return fmt.Sprintf("nothing is there that came after %s, of %d points that were: the vault was set back to what it was then, or withholds what came since", at(last), len(l.gone))
}

// vanished begins what is said of many points of a source that are gone.
func (l *look) vanished(source string) string {
	if slices.ContainsFunc(l.points, func(p browse.Point) bool { return p.Source == source }) {
		return "%d"
	}
	return "the whole source has vanished: %d"
}

// remembered is what is to be known of a point at the next look.
func remembered(v browse.View, p browse.Point, before Point) Point {
	now := before
	now.Source, now.ID, now.Signed, now.Gone = p.Source, p.ID.String(), p.SignedAt.UTC(), time.Time{}
	if until := kept(v, p); until.After(now.Until) {
		now.Until = until
	}
	return now
}

// kept is until when a point is to be kept: no longer than the repository allows, whatever it says. Zero: that is not known.
func kept(v browse.View, p browse.Point) time.Time {
	if p.Line == nil {
		return time.Time{}
	}
	return v.Repository.Trust().Kept(&format.Commit{SignedAt: p.SignedAt, RetainUntil: p.Line.RetainUntil}).UTC()
}

// fresh reports whether a point arrived since the last look.
func (m *Memory) fresh(p browse.Point) bool {
	last := m.Clock
	if last.IsZero() {
		last = m.Looked
	}
	return p.Arrived.After(last.Add(-2 * slow))
}

// distrusted says what is to be told of a point that came after its key was distrusted, once. Of one that was known whoever distrusted the
// key knows.
func distrusted(l *look, p browse.Point, known bool) string {
	id := Finding{Kind: Foreign}.id("distrusted " + p.Name)
	if l.odd = append(l.odd, id); l.first || known || !l.m.fresh(p) || slices.Contains(l.m.Strangers, id) {
		return ""
	}
	return fmt.Sprintf("point %.12s of %s arrived at %s under a key that was distrusted before: somebody has that key, and may store in this vault", p.ID, at(p.SignedAt.Time), at(p.Arrived))
}

// arrived looks at a point that was not there at the last look; kept tells whether it is one that is remembered.
func (l *look) arrived(p browse.Point, kept bool) {
	fresh := l.m.fresh(p)
	if !fresh && (!kept || l.m.Full) {
		return // it is one of those that are not remembered
	}
	told := func(k Kind, text string, args ...any) {
		l.event(Finding{Kind: k, Source: p.Source, Text: fmt.Sprintf("point %.12s of %s ", p.ID, at(p.SignedAt.Time)) + fmt.Sprintf(text, args...)}, p.ID.String())
	}
	// A directory's times are those of its files, which whoever copies it may keep.
	if l.Locks && !fresh {
		told(Flickers, "arrived at %s, as the vault says now, and was not listed at the look of %s: the vault shows different things at different looks, or its clock is wrong", at(p.Arrived), at(l.m.Looked))
	}
	switch taken := p.Line; {
	case p.Late:
		told(Clock, "arrived over an hour after it was signed, at %s: it was held back, or a clock is wrong", at(p.Arrived))
	case taken != nil && taken.TakenAt.After(p.SignedAt.Add(slow)):
		told(Clock, "was taken at %s, which is after it was signed: the clock of the job or of its source is wrong", at(taken.TakenAt.Time))
	}
	if !l.Hours.hold(p.Arrived) {
		told(OffHours, "was stored at %s, outside the hours of runs, %s: somebody else may have the job's keys; if the run took so long, widen `watch.hours`", l.Hours.clock(p.Arrived), l.Hours)
	}
}
