package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// strays reports descriptors that are none of this repository's: one that was put later for another to be taken for it.
func (r *run) strays(ctx context.Context) error {
	ours := map[string]bool{}
	for _, l := range r.o.Repository.Chain {
		ours[l.Name] = true
	}
	for info, err := range r.o.In.Versions(ctx, format.PrefixDescriptors, "") {
		if err != nil {
			return fmt.Errorf("list descriptors: %w", err)
		}
		if !ours[info.Name] {
			r.find(repo.Tampered, info.Name, format.Hash{}, "not a descriptor of this repository, %s", r.o.Repository.Fingerprint)
		}
	}
	return nil
}

// point is a selected point whose commit object was read.
type point struct {
	repo.Point
	commit *format.Commit
	held   time.Time // until when records say that it is held; zero: they do not
}

// lock is how the point's objects have to be held: as long as it is kept, and as long as somebody holds it. A hold beyond the longest that any
// repository keeps a point counts as that.
func (p *point) lock() store.Retention {
	until := p.commit.RetainUntil.Time
	held := p.held
	if most := p.commit.SignedAt.Add(format.LongestKept); held.After(most) {
		held = most
	}
	if held.After(until) {
		until = held
	}
	return store.Retention{Mode: store.Mode(p.commit.Mode), Until: until}
}

// holds gives until when points are held, as records tell.
func (r *run) holds(ctx context.Context) (map[format.Hash]time.Time, error) {
	if !r.o.Repository.Vouched() || r.o.NoLocks {
		return nil, nil
	}
	return evidence.Living(ctx, evidence.Of(r.o.In, r.o.Repository), r.o.Now())
}

// ErrNoPoint: a point to verify is not in the vault.
var ErrNoPoint = errors.New("no such point in this vault")

// points lists the points, checks the commit objects of those selected, and gives the ones that can be read, those of
// one source together and in order of time.
func (r *run) points(ctx context.Context) ([]*point, error) {
	listed, err := r.listed(ctx)
	if err != nil {
		return nil, err
	}
	holds, err := r.holds(ctx)
	if err != nil {
		return nil, err
	}
	wanted := map[format.Hash]bool{}
	for _, id := range r.o.Points {
		wanted[id] = true
	}
	var out []*point
	for _, p := range listed {
		if len(r.o.Points) > 0 && !wanted[p.ID] {
			continue
		}
		delete(wanted, p.ID)
		got, err := r.point(ctx, p)
		if err != nil {
			return nil, err
		}
		if got != nil {
			got.held = holds[p.ID]
			out = append(out, got)
		}
	}
	for id := range wanted {
		return nil, fmt.Errorf("point %s: %w", id, ErrNoPoint)
	}
	if len(r.o.Points) == 0 {
		if err := r.withheld(ctx, listed, out); err != nil {
			return nil, err
		}
	}
	// Listed by time; a stable sort keeps that within a source.
	slices.SortStableFunc(out, func(a, b *point) int { return compare(a.Source, b.Source) })
	return out, nil
}

// listed gives the points of the vault; without descriptors those that are asked for.
func (r *run) listed(ctx context.Context) ([]repo.Point, error) {
	if r.o.Repository.Vouched() {
		return r.o.Repository.Points(ctx, r.o.In, "", r.noticed)
	}
	var out []repo.Point
	for _, id := range r.o.Points {
		p, _, err := r.o.Repository.Named(ctx, r.o.In, id, nil)
		switch {
		case p.Name != "":
			out = append(out, p) // what is wrong with it shows where it is read
		case err != nil && !errors.Is(err, repo.ErrMissing):
			return nil, err
		}
	}
	return out, nil
}

// withheld reports points that should be there and are not listed.
func (r *run) withheld(ctx context.Context, listed []repo.Point, read []*point) error {
	w := repo.Withheld{In: r.o.In, Page: r.reader.Page, Vault: r.o.Vault, Listed: listed, Made: r.o.Made, Lost: r.o.Lost, Now: r.o.Now()}
	for _, p := range read {
		w.Read = append(w.Read, repo.Head{Point: p.Point, Commit: p.commit})
	}
	w.Unread = func(h repo.Head, err error) {
		if errors.Is(err, format.ErrMalformed) || errors.Is(err, format.ErrBounds) { // else the object that it is in is looked at with all that the point needs
			r.find(repo.Damaged, h.Name, h.ID, "its list of earlier points: %v", err)
		}
	}
	return r.o.Repository.CheckAllListed(ctx, w, r.noticed)
}

// point reads one commit object; nil: it cannot be used, and that was reported.
func (r *run) point(ctx context.Context, p repo.Point) (*point, error) {
	r.mu.Lock()
	r.sum.Points++
	r.mu.Unlock()
	if p.Distrusted {
		r.find(repo.Tampered, p.Name, p.ID, "arrived at %s, after its key was distrusted: it may be a thief's, and is taken only by its ID", p.Arrived.Format(time.RFC3339))
	}
	c, err := r.o.Repository.Commit(ctx, r.o.In, p, r.noticed)
	if c != nil && (err == nil || errors.Is(err, format.ErrNewer)) && r.o.Repository.Trust().Kept(c) != c.RetainUntil.Time {
		r.find(repo.Tampered, p.Name, p.ID, "%v", r.o.Repository.Trust().Doubt(c))
		if !slices.Contains(r.o.Points, p.ID) {
			return nil, nil // nothing is known of what it needs, or how long
		}
		bounded := *c
		bounded.Mode, bounded.RetainUntil, p.Distrusted = "", format.At(r.o.Repository.Trust().Kept(c)), true
		c = &bounded
	}
	if errors.Is(err, format.ErrNewer) && c != nil {
		if r.o.Level == Content {
			r.find(repo.Tampered, p.Name, p.ID, "its objects are checked, its content is not: %v", err)
		}
		return &point{Point: p, commit: c}, nil
	}
	if err != nil {
		return nil, r.trouble(ctx, p.Name, p.ID, err)
	}
	if m := c.Manifest; c.Entries != m.Entries || c.Bytes != m.Bytes || c.Missing != m.Missing {
		r.find(repo.Damaged, p.Name, p.ID, "it says %d entries of %d bytes, %d missing; its manifest %d of %d, %d missing",
			c.Entries, c.Bytes, c.Missing, m.Entries, m.Bytes, m.Missing)
	}
	return &point{Point: p, commit: c}, nil
}
