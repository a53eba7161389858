package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// ErrNoDescriptor: there are recovery points in a vault, and no first descriptor that can be read. So it is not known whose they
// are, and no signature can be checked.
var ErrNoDescriptor = errors.New("no descriptor of the repository can be read in this vault")

// Unvouched is a repository of which no descriptor can be read, for readers alone: an ID is the hash of its point and leads by
// hashes to all that is in it, so a full ID from paper and a restore key suffice to read the point. Nothing else there is vouched
// for: which point is the newest, or whose they are, is whatever the last to write to the vault wanted it to be.
func Unvouched() *Repository { return &Repository{unvouched: true} }

// Vouched reports whether the repository has descriptors, and so keys that its names are checked against.
func (r *Repository) Vouched() bool { return !r.unvouched }

// Bounds of what is listed where no signature tells junk: of more names those count that the vault has had longest.
const (
	maxUnvouched = 10_000 // points of a listing
	maxNamed     = 64     // names that hold one ID
)

// cutUnvouched keeps the points that arrived first.
func cutUnvouched(points []Point, most int) []Point {
	slices.SortStableFunc(points, func(a, b Point) int { return cmp.Or(a.Arrived.Compare(b.Arrived), cmp.Compare(a.Name, b.Name)) })
	return points[:min(len(points), most)]
}

// unvouchedPoints lists points by their names alone.
func (r *Repository) unvouchedPoints(ctx context.Context, in store.Reader, prefix string, report Report) ([]Point, error) {
	out, left, err := gather(ctx, in, prefix, maxUnvouched, report, func(Point) bool { return true })
	if err != nil {
		return nil, fmt.Errorf("list points: %w", err)
	}
	if left > 0 {
		report.send(Tampered, prefix, "over %d names of points, of which nothing tells the right ones: those are looked at that came first", maxUnvouched)
	}
	out = slices.DeleteFunc(out, func(p Point) bool { return !p.settle(report) })
	for i := range out {
		out[i].Late = out[i].Arrived.Sub(out[i].SignedAt.Time) > LateAfter
	}
	return eachOnce(out, func(Point) (bool, error) { return true, nil }) // which of them is right is looked at by who reads it, see Named
}

// gather lists the points under a prefix that pass, at most some; left is how many more there were.
func gather(ctx context.Context, in store.Reader, prefix string, most int, report Report, pass func(Point) bool) (out []Point, left int, err error) {
	var at Point
	end := func() {
		if at.Name != "" && pass(at) {
			out = append(out, at)
		}
		if at = (Point{}); len(out) >= 2*most {
			out, left = cutUnvouched(out, most), left+len(out)-most
		}
	}
	for info, err := range in.Versions(ctx, prefix, "") {
		if err != nil {
			return nil, 0, err
		}
		if at.Name == info.Name {
			at.meet(info)
			continue
		}
		end()
		id, err := format.ParsePointName(info.Name)
		if err != nil {
			report.send(Tampered, info.Name, "not the name of a point: %v", err)
			continue
		}
		at = newPoint(id, info)
	}
	end()
	left += max(len(out)-most, 0)
	return cutUnvouched(out, most), left, nil
}

// Named reads the point of an ID without any descriptor: the first of the names that hold the ID, by arrival, whose bytes have it as
// their hash and say of themselves what the name says. Signatures and times are not looked at: the ID alone vouches. Of a point that
// needs a newer program it gives the head, together with format.ErrNewer; without any name that holds the ID the error is ErrMissing.
func (r *Repository) Named(ctx context.Context, in store.Reader, id format.Hash, report Report) (Point, *format.Commit, error) {
	found, _, err := gather(ctx, in, format.PrefixPoints, maxNamed, nil, func(p Point) bool { return p.ID == id })
	if err != nil {
		return Point{}, nil, fmt.Errorf("list points: %w", err)
	}
	why := fmt.Errorf("point %s: %w", id, ErrMissing)
	at := Point{}
	for i, p := range found {
		c, err := r.Commit(ctx, in, p, report)
		if err == nil || errors.Is(err, format.ErrNewer) && c != nil {
			return p, c, err
		}
		if !Classify(ctx, err).OfObject() {
			return Point{}, nil, err
		}
		if i == 0 {
			at, why = p, err
		}
	}
	return at, nil, why
}

// newPoint is a point as its newest version lists it.
func newPoint(id format.PointID, info store.Info) Point {
	p := Point{PointID: id, Name: info.Name, Version: info.Version, Arrived: info.Modified}
	if info.DeleteMarker {
		p.Version, p.Arrived = "", time.Time{}
	}
	p.keep(info)
	return p
}
