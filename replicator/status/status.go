// Package status says how each source stands in a vault: its newest complete point and how old that is, until when it is locked,
// when the copy was last verified and the vault last attacked as an exercise, and what is out of the ordinary. It is what a monitor
// asks every few minutes, so it costs few requests, and the reader's credential is enough.
//
// The package must never need a key, write anything, or call well what it could not look at.
package status

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options of Look.
type Options struct {
	View    browse.View
	Sources []string      // that have to be there; empty: those that the vault has. What it has beside these is given, too
	RPO     time.Duration // how old the newest complete point of one that has to be there may be; 0: any age
	Locks   bool          // the vault keeps locks
	Gaps    bool          // records that are missing or doubled are told; watch does that by itself
	Lost    []cache.Made  // points that this machine made in the vault before it was begun anew
	Now     time.Time
	Each    func(browse.Point) // is given every point, by source and time; may be nil
}

// Source is how one source stands in the vault.
type Source struct {
	Name   string
	Wanted bool          // it has to be there
	Point  *browse.Point // the newest complete one that is not marked as empty; nil: none
	Age    time.Duration // since what it holds was read
	Newest *browse.Point // the newest of all, where that is another one

	RPOMet    bool       // also where no age was asked for, but never without a point
	Mode      store.Mode // of the point's own lock
	Protected time.Time  // its end, as read back; zero: there is none, or the vault keeps none
	Held      time.Time  // until when somebody, or the guard, holds it, where that is longer than it is kept; zero: nobody does
	Short     error      // why the point is not protected as long as it is to be kept; nil: it is
	Records   Records    // what reporters said of the vault, and of this source in it
	Alarms    []string   // what somebody has to look at
	Vault     []string   // the same of the vault as a whole: it stands with each of its sources

	acked bool     // the mark of the newest point was acknowledged
	all   []placed // its points, any of which may be held
	lost  lost
}

// lost is what a vault had of a source before it was begun anew, and has no more.
type lost struct {
	points int
	newest time.Time // when that was signed
	until  time.Time // when the last of them is over
}

// placed is where a point's own object is.
type placed struct {
	id  format.Hash
	ref store.Ref
}

// ClockAlarm begins the alarm of a point that was taken in the time to come.
const ClockAlarm = "this machine's clock is wrong"

// clocksDiffer is by how much two clocks may differ before it is said.
const clocksDiffer = 5 * time.Minute

// Look gives the sources: those asked for in that order, then the others by name. What is wrong with a point or a record is part of what it
// gives; an error is about the vault as a whole.
func Look(ctx context.Context, o Options) ([]Source, error) {
	all := make(map[string]*Source)
	var names []string
	at := func(name string) *Source {
		if all[name] == nil {
			all[name] = &Source{Name: name, Wanted: len(o.Sources) == 0 || slices.Contains(o.Sources, name)}
			names = append(names, name)
		}
		return all[name]
	}
	for _, name := range o.Sources {
		at(name)
	}
	for p, err := range browse.Points(ctx, o.View, "") { // by source and time
		if err != nil {
			return nil, err
		}
		at(p.Source).take(p)
		if o.Each != nil {
			o.Each(p)
		}
	}
	for _, m := range o.Lost {
		if id, err := format.ParsePointName(m.Name); err == nil && m.Until.After(o.Now) {
			at(id.Source).lose(id, m.Until)
		}
	}
	var marked []repo.Point
	for _, s := range all {
		if p := s.newest(); p != nil && len(p.Line.Marks) > 0 {
			marked = append(marked, p.Point)
		}
	}
	said, err := read(ctx, o, names, marked)
	if err != nil {
		return nil, err
	}
	out := make([]Source, 0, len(names))
	for _, name := range names {
		s := all[name]
		s.Records = said.of(name)
		if err := s.settle(ctx, o, said); err != nil {
			return nil, err
		}
		out = append(out, *s)
	}
	return out, nil
}

// take is told of the source's points, the oldest first.
func (s *Source) take(p browse.Point) {
	switch {
	case p.Distrusted:
		return // whoever distrusted its key knows
	case p.Doubt != nil:
		s.alarm("point %.12s: %v", p.ID, p.Doubt)
	case p.Err != nil && p.Head == nil:
		s.alarm("point %.12s of %s cannot be read: %v", p.ID, p.SignedAt.UTC().Format(time.RFC3339), p.Err)
	}
	s.all = append(s.all, placed{p.ID, store.Ref{Name: p.Name, Version: p.Version}})
	s.Newest = &p
	if p.Complete() && !p.Empty() && p.Doubt == nil {
		s.Point, s.Newest = &p, nil
	}
}

// lose takes a point that the vault had before it was begun anew.
func (s *Source) lose(id format.PointID, until time.Time) {
	if slices.ContainsFunc(s.all, func(p placed) bool { return p.id == id.ID }) {
		return // somebody brought it back
	}
	s.lost.points++
	if id.SignedAt.After(s.lost.newest) {
		s.lost.newest = id.SignedAt.Time
	}
	if until.After(s.lost.until) {
		s.lost.until = until
	}
}

func (s *Source) alarm(text string, args ...any) {
	s.Alarms = append(s.Alarms, fmt.Sprintf(text, args...))
}

// settle judges what was found.
func (s *Source) settle(ctx context.Context, o Options, said *records) error {
	s.marks(said.acks)
	if err := s.holds(ctx, o, said.holds); err != nil {
		return err
	}
	if n := s.Newest; n != nil && n.Empty() && !s.acked {
		s.alarm("the newest point, %.12s of %s, found nothing where there had been something; if that is right: `holdfast run --allow-empty %s`",
			n.ID, n.SignedAt.UTC().Format(time.RFC3339), s.Name)
	}
	if n := s.Newest; n != nil && n.Line != nil && !n.Complete() {
		s.alarm("the newest point, %.12s of %s, is incomplete: %d of %d entries are missing; its run named them", n.ID, n.SignedAt.UTC().Format(time.RFC3339), n.Line.Missing, n.Line.Entries)
	}
	if l := s.lost; l.points > 0 {
		what := "a point"
		if l.points > 1 {
			what = fmt.Sprintf("%d points", l.points)
		}
		s.alarm("lost: %s that this vault held when it was wiped and begun anew, the newest signed %s, kept until %s at the longest: read what you need of that from another vault; if you know: `holdfast init --forget-lost`",
			what, at(l.newest), at(l.until))
	}
	s.Alarms = append(s.Alarms, s.Records.ofRun()...)
	s.Vault = s.Records.ofVault()
	if s.Point == nil {
		return nil
	}
	taken := s.Point.Line.TakenAt.Time
	if s.Age = o.Now.Sub(taken); s.Age < -clocksDiffer {
		s.alarm(ClockAlarm+", or the one was that made point %.12s: it was taken at %s, which is to come", s.Point.ID, taken.UTC().Format(time.RFC3339))
	}
	s.Age = max(s.Age, 0)
	s.RPOMet = o.RPO <= 0 || s.Age <= o.RPO || !s.Wanted
	if !o.Locks || s.Point.Line.Mode == "" {
		return nil
	}
	return s.lock(ctx, o)
}

// newest is the newest point of all, if what it says of itself is known.
func (s *Source) newest() *browse.Point {
	newest := s.Newest
	if newest == nil {
		newest = s.Point
	}
	if newest == nil || newest.Line == nil {
		return nil
	}
	return newest
}

// holds takes what is held of the source, and looks whether the vault's locks reach as far.
func (s *Source) holds(ctx context.Context, o Options, holds []evidence.Hold) error {
	for _, h := range holds {
		if h.Source != s.Name || h.Over(o.Now) {
			continue
		}
		if s.Point != nil && s.Point.ID == h.Point && h.Until.After(s.Point.Line.RetainUntil.Time) && h.Until.After(s.Held) {
			s.Held = h.Until.Time
		}
		i := slices.IndexFunc(s.all, func(p placed) bool { return p.id == h.Point })
		if i < 0 && o.View.Repository.Chain[0].Arrived.Truncate(time.Second).After(h.SignedAt.Time) {
			continue // the vault joined after it was made
		}
		if i < 0 {
			s.alarm("point %.12s is held until %s and is not in this vault", h.Point, h.Until.UTC().Format(time.RFC3339))
			continue
		}
		if !o.Locks || s.Point != nil && s.Point.ID == h.Point { // its lock is read in any case
			continue
		}
		_, lock, err := o.View.In.Stat(ctx, s.all[i].ref)
		if err != nil {
			return fmt.Errorf("read the lock of point %.12s of %s: %w", h.Point, s.Name, err)
		}
		if lock.Until.Before(h.Until.Time) {
			s.alarm("point %.12s is held until %s and is locked until %s: the next run, or `holdfast renew`, lengthens that",
				h.Point, h.Until.UTC().Format(time.RFC3339), lock.Until.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// marks says whether an alarm of the guard stands at the newest point.
func (s *Source) marks(acks []evidence.Ack) {
	newest := s.newest()
	if newest == nil || len(newest.Line.Marks) == 0 {
		return
	}
	if s.acked = covered(acks, newest.Point); s.acked {
		return
	}
	if newest.Line.Marked(format.MarkSuspect) {
		s.alarm("the newest point, %.12s of %s, is suspect: the guard gave an alarm; `holdfast guard %s` says more, and if the data is right: `holdfast guard ack %.12s --reason TEXT`",
			newest.ID, newest.SignedAt.UTC().Format(time.RFC3339), s.Name, newest.ID)
	}
}

// lock reads the lock of the point's own object, which is put last and reaches as far as the point is kept.
func (s *Source) lock(ctx context.Context, o Options) error {
	p := s.Point
	_, lock, err := o.View.In.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version})
	if err != nil {
		return fmt.Errorf("read the lock of point %.12s of %s: %w", p.ID, s.Name, err)
	}
	keep := p.Line.RetainUntil.Time
	if s.Held.After(keep) {
		keep = s.Held
	}
	s.Mode, s.Protected = lock.Mode, lock.Until
	switch {
	case lock.Mode == store.ModeNone:
		s.Protected = time.Time{}
		s.Short = fmt.Errorf("point %.12s is to be kept until %s and is not locked", p.ID, keep.UTC().Format(time.RFC3339))
	case lock.Until.Before(keep):
		s.Short = fmt.Errorf("point %.12s is to be kept until %s and is locked until %s: `holdfast renew` lengthens such locks",
			p.ID, keep.UTC().Format(time.RFC3339), lock.Until.UTC().Format(time.RFC3339))
	}
	return nil
}
