// Package rotation says what part of a vault is read again today, so that all of it is read again within a known number of days.
//
// Stored objects have the SHA-256 of their bytes in their names, so the first eight bytes of it are a place on a ring, and the places are
// spread evenly. What was read is remembered as stretches of that ring, each with the day it was last read: a few hundred numbers, whatever
// the number of objects. A turn reads what stands in the stretches that were read longest ago, in order, until the day's budget is used up;
// so no place is read a second time while another has waited longer. What is stored in a stretch after it was read is nobody's reading: it
// counts from when it was stored, and is read when the stretch's turn comes.
//
// What a turn is about to read is noted as spent before it is read, and as read after that. So a turn that is killed, at any step, and begun
// again on the same day never reads more than one day's budget, and never counts as read what was not.
//
// The package knows nothing of vaults, and never writes a file: its caller reads, and keeps the state.
package rotation

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Bounds of what is remembered.
const (
	maxStretches = 512 // of one ring: a round of as many turns. In longer rounds neighbours are taken together, with the earlier day
	maxOwed      = 256 // objects that could not be read, or were wrong, and are tried again in each turn
)

// Place is where an object stands on the ring.
type Place uint64

// PlaceOf is the place of an object by its hash.
func PlaceOf(h format.Hash) Place { return Place(binary.BigEndian.Uint64(h[:8])) }

const lastPlace = Place(math.MaxUint64)

// stretch is a part of the ring, from a place to where the next one begins.
type stretch struct {
	from Place
	read time.Time // when all that stood in it was last read; zero: never
}

// Ring is what was read and when. The zero Ring is one of which nothing was. Times are whole seconds.
type Ring struct {
	stretches []stretch // in order, the first from place 0; no two neighbours of the same time; empty: nothing was read
}

// Read is when what stands at a place was last read; zero: never.
func (r *Ring) Read(p Place) time.Time {
	if i := r.index(p); i >= 0 {
		return r.stretches[i].read
	}
	return time.Time{}
}

// index gives the stretch that a place is in.
func (r *Ring) index(p Place) int {
	i, found := slices.BinarySearchFunc(r.stretches, p, func(s stretch, p Place) int {
		switch {
		case s.from < p:
			return -1
		case s.from > p:
			return 1
		}
		return 0
	})
	if found {
		return i
	}
	return i - 1
}

// last is the last place of a stretch.
func (r *Ring) last(i int) Place {
	if i+1 < len(r.stretches) {
		return r.stretches[i+1].from - 1
	}
	return lastPlace
}

// Mark notes that everything from one place to another, both included, was read.
func (r *Ring) Mark(from, to Place, at time.Time) {
	at = at.UTC().Truncate(time.Second)
	r.whole()
	out := make([]stretch, 0, len(r.stretches)+2)
	for i, s := range r.stretches {
		last := r.last(i)
		if last < from || s.from > to {
			out = append(out, s)
			continue
		}
		if s.from < from {
			out = append(out, s)
		}
		out = append(out, stretch{max(s.from, from), at})
		if last > to {
			out = append(out, stretch{to + 1, s.read})
		}
	}
	r.stretches = bounded(joined(out))
}

// MarkAll notes that everything was read.
func (r *Ring) MarkAll(at time.Time) { r.Mark(0, lastPlace, at) }

// Join takes over what another ring says was read later.
func (r *Ring) Join(o Ring) {
	r.whole()
	o.stretches = slices.Clone(o.stretches)
	o.whole()
	var edges []Place
	for _, s := range append(slices.Clone(r.stretches), o.stretches...) {
		edges = append(edges, s.from)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	out := make([]stretch, len(edges))
	for i, p := range edges {
		out[i] = stretch{p, later(r.Read(p), o.Read(p))}
	}
	r.stretches = bounded(joined(out))
}

// forgetFuture has what was read later than it is now count as never read: the clock was wrong then, or is now.
func (r *Ring) forgetFuture(now time.Time) {
	for i, s := range r.stretches {
		if s.read.After(now.Add(time.Hour)) {
			r.stretches[i].read = time.Time{}
		}
	}
	r.stretches = joined(r.stretches)
}

func (r *Ring) whole() {
	if len(r.stretches) == 0 {
		r.stretches = []stretch{{}}
	}
}

// joined takes neighbours of the same time together.
func joined(in []stretch) []stretch {
	return slices.CompactFunc(in, func(a, b stretch) bool { return a.read.Equal(b.read) })
}

// bounded takes neighbours together until there are no more than may be, those nearest in time first. What they are said to have been read is
// the earlier time: it may cost a reading too many, and never one too few.
func bounded(in []stretch) []stretch {
	for len(in) > maxStretches {
		at, least := 1, time.Duration(math.MaxInt64)
		for i := 1; i < len(in); i++ {
			if apart := in[i].read.Sub(in[i-1].read).Abs(); apart < least {
				at, least = i, apart
			}
		}
		in[at-1].read = earlier(in[at-1].read, in[at].read)
		in = joined(slices.Delete(in, at, at+1))
	}
	return in
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
