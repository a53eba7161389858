package lifetest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// reporter is a world whose repository has a reporter, which tells of holds.
type reporter struct {
	*lifetest.World
	t   *testing.T
	key *keys.ReporterKey
	dir string
}

func newReporter(t *testing.T, w *lifetest.World) *reporter {
	t.Helper()
	key, err := keys.GenerateReporterKey("web-1", "job")
	if err != nil {
		t.Fatal(err)
	}
	recipients := []keys.Recipient{w.Key.Recipient()}
	changed, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{w.Vault}, Old: w.Host, New: w.Host, Recipients: recipients, Reporters: []format.Key{format.ReporterKey(key.Public(), key.Name, key.Role)},
		Need: 40 * day, Now: w.Now,
	})
	if err != nil || changed[0].Err != nil {
		t.Fatal(err, changed)
	}
	return &reporter{w, t, key, t.TempDir()}
}

// tell makes a record, which tells of holds.
func (r *reporter) tell(kind string, holds ...evidence.Hold) {
	r.t.Helper()
	found, err := r.Repository(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	book, lock, err := evidence.OpenBook(r.t.Context(), r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	defer lock.Close()
	var held []evidence.Held
	for _, h := range holds {
		held = append(held, evidence.Held{Hold: h})
	}
	body, err := json.Marshal(evidence.Telling(held))
	if err != nil {
		r.t.Fatal(err)
	}
	by := evidence.Reporter{Key: r.key, Repository: found.ID, Book: book, Vaults: []evidence.Vault{{
		Name: "vault", Read: r.Store, Write: r.Store, Mode: store.Compliance, Keep: 30 * day,
	}}}
	if out, err := by.Add(r.t.Context(), evidence.Statement{Time: r.Clock, Type: kind, Body: body}); err != nil || out[0].Err != nil {
		r.t.Fatal(err, out)
	}
}

// oldest gives a hold of the oldest point.
func (r *reporter) oldest(until time.Time) evidence.Hold {
	r.t.Helper()
	found, err := r.Repository(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := found.Points(r.t.Context(), r.Store, "", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	p := points[0]
	return evidence.Hold{Source: p.Source, Point: p.ID, SignedAt: p.SignedAt, Until: format.At(until.Truncate(time.Second)), Reason: "case 113", At: format.At(r.Clock.Truncate(time.Second)), Reporter: "web-1"}
}

// there reports whether the own object of a held point is in the vault.
func (r *reporter) there(h evidence.Hold) bool {
	r.t.Helper()
	found, err := r.Repository(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	points, err := found.Points(r.t.Context(), r.Store, h.Source, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range points {
		if p.ID == h.Point {
			return true
		}
	}
	return false
}

// A pruning spares a point that a record says is held, and all it needs, with locks and without; when the hold is over it goes. What other
// records were made since makes no difference, as each of them tells of it.
func TestPruneSparesHeldPoints(t *testing.T) {
	for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
		w := newReporter(t, ran(t, short(), 2))
		h := w.oldest(w.Clock.Add(60 * day))
		w.tell(evidence.TypeHold, h)
		for range 40 {
			w.tell("run", h)
		}
		w.Vault.Locking.Mode = mode
		for _, days := range []int{20, 40, 6} {
			w.Vault.Locking.Mode = store.Compliance
			w.Clock = w.Clock.Add(time.Duration(days) * day)
			for i := range 30 {
				w.Copy(i)
			}
			if _, err := w.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.Vault.Locking.Mode = mode
			s, err := w.Prune(t.Context(), w.Remover(), nil)
			if err != nil {
				t.Fatal(err)
			}
			held := w.Clock.Before(h.Until.Add(3 * day))
			if w.there(h) != held {
				t.Fatalf("%q: after %d days more: %v, %+v", mode, days, !held, s)
			}
			if held { // and all it needs
				if sum, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{Points: []format.Hash{h.Point}}); mode != store.ModeNone && (err != nil || sum.Lost+int64(sum.Broken) > 0) {
					t.Fatalf("%q: %+v, %v", mode, sum, err)
				}
			}
		}
	}
}

// A renewal locks what held points need until the hold ends, beyond the vault's ceiling as far as holds may reach, and everything else as before.
func TestRenewHeldPoints(t *testing.T) {
	w := newReporter(t, ran(t, lifetest.Options{}, 3))
	h := w.oldest(w.Clock.Add(700 * day))
	w.tell(evidence.TypeHold, h)
	s, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{})
	if err != nil || s.Held != 1 || s.HeldShort != 1 || s.Due == 0 || s.Until.After(w.Clock.Add(400*day)) {
		t.Fatalf("within the ceiling: %+v, %v", s, err)
	}
	if s, err = doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day}); err != nil || s.HeldShort != 0 || !s.Until.Equal(h.Until.Time) || s.Extended != s.Due || s.Due == 0 {
		t.Fatalf("as far as it goes: %+v, %v", s, err)
	}
	if s, err = doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day}); err != nil || s.Due != 0 {
		t.Fatalf("the second time: %+v, %v", s, err)
	}
	// The ceiling of others stays.
	if _, err = doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day, Until: w.Clock.Add(500 * day)}); !errors.Is(err, repo.ErrCeiling) {
		t.Errorf("%v", err)
	}
	// A point that is over and held is renewed all the same.
	w.Clock = w.Clock.Add(500 * day)
	if s, err = doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day}); err != nil || s.Points != 1 || s.Held != 1 {
		t.Errorf("later: %+v, %v", s, err)
	}
}

// A hold outlives the keys of the point and of who held it.
func TestHoldsOutliveKeys(t *testing.T) {
	w := newReporter(t, ran(t, short(), 2))
	h := w.oldest(w.Clock.Add(60 * day))
	w.tell(evidence.TypeHold, h)
	w.Clock = w.Clock.Add(time.Minute)
	next, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.GenerateReporterKey("web-1", "job")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{w.Vault}, Old: w.Host, New: next, Recipients: []keys.Recipient{w.Key.Recipient()}, DistrustAfter: w.Clock.Add(-300 * day),
		Reporters: []format.Key{format.ReporterKey(other.Public(), other.Name, other.Role)}, Need: 40 * day, Now: w.Now,
	})
	if err != nil || changed[0].Err != nil {
		t.Fatal(fmt.Sprint(err, changed))
	}
	w.Host = next
	w.Clock = w.Clock.Add(30 * day)
	if _, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || !w.there(h) {
		t.Errorf("pruned: %v, %v", !w.there(h), err)
	}
	if s, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{Reach: 740 * day}); err != nil || s.Held != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
