package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Told are the points of one vault that were reported as not listed: of what the looks below find each is told once, by the first that
// finds it. nil remembers nothing.
type Told map[format.Hash]bool

// first reports whether none of these points was told, and notes them all: a point that another follows may be one of several.
func (t Told) first(ids ...format.Hash) bool {
	if slices.ContainsFunc(ids, func(id format.Hash) bool { return t[id] }) {
		return false
	}
	for _, id := range ids {
		if t != nil {
			t[id] = true
		}
	}
	return true
}

// CheckMade reports the points that this machine made and read back in a vault, that are kept beyond now, and that the vault
// does not list: of one source, or of all for none. Whoever controls a vault cannot forge a point, but leave one out.
func CheckMade(listed []Point, made []cache.Made, source string, now time.Time, told Told, report Report) {
	there := map[string]bool{}
	for _, p := range listed {
		there[p.Name] = true
	}
	for _, m := range made {
		switch {
		case there[m.Name] || !m.Until.After(now):
		case source == "" || strings.HasPrefix(m.Name, format.PrefixPoints+source+"/"):
			if id, err := format.ParsePointName(m.Name); err == nil && !told.first(id.ID) {
				continue
			}
			report.send(Missing, m.Name, "this machine made the point and read it back here, it is kept until %s, and the vault does not list it: "+
				"it withholds it or has lost it; read the point from another vault", m.Until.UTC().Format(time.RFC3339))
		}
	}
}

// checkFollowed reports points that others follow, that are not over, and that the vault does not list. heads are points of
// one source whose commits were read, in order of time; listed are all of it that the vault lists.
//
// A point names what was the newest in each vault when it was made. Where it came to this vault after another point, the
// newest one here was that or a later one, and is among those it names: so where none of these is listed, one has gone.
func checkFollowed(heads []Head, listed []Point, now time.Time, told Told, report Report) {
	there := idsOf(listed)
	for _, h := range heads {
		earlier := func(p Point) bool { return p.SignedAt.Before(h.SignedAt.Time) && !p.Arrived.After(h.Arrived) }
		gone := func(p format.Predecessor) bool { return !there[p.ID] && p.RetainUntil.After(now) }
		if before := h.Commit.Predecessors; len(before) == 0 || !slices.ContainsFunc(listed, earlier) ||
			slices.ContainsFunc(before, func(p format.Predecessor) bool { return !gone(p) }) {
			continue
		}
		var ids []format.Hash
		for _, p := range h.Commit.Predecessors {
			ids = append(ids, p.ID)
		}
		if !told.first(ids...) {
			continue
		}
		report.send(Missing, format.PrefixPoints+h.Source+"/", "point %s of %s follows %s, which the vault does not list and which is kept until %s: "+
			"it withholds it or has lost it; read the point from another vault", h.ID, h.Source, h.Commit.Predecessors[0].ID, h.Commit.Predecessors[0].RetainUntil.UTC().Format(time.RFC3339))
	}
}

// checkListed reports the points of a source that its newest point lists as being in this vault, that are not over, and that
// the vault does not list. names are what runs call the vault: more than one where nobody says which holds now.
func checkListed(earlier Earlier, listed []Point, names []string, source string, now time.Time, told Told, report Report) {
	for _, line := range unlisted(earlier, listed, now) {
		if told[line.ID] || !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(line.Vaults, name) }) {
			continue
		}
		told.first(line.ID)
		report.send(Missing, format.PrefixPoints+source+"/"+line.Key(), "a later point says that the point was here, it is kept until %s, and the vault does not list it: "+
			"it withholds it or has lost it; read the point from another vault", line.RetainUntil.UTC().Format(time.RFC3339))
	}
}

// CheckLost reports the points that a vault had before it was begun anew, as this machine remembers, and that are kept beyond now: of one source,
// or of all for none, and those that are not listed.
func CheckLost(listed []Point, lost []cache.Made, source string, now time.Time, told Told, report Report) {
	there := idsOf(listed)
	for _, m := range lost {
		id, err := format.ParsePointName(m.Name)
		if err != nil || source != "" && id.Source != source || !m.Until.After(now) || there[id.ID] || !told.first(id.ID) {
			continue
		}
		report.send(Missing, m.Name, "this machine made the point and read it back here before the vault was begun anew, it is kept until %s, and it is lost here: "+
			"read the point from another vault", m.Until.UTC().Format(time.RFC3339))
	}
}

// unlisted gives the points of a list that are not over and that a vault does not list.
func unlisted(earlier Earlier, listed []Point, now time.Time) (out []format.PointLine) {
	there := idsOf(listed)
	for id, line := range earlier {
		if !there[id] && line.RetainUntil.After(now) {
			out = append(out, line)
		}
	}
	return out
}

// CheckListed reports the points that a list tells of and that a vault does not list. vault is what runs call the vault, from a configuration; a reader without one
// goes by the names under which the vault has placements, which are looked at only where a point is not listed. A vault without any
// cannot be told from one that never had these points: that is reported too.
func (r *Repository) CheckListed(ctx context.Context, in store.Reader, earlier Earlier, listed []Point, vault, source string, now time.Time, told Told, report Report) error {
	if format.ValidName(vault) {
		checkListed(earlier, listed, []string{vault}, source, now, told, report)
		return nil
	}
	away := unlisted(earlier, listed, now)
	if len(away) == 0 {
		return nil
	}
	names, err := r.VaultNames(ctx, in)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		report.send(Missing, format.PrefixPlacements, "a later point of %s lists %d that are kept and that this vault does not list, and no placements here tell what runs call the vault: "+
			"it cannot be known whether it withholds them, has lost them, or never had them; read it with its configuration", source, len(away))
	}
	checkListed(earlier, listed, names, source, now, told, report)
	return nil
}

// VaultNames gives what runs have called a vault: the names under which it has placements that a key of the repository signed. It costs
// a listing, and junk no more than that.
func (r *Repository) VaultNames(ctx context.Context, in store.Reader) ([]string, error) {
	var names []string
	for info, err := range in.Versions(ctx, format.PrefixPlacements, "") {
		if err != nil {
			return nil, fmt.Errorf("list placements: %w", err)
		}
		id, err := format.ParsePlacementsName(info.Name)
		if err != nil || slices.Contains(names, id.Vault) {
			continue
		}
		if ok, distrusted := r.Trust().signed(placementsSignature(r, id), info.Modified); ok && !distrusted {
			names = append(names, id.Vault)
		}
	}
	return names, nil
}

func idsOf(points []Point) map[format.Hash]bool {
	ids := make(map[format.Hash]bool, len(points))
	for _, p := range points {
		ids[p.ID] = true
	}
	return ids
}

// Withheld is what is known of points that a vault has to list.
type Withheld struct {
	In     store.Reader
	Page   tree.Load    // reads pages of the vault
	Vault  string       // what runs call it; empty: not known
	Listed []Point      // all that it lists
	Read   []Head       // those of them whose commits were read, in order of time
	Made   []cache.Made // what this machine made there
	Lost   []cache.Made // and what it had made there before the vault was begun anew
	Now    time.Time
	Unread func(Head, error) // is told of the newest point of a source whose list cannot be read; may be nil
}

// CheckAllListed reports the points of all sources that are kept and that a vault does not list: as this machine remembers, as points
// name those before them, and as the list of the newest point of each source says that is trusted and came in time.
func (r *Repository) CheckAllListed(ctx context.Context, w Withheld, report Report) error {
	told := Told{}
	CheckMade(w.Listed, w.Made, "", w.Now, told, report)
	listed, read := map[string][]Point{}, map[string][]Head{}
	for _, p := range w.Listed {
		listed[p.Source] = append(listed[p.Source], p)
	}
	for _, h := range w.Read {
		if !h.Distrusted {
			read[h.Source] = append(read[h.Source], h)
		}
	}
	for source, heads := range read {
		if err := r.checkEarlier(ctx, w, source, heads, listed[source], told, report); err != nil {
			return err
		}
		checkFollowed(heads, listed[source], w.Now, told, report)
	}
	CheckLost(w.Listed, w.Lost, "", w.Now, told, report)
	return nil
}

// checkEarlier reports what the newest point of a source lists, and the vault does not.
func (r *Repository) checkEarlier(ctx context.Context, w Withheld, source string, heads []Head, listed []Point, told Told, report Report) error {
	h, ok := newestInTime(heads)
	if !ok {
		return nil
	}
	earlier, err := ReadEarlier(ctx, w.Page, h.Commit.Points)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if w.Unread != nil {
			w.Unread(h, err)
		}
		return nil
	}
	return r.CheckListed(ctx, w.In, earlier, listed, w.Vault, source, w.Now, told, report)
}

// newestInTime gives the last point that is not late.
func newestInTime(heads []Head) (h Head, ok bool) {
	for _, h := range slices.Backward(heads) {
		if !h.Late {
			return h, true
		}
	}
	return h, false
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
