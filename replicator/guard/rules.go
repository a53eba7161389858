package guard

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// locked: content that could be read and was encrypted with keys of somebody else's.
func (j *judging) locked() []Finding {
	c := &j.content.locked
	if c.n == 0 || !j.much(c.n, 1, 20) && c.n < 5 {
		return nil
	}
	text := fmt.Sprintf("%d objects that could be read need keys of somebody else's now (SSE-C, or a KMS key that is not to be used)", c.n)
	return []Finding{{Rule: ForeignKeys, Hard: true, Count: c.n, Text: with(text, c.keys), Examples: c.keys}}
}

const (
	fewGone  = 100  // entries of a group, below which nothing is said of it
	agedMost = 0.15 // of what stays may be as old as what went
)

// deleted: more than half of an extension or a folder gone, or much of all, with what is recent.
func (j *judging) deleted() (out []Finding) {
	l := &j.listing
	if j.usualDeletions() {
		return nil
	}
	worst := func(what string, gs map[string]*group, scope func(*group) *ages) {
		var most *group
		for _, name := range slices.Sorted(maps.Keys(gs)) {
			g := gs[name]
			if n := g.net(); n >= fewGone && n*2 > j.had(g) && !old(g.erased, scope(g)) && (most == nil || n > most.net()) {
				most = g
			}
		}
		if most != nil {
			text := fmt.Sprintf("%.0f of %.0f entries %s are gone", most.net(), j.had(most), fmt.Sprintf(what, most.name))
			out = append(out, Finding{Rule: Deleted, Hard: true, Count: int64(most.net()), Text: with(text, l.lost.keys), Examples: l.lost.keys})
		}
	}
	all := func(*group) *ages { return l.all.ages }
	own := func(g *group) *ages {
		if g.listed-g.added >= 20 {
			return g.ages
		}
		return l.all.ages
	}
	if n := j.net; n >= fewGone && n*4 >= float64(j.before) && !old(l.all.erased, l.all.ages) {
		out = append(out, Finding{Rule: Deleted, Hard: true, Count: int64(n), Text: with(fmt.Sprintf("%.0f of %d entries are gone", n, j.before), l.lost.keys), Examples: l.lost.keys})
		return out
	}
	if worst("with the extension %q", l.exts.by, own); len(out) == 0 {
		worst("below %q", l.ones.by, all)
	}
	if len(out) == 0 {
		worst("below %q", l.twos.by, func(g *group) *ages { one, _ := prefixes(g.name); return cmp.Or(l.ones.by[one], &l.all).ages })
	}
	if len(out) == 0 && j.net >= floor && j.net >= share*float64(j.before) && l.all.erased.younger(l.all.ages.quantile(0.5)) >= 0.3 {
		text := fmt.Sprintf("of %.0f entries that are gone many are recent, so that this is no clearing out of what is old", j.net)
		out = append(out, Finding{Rule: Recent, Count: int64(j.net), Text: with(text, l.lost.keys), Examples: l.lost.keys})
	}
	return out
}

// had is how many entries a group had. What delete markers hide is listed still.
func (j *judging) had(g *group) float64 {
	if j.listing.markers > 0 {
		return float64(g.listed - g.added)
	}
	return float64(g.listed - g.added + g.erase)
}

// usualDeletions reports whether about as much goes in most runs.
func (j *judging) usualDeletions() bool {
	var runs []Amounts
	for _, r := range j.state.Runs {
		if !r.Alarm {
			runs = append(runs, r)
		}
	}
	if len(runs) < fewest {
		return false
	}
	z, usual := deviation(runs, func(a Amounts) int64 { return a.Deleted }, j.t.Deleted)
	return z < 1 || usual*2 > j.t.Deleted
}

// old reports whether what went, but for some of it, was older than nearly all of what stays: what is over is cleared out like
// that. What is of today is never old.
func old(went, stays *ages) bool {
	step := went.quantile(0.25)
	return step >= int(stepOf(20*time.Hour)) && stays.older(step) <= agedMost
}

// younger gives the share of what is counted that is younger than a step.
func (a *ages) younger(step int) float64 {
	if a == nil {
		return 0
	}
	return 1 - a.older(step)
}

// renamed: names with a suffix over noise, or over what there was; and noise under an extension that nothing had.
func (j *judging) renamed() (out []Finding) {
	n := j.scaled(j.taken)
	suffix, most := "", int64(0)
	for _, s := range slices.Sorted(maps.Keys(j.suffixes)) {
		if c := j.suffixes[s]; c > most {
			suffix, most = s, c
		}
	}
	behind := "another extension"
	if suffix != "" {
		behind = fmt.Sprintf("%.80q behind the name", suffix)
	}
	if n >= 20 && (j.much(n, 20, 50) || n >= 100) {
		out = append(out, Finding{Rule: Renamed, Hard: true, Count: n, Text: fmt.Sprintf("%d entries are noise under another name, mostly with %s, in %s", n, behind, folders(len(j.places)))})
	}
	if c := j.scaled(j.copied); suffix != "" && c >= 50 && j.much(c, 50, 50) && len(j.places) >= 3 && most*5 >= (j.copied+j.taken)*4 {
		out = append(out, Finding{Rule: Renamed, Hard: true, Count: c, Text: fmt.Sprintf("%d entries have other names, with %s, in %s", c, behind, folders(len(j.places)))})
	}
	if s := j.strange; s >= 20 && j.much(s, 20, 50) && len(j.where) >= 3 && j.net*2 >= float64(s) {
		out = append(out, Finding{Rule: NewExtension, Hard: true, Count: s, Text: fmt.Sprintf("%d new entries are noise with the extension %q, which nothing had before, in %s, and %.0f others are gone", s, j.odd, folders(len(j.where)), j.net)})
	}
	return out
}

func folders(n int) string {
	if n == 1 {
		return "1 folder"
	}
	return fmt.Sprintf("%d folders", n)
}

// slowDays is over how many days small numbers are added up.
const slowDays = 7

// rewritten: content that was none and is noise now, at once or, unless another rule told of today's, over some days; and noise that was put in the place of noise, of the same length.
func (j *judging) rewritten(spoilt int64, told bool) (out []Finding) {
	c := &j.content
	if n := c.turned.n; n >= 5 && j.much(n, 5, 33) || n >= 200 {
		text := fmt.Sprintf("%d of %d entries look like chance now, as what is encrypted does, and did not before", n, j.before)
		out = append(out, Finding{Rule: Rewritten, Hard: true, Count: n, Text: with(text, c.turned.keys), Examples: c.turned.keys})
	} else if sum := spoilt + j.state.spoilt(j.o.Now, slowDays); spoilt > 0 && !told && sum >= 10 && j.much(sum, 10, 40) {
		text := fmt.Sprintf("%d of %d entries turned into noise within %d days, %d of them since the last run", sum, j.before, slowDays, spoilt)
		out = append(out, Finding{Rule: Slowly, Hard: true, Count: sum, Text: with(text, c.turned.keys), Examples: c.turned.keys})
	}
	var most, delta int64
	for _, d := range slices.Sorted(maps.Keys(c.deltas)) {
		if n := c.deltas[d]; n > most {
			most, delta = n, d
		}
	}
	if most*5 >= c.again*4 && j.much(most, 20, 33) {
		text := fmt.Sprintf("%d entries of what is compressed or encrypted were replaced as a whole, each by as many bytes", most)
		if delta != 0 {
			text = fmt.Sprintf("%d entries of what is compressed or encrypted were replaced as a whole, each by %d bytes more", most, delta)
		}
		out = append(out, Finding{Rule: SameLength, Count: most, Text: text})
	}
	return out
}

// moved: most of all in another storage class at once.
func (j *judging) moved() []Finding {
	if n := j.listing.classes; n >= fewGone && n*2 > j.before {
		return []Finding{{Rule: Classes, Hard: true, Count: n, Text: fmt.Sprintf("%d of %d objects are in another storage class", n, j.before)}}
	}
	return nil
}
