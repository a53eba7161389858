package evidence

import (
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxOdd is how many names that stand where none should are looked at closely in one listing: more are somebody's junk.
const maxOdd = 4096

// gaps finds, along the names of a listing, numbers of a series that nothing has or that two records have. Only a name that is odd there has
// its signature checked, so that a listing stays cheap: junk can hide a gap from it, and never from [Read] or [Names].
type gaps struct {
	r    *reading
	last lying // of the series; with number -1 where nothing of it was seen
	odd  int
}

// take takes the next name in order.
func (g *gaps) take(x lying) {
	if g.r.o.Gaps == nil {
		return
	}
	if len(g.last.versions) == 0 || g.last.id.Reporter != x.id.Reporter || !g.last.id.Series.Equal(x.id.Series.Time) {
		g.last = lying{id: format.RecordID{Reporter: x.id.Reporter, Series: x.id.Series, Number: -1}}
	}
	gap := x.id.Number - g.last.id.Number
	if gap != 1 && !g.genuine(x) {
		return
	}
	switch {
	case gap == 0 && !g.genuine(g.last):
	case gap == 0:
		g.find(Forked, x, "number %d is there twice", x.id.Number)
	case gap == 2:
		g.find(Missing, x, "number %d before it is not there", x.id.Number-1)
	case gap > 2:
		g.find(Missing, x, "numbers %d to %d before it are not there", g.last.id.Number+1, x.id.Number-1)
	}
	g.last = lying{id: x.id, versions: []store.Info{x.versions[len(x.versions)-1]}} // what says when it came
}

// genuine reports whether a key of the repository signed the name.
func (g *gaps) genuine(x lying) bool {
	if g.odd++; g.odd > maxOdd {
		return false
	}
	_, ok := g.r.signed(x.versions)
	return ok
}

func (g *gaps) find(kind FindingKind, x lying, detail string, args ...any) {
	g.r.o.Gaps(finding(kind, x.versions[0].Name, detail, args...))
}
