// Package stats adds up what lies in one vault: how much there is, what the kept recovery points need of it, what sources and points
// share, how old it is, and what goes when the next points are over.
//
// It needs the right to list and read and no key: commit objects and needs lists are plain. What is added up lies on disk, sorted by
// name, whatever the number of objects. It writes nothing to the vault. What a point needs that cannot be read is not known: such points
// are counted, so that nobody takes what only they need for superfluous.
package stats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say what is looked at.
type Options struct {
	Repository *repo.Repository
	In         store.Reader
	Scratch    *cache.Cache    // of its own, empty
	Report     repo.Report     // may be nil
	Progress   *progress.Count // versions listed; may be nil
	Now        time.Time       // by which points are over

	Each   func(store.Info)                                // is given every version that is listed; may be nil
	Misses func(h evidence.Hold, listed []repo.Point) bool // says whether the vault should have a held point that it does not list; nil: it should
}

// Size is a number of stored objects and their bytes.
type Size struct {
	Objects int64
	Bytes   int64
}

func (s *Size) add(bytes int64) { s.Objects, s.Bytes = s.Objects+1, s.Bytes+bytes }

// Source is what a source has in the vault.
type Source struct {
	Name    string
	Points  int       // that are kept
	Oldest  time.Time // when the first and the last of them were signed
	Newest  time.Time
	Content int64 // bytes that the newest one holds, before compression
	Needed  Size  // by its points
	Alone   Size  // of that, what no other source needs
}

// Point is what one point holds alone.
type Point struct {
	repo.Head
	Until time.Time // when it is over; zero: it is kept as the newest of its source
	Held  time.Time // until when somebody holds it, where that is longer than it is kept; zero: nobody does
	Alone Size      // what it needs and no other point does
}

// Age is what came in a stretch of time.
type Age struct {
	Upto time.Duration // not older than this; 0: older than all before
	Size
}

// Expiry is what no kept point needs any more after a day.
type Expiry struct {
	At     time.Time // when the last of its points is over
	Points int
	Size
}

// Summary is what there is.
type Summary struct {
	Stored   Size            // all versions under the vault's prefix; delete markers count as objects
	Needed   Size            // by kept points
	Content  Size            // of that, packs
	Shared   Size            // needed by more than one source
	Common   Size            // needed by more than one point
	Unneeded Size            // of this repository, and needed by no kept point: what is over, and index segments and placements, which runs use
	Records  Size            // reports and canaries
	Other    Size            // what is no object of this repository, and versions on top of others
	Missing  Size            // needed and not listed
	Over     int             // points that are over
	Unread   int             // points that could not be read: what they alone need counts as unneeded
	Gone     []evidence.Hold // of points that are held and that the vault lacks: what they alone need counts as unneeded, too
	Sources  []Source
	Points   []Point
	Ages     []Age    // of Stored
	Expiries []Expiry // in order of time
}

// Look adds everything up.
func Look(ctx context.Context, o Options) (_ *Summary, err error) {
	if o.Progress == nil {
		o.Progress = &progress.Count{}
	}
	o.In = flat.NewReader(o.In)
	r := &run{o: o, sum: &Summary{}}
	if err := r.findPoints(ctx); err != nil {
		return nil, err
	}
	needed, err := r.gather(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := needed.Close(); err == nil {
			err = cerr
		}
	}()
	if err := r.list(ctx, needed); err != nil {
		return nil, err
	}
	r.finish()
	return r.sum, nil
}

// run is one adding up.
type run struct {
	o      Options
	sum    *Summary
	source map[string]int // index in sum.Sources
	ends   map[int64]*Expiry
}

// findPoints lists the kept points. The newest of each source is kept whatever its time, as prune keeps it.
func (r *run) findPoints(ctx context.Context) error {
	listed, err := r.o.Repository.Points(ctx, r.o.In, "", r.o.Report)
	if err != nil {
		return err
	}
	l, err := evidence.List(ctx, evidence.Of(r.o.In, r.o.Repository), 0)
	if err != nil {
		return err
	}
	told, err := l.Holds()
	if err != nil {
		return err
	}
	r.gone(told, listed)
	holds := evidence.Ends(told, r.o.Now)
	var all []Point
	newest := map[string]int{}
	for _, p := range listed { // in order of signed time
		c, err := r.o.Repository.Commit(ctx, r.o.In, p, r.o.Report)
		if err != nil && (c == nil || !errors.Is(err, format.ErrNewer)) { // of a newer one the head says where its list is
			if !repo.Classify(ctx, err).Unusable() {
				return fmt.Errorf("point %s of %s: %w", p.ID, p.Source, err)
			}
			r.sum.Unread++ // told by Report; one bad point is no reason to say nothing of the others
			continue
		}
		x := Point{Head: repo.Head{Point: p, Commit: c}, Until: r.o.Repository.Trust().Kept(c)}
		if held := holds[p.ID]; held.After(x.Until) {
			x.Until, x.Held = held, held
		}
		all = append(all, x)
		whole := c.Status == format.StatusComplete && !c.Marked(format.MarkEmpty)
		if j, ok := newest[p.Source]; !ok || whole || all[j].Commit.Status != format.StatusComplete {
			newest[p.Source] = len(all) - 1
		}
	}
	r.source, r.ends = map[string]int{}, map[int64]*Expiry{}
	for i, p := range all {
		if newest[p.Source] == i {
			p.Until = time.Time{}
		} else if !p.Until.After(r.o.Now) {
			r.sum.Over++
			continue
		}
		r.sum.Points = append(r.sum.Points, p)
		r.counts(p)
	}
	return nil
}

// gone notes what is held and not listed, each point once.
func (r *run) gone(holds []evidence.Hold, listed []repo.Point) {
	there := map[format.Hash]bool{}
	for _, p := range listed {
		there[p.ID] = true
	}
	for _, h := range holds {
		if h.Over(r.o.Now) || there[h.Point] || r.o.Misses != nil && !r.o.Misses(h, listed) {
			continue
		}
		there[h.Point] = true
		r.sum.Gone = append(r.sum.Gone, h)
	}
}

// counts adds a kept point to its source and to the day it is over.
func (r *run) counts(p Point) {
	i, ok := r.source[p.Source]
	if !ok {
		i = len(r.sum.Sources)
		r.source[p.Source] = i
		r.sum.Sources = append(r.sum.Sources, Source{Name: p.Source, Oldest: p.SignedAt.Time})
	}
	s := &r.sum.Sources[i]
	s.Points++
	s.Newest, s.Content = p.SignedAt.Time, p.Commit.Bytes
	if !p.Until.IsZero() {
		r.end(p.Until).Points++
	}
}

// end is what is over on the day of a moment.
func (r *run) end(at time.Time) *Expiry {
	at = at.UTC()
	day := at.Truncate(24 * time.Hour).Unix()
	e, ok := r.ends[day]
	if !ok {
		e = &Expiry{At: at}
		r.ends[day] = e
	}
	if at.After(e.At) {
		e.At = at
	}
	return e
}

// ages are the stretches of time that are told apart.
func ages() []Age {
	const day = 24 * time.Hour
	return []Age{{Upto: day}, {Upto: 7 * day}, {Upto: 30 * day}, {Upto: 90 * day}, {Upto: 365 * day}, {}}
}

// list walks the vault's listing beside what is needed.
func (r *run) list(ctx context.Context, needed *uses) error {
	r.sum.Ages = ages()
	next, stop := needed.cursor()
	defer stop()
	var at *use
	var err error
	last, taken := "", false
	for info, lerr := range store.InOrder(r.o.In.Versions(ctx, "", ""), func(info store.Info) { r.stray(info) }) {
		if lerr != nil {
			return fmt.Errorf("list the vault: %w", lerr)
		}
		r.o.Progress.Done.Add(1)
		if info.Name != last {
			last, taken = info.Name, false
		}
		for at == nil || at.name != "" && at.name < info.Name {
			if at != nil && !at.found {
				r.sum.Missing.add(max(at.size, 0))
			}
			if at, err = next(); err != nil {
				return err
			}
		}
		r.ageOf(info)
		right := at.name == info.Name && !info.DeleteMarker && (at.size < 0 || at.size == info.Size)
		switch {
		case right && !taken:
			taken, at.found = true, true
			r.needed(at, info.Size)
		case at.name == info.Name, info.DeleteMarker:
			r.sum.Other.add(info.Size)
		case strings.HasPrefix(info.Name, format.PrefixReports), strings.HasPrefix(info.Name, "canary/"):
			r.sum.Records.add(info.Size)
		case ours(info.Name):
			r.sum.Unneeded.add(info.Size)
		default:
			r.sum.Other.add(info.Size)
		}
	}
	for at == nil || at.name != "" {
		if at != nil && !at.found {
			r.sum.Missing.add(max(at.size, 0))
		}
		if at, err = next(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// stray counts what is listed out of order, or under a name that is not its own.
func (r *run) stray(info store.Info) {
	r.ageOf(info)
	r.sum.Other.add(info.Size)
}

// ageOf counts a version as stored, by when it came.
func (r *run) ageOf(info store.Info) {
	if r.o.Each != nil {
		r.o.Each(info)
	}
	r.sum.Stored.add(info.Size)
	old := r.o.Now.Sub(info.Modified)
	i := slices.IndexFunc(r.sum.Ages, func(a Age) bool { return a.Upto == 0 || old <= a.Upto })
	r.sum.Ages[i].add(info.Size)
}

// needed counts an object of the right size that points need.
func (r *run) needed(u *use, size int64) {
	r.sum.Needed.add(size)
	if strings.HasPrefix(u.name, format.PrefixPacks) {
		r.sum.Content.add(size)
	}
	for _, i := range u.sources {
		s := &r.sum.Sources[i]
		s.Needed.add(size)
		if len(u.sources) == 1 {
			s.Alone.add(size)
		}
	}
	if len(u.sources) > 1 {
		r.sum.Shared.add(size)
	}
	switch {
	case u.points > 1:
		r.sum.Common.add(size)
	case u.point >= 0:
		r.sum.Points[u.point].Alone.add(size)
	}
	if !u.forever {
		r.end(u.until).add(size)
	}
}

// ours reports whether a name can be one of this repository's.
func ours(name string) bool {
	if strings.HasPrefix(name, format.PrefixPoints) {
		_, err := format.ParsePointName(name)
		return err == nil
	}
	_, err := format.ParseName(name)
	return err == nil
}

// finish puts what was counted in order.
func (r *run) finish() {
	for _, e := range r.ends {
		r.sum.Expiries = append(r.sum.Expiries, *e)
	}
	slices.SortFunc(r.sum.Expiries, func(a, b Expiry) int { return a.At.Compare(b.At) })
	slices.SortFunc(r.sum.Sources, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
}
