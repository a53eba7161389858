package guard

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// Region is what runs in one region of an account.
type Region struct {
	Name     string
	Machines []Machine // that run, or are about to
	More     bool      // there are more than these
	Keys     []string  // IDs of key pairs, with their names
	Unkeyed  bool      // key pairs could not be listed
	Failed   string    // why its machines could not be listed; empty: they were
	// Of the region that is protected: types that templates and groups name, and how many machines each group may have.
	Types  []string
	Limits map[string]int
}

// Machine is one that runs.
type Machine struct {
	ID, Type string
	Group    string   // that launched it, as only the vendor can have written it; empty: none
	Tags     []string // KEY=VALUE
}

// Fleet is what runs in an account: the regions that are open to it, in order.
type Fleet struct {
	Regions []Region
	Whole   bool     // these are all of them
	Denied  []string // rights that are missing to know more
}

// fleetState is what was seen of an account. Names are kept as numbers made of them.
type fleetState struct {
	Regions map[string]*regionState `json:"regions"`
	Listed  bool                    `json:"listed,omitempty"` // all regions of the account were known once: another was opened since then
	Tags    map[uint64]bool         `json:"tags,omitempty"`
	Keys    map[uint64]bool         `json:"keys,omitempty"`
	Denied  []string                `json:"denied,omitempty"`
	Runs    int                     `json:"n,omitempty"`
}

// regionState is what was seen of one region.
type regionState struct {
	Seen   bool           `json:"seen,omitempty"`  // it was looked at; else it is learnt from first
	Keyed  bool           `json:"keyed,omitempty"` // and its key pairs
	Types  []string       `json:"types,omitempty"`
	Groups map[string]int `json:"groups,omitempty"` // the most machines that each group had, or may have; "": those of none

	Machines []uint64 `json:"machines,omitempty"` // of the last run, sorted
	Many     bool     `json:"many,omitempty"`     // there were more than these
	Loose    int      `json:"loose,omitempty"`    // of the last run: those of no group and without tags
}

const (
	maxRegions   = 64
	maxTypes     = 256  // of a region
	maxGroups    = 512  // of a region
	maxMachines  = 1024 // of a region
	maxTags      = 4096 // of an account
	maxKeyPairs  = 4096 // of an account
	burstLeast   = 10   // machines more than ever
	burstUnknown = 30   // the same while little is known of how the number changes
	maxListed    = 12   // things named in a sentence
)

// numberOf makes a number of a name: what the cache keeps tells nothing of it.
func numberOf(parts ...string) uint64 {
	f := fnv.New64a()
	for _, p := range parts {
		_, _ = f.Write([]byte(p))
		_, _ = f.Write([]byte{0})
	}
	return f.Sum64()
}

// Fleet is told what runs in the account, before Judge. It gives the missing rights that were not told before, and whether nothing
// was known of the account, so that this run is only learnt from.
func (w *Watch) Fleet(f Fleet) (denied []string, learns bool) {
	w.fleet = &f
	for _, right := range f.Denied {
		if w.state.Fleet == nil || !slices.Contains(w.state.Fleet.Denied, right) {
			denied = append(denied, right)
		}
	}
	return denied, w.state.Fleet == nil
}

// known gives what was seen of a region: nil where it is learnt from first. One that was opened to the account since then had nothing;
// while nobody knew which were open, nothing is known of one that was not looked at.
func (s *fleetState) known(name string) *regionState {
	switch r := s.Regions[name]; {
	case r == nil && s.Listed:
		return &regionState{Seen: true, Keyed: true}
	case r == nil || !r.Seen:
		return nil
	default:
		return r
	}
}

// machines looks for what a hijacked account shows: machines where there were none, of other types, without any sign of belonging to
// the rest, or far more than ever; and key pairs.
func (w *Watch) machines() (out []Finding) {
	f, s := w.fleet, w.state.Fleet
	if f == nil || s == nil || w.o.Forgiven {
		return nil
	}
	var odd, bursts, keys oddities
	for i := range f.Regions {
		r := &f.Regions[i]
		if r.Failed != "" {
			continue
		}
		was := s.known(r.Name)
		if was == nil {
			continue
		}
		s.strangers(r, was, &odd)
		s.burst(r, was, &bursts)
		for _, k := range r.Keys {
			if was.Keyed && !r.Unkeyed && !s.Keys[numberOf(r.Name, k)] && len(s.Keys) < maxKeyPairs { // more could not be told apart from new ones
				keys.add(1, r.Name+" "+k)
			}
		}
	}
	out = odd.found(out, Machines, "machines such as were not seen before")
	out = bursts.found(out, Launches, "far more machines than ever before")
	return keys.found(out, KeyPairs, "new key pairs")
}

// oddities are what one rule found.
type oddities struct {
	n    int64
	list []string
}

func (o *oddities) add(n int, text string) {
	o.n += int64(n)
	if len(o.list) <= maxListed {
		o.list = append(o.list, text)
	}
}

func (o *oddities) found(out []Finding, rule Rule, text string) []Finding {
	if o.n == 0 {
		return out
	}
	list := strings.Join(o.list[:min(len(o.list), maxListed)], ", ")
	if len(o.list) > maxListed {
		list += ", .."
	}
	return append(out, Finding{Rule: rule, Hard: true, Count: o.n, Text: fmt.Sprintf("%s: %d: %.2000s", text, o.n, list), Examples: o.list[:min(len(o.list), maxExamples)]})
}

// strangers finds machines in a region that had none, of a type that it had not, and such as nothing tells that they belong to the rest:
// they are in no group, have no tag that was seen before, and did not come in the place of others.
func (s *fleetState) strangers(r *Region, was *regionState, odd *oddities) {
	type kind struct{ of, why string }
	by, loose := map[kind]int{}, map[string][]string{}
	empty := len(was.Types) == 0 && len(was.Groups) == 0
	for _, m := range r.Machines {
		switch {
		case empty:
			by[kind{m.Type, "where no machine was before"}]++
		case !slices.Contains(was.Types, m.Type) && len(was.Types) < maxTypes:
			by[kind{m.Type, "a type never seen there"}]++
		case r.More || was.Many || was.ran(r.Name, m.ID) || m.Group != "" && was.has(m.Group):
		case len(s.Tags) >= maxTags || slices.ContainsFunc(m.Tags, func(t string) bool { return s.Tags[numberOf(t)] }):
		default:
			loose[m.Type] = append(loose[m.Type], m.ID)
		}
	}
	gone := was.gone(r)
	for _, of := range slices.Sorted(maps.Keys(loose)) {
		n := len(loose[of])
		replaced := min(gone, n) // as many went as came
		if gone -= replaced; n > replaced {
			by[kind{of, "in no group and with no tag seen before: " + loose[of][0]}] = n - replaced
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(by), func(a, b kind) int { return cmp.Or(cmp.Compare(a.of, b.of), cmp.Compare(a.why, b.why)) }) {
		odd.add(by[k], fmt.Sprintf("%s %d x %.60s (%s)", r.Name, by[k], k.of, k.why))
	}
}

// ran reports whether a machine was there at the last run.
func (r *regionState) ran(region, id string) bool {
	_, ok := slices.BinarySearch(r.Machines, numberOf(region, id))
	return ok
}

// loose reports whether nothing at all tells what a machine belongs to.
func (m *Machine) loose() bool { return m.Group == "" && len(m.Tags) == 0 }

// gone is how many loose machines went since the last run.
func (r *regionState) gone(is *Region) int {
	stay := 0
	for _, m := range is.Machines {
		if m.loose() && r.ran(is.Name, m.ID) {
			stay++
		}
	}
	return max(0, r.Loose-stay)
}

func (r *regionState) has(group string) bool { _, ok := r.Groups[group]; return ok }

// burst finds far more machines than a region ever had. Groups may have as many as they were allowed at the last run, whoever asks.
func (s *fleetState) burst(r *Region, was *regionState, bursts *oddities) {
	now, most := map[string]int{}, 0
	for _, m := range r.Machines {
		now[m.Group]++
	}
	for _, n := range was.Groups {
		most += n
	}
	over := 0
	for group, n := range now {
		over += max(0, n-was.Groups[group])
	}
	least := burstLeast
	if s.Runs < fewest && most > 0 {
		least = burstUnknown
	}
	if over >= max(least, most/2) {
		bursts.add(over, fmt.Sprintf("%s %d, %d more than it and its groups ever had", r.Name, len(r.Machines), over))
	}
}

// learnFleet takes what runs for what was seen. Of an alarm nothing is learnt until it is acknowledged, but for the first sight of a region.
func (w *Watch) learnFleet(right bool) {
	f := w.fleet
	if f == nil {
		return
	}
	s := w.state.Fleet
	if s == nil {
		s = &fleetState{}
		w.state.Fleet = s
	}
	s.Denied = f.Denied
	s.ready()
	for i := range f.Regions {
		r := &f.Regions[i]
		was := s.Regions[r.Name]
		if was == nil && s.Listed && !right || len(s.Regions) >= maxRegions && was == nil {
			continue
		}
		if was == nil {
			was = &regionState{Seen: s.Listed, Keyed: s.Listed}
			s.Regions[r.Name] = was
		}
		switch {
		case r.Failed == "" && (right || !was.Seen):
			s.learn(r, was)
		case r.Failed != "" && w.o.Forgiven:
			was.Seen = false // what was acknowledged may be there
		}
	}
	s.Listed = s.Listed || f.Whole
	if right {
		s.Runs++
	}
}

func (s *fleetState) ready() {
	for _, m := range []*map[uint64]bool{&s.Tags, &s.Keys} {
		if *m == nil {
			*m = map[uint64]bool{}
		}
	}
	if s.Regions == nil {
		s.Regions = map[string]*regionState{}
	}
}

func (s *fleetState) learn(r *Region, was *regionState) {
	was.Seen = true
	was.Keyed = was.Keyed || !r.Unkeyed
	if was.Groups == nil {
		was.Groups = map[string]int{}
	}
	now := map[string]int{}
	was.Loose = 0
	kinds := slices.Clone(r.Types)
	for _, m := range r.Machines {
		if m.loose() {
			was.Loose++
		}
		now[m.Group]++
		kinds = append(kinds, m.Type)
		for _, t := range m.Tags {
			if len(s.Tags) < maxTags {
				s.Tags[numberOf(t)] = true
			}
		}
	}
	slices.Sort(kinds)
	for _, k := range slices.Compact(kinds) {
		if len(was.Types) < maxTypes && !slices.Contains(was.Types, k) {
			was.Types = append(was.Types, k)
		}
	}
	for group, limit := range r.Limits {
		now[group] = max(now[group], limit)
	}
	for group, n := range now {
		if _, ok := was.Groups[group]; ok || len(was.Groups) < maxGroups {
			was.Groups[group] = max(was.Groups[group], n)
		}
	}
	was.Machines, was.Many = nil, r.More || len(r.Machines) > maxMachines
	for _, m := range r.Machines[:min(len(r.Machines), maxMachines)] {
		was.Machines = append(was.Machines, numberOf(r.Name, m.ID))
	}
	slices.Sort(was.Machines)
	for _, k := range r.Keys {
		if len(s.Keys) < maxKeyPairs {
			s.Keys[numberOf(r.Name, k)] = true
		}
	}
}
