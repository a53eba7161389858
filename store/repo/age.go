package repo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Versions of one key can fill pages, which then all begin with that key. Where the page is lost that leads to them nothing but the
// times of the versions tells their order, and where some of the pages are lost nothing at all tells whether newer versions were
// on these. To give an older version as the current one would be worse than to give none.

// inAge gives leaves as a walk around lost pages does, but those that begin with one key, and were found, in the order of the times in
// them. Where these do not tell it, or newer versions may be lost, a *tree.NotNewest comes behind them. lost gives the cause if versions of
// a key can be among what was not found.
func inAge(ctx context.Context, load tree.Load, walk iter.Seq2[format.PageRef, error], lost func(key string) error) iter.Seq2[format.PageRef, error] {
	return func(yield func(format.PageRef, error) bool) {
		a := &aging{ctx: ctx, load: load, missing: lost, yield: yield}
		for ref, err := range walk {
			if !a.take(ref, err) {
				return
			}
		}
		a.flush(nil)
	}
}

// aging holds the leaves that begin with one key.
type aging struct {
	ctx     context.Context
	load    tree.Load
	missing func(key string) error
	yield   func(format.PageRef, error) bool

	seams  int // so far; leaves between two of them are in order
	held   []agingLeaf
	lost   []*tree.Lost // which came among them
	joined bool         // the first of them is in order with the leaf before
	broken bool         // something is lost, or was found, behind the last of them
}

type agingLeaf struct {
	format.PageRef
	seams int
}

// maxHeld bounds the leaves that wait. More versions of one key than that fill are given as they come, and nothing is said of their order.
const maxHeld = 1 << 16

func (a *aging) take(ref format.PageRef, err error) bool {
	lost, isLost := errors.AsType[*tree.Lost](err)
	switch {
	case errors.Is(err, tree.ErrSeam):
		a.seams++
		a.broken = true
		return true
	case isLost && len(a.held) > 0 && lost.From <= a.held[0].First:
		a.lost, a.broken = append(a.lost, lost), true
		return true
	case err != nil:
		a.broken = true
		return a.flush(nil) && a.yield(ref, err)
	case len(a.held) > 0 && len(a.held) < maxHeld && ref.First == a.held[0].First:
		a.held, a.broken = append(a.held, agingLeaf{ref, a.seams}), false
		return true
	case a.seams == 0: // all is as it was written
		return a.yield(ref, nil)
	}
	joined := len(a.held) > 0 && a.held[len(a.held)-1].seams == a.seams
	if !a.flush(&agingLeaf{ref, a.seams}) {
		return false
	}
	a.held, a.joined, a.broken = append(a.held, agingLeaf{ref, a.seams}), joined, false
	return true
}

// flush gives what is held, before the next leaf, if there is any.
func (a *aging) flush(next *agingLeaf) bool {
	if len(a.held) == 0 {
		return true
	}
	runs := a.runs()
	last := &runs[len(runs)-1]
	last.joined = !a.broken && (next == nil || last.leaves[0].seams == next.seams) // next nil: the walk ended, and pages that were read say that nothing follows
	runs[0].begin = a.joined
	known := true // which version is the newest
	if len(runs) > 1 {
		known = sortRuns(runs)
	}
	for _, l := range a.lost {
		if !a.yield(format.PageRef{}, l) {
			return false
		}
	}
	for _, r := range runs {
		for _, leaf := range r.leaves {
			if !a.yield(leaf.PageRef, nil) {
				return false
			}
		}
	}
	doubt := a.doubt(&runs[len(runs)-1], known, next)
	a.held, a.lost = nil, nil
	return doubt == nil || a.yield(format.PageRef{}, doubt)
}

// doubt gives what is to be said of the key with which the last run ends.
func (a *aging) doubt(last *run, known bool, next *agingLeaf) *tree.NotNewest {
	if !known {
		return &tree.NotNewest{Key: a.held[0].First, Err: errOrderLost}
	}
	if last.joined {
		return nil
	}
	key, versions := a.endOf(last)
	if !versions || next != nil && next.First == key {
		return nil
	}
	if why := a.missing(key); why != nil {
		return &tree.NotNewest{Key: key, Err: why}
	}
	return nil
}

// errOrderLost: several pages are full of one key's versions.
var errOrderLost = fmt.Errorf("the page that has the order of its versions is lost, and their times do not tell it: %w", ErrMissing)

// run is leaves that are in order.
type run struct {
	leaves   []agingLeaf
	begin    bool      // a leaf of the keys before is in order with it: no other run comes between
	joined   bool      // likewise one of the keys behind, or the manifest ends with it
	other    bool      // other keys follow on its last leaf
	from, to time.Time // of the first and the last version; zero where that cannot be read
}

// ends reports whether the newest version is in the run, if the tree is one.
func (r run) ends() bool { return r.joined || r.other }

// runs cuts what is held at the seams, and reads where the runs begin and end if there are several.
func (a *aging) runs() (runs []run) {
	for _, leaf := range a.held {
		if n := len(runs); n == 0 || runs[n-1].leaves[0].seams != leaf.seams {
			runs = append(runs, run{})
		}
		r := &runs[len(runs)-1]
		r.leaves = append(r.leaves, leaf)
	}
	if len(runs) == 1 {
		return runs
	}
	key := a.held[0].First
	for i := range runs {
		a.date(&runs[i], key)
	}
	return runs
}

// date reads when the first and the last version of a key on a run's leaves were made. Runs lie behind each other, so that those leaves which can be
// read tell the order of all.
func (a *aging) date(r *run, key string) {
	last := len(r.leaves) - 1
	for i := 0; i <= last && r.from.IsZero(); i++ {
		r.from, _, _ = a.ends(r.leaves[i], key)
	}
	for i := last; i >= 0 && r.to.IsZero(); i-- {
		_, r.to, r.other = a.ends(r.leaves[i], key)
	}
}

// ends gives the times of a leaf's first and last version of a key, and whether other keys follow; zero if it cannot be read.
func (a *aging) ends(leaf agingLeaf, key string) (first, last time.Time, other bool) {
	for e, err := range tree.LeafEntries(a.ctx, a.load, leaf.PageRef) {
		switch {
		case err != nil:
			return time.Time{}, time.Time{}, false
		case e.Key != key:
			return first, last, true
		}
		if last = e.Modified.Time; first.IsZero() {
			first = last
		}
	}
	return first, last, false
}

// endOf gives the last key of a run, and whether there may be more versions of it.
func (a *aging) endOf(r *run) (key string, versions bool) {
	leaf := r.leaves[len(r.leaves)-1]
	key = leaf.First
	for e, err := range tree.LeafEntries(a.ctx, a.load, leaf.PageRef) {
		if err != nil {
			break // whoever reads it says so
		}
		key, versions = e.Key, e.Versioned()
	}
	return key, versions
}

// sortRuns puts runs in order of age, and reports whether the newest version of their key is known to be in the last one.
func sortRuns(runs []run) (known bool) {
	rank := func(r run) int {
		switch {
		case r.begin:
			return 0
		case r.ends():
			return 2
		}
		return 1
	}
	slices.SortStableFunc(runs, func(x, y run) int {
		if d := rank(x) - rank(y); d != 0 {
			return d
		}
		return x.from.Compare(y.from)
	})
	last := runs[len(runs)-1]
	before := runs[len(runs)-2]
	if last.ends() {
		return !before.ends() // else they are not of one tree
	}
	for _, r := range runs[:len(runs)-1] {
		if !r.begin && (last.from.IsZero() || r.to.IsZero() || !r.to.Before(last.from)) {
			return false
		}
	}
	return true
}
