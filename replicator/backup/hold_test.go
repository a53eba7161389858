package backup_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// hold holds a point of a rig as `holdfast hold` does: without slack, up to a ceiling of its own.
func hold(r *rig, id format.Hash, until time.Time, ceilings ...time.Duration) ([]repo.VaultResult, error) {
	r.t.Helper()
	before := make([]repo.Locking, len(r.vaults))
	for i, v := range r.vaults {
		before[i] = v.Locking
		v.Locking.Slack, v.Locking.Ceiling = 0, ceilings[min(i, len(ceilings)-1)]
	}
	defer func() {
		for i, v := range r.vaults {
			v.Locking = before[i]
		}
	}()
	s, err := r.session(r.t.Context())
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	p, c := r.commit(0, id)
	err = backup.Hold(r.t.Context(), s, repo.Head{Point: p, Commit: c}, until)
	return s.Vaults(), err
}

// standingUntil is when the first lock ends of what every point needs.
func standingUntil(r *rig, vault int) (first time.Time) {
	r.t.Helper()
	rp, err := repo.Find(r.t.Context(), r.stores[vault], "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range rp.Standing() {
		_, lock, err := r.stores[vault].Stat(r.t.Context(), store.Ref{Name: n.Name})
		if err != nil {
			r.t.Fatal(err)
		}
		if first.IsZero() || lock.Until.Before(first) {
			first = lock.Until
		}
	}
	return first
}

// A hold locks all that a point needs in every vault, changes of keys included, further than any point of the repository may be kept, and no
// further than it says. A vault whose ceiling forbids it is left out, and stands as it was.
func TestHold(t *testing.T) {
	g := newGuarded(t)
	first := g.expect(false)
	for i := range 150 {
		g.src.Put("new/"+string(rune('a'+i%26))+time.Duration(i).String(), []byte{byte(i)})
	}
	g.guard = nil
	g.clock = g.clock.Add(day)
	g.run()
	until := g.clock.Add(2000 * day)
	was := lockedUntil(g.rig, 1, first.Point)
	got, err := hold(g.rig, first.Point, until, 2000*day, 400*day)
	if err != nil || got[0].Err != nil || !errors.Is(got[1].Err, repo.ErrCeiling) {
		t.Fatalf("%v %+v", err, got)
	}
	if u := lockedUntil(g.rig, 0, first.Point); !u.Equal(until) || standingUntil(g.rig, 0).Before(until) {
		t.Errorf("locked until %s, what every point needs until %s, want %s", u, standingUntil(g.rig, 0), until)
	}
	if u := lockedUntil(g.rig, 1, first.Point); !u.Equal(was) {
		t.Errorf("the vault that was left out: %s, was %s", u, was)
	}
	if got, err = hold(g.rig, first.Point, until, 2000*day); err != nil || got[0].Extended != 0 || got[1].Extended == 0 || lockedUntil(g.rig, 1, first.Point) != until {
		t.Errorf("the second time: %v %+v", err, got)
	}
	if _, err = hold(g.rig, first.Point, until.Add(day), 2000*day); !errors.Is(err, repo.ErrCeiling) {
		t.Errorf("beyond all ceilings: %v", err)
	}
	g.clock = g.clock.Add(day)
	g.run() // runs go on as before
}

// stops lengthens so many locks and then none.
type stops struct {
	store.Locker
	left *atomic.Int64
}

var errKilled = errors.New("killed")

func (s stops) Extend(ctx context.Context, ref store.Ref, until store.Retention) error {
	if s.left.Add(-1) < 0 {
		return errKilled
	}
	return s.Locker.Extend(ctx, ref, until)
}

// Broken off anywhere, a hold is finished by the next try, and until then the point's own object does not look held.
func TestHoldBrokenOff(t *testing.T) {
	g := newGuarded(t)
	point := g.expect(false).Point
	g.vaults = g.vaults[:1]
	until := g.clock.Add(700 * day)
	var left atomic.Int64
	lock := g.vaults[0].Lock
	tries := 0
	for left.Store(0); ; tries++ {
		g.vaults[0].Lock = stops{lock, &left}
		got, err := hold(g.rig, point, until, 740*day)
		if err == nil && got[0].Err == nil {
			break
		}
		p, _ := g.commit(0, point)
		if _, l, serr := g.stores[0].Stat(t.Context(), store.Ref{Name: p.Name}); serr != nil || !l.Until.Before(until) {
			t.Fatalf("after %d tries: the point's own object is locked until %s, %v; %v", tries, l.Until, serr, err)
		}
		if tries > 200 {
			t.Fatal(err)
		}
		left.Store(1)
	}
	if lockedUntil(g.rig, 0, point) != until || tries < 3 {
		t.Errorf("%d tries, until %s", tries, lockedUntil(g.rig, 0, point))
	}
}

// What is lost of a point is named, and the rest is held.
func TestHoldOfALostObject(t *testing.T) {
	g := newGuarded(t)
	point := g.expect(false).Point
	pack := ""
	for _, s := range g.stores {
		for info, err := range s.Versions(t.Context(), format.PrefixPacks, "") {
			if err == nil {
				pack, err = info.Name, s.Attacker().Damage(info.Ref, func([]byte) []byte { return []byte("other") })
			}
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	g.cache = t.TempDir() // nothing is remembered of it
	var lost *repo.LostError
	if _, err := hold(g.rig, point, g.clock.Add(700*day), 740*day); !errors.As(err, &lost) || !slices.Contains(lost.Names, pack) {
		t.Fatal(pack, err)
	}
	p, _ := g.commit(1, point)
	if _, l, err := g.stores[1].Stat(t.Context(), store.Ref{Name: p.Name}); err != nil || l.Until.Before(g.clock.Add(700*day)) {
		t.Errorf("%s, %v", l.Until, err)
	}
}

// A point whose own object is damaged in one vault is held whole in the other alone, and that is said. A forecast counts what a hold
// lengthens, to the lock.
func TestHoldOfADamagedPoint(t *testing.T) {
	g := newGuarded(t)
	point := g.expect(false).Point
	until := g.clock.Add(700 * day)
	p, c := g.commit(0, point)
	would := forecastHold(g, repo.Head{Point: p, Commit: c}, until)
	if err := g.stores[0].Attacker().Damage(store.Ref{Name: p.Name, Version: p.Version}, func(b []byte) []byte { return append(b, ' ') }); err != nil {
		t.Fatal(err)
	}
	s, err := g.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var lost *repo.LostPointError
	if err := backup.Hold(t.Context(), s, repo.Head{Point: p, Commit: c}, until); !errors.As(err, &lost) || !slices.Equal(lost.Vaults, []string{s.Vaults()[0].Vault}) {
		t.Fatal(err)
	}
	if got := s.Vaults(); got[0].Extended != would[0].Longer-1 || got[1].Extended != would[1].Longer {
		t.Errorf("%d and %d locks were lengthened, foreseen were %d and %d", got[0].Extended, got[1].Extended, would[0].Longer, would[1].Longer)
	}
	if u := lockedUntil(g.rig, 1, point); u.Before(until) {
		t.Errorf("the other vault: %s", u)
	}
}

func forecastHold(g *guarded, p repo.Head, until time.Time) []repo.Lengthening {
	g.t.Helper()
	for _, v := range g.vaults {
		v.Locking.Ceiling = 740 * day
	}
	s, err := g.session(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	defer s.Close()
	would, err := backup.ForecastHold(g.t.Context(), s, p, until)
	if err != nil {
		g.t.Fatal(err)
	}
	return would
}

// What the guard holds is said where no vault keeps locks, too: prune goes by the record.
func TestGuardHoldsInDirectories(t *testing.T) {
	g := newGuarded(t)
	for _, v := range g.vaults {
		v.Locking.Mode = store.ModeNone
	}
	g.expect(false)
	g.src.Put("ledger.csv", []byte("something"))
	if res := g.expect(true, guard.Tripwire); !res.Suspect.Held.Equal(g.clock.Add(90 * day)) {
		t.Errorf("held until %s", res.Suspect.Held)
	}
}
