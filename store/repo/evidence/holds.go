package evidence

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TypeHold is the type of records in which somebody says that a point is to be held longer than it is kept, and why.
const TypeHold = "hold"

// ByGuard is what a hold says that the guard of a run made.
const ByGuard = "guard"

// Bounds on holds: each record tells of all of them.
const (
	MaxHolds      = 100 // that are not over
	MaxHoldReason = 300 // bytes, as they are written in a record

	maxOfReporter = 10 * MaxHolds // that a listing keeps of what one reporter tells
)

// ReasonSize gives how many bytes a reason takes in a record.
func ReasonSize(reason string) int {
	text, err := json.Marshal(reason)
	if err != nil {
		return MaxHoldReason + 1 // no string is like that
	}
	return len(text) - len(`""`)
}

// shortened cuts a reason that takes more than its bytes.
func shortened(reason string) string {
	if len(reason) > MaxHoldReason {
		reason = strings.ToValidUTF8(reason[:MaxHoldReason], "")
	}
	for ReasonSize(reason) > MaxHoldReason {
		_, n := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-n]
	}
	return reason
}

// Hold is one point that is held until a time.
type Hold struct {
	Source   string      `json:"source"`
	Point    format.Hash `json:"point"`
	SignedAt format.Time `json:"signed_at"` // the point's
	Until    format.Time `json:"until"`
	Reason   string      `json:"reason"`
	At       format.Time `json:"at"` // when it was made, by a vault's clock
	Reporter string      `json:"reporter"`
	By       string      `json:"by,omitempty"` // ByGuard; empty: somebody
}

// Over reports whether the hold is over.
func (h Hold) Over(now time.Time) bool { return !h.Until.After(now) }

// usable reports whether it says what it has to.
func (h Hold) usable() bool {
	return !h.Point.IsZero() && format.ValidName(h.Source) && !h.Until.IsZero()
}

// heldBy tells holds of one point apart: the guard's and somebody's have ends of their own.
type heldBy struct {
	point format.Hash
	by    string
}

func (h Hold) key() heldBy { return heldBy{h.Point, h.By} }

// Holding is what all bodies of records have in common: the holds that their reporter knew of and that were not over. Left out says
// that it did not know; none says that there was none.
type Holding struct {
	Holds []Hold `json:"holds,omitzero"`
}

// Telling gives holds as a record tells of them.
func Telling(holds []Held) Holding {
	out := Holding{Holds: []Hold{}} // that there are none is told, too
	for _, h := range holds {
		out.Holds = append(out.Holds, h.Hold)
	}
	return out
}

// note takes what a record tells of holds. Of several records of one hold that counts which tells of the latest end: a hold is made
// longer and never shorter.
func (l *Listing) note(f Found) {
	if f.Newer {
		return
	}
	var b Holding
	if json.Unmarshal(f.Record.Body, &b) != nil || b.Holds == nil {
		return // another program's, or an earlier one's
	}
	l.told[f.Reporter] = true
	for _, h := range bounded(b.Holds, f.Reporter) {
		was, ok := l.holds[h.key()]
		if !ok {
			if l.kept[f.Reporter] == maxOfReporter {
				continue
			}
			l.kept[f.Reporter]++
		}
		l.holds[h.key()] = longer(was, h)
	}
}

// bounded gives what counts of the holds that a record tells of, as a thief may have signed it: as many as a record may have of people and
// of the guard, in the name of its reporter, with reasons of a length.
func bounded(holds []Hold, reporter string) (out []Hold) {
	of := map[string]int{}
	for _, h := range holds {
		if !h.usable() || h.By != "" && h.By != ByGuard || of[h.By] == MaxHolds {
			continue
		}
		of[h.By]++
		h.Reporter, h.Reason = reporter, shortened(h.Reason)
		out = append(out, h)
	}
	return out
}

// longer gives the hold with the later end.
func longer(a, b Hold) Hold {
	if a.Until.Before(b.Until.Time) {
		return b
	}
	return a
}

// Holds gives what is held, by source and time of the points, holds that are over included as far as records tell of them. Each record
// tells of all holds that its reporter knew of, so that one of each reporter is read, beside those that were read before. A record
// that cannot be read is passed by for the one before.
func (l *Listing) Holds() ([]Hold, error) {
	for reporter, some := range l.each {
		for _, x := range slices.Backward(some) {
			if l.told[reporter] {
				break
			}
			if _, err := l.read([]lying{x}, func(Found) bool { return true }); err != nil {
				return nil, err
			}
		}
	}
	out := make([]Hold, 0, len(l.holds))
	for _, h := range l.holds {
		out = append(out, h)
	}
	SortHolds(out)
	return out, nil
}

// SortHolds puts holds in order of source, point and end.
func SortHolds(holds []Hold) {
	slices.SortFunc(holds, func(a, b Hold) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), a.SignedAt.Compare(b.SignedAt.Time), cmp.Compare(a.Point.String(), b.Point.String()), cmp.Compare(a.By, b.By))
	})
}

// Living gives until when points are held in a vault, as its records tell: of holds that are not over. It costs a listing of the records
// and the reading of one of each reporter. It is for display: who deletes or locks by it goes by [Stand]. Of Options it needs what [List] does.
func Living(ctx context.Context, o Options, now time.Time) (map[format.Hash]time.Time, error) {
	l, err := List(ctx, o, 0)
	if err != nil {
		return nil, err
	}
	holds, err := l.Holds()
	if err != nil {
		return nil, err
	}
	return Ends(holds, now), nil
}

// Ends gives until when points are held, of holds that are not over.
func Ends(holds []Hold, now time.Time) map[format.Hash]time.Time {
	out := map[format.Hash]time.Time{}
	for _, h := range holds {
		if !h.Over(now) && h.Until.After(out[h.Point]) {
			out[h.Point] = h.Until.Time
		}
	}
	return out
}

// Held is a hold as its reporter's book has it: with the vaults in which all is done.
type Held struct {
	Hold
	Done []string `json:"done,omitempty"`
}

const (
	holdsFile = "holds"
	maxBook   = 1 << 20 // bytes of that file: a hundred holds have half of it
)

// Holds gives the holds that the book has, and false where it has not been told of any yet, as one that is new.
func (b *Book) Holds() ([]Held, bool, error) {
	fail := func(err error) ([]Held, bool, error) {
		return nil, false, fmt.Errorf("read the book of records: %w", err)
	}
	f, err := os.Open(filepath.Join(b.dir, holdsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxBook+1))
	if err != nil {
		return fail(err)
	}
	var out []Held
	if len(text) > maxBook || json.Unmarshal(text, &out) != nil {
		return nil, false, nil // as good as none: the vaults tell
	}
	return out, true, nil
}

// KeepHolds writes the holds down, in the place of those that the book had.
func (b *Book) KeepHolds(holds []Held) error {
	text, err := json.Marshal(holds)
	if err != nil {
		return fmt.Errorf("write the book of records: %w", err)
	}
	return b.write(holdsFile, append(text, '\n'))
}

// WithHold gives a list with a hold added, in the place of an earlier one of the same point and maker, and without those that are over.
// A hold is never made shorter: then the list stays as it is.
func WithHold(list []Held, h Held, now time.Time) []Held {
	i := slices.IndexFunc(list, func(o Held) bool { return o.key() == h.key() })
	switch {
	case i < 0:
		list = append(slices.Clone(list), h)
	case h.Until.After(list[i].Until.Time):
		list = slices.Clone(list)
		list[i] = h
	case h.Until.Equal(list[i].Until.Time):
		list = slices.Clone(list)
		list[i].Done = union(list[i].Done, h.Done)
	}
	return slices.DeleteFunc(slices.Clone(list), func(o Held) bool { return o.Over(now) })
}

func union(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
