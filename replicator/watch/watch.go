// Package watch looks at a vault again and again, from a machine that is not the job's, and says what is wrong and what has changed
// for the worse since the last look: a job that is dead, points that are not there any more, what no key of the repository
// signed, locks that became shorter, clocks that are wrong, activity outside the hours of runs. It is a dead man's switch: it says so too
// where it could not look, and where it does not remember what there was.
//
// What one look can see is package status's to say; this package adds a [Memory] of earlier looks. The reader's credential is
// enough. A look asks little, and never more because of what somebody put into the vault, but for listings: see [Look].
//
// The package must never need a key, write to a vault, print, or trust a vault, or a memory, because it was right before.
package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Kind is what sort of thing is wrong.
type Kind string

// The kinds of findings, of what is so now or, see [Finding.Event], of what happened.
const (
	Late         Kind = "late"         // a source has no complete point, or none that is young enough: the job is dead
	Withheld     Kind = "withheld"     // points, records or stored objects that were there, and have to be there still, are not
	SetBack      Kind = "set_back"     // the vault is as it was before
	Replaced     Kind = "replaced"     // there is another repository, or none any more
	Shrunk       Kind = "shrunk"       // a lock is shorter or weaker than it was, or than it has to be
	Foreign      Kind = "foreign"      // something is there that no key of the repository signed, or lies over what one did
	Keys         Kind = "keys"         // the keys of the repository were changed
	Clock        Kind = "clock"        // a clock is wrong: this machine's, the vault's, or that of what was stored
	OffHours     Kind = "hours"        // something was stored outside the hours of runs
	Flickers     Kind = "flickers"     // the vault shows different things at different looks
	Attention    Kind = "attention"    // what status says is to be looked at
	Unremembered Kind = "unremembered" // nothing is known of earlier looks
	Unreadable   Kind = "unreadable"   // the vault could not be looked at
)

// Finding is one thing that is wrong.
type Finding struct {
	Kind   Kind      `json:"kind"`
	Source string    `json:"source,omitempty"` // empty: it is of the vault
	Text   string    `json:"text"`
	Since  time.Time `json:"since"`           // when it was first seen, by this machine's clock
	New    bool      `json:"new"`             // it was not so, or not known, at the last look
	Event  bool      `json:"event"`           // it happened; it is told for [Lasts], and is no state that could end
	ID     string    `json:"id"`              // the same at each look; letters and digits
	Count  int       `json:"count,omitempty"` // how many things it is about, where they are told together; more of them are New
	Many   bool      `json:"many,omitempty"`  // it stands for all of its kind and source that were told one by one while they were few
	Err    error     `json:"-"`               // of Unreadable and Replaced
}

// Lasts is how long what happened is told, so that whoever looks once a day hears of it.
const Lasts = 24 * time.Hour

// Options of Look.
type Options struct {
	View     browse.View
	Err      error            // why the vault could not be opened, or its repository not be recognised: then there is no View
	Pinned   bool             // the repository is known from elsewhere than this vault and the memory
	Inspect  store.Inspector  // tells the vault's clock; nil: it has none of its own
	Noticed  []repo.Finding   // while it was opened
	Sources  []string         // that have to be there; none: those that the vault has, or had
	Asked    bool             // this look was asked for these alone: of others it does not say whether they are late
	Locks    bool             // the vault keeps locks
	Allowed  time.Duration    // how old the newest complete point of a source may be; 0: any age
	Hours    Hours            // in which something may be stored; zero: always
	Expected bool             // that nothing is remembered: it is the first look
	Now      func() time.Time // this machine's clock
}

// Report is what a look came to.
type Report struct {
	Findings []Finding       // the worst kinds first
	Over     []Finding       // what was so at the last look, and is not any more
	Sources  []status.Source // how they stand; none where the vault could not be looked at
	Known    int             // things that no key of the repository signed and that were told before
	First    bool            // nothing was remembered
}

// look is one look.
type look struct {
	Options
	m       *Memory
	now     time.Time // when the look began
	first   bool
	found   // what is so now
	noticed notes
	points  []browse.Point // all that are listed
	gone    []Point        // that are not listed any more, and have to be
	clock   time.Time      // the vault's; zero: not known
	due     time.Time      // by which things are over; zero: nothing is
	odd     []string       // strangers, as the memory writes them, that readers do not notice
	heard   bool           // strangers were told
	known   int
}

// Look looks at one vault, and remembers what it saw.
//
// It costs what status does: a listing of descriptors, points and records, the commit objects of at most 64 points a source, at most 400
// records and the lock of the newest point of each source; and besides one or two requests for the clock, one listing of records, the locks of
// at most 512 points in governance mode or 16 in compliance mode, one page of a listing of stored objects, and the locks of at most
// 64 of these (governance) or 8. Of a directory it looks at the names and sizes of 64 stored objects, and reads a page of one point's needs list,
// with those above it. Where locks are looked at in rotation, those that were not looked at for longest come first.
func Look(ctx context.Context, o Options, m *Memory) Report {
	l := &look{Options: o, m: m, first: m.Looked.IsZero(), found: found{}}
	l.now = o.Now()
	l.due = l.now
	r := Report{First: l.first}
	err := o.Err
	if err == nil {
		r.Sources, err = l.whole(ctx)
	}
	if err != nil {
		if !l.heard { // what was listed was seen, though not all
			l.foreign(true)
		}
		l.failed(err)
	}
	r.Known = l.known
	r.Findings, r.Over = l.settle(err == nil)
	return r
}

// errOther: the repository is not the one that is remembered.
var errOther = errors.New("another repository stands in the place of the one that was seen at the last look")

// failed says why a vault could not be looked at.
func (l *look) failed(err error) {
	gone := errors.Is(err, repo.ErrNoRepository) || errors.Is(err, repo.ErrNoDescriptor) || errors.Is(err, repo.ErrFingerprint) ||
		errors.Is(err, repo.ErrAmbiguous) || errors.Is(err, errOther)
	if !gone || l.first {
		l.state(Finding{Kind: Unreadable, Text: fmt.Sprintf("the vault cannot be looked at: %v", err), Err: err}, "")
		return
	}
	l.state(Finding{Kind: Replaced, Err: err, Text: fmt.Sprintf("the repository %.16s is not there as it was at the last look, of %s, when it had %d points: %v",
		l.m.Repository, at(l.m.Looked), len(l.m.Points), err)}, "")
}

// whole looks at all there is. An error is about the vault as a whole, and then nothing that was seen is remembered.
func (l *look) whole(ctx context.Context) ([]status.Source, error) {
	if err := l.sameRepository(); err != nil {
		return nil, err
	}
	seen := *l.m // its maps are not changed before all was seen
	seen.Repository = l.View.Repository.Fingerprint
	l.ownClock()
	if err := l.vaultClock(ctx, &seen); err != nil {
		return nil, err
	}
	l.chain(&seen)
	sources, err := l.status(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.records(ctx, &seen); err != nil {
		return nil, err
	}
	back := l.listed(&seen)
	l.lost()
	l.foreign(false) // now: they are told, whatever comes of the rest
	seen.Strangers = l.m.Strangers
	if l.Locks {
		if err := l.locks(ctx, &seen, sources); err != nil {
			return nil, err
		}
		if err := l.sentinels(ctx, &seen); err != nil {
			return nil, err
		}
	} else if err := stored(ctx, l, &seen); err != nil {
		return nil, err
	}
	if back != "" {
		l.state(Finding{Kind: SetBack, Text: back}, "")
	}
	seen.Looked, seen.Clock = l.now, l.clock
	seen.Open, seen.Events = l.m.Open, l.m.Events
	*l.m = seen
	return sources, nil
}

// sameRepository holds the repository against the one that is remembered.
func (l *look) sameRepository() error {
	now := l.View.Repository.Fingerprint
	switch {
	case l.first && l.Expected:
	case l.first:
		l.event(Finding{Kind: Unremembered, Text: "nothing is remembered of earlier looks at this vault, so this look can only say how it stands now. That is right for a first look " +
			"(--first says so beforehand); else what is remembered was lost: compare `holdfast points` with what there has to be"}, "")
	case l.m.Repository == now:
	case l.Pinned: // somebody changed the pin, and knows
		lost := l.m.Repository
		l.m.forget()
		l.first = true
		l.event(Finding{Kind: Unremembered, Text: fmt.Sprintf("what is remembered is of another repository, %.16s, and is not used: this look can only say how %.16s, the pinned one, stands now", lost, now)}, "")
	default:
		return fmt.Errorf("it is %.16s: %w; if that is right, pin it with `fingerprint:` or --fingerprint", now, errOther)
	}
	return nil
}

// chain holds the descriptors against those that are remembered.
func (l *look) chain(seen *Memory) {
	var now []format.Hash
	for _, d := range l.View.Repository.Chain {
		now = append(now, d.Sum)
	}
	before := l.m.Chain
	for n, sum := range before {
		if n < len(now) && now[n] == sum {
			continue
		}
		l.state(Finding{Kind: Withheld, Text: fmt.Sprintf("the change of keys %d (%.16s..) was there at an earlier look and is not any more: keys that were dropped count again; "+
			"the vault withholds it, or was set back", n, sum)}, "chain")
		return // what is remembered stays: it may come back
	}
	for n := len(before); n < len(now) && !l.first; n++ {
		d := l.View.Repository.Chain[n]
		l.event(Finding{Kind: Keys, Text: fmt.Sprintf("the keys of the repository were changed: descriptor %d (%.16s..), made %s, stored %s; if that was not you, see "+
			"\"Somebody who changes the keys\" in the threat model", n, d.Sum, at(d.Created.Time), at(d.Arrived))}, d.Sum.String())
	}
	seen.Chain = now
}

// status asks how the sources stand, and gathers all points on the way.
func (l *look) status(ctx context.Context) ([]status.Source, error) {
	o := status.Options{View: l.View, Sources: slices.Clone(l.Sources), RPO: l.Allowed, Locks: l.Locks, Now: l.now}
	o.View.Report, o.View.Now = l.noticed.add, func() time.Time { return l.now }
	for _, f := range l.Noticed {
		l.noticed.add(f)
	}
	if len(o.Sources) == 0 { // a source that vanished has to be there as well
		o.Sources = l.m.sources(l.due)
	}
	o.Each = func(p browse.Point) { l.points = append(l.points, p) }
	sources, err := status.Look(ctx, o)
	if err != nil {
		return nil, err
	}
	if len(sources) == 0 {
		l.state(Finding{Kind: Late, Text: "there are no recovery points, and no source that is to be kept in this vault"}, "empty")
	}
	for i, s := range sources {
		l.source(s)
		if i == 0 {
			attention(l, "", s.Vault)
		}
	}
	return sources, nil
}

// source says what status found of one.
func (l *look) source(s status.Source) {
	switch {
	case !s.Wanted:
	case s.Point == nil:
		l.state(Finding{Kind: Late, Source: s.Name, Text: "there is no complete point"}, "")
	case !s.RPOMet:
		l.state(Finding{Kind: Late, Source: s.Name, Text: fmt.Sprintf("what the newest complete point, %.12s, holds is of %s, %s ago; at most %s is allowed: the job does not run, or does not come to an end",
			s.Point.ID, at(s.Point.Line.TakenAt.Time), beyond(s.Age, l.Allowed), span(l.Allowed))}, "")
	}
	attention(l, s.Name, s.Alarms)
}

// attention says what somebody has to look at, of a source or of the vault.
func attention(l *look, source string, alarms []string) {
	like := map[string]int{}
	for _, text := range alarms {
		like[alike(text)]++
	}
	for _, text := range alarms {
		f := Finding{Kind: Attention, Source: source, Text: text}
		if strings.HasPrefix(text, status.ClockAlarm) {
			f.Kind = Clock
		}
		if n := like[alike(text)]; n > 1 { // the first of them tells of all
			f.Count, f.Text = n, fmt.Sprintf("%s (and %d more like it; `holdfast status` names them)", text, n-1)
		}
		l.state(f, alike(text))
	}
}

// order is that of kinds in a report.
func (k Kind) order() int {
	return slices.Index([]Kind{Replaced, SetBack, Withheld, Late, Shrunk, Foreign, Keys, Flickers, Clock, OffHours, Unreadable, Attention, Unremembered}, k)
}

// inOrder sorts findings: the worst kinds first, the vault's own before those of its sources.
func inOrder(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(a.Kind.order()-b.Kind.order(), strings.Compare(a.Source, b.Source), a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
}

// at writes a time for people.
func at(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// beyond writes a length of time that is more than most, so that it reads as more.
func beyond(d, most time.Duration) string {
	if text := span(d); text != span(most) {
		return text
	}
	return span(most) + " and " + max((d-most).Round(time.Second), time.Second).String()
}

// span writes a length of time for people.
func span(d time.Duration) string { return d.Round(time.Minute).String() }
