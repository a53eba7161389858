package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
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

// CheckFollowed reports points that others follow, that are not over, and that the vault does not list. heads are points of
// one source whose commits were read, in order of time; listed are all of it that the vault lists.
//
// A point names what was the newest in each vault when it was made. Where it came to this vault after another point, the
// newest one here was that or a later one, and is among those it names: so where none of these is listed, one has gone.
func CheckFollowed(heads []Head, listed []Point, now time.Time, report Report) {
	there := idsOf(listed)
	for _, h := range heads {
		earlier := func(p Point) bool { return p.SignedAt.Before(h.SignedAt.Time) && !p.Arrived.After(h.Arrived) }
		gone := func(p format.Predecessor) bool { return !there[p.ID] && p.RetainUntil.After(now) }
		if before := h.Commit.Predecessors; len(before) == 0 || !slices.ContainsFunc(listed, earlier) ||
			slices.ContainsFunc(before, func(p format.Predecessor) bool { return !gone(p) }) {
			continue
		}
		report.send(Missing, format.PrefixPoints+h.Source+"/", "point %s of %s follows %s, which the vault does not list and which is kept until %s: "+
			"it withholds it or has lost it; read the point from another vault", h.ID, h.Source, h.Commit.Predecessors[0].ID, h.Commit.Predecessors[0].RetainUntil.UTC().Format(time.RFC3339))
	}
}

// CheckListed reports the points of a source that its newest point lists as being in this vault, that are not over, and that
// the vault does not list.
func CheckListed(earlier Earlier, listed []Point, vault, source string, now time.Time, report Report) {
	there := idsOf(listed)
	for id, line := range earlier {
		if there[id] || !line.RetainUntil.After(now) || !slices.Contains(line.Vaults, vault) {
			continue
		}
		report.send(Missing, format.PrefixPoints+source+"/"+line.Key(), "a later point says that the point was here, it is kept until %s, and the vault does not list it: "+
			"it withholds it or has lost it; read the point from another vault", line.RetainUntil.UTC().Format(time.RFC3339))
	}
}

func idsOf(points []Point) map[format.Hash]bool {
	ids := make(map[format.Hash]bool, len(points))
	for _, p := range points {
		ids[p.ID] = true
	}
	return ids
}

// Earlier is what a points list says, by ID.
type Earlier map[format.Hash]format.PointLine

// maxEarlier bounds the memory that a points list can take; a point an hour for a century is less.
const maxEarlier = 1 << 20

// ReadEarlier reads a points list.
func ReadEarlier(ctx context.Context, load tree.Load, root format.PageRef) (Earlier, error) {
	if root.Entries > maxEarlier {
		return nil, fmt.Errorf("list of %d points: %w", root.Entries, format.ErrBounds)
	}
	out := make(Earlier, root.Entries)
	for p, err := range tree.Points(ctx, load, root, nil) {
		if err != nil {
			return nil, fmt.Errorf("read the list of earlier points: %w", err)
		}
		out[p.ID] = p
	}
	return out, nil
}
