package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// holders gives the vaults that can be asked, those known to hold the object first.
func (s *vaults) holders(name string) ([]*keeper, error) {
	var known, others []*keeper
	for _, k := range s.givers() {
		_, ok, err := k.placement(name)
		if err != nil {
			return nil, err
		}
		if ok {
			known = append(known, k)
		} else {
			others = append(others, k)
		}
	}
	return append(known, others...), nil
}

// from reads something of the object from the first vault that can give it. A vault that has other bytes, or none, is
// reported and not asked again; one that fails is left out, and one that keeps the others waiting is left behind. A *LostError
// says that none has it.
func (s *vaults) from(ctx context.Context, name string, not *keeper, read func(context.Context, *keeper) error) error {
	ks, err := s.holders(name)
	if err != nil {
		return err
	}
	lost := &LostError{Names: []string{name}, Count: 1, Err: fmt.Errorf("%s: %w", name, ErrMissing)}
	for _, k := range ks {
		if k == not {
			continue
		}
		var err error
		if not != nil { // what one vault takes from another is waited for
			err = read(ctx, k)
		} else {
			err = s.patiently(ctx, k, func(ctx context.Context) error { return read(ctx, k) })
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && k.err() == nil && !s.inStep(k):
			// It was left behind; the next vault may do.
		case ctx.Err() != nil:
			return ctx.Err()
		case Classify(ctx, err).Lost():
			lost.Err = err
			if _, ok, perr := k.placement(name); perr != nil {
				return perr
			} else if !ok && errors.Is(err, ErrMissing) {
				continue // it was not known to be there
			}
			if err := k.lose(name, err); err != nil {
				return err
			}
		case s.alone && not != nil:
			lost.Err = err // it has the point, and is in no trouble of ours
		default:
			_ = k.fail(err) // kept in the keeper; the next vault may do
		}
	}
	if err := s.living(ctx); err != nil {
		return err
	}
	return lost
}

// indexIn gives the frames of a meta object that are index segments, as another vault's placement says.
func (s *vaults) indexIn(name string) ([]format.Frame, error) {
	for _, k := range s.givers() {
		if p, ok, err := k.placement(name); err != nil || ok && len(p.Index) > 0 {
			return p.Index, err
		}
	}
	return nil, nil
}
