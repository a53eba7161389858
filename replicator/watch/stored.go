package watch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// A directory keeps no locks, so nothing says of an object that it has to be there but the points that need it. So in a directory the
// objects that are looked at are picked from what a point needs, each until that point is over, and what is looked at is whether they are there
// in their size. A look at one costs no request.

// stored looks at stored objects of a directory that were picked by chance.
func stored(ctx context.Context, l *look, seen *Memory) error {
	in := flat.NewReader(l.View.In)
	all := slices.DeleteFunc(slices.Clone(l.m.Sentinels), func(s Sentinel) bool { return !s.Until.After(l.due) })
	err := each(ctx, len(all), func(ctx context.Context, i int) error { return all[i].there(ctx, l, in) })
	if err != nil {
		return fmt.Errorf("look at stored objects: %w", err)
	}
	if all, err = pickNeeded(ctx, l, in, all); err != nil {
		return fmt.Errorf("pick stored objects to look at: %w", err)
	}
	sentinelsTold(l, all, Withheld, "are not there as they were", func(s Sentinel) bool { return s.Gone })
	sentinelsTold(l, all, Attention, "cannot be looked at", func(s Sentinel) bool { return s.Closed })
	seen.Sentinels = all
	return nil
}

// there looks whether an object is there in its size.
func (s *Sentinel) there(ctx context.Context, l *look, in store.Reader) error {
	info, _, err := in.Stat(ctx, store.Ref{Name: s.Name})
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing && !repo.Classify(ctx, err).OfObject() {
		return err
	}
	s.Read, s.Wrong, s.Gone, s.Closed = l.now, "", false, false
	switch {
	case missing:
		s.Gone, s.Wrong = true, s.Name+" is gone"
	case err != nil:
		s.Closed, s.Wrong = true, fmt.Sprintf("%s: %v", s.Name, err)
	case s.Size == 0: // it was gone when it was picked
		s.Size = info.Size
	case info.Size != s.Size:
		s.Gone, s.Wrong = true, fmt.Sprintf("%s has %d bytes, and had %d", s.Name, info.Size, s.Size)
	}
	return nil
}

// pickNeeded adds some objects that a point needs, which is chosen by chance too. They are read from one page of its needs list.
func pickNeeded(ctx context.Context, l *look, in store.Reader, all []Sentinel) ([]Sentinel, error) {
	var from []browse.Point
	for _, p := range l.points {
		if p.Commit != nil && !p.Distrusted && p.Doubt == nil && kept(l.View, p).After(l.due) {
			from = append(from, p)
		}
	}
	if len(all) >= allSentinels || len(from) == 0 {
		return all, nil
	}
	p := from[rand.IntN(len(from))]
	until := kept(l.View, p)
	needs, broken, err := needed(ctx, l, in, p.Commit.Needs)
	if broken != "" && errors.Is(err, repo.ErrMissing) { // what a point needs is known by its needs list, which is gone itself
		if !slices.ContainsFunc(all, func(s Sentinel) bool { return s.Name == broken }) {
			all = append(all, Sentinel{Name: broken, Until: until, Read: l.now, Gone: true, Wrong: broken + " is gone"})
		}
		return all, nil
	}
	if repo.Classify(ctx, err).Lost() {
		return all, nil // damaged: that is for a verification to tell
	}
	if err != nil {
		return nil, err
	}
	rand.Shuffle(len(needs), func(i, j int) { needs[i], needs[j] = needs[j], needs[i] })
	picked := 0
	for _, n := range needs {
		if picked == newSentinels || len(all) >= allSentinels {
			break
		}
		if slices.ContainsFunc(all, func(s Sentinel) bool { return s.Name == n.Name }) {
			continue
		}
		s := Sentinel{Name: n.Name, Size: n.Size, Until: until}
		if err := s.there(ctx, l, in); err != nil {
			return nil, err
		}
		all, picked = append(all, s), picked+1
	}
	return all, nil
}

// needed gives the lines of a page of a needs list, from anywhere in it. broken is the object that could not be read.
func needed(ctx context.Context, l *look, in store.Reader, root format.PageRef) (needs []format.Need, broken string, err error) {
	reader, err := repo.NewReader(l.View.Repository, in, nil, nil, nil)
	if err != nil {
		return nil, "", err
	}
	folders := []string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds}
	for _, from := range []string{fmt.Sprintf("%s%02x", folders[rand.IntN(len(folders))], rand.IntN(256)), ""} {
		for leaf, err := range tree.Leaves(ctx, reader.Page, root, from, func(r format.PageRef) { broken = r.Object }) {
			if err != nil {
				return nil, broken, err
			}
			last := ""
			broken = leaf.Object
			for n, err := range tree.NeedLines(ctx, reader.Page, leaf, &last) {
				if err != nil {
					return nil, broken, err
				}
				needs = append(needs, n)
			}
			return needs, "", nil
		}
	}
	return nil, "", nil
}
