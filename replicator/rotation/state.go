package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// State is what is remembered of one vault. Reading bytes and asking for locks are rotations of their own; where bytes are read, the lock is
// asked for as well.
type State struct {
	Bytes Ledger `json:"bytes"`
	Locks Ledger `json:"locks"`
	Of    string `json:"of,omitempty"` // which vault, as the caller tells vaults apart; empty: it was not said
}

// Ledger is what is remembered of one rotation.
type Ledger struct {
	Ring Ring   `json:"ring"`
	Owed []Debt `json:"owed,omitempty"` // in order of name

	Day   string  `json:"day,omitempty"`   // the day of UTC that Spent and Used are of
	Spent int64   `json:"spent,omitempty"` // bytes, or requests, that were read or were about to be
	Used  float64 `json:"used,omitempty"`  // seconds

	Done int64   `json:"done,omitempty"` // what was read in Took seconds, lately: the rate
	Took float64 `json:"took,omitempty"`
}

// Debt is an object whose turn came and that could not be read, or was not what it has to be. It is tried in each turn.
type Debt struct {
	Name  string `json:"name"`
	Since int64  `json:"since"` // when it was last read and right, in seconds of Unix time; 0: never
}

func (d Debt) since() time.Time {
	if d.Since == 0 {
		return time.Time{}
	}
	return time.Unix(d.Since, 0).UTC()
}

// ErrState: bytes that are no state of a rotation.
var ErrState = errors.New("no state of a rotation")

// maxState bounds what is read.
const maxState = 256 << 10

// Encode gives a state as JSON on one line.
func (s *State) Encode() ([]byte, error) { return json.Marshal(s) }

// Decode reads a state, and has what it says of the future count as never said.
func Decode(b []byte, now time.Time) (*State, error) {
	s := &State{}
	if len(b) > maxState {
		return nil, fmt.Errorf("%w: %d bytes", ErrState, len(b))
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	for _, l := range []*Ledger{&s.Bytes, &s.Locks} {
		if l.Spent < 0 || l.Done < 0 || !(l.Used >= 0) || !(l.Took >= 0) || math.IsInf(l.Used+l.Took, 0) || len(l.Owed) > maxOwed {
			return nil, fmt.Errorf("%w: a number out of its bounds", ErrState)
		}
		for i, d := range l.Owed {
			if _, err := format.ParseName(d.Name); err != nil || i > 0 && l.Owed[i-1].Name >= d.Name {
				return nil, fmt.Errorf("%w: what is owed is not in order", ErrState)
			}
			if d.Since < 0 || d.since().After(now.Add(time.Hour)) {
				l.Owed[i].Since = 0
			}
		}
		l.Ring.forgetFuture(now)
	}
	return s, nil
}

// Join takes over what another state says was read, such as that in a record. What was spent on a day is each machine's own.
func (s *State) Join(o *State) {
	s.Bytes.join(&o.Bytes)
	s.Locks.join(&o.Locks)
}

func (l *Ledger) join(o *Ledger) {
	l.Learn(o)
	if l.Took == 0 {
		l.Done, l.Took = o.Done, o.Took
	}
}

// Learn takes over what another rotation of the same vault read, which counts for this one as well.
func (l *Ledger) Learn(o *Ledger) {
	l.Ring.Join(o.Ring)
	for _, d := range o.Owed {
		l.owe(d.Name, d.since())
	}
}

// MarkAll notes that everything was read at a time, but for those named.
func (l *Ledger) MarkAll(at time.Time, but []string) {
	before := slices.Clone(l.Ring.stretches)
	was := Ring{before}
	old := l.Owed
	l.Owed = nil
	for _, name := range but {
		sum, err := format.ParseName(name)
		if err != nil {
			continue
		}
		since := was.Read(PlaceOf(sum))
		if i, found := debt(old, name); found {
			since = old[i].since()
		}
		l.owe(name, since)
	}
	l.Ring.MarkAll(at)
}

func debt(owed []Debt, name string) (int, bool) {
	return slices.BinarySearchFunc(owed, name, func(d Debt, name string) int {
		switch {
		case d.Name < name:
			return -1
		case d.Name > name:
			return 1
		}
		return 0
	})
}

// owe remembers an object; false: too many are.
func (l *Ledger) owe(name string, since time.Time) bool {
	i, found := debt(l.Owed, name)
	if found {
		return true
	}
	if len(l.Owed) >= maxOwed {
		return false
	}
	d := Debt{Name: name}
	if !since.IsZero() {
		d.Since = since.Unix()
	}
	l.Owed = slices.Insert(l.Owed, i, d)
	return true
}

// paid forgets an object.
func (l *Ledger) paid(name string) {
	if i, found := debt(l.Owed, name); found {
		l.Owed = slices.Delete(l.Owed, i, i+1)
	}
}

// on begins a day's account, if that day's is not open yet.
func (l *Ledger) on(now time.Time) {
	if day := now.UTC().Format(time.DateOnly); l.Day != day {
		l.Day, l.Spent, l.Used = day, 0, 0
	}
}

// today reports whether a time is on the account's day.
func (l *Ledger) today(t time.Time) bool { return t.UTC().Format(time.DateOnly) == l.Day }

// rate is what is read in a second, lately; 0: not known.
func (l *Ledger) rate() float64 {
	if l.Took <= 0 {
		return 0
	}
	return float64(l.Done) / l.Took
}

// MarshalJSON implements json.Marshaler: a list of pairs, each of the place where a stretch begins, as 16 hexadecimal digits, and when it was
// read, in seconds of Unix time, 0 for never.
func (r Ring) MarshalJSON() ([]byte, error) {
	out := make([][2]any, len(r.stretches))
	for i, s := range r.stretches {
		at := int64(0)
		if !s.read.IsZero() {
			at = s.read.Unix()
		}
		out[i] = [2]any{fmt.Sprintf("%016x", uint64(s.from)), at}
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Ring) UnmarshalJSON(b []byte) error {
	var in [][2]json.RawMessage
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if len(in) > maxStretches {
		return fmt.Errorf("%d stretches", len(in))
	}
	r.stretches = nil
	for i, pair := range in {
		var from string
		var at int64
		if err := errors.Join(json.Unmarshal(pair[0], &from), json.Unmarshal(pair[1], &at)); err != nil {
			return err
		}
		p, err := strconv.ParseUint(from, 16, 64)
		if err != nil || len(from) != 16 || at < 0 || at > 1<<38 {
			return fmt.Errorf("stretch %d", i)
		}
		if i == 0 && p != 0 || i > 0 && Place(p) <= r.stretches[i-1].from {
			return fmt.Errorf("stretch %d is out of order", i)
		}
		s := stretch{from: Place(p)}
		if at > 0 {
			s.read = time.Unix(at, 0).UTC()
		}
		r.stretches = append(r.stretches, s)
	}
	r.stretches = joined(r.stretches)
	return nil
}
