package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/bits"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// A meta object holds pages of the point that wrote it. A later point may still need some of them; which, its inner pages say. Where
// an inner page is lost the needs list helps: it says of each object how many bytes of pages the point needs (Living). What pages
// that can be read refer to is known to be the point's; of those under a lost page, some have to come to the bytes that remain.
// A page that is in every way to choose them is the point's. One that is not in every way may be an earlier point's, and has
// old contents of its keys.

// intact is what is known of a point's manifest without the pages that are lost.
type intact struct {
	living map[string]int64 // bytes of pages of an object that pages which can be read refer to
	lost   []stretch
	edge   map[pageAt]bool // pages that can be reached, and begin with the key at which a stretch begins or ends

	first string   // of the pages met last
	same  []pageAt // all that begin with it
}

// stretch is what lies below one lost page: pages of lower levels, from one key on and up to another ("": to the end). Versions of
// one key may lie on both sides of a cut.
type stretch struct {
	from, to string
	level    int
}

// pageAt is where a page is.
type pageAt struct {
	object string
	offset int64
}

// surveyManifest reads all inner pages of a manifest that there are.
func (r *Reader) surveyManifest(ctx context.Context, c *format.Commit) (*intact, error) {
	u := &intact{living: map[string]int64{}, edge: map[pageAt]bool{}}
	find := func(ctx context.Context, ref format.PageRef, end string, cause error) ([]format.PageRef, []*tree.Lost, error) {
		if !Classify(ctx, cause).Lost() {
			return nil, nil, cause
		}
		if u.lost = append(u.lost, stretch{ref.First, end, ref.Level}); u.first == ref.First {
			for _, p := range u.same {
				u.edge[p] = true
			}
		}
		return nil, nil, nil
	}
	for ref, err := range tree.Around(ctx, r.Page, c.Manifest, "", "", u.met, find) {
		if err != nil {
			return nil, err
		}
		u.met(ref)
	}
	return u, nil
}

// met takes a page that an intact one refers to, or the root.
func (u *intact) met(ref format.PageRef) {
	p := pageAt{ref.Object, ref.Frame.Offset}
	u.living[ref.Object] += ref.Frame.Length
	if ref.First != u.first {
		u.first, u.same = ref.First, u.same[:0]
	}
	u.same = append(u.same, p)
	if n := len(u.lost); n > 0 && u.lost[n-1].to == ref.First {
		u.edge[p] = true
	}
}

// below reports whether a page can be one of the point's below a lost one. Any of those begins where that begins, or behind it.
func (u *intact) below(d tree.Described) bool {
	for _, s := range u.lost {
		if d.Level < s.level && d.First >= s.from && (s.to == "" || d.First <= s.to) {
			return !u.edge[pageAt{d.Object, d.Frame.Offset}]
		}
	}
	return false
}

// maybe is a page of an object of which it is not known whether it is the point's.
type maybe struct {
	length int64
	above  []int // pages of the same object that refer to it, which come before it
	inner  bool
}

// Bounds of doubtful.
const (
	maxWays    = 1 << 12 // ways to choose among inner pages
	maxSumBits = 1 << 27 // of the table of sums of one way
	maxSumWork = 1 << 31 // bits gone through in all
)

// doubtful tells which pages may be an earlier point's, if pages of so many bytes are. Inner pages come first, from the highest
// level down. A page that is the point's makes those it refers to the point's. Where there are too many ways, all are doubtful.
func doubtful(pages []maybe, dead int64) []bool {
	d := choice{pages: pages, over: make([]bool, len(pages)), out: make([]bool, len(pages))}
	if dead == 0 {
		return d.out
	}
	if dead < 0 || !d.from(0, dead) || !d.any {
		for i := range d.out {
			d.out[i] = true
		}
	}
	return d.out
}

// choice is one way to choose after another.
type choice struct {
	pages []maybe
	over  []bool // an earlier point's, in the way at hand
	out   []bool // in any way
	any   bool   // there is a way
	ways  int
	work  int64
}

// from decides about inner pages from the i-th on, and then about the others; false: there is too much to look at.
func (d *choice) from(i int, left int64) bool {
	if i == len(d.pages) || !d.pages[i].inner {
		d.ways++
		return d.ways <= maxWays && d.flat(i, left)
	}
	if !d.from(i+1, left) {
		return false
	}
	p := d.pages[i]
	if p.length > left || !d.mayGo(p) {
		return true
	}
	d.over[i] = true
	ok := d.from(i+1, left-p.length)
	d.over[i] = false
	return ok
}

// mayGo: no page that is the point's refers to it.
func (d *choice) mayGo(p maybe) bool {
	for _, a := range p.above {
		if !d.over[a] {
			return false
		}
	}
	return true
}

// flat finds which of the pages from the i-th on, which refer to no others, are in any choice that comes to left.
func (d *choice) flat(i int, left int64) bool {
	var free []int
	for ; i < len(d.pages); i++ {
		if d.pages[i].length <= left && d.mayGo(d.pages[i]) {
			free = append(free, i)
		}
	}
	n := left + 1
	d.work += 2 * n * int64(len(free)+1)
	if n*int64(len(free)+1) > maxSumBits || d.work > maxSumWork {
		return false
	}
	// sums[k] has a bit for each sum that the first k come to; then, from the other end, what the rest can add.
	sums := make([]sumSet, len(free)+1)
	sums[0] = newSumSet(n)
	sums[0].set(0)
	for k, p := range free {
		sums[k+1] = sums[k].with(d.pages[p].length)
	}
	if !sums[len(free)].has(left) {
		return true
	}
	d.any = true
	rest := newSumSet(n) // of the sums still to come to: bit s says that s from the first k is completed by the others
	rest.set(left)
	for k := len(free) - 1; k >= 0; k-- {
		p := free[k]
		without := rest.down(d.pages[p].length)
		if sums[k].meets(without) {
			d.out[p] = true
		}
		rest = rest.or(without)
	}
	for k := range d.over {
		d.out[k] = d.out[k] || d.over[k]
	}
	return true
}

// sumSet is a set of sums from 0 on, a bit each.
type sumSet []uint64

func newSumSet(n int64) sumSet { return make(sumSet, (n+63)/64) }

func (s sumSet) set(i int64)      { s[i/64] |= 1 << (i % 64) }
func (s sumSet) has(i int64) bool { return s[i/64]>>(i%64)&1 == 1 }

// with gives the sums with and without one more; those that do not fit are left out.
func (s sumSet) with(length int64) sumSet {
	out := make(sumSet, len(s))
	copy(out, s)
	words, shift := int(length/64), uint(length%64)
	for i := len(s) - 1; i >= words; i-- {
		v := s[i-words] << shift
		if shift > 0 && i > words {
			v |= s[i-words-1] >> (bits.UintSize - shift)
		}
		out[i] |= v
	}
	return out
}

// down gives each sum less a length.
func (s sumSet) down(length int64) sumSet {
	out := make(sumSet, len(s))
	words, shift := int(length/64), uint(length%64)
	for i := 0; i+words < len(s); i++ {
		v := s[i+words] >> shift
		if shift > 0 && i+words+1 < len(s) {
			v |= s[i+words+1] << (bits.UintSize - shift)
		}
		out[i] = v
	}
	return out
}

func (s sumSet) or(t sumSet) sumSet {
	for i := range s {
		s[i] |= t[i]
	}
	return s
}

func (s sumSet) meets(t sumSet) bool {
	for i := range s {
		if s[i]&t[i] != 0 {
			return true
		}
	}
	return false
}

// sheets are the pages of one object that are looked at together.
type sheets struct {
	u      *intact
	object string
	pages  []foundPage // of manifests, below lost pages
	refs   [][]format.PageRef
	other  []int64 // lengths of pages of another kind, which hold extents
}

// add takes a page of a manifest with a root of that level, or of extents.
func (s *sheets) add(f format.Frame, plain []byte, top int) {
	if bytes.HasPrefix(plain, []byte(`{"format":`)) {
		return // an index segment, which no point needs
	}
	if line, _, _ := bytes.Cut(plain, []byte{'\n'}); len(line) > 0 {
		if _, err := format.ParseRootLine(line); err == nil {
			return // a root: the point's own is not below a lost page
		}
	}
	for level := range top {
		d, err := tree.Describe(plain, level)
		if err != nil {
			continue
		}
		if d.Object, d.Frame, d.Sum = s.object, f, sha256.Sum256(plain); s.u.below(d) {
			s.pages, s.refs = append(s.pages, foundPage{Described: d}), append(s.refs, tree.References(plain, level, s.object))
		}
		return
	}
	s.other = append(s.other, f.Length)
}

// judge finds out which pages are the point's for certain, if it needs so many bytes of pages of the object.
func (s *sheets) judge(living int64) {
	order := make([]int, len(s.pages))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return s.pages[b].Level - s.pages[a].Level })
	all, at := make([]maybe, len(order), len(order)+len(s.other)), map[int64]int{}
	dead := s.u.living[s.object] - living
	for i, n := range order {
		all[i] = maybe{length: s.pages[n].Frame.Length, inner: s.pages[n].Level > 0}
		at[s.pages[n].Frame.Offset] = i
		dead += all[i].length
	}
	for i, n := range order {
		for _, r := range s.refs[n] {
			if below, ok := at[r.Frame.Offset]; ok && r.Object == s.object && below > i {
				all[below].above = append(all[below].above, i)
			}
		}
	}
	for _, n := range s.other {
		all = append(all, maybe{length: n})
		dead += n
	}
	out := doubtful(all, dead)
	for i, n := range order {
		s.pages[n].certain = !out[i]
	}
}
