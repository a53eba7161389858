package repo

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// each runs fn for every active vault at once. A vault whose fn fails is left out from then on, unless the context
// ended; an error comes back only when none is left.
func (s *Session) each(ctx context.Context, fn func(*keeper) error) error {
	return s.eachIndexed(ctx, func(_ int, k *keeper) error { return fn(k) })
}

func (s *Session) eachIndexed(ctx context.Context, fn func(int, *keeper) error) error {
	var g errgroup.Group
	for i, k := range s.keepers {
		if k.err() != nil {
			continue
		}
		g.Go(func() error { return s.settle(ctx, k, fn(i, k)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.living()
}

// settle turns an error of one vault into that vault being left out; the others go on. Only the context tells whether the
// caller ended it: a vault that does not answer gives errors that call themselves DeadlineExceeded too.
func (s *Session) settle(ctx context.Context, k *keeper, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_ = k.fail(err) // kept in the keeper, shown in the vault's result; whether the session can go on is seen elsewhere
	return nil
}

func (s *Session) living() error {
	if len(s.active()) == 0 {
		return s.dead()
	}
	return nil
}

// dead joins the vaults' errors.
func (s *Session) dead() error {
	var errs []error
	for _, k := range s.keepers {
		errs = append(errs, k.err())
	}
	return fmt.Errorf("%w: %w", ErrAllVaults, errors.Join(errs...))
}
