package repo

import (
	"context"
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
// An object that some active vault lacks and none can give is in the *LostError that comes back. needs is walked once.
func (s *Session) Secure(ctx context.Context, needs iter.Seq2[format.Need, error]) error {
	until := s.until()
	lost := &losses{}
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
			g.Go(func() error {
				err := s.secure(gctx, k, n.Name, n.Size, until)
				if lostBytes(err) && gctx.Err() == nil {
					lost.add(k, n.Name, err)
					return nil
				}
				if err == nil {
					err = s.keepUp(gctx, k)
				}
				return s.settle(gctx, k, err)
			})
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.living(); err != nil {
		return err
	}
	return lost.err()
}

// SecureSegments keeps up the locks of index segments and placements objects, which no point needs but later runs use,
// and copies index segments into vaults that lack them: content is then found in any vault that outlives the others.
func (s *Session) SecureSegments(ctx context.Context) error {
	until := s.until()
	return s.each(ctx, func(k *keeper) error {
		var due []format.Placement
		for p, err := range s.cache.Placements(k.vault.Name) {
			if err != nil {
				return err
			}
			if (p.Index || strings.HasPrefix(p.Name, format.PrefixPlacements)) && !k.holds(p, until) {
				due = append(due, p)
			}
		}
		if err := s.extendAll(ctx, k, due, until); err != nil {
			return err
		}
		return s.copySegments(ctx, k, until)
	})
}

func (s *Session) copySegments(ctx context.Context, k *keeper, until time.Time) error {
	for _, other := range s.active() {
		if other == k {
			continue
		}
		for p, err := range s.cache.PlacementsUnder(other.vault.Name, format.PrefixMeta) {
			if err != nil {
				return err
			}
			if !p.Index {
				continue
			}
			if _, ok, err := k.placement(p.Name); err != nil {
				return err
			} else if ok {
				continue
			}
			_, err := s.obtain(ctx, k, p.Name, p.Size, until, true)
			if lostBytes(err) {
				continue // it was reported; what it said is in the cache
			}
			if err != nil {
				return err
			}
			if err := s.cache.MarkLoaded(k.vault.Name, p.Name); err != nil {
				return err
			}
			if err := s.keepUp(ctx, k); err != nil {
				return err
			}
		}
	}
	return nil
}

// extendAll lengthens the locks of segments. One that is gone or damaged is reported and done without: what it said is in
// the cache, or can be rebuilt from manifests.
func (s *Session) extendAll(ctx context.Context, k *keeper, due []format.Placement, until time.Time) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(secureParallel)
	for _, p := range due {
		g.Go(func() error {
			err := k.extend(gctx, p, until)
			if lostBytes(err) && gctx.Err() == nil {
				return k.lose(p.Name, err)
			}
			if err == nil {
				err = s.keepUp(gctx, k)
			}
			return err
		})
	}
	return g.Wait()
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
