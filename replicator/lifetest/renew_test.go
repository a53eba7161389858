package lifetest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

const day = 24 * time.Hour

// ran gives a world with some points a day apart.
func ran(t *testing.T, o lifetest.Options, points int) *lifetest.World {
	t.Helper()
	o.Dir = t.TempDir()
	w, err := lifetest.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for range points {
		run(t, w)
		w.Pass(day)
	}
	return w
}

func run(t *testing.T, w *lifetest.World) {
	t.Helper()
	if _, err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	audit(t, w)
}

func audit(t *testing.T, w *lifetest.World) {
	t.Helper()
	if err := w.Audit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// doRenew renews with a vault that cannot be written.
func doRenew(ctx context.Context, w *lifetest.World, v repo.Vault, o renew.Options) (_ renew.Summary, err error) {
	r, err := w.Repository(ctx)
	if err != nil {
		return renew.Summary{}, err
	}
	scratch, err := needed.NewScratch("")
	if err != nil {
		return renew.Summary{}, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	v.Write = nil
	o.Repository, o.Vault, o.Scratch, o.Now = r, &v, scratch.Cache, w.Now
	return renew.Run(ctx, o)
}

// packs gives the names of the packs in the vault.
func packs(t *testing.T, w *lifetest.World) []string {
	t.Helper()
	var out []string
	for info, err := range w.Store.Versions(t.Context(), format.PrefixPacks, "") {
		if err != nil {
			t.Fatal(err)
		}
		if len(out) == 0 || out[len(out)-1] != info.Name {
			out = append(out, info.Name)
		}
	}
	return out
}

func overwrite(t *testing.T, w *lifetest.World, name string, body []byte, lock store.Retention) store.Ref {
	t.Helper()
	ref, err := w.Store.Put(t.Context(), name, bytes.NewReader(body), int64(len(body)), store.PutOptions{SHA256: sha256.Sum256(body), Retention: lock})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestNothingToRenew: after a run every lock holds, and a renewal lengthens none and fails nothing.
func TestNothingToRenew(t *testing.T) {
	w := ran(t, lifetest.Options{}, 3)
	s, err := doRenew(t.Context(), w, *w.Vault, renew.Options{})
	if err != nil || s.Due != 0 || s.Extended != 0 || s.Objects < 10 || s.Points != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestHoldLonger: when no new points come, what there is can be held longer; a second time nothing is left to do.
func TestHoldLonger(t *testing.T) {
	w := ran(t, lifetest.Options{}, 3)
	until := w.Clock.Add(385 * day)
	dry, err := doRenew(t.Context(), w, *w.Vault, renew.Options{Until: until, DryRun: true})
	if err != nil || dry.Due == 0 || dry.Extended != 0 {
		t.Fatalf("%+v, %v", dry, err)
	}
	s, err := doRenew(t.Context(), w, *w.Vault, renew.Options{Until: until})
	if err != nil || s.Extended != dry.Due || s.Due != dry.Due {
		t.Fatalf("%+v, %v; forecast %+v", s, err, dry)
	}
	for _, name := range packs(t, w) {
		if _, lock, err := w.Store.Stat(t.Context(), store.Ref{Name: name}); err != nil || lock.Until.Before(until) {
			t.Errorf("%s is locked until %s, %v", name, lock.Until, err)
		}
	}
	if s, err = doRenew(t.Context(), w, *w.Vault, renew.Options{Until: until}); err != nil || s.Due != 0 {
		t.Errorf("the second time: %+v, %v", s, err)
	}
	if _, err = doRenew(t.Context(), w, *w.Vault, renew.Options{Until: w.Clock.Add(396 * day)}); !errors.Is(err, repo.ErrCeiling) {
		t.Errorf("beyond the ceiling: %v", err)
	}
}

// TestRenewUnderAttack: an overwrite and a delete marker lie on packs; the right version is renewed, by a run and by a
// renewal, and the attacker's is not.
func TestRenewUnderAttack(t *testing.T) {
	for _, how := range []string{"renew", "run"} {
		t.Run(how, func(t *testing.T) {
			w := ran(t, lifetest.Options{}, 2)
			names := packs(t, w)
			good := map[string]store.Ref{}
			junk := map[string]store.Ref{}
			for i, name := range names {
				info, _, err := w.Store.Stat(t.Context(), store.Ref{Name: name})
				if err != nil {
					t.Fatal(err)
				}
				good[name] = info.Ref
				if i == 0 {
					w.Store.Attacker().Hide(name)
					continue
				}
				junk[name] = overwrite(t, w, name, bytes.Repeat([]byte{1}, int(info.Size)), store.Retention{Mode: store.Compliance, Until: w.Clock.Add(day)})
			}
			until := w.Clock.Add(380 * day)
			if how == "renew" {
				if _, err := doRenew(t.Context(), w, *w.Vault, renew.Options{Until: until}); err != nil {
					t.Fatal(err)
				}
			} else {
				w.Clock = time.Date(2027, 1, 1, 2, 0, 0, 0, time.UTC) // the first of a month: everything is held for a year
				if _, err := w.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				until = w.Clock.AddDate(1, 0, 0)
			}
			for name, ref := range good {
				if _, lock, err := w.Store.Stat(t.Context(), ref); err != nil || lock.Until.Before(until) {
					t.Errorf("%s is locked until %s, want %s (%v)", name, lock.Until, until, err)
				}
			}
			for name, ref := range junk {
				if _, lock, err := w.Store.Stat(t.Context(), ref); err != nil || lock.Until.After(w.Clock.Add(day)) {
					t.Errorf("%s: the attacker's version is locked until %s (%v)", name, lock.Until, err)
				}
			}
			t.Logf("figure: hidden=%d overwritten=%d", len(good)-len(junk), len(junk))
		})
	}
}

// unlockAll takes every lock off, as an administrator can in governance mode, or a copy of the bucket does.
func unlockAll(t *testing.T, w *lifetest.World) {
	t.Helper()
	for info, err := range w.Store.Versions(t.Context(), "", "") {
		if err == nil {
			err = w.Store.Attacker().Unlock(info.Ref)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// faulty gives the vault with calls that fail by rules.
func faulty(w *lifetest.World, rules ...faults.Rule) (*faults.Plan, repo.Vault) {
	p := faults.New(rules...)
	v := *w.Vault
	v.Read, v.Lock, v.Inspect = p.Reader(w.Vault.Read), p.Locker(w.Vault.Lock), p.Inspector(w.Vault.Inspect)
	return p, v
}

// TestRenewInterrupted: all locks are gone; a renewal is broken off at each of its calls, which fails as do all after it,
// and the next one puts the rest right. Nothing is lengthened twice but what was on its way.
func TestRenewInterrupted(t *testing.T) {
	w := ran(t, lifetest.Options{Objects: 60}, 2)
	unlockAll(t, w)
	p, v := faulty(w)
	whole, err := doRenew(t.Context(), w, v, renew.Options{})
	if err != nil || whole.Extended == 0 || whole.Extended != whole.Due {
		t.Fatalf("%+v %v", whole, err)
	}
	audit(t, w)
	calls, extended := len(p.Calls()), 0
	for n := 1; n <= calls; n++ {
		unlockAll(t, w)
		p, v := faulty(w, faults.Rule{Nth: n, Way: faults.Transient})
		before := w.Meter.Snapshot().Asked["extend"].Calls
		if s, err := doRenew(t.Context(), w, v, renew.Options{}); err == nil {
			t.Fatalf("call %d of %d failed, and the renewal did not: %+v", n, calls, s)
		}
		p.Check(t)
		extended += int(w.Meter.Snapshot().Asked["extend"].Calls - before)
		if _, err := doRenew(t.Context(), w, *w.Vault, renew.Options{}); err != nil {
			t.Fatalf("after call %d of %d: %v", n, calls, err)
		}
		audit(t, w)
		if made := w.Meter.Snapshot().Asked["extend"].Calls - before; made > whole.Extended+16 {
			t.Fatalf("after call %d of %d: %d locks lengthened instead of %d", n, calls, made, whole.Extended)
		}
	}
	if extended == 0 {
		t.Error("no renewal was broken off in the middle")
	}
	t.Logf("figure: calls=%d", calls)
}

// TestRunInterrupted: a run whose locks have to be lengthened is broken off at each of those calls; the next one comes
// through, and every living point is locked at every moment.
func TestRunInterrupted(t *testing.T) {
	for n := 1; ; n++ {
		w := ran(t, lifetest.Options{Objects: 40}, 1)
		w.Clock = time.Date(2027, 1, 1, 2, 0, 0, 0, time.UTC)
		p := faults.New(faults.Rule{Op: "extend", Nth: n, Way: faults.Transient})
		lock := w.Vault.Lock
		w.Vault.Lock = p.Locker(lock)
		_, err := w.Run(t.Context())
		w.Vault.Lock = lock
		audit(t, w)
		if len(p.Left()) > 0 {
			if err != nil || n < 4 {
				t.Errorf("%d calls, %v", n-1, err)
			}
			t.Logf("figure: calls=%d", n-1)
			return
		}
		w.Pass(time.Hour)
		run(t, w)
	}
}

// TestRefusedSegment: a lock that no point needs and that cannot be lengthened fails no run.
func TestRefusedSegment(t *testing.T) {
	w := ran(t, lifetest.Options{Objects: 40, Report: func(f repo.Finding) { t.Log(f) }}, 30) // folded into placements that are too large for one more run
	w.Clock = time.Date(2027, 3, 1, 2, 0, 0, 0, time.UTC)
	p := faults.New(faults.Rule{Op: "extend", Name: format.PrefixPlacements + "*", Way: faults.Denied})
	w.Vault.Lock = p.Locker(w.Vault.Lock)
	run(t, w)
	p.Check(t)
}
