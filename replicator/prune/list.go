package prune

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Bounds of what is held of the versions of one name. Nothing of ours has more than a few; what an attacker laid there
// beyond these goes with a later pruning.
const (
	maxVersions   = 5000 // taken at once
	maxCandidates = 64   // looked at for the right bytes, the oldest ones
)

// prefixes are the folders of a repository. What lies elsewhere is somebody else's.
func prefixes() []string {
	return []string{
		format.PrefixDescriptors, format.PrefixKeys, format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds, format.PrefixPlacements,
		format.PrefixPoints, format.PrefixReports, "canary/",
	}
}

// group is all versions of one name, newest first.
type group struct {
	number int64
	name   string
	want   *repo.Wanted // nil: no living point needs it
	others []version    // markers, and versions that cannot be the right one or need not be
	likely []version    // that may be the right one: the oldest maxCandidates
	seen   int
	more   bool // there were more others than are kept
}

// version is one of a name, with its place in the listing: the newest has the lowest.
type version struct {
	store.Info
	place int
}

func (g *group) add(listed store.Info) {
	info := version{listed, g.seen}
	g.seen++
	if !info.DeleteMarker && (g.want == nil || g.want.Size < 0 || info.Size == g.want.Size) {
		g.likely = append(g.likely, info)
		if len(g.likely) <= maxCandidates {
			return
		}
		info, g.likely = g.likely[0], g.likely[1:]
	}
	if len(g.others) >= maxVersions {
		g.more = true
		return
	}
	g.others = append(g.others, info)
}

// list walks the vault's listing beside what is needed and puts on the plan what goes.
func (r *run) list(ctx context.Context, set *needed.Set) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.Concurrency)
	err := r.groups(gctx, set, func(x *group) {
		g.Go(func() error { return r.judge(gctx, x) })
	})
	// A failed judgement ends the listing too; it is the one to give.
	return errors.Join(g.Wait(), err)
}

// groups gives visit each name of the repository's folders with its versions.
func (r *run) groups(ctx context.Context, set *needed.Set, visit func(*group)) error {
	var number int64
	next, stop := iter.Pull2(set.All())
	defer stop()
	want := &cursor{next: next} // folders come in the order of names too
	for _, prefix := range slices.Sorted(slices.Values(prefixes())) {
		if err := r.folder(ctx, prefix, want, &number, visit); err != nil {
			return err
		}
	}
	return nil
}

// cursor walks what is needed.
type cursor struct {
	next func() (repo.Wanted, error, bool)
	head repo.Wanted
	more bool
	open bool
}

// find gives what is needed under name. Names are asked for in order.
func (c *cursor) find(name string) (*repo.Wanted, error) {
	for !c.open || c.more && c.head.Name < name {
		c.open = true
		var err error
		if c.head, err, c.more = c.next(); err != nil {
			return nil, err
		}
	}
	if c.more && c.head.Name == name {
		w := c.head
		return &w, nil
	}
	return nil, nil
}

func (r *run) folder(ctx context.Context, prefix string, want *cursor, number *int64, visit func(*group)) error {
	var at *group
	odd := func(info store.Info) {
		if r.o.Report != nil {
			r.o.Report(repo.Finding{Kind: repo.Tampered, Name: info.Name, Detail: "it is listed out of order, or under a name that is not its own, and stays"})
		}
	}
	for info, err := range store.InOrder(r.o.Vault.Read.Versions(ctx, prefix, ""), odd) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		if !strings.HasPrefix(info.Name, prefix) {
			return fmt.Errorf("list %s: %q is not under it: %w: %w", prefix, info.Name, ErrUnsure, store.ErrListing)
		}
		r.o.Progress.Done.Add(1)
		r.mu.Lock()
		r.sum.Versions++
		r.mu.Unlock()
		if at == nil || at.name != info.Name {
			if at != nil {
				visit(at)
			}
			*number++
			at = &group{number: *number, name: info.Name}
			if at.want, err = want.find(info.Name); err != nil {
				return err
			}
		}
		at.add(info)
	}
	if at != nil {
		visit(at)
	}
	return ctx.Err()
}

// judge decides about the versions of one name.
func (r *run) judge(ctx context.Context, g *group) error {
	var keep *store.Info
	if g.want != nil {
		var err error
		if keep, err = r.right(ctx, g); err != nil {
			return err
		}
		if keep == nil { // it is lost, and verify says so: what is there may be all that is left of it
			if r.o.Report != nil {
				r.o.Report(repo.Finding{Kind: repo.Damaged, Name: g.name, Detail: "no version that was looked at has the bytes that a living point needs; nothing of this name is deleted"})
			}
			return nil
		}
	}
	candidates := append(g.others, g.likely...)
	slices.SortFunc(candidates, func(a, b version) int { return a.place - b.place })
	var items []Item
	left := g.more
	for i, info := range candidates {
		if keep != nil && info.Ref == keep.Ref {
			continue
		}
		if !info.DeleteMarker && strings.HasPrefix(g.name, format.PrefixReports) {
			left = true // evidence outlives its lock
			continue
		}
		item, free, err := r.free(ctx, info.Info, g)
		if err != nil {
			return err
		}
		// The oldest version of a name goes last: a point that is over is not to be left with a forged commit object.
		if !free || keep == nil && i == len(candidates)-1 && left {
			left = true
			continue
		}
		items = append(items, item)
	}
	r.mu.Lock()
	r.sum.Locked += int64(len(candidates) - len(items))
	if keep != nil {
		r.sum.Locked--
	}
	r.mu.Unlock()
	return r.plan.add(g.number, items)
}

// right finds a version of a needed object that has the right bytes. One that has no rival of its size is it: nothing else
// can be kept for it. Of several the oldest with the right hash counts.
func (r *run) right(ctx context.Context, g *group) (*store.Info, error) {
	if len(g.likely) == 1 {
		return &g.likely[0].Info, nil
	}
	var sum format.Hash
	var err error
	if strings.HasPrefix(g.name, format.PrefixPoints) {
		var id format.PointID
		id, err = format.ParsePointName(g.name)
		sum = id.ID
	} else {
		sum, err = format.ParseName(g.name)
	}
	if err != nil {
		return nil, err
	}
	for _, info := range slices.Backward(g.likely) {
		ok, err := r.hashes(ctx, info.Info, sum)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnsure, g.name, err)
		}
		if ok {
			return &info.Info, nil
		}
	}
	return nil, nil
}

func (r *run) hashes(ctx context.Context, info store.Info, sum format.Hash) (bool, error) {
	body, err := r.o.Vault.Read.Open(ctx, info.Ref, 0, -1)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(body, info.Size+1)); err != nil {
		return false, err
	}
	return format.Hash(h.Sum(nil)) == sum, nil
}

// free reports whether a version that is not needed may go: its lock, and its arrival, lie Spare back.
func (r *run) free(ctx context.Context, info store.Info, g *group) (Item, bool, error) {
	item := Item{Ref: info.Ref, Size: info.Size, Reason: r.reason(info, g)}
	if !r.past(info.Modified) || r.unread && strings.HasPrefix(g.name, format.PrefixMeta) && r.ours(g.name) {
		return item, false, nil
	}
	if info.DeleteMarker || r.o.Vault.Locking.Mode == store.ModeNone {
		return item, true, nil
	}
	_, lock, err := r.o.Vault.Read.Stat(ctx, info.Ref)
	if errors.Is(err, store.ErrNotFound) {
		return item, false, nil // gone already
	}
	if err != nil {
		return item, false, err
	}
	item.LockOver = lock.Until
	return item, !lock.LegalHold && (lock.Until.IsZero() || r.past(lock.Until)), nil
}

func (r *run) reason(info store.Info, g *group) Reason {
	switch {
	case r.points[g.name] && g.want == nil:
		return Over // markers over it as well: they go with it
	case info.DeleteMarker:
		return Marker
	case g.want != nil:
		return Overlaid
	case r.ours(g.name):
		return Unneeded
	}
	return Stranger
}

// ours reports whether a name can be one of this repository's.
func (r *run) ours(name string) bool {
	if strings.HasPrefix(name, "canary/") {
		return true
	}
	_, err := format.ParseName(name)
	return err == nil
}
