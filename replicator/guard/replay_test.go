package guard_test

import (
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// replay is a world that is backed up, a run a day.
type replay struct {
	t     *testing.T
	w     *world
	by    watcher
	wires map[string]format.Hash
}

// watcher makes a run of a world and tells what the guard found: engine, or direct.
type watcher interface {
	run(t *testing.T, w *world, wires map[string]format.Hash) (found []guard.Finding, emptied bool)
	// fork gives the same again, to go on with another world.
	fork(t *testing.T, w *world) watcher
}

// fork gives the same again, to go on otherwise, with chance of its own. Histories that begin alike share the weeks before like
// this, which are most of what a replay costs.
func (r *replay) fork(t *testing.T, seed uint64) *replay {
	w := forked(t, r.w, seed)
	return &replay{t: t, w: w, by: r.by.fork(t, w), wires: r.wires}
}

// outcome is what came of one history.
type outcome struct {
	alarms []string // each with its day, counted from the day on which it happened
	first  int      // day of the first; -1: none
	early  bool     // there was one before anything happened
	most   float64  // share of the source that was touched in a run, at most
}

// What is replayed behind the day on which it happens: of owners a week, in which nothing may give an alarm; of attacks until
// it was seen, or should have been.
const (
	afterBenign = 8
	afterSlow   = 7
	afterUntold = 3
	lead        = 2 // days before, in which a history has chance of its own already
)

// measures: warm is how many days come before, and size how many files there are: enough for what the rules need, and in the full form for
// weekdays to be told apart.
func measures() (warm, size int) {
	if os.Getenv("HOLDFAST_GUARD_ROUNDS") != "" && os.Getenv("HOLDFAST_GUARD_DIRECT") == "" {
		return 32, 2000
	}
	return 17, 1200
}

// begin backs up a world for the first time.
func begin(t *testing.T, h history, seed uint64) *replay {
	w := newWorld(t, seed)
	if _, size := measures(); h.begin != nil {
		h.begin(w)
	} else {
		w.settle(size)
	}
	// Which day of the week it happens on is drawn.
	w.now = w.now.AddDate(0, 0, w.rnd.IntN(7))
	r := &replay{t: t, w: w}
	if os.Getenv("HOLDFAST_GUARD_DIRECT") != "" {
		r.by = newDirect()
	} else {
		r.by = newEngine(t, w, h.versions)
	}
	r.by.run(t, w, nil)
	return r
}

// warmUp lets the weeks pass before something happens, but for the last days.
func warmUp(t *testing.T, h history, seed uint64) (*replay, outcome) {
	r := begin(t, h, seed)
	out := outcome{first: -1}
	warm, _ := measures()
	for day := 1; day < warm-lead; day++ {
		r.day(h, day-warm, &out)
	}
	return r, out
}

// play replays what comes then: days of it, or until it was seen.
func (r *replay) play(h history, out outcome, days int, untilSeen bool) outcome {
	if h.rule == string(guard.Tripwire) {
		body := r.w.csv(900)
		r.w.put(ledger, body)
		r.wires = map[string]format.Hash{ledger: sumOf(body)}
	}
	for day := -lead; day < days; day++ {
		r.day(h, day, &out)
		if untilSeen && out.first >= 0 {
			break
		}
	}
	return out
}

// day is one day and its run; 0 is that on which it happens. An alarm is acknowledged at once, so that each day speaks for itself.
func (r *replay) day(h history, day int, out *outcome) {
	w := r.w
	if h.quiet {
		w.now = w.now.Add(24 * time.Hour)
	} else {
		w.day()
	}
	h.step(w, day)
	if w.wire && day == 0 {
		w.spoil(ledger, w.encrypt(w.files[ledger].body, 0))
	}
	found, emptied := r.by.run(r.t, w, r.wires)
	out.most = max(out.most, float64(len(w.touched))/float64(max(w.entries, 1)))
	said := ""
	if emptied {
		said = "empty"
	}
	for _, f := range found {
		said += fmt.Sprintf(" %s(%d)", f.Rule, f.Count)
		r.t.Logf("day %d: %s: %s", day, f.Rule, f.Text)
	}
	if said == "" {
		return
	}
	out.alarms = append(out.alarms, fmt.Sprintf("day %d: %s", day, said))
	if out.first < 0 {
		out.early = out.early || day < 0 && h.days == 0
		out.first = max(day, 0)
	}
}

// rounds is how often everything is replayed: HOLDFAST_GUARD_ROUNDS, each with a seed of its own.
func rounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("HOLDFAST_GUARD_ROUNDS"))
	if err != nil {
		return 1
	}
	return n
}

// TestReplay replays histories, 18 of owners and 12 of attackers in each round, and counts alarms: every attack is seen that touches
// 5 %, or a tripwire, in the run in which it does, the slow ones within a week; of the others at most one in a round gives an alarm.
func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("replays months")
	}
	seed := seeds(t)
	c := counts{total: map[string]int{}, wrong: map[string]int{}, perRound: map[int]int{}}
	for round := range rounds(t) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			of := func(name string) uint64 {
				f := fnv.New64a()
				fmt.Fprint(f, seed, round, name)
				return f.Sum64()
			}
			alone, shared := classed(t)
			for _, h := range alone {
				t.Run(h.title(), func(t *testing.T) {
					t.Parallel()
					var r *replay
					var out outcome
					days, seen := h.length()
					if h.days > 0 {
						r = begin(t, h.history, of(h.name))
						out.first = -1
						for day := 1; day < h.days; day++ {
							r.day(h.history, day-h.days, &out)
						}
					} else {
						r, out = warmUp(t, h.history, of(h.name))
						out = r.play(h.history, out, days, seen)
					}
					c.judge(t, round, h, out)
				})
			}
			for k := range groups {
				t.Run(fmt.Sprint("group ", k), func(t *testing.T) {
					t.Parallel()
					before, out := warmUp(t, ordinary, of(fmt.Sprint("group ", k)))
					if out.first >= 0 {
						t.Logf("before anything happened: %v", out.alarms)
					}
					for i, h := range shared {
						if i%groups != k {
							continue
						}
						t.Run(h.title(), func(t *testing.T) {
							days, seen := h.length()
							c.judge(t, round, h, before.fork(t, of(h.name)).play(h.history, out, days, seen))
						})
					}
				})
			}
		})
	}
	c.tell(t)
}

// groups are how many beginnings are shared in a round.
const groups = 3

// told is a history with what is wanted of it: benign, attack, more, or untold.
type told struct {
	history
	class string
}

// classed gives all histories: those that have weeks before them of their own, and those in which nothing but the ordinary happens then.
func classed(t *testing.T) (alone, shared []told) {
	all := benign()
	for _, module := range slices.Sorted(maps.Keys(modules)) {
		all = append(all, ofReleases(t, module))
	}
	for _, c := range []struct {
		class string
		list  []history
	}{{"benign", all}, {"attack", attacks()}, {"more", more()}, {"untold", untold()}} {
		for _, h := range c.list {
			if h.alone || h.versions || h.begin != nil {
				alone = append(alone, told{h, c.class})
			} else {
				shared = append(shared, told{h, c.class})
			}
		}
	}
	return alone, shared
}

func (h told) title() string { return strings.ReplaceAll(h.class+"/"+h.name, " ", "-") }

// length is how long a history is replayed, and whether no longer than until it was seen.
func (h told) length() (days int, untilSeen bool) {
	switch {
	case h.class == "benign":
		return afterBenign, false
	case h.class == "untold":
		return afterUntold, true
	case h.slow:
		return afterSlow, true
	}
	return 1, true
}

// counts are what came of all histories.
type counts struct {
	mu           sync.Mutex
	lines        []string
	total, wrong map[string]int
	perRound     map[int]int // false alarms
}

func (c *counts) judge(t *testing.T, round int, h told, o outcome) {
	bad := false
	switch h.class {
	case "benign":
		bad = o.first >= 0
	case "attack", "more":
		bad = o.early || o.first < 0
		if o.most < 0.05 && !h.slow && h.rule == "" && h.name != "emptied listing" {
			t.Errorf("it touches %.1f %% at most", 100*o.most)
		}
	case "untold":
		bad = o.first < 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total[h.class]++
	if bad {
		c.wrong[h.class]++
	}
	if bad && h.class == "benign" {
		c.perRound[round]++
	}
	c.lines = append(c.lines, fmt.Sprintf("%-7s %-52s %s", h.class, h.name, orNone(o.alarms)))
	if bad && (h.class == "attack" || h.class == "more") {
		t.Errorf("not seen in time: %v", o.alarms)
	}
}

func (c *counts) tell(t *testing.T) {
	slices.Sort(c.lines)
	t.Logf("\n%s", strings.Join(c.lines, "\n"))
	t.Logf("without harm: %d of %d histories gave an alarm; attacks: %d of %d not seen in time, %d of %d more; not told apart: %d of %d not seen",
		c.wrong["benign"], c.total["benign"], c.wrong["attack"], c.total["attack"], c.wrong["more"], c.total["more"], c.wrong["untold"], c.total["untold"])
	for round, n := range c.perRound {
		if n > 1 {
			t.Errorf("round %d: %d histories without harm gave an alarm", round, n)
		}
	}
}

func orNone(alarms []string) string {
	if len(alarms) == 0 {
		return "no alarm"
	}
	if len(alarms) > 3 {
		alarms = append(slices.Clone(alarms[:3]), "..")
	}
	return strings.Join(alarms, "; ")
}
