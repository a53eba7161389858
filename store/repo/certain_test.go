package repo

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestDoubtful: pages are the point's for certain if they are in every way to choose, and no others are. All ways are tried for
// that: an earlier point's page has nothing above it that is the point's.
func TestDoubtful(t *testing.T) {
	for range 3000 {
		pages := make([]maybe, 1+rand.IntN(11))
		inner := rand.IntN(len(pages))
		for i := range pages {
			pages[i] = maybe{length: 1 + rand.Int64N(70), inner: i < inner}
			for a := range min(i, inner) {
				if rand.IntN(4) == 0 {
					pages[i].above = append(pages[i].above, a)
				}
			}
		}
		goes := func(ways, i int) bool { return ways>>i&1 == 1 }
		fits := func(way int) (n int64, ok bool) {
			for i, p := range pages {
				if !goes(way, i) {
					continue
				}
				if n += p.length; slices.ContainsFunc(p.above, func(a int) bool { return !goes(way, a) }) {
					return 0, false
				}
			}
			return n, true
		}
		dead := int64(-1) // what some way comes to, or now and then none
		for dead < 0 {
			if n, ok := fits(rand.IntN(1 << len(pages))); ok {
				dead = n + rand.Int64N(2)*rand.Int64N(2)
			}
		}
		want, ways := make([]bool, len(pages)), 0
		for way := range 1 << len(pages) {
			if n, ok := fits(way); ok && n == dead {
				ways++
				for i := range pages {
					want[i] = want[i] || goes(way, i)
				}
			}
		}
		if ways == 0 { // what the needs list says does not fit what is there
			want = slices.Repeat([]bool{true}, len(pages))
		}
		if got := doubtful(pages, dead); !slices.Equal(got, want) {
			t.Fatalf("%+v, %d of them: %v, want %v", pages, dead, got, want)
		}
	}
	if got := doubtful([]maybe{{length: 1}}, -1); !got[0] {
		t.Error("fewer bytes than nothing")
	}
	many := make([]maybe, 100_000)
	for i := range many {
		many[i].length = 1 << 12
	}
	if got := doubtful(many, 1<<30); slices.Contains(got, false) {
		t.Error("too many to look at: nothing is certain")
	}
}
