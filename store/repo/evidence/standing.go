package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Standing is what all records of a vault, taken together, say is held. Holds only grow, so what any of them tells counts until it is over, and
// what later ones leave out lets go of nothing.
type Standing struct {
	Until  map[format.Hash]time.Time // by point, of holds that are not over
	Unread Unread
}

// Unread is the records that could not be read: nobody knows what they hold.
type Unread struct {
	Records int
	Newer   int       // of these, the whole ones that a newer holdfast wrote: nothing is wrong with them
	Name    string    // the one that came last
	Err     error     // why it could not be read; nil: there is none
	Came    time.Time // when it came: what was signed later it says nothing of. Zero: nobody knows
}

var errNewer = fmt.Errorf("a newer holdfast wrote it: %w", format.ErrNewer)

// add takes note of a record that cannot be read.
func (u *Unread) add(name string, came time.Time, err error) {
	if u.Records++; u.Err == nil || came.After(u.Came) {
		u.Name, u.Err, u.Came = name, err, came
	}
}

// Stand reads every record of every reporter, and gives what is held of the points that of knows; nil: of all. It is for those who delete
// or lock by it; who only shows holds has [Living], which costs less. A record that cannot be read is reported and told by Unread, as is a
// vault that refuses to list them; what a newer holdfast wrote is told by Unread alone. Names that no key signed are no records, and cost no read. Memory does not grow with the number of
// records. Of Options it needs what [List] does.
func Stand(ctx context.Context, o Options, now time.Time, of func(format.Hash) bool) (Standing, error) {
	s := &standing{reading: &reading{ctx: ctx, o: o}, now: now, of: of, out: Standing{Until: map[format.Hash]time.Time{}}}
	if o.None {
		return s.out, nil
	}
	err := s.names(func(versions []store.Info) error {
		id, ok := s.signed(versions)
		if !ok {
			return nil
		}
		if s.batch = append(s.batch, lying{id: id, versions: slices.Clone(versions)}); len(s.batch) < sideBySide {
			return nil
		}
		return s.take()
	})
	if err == nil {
		err = s.take()
	}
	if err != nil && ctx.Err() == nil && errors.Is(err, store.ErrDenied) {
		s.find(Missing, format.PrefixReports, "no record can be read: %v", err)
		s.out.Unread.Records++ // and it hides all of them
		s.out.Unread.Name, s.out.Unread.Err, s.out.Unread.Came = format.PrefixReports, err, time.Time{}
		return s.out, nil
	}
	return s.out, err
}

// standing is one reading of all records.
type standing struct {
	*reading
	now   time.Time
	of    func(format.Hash) bool
	batch []lying
	out   Standing
}

// take reads what was gathered, side by side.
func (s *standing) take() error {
	for _, x := range s.readAll(s.batch) {
		err := x.err
		if err != nil && !passable(s.ctx, err) {
			return fmt.Errorf("read %s: %w", x.versions[0].Name, err)
		}
		if err == nil {
			err = s.holds(x.rec)
		}
		if err != nil {
			if errors.Is(err, errNewer) {
				s.out.Unread.Newer++
			} else {
				s.find(Missing, x.versions[0].Name, "it cannot be read: %v", err)
			}
			s.out.Unread.add(x.versions[0].Name, arrived(x.versions), err)
		}
	}
	s.batch = s.batch[:0]
	return s.ctx.Err()
}

// holds takes what one record says.
func (s *standing) holds(rec *format.Record) error {
	if len(rec.Body) == 0 {
		return errNewer
	}
	var b Holding
	if err := json.Unmarshal(rec.Body, &b); err != nil {
		return fmt.Errorf("what it holds: %w: %w", format.ErrMalformed, err)
	}
	for _, h := range b.Holds {
		if h.usable() && !h.Over(s.now) && (s.of == nil || s.of(h.Point)) && h.Until.After(s.out.Until[h.Point]) {
			s.out.Until[h.Point] = h.Until.Time
		}
	}
	return nil
}

// Told gives a Report of Options that tells package repo's.
func Told(report repo.Report) func(Finding) {
	return func(f Finding) {
		if report != nil {
			report(repo.Finding{Kind: repo.Damaged, Name: f.Name, Detail: f.Detail})
		}
	}
}
