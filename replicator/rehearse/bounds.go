package rehearse

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Confidence is that of every bound and interval here.
const Confidence = 0.95

// Tested is what is known of the entries of one stratum: how many there are, how many of them were drawn and compared, and how many of these
// are bad.
type Tested struct{ Entries, Compared, Bad int64 }

// Share is what a sample says of all that it was drawn from.
type Share struct {
	Likely float64 // the estimate
	Most   float64 // the upper bound, one-sided, at Confidence
}

// Bound gives the share of bad entries. Strata of which nothing was compared must not be among them: nothing can be said of those.
//
// A stratum that was compared as a whole is known. For the others let w_h = N_h/n_h be how many entries each compared one stands for, and W the
// largest of these. With weights w_h/W, none above 1, the bad ones that were found add up to x, and x has the mean n p, where n = N/W is how
// many would have been drawn if every stratum were drawn as thinly as the thinnest, and p is the share of bad ones. The bound is
// the exact one of Clopper and Pearson for ceil(x) of floor(n): proportional strata lose nothing but the fractions, and what is drawn more
// thickly than its part never makes the bound narrower than the thinnest stratum allows.
//
// Why that is honest: what is found bad in a stratum drawn without replacement is distributed as a sum of independent yes-or-no draws (Vatutin and
// Mikhailov, Theory Probab. Appl. 27, 1982, 734-743). Of such sums with one mean n p the binomial has the heaviest tail at or
// below n p - 1 (Hoeffding, Ann. Math. Statist. 27, 1956, 713-721), which is where a bound of 95 % reads it. So Clopper and Pearson's bound
// (Biometrika 26, 1934, 404-413) holds for a proportional sample. Where nothing bad was found it holds for any: the chance of that is the
// product of (1-p_h)^n_h, with n_h >= n N_h/N, and so at most (1-p)^n. Where rates differ and something was found, ceil(x) makes up for the weights;
// the simulation in the tests counts how often the bound holds.
func Bound(strata []Tested) Share {
	var all, known, rest, seen, bad int64
	var heaviest, likely float64
	for _, s := range strata {
		all += s.Entries
		if s.Compared >= s.Entries {
			known += s.Bad
			continue
		}
		rest, seen, bad = rest+s.Entries, seen+s.Compared, bad+s.Bad
		w := float64(s.Entries) / float64(s.Compared)
		heaviest = max(heaviest, w)
		likely += w * float64(s.Bad)
	}
	if all == 0 {
		return Share{}
	}
	most := float64(known)
	if rest > 0 {
		const rounding = 1e-9
		x := int64(math.Ceil(likely/heaviest - rounding))
		n := int64(math.Floor(float64(rest)/heaviest + rounding))
		// More than what was found and all that nobody looked at cannot be bad.
		most += min(ClopperPearson(x, n)*float64(rest), float64(bad+rest-seen))
	}
	return Share{Likely: (float64(known) + likely) / float64(all), Most: min(most/float64(all), 1)}
}

// ClopperPearson is the exact upper bound, one-sided, of a share of which n independent draws found bad ones: the share at which so few, or fewer,
// are found with a chance of 5 %.
func ClopperPearson(bad, n int64) float64 {
	if bad >= n {
		return 1
	}
	if bad <= 0 {
		return -math.Expm1(math.Log(1-Confidence) / float64(n))
	}
	low, high := float64(bad)/float64(n), 1.0
	for range 60 {
		mid := (low + high) / 2
		if atMost(bad, n, mid) > 1-Confidence {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// atMost is the chance that a binomial count of n draws at p is x or less.
func atMost(x, n int64, p float64) float64 {
	lp, lq := math.Log(p), math.Log1p(-p)
	whole := lgamma(float64(n) + 1)
	sum := 0.0
	for k := range x + 1 {
		sum += math.Exp(whole - lgamma(float64(k)+1) - lgamma(float64(n-k)+1) + float64(k)*lp + float64(n-k)*lq)
	}
	return min(sum, 1)
}

func lgamma(x float64) float64 {
	v, _ := math.Lgamma(x) // of what is above 0, the sign is +
	return v
}

// Batch is one restore that was timed.
type Batch struct {
	Entries int64   `json:"entries"`
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Rates are what a restore takes: Begin once, and so much an entry and a byte.
type Rates struct {
	Begin    float64 `json:"begin_seconds"`
	PerEntry float64 `json:"seconds_per_entry"`
	PerByte  float64 `json:"seconds_per_byte"`
}

func (r Rates) of(entries, bytes int64) float64 {
	return r.Begin + float64(entries)*r.PerEntry + float64(bytes)*r.PerByte
}

// Duration is how long a restore takes, in seconds, and between what, at Confidence.
type Duration struct {
	Rates
	Likely float64 `json:"seconds"`
	Low    float64 `json:"seconds_low"`
	High   float64 `json:"seconds_high"`
}

const (
	minBatches = 3 // fewer say nothing of how they differ
	resamples  = 1000
)

// Foretell says how long a restore of so much takes. Rates are fitted to the batches by least squares of what each is off by as a part of its own
// time, none of them below 0. The interval is that of a bootstrap (Efron, Ann. Statist. 7, 1979, 1-26): as many batches are drawn with replacement,
// rates fitted to them, a thousand times; it holds what is between the 2.5th and the 97.5th percentile. Of fewer than three batches it gives false.
func Foretell(batches []Batch, entries, bytes int64, seed uint64) (Duration, bool) {
	batches = slices.DeleteFunc(slices.Clone(batches), func(b Batch) bool { return b.Entries == 0 || b.Seconds <= 0 })
	if len(batches) < minBatches {
		return Duration{}, false
	}
	r := fit(batches)
	d := Duration{Rates: r, Likely: r.of(entries, bytes)}
	rnd := rand.New(rand.NewPCG(seed, streamTimes))
	all := make([]float64, resamples)
	drawn := make([]Batch, len(batches))
	for i := range all {
		for j := range drawn {
			drawn[j] = batches[rnd.IntN(len(batches))]
		}
		all[i] = fit(drawn).of(entries, bytes)
	}
	slices.Sort(all)
	const tail = (1 - Confidence) / 2
	d.Low, d.High = min(all[int(tail*resamples)], d.Likely), max(all[resamples-1-int(tail*resamples)], d.Likely)
	return d, true
}

// fit finds the rates. Of three terms each set is tried that may stay above 0; the best that does counts.
func fit(batches []Batch) Rates {
	type candidate struct {
		r   Rates
		off float64
	}
	var best *candidate
	for set := 1; set < 8; set++ {
		x, ok := solve(batches, set)
		if !ok || slices.Min(x[:]) < 0 {
			continue
		}
		c := candidate{r: Rates{x[0], x[1], x[2]}}
		for _, b := range batches {
			d := c.r.of(b.Entries, b.Bytes)/b.Seconds - 1
			c.off += d * d
		}
		// One term more must say more than the rounding of numbers.
		if best == nil || c.off < best.off*(1-1e-9) {
			best = &c
		}
	}
	if best == nil {
		return Rates{}
	}
	return best.r
}

// solve fits the terms of a set (bits: begin, entry, byte) by the normal equations.
func solve(batches []Batch, set int) (x [3]float64, ok bool) {
	var terms []int
	for i := range 3 {
		if set>>i&1 == 1 {
			terms = append(terms, i)
		}
	}
	var m [3][4]float64
	for _, b := range batches {
		row := [3]float64{1 / b.Seconds, float64(b.Entries) / b.Seconds, float64(b.Bytes) / b.Seconds}
		for i, p := range terms {
			for j, q := range terms {
				m[i][j] += row[p] * row[q]
			}
			m[i][3] += row[p]
		}
	}
	n := len(terms)
	for i := range n { // terms differ by many powers of ten: each row by its own
		s := m[i][i]
		if s == 0 {
			return x, false
		}
		for j := range m[i] {
			m[i][j] /= s
		}
	}
	for i := range n {
		p := slices.MaxFunc(m[i:n], func(a, b [4]float64) int { return cmp.Compare(math.Abs(a[i])/largest(a), math.Abs(b[i])/largest(b)) })
		at := i + slices.Index(m[i:n], p)
		m[i], m[at] = m[at], m[i]
		if math.Abs(m[i][i]) < 1e-9*largest(m[i]) {
			return x, false // two terms say the same
		}
		for k := range n {
			if k == i {
				continue
			}
			f := m[k][i] / m[i][i]
			for j := i; j < 4; j++ {
				m[k][j] -= f * m[i][j]
			}
		}
	}
	for i, p := range terms {
		x[p] = m[i][3] / m[i][i]
		if math.IsNaN(x[p]) || math.IsInf(x[p], 0) {
			return x, false
		}
	}
	return x, true
}

func largest(row [4]float64) float64 {
	return max(math.Abs(row[0]), math.Abs(row[1]), math.Abs(row[2]), math.SmallestNonzeroFloat64)
}
