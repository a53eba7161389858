package backup_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestReread: that a retention means less than it did is told once, as soon as it shows, with the dates of both.
func TestReread(t *testing.T) {
	week := retain.Policy{Daily: retain.Span{Duration: 7 * day}}
	old := retain.Policy{Daily: week.Daily, Weekly: retain.Span{Duration: 84 * day}, Monthly: retain.Span{Months: 12}}
	for _, c := range []struct {
		name  string
		runs  func(r *rig) // before the change
		told  []int        // of the runs after it, a day apart
		steps int
	}{
		{"the last point shows it", func(r *rig) { r.run() }, []int{0}, 8},
		{"an earlier one does", func(r *rig) { r.run(); r.clock = r.clock.Add(day); r.run() }, []int{0}, 8},
		{"there is none", func(*rig) {}, nil, 8},
		{"they were made like this already", func(r *rig) { r.policy = week; r.run() }, nil, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1)
			r.source = filled(2)
			r.policy = old
			c.runs(r)
			r.policy, r.before = week, old
			var told []int
			for i := range c.steps {
				r.clock = r.clock.Add(day)
				if i == 0 {
					r.dry = true
					if res := r.run(); (res.Reread != nil) != (len(c.told) > 0) {
						t.Errorf("a dry run tells %+v", res.Reread)
					}
					r.dry = false
				}
				res := r.run()
				if !res.RetainUntil.Equal(r.clock.Add(7 * day)) {
					t.Errorf("kept until %s", res.RetainUntil)
				}
				if x := res.Reread; x != nil {
					told = append(told, i)
					if !x.Was.Equal(time.Date(2027, 11, 23, 12, 0, 0, 0, time.UTC)) || !x.Is.Equal(x.Last.Add(7*day)) || !x.Next.Equal(res.RetainUntil) {
						t.Errorf("%+v", x)
					}
				}
			}
			if len(told) != len(c.told) || len(told) > 0 && told[0] != c.told[0] {
				t.Errorf("told in runs %v, want %v", told, c.told)
			}
		})
	}
}

// TestRereadWithHours: hours change what is told once only where they are named, and what was told before there were any is not told again.
func TestRereadWithHours(t *testing.T) {
	week := retain.Policy{Daily: retain.Span{Duration: 7 * day}}
	old := retain.Policy{Daily: week.Daily, Weekly: retain.Span{Duration: 84 * day}, Monthly: retain.Span{Months: 12}}
	hour := retain.Span{Duration: 2 * day}
	for _, c := range []struct {
		name string
		mark string // in the cache, of an earlier run
		hour retain.Span
		told bool
	}{
		{"it was told by a build that knew no hours", "retention/uploads/{7d 0 0 0}", retain.Span{}, false},
		{"it was told of another retention", "retention/uploads/{9d 0 0 0}", retain.Span{}, true},
		{"hours are named now", "retention/uploads/{7d 0 0 0}", hour, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, 1)
			r.source = filled(2)
			r.policy = old
			r.run()
			k, err := cache.Open(r.cache, cache.Options{})
			if err == nil {
				err = errors.Join(k.Segments.MarkLoaded("", c.mark), k.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			r.policy, r.before = week, old
			r.policy.Hourly, r.before.Hourly = c.hour, c.hour
			for i, want := range []bool{c.told, false} {
				r.clock = r.clock.Add(day)
				if res := r.run(); (res.Reread != nil) != want {
					t.Errorf("run %d tells %+v", i, res.Reread)
				}
			}
		})
	}
}

// TestHourly: the first complete point of an hour fills it; another of that hour fills nothing, and is kept as long.
func TestHourly(t *testing.T) {
	r := newRig(t, 1)
	r.source = filled(2)
	r.policy = retain.Policy{Hourly: retain.Span{Duration: 2 * day}, Daily: retain.Span{Duration: 7 * day}}
	for _, c := range []struct {
		after time.Duration
		slots []string
		keep  time.Duration
	}{
		{0, []string{"hourly-2026-11-23t12", "daily-2026-11-23"}, 7 * day},
		{59 * time.Minute, nil, 2 * day},
		{time.Minute, []string{"hourly-2026-11-23t13"}, 2 * day},
		{11 * time.Hour, []string{"hourly-2026-11-24t00", "daily-2026-11-24"}, 7 * day},
	} {
		r.clock = r.clock.Add(c.after)
		r.dry = true
		dry := r.run()
		r.dry = false
		res := r.run()
		_, commit := r.commit(0, res.Point)
		if want := r.clock.Add(c.keep); !slices.Equal(commit.Slots, c.slots) || !commit.RetainUntil.Equal(want) || !res.RetainUntil.Equal(want) || !dry.RetainUntil.Equal(want) {
			t.Errorf("at %s: slots %q until %s, said until %s and in a dry run %s; want %q until %s", r.clock, commit.Slots, commit.RetainUntil, res.RetainUntil, dry.RetainUntil, c.slots, want)
		}
	}
}

// TestLockedUntil: what is said of locks is their end as read back, beyond the retention by the slack.
func TestLockedUntil(t *testing.T) {
	r := newRig(t, 2)
	r.source = filled(2)
	res := r.run()
	for _, v := range res.Vaults {
		if want := res.RetainUntil.Add(10 * day); !v.LockedUntil.Equal(want) {
			t.Errorf("%s: locked until %s, want %s", v.Vault, v.LockedUntil, want)
		}
	}
	p, _ := r.commit(1, res.Point)
	_, lock, err := r.stores[1].Stat(t.Context(), r.names(1, p.Name)[0].Ref)
	if err != nil || !lock.Until.Equal(res.Vaults[1].LockedUntil) {
		t.Errorf("the commit object is locked until %s, %v", lock.Until, err)
	}
}

// TestIncompleteIsShort: an incomplete point fills no slot and is kept for the shortest span, whichever that is.
func TestIncompleteIsShort(t *testing.T) {
	for _, c := range []struct {
		policy retain.Policy
		want   time.Duration
	}{
		{retain.Policy{Daily: retain.Span{Duration: 7 * day}, Weekly: retain.Span{Duration: 84 * day}}, 7 * day},
		{retain.Policy{Daily: retain.Span{Duration: 70 * day}, Weekly: retain.Span{Duration: 14 * day}}, 14 * day},
		{retain.Policy{Weekly: retain.Span{Duration: 14 * day}}, 14 * day},
		{retain.Policy{Hourly: retain.Span{Duration: 2 * day}, Daily: retain.Span{Duration: 7 * day}}, 2 * day},
	} {
		r := newRig(t, 1)
		r.policy = c.policy
		src := filled(2)
		src.Fail("f01", memsource.Fault{Failure: memsource.Unreadable})
		r.source = src
		res := r.run()
		_, commit := r.commit(0, res.Point)
		if res.Status != format.StatusIncomplete || !commit.RetainUntil.Equal(r.clock.Add(c.want)) || commit.Slots != nil || !res.RetainUntil.Equal(r.clock.Add(c.want)) {
			t.Errorf("%+v: %s, kept until %s, slots %q", c.policy, res.Status, commit.RetainUntil, commit.Slots)
		}
	}
}
