package rehearse

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

// TestSampler: uniform within a stratum, nothing twice, no more held than asked for, and the same again with the same seed.
func TestSampler(t *testing.T) {
	const entries, most, rounds = 200, 160, 2000
	hits := map[string][]int{"a": make([]int, entries), "b": make([]int, entries/2)}
	draw := func(seed uint64) map[string][]int {
		s := NewSampler[int](most, 1<<40, seed)
		for i := range entries {
			s.Add("a", 1, func() int { return i })
			if i%2 == 0 {
				s.Add("b", 1, func() int { return i / 2 })
			}
			if i < few {
				s.Add("few", 1, func() int { return i })
			}
		}
		for _, r := range s.strata {
			if len(r.held) > most {
				t.Fatalf("%d are held", len(r.held))
			}
		}
		out, err := s.Draw()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for seed := range uint64(rounds) {
		out := draw(seed)
		if n := len(out["a"]) + len(out["b"]) + len(out["few"]); n > most || n < most-2 {
			t.Fatalf("%d drawn", n)
		}
		if len(out["few"]) != few {
			t.Fatalf("%d of the few", len(out["few"]))
		}
		for name, list := range out {
			slices.Sort(list)
			if len(slices.Compact(slices.Clone(list))) != len(list) {
				t.Fatalf("%s: one is there twice: %v", name, list)
			}
			for _, i := range list {
				if hits[name] != nil {
					hits[name][i]++
				}
			}
		}
	}
	for name, list := range hits {
		sum := 0
		for _, n := range list {
			sum += n
		}
		mean := float64(sum) / float64(len(list))
		chi := 0.0
		for _, n := range list {
			chi += (float64(n) - mean) * (float64(n) - mean) / mean
		}
		// Drawn without replacement it is less than chi-square with as many degrees of freedom, whose spread is its root twice over.
		free := float64(len(list) - 1)
		if chi > free+5*math.Sqrt(2*free) {
			t.Errorf("%s: not uniform: %.0f with %.0f degrees of freedom", name, chi, free)
		}
	}
	if a, b := draw(5), draw(5); fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("the same seed draws another sample")
	}
	if a, b := draw(5), draw(6); fmt.Sprint(a) == fmt.Sprint(b) {
		t.Error("another seed draws the same sample")
	}
}

func TestAllocate(t *testing.T) {
	uniform := func(n, size int64) *Stratum {
		return &Stratum{Entries: n, Bytes: n * size, squares: float64(n) * float64(size) * float64(size)}
	}
	for _, c := range []struct {
		name   string
		strata []*Stratum
		most   int
		bytes  int64
		want   []int
	}{
		{"in proportion", []*Stratum{uniform(9000, 1), uniform(1000, 1)}, 1000, 1 << 40, []int{900, 100}},
		{"a few of each", []*Stratum{uniform(1_000_000, 1), uniform(100, 1), uniform(3, 1)}, 1000, 1 << 40, []int{992, 5, 3}},
		{"all", []*Stratum{uniform(10, 1), uniform(20, 1)}, 1000, 1 << 40, []int{10, 20}},
		{"one of each", []*Stratum{uniform(10, 1), uniform(20, 1), uniform(30, 1)}, 3, 1 << 40, []int{1, 1, 1}},
		{"less than one of each", []*Stratum{uniform(10, 1), uniform(20, 1)}, 1, 1 << 40, []int{1, 1}},
		{"empty", []*Stratum{{TooLarge: 4}}, 10, 1 << 40, []int{0}},
		{"fewer large ones", []*Stratum{uniform(9000, 10), uniform(1000, 2<<20)}, 1000, 20 << 20, []int{900, 9}},
		{"fewer of all", []*Stratum{uniform(1000, 1000)}, 1000, 10_000, []int{10}},
	} {
		got, err := allocate(c.strata, c.most, c.bytes)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %v %v instead of %v", c.name, got, err, c.want)
		}
	}
	if _, err := allocate([]*Stratum{uniform(10, 100), uniform(10, 100)}, 10, 150); !errors.Is(err, ErrTooSmall) {
		t.Errorf("%v", err)
	}
}

// TestSamplerBytes: never more bytes than asked for, and what is too large is counted.
func TestSamplerBytes(t *testing.T) {
	for seed := range uint64(50) {
		const bytes = 400 << 20
		s := NewSampler[int64](300, bytes, seed)
		for i := range int64(2000) {
			size := i * i * 300 // up to 1.2 GB
			s.Add([]string{"small", "large"}[i/1000], size, func() int64 { return size })
		}
		out, err := s.Draw()
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, list := range out {
			for _, n := range list {
				sum += n
			}
		}
		if sum > bytes || len(out["small"]) == 0 {
			t.Errorf("%d bytes, %d large ones", sum, len(out["large"]))
		}
		if st := s.Strata(); st[0].Entries+st[0].TooLarge+st[1].Entries+st[1].TooLarge != 2000 || st[0].TooLarge == 0 {
			t.Errorf("%+v", st)
		}
	}
}

func TestStretches(t *testing.T) {
	all := newStretches[int64](10_000, 1000, 1<<40, 3)
	if len(all) != stretches {
		t.Fatalf("%d stretches", len(all))
	}
	for at := range int64(10_000) {
		for _, s := range all {
			s.add(at, 10, func() int64 { return at })
		}
	}
	for i, s := range all {
		if int64(len(s.held)) != s.length || s.held[0] != s.from || s.length != 4000>>(i%3) {
			t.Errorf("%d: %d of %d from %d", i, len(s.held), s.length, s.from)
		}
	}
	small := newStretches[int64](2, 1000, 100, 3)
	for at := range int64(2) {
		for _, s := range small {
			s.add(at, 60, func() int64 { return at })
		}
	}
	for _, s := range small {
		if s.size > s.bytes {
			t.Errorf("%d of %d bytes", s.size, s.bytes)
		}
	}
	if len(newStretches[int64](0, 10, 100, 3)) != 0 {
		t.Error("stretches of nothing")
	}
}
