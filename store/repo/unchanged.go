package repo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A vault lists all it holds to every run, and next to nothing of that has changed since the last one. So what a listing says is cut
// into parts, and of each part in which nothing had to be said a hash is remembered: of the names, versions, sizes and times. A part
// that hashes to the same is done with. Any other is looked at name by name, and so is one in which something is out of the
// ordinary: a name with several versions or a delete marker, one that is nobody's, one that is awaited and not listed.

// part is some of what a listing says of one kind of name.
type part struct {
	First string      `json:"first"`           // it begins with the first name that is not before this
	Sum   format.Hash `json:"sum"`             // zero: it is looked at name by name
	Holds bool        `json:"holds,omitempty"` // some of its names have placements
}

// partNote is what the cache knows the parts of a vault's listing by.
const partNote = "parts"

const partNames = 128 // about so many names are a part

// listed is a whole listing in order, cut into parts.
type listed struct {
	infos []store.Info
	parts []listedPart
}

// listedPart is a part with what is listed in it now.
type listedPart struct {
	part
	before string // where the next one begins
	infos  []store.Info
	same   bool // nothing in it has changed
}

// cut cuts a listing as it was cut before. It gives nil where that cannot be done: names are in no order, or one is in the place of a
// folder, so that folders are to be listed by themselves.
func (k *namesOf) cut(infos []store.Info) (*listed, error) {
	for i := 1; i < len(infos); i++ {
		if infos[i].Name < infos[i-1].Name {
			return nil, nil
		}
	}
	note, err := k.cache.Notes.Get(k.vault.Name, partNote)
	if err != nil {
		return nil, err
	}
	var before []part
	if note != nil && json.Unmarshal(note, &before) != nil {
		before = nil
	}
	l := &listed{infos: infos}
	sum := newListSum()
	for _, kind := range kinds() {
		if shadowed(between(infos, kind[:len(kind)-1], kind), kind) {
			return nil, nil
		}
		firsts := []part{{First: kind}}
		for _, p := range before {
			switch {
			case p.First == kind:
				firsts[0] = p
			case strings.HasPrefix(p.First, kind) && p.First > firsts[len(firsts)-1].First:
				firsts = append(firsts, p)
			}
		}
		for i, p := range firsts {
			lp := listedPart{part: p, before: kind[:len(kind)-1] + "0"} // what comes behind "/"
			if i+1 < len(firsts) {
				lp.before = firsts[i+1].First
			}
			lp.infos = between(infos, lp.First, lp.before)
			if !lp.Sum.IsZero() {
				lp.same = sum.of(lp.infos) == lp.Sum
			}
			l.parts = append(l.parts, lp)
		}
	}
	return l, nil
}

// between gives the names from one on and before another.
func between(infos []store.Info, from, before string) []store.Info {
	at := func(name string) int {
		i, _ := slices.BinarySearchFunc(infos, name, func(info store.Info, name string) int { return strings.Compare(info.Name, name) })
		return i
	}
	return infos[at(from):at(before)]
}

// of hashes what a listing says; zero where there is more to be said than that each name has one version.
func (s *listSum) of(infos []store.Info) format.Hash {
	s.reset()
	for i := range infos {
		if s.add(&infos[i]); s.odd {
			return format.Hash{}
		}
	}
	return s.sum()
}

// appendInfo appends what a listing says of one version.
func appendInfo(b []byte, info *store.Info) []byte {
	b = append(append(b, info.Name...), 0)
	b = append(append(b, info.Version...), 0)
	b = binary.BigEndian.AppendUint64(b, uint64(info.Size))
	return binary.BigEndian.AppendUint64(b, uint64(info.Modified.UnixNano()))
}

// changed gives what is listed of placements under a prefix, without what has not changed; skipped reports whether there is any.
func (l *listed) changed(prefix string) (versions iter.Seq2[store.Info, error], skipped bool) {
	return func(yield func(store.Info, error) bool) {
		for info := range l.placements(prefix, false) {
			if !yield(info, nil) {
				return
			}
		}
	}, len(l.unchanged(prefix)) > 0
}

// unchanged gives what changed leaves out.
func (l *listed) unchanged(prefix string) []store.Info {
	return slices.Collect(l.placements(prefix, true))
}

func (l *listed) placements(prefix string, same bool) iter.Seq[store.Info] {
	return func(yield func(store.Info) bool) {
		for i := range l.parts {
			p := &l.parts[i]
			if p.same != same || !strings.HasPrefix(p.First, format.PrefixPlacements) {
				continue
			}
			for _, info := range p.infos {
				if strings.HasPrefix(info.Name, prefix) && !yield(info) {
					return
				}
			}
		}
	}
}

// listAll lists a vault at once and cuts that into parts; nil where folders are to be listed by themselves.
func (k *namesOf) listAll(ctx context.Context) (*listed, error) {
	infos, ok, err := k.overview.all(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list what is stored: %w", err)
	}
	if !ok {
		return nil, nil
	}
	return k.cut(infos)
}

// compareParts is compare with a listing in parts. ok is false where an object lies under its other name: then folders are listed
// by themselves.
func (c *comparison) compareParts(ctx context.Context, l *listed) (ok bool, err error) {
	var unproved []string
	for name, err := range c.k.cache.Notes.Unproved(c.k.vault.Name) {
		if err != nil {
			return false, err
		}
		unproved = append(unproved, name)
	}
	for i := range l.parts {
		p := &l.parts[i]
		if n, _ := slices.BinarySearch(unproved, p.First); n < len(unproved) && unproved[n] < p.before {
			p.same = false
		}
		if !p.same && slices.ContainsFunc(p.infos, isFlat) {
			return false, nil
		}
	}
	now := make([][]part, len(l.parts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(compareParallel)
	for i := range l.parts {
		p := &l.parts[i]
		if p.same {
			now[i] = []part{p.part}
			c.same(p)
			continue
		}
		g.Go(func() (err error) {
			now[i], err = c.part(gctx, p)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	note, err := json.Marshal(slices.Concat(now...))
	if err != nil {
		return false, fmt.Errorf("note what was listed: %w", err)
	}
	return true, c.k.cache.Notes.PutCompared(c.k.vault.Name, partNote, note)
}

// isFlat reports whether an object lies without its folder.
func isFlat(info store.Info) bool {
	if strings.Count(info.Name, "/") != 1 {
		return false
	}
	_, ok := format.WithFolder(info.Name)
	return ok
}

// same counts a part in which nothing has changed.
func (c *comparison) same(p *listedPart) {
	if p.Holds && !strings.HasPrefix(p.First, format.PrefixDescriptors) && !strings.HasPrefix(p.First, format.PrefixKeys) {
		c.mu.Lock()
		c.kept++
		c.mu.Unlock()
	}
}

// part compares the names of a part, and gives what to remember of it.
func (c *comparison) part(ctx context.Context, p *listedPart) ([]part, error) {
	l := newListing(func(yield func(store.Info, error) bool) {
		for _, info := range p.infos {
			if !yield(info, nil) {
				return
			}
		}
	})
	defer l.close()
	quiet, holds := true, false
	err := c.walk(ctx, l, c.k.cache.Places.Between(c.k.vault.Name, p.First, p.before), func(p format.Placement, listed bool) (err error) {
		holds, quiet = true, quiet && listed
		if quiet && len(p.Index) > 0 {
			quiet, err = c.k.cache.Segments.Loaded(c.k.vault.Name, p.Name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if quiet && strings.HasPrefix(p.First, format.PrefixPlacements) {
		if quiet, err = c.loaded(p.infos); err != nil {
			return nil, err
		}
	}
	first := part{First: p.First, Holds: holds}
	if !quiet {
		return []part{first}, nil
	}
	var out []part
	sum := newListSum()
	for first.First != "" {
		n := len(p.infos)
		next := ""
		if n > 2*partNames {
			for n = partNames; n < len(p.infos) && p.infos[n].Name == p.infos[n-1].Name; n++ { // versions of one name stay together
			}
			if n < len(p.infos) {
				next = p.infos[n].Name
			}
		}
		first.Sum = sum.of(p.infos[:n])
		if out = append(out, first); len(p.infos) > 0 {
			p.infos = p.infos[n:]
		}
		first = part{First: next, Holds: holds}
	}
	return out, nil
}

// loaded reports whether all placements objects among some names were read, and none is another vault's or junk.
func (c *comparison) loaded(infos []store.Info) (bool, error) {
	own := format.PrefixPlacements + c.k.vault.Name + "/"
	read := c.k.placements.loadedUnder(own)
	defer read.close()
	for _, info := range infos {
		if !strings.HasPrefix(info.Name, own) {
			return false, nil
		}
		if done, err := read.has(info.Name); err != nil || !done {
			return false, err
		}
	}
	return true, nil
}

// forgetParts forgets how a vault was listed: it was compared in another way.
func forgetParts(c *cache.Cache, vault string) error {
	return c.Notes.PutCompared(vault, partNote, nil)
}
