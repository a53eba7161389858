package guard

import (
	"math/bits"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// listing is what the comparison of listings says.
type listing struct {
	now     time.Time
	num     numbers
	all     group
	exts    groups
	ones    groups // by first folder
	twos    groups // by the first two
	last    struct{ one, two *group }
	lastTwo string

	touched examples // tripwires
	lost    examples // what is gone
	markers int64    // new delete markers
	classes int64    // entries in another storage class

	dropped sample[dropped] // by content
	pairs   sample[pair]    // by the key that was made
	recent  window          // what went, and what came, last
}

// dropped is something that is gone.
type dropped struct {
	key           uint64
	ext, one, two *group
}

// pair is a key that is gone and one that came, which is its continuation or has the same stem.
type pair struct {
	old    uint64 // the key that is gone
	size   int64  // it had
	sum    uint64 // number of its content
	suffix string // what was put behind it; empty: another extension
	folder uint64
}

// group is what has one extension, or lies in one folder.
type group struct {
	name                 string
	listed, added, erase int64
	ages, erased         *ages

	sampled, accounted int64 // of dropped: all, and those that are found again elsewhere
}

// groups are at most some number of them; what is beyond that belongs to none.
type groups struct {
	by   map[string]*group
	most int
}

func (g *groups) of(name string) *group {
	if x := g.by[name]; x != nil || len(g.by) >= g.most {
		return x
	}
	x := &group{name: strings.Clone(name)}
	g.by[x.name] = x
	return x
}

func (l *listing) begin(now time.Time, num numbers) {
	l.now, l.num = now, num
	l.exts, l.ones, l.twos = groups{map[string]*group{}, 512}, groups{map[string]*group{}, 512}, groups{map[string]*group{}, 1024}
}

// places gives the groups of a key's folders. Keys come in order, so they are mostly those of the key before.
func (l *listing) places(key string) (one, two *group) {
	if l.lastTwo != "" && strings.HasPrefix(key, l.lastTwo) {
		return l.last.one, l.last.two
	}
	a, b := prefixes(key)
	l.last.one, l.last.two = l.ones.of(a), nil
	if b != a {
		l.last.two = l.twos.of(b)
		l.lastTwo = strings.Clone(b)
	} else {
		l.lastTwo = ""
	}
	return l.last.one, l.last.two
}

func (l *listing) listed(e *format.Entry) {
	age := ageOf(l.now, e.Modified.Time)
	one, two := l.places(e.Key)
	for _, g := range [...]*group{&l.all, l.exts.of(extension(e.Key)), one, two} {
		if g == nil {
			continue
		}
		g.listed++
		if g.ages == nil {
			g.ages = new(ages)
		}
		g.ages[age]++
	}
}

func (l *listing) added(e *format.Entry) {
	one, two := l.places(e.Key)
	for _, g := range [...]*group{&l.all, l.exts.of(extension(e.Key)), one, two} {
		if g != nil {
			g.added++
		}
	}
	if was := l.recent.came(e.Key); was != nil {
		l.pair(was, e.Key)
	}
}

func (l *listing) gone(key string, modified time.Time, sum format.Hash, size int64) {
	age := ageOf(l.now, modified)
	one, two := l.places(key)
	ext := l.exts.of(extension(key))
	for _, g := range [...]*group{&l.all, ext, one, two} {
		if g == nil {
			continue
		}
		g.erase++
		if g.erased == nil {
			g.erased = new(ages)
		}
		g.erased[age]++
	}
	l.lost.add(key)
	d := dropped{l.num.key(key), ext, one, two}
	was := passing{key: key, size: size}
	if sum.IsZero() || size == 0 {
		l.dropped.put(d.key, d)
	} else {
		was.sum = l.num.content(sum)
		l.dropped.put(was.sum, d)
	}
	if made := l.recent.went(was); made != "" {
		l.pair(&was, made)
	}
}

func (l *listing) pair(was *passing, made string) {
	p := pair{old: l.num.key(was.key), size: was.size, sum: was.sum, folder: l.num.key(folder(made))}
	if s, ok := strings.CutPrefix(made, was.key); ok {
		p.suffix = strings.Clone(s)
	}
	l.pairs.put(l.num.key(made), p)
}

// window remembers the last keys that went and came: what was renamed by a suffix or an extension stands close together in a
// listing.
type window struct {
	out  [64]passing
	in   [64]string
	o, i int
}

type passing struct {
	key  string
	size int64
	sum  uint64
}

// maxSuffix is how long what is put behind a name may be.
const maxSuffix = 80

// came remembers a new key, and gives the one that went and that it goes on, or has the stem of; each once.
func (w *window) came(key string) *passing {
	for k := range w.out {
		was := &w.out[(w.o+len(w.out)-1-k)%len(w.out)]
		if was.key != "" && renamed(was.key, key) {
			found := *was
			was.key = ""
			return &found
		}
	}
	w.in[w.i] = strings.Clone(key)
	w.i = (w.i + 1) % len(w.in)
	return nil
}

// went remembers a key that is gone, and gives the one that came for it before it in order; each once.
func (w *window) went(was passing) string {
	for k := range w.in {
		made := &w.in[(w.i+len(w.in)-1-k)%len(w.in)]
		if *made != "" && renamed(was.key, *made) {
			found := *made
			*made = ""
			return found
		}
	}
	was.key = strings.Clone(was.key)
	w.out[w.o] = was
	w.o = (w.o + 1) % len(w.out)
	return ""
}

// renamed reports whether a key is another one with something behind it, or has another extension and nothing else.
func renamed(was, is string) bool {
	if rest, ok := strings.CutPrefix(is, was); ok {
		return rest != "" && len(rest) <= maxSuffix && !strings.Contains(rest, "/")
	}
	a, b := len(was)-len(extension(was)), len(is)-len(extension(is))
	return a == b && a < len(was) && b < len(is) && was[:a] == is[:b]
}

// ages counts by age, in steps of a twelfth.
type ages [256]uint32

// ageOf gives the step of the age of what was changed then; the youngest is 0.
func ageOf(now, modified time.Time) uint8 {
	if modified.IsZero() {
		return 0
	}
	return stepOf(now.Sub(modified))
}

// stepOf gives the step of an age.
func stepOf(age time.Duration) uint8 {
	secs := uint64(max(0, age/time.Second)) //nolint:gosec // not below 0
	if secs < 8 {
		return 0
	}
	n := bits.Len64(secs)                     // at least 4
	sub := (secs >> (n - 4)) & 7              // the three bits behind the first
	return uint8(min(255, uint64(n-4)*8+sub)) //nolint:gosec // at most 255
}

// older gives the share of what is counted that is at least as old.
func (a *ages) older(step int) float64 {
	if a == nil {
		return 0
	}
	all, n := 0.0, 0.0
	for i, c := range a {
		all += float64(c)
		if i >= step {
			n += float64(c)
		}
	}
	if all == 0 {
		return 0
	}
	return n / all
}

// quantile gives the step up to which a share of all, the youngest first, lies.
func (a *ages) quantile(share float64) int {
	if a == nil {
		return 0
	}
	all := 0.0
	for _, c := range a {
		all += float64(c)
	}
	n := 0.0
	for i, c := range a {
		if n += float64(c); n >= share*all && n > 0 {
			return i
		}
	}
	return len(a) - 1
}
