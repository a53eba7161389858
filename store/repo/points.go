package repo

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Point is one recovery point as its name and the vault's listing vouch for it.
type Point struct {
	format.PointID           // source, signed time, ID, signature: checked
	Name           string    // of the commit object
	Version        string    // the oldest version: the one that was written, whatever came on top
	Arrived        time.Time // the vault's timestamp of that version
	Late           bool      // arrived over an hour after it was signed
	Distrusted     bool      // arrived after its key was distrusted: whoever stole that may have made it

	covered  int          // versions and delete markers beside the oldest version
	versions []store.Info // all there are, the oldest included; at most maxCopies
	after    *after       // where it was looked up, for points of one second
}

// maxCopies is how many versions of one commit object are looked at for being the same: where a request was repeated
// because its answer was lost, there are a few at most.
const maxCopies = 8

// LateAfter is how long after its signed time a point may arrive without being marked late.
const LateAfter = time.Hour

// Points lists the points of source ("" : of all sources) in order of signed time. A name that is malformed, or whose
// signature no key of the repository made, or that claims a time later than the vault saw it arrive, is junk: reported,
// never taken. One that came after its key was distrusted is given, and marked. Commit objects are not fetched, but where there are several versions
// of one, or several of a source were signed in one second.
func (r *Repository) Points(ctx context.Context, in store.Reader, source string, report Report) ([]Point, error) {
	prefix := format.PrefixPoints
	if source != "" {
		prefix += source + "/"
	}
	if r.unvouched {
		return r.unvouchedPoints(ctx, in, prefix, report)
	}
	return r.pointsIn(ctx, in, in.Versions(ctx, prefix, ""), report)
}

func listError(err error) error { return fmt.Errorf("list points: %w", err) }

// pointsIn is Points of what was listed.
func (r *Repository) pointsIn(ctx context.Context, in store.Reader, versions iter.Seq2[store.Info, error], report Report) ([]Point, error) {
	out, err := r.listed(ctx, versions, report)
	if err != nil {
		return nil, listError(err)
	}
	for i := range out {
		if err := out[i].recount(ctx, in); err != nil {
			return nil, listError(err)
		}
	}
	out = slices.DeleteFunc(out, func(p Point) bool { return !p.settle(report) })
	for i := range out {
		p := &out[i]
		var vouched bool
		p.Distrusted, vouched = r.Trust().judge(*p)
		p.Late = !vouched && p.Arrived.Sub(p.SignedAt.Time) > LateAfter
	}
	if out, err = eachOnce(out, r.matching(ctx, in, report)); err != nil {
		return nil, listError(err)
	}
	if err := untieListed(ctx, out, func(ctx context.Context, p Point) (*format.Commit, error) { return r.Commit(ctx, in, p, nil) }); err != nil {
		return nil, listError(err)
	}
	return out, nil
}

// inTime orders points by signed time; untie puts those of one second right.
func inTime(a, b Point) int {
	return cmp.Or(a.SignedAt.Compare(b.SignedAt.Time), a.Arrived.Compare(b.Arrived), strings.Compare(a.Name, b.Name))
}

// vouchBatch is how many names are checked at once: while one batch is, the next is listed, so that junk by the million
// costs little beyond its listing.
const vouchBatch = 512

// listed gives what is listed and is signed by the repository. Memory does not grow with junk.
func (r *Repository) listed(ctx context.Context, versions iter.Seq2[store.Info, error], report Report) ([]Point, error) {
	var mu sync.Mutex
	var out []Point
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(runtime.GOMAXPROCS(0), 2))
	batch := make([]Point, 0, vouchBatch)
	check := func() {
		some := batch
		batch = make([]Point, 0, vouchBatch)
		g.Go(func() error {
			some = slices.DeleteFunc(some, func(p Point) bool { return !r.Trust().vouch(p, report) })
			mu.Lock()
			defer mu.Unlock()
			out = append(out, some...)
			return gctx.Err()
		})
	}
	junk := ""
	for info, err := range versions {
		if err != nil {
			_ = g.Wait()
			return nil, err
		}
		if last := len(batch) - 1; last >= 0 && batch[last].Name == info.Name {
			batch[last].meet(info)
			continue
		}
		if info.Name == junk {
			continue
		}
		id, err := format.ParsePointName(info.Name)
		if err != nil {
			junk = info.Name
			report.send(Tampered, info.Name, "not a point of this repository: %v", err)
			continue
		}
		if len(batch) == vouchBatch {
			check()
		}
		batch = append(batch, newPoint(id, info))
	}
	check()
	return out, g.Wait()
}

// vouch reports whether a key of the repository signed a name.
func (t Trust) vouch(p Point, report Report) bool {
	ok := t.Signed(p.PointID)
	if !ok {
		report.send(Tampered, p.Name, "not a point of this repository: no key of this repository signed it")
	}
	return ok
}

// meet takes another version of the same name into account. Listings give the newest first; the times decide where a
// server does not keep to that.
func (p *Point) meet(info store.Info) {
	p.covered++
	p.keep(info)
	if !info.DeleteMarker && (p.Arrived.IsZero() || !info.Modified.After(p.Arrived)) {
		p.Version, p.Arrived = info.Version, info.Modified
	}
}

func (p *Point) keep(info store.Info) {
	if !info.DeleteMarker && len(p.versions) < maxCopies {
		p.versions = append(p.versions, info)
	}
}

// recount takes the same bytes put twice for what they are: a repeated request, and no harm. Where there are delete markers
// too, or very many versions, nothing is looked at: the point is covered in any case.
func (p *Point) recount(ctx context.Context, in store.Reader) error {
	if p.covered == 0 || p.covered+1 != len(p.versions) {
		return nil
	}
	for _, info := range p.versions {
		if info.Version == p.Version || info.Size > format.MaxCommit {
			continue
		}
		same, err := hasHash(ctx, in, info, p.ID)
		if err != nil && !Unreadable(ctx, err) {
			return err
		}
		if same {
			p.covered--
		}
	}
	return nil
}

// settle reports whether a point stands, once its oldest version is known.
func (p *Point) settle(report Report) bool {
	if p.Arrived.IsZero() {
		report.send(Missing, p.Name, "only a delete marker is left of this point")
		return false
	}
	if p.covered > 0 {
		report.send(Tampered, p.Name, "newer versions or delete markers (%d) lie on top of this point", p.covered)
	}
	if p.SignedAt.After(p.Arrived) {
		report.send(Tampered, p.Name, "claims %s but arrived at %s", p.SignedAt.Format(time.RFC3339), p.Arrived.Format(time.RFC3339))
		return false
	}
	return true
}

// Commit reads a point's commit object and holds it against its name. Of one that needs a newer program it gives the head,
// together with format.ErrNewer.
func (r *Repository) Commit(ctx context.Context, in store.Reader, p Point, report Report) (*format.Commit, error) {
	b, _, err := whole(ctx, in, store.Ref{Name: p.Name, Version: p.Version}, p.ID, format.MaxCommit, report)
	if err != nil {
		return nil, fmt.Errorf("read point %s: %w", p.ID, err)
	}
	c, err := format.DecodeCommit(b)
	if c == nil {
		return nil, fmt.Errorf("point %s: %w", p.ID, err)
	}
	if !r.unvouched && c.Repository != r.ID || c.Source != p.Source || !c.SignedAt.Equal(p.SignedAt.Time) {
		return nil, fmt.Errorf("point %s does not match its name: %w", p.ID, format.ErrMalformed)
	}
	if err != nil {
		return c, fmt.Errorf("point %s: %w", p.ID, err)
	}
	return c, nil
}
