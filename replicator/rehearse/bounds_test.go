package rehearse

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestClopperPearson holds the bound against values that stand in tables, and against what can be written down.
func TestClopperPearson(t *testing.T) {
	for _, c := range []struct {
		bad, n int64
		want   float64
	}{
		{0, 1, 0.95}, {1, 1, 1}, {0, 10, 0.25887}, {1, 10, 0.39416}, {5, 10, 0.77756}, {9, 10, 0.99488}, {10, 10, 1},
		{0, 1000, 0.0029912}, {1, 1000, 0.0047347}, {0, 3000, 0.00099808},
	} {
		if got := ClopperPearson(c.bad, c.n); math.Abs(got-c.want) > 1e-5*max(1, c.want) {
			t.Errorf("%d of %d: %.6f instead of %.6f", c.bad, c.n, got, c.want)
		}
	}
	// What is drawn is as likely as it should be at the bound.
	for _, n := range []int64{7, 100, 20_000} {
		for _, x := range []int64{0, 1, 3, n / 2} {
			if got := atMost(x, n, ClopperPearson(x, n)); math.Abs(got-0.05) > 1e-6 {
				t.Errorf("%d of %d: a chance of %g", x, n, got)
			}
		}
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		name   string
		strata []Tested
		likely float64
		most   float64
	}{
		{"nothing", nil, 0, 0},
		{"all was compared", []Tested{{100, 100, 1}, {300, 300, 0}}, 1. / 400, 1. / 400},
		{"one stratum", []Tested{{100_000, 1000, 0}}, 0, ClopperPearson(0, 1000)},
		{"in proportion", []Tested{{100_000, 1000, 1}, {10_000, 100, 1}}, 2. / 1100, ClopperPearson(2, 1100)},
		{"more of a small one", []Tested{{100_000, 1000, 0}, {100, 50, 1}}, 2. / 100_100, ClopperPearson(1, 1001)},
		{"less of a large one", []Tested{{100_000, 100, 0}, {100_000, 1000, 0}}, 0, ClopperPearson(0, 200)},
		{"a part is known", []Tested{{900_000, 900_000, 9}, {100_000, 1000, 0}}, 9e-6, 9e-6 + ClopperPearson(0, 1000)/10},
		{"hardly anything is left", []Tested{{1001, 1000, 2}}, 2. / 1000, 3. / 1001},
	} {
		got := Bound(c.strata)
		if math.Abs(got.Likely-c.likely) > 1e-9 || math.Abs(got.Most-c.most) > 1e-9 {
			t.Errorf("%s: %+v instead of %g, %g", c.name, got, c.likely, c.most)
		}
	}
}

// simulated is a vault with damage in it: entries by stratum, in order of keys.
type simulated struct {
	strata []string
	of     []uint8 // the stratum of each entry
	bad    []bool
	share  float64
	how    string
}

// simulate makes one: 1 to 12 strata of very different sizes, either mixed or one after the other, and damage of 0 to 2 %: spread by chance, in runs
// of entries as one damaged pack or page leaves them, or in one stratum alone.
func simulate(rnd *rand.Rand) simulated {
	n := int(math.Exp(math.Log(200) + rnd.Float64()*math.Log(200))) // 200 to 40,000
	v := simulated{of: make([]uint8, n), bad: make([]bool, n)}
	k := 1 + rnd.IntN(12)
	weights, sum := make([]float64, k), 0.0
	for i := range weights {
		v.strata = append(v.strata, fmt.Sprintf("s%02d", i))
		weights[i] = math.Exp(-6 * rnd.Float64())
		sum += weights[i]
	}
	pick := func(x float64) uint8 {
		for i, w := range weights {
			if x -= w; x < 0 {
				return uint8(i)
			}
		}
		return uint8(k - 1)
	}
	mixed := rnd.IntN(2) == 0
	for i := range v.of {
		x := float64(i) / float64(n)
		if mixed {
			x = rnd.Float64()
		}
		v.of[i] = pick(x * sum)
	}
	want := int(math.Round(rnd.Float64() * 0.02 * float64(n)))
	switch rnd.IntN(4) {
	case 0:
		v.how = "spread"
		for _, i := range rnd.Perm(n)[:want] {
			v.bad[i] = true
		}
	case 1:
		v.how = "runs"
		for left := want; left > 0; {
			run := min(left, 1+rnd.IntN(200))
			for i := rnd.IntN(n); run > 0 && i < n; i, run, left = i+1, run-1, left-1 {
				v.bad[i] = true
			}
		}
	case 2:
		v.how = "one run"
		for i := rnd.IntN(n - want + 1); want > 0; i, want = i+1, want-1 {
			v.bad[i] = true
		}
	default:
		v.how = "one stratum"
		in := uint8(rnd.IntN(k))
		for _, i := range rnd.Perm(n) {
			if want > 0 && v.of[i] == in {
				v.bad[i], want = true, want-1
			}
		}
	}
	count := 0
	for _, b := range v.bad {
		if b {
			count++
		}
	}
	v.share = float64(count) / float64(n)
	return v
}

// rehearsed draws from one and compares.
func (v simulated) rehearsed(t *testing.T, most int, bytes int64, size func(stratum uint8, i int) int64, seed uint64) (out []Tested, compared, bad int64) {
	t.Helper()
	s := NewSampler[int](most, bytes, seed)
	for i, k := range v.of {
		s.Add(v.strata[k], size(k, i), func() int { return i })
	}
	drawn, err := s.Draw()
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range s.Strata() {
		x := Tested{Entries: st.Entries}
		for _, i := range drawn[st.Name] {
			x.Compared++
			if v.bad[i] {
				x.Bad++
			}
		}
		compared, bad = compared+x.Compared, bad+x.Bad
		out = append(out, x)
	}
	return out, compared, bad
}

// TestBoundHolds: on 2,000 simulated vaults the bound of 95 % covers the truth in 1,880 at least, and is nowhere wider than 1.25 times Clopper and
// Pearson's of what was compared.
func TestBoundHolds(t *testing.T) {
	const vaults = 2000
	rnd := rand.New(rand.NewPCG(20260101, 1))
	held, hard, hardHeld, widest := 0, 0, 0, 0.0
	missed := map[string]int{}
	for i := range vaults {
		v := simulate(rnd)
		most := []int{100, 300, 1000}[rnd.IntN(3)]
		tested, n, x := v.rehearsed(t, most, 1<<40, func(uint8, int) int64 { return 1 }, uint64(i))
		got := Bound(tested)
		if n > int64(most) {
			t.Fatalf("%d compared, of %d asked for", n, most)
		}
		ok := v.share <= got.Most+1e-12
		if ok {
			held++
		} else {
			missed[v.how]++
		}
		if len(v.of) > 2*most { // else much of it is known
			hard++
			if ok {
				hardHeld++
			}
		}
		ratio := got.Most / ClopperPearson(x, n)
		if ratio > 1.25 {
			t.Errorf("vault %d: the bound is %.2f times Clopper and Pearson's: %v", i, ratio, tested)
		}
		widest = max(widest, ratio)
	}
	t.Logf("held in %d of %d; of those of which less than half was drawn in %d of %d; at most %.3f times Clopper and Pearson's; missed: %v", held, vaults, hardHeld, hard, widest, missed)
	if held < 1880 || float64(hardHeld) < 0.94*float64(hard) {
		t.Errorf("the bound held in %d of %d vaults, of the hard ones in %d of %d", held, vaults, hardHeld, hard)
	}
}

// TestBoundHoldsWhereBytesAreShort: strata of large entries are drawn more thinly, and damage lies where fewest are drawn.
func TestBoundHoldsWhereBytesAreShort(t *testing.T) {
	const vaults = 1000
	rnd := rand.New(rand.NewPCG(20260101, 2))
	held, thin := 0, 0
	for i := range vaults {
		v := simulate(rnd)
		for len(v.of) < 2000 {
			v = simulate(rnd)
		}
		size := func(k uint8, i int) int64 {
			if k%2 == 0 {
				return 100
			}
			return 2<<20 + int64(i%7)<<18
		}
		tested, _, _ := v.rehearsed(t, 500, 300<<20, size, uint64(i))
		var low, high float64
		for _, s := range tested {
			w := float64(s.Entries) / float64(s.Compared)
			low, high = min(w, max(low, w)), max(high, w)
		}
		if high > 2*low {
			thin++
		}
		if v.share <= Bound(tested).Most+1e-12 {
			held++
		}
	}
	t.Logf("held in %d of %d; rates differ in %d", held, vaults, thin)
	if held < 940 || thin < 100 {
		t.Errorf("the bound held in %d of %d vaults; rates differed in %d", held, vaults, thin)
	}
}

func TestForetell(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	truth := Rates{0.4, 0.002, 1e-8}
	inside := 0
	for round := range 200 {
		var b []Batch
		for i := range stretches {
			n := int64(4000 >> (i % 3))
			bytes := n * int64(10_000+rnd.IntN(200_000))
			b = append(b, Batch{n, bytes, truth.of(n, bytes) * (1 + 0.05*rnd.NormFloat64())})
		}
		d, ok := Foretell(b, 2_000_000, 200<<30, uint64(round))
		if !ok {
			t.Fatal("nothing foretold")
		}
		want := truth.of(2_000_000, 200<<30)
		if math.Abs(d.Likely/want-1) > 0.25 {
			t.Errorf("%.0f s instead of %.0f", d.Likely, want)
		}
		if d.Low <= want && want <= d.High {
			inside++
		}
		if d.Low > d.Likely || d.High < d.Likely {
			t.Errorf("%+v", d)
		}
		again, _ := Foretell(b, 2_000_000, 200<<30, uint64(round))
		if again != d {
			t.Errorf("%+v, and then %+v", d, again)
		}
	}
	t.Logf("inside: %d of 200", inside)
	if inside < 150 {
		t.Errorf("the truth lay inside in %d of 200", inside)
	}
	// All batches alike: what cannot be told apart is one rate.
	alike := []Batch{{100, 1000, 1}, {100, 1000, 1.1}, {100, 1000, 0.9}}
	if d, ok := Foretell(alike, 1000, 10_000, 1); !ok || d.Likely < 0.9 || d.Likely > 11 {
		t.Errorf("%+v", d)
	}
	if _, ok := Foretell(alike[:2], 1000, 10_000, 1); ok {
		t.Error("two batches are enough")
	}
	if d, ok := Foretell([]Batch{{10, 0, 1}, {20, 0, 2}, {30, 0, 3}}, 100, 0, 1); !ok || math.Abs(d.Likely-10) > 1e-6 {
		t.Errorf("%+v", d)
	}
}
