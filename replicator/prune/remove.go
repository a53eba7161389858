package prune

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// remove carries out the plan: class after class, names side by side, the versions of one name one after another. In a dry
// run it only says what would go.
func (r *removing) remove(ctx context.Context, fresh *needed.Set) error {
	for _, class := range []int{0, 1} {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(r.o.Concurrency)
		if r.o.Remover == nil {
			g.SetLimit(1) // told in order
		}
		err := r.batches(class, fresh, func(items []planned) bool {
			g.Go(func() error { return r.removeName(gctx, items) })
			return gctx.Err() == nil
		})
		if err = errors.Join(g.Wait(), err); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// batches gives the versions of each name on the plan. What a point that came meanwhile needs is left out.
func (r *removing) batches(class int, fresh *needed.Set, visit func([]planned) bool) error {
	want := &cursor{next: func() (repo.Wanted, error, bool) { return repo.Wanted{}, nil, false }}
	if fresh != nil {
		next, stop := iter.Pull2(fresh.All())
		defer stop()
		want.next = next
	}
	var batch []planned
	for x, err := range r.plan.all() {
		if err != nil {
			return err
		}
		if x.class != class {
			continue
		}
		if len(batch) > 0 && batch[0].group != x.group {
			if !visit(batch) {
				return nil
			}
			batch = nil
		}
		w, err := want.find(x.Name)
		if err != nil {
			return err
		}
		if w != nil {
			r.mu.Lock()
			r.sum.Needed++
			r.mu.Unlock()
			continue
		}
		batch = append(batch, x)
	}
	if len(batch) > 0 {
		visit(batch)
	}
	return nil
}

func (r *removing) removeName(ctx context.Context, items []planned) error {
	for _, x := range items {
		gone, err := r.removeOne(ctx, x.Item)
		if err != nil {
			return err
		}
		if !gone {
			return nil // the older versions below it stay too
		}
	}
	return nil
}

// removeOne deletes one version; false: the vault keeps it, as it has been locked meanwhile.
func (r *removing) removeOne(ctx context.Context, item Item) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if r.o.Remover != nil {
		err := r.o.Remover.Remove(ctx, item.Ref)
		switch {
		case err == nil, errors.Is(err, store.ErrNotFound):
		case errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrDenied) && r.lockedNow(ctx, item.Ref):
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sum.Locked++
			return false, nil
		default:
			return false, fmt.Errorf("delete: %w", err)
		}
		r.o.Progress.Done.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.Removed++
	r.sum.Bytes += item.Size
	if r.o.Emit != nil {
		r.o.Emit(item)
	}
	return true, nil
}

// lockedNow tells a refusal because of a lock from a right that the credential lacks: some servers say the same of both.
func (r *removing) lockedNow(ctx context.Context, ref store.Ref) bool {
	_, lock, err := r.o.Vault.Read.Stat(ctx, ref)
	return err == nil && (lock.LegalHold || lock.Until.After(r.clock))
}
