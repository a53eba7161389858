package repo

import (
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxTied is how many points of one second are put in order. More than that are nobody's runs one after the other.
const maxTied = 64

// untie puts points of one second in order: signed times, and many vaults' own timestamps, are whole seconds, and a run may
// follow another within one. What a point names as its predecessor came before it, whatever the clocks say. points are in
// order of inTime.
func untie[P any](points []P, point func(P) Point, predecessors func(P) []format.Hash) {
	for tied := range ties(points, point) {
		for i := range tied {
			waits := func(p P) bool { // for one that is still to come
				before := predecessors(p)
				return slices.ContainsFunc(tied[i:], func(q P) bool { return slices.Contains(before, point(q).ID) })
			}
			next := slices.IndexFunc(tied[i:], func(p P) bool { return !waits(p) })
			if next < 0 { // commits that name each other in a circle cannot be made: their IDs are hashes
				return
			}
			p := tied[i+next]
			copy(tied[i+1:i+next+1], tied[i:i+next])
			tied[i] = p
		}
	}
}

// ties gives the stretches of points that were signed in one second, where one source has two in it.
func ties[P any](points []P, point func(P) Point) func(yield func([]P) bool) {
	return func(yield func([]P) bool) {
		for from := 0; from < len(points); {
			to, twice := from+1, false
			sources := map[string]bool{point(points[from]).Source: true}
			for to < len(points) && point(points[to]).SignedAt.Equal(point(points[from]).SignedAt.Time) {
				twice = twice || sources[point(points[to]).Source]
				sources[point(points[to]).Source] = true
				to++
			}
			if twice && to-from <= maxTied && !yield(points[from:to]) {
				return
			}
			from = to
		}
	}
}

// after is what a point's commit says came before it.
type after struct{ predecessors []format.Hash }

// untieListed is untie for points whose commits were not read: those of tied ones are, each once, and remembered in points. One that is
// damaged stays where the timestamps put it.
func untieListed(ctx context.Context, points []Point, commit func(context.Context, Point) (*format.Commit, error)) error {
	self := func(p Point) Point { return p }
	for tied := range ties(points, self) {
		for i := range tied {
			if tied[i].after != nil {
				continue
			}
			c, err := commit(ctx, tied[i])
			switch {
			case err == nil:
				tied[i].after = &after{follows(c)}
			case !Classify(ctx, err).OfObject():
				return err
			}
		}
	}
	untie(points, self, func(p Point) []format.Hash {
		if p.after == nil {
			return nil
		}
		return p.after.predecessors
	})
	return nil
}
