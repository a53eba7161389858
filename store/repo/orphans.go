package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// places are the stretches in which pages of a level are looked for, in order.
type places struct {
	list []*stretch
	ends []string // the furthest that any of the list reaches up to each; "": to the end
}

func (s *search) places(level int) *places {
	p := &places{}
	for i := range s.open {
		if t := &s.open[i]; t.of.ref.Level > level && s.asked(t.of) {
			p.list = append(p.list, t)
		}
	}
	// Of those that begin at one key the one of the lowest page comes last: it is the innermost.
	slices.SortStableFunc(p.list, func(a, b *stretch) int {
		return cmp.Or(strings.Compare(a.from, b.from), b.of.ref.Level-a.of.ref.Level)
	})
	for i, t := range p.list {
		end := t.to
		if i > 0 && end != "" && (p.ends[i-1] == "" || p.ends[i-1] > end) {
			end = p.ends[i-1]
		}
		p.ends = append(p.ends, end)
	}
	return p
}

// of gives the innermost stretch in which a page can stand that begins with a key; nil: there is none.
func (p *places) of(first string) *stretch {
	i, _ := slices.BinarySearchFunc(p.list, first, func(t *stretch, first string) int {
		if t.from <= first {
			return -1
		}
		return 1
	})
	for i--; i >= 0 && (p.ends[i] == "" || first <= p.ends[i]); i-- {
		if t := p.list[i]; t.to == "" || first <= t.to {
			return t
		}
	}
	return nil
}

// scan looks for pages of a level in the meta objects in which the point has pages. One that cannot be read is passed over: what
// is on it is lost.
func (s *search) scan(ctx context.Context, level int, places *places) error {
	for n, err := range tree.Needs(ctx, s.r.Page, s.c.Needs, nil) {
		if Classify(ctx, err).Lost() {
			return nil // the list is broken off here, and what it names before this serves
		}
		if err != nil {
			return err
		}
		if len(n.Pages) == 0 {
			continue
		}
		if err := s.object(ctx, n, level, places); err != nil && !Classify(ctx, err).Lost() {
			return err
		}
	}
	return nil
}

// object looks through one object. Its bytes are proved as a whole first: anybody can seal an age file to public keys.
func (s *search) object(ctx context.Context, n format.Need, level int, places *places) error {
	body, _, err := s.r.Whole(ctx, n.Name, format.MaxPack)
	if err != nil {
		return err
	}
	o, err := pack.Open(ctx, int64(len(body)), func(_ context.Context, off, n int64) ([]byte, error) {
		return slices.Clone(body[off : off+n]), nil
	}, s.r.ids...)
	if err != nil {
		return err
	}
	edges := n.Pages.Edges()
	return o.Scan(ctx, func(f format.Frame, plain []byte) error {
		if !format.Holds(edges, f) || s.edge[pageAt{n.Name, f.Offset}] || isRoot(plain) {
			return nil
		}
		d, err := tree.Describe(plain, level)
		if err != nil {
			return nil // of another level
		}
		t := places.of(d.First)
		if room := len(d.First) + len(d.Last) + 300; t != nil && s.room >= room {
			s.room -= room
			d.Object, d.Frame, d.Sum = n.Name, f, sha256.Sum256(plain)
			t.found = append(t.found, d)
		}
		return nil
	})
}

// isRoot reports whether a page is a manifest's root. The point's own is not below a lost page.
func isRoot(page []byte) bool {
	line, _, _ := bytes.Cut(page, []byte{'\n'})
	_, err := format.ParseRootLine(line)
	return len(line) > 0 && err == nil
}

// inOrder sorts pages as a walk meets them. Pages that one key's versions fill come before the one on which they end, and what is
// known to be filled by them before what leads further than one can see.
func inOrder(pages []tree.Described) {
	slices.SortStableFunc(pages, func(a, b tree.Described) int {
		return cmp.Or(strings.Compare(a.First, b.First), strings.Compare(a.Last, b.Last), a.Level-b.Level, strings.Compare(a.FirstVersion, b.FirstVersion),
			bytes.Compare(a.Sum[:], b.Sum[:]))
	})
}

// inOrder sorts pages once all is found. Of two that begin with one key, and by themselves do not lead further than it, a lost page below
// one may lead on to other keys: then that one comes later, or the walk would have passed the other.
func (s *search) inOrder(pages []tree.Described) {
	inOrder(pages)
	slices.SortStableFunc(pages, func(a, b tree.Described) int {
		return cmp.Or(strings.Compare(a.First, b.First), strings.Compare(a.Last, b.Last), strings.Compare(s.reach(a), s.reach(b)))
	})
}

// reach is the last key to which a page leads, as far as one can see, with what was found below it.
func (s *search) reach(p tree.Described) string {
	last := p.Last
	for _, g := range s.in[placeOf(p.PageRef)] {
		for _, q := range g.found {
			last = max(last, s.reach(q))
		}
	}
	return last
}
