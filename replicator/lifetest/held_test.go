package lifetest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// records gives the names of the records in the vault, oldest number first.
func (r *reporter) records() (out []store.Info) {
	r.t.Helper()
	for info, err := range r.Store.Versions(r.t.Context(), format.PrefixReports, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

// heldWorld is a world with two points of which the oldest is held by the first record, and is over but for that.
func heldWorld(t *testing.T, mode store.Mode) (*reporter, evidence.Hold) {
	t.Helper()
	w := newReporter(t, ran(t, short(), 2))
	h := w.oldest(w.Clock.Add(60 * day))
	w.tell(evidence.TypeHold, h)
	w.Clock = w.Clock.Add(30 * day)
	for i := range 30 {
		w.Copy(i)
	}
	if _, err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Vault.Locking.Mode = mode
	return w, h
}

// Holds only grow: what later records leave out, or give a shorter end, lets go of nothing.
func TestLaterRecordsLetGoOfNothing(t *testing.T) {
	for what, later := range map[string]func(evidence.Hold) []evidence.Hold{
		"none": func(evidence.Hold) []evidence.Hold { return nil },
		"shorter": func(h evidence.Hold) []evidence.Hold {
			h.Until = format.At(h.Until.Add(-59 * day))
			return []evidence.Hold{h}
		},
	} {
		for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
			w, h := heldWorld(t, mode)
			for range 20 {
				w.tell("run", later(h)...)
			}
			if s, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || !w.there(h) {
				t.Errorf("%s, %q: the held point is there: %v; %+v, %v", what, mode, w.there(h), s, err)
			}
			if s, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{}); mode != store.ModeNone && (err != nil || s.Held != 1 || s.Broken != 0) {
				t.Errorf("%s: %+v, %v", what, s, err)
			}
		}
	}
}

// newer puts a record in that only a later version reads: signed as it must be.
func (r *reporter) newer() {
	r.t.Helper()
	found, err := r.Repository(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	rec := &format.Record{Repository: found.ID, Reporter: r.key.Name, Series: format.At(r.Clock), Time: format.At(r.Clock), Type: "run", Body: []byte(`{"holds":[]}`)}
	body, err := format.EncodeRecord(rec)
	if err != nil {
		r.t.Fatal(err)
	}
	body = bytes.Replace(body, []byte(`"kind":"record"`), []byte(`"kind":"record","requires":["later"]`), 1)
	id := format.RecordID{Reporter: rec.Reporter, Series: rec.Series, Sum: sha256.Sum256(body), Hint: format.KeyHint(r.key.Public())}
	id.Signature = attest.Sign(r.key.Signing, attest.Record, id.Message(found.ID))
	overwrite(r.t, r.World, id.Name(), body, store.Retention{})
}

// Where a record cannot be read, whatever the reason, nobody knows what it holds: nothing that is over goes, and the record is named. A
// renewal does the rest and counts it, one that a newer holdfast wrote apart from what is damaged.
func TestUnreadableRecords(t *testing.T) {
	for what, spoil := range map[string]func(*reporter) (rules []faults.Rule){
		"damaged": func(w *reporter) []faults.Rule {
			if err := w.Store.Attacker().Damage(w.records()[0].Ref, func([]byte) []byte { return []byte("other") }); err != nil {
				w.t.Fatal(err)
			}
			return nil
		},
		"refused": func(*reporter) []faults.Rule {
			return []faults.Rule{{Op: "open", Name: format.PrefixReports + "*", Nth: 0, Way: faults.Denied}}
		},
		"not listed": func(*reporter) []faults.Rule {
			return []faults.Rule{{Op: "versions", Name: format.PrefixReports + "*", Way: faults.Denied}}
		},
		"newer": func(w *reporter) []faults.Rule { w.newer(); return nil },
	} {
		for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
			w, h := heldWorld(t, mode)
			w.tell("run") // a later one says nothing of it
			p := faults.New(spoil(w)...)
			read := w.Vault.Read
			w.Vault.Read = p.Reader(read)
			before := len(packs(t, w.World))
			s, err := w.Prune(t.Context(), w.Remover(), nil)
			if !errors.Is(err, prune.ErrUnsure) || s.Removed != 0 || !strings.Contains(err.Error(), format.PrefixReports) || !w.there(h) || len(packs(t, w.World)) != before {
				t.Errorf("%s, %q: %+v, %v", what, mode, s, err)
			}
			if mode == store.ModeNone {
				continue
			}
			sum, err := doRenew(t.Context(), w.World, *w.Vault, renew.Options{})
			newer := 0
			if what == "newer" { // nothing is wrong with it
				newer = 1
			}
			if err != nil || (sum.Broken == 0) != (newer > 0) || sum.Newer != newer || sum.Points == 0 {
				t.Errorf("%s: %+v, %v", what, sum, err)
			}
		}
	}
}

// Junk under reports/, and records that no key of the repository signed, stop nobody; nor does a record that cannot be read where nothing
// is over that it could hold.
func TestJunkRecordsStopNothing(t *testing.T) {
	w := newReporter(t, ran(t, short(), 2))
	w.tell("run")
	name := w.records()[0].Name
	overwrite(t, w.World, name[:len(name)-8]+"00000.json", []byte("junk"), store.Retention{})
	overwrite(t, w.World, format.PrefixReports+"web-1/junk", []byte("junk"), store.Retention{})
	overwrite(t, w.World, name, []byte("other bytes on top"), store.Retention{})
	h := w.oldest(w.Clock.Add(60 * day))
	w.Clock = w.Clock.Add(30 * day)
	run(t, w.World)
	if s, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Removed == 0 || w.there(h) {
		t.Errorf("%+v, %v", s, err)
	}
	w.newer()
	if s, err := w.Prune(t.Context(), w.Remover(), nil); err != nil {
		t.Errorf("where nothing is over: %+v, %v", s, err)
	}
}

// listing does something once, when a folder is listed.
type listing struct {
	store.Reader
	at   string
	do   func()
	once sync.Once
}

func (l *listing) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if prefix == l.at {
		l.once.Do(l.do)
	}
	return l.Reader.Versions(ctx, prefix, after)
}

// A hold that is made while a pruning looks around is seen before anything goes.
func TestHoldWhilePruning(t *testing.T) {
	for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
		w := newReporter(t, ran(t, short(), 2))
		h := w.oldest(w.Clock.Add(60 * day))
		w.tell("run")
		w.Clock = w.Clock.Add(30 * day)
		for i := range 30 {
			w.Copy(i)
		}
		if _, err := w.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.Vault.Locking.Mode = mode
		read := w.Vault.Read
		w.Vault.Read = &listing{Reader: read, at: format.PrefixPacks, do: func() { w.tell(evidence.TypeHold, h) }}
		s, err := w.Prune(t.Context(), w.Remover(), nil)
		w.Vault.Read = read
		if err != nil || !w.there(h) || s.Needed == 0 {
			t.Fatalf("%q: there: %v, %+v, %v", mode, w.there(h), s, err)
		}
		if err := w.Whole(t.Context()); err != nil {
			t.Errorf("%q: %v", mode, err)
		}
	}
}

// A held point whose commit object cannot be read needs nobody knows what: nothing goes.
func TestHeldPointThatCannotBeRead(t *testing.T) {
	w, h := heldWorld(t, store.Compliance)
	for info, err := range w.Store.Versions(t.Context(), format.PrefixPoints, "") {
		if err != nil {
			t.Fatal(err)
		}
		if id, err := format.ParsePointName(info.Name); err == nil && id.ID == h.Point {
			if err := w.Store.Attacker().Damage(info.Ref, func(b []byte) []byte { return slices.Repeat([]byte("x"), len(b)) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if !errors.Is(err, prune.ErrUnsure) || s.Removed != 0 || !strings.Contains(err.Error(), h.Point.String()) {
		t.Fatalf("%+v, %v", s, err)
	}
	w.Clock = h.Until.Add(4 * day)
	run(t, w.World)
	if s, err = w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Removed == 0 {
		t.Errorf("after its hold: %+v, %v", s, err)
	}
}
