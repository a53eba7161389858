package guard_test

import (
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"fmt"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"maps"
	"math/rand/v2"
	"slices"
)

// account is one with machines in some regions, as its owner knows it: they come and go, and somebody may take it over. All it does
// comes from one seed.
type account struct {
	rnd      *rand.Rand
	machines map[string]box  // by ID
	limits   map[string]int  // of scaling groups in the home region
	keys     map[string]bool // REGION/ID of key pairs
	regions  []string        // that are open to the account
	seq      int
}

// box is one machine.
type box struct {
	region, kind, group string
	tags                []string
}

const home = "eu-central-1"

// regionsOfAWS are those that are open without being asked for.
var regionsOfAWS = []string{
	"ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", home, "eu-north-1",
	"eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}

func newAccount(seed uint64) *account {
	a := &account{rnd: rand.New(rand.NewPCG(seed, 9)), machines: map[string]box{}, keys: map[string]bool{}, regions: slices.Clone(regionsOfAWS)}
	a.limits = map[string]int{"web": 12 + a.rnd.IntN(20), "work": 40 + a.rnd.IntN(40)}
	for i := range 3 + a.rnd.IntN(8) { // those that stay, each with a name
		a.launch(box{home, "m7i.large", "", []string{"env=prod", fmt.Sprintf("Name=db%d", i)}})
	}
	if a.rnd.IntN(2) == 0 {
		a.launch(box{"eu-west-1", "t3.small", "", []string{"env=prod", "Name=relay"}})
	}
	a.launch(box{home, "t3.micro", "", nil}) // somebody's, that nobody named
	a.scale("web", "c7i.large", 4)
	a.scale("work", "c7i.xlarge", 8)
	a.keys[home+"/admin"] = true
	return a
}

func (a *account) launch(b box) {
	a.seq++
	a.machines[fmt.Sprintf("i-%08x%05x", a.rnd.Uint32(), a.seq)] = b
}

// of gives the IDs of machines in order.
func (a *account) of(keep func(box) bool) []string {
	out := slices.Sorted(maps.Keys(a.machines))
	return slices.DeleteFunc(out, func(id string) bool { return !keep(a.machines[id]) })
}

func inGroup(group string) func(box) bool { return func(b box) bool { return b.group == group } }

// scale brings a group to a number of machines.
func (a *account) scale(group, kind string, n int) {
	have := a.of(inGroup(group))
	for _, id := range have[min(n, len(have)):] {
		delete(a.machines, id)
	}
	for range n - len(have) {
		a.launch(box{home, kind, group, []string{"env=prod"}})
	}
}

// replace launches each machine anew that keep takes, as a deployment does.
func (a *account) replace(keep func(box) bool) {
	for _, id := range a.of(keep) {
		b := a.machines[id]
		delete(a.machines, id)
		a.launch(b)
	}
}

// night is an ordinary day: groups follow their load, and now and then something is set up by hand.
func (a *account) night() {
	a.scale("web", "c7i.large", 2+a.rnd.IntN(a.limits["web"]-1))
	a.scale("work", "c7i.xlarge", a.rnd.IntN(a.limits["work"]))
	if a.rnd.IntN(5) == 0 {
		a.launch(box{home, "m7i.large", "", []string{"env=test", "Name=try", "env=prod"}[a.rnd.IntN(2)+1:]})
	}
	if tries := a.of(func(b box) bool { return slices.Contains(b.tags, "Name=try") }); len(tries) > 2 {
		delete(a.machines, tries[0])
	}
	if a.rnd.IntN(4) == 0 {
		a.replace(inGroup("web")) // a deployment
	}
}

// fleetHistory is what happens to an account, a run a day.
type fleetHistory struct {
	name   string
	alarms int                               // that are right: on the day on which it happens, and no other
	step   func(a *account, after int)       // after < 0: it is still to come
	rules  []string                          // of which each has to be named
	loses  func(region string, day int) bool // what the reader cannot see
}

func onDay(do func(a *account)) func(*account, int) {
	return func(a *account, after int) {
		if after == 0 {
			do(a)
		}
	}
}

// fleetsOfOwners give no alarm, or one that their owner acknowledges.
func fleetsOfOwners() []fleetHistory {
	return []fleetHistory{
		{name: "scaling up and down", step: func(*account, int) {}},
		{name: "a deployment replaces every machine", step: onDay(func(a *account) { a.replace(func(box) bool { return true }) })},
		{name: "a group at its limit", step: onDay(func(a *account) { a.scale("work", "c7i.xlarge", a.limits["work"]) })},
		{name: "some more of what there is", step: onDay(func(a *account) {
			for range 6 {
				a.launch(box{home, "m7i.large", "", []string{"env=prod"}})
			}
		})},
		{name: "all groups off over night", step: func(a *account, after int) {
			if after%2 == 0 {
				a.scale("work", "c7i.xlarge", 0)
				a.scale("web", "c7i.large", 1)
			}
		}},
		{name: "regions that do not answer at times", step: func(*account, int) {}, loses: func(region string, day int) bool { return (len(region)+day)%4 == 0 }},
		{name: "regions that the reader may not see", step: func(*account, int) {}, loses: func(region string, _ int) bool { return region != home }},
		{name: "the owner opens a region", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) {
			for range 3 {
				a.launch(box{"us-east-1", "m7i.large", "", []string{"env=prod"}})
			}
		})},
		{name: "the owner takes another type", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) {
			a.launch(box{home, "r8g.large", "", []string{"env=prod"}})
		})},
	}
}

// fleetsOfThieves give an alarm on the day.
func fleetsOfThieves() []fleetHistory {
	mine := func(a *account, kind string, each int, tags []string, regions ...string) {
		for _, r := range regions {
			for range each {
				a.launch(box{r, kind, "", tags})
			}
		}
	}
	elsewhere := slices.DeleteFunc(slices.Clone(regionsOfAWS), func(r string) bool { return r == home })
	return []fleetHistory{
		{name: "a burst of machines in new regions", alarms: 1, rules: []string{"machines", "launches"}, step: onDay(func(a *account) { mine(a, "p4d.24xlarge", 20, nil, elsewhere...) })},
		{name: "one machine in a new region", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) { mine(a, "m7i.large", 1, []string{"env=prod"}, "ap-south-1") })},
		{name: "a region is opened for it", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) {
			a.regions = append(a.regions, "me-south-1")
			mine(a, "m7i.large", 4, []string{"env=prod"}, "me-south-1")
		})},
		{name: "one large machine at home", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) { mine(a, "g5.48xlarge", 1, []string{"env=prod"}, home) })},
		{name: "one machine without tags", alarms: 1, rules: []string{"machines"}, step: onDay(func(a *account) { mine(a, "m7i.large", 1, nil, home) })},
		{name: "a burst that looks like the others", alarms: 1, rules: []string{"launches"}, step: onDay(func(a *account) { mine(a, "c7i.xlarge", 120, []string{"env=prod"}, home) })},
		{name: "a group beyond its limit", alarms: 1, rules: []string{"launches"}, step: onDay(func(a *account) {
			a.limits["web"] = 500
			a.scale("web", "c7i.large", 200)
		})},
		{name: "a key pair", alarms: 1, rules: []string{"key-pairs"}, step: onDay(func(a *account) { a.keys["us-west-2/k"] = true })},
	}
}

// fleet is what the reader is shown of it.
func (a *account) fleet(day int, loses func(string, int) bool) guard.Fleet {
	f := guard.Fleet{Whole: true}
	in := map[string][]guard.Machine{}
	for _, id := range slices.Sorted(maps.Keys(a.machines)) {
		b := a.machines[id]
		in[b.region] = append(in[b.region], guard.Machine{ID: id, Type: b.kind, Group: b.group, Tags: b.tags})
	}
	for _, name := range slices.Sorted(slices.Values(a.regions)) {
		r := guard.Region{Name: name}
		if loses != nil && loses(name, day) {
			r.Failed = "no answer"
			f.Regions = append(f.Regions, r)
			continue
		}
		r.Machines = in[name]
		for _, k := range slices.Sorted(maps.Keys(a.keys)) {
			if region, id, _ := strings.Cut(k, "/"); region == name {
				r.Keys = append(r.Keys, id)
			}
		}
		if name == home {
			r.Limits, r.Types = maps.Clone(a.limits), []string{"c7i.large", "c7i.xlarge"} // which its templates name
		}
		f.Regions = append(f.Regions, r)
	}
	return f
}

// TestHijackedAccounts replays histories of machines. Each alarm is acknowledged at once, and then it is over.
func TestHijackedAccounts(t *testing.T) {
	seed := seeds(t)
	for round := range 20 {
		for _, h := range slices.Concat(fleetsOfOwners(), fleetsOfThieves()) {
			f := fnv.New64a()
			fmt.Fprint(f, seed, round, h.name)
			a := newAccount(f.Sum64())
			from := 2 + a.rnd.IntN(20)
			var state []byte
			forgiven := false
			for day := range from + 6 {
				if day > 0 {
					a.night()
					h.step(a, day-from)
				}
				w := guard.New(guard.Options{Now: time.Unix(int64(day)*86400, 0), First: day == 0, State: state, Forgiven: forgiven})
				if _, learns := w.Fleet(a.fleet(day, h.loses)); learns != (day == 0) {
					t.Fatalf("%s: day %d: learns %v", h.name, day, learns)
				}
				v := w.Judge(guard.Totals{Entries: 100}, false)
				state, forgiven = w.State(), v.Alarm
				if v.Alarm != (day == from && h.alarms > 0) {
					t.Errorf("%s: day %d of %d: %+v", h.name, day, from, v.Findings)
				}
				for _, rule := range h.rules {
					if day == from && !slices.ContainsFunc(v.Findings, func(f guard.Finding) bool { return string(f.Rule) == rule }) {
						t.Errorf("%s: nothing is said of %s: %+v", h.name, rule, v.Findings)
					}
				}
			}
			if len(state) > 64<<10 {
				t.Errorf("%s: %d bytes are kept", h.name, len(state))
			}
		}
	}
}

// TestPassingIsNoLoss: a fleet that shrinks over night is no mass deletion, and the same machines in no group are one.
func TestPassingIsNoLoss(t *testing.T) {
	at := time.Unix(1e9, 0)
	for _, passes := range []bool{true, false} {
		entry := func(i int) *format.Entry {
			return &format.Entry{Kind: format.KindObject, Key: fmt.Sprintf("instance/i-%04d.json", i), Size: 100, Modified: format.At(at.Add(-time.Hour)), SHA256: format.Hash{byte(i), byte(i >> 8), 1}}
		}
		list := func(w *guard.Watch, n int) {
			for i := range n {
				if e := entry(i); passes && i >= 50 {
					w.Passing(e)
				} else {
					w.Listed(e)
				}
			}
		}
		w := guard.New(guard.Options{Now: at, First: true})
		list(w, 400)
		w.Judge(guard.Totals{Entries: 400, Added: 400}, false)
		w = guard.New(guard.Options{Now: at.Add(24 * time.Hour), State: w.State()})
		list(w, 100)
		for i := 100; i < 400; i++ {
			w.Gone(entry(i))
		}
		if v := w.Judge(guard.Totals{Entries: 100, Deleted: 300}, false); v.Alarm == passes {
			t.Errorf("passes %v: %+v", passes, v)
		}
	}
}
