package backup_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// twinOf is the same machine before the same vaults, which does not remember what was noted of their listings and of points.
func twinOf(r *rig) *rig {
	r.t.Helper()
	c := *r
	c.mu, c.slept, c.set, c.found = new(sync.Mutex), new(atomic.Int64), new(atomic.Int64), nil
	c.stores, c.vaults = nil, nil
	for i, s := range r.stores {
		n := s.Clone(c.now)
		v := *r.vaults[i]
		v.Read, v.Write, v.Lock, v.Inspect = n, n, n, n
		c.stores, c.vaults = append(c.stores, n), append(c.vaults, &v)
	}
	c.cache = filepath.Join(r.t.TempDir(), "twin")
	if err := os.CopyFS(c.cache, os.DirFS(r.cache)); err != nil {
		r.t.Fatal(err)
	}
	c.forget()
	return &c
}

// forget drops what was noted.
func (r *rig) forget() {
	r.t.Helper()
	k, err := cache.Open(r.cache, cache.Options{})
	if err == nil {
		err = k.Notes.Put("", "list/uploads", nil)
	}
	for _, v := range r.vaults {
		if err == nil {
			err = k.Notes.PutCompared(v.Name, "parts", nil)
		}
	}
	if err == nil {
		err = k.Close()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// goesOn reports whether the next run can go on from what was noted of points.
func goesOn(r *rig) bool {
	r.t.Helper()
	c := twinless(r)
	s, err := c.session(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	defer s.Close()
	h, err := s.Past.Points(r.t.Context(), "uploads")
	if err != nil {
		r.t.Fatal(err)
	}
	return h.Memo != nil
}

// twinless is the same machine with a copy of its cache.
func twinless(r *rig) *rig {
	c := *r
	c.mu, c.found = new(sync.Mutex), nil
	c.cache = filepath.Join(r.t.TempDir(), "copy")
	if err := os.CopyFS(c.cache, os.DirFS(r.cache)); err != nil {
		r.t.Fatal(err)
	}
	return &c
}

// findings gives what was found by sessions, in order, without the names of what this run itself stored, and forgets it.
func (r *rig) findings() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.found {
		out = append(out, f.String())
	}
	r.found = nil
	slices.Sort(out)
	return out
}

// TestWhatIsNotedChangesNothing: whatever happened in a vault, a run that goes by what the last ones noted of listings and points says and
// does the same as one that looks at everything; so does the run after it.
func TestWhatIsNotedChangesNothing(t *testing.T) {
	remove := func(s *memstore.Store, info store.Info) error { return s.Attacker().Lose(info.Ref) }
	some := func(r *rig, prefix string, n int) store.Info {
		all := r.names(0, prefix)
		return all[n*len(all)/10]
	}
	for _, c := range []struct {
		name  string
		spoil func(r *rig) error
		quiet bool // what was noted is of use all the same
	}{
		{"nothing", func(*rig) error { return nil }, true},
		{"a pack is gone", func(r *rig) error { return remove(r.stores[0], some(r, format.PrefixPacks, 5)) }, true},
		{"pages are gone", func(r *rig) error { return remove(r.stores[0], some(r, format.PrefixMeta, 9)) }, true},
		{"a list is gone", func(r *rig) error {
			all := r.names(0, format.PrefixNeeds)
			for _, info := range all {
				if err := remove(r.stores[0], info); err != nil {
					return err
				}
			}
			return nil
		}, false},
		{"a pack has another size", func(r *rig) error {
			return r.stores[0].Attacker().Damage(some(r, format.PrefixPacks, 3).Ref, func(b []byte) []byte { return b[:len(b)-1] })
		}, true},
		{"a delete marker on a pack", func(r *rig) error { r.stores[0].Attacker().Hide(some(r, format.PrefixPacks, 7).Name); return nil }, true},
		{"another version on pages", func(r *rig) error {
			r.stores[0].Attacker().Overwrite(some(r, format.PrefixMeta, 4).Name, []byte("junk"))
			return nil
		}, true},
		{"a marker on an old point", func(r *rig) error { r.stores[0].Attacker().Hide(some(r, format.PrefixPoints, 4).Name); return nil }, false},
		{"a version on an old point", func(r *rig) error {
			r.stores[0].Attacker().Overwrite(some(r, format.PrefixPoints, 2).Name, []byte("junk"))
			return nil
		}, false},
		{"an old point is gone", func(r *rig) error { return remove(r.stores[0], some(r, format.PrefixPoints, 5)) }, false},
		{"the newest point is gone", func(r *rig) error { return remove(r.stores[0], some(r, format.PrefixPoints+"uploads/", 9)) }, false},
		{"a marker on the newest point", func(r *rig) error { r.stores[0].Attacker().Hide(some(r, format.PrefixPoints, 9).Name); return nil }, false},
		{"junk among points", func(r *rig) error {
			r.stores[0].Attacker().Overwrite(format.PrefixPoints+"uploads/junk", []byte("junk"))
			return nil
		}, false},
		{"junk among placements", func(r *rig) error {
			r.stores[0].Attacker().Overwrite(format.PrefixPlacements+"vault0/junk", []byte("junk"))
			return nil
		}, true},
		{"placements are gone", func(r *rig) error { return remove(r.stores[0], some(r, format.PrefixPlacements, 9)) }, true},
		{"an object of a folder's name", func(r *rig) error { r.stores[0].Attacker().Overwrite("packs", []byte("junk")); return nil }, true},
		{"others' objects", func(r *rig) error {
			for i := range 700 {
				r.stores[0].Attacker().Overwrite(fmt.Sprintf("packs/%02x/others", i%256), []byte("junk"))
			}
			return nil
		}, true},
		{"a second machine's point", func(r *rig) error {
			o := twinOf(r)
			o.stores, o.vaults, o.cache = r.stores, r.vaults, r.t.TempDir()
			o.run()
			r.clock = r.clock.Add(time.Hour)
			return nil
		}, false},
		{"everything is gone", func(r *rig) error {
			for _, info := range r.names(0, "") {
				if !strings.HasPrefix(info.Name, format.PrefixDescriptors) && !strings.HasPrefix(info.Name, format.PrefixKeys) {
					if err := remove(r.stores[0], info); err != nil {
						return err
					}
				}
			}
			return nil
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, 1, tiny())
			r.policy = retain.Policy{Daily: retain.Span{Duration: 10 * 24 * time.Hour}, Weekly: retain.Span{Duration: 30 * 24 * time.Hour}}
			src, want := varied(r)
			for n := range 9 {
				change(r, src, want, fmt.Sprintf("k/%04d", n), body(uint64(1000+n), 300))
				r.clock = r.clock.Add(5 * time.Hour)
				r.run()
			}
			if !goesOn(r) {
				t.Fatal("nothing was noted")
			}
			r.saw("", "")
			if err := c.spoil(r); err != nil {
				t.Fatal(err)
			}
			if got := goesOn(r); got != c.quiet {
				t.Errorf("the run goes on from what was noted: %t", got)
			}
			r.saw("", "")
			for again := range 3 {
				o := twinOf(r)
				change(r, src, want, "k/0021", body(uint64(again), 400))
				r.clock = r.clock.Add(5 * time.Hour)
				o.clock = r.clock
				res, ores := r.run(), o.run()
				if got, all := r.findings(), o.findings(); !slices.Equal(got, all) {
					t.Errorf("run %d:\n%s\ninstead of\n%s", again, strings.Join(got, "\n"), strings.Join(all, "\n"))
				}
				a, b := commitOf(r, res.Point), commitOf(o, ores.Point)
				if res.BytesRead != ores.BytesRead || !slices.Equal(a.Slots, b.Slots) || !a.RetainUntil.Equal(b.RetainUntil.Time) || a.Points.Entries != b.Points.Entries ||
					!slices.Equal(a.Predecessors, b.Predecessors) || a.Needs.Entries != b.Needs.Entries {
					t.Errorf("run %d: %d bytes, %v, %v, list of %d, %v, %d needs; instead of %d, %v, %v, %d, %v, %d", again, res.BytesRead, a.Slots, a.RetainUntil, a.Points.Entries, a.Predecessors, a.Needs.Entries,
						ores.BytesRead, b.Slots, b.RetainUntil, b.Points.Entries, b.Predecessors, b.Needs.Entries)
				}
				if c.name != "a delete marker on a pack" && c.name != "another version on pages" { // which hides them from who knows no versions
					equal(t, r.contents(0, res.Point), want)
				}
			}
		})
	}
}

// TestSlotsFromWhatIsNoted: over months of runs at odd times, some of them incomplete or empty, each point fills the slots and has the list
// that all points before it call for.
func TestSlotsFromWhatIsNoted(t *testing.T) {
	days := retain.Policy{Daily: retain.Span{Duration: 3 * 24 * time.Hour}, Weekly: retain.Span{Duration: 10 * 24 * time.Hour}, Monthly: retain.Span{Duration: 30 * 24 * time.Hour}}
	hours := days
	hours.Hourly = retain.Span{Duration: 12 * time.Hour}
	t.Run("days", func(t *testing.T) {
		slotsFromWhatIsNoted(t, days, [5]time.Duration{time.Hour, 7 * time.Hour, 30 * time.Hour, 2 * time.Hour, 90 * time.Hour})
	})
	t.Run("hours", func(t *testing.T) {
		slotsFromWhatIsNoted(t, hours, [5]time.Duration{20 * time.Minute, time.Hour, 10 * time.Minute, 100 * time.Minute, 30 * time.Hour})
	})
}

func slotsFromWhatIsNoted(t *testing.T, policy retain.Policy, steps [5]time.Duration) {
	r := newRigWith(t, 1, tiny())
	r.policy = policy
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	var before []format.PointLine
	used := 0
	runs := 120
	if testing.Short() { // under the race detector; whole without
		runs = 40
	}
	for n := range runs {
		change(r, src, want, fmt.Sprintf("k/%02d", n%7), body(uint64(n), 100))
		r.clock = r.clock.Add(steps[n%5])
		if n > 0 && goesOn(r) {
			used++
		}
		res := r.run()
		c := commitOf(r, res.Point)
		var earlier []retain.Earlier
		stands := 0
		for _, p := range before {
			earlier = append(earlier, retain.Earlier{TakenAt: p.TakenAt.Time, RetainUntil: p.RetainUntil.Time, Complete: p.Status == format.StatusComplete, Slots: p.Slots})
			if !p.RetainUntil.Add(72 * time.Hour).Before(c.TakenAt.Time) {
				stands++
			}
		}
		d := retain.Decide(r.policy, c.TakenAt.Time, earlier)
		if !slices.Equal(d.Slots, c.Slots) || !d.RetainUntil.Truncate(time.Second).Equal(c.RetainUntil.Time) {
			t.Errorf("run %d fills %v until %v, not %v until %v", n, c.Slots, c.RetainUntil, d.Slots, d.RetainUntil)
		}
		if c.Points.Entries < int64(stands) {
			t.Errorf("run %d lists %d points, %d are not over", n, c.Points.Entries, stands)
		}
		before = append(before, c.Line(res.Point))
	}
	t.Logf("%d of %d runs went on from what was noted", used, runs)
	if used < runs/4 {
		t.Error("that is too few")
	}
	if got := r.findings(); len(got) > 0 {
		t.Errorf("something is wrong: %q", got)
	}
}
