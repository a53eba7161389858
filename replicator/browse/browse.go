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
	"io"
	"iter"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// View is one vault's repository as it is looked at.
type View struct {
	Repository *repo.Repository
	In         store.Reader
	Report     repo.Report // what was noticed on the way; may be nil

	// PassedOver is told of points marked as empty that came after the one that was taken, how many and the newest; may be nil.
	PassedOver func(n int, newest Point)
}

// Point is a recovery point with its commit object.
type Point struct {
	repo.Point
	Commit *format.Commit // nil where Err is set
	Err    error          // the commit object cannot be read
	Head   *format.Commit // where a newer program is needed to read it: what its head says; then Err is format.ErrNewer
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
func (p Point) Complete() bool { return p.Commit != nil && p.Commit.Status == format.StatusComplete }

// Empty reports whether the point is marked: nothing was found where there had been something, and nobody said that this is right.
func (p Point) Empty() bool { return p.Commit != nil && p.Commit.Marked(format.MarkEmpty) }

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
		slices.SortStableFunc(listed, func(a, b repo.Point) int { return compare(a.Source, b.Source) })
		give(ctx, v, listed, yield)
	}
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
		give(ctx, v, listed, yield)
	}
}

// give fetches commit objects some at a time and hands the points on in order.
func give(ctx context.Context, v View, listed []repo.Point, yield func(Point, error) bool) {
	for some := range slices.Chunk(listed, ahead) {
		out := make([]Point, len(some))
		g, gctx := errgroup.WithContext(ctx)
		for i, p := range some {
			g.Go(func() (err error) {
				out[i], err = v.read(gctx, p)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			yield(Point{}, err)
			return
		}
		for _, p := range out {
			if !yield(p, nil) {
				return
			}
		}
	}
}

// read fetches a commit object. The error is one that says nothing of the object itself.
func (v View) read(ctx context.Context, p repo.Point) (Point, error) {
	c, err := v.Repository.Commit(ctx, v.In, p, v.Report)
	if errors.Is(err, format.ErrNewer) {
		return Point{Point: p, Err: err, Head: c}, nil
	}
	if err != nil && !spoiled(err) {
		return Point{}, err
	}
	return Point{Point: p, Commit: c, Err: err}, nil
}

// spoiled reports whether err says that stored bytes are lost or damaged, rather than that they could not be asked for.
func spoiled(err error) bool {
	for _, e := range []error{
		repo.ErrDamaged, repo.ErrMissing, repo.ErrWrongBytes, pack.ErrDamaged, format.ErrMalformed, format.ErrBounds, store.ErrNotFound, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// report passes on that something of a point could not be read.
func (v View) report(name string, err error) {
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
	v.Report(repo.Finding{Kind: kind, Name: name, Detail: fmt.Sprintf("passed over, as if it were not there: %v", err)})
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
