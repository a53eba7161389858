package format

import (
	"fmt"
	"slices"
	"strconv"
)

// MaxStretches bounds Pages. A writer seals a meta object before it has twice as many frames, so that whichever of them a point
// needs, the list can say it.
const MaxStretches = 8192

// Pages says which bytes of a meta object's payload are pages of a point's manifest: from its beginning on, in turn how many are
// not and how many are. All numbers but the first are larger than zero; so there is one spelling. Empty: none are.
type Pages []int64

// PagesOf gives the Pages with these edges: where they begin and where they end, in turn.
func PagesOf(edges []int64) Pages {
	p := make(Pages, len(edges))
	at := int64(0)
	for i, e := range edges {
		p[i], at = e-at, e
	}
	return p
}

// Edges is the inverse of PagesOf.
func (p Pages) Edges() []int64 {
	edges := make([]int64, len(p))
	at := int64(0)
	for i, n := range p {
		at += n
		edges[i] = at
	}
	return edges
}

// Bytes is how many bytes the pages have.
func (p Pages) Bytes() (n int64) {
	for i, size := range p {
		n += size * int64(i%2)
	}
	return n
}

// Holds reports whether a frame is one of the pages; edges are those of a point's.
func Holds(edges []int64, f Frame) bool {
	i, found := slices.BinarySearch(edges, f.Offset)
	if !found {
		i--
	}
	return i >= 0 && i%2 == 0 && f.Offset+f.Length <= edges[i+1]
}

func (p Pages) check() error {
	if len(p) > 2*MaxStretches {
		return fmt.Errorf("pages in more than %d stretches: %w", MaxStretches, ErrBounds)
	}
	if len(p)%2 != 0 {
		return fmt.Errorf("a stretch of pages without end: %w", ErrMalformed)
	}
	end := int64(0)
	for i, n := range p {
		if n < 0 || n == 0 && i > 0 {
			return fmt.Errorf("a stretch of pages of no bytes, or two that are one: %w", ErrMalformed)
		}
		if end += min(n, MaxPack); n > MaxPack || end > MaxPack {
			return fmt.Errorf("pages behind the end of any stored object: %w", ErrBounds)
		}
	}
	return nil
}

// optPages appends the member that is left out where there are none.
func optPages(b []byte, p Pages) []byte {
	if len(p) == 0 {
		return b
	}
	b = append(appendName(b, "pages", ""), '[')
	for i, n := range p {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// optPages reads what the function of that name writes.
func (s *members) optPages() (p Pages) {
	if s.member("pages", "") {
		s.list(2*MaxStretches, func() { p = append(p, s.int()) })
	}
	return p
}
