package stats

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// use is one stored object and who needs it.
type use struct {
	name    string // empty: there are no more
	size    int64  // -1: not known
	until   time.Time
	forever bool // a point needs it that is kept as the newest
	points  int64
	point   int   // the one that needs it alone; -1: there are several, or none in particular
	sources []int // that need it
	found   bool
}

// uses are all of them, on disk.
type uses struct{ c *cache.Counter }

// Close drops them.
func (u *uses) Close() error { return u.c.Close() }

// shared is a page of a needs list with the points that have it.
type shared struct {
	ref     format.PageRef
	source  int
	point   int // one of them
	points  int64
	until   time.Time
	forever bool
}

// maxPages bounds the memory of pages that are counted before they are read. One that comes beyond that is read for each of its points.
const maxPages = 1 << 16

// gather walks the needs lists of all kept points. A page that several points of a source share is read once.
func (r *run) gather(ctx context.Context) (_ *uses, err error) {
	in, err := repo.NewReader(r.o.Repository, r.o.In, nil, nil, r.o.Report)
	if err != nil {
		return nil, err
	}
	c, err := r.o.Scratch.Counter("uses")
	if err != nil {
		return nil, err
	}
	g := &gathering{run: r, in: in, u: &uses{c}, pages: map[pageOf]*shared{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	for i, p := range r.sum.Points {
		if err := g.point(ctx, i, p); err != nil {
			err = fmt.Errorf("point %s of %s: what it needs cannot be read: %w", p.ID, p.Source, err)
			if !g.passOver(ctx, p.Name, err) {
				return nil, err
			}
		}
	}
	for _, s := range g.pages {
		if err := g.walk(ctx, *s); err != nil && !g.passOver(ctx, s.ref.Object, err) {
			return nil, err
		}
	}
	for _, n := range r.o.Repository.Standing() {
		if err := g.add(n.Name, n.Size, shared{source: -1, point: -1, forever: true}); err != nil {
			return nil, err
		}
	}
	return g.u, nil
}

// passOver reports whether what could not be read is damaged or gone, and counts it: a vault that cannot be asked is an error.
func (g *gathering) passOver(ctx context.Context, name string, err error) bool {
	if !repo.Classify(ctx, err).Unusable() {
		return false
	}
	g.sum.Unread++
	if g.o.Report != nil {
		g.o.Report(repo.Finding{Kind: repo.Damaged, Name: name, Detail: err.Error()})
	}
	return true
}

type pageOf struct {
	source int
	sum    format.Hash
}

type gathering struct {
	*run
	in    *repo.Reader
	u     *uses
	pages map[pageOf]*shared
}

// point counts the pages of a point's needs list, and what holds them.
func (g *gathering) point(ctx context.Context, i int, p Point) error {
	by := shared{source: g.source[p.Source], point: i, points: 1, until: p.Until, forever: p.Until.IsZero()}
	if err := g.add(p.Name, -1, by); err != nil {
		return err
	}
	held := map[string]bool{} // a few objects a point
	var failed error
	holds := func(ref format.PageRef) {
		if ref.Object != "" && !held[ref.Object] && failed == nil {
			held[ref.Object] = true
			failed = g.add(ref.Object, -1, by)
		}
	}
	for leaf, err := range tree.Leaves(ctx, g.in.Page, p.Commit.Needs, "", holds) {
		if err != nil {
			return err
		}
		holds(leaf)
		if failed != nil {
			return failed
		}
		key := pageOf{by.source, leaf.Sum}
		s, ok := g.pages[key]
		switch {
		case ok:
			s.points++
			s.forever = s.forever || by.forever
			if by.until.After(s.until) {
				s.until = by.until
			}
		case len(g.pages) < maxPages:
			one := by
			one.ref = leaf
			g.pages[key] = &one
		default:
			one := by
			one.ref = leaf
			if err := g.walk(ctx, one); err != nil {
				return err
			}
		}
	}
	return failed
}

// walk reads a page.
func (g *gathering) walk(ctx context.Context, s shared) error {
	for n, err := range tree.Needs(ctx, g.in.Page, s.ref, nil) {
		if err != nil {
			return fmt.Errorf("what points of %s need cannot be read: %w", g.sum.Sources[s.source].Name, err)
		}
		if err := g.add(n.Name, n.Size, s); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// add counts so many points that need an object. Keys sort by name.
func (g *gathering) add(name string, size int64, s shared) error {
	point := s.point
	if s.points != 1 {
		point = -1
	}
	until := s.until.Unix()
	if s.forever {
		until = 0
	}
	return g.u.c.Add(fmt.Sprintf("%s\x00%d %d %d %d", name, max(until, 0), size, s.source, point), s.points)
}

// cursor gives the objects one by one, in the order of their names, and in the end one without a name.
func (u *uses) cursor() (next func() (*use, error), stop func()) {
	pull, stop := iter.Pull2(u.c.All())
	item, err, more := pull()
	return func() (*use, error) {
		out := &use{size: -1, point: -1}
		for more && err == nil {
			one, perr := parseUse(item.Key)
			if perr != nil {
				return nil, perr
			}
			if out.name != "" && out.name != one.name {
				return out, nil
			}
			out.join(one, item.Sum)
			item, err, more = pull()
		}
		return out, err
	}, stop
}

// join takes in more points that need the same object.
func (u *use) join(one use, points int64) {
	u.name, u.size = one.name, max(u.size, one.size)
	u.forever = u.forever || one.forever
	if one.until.After(u.until) {
		u.until = one.until
	}
	if u.points += points; u.points == 1 {
		u.point = one.point
	} else {
		u.point = -1
	}
	for _, s := range one.sources {
		if !slices.Contains(u.sources, s) {
			u.sources = append(u.sources, s)
		}
	}
}

func parseUse(key string) (u use, err error) {
	i := slices.Index([]byte(key), 0)
	if i < 0 {
		return u, fmt.Errorf("%w: an object that points need", cache.ErrCorrupt)
	}
	var until int64
	var source int
	if _, err := fmt.Sscanf(key[i+1:], "%d %d %d %d", &until, &u.size, &source, &u.point); err != nil {
		return u, fmt.Errorf("%w: an object that points need: %w", cache.ErrCorrupt, err)
	}
	u.name, u.forever = key[:i], until == 0
	if !u.forever {
		u.until = time.Unix(until, 0).UTC()
	}
	if source >= 0 {
		u.sources = []int{source}
	}
	return u, nil
}
