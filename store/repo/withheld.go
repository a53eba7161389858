package repo

import (
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// CheckMade reports the points that this machine made and read back in a vault, that are kept beyond now, and that the vault
// does not list: of one source, or of all for none. Whoever controls a vault cannot forge a point, but leave one out.
func CheckMade(listed []Point, made []cache.Made, source string, now time.Time, report Report) {
	there := map[string]bool{}
	for _, p := range listed {
		there[p.Name] = true
	}
	for _, m := range made {
		switch {
		case there[m.Name] || !m.Until.After(now):
		case source == "" || strings.HasPrefix(m.Name, format.PrefixPoints+source+"/"):
			report.send(Missing, m.Name, "this machine made the point and read it back here, it is kept until %s, and the vault does not list it: "+
				"it withholds it or has lost it; read the point from another vault", m.Until.UTC().Format(time.RFC3339))
		}
	}
}

// CheckFollowed reports points that others follow, that cannot be over yet, and that the vault does not list. heads are a
// source's points in one vault, in order of time; those made elsewhere count as well.
//
// A point names what was the newest in each vault when it was made. Where it came to this vault after another point, the
// newest one here was that or a later one, and is among those it names: so where none of these is listed, one has gone. It
// was signed after the point before, and is kept for as long as the source's shortest-kept point at least.
func CheckFollowed(heads []Head, now time.Time, report Report) {
	there := map[format.Hash]bool{}
	least := time.Duration(0)
	for _, h := range heads {
		there[h.ID] = true
		if kept := h.Commit.RetainUntil.Sub(h.SignedAt.Time); least == 0 || kept < least {
			least = kept
		}
	}
	for i, h := range heads[min(1, len(heads)):] {
		before := heads[i]
		if len(h.Commit.Predecessors) == 0 || before.Arrived.After(h.Arrived) || !before.SignedAt.Add(least).After(now) {
			continue
		}
		if !slices.ContainsFunc(h.Commit.Predecessors, func(id format.Hash) bool { return there[id] }) {
			report.send(Missing, format.PrefixPoints+h.Source+"/", "point %s of %s follows %s, which the vault does not list and which cannot be over yet: "+
				"it withholds it or has lost it; read the point from another vault", h.ID, h.Source, h.Commit.Predecessors[0])
		}
	}
}
