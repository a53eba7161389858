package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// preferred puts the names of each ID side by side: first those that count, of these first the one that the vault has had longest.
func preferred(a, b Point) int {
	last := func(p Point) int {
		if p.Distrusted {
			return 1
		}
		return 0
	}
	return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(last(a), last(b)), a.Arrived.Compare(b.Arrived), strings.Compare(a.Name, b.Name))
}

// eachOnce leaves one name of each ID, in order of time: one ID is one point, however many names were signed for it. Of several it takes
// the first that is right; where none is, the first.
func eachOnce(points []Point, right func(Point) (bool, error)) ([]Point, error) {
	slices.SortFunc(points, preferred)
	out := points[:0]
	for len(points) > 0 {
		n := 1
		for n < len(points) && points[n].ID == points[0].ID {
			n++
		}
		chosen := points[0]
		for _, p := range points[:n] {
			if n == 1 {
				break // whoever reads it sees whether it is right
			}
			ok, err := right(p)
			if err != nil {
				return nil, err
			}
			if ok {
				chosen = p
				break
			}
		}
		out, points = append(out, chosen), points[n:]
	}
	slices.SortFunc(out, inTime)
	return out, nil
}

// matching tells of the names of one point which are right: whoever has a job's key can sign a name with another time or source for the ID
// of a point, or put other bytes under one. Those that are not are reported.
func (r *Repository) matching(ctx context.Context, in store.Reader, report Report) func(Point) (bool, error) {
	return func(p Point) (bool, error) {
		c, err := r.Commit(ctx, in, p, nil)
		switch {
		case err == nil, c != nil && errors.Is(err, format.ErrNewer):
			return true, nil
		case !Classify(ctx, err).OfObject():
			return false, err
		}
		report.send(Tampered, p.Name, "one of several names of this point, and not right: %v", err)
		return false, nil
	}
}
