package repo

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Leaves gives references to the leaf pages of a point's manifest for keys from <= key < to ("": to the end), in order. Behind an inner
// page that is lost it finds what there is: the needs list says which pages of which objects are the point's. What
// is lost comes as a *tree.Lost where it would stand, and behind the last version of a key that is left a *tree.NotNewest where newer ones
// may be lost; the walk goes on behind both. visit, which may be nil, is told of inner pages.
func (r *Reader) Leaves(ctx context.Context, c *format.Commit, from, to string, visit func(format.PageRef)) iter.Seq2[format.PageRef, error] {
	var s *search // once something is lost
	find := func(ctx context.Context, ref format.PageRef, end string, cause error) ([]format.PageRef, []*tree.Lost, error) {
		if !Classify(ctx, cause).Lost() {
			return nil, nil, cause
		}
		if s == nil {
			s = &search{r: r, c: c, from: from, to: to, at: map[pageAt]*gap{}, in: map[pageAt][]*gap{}, edge: map[pageAt]bool{}, room: maxFoundBytes}
			if err := s.all(ctx); err != nil {
				return nil, nil, err
			}
		}
		below, lost := s.below(ref, end, cause)
		return below, lost, nil
	}
	lost := func(key string) error { return s.lost(key) }
	return inAge(ctx, r.Page, tree.Around(ctx, r.Page, c.Manifest, from, to, visit, find), lost)
}

// search finds the pages of a manifest that stand below lost ones. Which pages are the point's its needs list says; what has to be
// found out is which of them no intact page leads to, and where they belong. The inner pages that can be reached tell which are lost,
// and between which keys (gaps). The pages between these keys are what is looked for, from the highest level down, as what
// stands below a page that is found is reached by it. What is not reached then either leaves gaps of its own.
type search struct {
	r        *Reader
	c        *format.Commit
	from, to string // keys that are asked for

	gaps []*gap
	at   map[pageAt]*gap
	in   map[pageAt][]*gap // below pages that were found
	open []stretch
	edge map[pageAt]bool // pages that are reached, and begin with the key at which a stretch begins or ends
	room int             // bytes left for what is found
}

// pageAt is where a page is.
type pageAt struct {
	object string
	offset int64
}

func placeOf(ref format.PageRef) pageAt { return pageAt{ref.Object, ref.Frame.Offset} }

// gap is a lost inner page.
type gap struct {
	ref   format.PageRef
	to    string // where its keys end; "": with the manifest
	found []tree.Described
	left  int64 // entries that are not accounted for
	cause error // why the page cannot be read
	open  error // not nil: not all is found of what it led to, or of what gaps did that share a key with it
}

// stretch is where pages of lower levels than a lost page are looked for: from one key on and up to another ("": to the end).
// Versions of one key may lie on both sides of a cut, so either may be the first key of a page.
type stretch struct {
	from, to string
	of       *gap
	found    []tree.Described // in the pass at hand
}

// maxFoundBytes bounds the memory of the pages that are found. Beyond it they count as lost.
const maxFoundBytes = 16 << 20

// all finds all there is. The meta objects are read once for each level at which something is missing.
func (s *search) all(ctx context.Context) error {
	t := &trail{s: s}
	if err := t.follow(tree.Around(ctx, s.r.Page, s.c.Manifest, "", "", t.met, t.lost)); err != nil {
		return err
	}
	for level := s.c.Manifest.Level - 1; level >= 0; level-- {
		if !s.missing(level) {
			continue
		}
		if err := s.pass(ctx, level); err != nil {
			return err
		}
	}
	s.settle()
	s.join()
	return nil
}

// missing reports whether there can be pages of a level that are needed and not found.
func (s *search) missing(level int) bool {
	return slices.ContainsFunc(s.gaps, func(g *gap) bool { return g.ref.Level > level && g.left > 0 && s.asked(g) })
}

// asked reports whether a gap can hold keys that are asked for.
func (s *search) asked(g *gap) bool {
	return (s.to == "" || g.ref.First < s.to) && (g.to == "" || g.to >= s.from)
}

// pass finds the pages of one level.
func (s *search) pass(ctx context.Context, level int) error {
	places := s.places(level)
	if err := s.scan(ctx, level, places); err != nil {
		return err
	}
	return s.divide(ctx, places)
}

// span is where a page that was found, and all it leads to, stands.
type span struct {
	from, to string
	level    int
	open     []stretch // of what is lost below it
}

// divide takes the pages found in stretches for their gaps, and looks on before and behind what each of them leads to.
func (s *search) divide(ctx context.Context, places *places) error {
	var spans []span
	before := s.open
	for _, t := range places.list {
		inOrder(t.found)
		for i, p := range t.found {
			end := t.to
			if i+1 < len(t.found) {
				end = t.found[i+1].First
			}
			if p.Level > 0 {
				s.open = nil
				before := len(s.gaps)
				walk := &trail{s: s, from: p.First}
				err := walk.follow(tree.Below(ctx, s.r.Page, p.PageRef, end, walk.met, walk.lost))
				if err != nil && !Classify(ctx, err).Lost() {
					return err
				}
				if err != nil {
					continue // no writer makes such a page
				}
				walk.end()
				s.in[placeOf(p.PageRef)] = s.gaps[before:len(s.gaps):len(s.gaps)]
				spans, p.Last = append(spans, span{p.First, walk.first, p.Level, s.open}), walk.first
			}
			t.of.left -= p.Entries
			t.of.found = append(t.of.found, p)
		}
	}
	slices.SortStableFunc(spans, func(a, b span) int { return strings.Compare(a.from, b.from) })
	s.open = nil
	for _, t := range before {
		s.cut(t, spans, -1)
	}
	for i := range spans {
		for _, t := range spans[i].open {
			s.cut(t, spans, i)
		}
	}
	return nil
}

// cut opens what is left of a stretch without some spans, which are in order; but for the one that it is within.
func (s *search) cut(t stretch, spans []span, within int) {
	from := t.from
	open := func(to string) {
		if to == "" || from <= to {
			s.open = append(s.open, stretch{from: from, to: to, of: t.of})
		}
	}
	i, _ := slices.BinarySearchFunc(spans, t.from, func(sp span, from string) int { return strings.Compare(sp.from, from) })
	for ; i < len(spans) && (t.to == "" || spans[i].from <= t.to); i++ {
		if i == within {
			continue
		}
		sp := spans[i]
		above := sp.level >= t.of.ref.Level // so it does not stand below the lost page
		if above && sp.to == t.from {
			continue // versions of one key fill it: it stands before the lost page or behind it
		}
		open(sp.from)
		if above {
			return // it stands behind the lost page
		}
		from = max(from, sp.to)
	}
	open(t.to)
}

// settle puts what was found into the order of the walk, and evens out between gaps: what stands at the end of one may be another's.
func (s *search) settle() {
	for _, g := range s.gaps {
		s.inOrder(g.found)
		kept := g.found[:0]
		for _, p := range g.found {
			if n := len(kept); n > 0 && (p.First < kept[n-1].Last || p.Sum == kept[n-1].Sum) {
				g.left += p.Entries // two that cannot be of one tree: the list is not true
				continue
			}
			kept = append(kept, p)
		}
		g.found = kept
	}
	for _, g := range s.gaps {
		if g.left >= 0 {
			continue
		}
		for _, o := range s.gaps {
			if n := min(-g.left, o.left); n > 0 {
				g.left, o.left = g.left+n, o.left-n
			}
		}
	}
}

// below gives what was found below a lost page, and what is lost.
func (s *search) below(ref format.PageRef, end string, cause error) (below []format.PageRef, lost []*tree.Lost) {
	g := s.at[placeOf(ref)]
	if g == nil { // it could be read before
		g = &gap{ref: ref, to: end, left: ref.Entries}
	}
	for _, p := range g.found {
		below = append(below, p.PageRef)
	}
	if g.left <= 0 {
		s.r.report.send(lossOf(cause), ref.Object, "a page of the manifest is lost, and all %d entries behind it were found without it: %v", ref.Entries, cause)
		return below, nil
	}
	return below, []*tree.Lost{{From: ref.First, To: g.to, Entries: g.left, Found: max(ref.Entries-g.left, 0), Object: ref.Object, Err: cause}}
}

// lost gives the cause if versions of a key can be among what was not found.
func (s *search) lost(key string) error {
	for _, g := range s.gaps {
		if g.ref.First <= key && (g.to == "" || key <= g.to) && g.open != nil {
			return g.open
		}
	}
	return nil
}

// join has gaps that share a key know of each other: nobody knows in which of them the pages stood that begin with it, and so which lacks how much.
func (s *search) join() {
	gaps := slices.Clone(s.gaps)
	slices.SortStableFunc(gaps, func(a, b *gap) int { return strings.Compare(a.ref.First, b.ref.First) })
	for len(gaps) > 0 {
		n, end, endless := 0, "", false
		var why error
		for n < len(gaps) && (n == 0 || endless || gaps[n].ref.First <= end) {
			g := gaps[n]
			if n, end, endless = n+1, max(end, g.to), endless || g.to == ""; g.left > 0 {
				why = g.cause
			}
		}
		for _, g := range gaps[:n] {
			g.open = why
		}
		gaps = gaps[n:]
	}
}

// trail is one walk over the inner pages that can be reached, from a root or from a page that was found.
type trail struct {
	s    *search
	from string // the first key of that page

	first string   // of the pages met last
	same  []pageAt // all that begin with it
	last  *gap     // the gap met last
}

func (t *trail) follow(leaves iter.Seq2[format.PageRef, error]) error {
	for ref, err := range leaves {
		if errors.Is(err, tree.ErrSeam) {
			continue // nothing was looked for yet
		}
		if err != nil {
			return err
		}
		t.met(ref)
	}
	return nil
}

// met takes a page that is referred to.
func (t *trail) met(ref format.PageRef) {
	p := placeOf(ref)
	if ref.First != t.first {
		t.first, t.same = ref.First, t.same[:0]
	}
	t.same = append(t.same, p)
	if ref.First == t.from || t.last != nil && t.last.to == ref.First {
		t.s.edge[p] = true
	}
}

// lost takes a page that was met and is lost; it is a tree.Find.
func (t *trail) lost(ctx context.Context, ref format.PageRef, end string, cause error) ([]format.PageRef, []*tree.Lost, error) {
	if !Classify(ctx, cause).Lost() {
		return nil, nil, cause
	}
	t.last = &gap{ref: ref, to: end, left: ref.Entries, cause: cause}
	t.s.gaps, t.s.at[placeOf(ref)] = append(t.s.gaps, t.last), t.last
	t.s.open = append(t.s.open, stretch{from: ref.First, to: end, of: t.last})
	t.end()
	return nil, nil, nil
}

// end notes that a stretch begins at the pages met last.
func (t *trail) end() {
	for _, p := range t.same {
		t.s.edge[p] = true
	}
}
