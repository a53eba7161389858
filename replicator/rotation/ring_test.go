package rotation

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func day(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// The ring says the same as a list of every place would, never more than the bound of stretches, and never a later time than is true.
func TestRing(t *testing.T) {
	const places = 1 << 12
	at := func(i int) Place { return Place(i) << 52 }
	r, truth := Ring{}, make([]time.Time, places)
	random := rand.New(rand.NewPCG(1, 2))
	exact := true
	for n := range 3000 {
		from := random.IntN(places)
		to := min(from+random.IntN(1+places/(1+random.IntN(800))), places-1)
		if n < 100 {
			to = min(from+random.IntN(400), places-1)
		}
		last := at(to) + (1<<52 - 1)
		r.Mark(at(from), last, day(n))
		for i := from; i <= to; i++ {
			truth[i] = day(n)
		}
		if len(r.stretches) > maxStretches {
			t.Fatalf("%d stretches", len(r.stretches))
		}
		exact = exact && len(r.stretches) < maxStretches
		for i, want := range truth {
			got := r.Read(at(i))
			if got.After(want) || exact && !got.Equal(want) {
				t.Fatalf("after %d: place %d was read %s, said to be %s", n, i, want, got)
			}
		}
		if n%100 == 0 {
			b, err := json.Marshal(r)
			var back Ring
			if err == nil {
				err = json.Unmarshal(b, &back)
			}
			if err != nil || len(b) > 20<<10 || len(back.stretches) != len(r.stretches) || back.Read(at(77)) != r.Read(at(77)) {
				t.Fatalf("%v, %d bytes", err, len(b))
			}
		}
	}
	if exact {
		t.Error("the bound was never met")
	}
}

func TestJoin(t *testing.T) {
	var a, b Ring
	a.Mark(0, 99, day(1))
	a.Mark(200, 299, day(5))
	b.Mark(50, 249, day(3))
	a.Join(b)
	for p, want := range map[Place]time.Time{0: day(1), 49: day(1), 50: day(3), 199: day(3), 200: day(5), 299: day(5), 300: {}} {
		if got := a.Read(p); !got.Equal(want) {
			t.Errorf("place %d: %s instead of %s", p, got, want)
		}
	}
}

func TestDecode(t *testing.T) {
	now := day(100)
	var s State
	s.Bytes.Ring.Mark(5, 9, day(200)) // by a wrong clock
	s.Bytes.Ring.Mark(100, 200, day(99))
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(b, now)
	if err != nil || !got.Bytes.Ring.Read(7).IsZero() || !got.Bytes.Ring.Read(150).Equal(day(99)) {
		t.Errorf("%v: %+v", err, got)
	}
	for _, bad := range []string{
		``, `[]`, `{"bytes":{"ring":[["0000000000000001",5]]}}`, `{"bytes":{"ring":[["0000000000000000",5],["0000000000000000",6]]}}`,
		`{"bytes":{"ring":[["0",5]]}}`, `{"bytes":{"ring":[["0000000000000000",-5]]}}`, `{"bytes":{"ring":[["0000000000000000"]]}}`,
		`{"bytes":{"spent":-1}}`, `{"locks":{"owed":[{"name":"x"}]}}`, `{"bytes":{"ring":[` + strings.Repeat(`["0000000000000000",5],`, 600) + `["f",1]]}}`,
	} {
		if _, err := Decode([]byte(bad), now); err == nil {
			t.Errorf("%.80s is taken", bad)
		}
	}
}

// A verification of the whole vault counts for all of it but for what was wrong.
func TestMarkAll(t *testing.T) {
	m := newModel(t, 1, Budget{Cost: 1})
	x, y := m.put(1, 1), m.put(1, 1)
	var l Ledger
	l.Ring.MarkAll(day(3))
	l.MarkAll(day(9), []string{x.Name, "points/x"})
	if !l.Ring.Read(PlaceOf(y.Sum)).Equal(day(9)) || len(l.Owed) != 1 || !l.Owed[0].since().Equal(day(3)) {
		t.Errorf("%+v", l)
	}
	l.MarkAll(day(10), []string{x.Name})
	if !l.Owed[0].since().Equal(day(3)) {
		t.Errorf("%+v", l.Owed)
	}
	l.MarkAll(day(11), nil)
	if len(l.Owed) > 0 {
		t.Errorf("%+v", l.Owed)
	}
}
