package lifetest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// ownLock gives the lock of a point's own object.
func (r *reporter) ownLock(h evidence.Hold) time.Time {
	r.t.Helper()
	for info, err := range r.Store.Versions(r.t.Context(), format.PrefixPoints, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if id, err := format.ParsePointName(info.Name); err != nil || id.ID != h.Point {
			continue
		}
		_, lock, err := r.Store.Stat(r.t.Context(), info.Ref)
		if err != nil {
			r.t.Fatal(err)
		}
		return lock.Until
	}
	return time.Time{}
}

// refusing lengthens no lock of some objects.
type refusing struct {
	store.Locker
	refuse func(name string) bool
}

func (l refusing) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	if l.refuse(ref.Name) {
		return &store.Error{Op: "extend", Ref: ref, Kind: store.ErrDenied}
	}
	return l.Locker.Extend(ctx, ref, to)
}

// The lock of a point's own object says that all of it is held: it is lengthened last, and not where something that the point needs was not, or
// is lost. Of other points it is.
func TestRenewLocksPointsLast(t *testing.T) {
	for _, what := range []string{"refused", "lost"} {
		w := newReporter(t, ran(t, lifetest.Options{}, 1))
		old := packs(t, w.World)
		h := w.oldest(w.Clock.Add(700 * day))
		w.tell(evidence.TypeHold, h)
		v := *w.Vault
		var mu sync.Mutex
		var order []string
		refused := old[0]
		v.Lock = refusing{v.Lock, func(name string) bool {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return what == "refused" && name == refused
		}}
		if what == "lost" {
			info, _, err := w.Store.Stat(t.Context(), store.Ref{Name: old[0]})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Store.Attacker().Lose(info.Ref); err != nil {
				t.Fatal(err)
			}
		}
		before := w.ownLock(h)
		s, err := doRenew(t.Context(), w.World, v, renew.Options{Reach: 740 * day})
		if err != nil || s.Refused+s.Lost == 0 || s.Extended == 0 {
			t.Fatalf("%s: %+v, %v", what, s, err)
		}
		if got := w.ownLock(h); !got.Equal(before) {
			t.Errorf("%s: the point's own object is locked until %s, before until %s", what, got, before)
		}
		refused = ""
		if what == "lost" {
			continue
		}
		order = nil
		if s, err = doRenew(t.Context(), w.World, v, renew.Options{Reach: 740 * day}); err != nil || s.Refused != 0 || w.ownLock(h).Before(h.Until.Time) {
			t.Errorf("the second time: %+v, %v, %s", s, err, w.ownLock(h))
		}
		if len(order) == 0 || !strings.HasPrefix(order[len(order)-1], format.PrefixPoints) {
			t.Errorf("in this order: %v", order)
		}
	}
}

// What one point has lost keeps no other from being held.
func TestRenewLocksWholePoints(t *testing.T) {
	w := newReporter(t, ran(t, lifetest.Options{Objects: 20, Change: 30}, 1))
	mine := packs(t, w.World)[0]
	run(t, w.World) // everything is written anew
	h := w.oldest(w.Clock.Add(700 * day))
	found, err := w.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	points, err := found.Points(t.Context(), w.Store, "", nil)
	if err != nil || len(points) != 2 {
		t.Fatal(points, err)
	}
	other := h
	other.Point, other.SignedAt = points[1].ID, points[1].SignedAt
	w.tell(evidence.TypeHold, h, other)
	p, v := faulty(w.World, faults.Rule{Op: "extend", Name: mine, Way: faults.Denied})
	s, err := doRenew(t.Context(), w.World, v, renew.Options{Reach: 740 * day})
	if err != nil || s.Refused == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	p.Check(t)
	if !w.ownLock(h).Before(h.Until.Time) || w.ownLock(other).Before(other.Until.Time) {
		t.Errorf("%s and %s, of %s", w.ownLock(h), w.ownLock(other), h.Until)
	}
}

// behind is a vault whose clock is behind ours.
type behind struct {
	store.Inspector
	by time.Duration
}

func (b behind) Inspect(ctx context.Context) (store.Facts, error) {
	f, err := b.Inspector.Inspect(ctx)
	f.Clock = f.Clock.Add(-b.by)
	return f, err
}

// What a hold may reach is counted by the vault's clock, and by less than that: seconds between clocks stop no renewal.
func TestRenewByTheVaultsClock(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Second, -2 * time.Second, 4 * time.Minute} {
		w := newReporter(t, ran(t, lifetest.Options{}, 3))
		w.tell(evidence.TypeHold, w.oldest(w.Clock.Add(7000*day)))
		v := *w.Vault
		v.Inspect = behind{v.Inspect, by}
		s, err := doRenew(t.Context(), w.World, v, renew.Options{Reach: 740 * day})
		if err != nil || s.Held != 1 || s.HeldShort != 1 || s.Extended == 0 || s.Extended != s.Due || s.Until.Before(w.Clock.Add(729*day)) {
			t.Errorf("%s: %+v, %v", by, s, err)
		}
	}
}
