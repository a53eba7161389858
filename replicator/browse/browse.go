// Package browse looks into a vault: which points there are, which one a POINT names, what is in it, where a file is, and
// what changed between two points.
//
// Everything streams: a point of a billion entries costs the pages that are looked at and no memory to speak of, and two
// points are compared without loading what they share. The package needs a reader of one vault, and a key only for names.
// It must never print, never write to a vault, and never take a point whose name its repository did not sign.
package browse

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// View is one vault's repository as it is looked at.
type View struct {
	Repository *repo.Repository
	In         store.Reader
	Vault      string           // its name, as runs call it; anything else, such as a URL, where that is not known
	Made       []cache.Made     // points that this machine remembers to have made there: those that are not listed are reported
	Report     repo.Report      // what was noticed on the way; may be nil
	Now        func() time.Time // by which points are over; nil: the machine's clock

	// PassedOver is told of points marked as empty that came after the one that was taken, how many and the newest; may be nil.
	PassedOver func(n int, newest Point)

	base *Point    // of the source at hand, whose commit object was read
	told repo.Told // of points that are not listed
}

// now is the time by which points are over.
func (v View) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

// Point is a recovery point with what is known of it.
type Point struct {
	repo.Point
	Line   *format.PointLine // what is listed of it; nil where Err is set
	Commit *format.Commit    // nil where Err is set, and where a points list told of it: see Read
	Doubt  error             // why it is not trusted for what it says; nil where it is, or only its key is not
	Err    error             // the commit object cannot be read
	Head   *format.Commit    // where a newer program is needed to read it: what its head says; then Err is format.ErrNewer
}

// Kept is what is known of a point's keeping: its commit object, or the head of one that only a newer program can read; nil
// where neither can be read.
func (p Point) Kept() *format.Commit {
	if p.Commit == nil {
		return p.Head
	}
	return p.Commit
}

// Complete reports whether the point is known to be complete.
func (p Point) Complete() bool { return p.Line != nil && p.Line.Status == format.StatusComplete }

// Empty reports whether the point is marked: nothing was found where there had been something, and nobody said that this is right.
func (p Point) Empty() bool { return p.Line != nil && p.Line.Marked(format.MarkEmpty) }

// ahead is how many commit objects are fetched at once.
const ahead = 16

// Points gives the points of source ("": of all), by source and time, oldest first. A point whose commit object is lost
// or damaged is given with its Err; any other error ends the sequence.
func Points(ctx context.Context, v View, source string) iter.Seq2[Point, error] {
	return func(yield func(Point, error) bool) {
		listed, err := v.Repository.Points(ctx, v.In, source, v.Report)
		if err != nil {
			yield(Point{}, err)
			return
		}
		v := v
		v.told = repo.Told{}
		repo.CheckMade(listed, v.Made, source, v.now(), v.told, v.Report)
		slices.SortStableFunc(listed, func(a, b repo.Point) int { return compare(a.Source, b.Source) })
		for len(listed) > 0 {
			n := slices.IndexFunc(listed, func(p repo.Point) bool { return p.Source != listed[0].Source })
			if n < 0 {
				n = len(listed)
			}
			if !v.source(ctx, listed[:n], yield) {
				return
			}
			listed = listed[n:]
		}
	}
}

// fewPoints of a source have their commit objects read, each; of more, those that the list of the newest tells of are not.
const fewPoints = 64

// source gives the points of one source, and reports those that are withheld.
func (v View) source(ctx context.Context, listed []repo.Point, yield func(Point, error) bool) bool {
	if !v.Repository.Vouched() { // nobody knows whose list it is
		return give(ctx, v, listed, nil, yield)
	}
	base, earlier, err := v.earlier(ctx, listed)
	if err != nil {
		return yield(Point{}, err)
	}
	if len(listed) <= fewPoints {
		earlier = nil
	}
	v.base = base
	return give(ctx, v, listed, earlier, yield)
}

// earlier reads the list of the newest point of a source that came in time and can be read, and reports the points that are in
// it and withheld. base is that point as it was read. listed are all of the source, in order of time. Without a list that can be
// read it gives none.
func (v View) earlier(ctx context.Context, listed []repo.Point) (base *Point, _ repo.Earlier, err error) {
	reader, err := repo.NewReader(v.Repository, v.In, nil, nil, v.Report)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range slices.Backward(listed) {
		if p.Late || p.Distrusted {
			continue
		}
		got, err := v.read(ctx, p)
		if err != nil {
			return nil, nil, err
		}
		c := got.Kept()
		if c == nil || got.Distrusted {
			continue
		}
		earlier, err := repo.ReadEarlier(ctx, reader.Page, c.Points)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if repo.Classify(ctx, err).OfObject() {
			v.find(c.Points.Object, err, "the list of the earlier points of "+p.Source+" cannot be read, so that nobody can tell whether some are withheld")
		}
		if err != nil {
			return &got, nil, nil // every commit object is read instead
		}
		return &got, earlier, v.Repository.CheckListed(ctx, v.In, earlier, listed, v.Vault, p.Source, v.now(), v.told, v.Report)
	}
	return nil, nil, nil
}

// Read reads the commit object of a point that a points list told of.
func (v View) Read(ctx context.Context, p Point) (Point, error) {
	if p.Commit != nil || p.Err != nil {
		return p, nil
	}
	return v.read(ctx, p.Point)
}

// NewestFirst is Points in order of time over all sources, the newest first.
func NewestFirst(ctx context.Context, v View, source string) iter.Seq2[Point, error] {
	return func(yield func(Point, error) bool) {
		listed, err := v.Repository.Points(ctx, v.In, source, v.Report)
		if err != nil {
			yield(Point{}, err)
			return
		}
		slices.Reverse(listed)
		give(ctx, v, listed, nil, yield)
	}
}

// give fetches the commit objects of points that no list tells of, some at a time, and hands the points on in order.
func give(ctx context.Context, v View, listed []repo.Point, earlier repo.Earlier, yield func(Point, error) bool) bool {
	for some := range slices.Chunk(listed, ahead) {
		out := make([]Point, len(some))
		g, gctx := errgroup.WithContext(ctx)
		for i, p := range some {
			if line, ok := earlier[p.ID]; ok && line.SignedAt.Equal(p.SignedAt.Time) {
				out[i] = Point{Point: p, Line: &line}
				continue
			}
			if v.base != nil && v.base.Name == p.Name {
				out[i] = *v.base
				continue
			}
			g.Go(func() (err error) {
				out[i], err = v.read(gctx, p)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return yield(Point{}, err)
		}
		for _, p := range out {
			if !yield(p, nil) {
				return false
			}
		}
	}
	return true
}

// read fetches a commit object. The error is one that says nothing of the object itself.
func (v View) read(ctx context.Context, p repo.Point) (Point, error) {
	c, err := v.Repository.Commit(ctx, v.In, p, v.Report)
	got, err := known(ctx, p, c, err)
	if c := got.Kept(); c != nil {
		got.Doubt = v.Repository.Trust().Doubt(c)
		got.Distrusted = got.Distrusted || got.Doubt != nil
	}
	return got, err
}

// known puts together what reading a commit object came to.
func known(ctx context.Context, p repo.Point, c *format.Commit, err error) (Point, error) {
	if errors.Is(err, format.ErrNewer) {
		return Point{Point: p, Err: err, Head: c}, nil
	}
	if err != nil && !repo.Classify(ctx, err).Lost() {
		return Point{}, err
	}
	if err != nil {
		return Point{Point: p, Err: err}, nil
	}
	line := c.Line(p.ID)
	return Point{Point: p, Line: &line, Commit: c}, nil
}

// report passes on that something of a point could not be read.
func (v View) report(name string, err error) {
	v.find(name, err, "passed over, as if it were not there")
}

// find reports an object that could not be read, with what comes of that.
func (v View) find(name string, err error, what string) {
	if v.Report == nil {
		return
	}
	kind := repo.Damaged
	switch {
	case errors.Is(err, repo.ErrMissing) || errors.Is(err, store.ErrNotFound):
		kind = repo.Missing
	case errors.Is(err, format.ErrNewer):
		kind = repo.Tampered // or a program newer than this one was here: either way somebody has to look
	}
	v.Report(repo.Finding{Kind: kind, Name: name, Detail: fmt.Sprintf("%s: %v", what, err)})
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
