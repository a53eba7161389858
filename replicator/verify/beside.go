package verify

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// seenElsewhere: what lies beside points and descriptors is reported where these are listed.
func seenElsewhere(name string) bool {
	return strings.HasPrefix(name, format.PrefixPoints) || strings.HasPrefix(name, format.PrefixDescriptors)
}

func wellNamed(name string) bool {
	_, err := format.ParseName(name)
	return err == nil
}

// passed looks at what the listing holds besides the objects that points need: index segments, what a killed run left, and
// whatever somebody put there. A single version under a right name may be any of these and is let be; a name that is none
// of the repository's, a delete marker and other bytes under one name are nobody's who means well.
func (r *run) passed(ctx context.Context, name string, g group) error {
	sum, err := format.ParseName(name)
	if err != nil {
		r.find(repo.Tampered, name, format.Hash{}, "not the name of anything of a repository")
		return nil
	}
	if g.markers == 0 && g.versions < 2 || r.knows(repo.Tampered, name) {
		return nil
	}
	if t := r.checks.inTurn; t != nil {
		t.stray(name, g)
		return nil
	}
	return r.oddOnes(ctx, name, sum, format.MaxPack, g)
}

// oddOnes reports several versions under one name that are not the same bytes, or delete markers on them.
func (r *run) oddOnes(ctx context.Context, name string, sum format.Hash, most int64, g group) error {
	right := 0
	for _, info := range slices.Backward(g.kept) {
		if info.Size > most {
			continue
		}
		ok, err := r.checks.hashes(ctx, info, sum)
		if err != nil {
			if err = r.checks.passOver(ctx, err); err != nil {
				return err
			}
		}
		if ok {
			right++
		}
	}
	if g.markers == 0 && right == g.versions {
		return nil // the same put several times: a repeated request
	}
	r.find(repo.Tampered, name, format.Hash{}, "%d versions, %d of them with the right bytes, and %d delete markers; no point that was looked at needs it",
		g.versions, right, g.markers)
	return nil
}

// knows reports whether a finding of that kind and name was given already.
func (r *run) knows(k repo.FindingKind, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reported[string(k)+" "+name]
}

// placements looks at the placements objects, which no point needs but every run reads: that nobody put anything over or
// beside them and, where bytes are looked at, that the repository signed them. One that is gone is no loss.
func (r *run) placements(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.Concurrency)
	at := &listing{ctx: gctx, in: r.o.In, passed: func(name string, gr group) error {
		g.Go(func() error { return r.placement(gctx, name, gr) })
		return gctx.Err()
	}}
	err := at.drain(format.PrefixPlacements)
	at.close()
	if werr := g.Wait(); werr != nil {
		return werr
	}
	return err
}

func (r *run) placement(ctx context.Context, name string, g group) error {
	if err := r.o.Repository.Trust().VouchPlacements(name); err != nil {
		r.find(repo.Tampered, name, format.Hash{}, "%v", err)
		return nil
	}
	sum, err := format.ParseName(name)
	if err != nil {
		return err
	}
	if g.markers > 0 || g.versions > 1 {
		if err := r.oddOnes(ctx, name, sum, format.MaxPack, g); err != nil {
			return err
		}
	}
	if r.o.Level == Locks || g.versions == 0 || r.knows(repo.Tampered, name) {
		return nil
	}
	if err := r.o.Repository.Trust().CheckPlacements(ctx, r.o.In, g.kept[len(g.kept)-1]); err != nil {
		if _, ok := judge(ctx, err); !ok && !repo.Unreadable(ctx, err) {
			return fmt.Errorf("verify: %w", err)
		}
		r.find(repo.Tampered, name, format.Hash{}, "not placements of this repository: %v", err)
	}
	return nil
}
