package evidence

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Of gives the options for reading the records of a repository in a vault.
func Of(in store.Reader, r *repo.Repository) Options {
	return Options{Vault: in, Repository: r.ID, Key: r.Keys().Reporter, None: !r.Keys().Reporting()}
}

// lastOfEach is how many records of each reporter a listing keeps, whatever the others wrote since: one of them tells of its holds.
const lastOfEach = 16

// Listing is what records there are in a vault, listed once: the newest of all, by when they came, and the newest of each reporter, by its own count.
// Times of several are often the same, and those of a copied folder tell nothing: of one reporter's the count decides. It is not safe for
// concurrent use.
type Listing struct {
	r     *reading
	last  []lying            // the newest of all, in order of arrival
	each  map[string][]lying // the newest of each reporter, in order of its count
	older bool               // there are some that are neither
	told  map[string]bool    // reporters of which a record was read that tells of holds
	holds map[heldBy]Hold
	kept  map[string]int // holds by the reporter that told of them first
}

// List lists the records of a vault and keeps the newest, at most so many. Of Options it needs Vault, Repository and Key, and takes
// Reporter, Report, Gaps and None.
func List(ctx context.Context, o Options, most int) (*Listing, error) {
	l := &Listing{r: &reading{ctx: ctx, o: o}, each: map[string][]lying{}, told: map[string]bool{}, holds: map[heldBy]Hold{}, kept: map[string]int{}}
	if o.None {
		return l, nil
	}
	g := gaps{r: l.r}
	return l, l.r.names(func(versions []store.Info) error {
		id, err := format.ParseRecordName(versions[0].Name)
		if err != nil {
			return nil // junk, of which no signature is checked
		}
		x := lying{id: id, versions: versions}
		g.take(x)
		late := len(l.last) == most && (most == 0 || came(x, l.last[0]) <= 0)
		if kept := l.each[id.Reporter]; late && len(kept) == lastOfEach && counted(x, kept[0]) <= 0 {
			l.older = true // or junk
			return nil
		}
		if _, ok := l.r.signed(versions); !ok {
			return nil
		}
		x.versions = slices.Clone(versions)
		if late {
			l.older = true
		} else {
			more := false
			l.last, more = newest(l.last, x, most, came)
			l.older = l.older || more
		}
		l.each[id.Reporter], _ = newest(l.each[id.Reporter], x, lastOfEach, counted)
		return nil
	})
}

// came puts records in order of arrival, and of one time in order of their reporters' count.
func came(a, b lying) int {
	return cmp.Or(arrived(a.versions).Compare(arrived(b.versions)), counted(a, b))
}

// counted puts records in order of their reporters' count.
func counted(a, b lying) int {
	return cmp.Or(placeOf(a.id).compare(placeOf(b.id)), cmp.Compare(a.versions[0].Name, b.versions[0].Name))
}

// More reports whether there are more than so many records, as far as the listing kept them or knows of others.
func (l *Listing) More(n int) bool { return l.older || len(l.last) > n }

// newest puts a record into a list in order, and drops the oldest where they are too many.
func newest(list []lying, x lying, most int, order func(a, b lying) int) ([]lying, bool) {
	at, _ := slices.BinarySearchFunc(list, x, order)
	if list = slices.Insert(list, at, x); len(list) > most {
		return list[1:], true
	}
	return list, false
}

// inCount gives a list in order of arrival with each reporter's records among themselves in order of its count.
func inCount(list []lying) []lying {
	of := map[string][]lying{}
	for _, x := range list {
		of[x.id.Reporter] = append(of[x.id.Reporter], x)
	}
	for _, some := range of {
		slices.SortFunc(some, counted)
	}
	out := make([]lying, len(list))
	for i, x := range list {
		some := of[x.id.Reporter]
		out[i], of[x.id.Reporter] = some[0], some[1:]
	}
	return out
}

// Latest gives the newest records, the newest first, to each, until that returns false; older says that there are some that were not
// given. Whether the series are whole it does not look at: that is [Read]'s. What cannot be read is reported, and passed by.
func (l *Listing) Latest(each func(Found) bool) (older bool, err error) {
	last := inCount(l.last)
	for batch := 1; len(last) > 0; batch = sideBySide { // often the newest says all
		from := max(len(last)-batch, 0)
		more, err := l.read(last[from:], each)
		if err != nil {
			return false, err
		}
		if !more {
			return l.older, nil
		}
		last = last[:from]
	}
	return l.older, nil
}

// read gives some records, the newest first, and takes note of what they tell of holds.
func (l *Listing) read(some []lying, each func(Found) bool) (more bool, err error) {
	for _, x := range l.r.readAll(some) {
		if x.err != nil && passable(l.r.ctx, x.err) {
			l.r.find(Missing, x.versions[0].Name, "it cannot be read: %v", x.err)
			continue
		}
		if x.err != nil {
			return false, fmt.Errorf("read %s: %w", x.versions[0].Name, x.err)
		}
		f := found(x.id, x.versions, x.version, x.rec)
		l.note(f)
		if !each(f) {
			return false, nil
		}
	}
	return true, nil
}
