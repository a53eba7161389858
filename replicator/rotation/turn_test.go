package rotation

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// thing is an object of the model, and what is true of it.
type thing struct {
	Object
	ends time.Time // no point needs it from then on
	read time.Time // when it was last really read
	put  int64     // what had been stored in all when it was stored
	seen int64     // what had been stored in all when it was last read
}

// model is a vault whose objects come and go, and a reader that is killed.
type model struct {
	t      *testing.T
	rand   *rand.Rand
	clock  time.Time
	budget Budget
	things map[string]*thing
	n      int
	stored int64 // bytes, in all
	spent  map[string]int64
	kept   []byte // the state as it was last saved
	steps  int    // until the reader is killed; negative: never
	took   int    // steps of the last try
	torn   bool   // a kill within Save comes before the state is kept
	speed  int64  // bytes a second
	bad    map[string]bool
}

type killed struct{}

func newModel(t *testing.T, seed uint64, b Budget) *model {
	return &model{
		t: t, rand: rand.New(rand.NewPCG(seed, 1)), clock: time.Date(2026, 1, 1, 2, 30, 0, 0, time.UTC), budget: b,
		things: map[string]*thing{}, spent: map[string]int64{}, steps: -1, speed: 1000, bad: map[string]bool{},
	}
}

func (m *model) put(size int64, days int) *thing {
	m.n++
	sum := format.Hash(sha256.Sum256(fmt.Append(nil, m.n, m.rand.Uint64())))
	x := &thing{Object: Object{Name: format.PackName(sum), Sum: sum, Cost: size, Stored: m.clock}, ends: m.clock.Add(time.Duration(days) * 24 * time.Hour), put: m.stored}
	m.things[x.Name] = x
	m.stored += size
	return x
}

func (m *model) living() (sum int64) {
	for _, x := range m.things {
		sum += x.Cost
	}
	return sum
}

// step is where the reader may be killed.
func (m *model) step() {
	m.took++
	if m.steps--; m.steps == -1 {
		panic(killed{})
	}
}

func (m *model) sorted() []*thing {
	return slices.SortedFunc(maps.Values(m.things), func(a, b *thing) int { return cmp.Compare(a.Name, b.Name) })
}

// turn is one try, with the state of the last one; alive is false if it was killed.
func (m *model) turn(kill int, torn bool) (out Result, alive bool) {
	m.t.Helper()
	m.steps, m.torn, m.took = kill, torn, 0
	if kill < 0 {
		m.steps = -2
	}
	s := &State{}
	if m.kept != nil {
		var err error
		if s, err = Decode(m.kept, m.clock); err != nil {
			m.t.Fatal(err)
		}
	}
	defer func() {
		if x := recover(); x != nil {
			if x != (killed{}) {
				panic(x)
			}
			alive = false
		}
	}()
	day := m.clock.Format(time.DateOnly)
	turn := Turn{
		Ledger: &s.Bytes, Budget: m.budget, Now: func() time.Time { return m.clock },
		Walk: func(_ context.Context, each func(Object)) error {
			m.step()
			for _, x := range m.sorted() {
				each(x.Object)
			}
			return nil
		},
		Read: func(_ context.Context, batch []Object) (Outcome, error) {
			m.step()
			var o Outcome
			for i, x := range batch {
				m.spent[day] += x.Cost
				m.clock = m.clock.Add(time.Duration(x.Cost) * time.Second / time.Duration(m.speed))
				if m.bad[x.Name] {
					o.Unread = append(o.Unread, i)
					continue
				}
				m.things[x.Name].read, m.things[x.Name].seen = m.clock, m.stored
			}
			m.step()
			return o, nil
		},
		Save: func() error {
			if m.torn {
				m.step()
			}
			b, err := s.Encode()
			if err != nil {
				return err
			}
			m.kept = b
			if !m.torn {
				m.step()
			}
			return nil
		},
	}
	out, err := turn.Run(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	return out, true
}

// claims holds what is remembered against what is true: nothing counts as read later than it was.
func (m *model) claims() {
	m.t.Helper()
	if m.kept == nil {
		return
	}
	s, err := Decode(m.kept, m.clock)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, x := range m.things {
		said := s.Bytes.Ring.Read(PlaceOf(x.Sum))
		if i, owed := debt(s.Bytes.Owed, x.Name); owed {
			said = s.Bytes.Owed[i].since()
		}
		if said.After(x.Stored) && said.After(x.read) {
			m.t.Fatalf("%s is said to have been read at %s; it was stored at %s and last read at %s", x.Name, said, x.Stored, x.read)
		}
	}
}

// day ends a day: what is over goes.
func (m *model) day() {
	m.clock = m.clock.Truncate(24 * time.Hour).Add(24*time.Hour + 150*time.Minute)
	maps.DeleteFunc(m.things, func(_ string, x *thing) bool { return !x.ends.After(m.clock) })
}

// within is the days within which an object has to be read again, to the letter: a day for each budget, less the largest object, that what was
// there at its last reading and what was stored since come to. lost is what kills may cost a day.
func (m *model) within(base int64, seen int64, largest, lost int64) float64 {
	least := m.budget.Cost - largest - lost
	return float64(base+m.stored-seen)/float64(least) + 2
}

// A vault grows, shrinks and turns over for 400 days. The reader is killed once each day, at one step after the other, and begun again; on
// some days it does not run at all.
func TestFourHundredDays(t *testing.T) {
	for _, missed := range []bool{false, true} {
		t.Run(fmt.Sprintf("missed days %v", missed), func(t *testing.T) {
			const budget, largest = 3_200_000, 60_000
			m := newModel(t, 7, Budget{Cost: budget})
			size := func() int64 { return 1 + m.rand.Int64N(largest) }
			for range 800 {
				m.put(size(), 5+m.rand.IntN(120))
			}
			base := map[string]int64{} // what all came to when an object was last read, or stored
			mark := func() {
				all := m.living()
				for _, x := range m.things {
					k := x.Name
					if _, known := base[k]; !known || x.read.Format(time.DateOnly) == m.clock.Format(time.DateOnly) {
						base[k] = all
					}
				}
			}
			mark()
			missing, longest, worst := 0, int64(0), 0.0
			said := []int64{}
			for day := range 400 {
				for range m.rand.IntN(1 + 40*(1+day%100)/40) { // busy weeks and idle ones
					m.put(size(), 1+m.rand.IntN(90))
				}
				if missed && (day%17 == 3 || day%40 < 5) {
					missing++
					mark()
					m.day()
					continue
				}
				today := m.clock.Format(time.DateOnly)
				_, alive := m.turn(day%60, day%2 == 0)
				m.claims()
				out, again := Result{}, false
				if !alive {
					out, again = m.turn(-1, false)
				} else if out, again = m.turn(-1, false); out.Read > 0 {
					if out.Left && m.spent[today] > budget {
						t.Fatalf("day %d: a second turn read %d more", day, out.Read)
					}
				}
				if !again {
					t.Fatal("killed without being killed")
				}
				m.claims()
				if m.spent[today] > budget {
					t.Fatalf("day %d: %d read with a budget of %d", day, m.spent[today], budget)
				}
				said = append(said, out.Days)
				longest = max(longest, out.Days)
				oldest := m.clock
				for _, x := range m.things {
					last := x.read
					if x.Stored.After(last) {
						last = x.Stored
					}
					if last.Before(oldest) {
						oldest = last
					}
					seen := max(x.seen, x.put)
					bound := m.within(base[x.Name], seen, largest, budget/batchParts+largest)
					if missed {
						bound += 5 + 3*bound/17 + 5*bound/40 // the days that were missed
					}
					age := m.clock.Sub(last).Hours() / 24
					if age > bound {
						t.Fatalf("day %d: %s was not read for %.1f days; it has to be within %.1f", day, x.Name, age, bound)
					}
					worst = max(worst, age/bound)
				}
				if oldest.Before(out.Oldest.Add(-time.Second)) {
					t.Fatalf("day %d: something was last read at %s, and the oldest is said to be of %s", day, oldest, out.Oldest)
				}
				if !missed {
					// And within the days that were printed: the most of them since, and one for the kill of each day.
					n := int64(0)
					for _, v := range said[max(0, len(said)-60):] {
						n = max(n, v)
					}
					if age := m.clock.Sub(oldest).Hours() / 24; age > float64(n)*(1+2.0/batchParts)+1 {
						t.Fatalf("day %d: the oldest was read %.1f days ago; %d days were printed", day, age, n)
					}
				}
				mark()
				m.day()
			}
			t.Logf("%d objects stored, %d days missed, a round of up to %d days; the longest wait was %.0f %% of what is allowed", m.n, missing, longest, 100*worst)
			if longest < 5 {
				t.Errorf("a round of %d days tests little", longest)
			}
		})
	}
}

// A turn that is killed at any one of its steps, and begun again, neither reads more than the day's budget nor counts as read what was not,
// and the days after it read the rest.
func TestKilledAtEveryStep(t *testing.T) {
	for _, torn := range []bool{false, true} {
		for kill := 0; ; kill++ {
			m := newModel(t, 3, Budget{Cost: 400_000})
			for range 60 {
				m.put(1+m.rand.Int64N(30_000), 1000)
			}
			m.turn(-1, false)
			m.day()
			today := m.clock.Format(time.DateOnly)
			_, alive := m.turn(kill, torn)
			m.claims()
			if _, ok := m.turn(-1, false); !ok {
				t.Fatal("killed")
			}
			m.claims()
			if m.spent[today] > m.budget.Cost {
				t.Fatalf("killed at step %d: %d read that day, of %d", kill, m.spent[today], m.budget.Cost)
			}
			for range 4 {
				m.day()
				m.turn(-1, false)
			}
			for _, x := range m.things {
				if x.read.IsZero() {
					t.Fatalf("killed at step %d: %s was never read", kill, x.Name)
				}
			}
			if alive {
				if kill < 10 {
					t.Fatalf("%d steps only", kill)
				}
				break
			}
		}
	}
}

// Objects that are larger than the budget are read all the same, one a day.
func TestLargerThanTheBudget(t *testing.T) {
	m := newModel(t, 5, Budget{Cost: 1000})
	for range 5 {
		m.put(5000, 1000)
	}
	for day := range 5 {
		today := m.clock.Format(time.DateOnly)
		out, _ := m.turn(-1, false)
		m.turn(-1, false)
		if m.spent[today] != 5000 {
			t.Fatalf("day %d: %d read", day, m.spent[today])
		}
		if out.Days != 5 {
			t.Errorf("%d days", out.Days)
		}
		m.claims()
		m.day()
	}
	for _, x := range m.things {
		if x.read.IsZero() {
			t.Errorf("%s was never read", x.Name)
		}
	}
}

// A budget of time ends the turn, counts over the turns of a day, and says how many days it takes once there is a rate.
func TestTime(t *testing.T) {
	m := newModel(t, 9, Budget{Time: 100 * time.Second})
	for range 500 {
		m.put(1000+m.rand.Int64N(1000), 1000)
	}
	for range 12 {
		began := m.clock
		out, _ := m.turn(-1, false)
		if took := m.clock.Sub(began); took > 140*time.Second || took < 90*time.Second && out.Left {
			t.Fatalf("a turn took %s", took)
		}
		if out.Days < 6 || out.Days > 9 { // 750 kB at 1 kB a second
			t.Fatalf("%d days at %d a day", out.Days, out.PerDay)
		}
		today := m.spent[m.clock.Format(time.DateOnly)]
		m.turn(-1, false)
		if more := m.spent[m.clock.Format(time.DateOnly)] - today; more != 0 {
			t.Fatalf("a second turn of the day read %d", more)
		}
		m.claims()
		m.day()
	}
	for _, x := range m.things {
		if x.read.IsZero() || m.clock.Sub(x.read) > 9*24*time.Hour {
			t.Errorf("%s was read at %s", x.Name, x.read)
		}
	}
}

// What cannot be read is owed: it keeps its age, is tried each day, and stops nothing else.
func TestOwed(t *testing.T) {
	m := newModel(t, 11, Budget{Cost: 100_000})
	for range 30 {
		m.put(10_000, 1000)
	}
	bad := m.sorted()[3]
	m.bad[bad.Name] = true
	for range 8 {
		out, _ := m.turn(-1, false)
		m.claims()
		if !out.Oldest.Equal(bad.Stored) {
			t.Fatalf("the oldest is of %s", out.Oldest)
		}
		m.day()
	}
	for _, x := range m.things {
		if x.read.IsZero() != (x == bad) {
			t.Errorf("%s was read at %s", x.Name, x.read)
		}
	}
	delete(m.bad, bad.Name)
	out, _ := m.turn(-1, false)
	if bad.read.IsZero() || out.Oldest.Equal(bad.Stored) {
		t.Errorf("it was not tried again; the oldest is of %s", out.Oldest)
	}
	m.claims()
}

// More can be picked than one walk remembers: the turn walks again.
func TestManyWalks(t *testing.T) {
	m := newModel(t, 13, Budget{Cost: 1 << 40})
	for range maxPicked + 5000 {
		m.put(1, 1000)
	}
	out, _ := m.turn(-1, false)
	if out.Left || out.Read != int64(len(m.things)) || out.Covered != out.Living || out.Days != 1 {
		t.Errorf("%+v", out)
	}
}

func TestNoBudget(t *testing.T) {
	for _, b := range []Budget{{}, {Cost: 1, Time: 1}, {Cost: -1}} {
		if _, err := (&Turn{Ledger: &Ledger{}, Budget: b}).Run(context.Background()); !errors.Is(err, ErrNoBudget) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}
