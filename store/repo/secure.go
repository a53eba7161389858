package repo

import (
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// secureParallel is how many objects of one vault are looked at or lengthened at once.
const secureParallel = 16

// Secure makes sure that every active vault holds each of the needs, locked until the session's time at least: from its
// placement, by lengthening the lock, or by copying the object from another vault. A vault where that fails is left out.
// needs is walked once.
func (s *Session) Secure(ctx context.Context, needs iter.Seq2[format.Need, error]) error {
	until := s.until()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for n, err := range needs {
		if err != nil {
			_ = g.Wait() // the walk's own error is the one to give
			return err
		}
		for _, k := range s.active() {
			p, ok, err := k.placement(n.Name)
			if err != nil {
				_ = g.Wait()
				return err
			}
			if ok && k.holds(p, until) {
				continue
			}
			g.Go(func() error { return s.settle(gctx, k, k.secure(gctx, n.Name, n.Size, until, s.keepers)) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.living()
}

// SecureSegments keeps up the locks of index segments and placements objects, which no point needs but later runs use.
func (s *Session) SecureSegments(ctx context.Context) error {
	until := s.until()
	return s.each(func(k *keeper) error {
		var due []format.Placement
		for p, err := range s.cache.Placements(k.vault.Name) {
			if err != nil {
				return err
			}
			if (p.Index || strings.HasPrefix(p.Name, format.PrefixPlacements)) && !k.holds(p, until) {
				due = append(due, p)
			}
		}
		return s.extendAll(ctx, k, due, until)
	})
}

// extendAll lengthens the locks of segments. One that is gone or damaged is reported and done without: what it said is in
// the cache, or can be rebuilt from manifests.
func (s *Session) extendAll(ctx context.Context, k *keeper, due []format.Placement, until time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for _, p := range due {
		g.Go(func() error {
			err := k.extend(gctx, p, until)
			switch {
			case errors.Is(err, ErrMissing):
				s.report.send(Missing, p.Name, "%v", err)
				return nil
			case errors.Is(err, ErrDamaged):
				s.report.send(Damaged, p.Name, "%v", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// settle turns an error of one vault into that vault being left out; the others go on.
func (s *Session) settle(ctx context.Context, k *keeper, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_ = k.fail(err) // kept in the keeper, shown in the vault's result
	return s.living()
}

func (s *Session) living() error {
	if len(s.active()) == 0 {
		return s.dead()
	}
	return nil
}

// Standing gives the objects every point needs besides content: the descriptors and the host key's sealed copies.
func (r *Repository) Standing() []format.Need {
	seen := map[string]bool{}
	var out []format.Need
	add := func(name string, size int64) {
		if !seen[name] {
			seen[name] = true
			out = append(out, format.Need{Name: name, Size: size, Living: size})
		}
	}
	for _, l := range r.Chain {
		add(format.DescriptorName(l.Number, l.Sum), l.Size)
		add(l.HostKey, l.HostKeyLen)
	}
	return out
}
