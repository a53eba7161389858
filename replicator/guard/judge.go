package guard

import (
	"fmt"
	"strings"
)

// Rule is a short, stable name of what was found.
type Rule string

// The rules. docs/guard.md says of each what it looks for.
const (
	Tripwire     Rule = "tripwire"
	ForeignKeys  Rule = "foreign-keys"
	Deleted      Rule = "deleted"
	Renamed      Rule = "renamed"
	NewExtension Rule = "new-extension"
	Rewritten    Rule = "rewritten"
	Slowly       Rule = "slowly"
	Bucket       Rule = "bucket"
	Classes      Rule = "storage-class"
	Machines     Rule = "machines"
	Launches     Rule = "launches"
	KeyPairs     Rule = "key-pairs"

	Recent     Rule = "recent-deleted" // these three are signals: it takes two kinds of them
	SameLength Rule = "same-length"
	Unusual    Rule = "amounts"
)

// Finding is one thing that was found, with its evidence.
type Finding struct {
	Rule     Rule
	Hard     bool     // an alarm by itself; else it takes two of different rules
	Count    int64    // of entries it is about; 0: of none
	Text     string   // one sentence for people, which may hold names
	Examples []string // keys, a few
	Again    bool     // the last run found it too: it is of what stays so, not of what changed
}

// Totals are what the run came to.
type Totals struct {
	Entries, Bytes          int64 // of the new point
	Added, Changed, Deleted int64
	Fresh                   int64 // bytes that were stored for the first time
}

// Verdict is what comes of a run.
type Verdict struct {
	Alarm    bool
	Findings []Finding // that made the alarm or, without one, single signals
}

// Judge says what was found, and takes the run into the state. open says that an earlier alarm stands: such runs are no
// example of what is usual.
func (w *Watch) Judge(t Totals, open bool) Verdict {
	t.Added, t.Deleted = t.Added-w.listing.markers, t.Deleted+w.listing.markers-w.passed // what markers hide is gone for who looks
	now := Amounts{At: w.o.Now, Added: t.Added, Changed: t.Changed, Deleted: t.Deleted, Bytes: t.Fresh}
	if w.o.First {
		v := w.verdict(w.wires())
		w.settle(now, v, open, true)
		return v
	}
	j := w.newJudging(t)
	now.Spoilt = w.content.turned.n + j.scaled(j.taken) + j.strange
	found := w.wires()
	found = append(found, j.locked()...)
	found = append(found, j.deleted()...)
	renamed := j.renamed()
	found = append(found, renamed...)
	found = append(found, j.rewritten(now.Spoilt, len(renamed) > 0)...)
	found = append(found, j.moved()...)
	found = append(found, j.set()...)
	found = append(found, j.foreign()...)
	found = append(found, w.machines()...)
	if what := unusualAmounts(w.state.Runs, now, t); len(what) > 0 {
		found = append(found, Finding{Rule: Unusual, Text: "amounts are unusual: " + strings.Join(what, "; ")})
	}
	v := w.verdict(found)
	w.settle(now, v, open, false)
	return v
}

// verdict makes an alarm of one hard finding, or of two signals.
func (w *Watch) verdict(found []Finding) Verdict {
	v := Verdict{Findings: found}
	kinds := map[Rule]bool{}
	for _, f := range found {
		v.Alarm = v.Alarm || f.Hard
		kinds[f.Rule] = true
	}
	v.Alarm = v.Alarm || len(kinds) > 1
	return v
}

// settle takes a run into the state.
func (w *Watch) settle(now Amounts, v Verdict, open, first bool) {
	now.Alarm = v.Alarm || open
	if w.bucket != nil {
		w.state.Lately = w.bucket
	}
	if !first {
		w.state.Runs = append(w.state.Runs, now)
	}
	if !now.Alarm {
		w.state.learn(w.content.seen)
	}
	if !now.Alarm || w.o.Forgiven {
		w.learnBucket()
	}
	w.learnFleet(!now.Alarm || w.o.Forgiven)
	w.learnPassing()
}

func (w *Watch) wires() []Finding {
	n := w.listing.touched.n + w.content.touched.n
	if n == 0 {
		return nil
	}
	keys := append(w.listing.touched.keys, w.content.touched.keys...)
	return []Finding{{Rule: Tripwire, Hard: true, Count: n, Text: fmt.Sprintf("a tripwire was touched: %s", quoted(keys)), Examples: keys}}
}

// judging is what is known at the end of a run.
type judging struct {
	*Watch
	t        Totals
	before   int64   // entries of content that there were
	net      float64 // what is gone and is not found elsewhere
	taken    int64   // of the sample of pairs: the new one is noise
	copied   int64   // .. or has the same content
	suffixes map[string]int64
	places   map[uint64]bool // folders of taken and copied
	replaced map[uint64]bool // keys that are gone for one that its name fits
	strange  int64           // new entries that are noise under an extension there was not
	where    map[uint64]bool // their folders
	odd      string          // the extension that most of them have
}

func (w *Watch) newJudging(t Totals) *judging {
	j := &judging{Watch: w, t: t, suffixes: map[string]int64{}, places: map[uint64]bool{}, replaced: map[uint64]bool{}, where: map[uint64]bool{}}
	j.before = int64(j.had(&w.listing.all))
	j.pairUp()
	j.account()
	j.strangers()
	return j
}

// pairUp looks at what came in the place of what went.
func (j *judging) pairUp() {
	for key, p := range j.listing.pairs.of {
		m, ok := j.content.made.of[key]
		if !ok {
			continue
		}
		switch {
		case p.sum != 0 && m.sum == p.sum && dated(p.suffix):
			j.replaced[p.old] = true // rotated
		case p.sum != 0 && m.sum == p.sum:
			j.replaced[p.old] = true
			if p.suffix != "" {
				j.copied++
				j.suffixes[p.suffix]++
				j.places[p.folder] = true
			}
		case m.noise && m.size >= p.size && m.size <= p.size+p.size/50+64<<10:
			j.taken++
			j.suffixes[p.suffix]++
			j.places[p.folder] = true
		case m.fitting || m.packed || m.told && !m.noise:
			j.replaced[p.old] = true
		}
	}
}

// account finds what is gone in another place, and so how much of each group is gone for good.
func (j *judging) account() {
	here := func(d dropped, sum uint64) bool { return j.content.sums.of[sum] || j.replaced[d.key] }
	for sum, d := range j.listing.dropped.of {
		found := here(d, sum)
		for _, g := range [...]*group{&j.listing.all, d.ext, d.one, d.two} {
			if g != nil {
				g.sampled++
				if found {
					g.accounted++
				}
			}
		}
	}
	j.net = j.listing.all.net()
}

// net is how much of a group is gone for good.
func (g *group) net() float64 {
	if g.sampled == 0 {
		return float64(g.erase)
	}
	return float64(g.erase) * float64(g.sampled-g.accounted) / float64(g.sampled)
}

// strangers counts new entries of extensions that there were not.
func (j *judging) strangers() {
	by := map[string]int64{}
	for _, m := range j.content.made.of {
		if !m.noise || m.ext == "" || j.state.Kinds[m.ext] != nil {
			continue
		}
		if g := j.listing.exts.by[m.ext]; g != nil && g.listed-g.added+g.erase > 0 {
			continue
		}
		by[m.ext]++
		j.where[m.folder] = true
		if by[m.ext] > by[j.odd] {
			j.odd = m.ext
		}
	}
	j.strange = int64(float64(by[j.odd]) * j.content.made.scale())
	if j.taken > 0 {
		j.strange = max(0, j.strange-j.scaled(j.taken)) // the same ones
	}
}

// scaled gives the number in the whole of what was counted in the sample of pairs.
func (j *judging) scaled(n int64) int64 { return int64(float64(n) * j.listing.pairs.scale()) }

// much reports whether a number is one in so many of all entries, and at least some.
func (j *judging) much(n, some int64, oneIn int64) bool { return n >= some && n*oneIn >= j.before }

func quoted(keys []string) string {
	var out []string
	for _, k := range keys {
		out = append(out, fmt.Sprintf("%.200q", k))
	}
	return strings.Join(out, ", ")
}

// with puts examples behind a sentence.
func with(text string, x []string) string {
	if len(x) == 0 {
		return text
	}
	return text + "; the first are " + quoted(x)
}
