package rehearse

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// MaxSample bounds how many entries are drawn, and so the memory: each stratum holds as many while a manifest is read.
const MaxSample = 20_000

const (
	few       = 5       // so many of each stratum at least; one that has no more is compared as a whole
	heavy     = 1 << 20 // strata whose entries are larger than this on average are thinned out first where bytes are short
	largePart = 4       // what is larger than this part of the bytes is not drawn: one entry must not be all of the sample
	redraws   = 100
)

// Streams of chance, so that what is drawn from one says nothing of another.
const (
	streamDraw = 1 + iota
	streamStretches
	streamTimes
)

// ErrTooSmall: so few bytes that not one entry of each stratum fits.
var ErrTooSmall = errors.New("too few bytes for a sample")

// Stratum is the entries that are alike in kind and size.
type Stratum struct {
	Name    string
	Entries int64 // that can be drawn
	Bytes   int64

	TooLarge, TooLargeBytes int64 // and those that are too large to be drawn
	squares                 float64
}

func (s *Stratum) mean() float64 { return float64(s.Bytes) / float64(s.Entries) }

// spread is the standard deviation of the sizes.
func (s *Stratum) spread() float64 {
	return math.Sqrt(max(s.squares/float64(s.Entries)-s.mean()*s.mean(), 0))
}

// reservoir holds a uniform sample of what came by so far (Vitter, ACM Trans. Math. Softw. 11, 1985, 37-57: algorithm R).
type reservoir[T any] struct {
	Stratum
	held  []T
	sizes []int64
}

// Sampler draws entries at random, without replacement, from a stream of which neither length nor sizes are known before. What it holds is bounded by
// the number asked for and the number of strata.
type Sampler[T any] struct {
	most   int
	bytes  int64
	rnd    *rand.Rand
	strata map[string]*reservoir[T]
}

// NewSampler draws up to most entries, of up to so many bytes.
func NewSampler[T any](most int, bytes int64, seed uint64) *Sampler[T] {
	return &Sampler[T]{most: most, bytes: bytes, rnd: rand.New(rand.NewPCG(seed, streamDraw)), strata: map[string]*reservoir[T]{}}
}

// Add shows it an entry. keep makes what is held of it, and is called only where it is held for now.
func (s *Sampler[T]) Add(stratum string, size int64, keep func() T) {
	r := s.strata[stratum]
	if r == nil {
		r = &reservoir[T]{Stratum: Stratum{Name: stratum}}
		s.strata[stratum] = r
	}
	if size > s.bytes/largePart {
		r.TooLarge++
		r.TooLargeBytes += size
		return
	}
	r.Entries++
	r.Bytes += size
	r.squares += float64(size) * float64(size)
	if len(r.held) < s.most {
		r.held, r.sizes = append(r.held, keep()), append(r.sizes, size)
		return
	}
	if i := s.rnd.Int64N(r.Entries); i < int64(s.most) {
		r.held[i], r.sizes[i] = keep(), size
	}
}

// Strata gives what was seen, by name.
func (s *Sampler[T]) Strata() []Stratum {
	var out []Stratum
	for _, r := range s.sorted() {
		out = append(out, r.Stratum)
	}
	return out
}

func (s *Sampler[T]) sorted() []*reservoir[T] {
	var out []*reservoir[T]
	for _, r := range s.strata {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *reservoir[T]) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Draw gives the sample, by stratum, in no order within one. How many of each is decided from counts and sizes of all of them, before any is looked
// at. Should the drawn ones still be larger than the bytes allow all are drawn anew: that rejects rarely, so it takes next to nothing from
// the chance that a bound holds (sizes have a margin of two standard deviations).
func (s *Sampler[T]) Draw() (map[string][]T, error) {
	all := s.sorted()
	var strata []*Stratum
	for _, r := range all {
		strata = append(strata, &r.Stratum)
	}
	counts, err := allocate(strata, s.most, s.bytes)
	if err != nil {
		return nil, err
	}
	for range redraws {
		out, size := map[string][]T{}, int64(0)
		for i, r := range all {
			for _, j := range s.rnd.Perm(len(r.held))[:counts[i]] {
				out[r.Name] = append(out[r.Name], r.held[j])
				size += r.sizes[j]
			}
		}
		if size <= s.bytes {
			return out, nil
		}
	}
	return nil, fmt.Errorf("%w: %d draws in a row came to more than %d bytes", ErrTooSmall, redraws, s.bytes)
}

// allocate says how many to draw of each stratum: in proportion to their entries, a few of each at least, together no more than most where that is
// possible; and where the bytes are short fewer of the strata of large entries, and then of all.
func allocate(strata []*Stratum, most int, bytes int64) ([]int, error) {
	var total int64
	for _, s := range strata {
		total += s.Entries
	}
	counts := make([]int, len(strata))
	// take gives each stratum of a kind its part of n, and says whether all fits.
	take := func(n, least int, which func(*Stratum) bool) {
		for i, s := range strata {
			if s.Entries > 0 && which(s) {
				c := max(int64(least), (int64(n)*s.Entries+total-1)/max(total, 1))
				counts[i] = int(min(c, s.Entries, int64(most)))
			}
		}
	}
	fits := func() bool {
		need, spread := 0.0, 0.0
		for i, s := range strata {
			if int64(counts[i]) == s.Entries {
				need += float64(s.Bytes)
			} else {
				need, spread = need+float64(counts[i])*s.mean(), spread+float64(counts[i])*s.spread()*s.spread()
			}
		}
		return need+2*math.Sqrt(spread) <= float64(bytes)
	}
	sum := func() (n int) {
		for _, c := range counts {
			n += c
		}
		return n
	}
	every := func(*Stratum) bool { return true }
	// What is drawn above the proportion is not there for the others: a tenth of all at most.
	least := min(few, max(1, most/(10*max(len(strata), 1))))
	m := largestThat(most, func(n int) bool { take(n, least, every); return sum() <= most })
	take(m, least, every)
	if fits() {
		return counts, nil
	}
	large := func(s *Stratum) bool { return s.mean() > heavy }
	for _, which := range []func(*Stratum) bool{large, every} {
		n := largestThat(m, func(n int) bool { take(n, 1, which); return fits() })
		take(n, 1, which)
		if fits() {
			return counts, nil
		}
	}
	// One of each, and the margin is what does not fit: each is at most a fourth of the bytes.
	var need int64
	for _, s := range strata {
		if s.Entries > 0 {
			need += int64(s.mean())
		}
	}
	if need > bytes {
		return nil, fmt.Errorf("%w: one entry of each kind and size comes to about %d bytes", ErrTooSmall, need)
	}
	return counts, nil
}

// largestThat gives the largest number up to most for which ok holds, or 0; ok holds for all below one for which it does.
func largestThat(most int, ok func(int) bool) int {
	low, high := 0, most
	for low < high {
		mid := (low + high + 1) / 2
		if ok(mid) {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return low
}

// stretch is a run of entries that follow each other, drawn before the manifest is read: what a restore of all of them is like is measured on such
// runs, as entries that lie far apart share no frames and no requests.
type stretch[T any] struct {
	from, length int64 // entries
	bytes        int64 // of content at most
	held         []T
	size         int64
	full         bool
}

const (
	stretches  = 9    // three lengths, so that what a restore costs at its beginning can be told from the rest
	maxStretch = 4000 // entries of the longest
)

// newStretches draws where they begin, in a manifest of so many entries.
func newStretches[T any](entries int64, most int, bytes int64, seed uint64) []*stretch[T] {
	rnd := rand.New(rand.NewPCG(seed, streamStretches))
	longest := min(int64(min(maxStretch, 4*most)), entries)
	if longest == 0 {
		return nil
	}
	var out []*stretch[T]
	for i := range stretches {
		part := int64(1) << (i % 3) // of the longest: all, half, a fourth
		n := max(longest/part, 1)
		out = append(out, &stretch[T]{from: rnd.Int64N(entries - n + 1), length: n, bytes: bytes / stretches / part})
	}
	return out
}

// add shows it the entry of a place in the manifest.
func (s *stretch[T]) add(at, size int64, keep func() T) {
	if at < s.from || s.full {
		return
	}
	if at >= s.from+s.length || s.size+size > s.bytes && s.size > 0 {
		s.full = true
		return
	}
	if size > s.bytes {
		return // it would be all of the stretch
	}
	s.held, s.size = append(s.held, keep()), s.size+size
}
