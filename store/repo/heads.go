package repo

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Head is a point with what is known of it.
type Head struct {
	Point
	Line   format.PointLine // with the vaults it is in
	Told   bool             // a points list told of it
	Commit *format.Commit   // nil where a points list told of it, until Past.Read
	Own    bool             // this machine made it, as far as its cache remembers
}

// Heads are a source's points over all vaults of a session.
type Heads struct {
	Points []Head               // in order of signed time
	Newest []format.Predecessor // the newest point of each vault, sorted, each once: what a new point follows
	List   format.PageRef       // the points list that told of those without a commit; zero: none

	Changed map[format.Hash]format.PointLine // lines of that list that do not hold any more
	Memo    *ListMemo                        // of that list, where Points are only those that count for retention; else nil

	looks []*pointsLook  // by vault
	base  format.Hash    // the point whose list that is
	read  *format.Commit // its commit object
	from  *keeper        // where that was read
}

// Past is what points there are so far.
type Past struct {
	*vaults
	content *Content
}

// Points gathers the points of one source from every active vault. Of those that stand in the points list of the newest one
// that this machine made, or, where it remembers none, of the newest that came in time, the commit objects are not read. One
// that is damaged is reported and passed over.
func (s *Past) Points(ctx context.Context, source string) (Heads, error) {
	looks := make([]*pointsLook, len(s.keepers))
	if err := s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) (err error) {
		looks[i], err = s.lookAtPoints(ctx, k, source)
		return err
	}); err != nil {
		return Heads{}, err
	}
	if h, ok, err := s.resumed(ctx, source, looks); err != nil || ok {
		return h, err
	}
	listed, told := make([][]Point, len(s.keepers)), make([]Told, len(s.keepers))
	lost := make([][]cache.Made, len(s.keepers))
	away, err := s.away(source)
	if err != nil {
		return Heads{}, err
	}
	none := func() (store.Info, error, bool) { return store.Info{}, nil, false }
	if err := s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		if looks[i].same {
			if err := s.judgePoints(ctx, k, looks[i], newListSum(), none); err != nil {
				return err
			}
		}
		made, err := s.cache.Points.All(k.vault.Name)
		if err != nil {
			return err
		}
		told[i] = Told{}
		CheckMade(looks[i].points, made, source, k.clock(), told[i], looks[i].strange(k.report))
		if len(looks[i].points) == 0 { // else a run told already
			lost[i], err = s.cache.Points.Lost(k.vault.Name)
		}
		listed[i] = slices.DeleteFunc(slices.Clone(looks[i].points), func(p Point) bool { return p.Distrusted })
		return err
	}); err != nil {
		return Heads{}, err
	}
	h := Heads{looks: looks}
	earlier, err := s.earlier(ctx, listed, &h)
	if err != nil {
		return Heads{}, err
	}
	var mu sync.Mutex
	found := map[format.Hash]Head{}
	newest := map[format.Hash]format.Predecessor{}
	anew := map[string]time.Time{} // when vaults were begun that hold nothing from before that
	there := map[string]map[format.Hash]bool{}
	err = s.eachIndexed(ctx, func(ctx context.Context, i int, k *keeper) error {
		// One that is there under a key that is distrusted is not withheld.
		checkListed(earlier, looks[i].points, []string{k.vault.Name}, source, k.clock(), told[i], looks[i].strange(k.report))
		CheckLost(looks[i].points, lost[i], source, k.clock(), told[i], looks[i].strange(k.report))
		heads, err := s.heads(ctx, k, listed[i], earlier, &h)
		if err != nil {
			return err
		}
		read := slices.DeleteFunc(slices.Clone(heads), func(h Head) bool { return h.Commit == nil })
		checkFollowed(read, looks[i].points, k.clock(), told[i], looks[i].strange(k.report))
		if len(heads) < looks[i].Count {
			looks[i].odd.Store(true)
		}
		mu.Lock()
		defer mu.Unlock()
		if began := k.chain.Chain[0].Arrived; isNew(began, listed[i]) {
			anew[k.vault.Name], there[k.vault.Name] = began, idsOf(listed[i])
		}
		for _, h := range heads {
			h.Line.Vaults = withVault(slices.Concat(h.Line.Vaults, found[h.ID].Line.Vaults, away[h.Name]), k.vault.Name)
			found[h.ID] = h
		}
		if n := len(heads); n > 0 {
			last := &heads[n-1]
			newest[last.ID] = format.Predecessor{ID: last.ID, SignedAt: last.SignedAt, RetainUntil: last.Line.RetainUntil}
		}
		return nil
	})
	if err != nil {
		return Heads{}, err
	}
	h.Changed = changedLines(earlier, anew, there)
	h.Points = slices.SortedFunc(maps.Values(found), func(a, b Head) int { return inTime(a.Point, b.Point) })
	untie(h.Points, func(h Head) Point { return h.Point }, Head.follows)
	h.Newest = slices.SortedFunc(maps.Values(newest), func(a, b format.Predecessor) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	h.Newest = h.Newest[:min(len(h.Newest), format.MaxPredecessor)]
	return h, s.markOwn(h.Points)
}

// away gives the vaults that this session does without and that have a point of the source, as far as this machine made it there and read it
// back: by its name. That they are away does not mean that they have it no more.
func (s *Past) away(source string) (map[string][]string, error) {
	out := map[string][]string{}
	for _, k := range s.keepers {
		if s.inStep(k) {
			continue
		}
		made, err := s.cache.Points.All(k.vault.Name)
		if err != nil {
			return nil, err
		}
		for _, m := range made {
			if strings.HasPrefix(m.Name, format.PrefixPoints+source+"/") && m.Until.After(k.now()) {
				out[m.Name] = append(out[m.Name], k.vault.Name)
			}
		}
	}
	return out, nil
}

// isNew reports whether a vault holds nothing from before its first descriptor arrived. One that was copied does: points that
// were signed long before.
func isNew(began time.Time, listed []Point) bool {
	early := began.Add(-time.Hour) // whatever two clocks may differ by
	return !slices.ContainsFunc(listed, func(p Point) bool { return p.SignedAt.Before(early) })
}

// changedLines gives the lines of a points list that name vaults which were lost since and begun anew, without these names: what
// they held is missed once, by the run that fills them again. What was signed before a vault began, and is not there, went with the one
// before it. (The first point of a vault may seem older than it, being signed for a second before, in whole seconds: but it is there.)
func changedLines(list Earlier, anew map[string]time.Time, there map[string]map[format.Hash]bool) map[format.Hash]format.PointLine {
	changed := map[format.Hash]format.PointLine{}
	for id, line := range list {
		gone := func(vault string) bool {
			began, ok := anew[vault]
			return ok && !line.SignedAt.After(began) && !there[vault][id]
		}
		if slices.ContainsFunc(line.Vaults, gone) {
			line.Vaults = slices.DeleteFunc(slices.Clone(line.Vaults), gone)
			changed[id] = line
		}
	}
	return changed
}

// follows gives the points that a commit names as coming before it.
func (h Head) follows() []format.Hash {
	if h.Commit == nil {
		return nil
	}
	return follows(h.Commit)
}

func follows(c *format.Commit) (out []format.Hash) {
	for _, p := range c.Predecessors {
		out = append(out, p.ID)
	}
	return out
}

// withVault puts a vault into a sorted list of names, each once, as far as a line has room for it.
func withVault(names []string, vault string) []string {
	if format.ValidName(vault) {
		names = append(names, vault)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), format.MaxPointVaults)]
}

// heads reads the commit objects of a vault's points that no list tells of, but the one whose list it is, which was read
// there. Points that cannot be read are left out.
func (s *Past) heads(ctx context.Context, k *keeper, points []Point, earlier Earlier, h *Heads) ([]Head, error) {
	heads := make([]Head, len(points))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for i, p := range points {
		if line, ok := earlier[p.ID]; ok && line.SignedAt.Equal(p.SignedAt.Time) {
			heads[i] = Head{Point: p, Line: line, Told: true}
			continue
		}
		g.Go(func() error {
			c, err := h.read, error(nil)
			if k != h.from || p.ID != h.base {
				c, err = k.commit(gctx, s.repo, p)
			}
			if Classify(gctx, err).Lost() {
				k.report.send(Damaged, p.Name, "%v", err)
				return nil
			}
			if errors.Is(err, format.ErrNewer) {
				k.report.send(Tampered, p.Name, "passed over: %v", err)
				return nil
			}
			if err != nil {
				return err
			}
			if why := s.repo.Trust().Doubt(c); why != nil {
				k.report.send(Tampered, p.Name, "passed over: %v", why)
				return nil
			}
			heads[i] = Head{Point: p, Line: c.Line(p.ID), Commit: c}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(heads, func(h Head) bool { return h.Line.ID.IsZero() }), nil
}

// earlier reads the points list to go by, and notes its root; nil where there is none, or none that can be read.
func (s *Past) earlier(ctx context.Context, listed [][]Point, h *Heads) (Earlier, error) {
	at := map[format.Hash]int{} // a vault that lists it, and has it whole where one was looked at
	points := map[format.Hash]Point{}
	for i := range listed {
		for _, p := range listed[i] {
			if q, ok := points[p.ID]; !ok || q.after == nil && p.after != nil {
				at[p.ID], points[p.ID] = i, p
			}
		}
	}
	all := slices.SortedFunc(maps.Values(points), inTime)
	// Two runs within a second, of which the later one knows more. What cannot be read stays where the timestamps put it.
	commit := func(ctx context.Context, p Point) (c *format.Commit, err error) {
		k := s.keepers[at[p.ID]]
		err = s.patiently(ctx, k, func(ctx context.Context) (err error) {
			c, err = k.commit(ctx, s.repo, p)
			return err
		})
		return c, err
	}
	if err := untieListed(ctx, all, commit); ctx.Err() != nil {
		return nil, err
	}
	base, err := s.base(all)
	if err != nil || base == nil {
		return nil, err
	}
	c, err := commit(ctx, *base)
	var earlier Earlier
	if err == nil {
		earlier, err = ReadEarlier(ctx, s.content.Page, c.Points)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, nil // every commit object is read instead, and what is wrong shows there
	}
	h.List, h.base, h.read, h.from = c.Points, base.ID, c, s.keepers[at[base.ID]]
	return earlier, nil
}

// base gives the point whose list counts: the newest that this machine made, or, where it remembers none, the newest that
// came in time. points are in order of time.
func (s *Past) base(points []Point) (*Point, error) {
	var intime *Point
	for i := range slices.Backward(points) {
		own, err := s.cache.Segments.Loaded("", ownMark(points[i].ID))
		if err != nil || own {
			return &points[i], err
		}
		if intime == nil && !points[i].Late {
			intime = &points[i]
		}
	}
	return intime, nil
}

// markOwn marks the points that this machine made: all whose commits were read, and the oldest.
func (s *Past) markOwn(points []Head) (err error) {
	first := false
	for i := range points {
		p := &points[i]
		if p.Commit == nil && first {
			continue
		}
		if p.Own, err = s.cache.Segments.Loaded("", ownMark(p.ID)); err != nil {
			return err
		}
		first = first || p.Own
	}
	return nil
}

// Read reads the commit object of a point that a points list told of, from any vault that has it.
func (s *Past) Read(ctx context.Context, h *Head) error {
	var failed error
	for _, k := range s.active() {
		if h.Commit != nil {
			return nil
		}
		failed = s.patiently(ctx, k, func(ctx context.Context) (err error) {
			h.Commit, err = s.repo.Commit(ctx, k.vault.Read, Point{PointID: h.PointID, Name: h.Name}, k.report)
			return err
		})
	}
	if h.Commit == nil && failed == nil {
		failed = s.dead()
	}
	return failed
}

// ownMark is what the cache remembers a point by that this machine makes. It is noted before the commit.
func ownMark(id format.Hash) string { return "point/" + id.String() }

// Followed gives the point that the next one is compared with, and those that count for its retention. A signature does
// not make a point true: who stole the host key can sign one that says of everything that it is unchanged and elsewhere. So
// where this machine remembers its own points, it goes on from the newest of these, and says what came after it that is
// signed with its key and not its own. A machine that lost its cache goes on from the
// newest there is that came in time.
func (s *Past) Followed(h Heads) (parent *Head, counting []Head) {
	first, own := -1, -1 // of those it made
	for i := range h.Points {
		if h.Points[i].Own {
			own = i
			if first < 0 {
				first = i
			}
		}
	}
	// A late one may fill a slot that it has no right to, and so may one that came between this machine's own. Those of the
	// list counted when it was written.
	counts := func(i int) bool {
		return h.Points[i].Commit == nil || h.Points[i].Own || !h.Points[i].Late && (first < 0 || i < first)
	}
	for i := range h.Points {
		p := &h.Points[i]
		if p.Commit == nil || s.repo.Trust().Under(p.Commit) < s.repo.Trust().Fresh() {
			if counts(i) {
				counting = append(counting, *p)
			}
			continue // what it refers to is sealed to fewer keys than what is stored now
		}
		switch {
		case own >= 0 && i > own:
			s.report.send(Tampered, p.Name, "signed with this machine's host key, and this machine has not made it since its own last point: "+
				"another machine with the same key did, or a thief: then `holdfast key rotate --distrust-after TIME`; it is not built upon")
		case counts(i):
			parent = p
			counting = append(counting, *p)
		}
	}
	return parent, counting
}
