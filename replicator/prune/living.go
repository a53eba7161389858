package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// findLiving gives the points that are not over. A point lives until its retain-until, as long as its commit object is
// locked, and Spare beyond both. The newest of a source lives on whatever its time (keepNewest).
func (r *run) findLiving(ctx context.Context) ([]needed.Point, error) {
	listed, err := r.o.Repository.Points(ctx, r.o.Vault.Read, "", r.o.Report)
	if err != nil {
		return nil, err
	}
	r.sum.Points = len(listed)
	var all []needed.Point
	var ends []bool
	for _, p := range listed { // in order of signed time
		r.points[p.Name] = true
		r.odd[p.Name] = p.Distrusted
		c, err := r.o.Repository.Commit(ctx, r.o.Vault.Read, p, r.o.Report)
		if err != nil && p.Distrusted && repo.Classify(ctx, err).Unusable() {
			r.over.dark = append(r.over.dark, p)
			continue // a thief's, most likely: nothing can be known of what it needs, and what is locked stays in any case
		}
		if err != nil && !headAlone(c, err) {
			over, lerr := r.unreadable(ctx, p, err)
			if lerr != nil {
				return nil, lerr
			}
			if over {
				r.over.dark = append(r.over.dark, p)
				continue
			}
			return nil, unsure(ctx, fmt.Errorf("point %s of %s cannot be read, and its lock is not over: %w", p.ID, p.Source, err))
		}
		if why := r.o.Repository.Trust().Doubt(c); why != nil {
			p.Distrusted, r.odd[p.Name] = true, true
		}
		h := needed.Point{Head: repo.Head{Point: p, Commit: c}, Until: r.o.Repository.Trust().Kept(c)}
		over, err := r.ended(ctx, p, h.Until)
		if err != nil {
			return nil, err
		}
		all, ends = append(all, h), append(ends, over)
	}
	r.boundDistrusted(all, ends)
	r.keepNewest(all, ends)
	odd, passed, err := r.doubtful(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.allListed(ctx, slices.Concat(listed, passed), all); err != nil {
		return nil, err
	}
	for _, h := range odd {
		over, err := r.ended(ctx, h.Point, h.Until)
		if err != nil {
			return nil, err
		}
		all, ends = append(all, h), append(ends, over)
	}
	return r.spareHeld(ctx, all, ends)
}

// boundDistrusted ends distrusted points when the longest-kept trusted one would be over that came as they did, whatever end
// and lock they were given: who stole the host key and the writer's can have one live for thousands of years, and name all
// there is as needed. Nothing that is locked is deleted because of that.
func (r *run) boundDistrusted(points []needed.Point, ends []bool) {
	var longest time.Duration
	for _, p := range points {
		if !p.Distrusted {
			longest = max(longest, p.Until.Sub(p.SignedAt.Time))
		}
	}
	if longest == 0 {
		return // there is nothing to go by
	}
	for i, p := range points {
		if p.Distrusted && r.past(p.Arrived.Add(longest)) {
			ends[i] = true
		}
	}
}

// spareHeld gives the points that live: also those that somebody holds, whatever their time and whoever made them. Where there are locks their own
// objects' say so as well, once the hold was put into effect there.
func (r *run) spareHeld(ctx context.Context, points []needed.Point, ends []bool) (living []needed.Point, _ error) {
	for i, p := range points {
		if ends[i] {
			r.over.points = append(r.over.points, p)
		}
	}
	holds, err := r.held(ctx, r.over)
	if err != nil {
		return nil, err
	}
	for i, p := range points {
		until, held := holds[p.ID]
		if held {
			p.Until = retain.Later(p.Until, until)
		}
		if !ends[i] || held {
			living = append(living, p)
		}
	}
	r.over.points = slices.DeleteFunc(r.over.points, func(p needed.Point) bool { _, held := holds[p.ID]; return held })
	return living, nil
}

// keepNewest has the newest point of each source that is not retired live on, a complete one that is not marked as empty if
// there is any: where runs have failed for weeks, or found nothing, it is all there is. A thief of the host key can sign an empty one that is newer still, so a
// distrusted point only counts where no trusted one is complete, and then beside it.
func (r *run) keepNewest(points []needed.Point, ends []bool) {
	complete := func(i int) bool {
		return points[i].Commit.Status == format.StatusComplete && !points[i].Commit.Marked(format.MarkEmpty)
	}
	newest, trusted := map[string]int{}, map[string]int{} // by source
	for i, p := range points {                            // in order of signed time
		if slices.Contains(r.o.Retired, p.Source) {
			continue
		}
		for _, last := range []map[string]int{newest, trusted} {
			if j, ok := last[p.Source]; !ok || complete(i) || !complete(j) {
				last[p.Source] = i
			}
			if p.Distrusted {
				break
			}
		}
	}
	for source, i := range newest {
		j, ok := trusted[source]
		if ok {
			ends[j] = false
		}
		if !ok || !complete(j) {
			ends[i] = false
		}
	}
}

// doubtful gives points that readers pass over though a key of the repository signed them: because of times that contradict
// each other, as in a vault that was copied, or because the key is not trusted any more. What they need is kept all the
// same, as far as it can be read: readers may be wrong about them. passed are all of them, also those that cannot be read.
func (r *run) doubtful(ctx context.Context) (out []needed.Point, passed []repo.Point, _ error) {
	seen := ""
	for info, err := range r.o.Vault.Read.Versions(ctx, format.PrefixPoints, "") {
		if err != nil {
			return nil, nil, fmt.Errorf("list points: %w", err)
		}
		if info.Name == seen || r.points[info.Name] || info.DeleteMarker {
			continue
		}
		id, err := format.ParsePointName(info.Name)
		if err != nil || !r.o.Repository.Trust().Signed(id) {
			continue
		}
		seen = info.Name
		p := repo.Point{PointID: id, Name: info.Name, Version: info.Version, Arrived: info.Modified}
		c, err := r.o.Repository.Commit(ctx, r.o.Vault.Read, p, nil)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil && !repo.Classify(ctx, err).Unusable() {
			return nil, nil, err
		}
		passed = append(passed, p)
		r.points[info.Name], r.odd[info.Name] = true, true
		if err == nil || headAlone(c, err) {
			out = append(out, needed.Point{Head: repo.Head{Point: p, Commit: c}, Until: r.o.Repository.Trust().Kept(c)})
			continue
		}
		p.Distrusted = true
		r.over.dark = append(r.over.dark, p)
	}
	return out, passed, nil
}

// allListed looks for points that are kept and that the vault does not list any more, as the newest point of each source that came in time
// tells, or the machine that made them. What they need is not known: where there are no locks nothing is deleted then. points are those of the vault that can be read.
func (r *run) allListed(ctx context.Context, listed []repo.Point, points []needed.Point) error {
	reader, err := repo.NewReader(r.o.Repository, r.o.Vault.Read, nil, nil, nil)
	if err != nil {
		return err
	}
	w := repo.Withheld{In: r.o.Vault.Read, Page: reader.Page, Vault: r.o.Vault.Name, Listed: listed, Made: r.o.Made, Now: r.clock}
	for _, p := range points {
		w.Read = append(w.Read, p.Head)
	}
	var gone error
	if err := r.o.Repository.CheckAllListed(ctx, w, func(f repo.Finding) {
		gone = cmp.Or(gone, fmt.Errorf("%s is not listed, and what it needs is not known: %w", f.Name, repo.ErrMissing))
		if r.o.Report != nil {
			r.o.Report(f)
		}
	}); err != nil {
		return err
	}
	if gone != nil && r.o.Vault.Locking.Mode == store.ModeNone {
		return fmt.Errorf("%w: %w", ErrUnsure, gone)
	}
	return nil
}

// headAlone reports whether a point needs a newer program to be read, and its head says all that pruning goes by: until
// when it lives, and where its needs list is.
func headAlone(c *format.Commit, err error) bool { return c != nil && errors.Is(err, format.ErrNewer) }

// broken decides about a point whose needs list cannot be read: nothing is deleted then, unless readers pass over the point or
// it is distrusted.
func (r *run) broken(ctx context.Context, p needed.Point, err error) error {
	if r.odd[p.Name] && repo.Classify(ctx, err).Unusable() {
		return nil
	}
	return err
}

// ended reports whether a point's time, and its commit object's lock, ended at least Spare ago.
func (r *run) ended(ctx context.Context, p repo.Point, until time.Time) (bool, error) {
	if !r.past(until) {
		return false, nil
	}
	if r.o.Vault.Locking.Mode == store.ModeNone {
		return true, nil
	}
	_, lock, err := r.o.Vault.Read.Stat(ctx, store.Ref{Name: p.Name, Version: p.Version})
	if errors.Is(err, store.ErrNotFound) {
		return true, nil // another prune was here
	}
	return err == nil && r.past(lock.Until) && !lock.LegalHold, err
}

// past reports whether a time lies at least Spare back.
func (r *run) past(t time.Time) bool { return !t.Add(Spare).After(r.clock) }

// unreadable judges a point whose commit object is damaged. Only its lock can tell that it is over.
func (r *run) unreadable(ctx context.Context, p repo.Point, err error) (over bool, _ error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if !repo.Classify(ctx, err).Unusable() {
		return false, err
	}
	if r.o.Vault.Locking.Mode == store.ModeNone || errors.Is(err, format.ErrNewer) {
		return false, nil
	}
	return r.ended(ctx, p, p.Arrived)
}

// arrivals gives what is needed by points that came, or that somebody began to hold, after the planning began; nil where there are none.
func (r *run) arrivals(ctx context.Context, reader *repo.Reader) (*needed.Set, error) {
	listed, err := r.o.Repository.Points(ctx, r.o.Vault.Read, "", nil)
	if err != nil {
		return nil, err
	}
	var fresh []needed.Point
	for _, p := range listed {
		if r.points[p.Name] {
			continue
		}
		c, err := r.o.Repository.Commit(ctx, r.o.Vault.Read, p, r.o.Report)
		if err != nil && !headAlone(c, err) {
			return nil, unsure(ctx, err)
		}
		fresh = append(fresh, needed.Point{Head: repo.Head{Point: p, Commit: c}, Until: c.RetainUntil.Time})
	}
	holds, err := r.held(ctx, r.over)
	if err != nil {
		return nil, err
	}
	for _, p := range r.over.points {
		if until, ok := holds[p.ID]; ok {
			p.Until = retain.Later(p.Until, until)
			fresh = append(fresh, p)
		}
	}
	if fresh == nil {
		return nil, nil
	}
	set, err := needed.Gather(ctx, reader, r.o.Scratch, "arrived", fresh, func(p needed.Point, err error) error { return r.broken(ctx, p, err) })
	if err != nil {
		return nil, unsure(ctx, err)
	}
	return set, nil
}
