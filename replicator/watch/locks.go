package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// How many locks are read at a look, by whether somebody with a right to it can shorten them or one is wrong, and how many at once.
const (
	governedPoints  = 512
	pointsInTurn    = 16
	allSentinels    = 64
	sentinelsInTurn = 8
	newSentinels    = 8
	atOnce          = 16
)

// locks reads locks of points' own objects, and holds them against what they were and what they have to be.
func (l *look) locks(ctx context.Context, seen *Memory, sources []status.Source) error {
	var some []browse.Point
	governed := func(p browse.Point) bool {
		was := seen.Points[p.Name]
		return was.Mode == store.Governance || was.Wrong != "" || p.Line != nil && store.Mode(p.Line.Mode) == store.Governance
	}
	newest := map[string]status.Source{} // whose locks were read already
	for _, s := range sources {
		if s.Point != nil && s.Point.Line.Mode != "" {
			newest[s.Point.Name] = s
		}
	}
	for _, p := range l.points {
		if _, kept := seen.Points[p.Name]; kept && newest[p.Name].Point == nil {
			some = append(some, p)
		}
	}
	slices.SortStableFunc(some, func(a, b browse.Point) int { return seen.Points[a.Name].Read.Compare(seen.Points[b.Name].Read) })
	left := map[bool]int{true: governedPoints, false: pointsInTurn}
	some = slices.DeleteFunc(some, func(p browse.Point) bool {
		left[governed(p)]--
		return left[governed(p)] < 0
	})
	locks := make([]store.Retention, len(some))
	wrong := make([]error, len(some))
	err := each(ctx, len(some), func(ctx context.Context, i int) (err error) {
		locks[i], wrong[i], err = l.lock(ctx, store.Ref{Name: some[i].Name, Version: some[i].Version})
		return err
	})
	if err != nil {
		return fmt.Errorf("read locks of points: %w", err)
	}
	for i, p := range some {
		l.judge(seen, p, locks[i], wrong[i])
	}
	for name, s := range newest {
		if _, kept := seen.Points[name]; kept {
			l.judge(seen, *s.Point, store.Retention{Mode: s.Mode, Until: s.Protected}, nil)
		}
	}
	for _, s := range sources { // held, say, and for longer than it is locked
		if s.Short != nil && s.Point != nil && seen.Points[s.Point.Name].Wrong == "" {
			l.state(Finding{Kind: Shrunk, Source: s.Name, Text: "the newest complete " + s.Short.Error()}, "newest")
		}
	}
	short := bySource{}
	for _, p := range seen.Points { // also those that were not looked at now
		if p.Wrong != "" && p.Gone.IsZero() {
			short.add(p.Source, p.ID, p.Wrong)
		}
	}
	short.each(func(source string, things []thing) {
		l.several(Finding{Kind: Shrunk, Source: source}, "%d locks of points are not what they were, or have to be", things)
	})
	return nil
}

// judge holds the lock of a point's own object against what it was and what it has to be.
func (l *look) judge(seen *Memory, p browse.Point, lock store.Retention, wrong error) {
	now := seen.Points[p.Name]
	now.Read, now.Wrong = l.now, ""
	what := fmt.Sprintf("the lock of point %.12s of %s", p.ID, at(now.Signed))
	switch why := shrunk(store.Retention{Mode: now.Mode, Until: now.Locked}, lock, l.due); {
	case errors.Is(wrong, store.ErrNotFound):
		now.Wrong = fmt.Sprintf("point %.12s is listed, and what is listed is not there", p.ID)
	case wrong != nil:
		now.Wrong = fmt.Sprintf("%s cannot be read: %v", what, wrong)
	case why != "":
		now.Wrong = what + " " + why
	case p.Line != nil && p.Line.Mode != "" && now.Until.After(l.due) && !lock.Covers(store.Retention{Mode: store.Mode(p.Line.Mode), Until: kept(l.View, p)}):
		now.Wrong = fmt.Sprintf("%s is %s: the point is to be kept until %s", what, written(lock), at(kept(l.View, p)))
	default:
		now.Mode, now.Locked = lock.Mode, lock.Until.UTC()
	}
	seen.Points[p.Name] = now
}

// shrunk says how a lock that is not over has become shorter or weaker; empty where it has not.
func shrunk(was, is store.Retention, now time.Time) string {
	switch {
	case was.Mode == store.ModeNone || !was.Until.After(now):
		return ""
	case is.Mode == store.ModeNone || is.Until.IsZero():
		return fmt.Sprintf("was %s and is gone: somebody with the right to it took it off, or the vault does not keep locks", written(was))
	case is.Until.Before(was.Until):
		return fmt.Sprintf("was %s and is %s: it is shorter than it was", written(was), written(is))
	case was.Mode == store.Compliance && is.Mode != store.Compliance:
		return fmt.Sprintf("was %s and is %s: it is weaker than it was", written(was), written(is))
	}
	return ""
}

// written writes a lock for people.
func written(r store.Retention) string {
	if r.Mode == store.ModeNone {
		return "none"
	}
	return fmt.Sprintf("%s until %s", r.Mode, at(r.Until))
}

// lock reads one lock. wrong is why that of this object cannot be read: whoever may store puts objects there that nobody may look at.
func (l *look) lock(ctx context.Context, ref store.Ref) (lock store.Retention, wrong, err error) {
	_, lock, err = l.View.In.Stat(ctx, ref)
	if repo.Classify(ctx, err).OfObject() {
		return store.Retention{}, err, nil
	}
	return lock, nil, err
}

// each does something some times, a few at once.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// sentinels looks at stored objects that were picked by chance. Who wants to destroy a copy has to take the locks off what points need, and off
// much of it: nobody else knows which objects are looked at.
func (l *look) sentinels(ctx context.Context, seen *Memory) error {
	all := slices.DeleteFunc(slices.Clone(l.m.Sentinels), func(s Sentinel) bool { return !s.Until.After(l.due) })
	slices.SortStableFunc(all, func(a, b Sentinel) int { return a.Read.Compare(b.Read) })
	turn := sentinelsInTurn
	if slices.ContainsFunc(all, func(s Sentinel) bool { return s.Mode == store.Governance || s.Wrong != "" }) {
		turn = allSentinels
	}
	turn = min(turn, len(all))
	err := each(ctx, turn, func(ctx context.Context, i int) error { return l.sentinel(ctx, &all[i]) })
	if err != nil {
		return fmt.Errorf("read locks of stored objects: %w", err)
	}
	sentinelsTold(l, all, Withheld, "are gone", func(s Sentinel) bool { return s.Gone })
	sentinelsTold(l, all, Attention, "have a lock that cannot be read", func(s Sentinel) bool { return s.Closed })
	sentinelsTold(l, all, Shrunk, "have a lock that became shorter or weaker", func(s Sentinel) bool { return s.Wrong != "" && !s.Gone && !s.Closed })
	return l.pick(ctx, seen, all)
}

// sentinelsTold says of those of the stored objects that are looked at for which that is so what is wrong with them.
func sentinelsTold(l *look, all []Sentinel, kind Kind, what string, so func(Sentinel) bool) {
	var texts []string
	for _, s := range all {
		if so(s) {
			texts = append(texts, s.Wrong)
		}
	}
	if n := len(texts); n > 0 {
		slices.Sort(texts)
		l.state(Finding{Kind: kind, Count: n, Text: fmt.Sprintf("of the %d stored objects that are looked at, %d %s: %s", len(all), n, what, strings.Join(texts[:min(n, 3)], "; "))}, "sentinels")
	}
}

// sentinel looks at one.
func (l *look) sentinel(ctx context.Context, s *Sentinel) error {
	lock, wrong, err := l.lock(ctx, store.Ref{Name: s.Name, Version: s.Version})
	if err != nil {
		return err
	}
	s.Read, s.Gone = l.now, errors.Is(wrong, store.ErrNotFound)
	s.Closed = wrong != nil && !s.Gone
	was := store.Retention{Mode: s.Mode, Until: s.Until}
	switch s.Wrong = shrunk(was, lock, l.due); {
	case s.Closed:
		s.Wrong = fmt.Sprintf("that of %s, which was %s: %v", s.Name, written(was), wrong)
	case s.Gone:
		s.Wrong = fmt.Sprintf("%s, which was locked (%s)", s.Name, written(was))
	case s.Wrong != "":
		s.Wrong = "that of " + s.Name + " " + s.Wrong
	default:
		s.Mode, s.Until = lock.Mode, lock.Until.UTC()
	}
	return nil
}

// pick picks further sentinels from one page of a listing, and looks there for what came outside the hours of runs.
func (l *look) pick(ctx context.Context, seen *Memory, all []Sentinel) error {
	folders := []string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds}
	folder := folders[l.m.Next%len(folders)]
	seen.Next, seen.Sentinels = (l.m.Next+1)%len(folders), all
	page, err := l.page(ctx, folder)
	if err != nil {
		return fmt.Errorf("list stored objects: %w", err)
	}
	odd := 0
	var when time.Time
	for _, info := range page {
		if !l.first && info.Modified.After(l.m.Clock) && !l.m.Clock.IsZero() && !l.Hours.hold(info.Modified) {
			odd, when = odd+1, info.Modified
		}
	}
	if odd > 0 {
		l.event(Finding{Kind: OffHours, Text: fmt.Sprintf("of %d stored objects under %s that were looked at, %d came since the last look and outside the hours of runs, %s, one at %s: "+
			"somebody else may have the job's keys; if a run took so long, widen `watch.hours`", len(page), folder, odd, l.Hours, l.Hours.clock(when))}, "stored"+at(l.m.Looked))
	}
	rand.Shuffle(len(page), func(i, j int) { page[i], page[j] = page[j], page[i] })
	for _, info := range page {
		if len(seen.Sentinels) >= allSentinels || len(seen.Sentinels)-len(all) >= newSentinels {
			break
		}
		if slices.ContainsFunc(seen.Sentinels, func(s Sentinel) bool { return s.Name == info.Name }) {
			continue
		}
		lock, wrong, err := l.lock(ctx, info.Ref)
		if err != nil {
			return fmt.Errorf("read locks of stored objects: %w", err)
		}
		if wrong == nil && lock.Mode != store.ModeNone && lock.Until.After(l.now) {
			seen.Sentinels = append(seen.Sentinels, Sentinel{Name: info.Name, Version: info.Version, Mode: lock.Mode, Until: lock.Until.UTC(), Read: l.now})
		}
	}
	return nil
}

// page gives names of a folder from anywhere in it on, as many as a vault answers with at once; of a small folder all.
func (l *look) page(ctx context.Context, folder string) (out []store.Info, err error) {
	const most = 1000
	begin := fmt.Sprintf("%s%02x/", folder, rand.IntN(256))
	n := 0
	for _, after := range []string{begin, ""} {
		for info, err := range l.View.In.Versions(ctx, folder, after) {
			if err != nil {
				return nil, err
			}
			if n == most || after == "" && info.Name > begin {
				break
			}
			n++
			if !info.DeleteMarker && isStored(info.Name) {
				out = append(out, info)
			}
		}
	}
	return out, nil
}
