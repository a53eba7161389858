package repo

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// The vault's own listing is compared with the cache in as many listings at once.
const compareParallel = 8

const (
	manyPlacements = 20_000 // more under one prefix than this are listed in sixteen parts
	maxConfirmed   = 1_000  // objects that were asked for by name and are gone, before the listing is taken at its word
	maxToldLost    = 20     // of one vault, each by name
)

// kinds are the beginnings of names that have placements.
func kinds() []string {
	return []string{format.PrefixDescriptors, format.PrefixKeys, format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds, format.PrefixPlacements}
}

// namesOf are the names that one vault lists.
type namesOf struct{ *keeper }

// compare holds what the cache says of a vault against the vault's own listing, once a session: name, version and size of
// every object. What is gone, or has another size, is reported and forgotten; so a vault that was wiped, rolled back or
// replaced under its name is not taken to hold what it held. That bytes are still right is not seen here.
func (k *namesOf) compare(ctx context.Context, l *listed) error {
	c := &comparison{k: k.keeper}
	if l != nil {
		ok, err := c.compareParts(ctx, l)
		if err != nil {
			return err
		}
		if ok {
			c.tell()
			return nil
		}
		c = &comparison{k: k.keeper}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(compareParallel)
	for _, kind := range kinds() {
		parts, err := k.parts(kind)
		if err != nil {
			_ = g.Wait()
			return err
		}
		for _, prefix := range parts {
			g.Go(func() error { return c.list(gctx, prefix) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.tell()
	return forgetParts(k.cache, k.vault.Name)
}

// parts gives the prefixes that the names of one kind are listed by: none where none is known.
func (k *namesOf) parts(kind string) ([]string, error) {
	n := 0
	for _, err := range k.cache.Places.Under(k.vault.Name, kind) {
		if err != nil {
			return nil, err
		}
		if n++; n > manyPlacements {
			break
		}
	}
	switch {
	case n == 0:
		return nil, nil
	case n <= manyPlacements || k.overview.holds() || kind == format.PrefixPlacements || kind == format.PrefixDescriptors:
		return []string{kind}, nil
	}
	var out []string
	for _, digit := range "0123456789abcdef" {
		out = append(out, kind+string(digit))
	}
	return out, nil
}

// comparison is what came out so far.
type comparison struct {
	k *keeper

	mu        sync.Mutex
	kept      int // those aside that init puts there
	gone      int
	others    int // of these, where other versions lie under the name
	confirmed int
	told      []Finding
}

// list compares the names under one prefix.
func (c *comparison) list(ctx context.Context, prefix string) error {
	l := newListing(c.k.vault.Read.Versions(ctx, prefix, ""))
	defer l.close()
	if err := c.walk(ctx, l, c.k.cache.Places.Under(c.k.vault.Name, prefix), nil); err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// walk compares placements with a listing of these names, both in order. met, which may be nil, is told of each that is there, and
// whether it is listed.
func (c *comparison) walk(ctx context.Context, l *listing, placements iter.Seq2[format.Placement, error], met func(p format.Placement, listed bool) error) error {
	var gone []string
	flush := func() error {
		err := c.k.cache.Places.Drop(c.k.vault.Name, gone...)
		gone = gone[:0]
		return err
	}
	for p, err := range placements {
		if err != nil {
			return err
		}
		there, why, err := l.has(p)
		if err != nil {
			return err
		}
		listed := there
		if there && len(p.Index) > 0 {
			if err := c.k.names.indexAt(l.last); err != nil {
				return err
			}
		}
		if !there {
			if there, err = c.confirm(ctx, p); err != nil {
				return err
			}
		}
		c.count(p, there, l.moved, why)
		if there && met != nil {
			if err := met(p, listed); err != nil {
				return err
			}
		}
		if there {
			if l.over {
				if err := c.prove(ctx, p); err != nil {
					return err
				}
			}
			continue
		}
		if gone = append(gone, p.Name); len(gone) >= 1000 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// prove reads, once, a version that lies on top of an older one of the same name: an attacker's, if somebody made us believe
// it to be ours; else the same bytes, put twice.
func (c *comparison) prove(ctx context.Context, p format.Placement) error {
	mark := "proved/" + p.Name + "@" + p.Version
	if done, err := c.k.cache.Segments.Loaded(c.k.vault.Name, mark); err != nil || done {
		return err
	}
	if err := c.k.reconsider(ctx, p.Name); err != nil {
		return err
	}
	return c.k.cache.Segments.MarkLoaded(c.k.vault.Name, mark)
}

// confirm asks for what a listing left out, since listings may lag behind, and MinIO lists nothing below an object of a folder's name; not for ever, for a vault that lost everything.
func (c *comparison) confirm(ctx context.Context, p format.Placement) (there bool, err error) {
	c.mu.Lock()
	ask := c.confirmed < maxConfirmed
	c.mu.Unlock()
	if !ask {
		return false, nil
	}
	there, err = c.k.names.there(ctx, p)
	if !there {
		c.mu.Lock()
		c.confirmed++
		c.mu.Unlock()
	}
	return there, err
}

func (c *comparison) count(p format.Placement, there, moved bool, why Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if there {
		if !strings.HasPrefix(p.Name, format.PrefixDescriptors) && !strings.HasPrefix(p.Name, format.PrefixKeys) {
			c.kept++
		}
		return
	}
	if !p.Until.IsZero() && p.Until.Before(c.k.clock()) {
		return // its lock is over, by what others say too: whoever may remove such things did. If a point needs it, that shows there
	}
	c.gone++
	if moved {
		c.others++
	}
	if len(c.told) < maxToldLost {
		why.Name = p.Name
		c.told = append(c.told, why)
	}
}

// tell reports what is gone. A vault that has nothing left is one finding.
func (c *comparison) tell() {
	name := c.k.vault.Name
	switch {
	case c.gone > 1 && c.kept == 0 && c.others > c.gone/2:
		c.k.report.send(Missing, "vault "+name, "none of the %d objects is there as the version that was stored, but %d have others: the vault is a copy, or somebody covered them; "+
			"what points need is read there before it counts, or stored again", c.gone, c.others)
		return
	case c.gone > 1 && c.kept == 0:
		c.k.report.send(Missing, "vault "+name, "nothing is left of the %d objects that were stored there; what points need is stored there again", c.gone)
		return
	}
	slices.SortFunc(c.told, func(a, b Finding) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range c.told {
		c.k.report.send(f.Kind, f.Name, "%s", f.Detail)
	}
	if more := c.gone - len(c.told); more > 0 {
		c.k.report.send(Missing, "vault "+name, "and %d more objects are gone", more)
	}
}
