package repo

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// settleDoubts reads the objects of one vault that a verification found damaged. Those it finds damaged too are reported
// and forgotten, so that they are taken from another vault or from the source again.
func (s *loading) settleDoubts(ctx context.Context, k *keeper) error {
	names, settled, err := s.cache.Notes.Doubts(k.vault.Name)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(compareParallel)
	for _, name := range names {
		g.Go(func() error { return k.reconsider(gctx, name) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return settled()
}

// reconsider looks at one object's bytes.
func (k *keeper) reconsider(ctx context.Context, name string) error {
	p, ok, err := k.placement(name)
	if err != nil || !ok {
		return err // it is read before it counts as stored
	}
	sum, err := format.ParseName(name)
	if err != nil {
		return nil // not the name of anything that is needed
	}
	right, err := hasHash(ctx, k.vault.Read, store.Info{Ref: store.Ref{Name: name, Version: p.Version}, Size: p.Size}, sum)
	if right {
		return nil
	}
	if err != nil && !Unreadable(ctx, err) {
		return err
	}
	if _, err = k.adopt(ctx, name, p.Size, p.Index); Classify(ctx, err).Lost() {
		return k.lose(name, err)
	}
	return err
}
