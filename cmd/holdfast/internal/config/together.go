package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
)

// together checks what only shows when the whole file is known: names that refer to nothing, one place used twice, locks
// longer than their ceiling.
func (r *reader) together() {
	r.places()
	for i := range r.config.Sources {
		r.resolveVaults(i)
	}
	for _, v := range r.config.Vaults {
		r.ceiling(v, "", r.config.Retention)
		for i, s := range r.config.Sources {
			if r.at.keep[s.Name] != nil && slices.Contains(s.Vaults, v.Name) {
				r.ceiling(v, fmt.Sprintf("sources[%d].", i), s.Retention)
			}
		}
	}
}

// places refuses a vault that is another vault, or that lies in a source or the other way round.
func (r *reader) places() {
	vaults := r.config.Vaults
	for i, v := range vaults {
		for _, o := range vaults[:i] {
			if v.URL.Same(o.URL) {
				r.problem(r.at.vaults[v.Name].url, "vaults %q and %q are the same place; a second copy needs another", o.Name, v.Name)
			}
		}
		for j, s := range r.config.Sources {
			if v.URL.Overlaps(s.URL) {
				r.problem(r.at.sources[j].url, "source %q and vault %q overlap; a copy beside what it copies protects nothing", s.Name, v.Name)
			}
		}
	}
}

func (r *reader) resolveVaults(i int) {
	s := &r.config.Sources[i]
	if s.Vaults == nil {
		for _, v := range r.config.Vaults {
			s.Vaults = append(s.Vaults, v.Name)
		}
		return
	}
	var names []string
	for _, v := range r.config.Vaults {
		names = append(names, v.Name)
	}
	for j, name := range s.Vaults {
		n := r.at.sources[i].vaults[j]
		if !slices.Contains(names, name) {
			r.problem(n, "sources[%d].vaults: there is no vault %q; the nearest is %q", i, clip(name), nearest(name, names))
		}
		if slices.Contains(s.Vaults[:j], name) {
			r.problem(n, "sources[%d].vaults names %q twice", i, name)
		}
	}
}

// ceiling refuses a retention that a vault's own ceiling would stop in the middle of a run.
func (r *reader) ceiling(v Vault, source string, keep retain.Policy) {
	if !v.URL.Locks() {
		return
	}
	locked := longestDays(func(t time.Time) time.Time { return v.Lock.Slack.AddTo(t.Add(retain.Longest(keep, t))) })
	if locked <= longestDays(v.Lock.Ceiling.AddTo) {
		return
	}
	kept := longestDays(func(t time.Time) time.Time { return t.Add(retain.Longest(keep, t)) })
	r.problem(r.at.vaults[v.Name].ceiling, "%sretention keeps points for up to %d days; with the slack of %s that is a lock of %d, over the ceiling of %s of vault %q; "+
		"set its lock.ceiling to %dd if that is meant (a lock cannot be taken back), or keep points for less",
		source, kept, v.Lock.Slack, locked, v.Lock.Ceiling, v.Name, locked)
}

// longestDays is the most whole days that lie between a moment and what add makes of it, whenever that is: months and
// years differ in length.
func longestDays(add func(time.Time) time.Time) int {
	const day = 24 * time.Hour
	longest := 0
	start := time.Date(2096, 1, 1, 0, 0, 0, 0, time.UTC) // leap years and a century year without one lie ahead
	for range 9 * 12 {
		longest = max(longest, int((add(start).Sub(start)+day-1)/day))
		start = start.AddDate(0, 1, 0)
	}
	return longest
}
