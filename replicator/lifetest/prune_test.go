package lifetest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// short keeps points for a few days.
func short() lifetest.Options {
	return lifetest.Options{Objects: 60, Change: 0.3, Slack: 2 * day, Retention: retain.Policy{Daily: retain.Span{Duration: 3 * day}}}
}

func versions(t *testing.T, w *lifetest.World, prefix string) []store.Info {
	t.Helper()
	var out []store.Info
	for info, err := range w.Store.Versions(t.Context(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

// TestPrune: what is over goes and nothing else does; a dry run deletes nothing and says the same.
func TestPrune(t *testing.T) {
	w := ran(t, short(), 14)
	before := len(versions(t, w, ""))
	var dry, real []prune.Item
	d, err := w.Prune(t.Context(), nil, func(i prune.Item) { dry = append(dry, i) })
	if err != nil || !d.DryRun || d.Removed == 0 || len(versions(t, w, "")) != before {
		t.Fatalf("%+v, %v; %d objects of %d left", d, err, len(versions(t, w, "")), before)
	}
	s, err := w.Prune(t.Context(), w.Remover(), func(i prune.Item) { real = append(real, i) })
	if err != nil || s.Removed != d.Removed || s.Bytes != d.Bytes || len(real) != len(dry) {
		t.Fatalf("%+v, %v; forecast %+v", s, err, d)
	}
	if got := len(versions(t, w, "")); got != before-int(s.Removed) {
		t.Errorf("%d left of %d, %d removed", got, before, s.Removed)
	}
	audit(t, w)
	for i, item := range real {
		if item.Reason == prune.Over && i > 0 && real[i-1].Reason != prune.Over {
			t.Errorf("%s of a point went after what it needed", item.Name)
		}
	}
	run(t, w) // and the next run finds its way
	if s, err = w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Removed != 0 {
		t.Errorf("a second time: %+v %v", s, err)
	}
	// Pages go with the index segments beside them, once these are folded into another.
	for range 70 {
		w.Pass(day)
		run(t, w)
	}
	if _, err = w.Prune(t.Context(), w.Remover(), nil); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"packs", "meta", "needs", "points"} {
		if w.Removed[kind] == 0 {
			t.Errorf("no %s were removed: %v", kind, w.Removed)
		}
	}
	audit(t, w)
}

// TestPruneThenCacheLost: a machine that lost its cache is told by old placements of what was pruned since; that is no
// loss. What went while its lock was said to run is one.
func TestPruneThenCacheLost(t *testing.T) {
	o := short()
	var mu sync.Mutex
	var told []repo.Finding
	o.Report = func(f repo.Finding) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, f)
	}
	w := ran(t, o, 14)
	old := versions(t, w, "packs/")
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || w.Removed["packs"] == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	w.LoseCache(t.TempDir())
	told = nil
	run(t, w)
	for _, f := range told {
		t.Errorf("after %d packs of %d were pruned: %s", w.Removed["packs"], len(old), f)
	}
	left := versions(t, w, "packs/")
	robbed := left[len(left)-1]
	for _, info := range left {
		if info.Modified.After(robbed.Modified) {
			robbed = info
		}
	}
	if err := w.Store.Attacker().Lose(robbed.Ref); err != nil {
		t.Fatal(err)
	}
	w.LoseCache(t.TempDir())
	told = nil
	if _, err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) == 0 {
		t.Errorf("%s is gone, and nothing was said", robbed.Name)
	}
	for _, f := range told {
		if f.Kind != repo.Missing || f.Name != robbed.Name {
			t.Errorf("%s is gone: %s", robbed.Name, f)
		}
	}
}

// TestPruneKeepsTheLast: when runs have failed for months the newest complete point is all there is, and stays.
func TestPruneKeepsTheLast(t *testing.T) {
	w := ran(t, short(), 3)
	w.Clock = w.Clock.Add(90 * day)
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || s.Living != 1 || s.Points != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err = w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Points != 1 || s.Removed != 0 {
		t.Fatalf("again: %+v, %v", s, err)
	}
	w.Retired = []string{"uploads"}
	if s, err = w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Living != 0 || s.Removed == 0 {
		t.Fatalf("retired: %+v, %v", s, err)
	}
	left := versions(t, w, "")
	for _, info := range left {
		if !strings.HasPrefix(info.Name, "descriptors/") && !strings.HasPrefix(info.Name, "keys/") {
			t.Errorf("left: %s", info.Name)
		}
	}
	if len(left) != 2 {
		t.Errorf("%d objects left", len(left))
	}
}

// TestPruneKeepsTheLastThatIsNotEmpty: a disk that was not mounted for months leaves points marked as empty. What stays is
// the newest point with something in it.
func TestPruneKeepsTheLastThatIsNotEmpty(t *testing.T) {
	w := ran(t, short(), 2)
	good := points(t, w)
	w.Source = memsource.New(memsource.Options{Now: w.Now})
	for range 3 {
		w.Clock = w.Clock.Add(20 * day)
		run(t, w)
	}
	w.Clock = w.Clock.Add(90 * day)
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || s.Living != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	if left := points(t, w); len(left) != 1 || left[0] != good[1] {
		t.Errorf("left %v of good %v", left, good)
	}
	decoded(t, w, true)
}

// TestPruneKeepsTheLastThatIsTrusted: a thief of the host key signs a newer point of an emptied source, and the owner
// distrusts it. When all is over, the newest point that is to be trusted is what stays.
func TestPruneKeepsTheLastThatIsTrusted(t *testing.T) {
	w := ran(t, short(), 2)
	good := points(t, w)
	w.Clock = w.Clock.Add(time.Hour)
	theft := w.Clock
	w.Clock = w.Clock.Add(time.Hour)
	w.Source = memsource.New(memsource.Options{Now: w.Now})
	run(t, w)
	thief := points(t, w)[2]
	next, err := w.Host.Rotated(false)
	if err != nil {
		t.Fatal(err)
	}
	w.Clock = w.Clock.Add(time.Hour)
	if _, err := repo.Change(t.Context(), repo.ChangeOptions{
		Vaults: []*repo.Vault{w.Vault}, Old: w.Host, New: next, Recipients: []keys.Recipient{w.Key.Recipient()}, Need: 30 * day, DistrustAfter: theft, Now: w.Now,
	}); err != nil {
		t.Fatal(err)
	}
	w.Clock = w.Clock.Add(90 * day)
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || s.Living != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	left := points(t, w)
	if len(left) != 1 || left[0] != good[1] {
		t.Errorf("left %v of good %v and the thief's %s", left, good, thief)
	}
	decoded(t, w, true)
}

// points gives the names of all commit objects, in order of time.
func points(t *testing.T, w *lifetest.World) []string {
	t.Helper()
	var out []string
	for _, info := range versions(t, w, format.PrefixPoints) {
		out = append(out, info.Name)
	}
	return out
}

// TestPruneWithoutLocks: every lock was taken off, so nothing but the lists stands between prune and what living points
// need. It deletes what is over, and nothing of theirs.
func TestPruneWithoutLocks(t *testing.T) {
	w := ran(t, short(), 12)
	unlockAll(t, w)
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || s.Removed == 0 || s.Living < 4 || s.Living >= s.Points {
		t.Fatalf("%+v, %v", s, err)
	}
	whole(t, w)
	if again, err := w.Prune(t.Context(), nil, nil); err != nil || again.Points != s.Living || again.Living != s.Living {
		t.Errorf("%+v, %v; before %+v", again, err, s)
	}
	decoded(t, w, true)
}

// TestPruneWhereTheChainEnds: a change of keys of a later version is signed and not understood. Where there are locks they decide; where there
// are none nothing is deleted.
func TestPruneWhereTheChainEnds(t *testing.T) {
	for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
		w := ran(t, short(), 12)
		r, err := w.Repository(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		d := *r.Now()
		d.Number, d.Previous = 1, r.Fingerprint
		body, err := format.EncodeDescriptor(&d, func(m []byte) []byte { return attest.Sign(w.Host.Signing, attest.Descriptor, m) })
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.Replace(body, []byte(format.Version), []byte("2"), 1)
		id := format.DescriptorID{Number: 1, Sum: sha256.Sum256(body), Hint: format.KeyHint(w.Host.Public())}
		id.Signature = attest.Sign(w.Host.Signing, attest.DescriptorName, id.Message(r.ID))
		overwrite(t, w, id.Name(), body, store.Retention{})
		w.Vault.Locking.Mode = mode
		s, err := w.Prune(t.Context(), w.Remover(), nil)
		if refused := errors.Is(err, prune.ErrUnsure) && errors.Is(err, repo.ErrEnd) && s.Removed == 0; refused != (mode == store.ModeNone) || !refused && err != nil {
			t.Errorf("%q: %+v, %v", mode, s, err)
		}
	}
}

// TestPruneAfterAnAttack: overwrites, delete markers and junk go once they are three days old; every right version stays,
// also where the attacker's has its size, came first in the listing, or is locked.
func TestPruneAfterAnAttack(t *testing.T) {
	w := ran(t, short(), 4)
	var good []store.Info
	for _, info := range versions(t, w, "") {
		good = append(good, info)
		switch info.Name[len(info.Name)-9] % 3 {
		case 0:
			overwrite(t, w, info.Name, bytes.Repeat([]byte{7}, int(info.Size)), store.Retention{})
		case 1:
			w.Store.Attacker().Hide(info.Name)
		case 2:
			overwrite(t, w, info.Name, []byte("junk"), store.Retention{})
			w.Store.Attacker().Hide(info.Name)
		}
	}
	for _, name := range []string{"packs/zz", "meta/x", "points/uploads/junk", "points/other/20261123T000000Z-aa", "canary/1", "reports/x.html"} {
		overwrite(t, w, name, []byte("junk"), store.Retention{})
	}
	stranger := overwrite(t, w, "elsewhere/file", []byte("somebody else's"), store.Retention{})
	if s, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Removed != 0 {
		t.Fatalf("at once: %+v, %v", s, err)
	}
	w.Clock = w.Clock.Add(3*day + time.Minute)
	if _, err := w.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := w.Prune(t.Context(), w.Remover(), nil)
	if err != nil || s.Removed == 0 {
		t.Fatalf("%+v, %v", s, err)
	}
	there := map[store.Ref]bool{}
	for _, info := range versions(t, w, "") {
		there[info.Ref] = true
		if info.DeleteMarker {
			t.Errorf("a delete marker is left on %s", info.Name)
		}
		delete(there, store.Ref{})
	}
	if !there[stranger] {
		t.Error("what lies outside the repository's folders was deleted")
	}
	if n := len(versions(t, w, "packs/zz")) + len(versions(t, w, "points/other")) + len(versions(t, w, "canary/")); n != 0 {
		t.Errorf("%d junk objects left", n)
	}
	audit(t, w)
	for _, info := range good {
		_, lock, err := w.Store.Stat(t.Context(), info.Ref)
		if err == nil || lock.Until.Before(w.Clock) {
			continue
		}
		t.Errorf("the right version of %s is gone: %v", info.Name, err)
	}
}

// TestPruneSparesEvidence: records and reports of drills stay after their locks, and where there are none; a delete marker over one goes.
func TestPruneSparesEvidence(t *testing.T) {
	for _, mode := range []store.Mode{store.ModeNone, store.Compliance} {
		w := ran(t, short(), 2)
		record := format.RecordID{Reporter: "web-1", Series: format.Time{Time: w.Clock}, Sum: sha256.Sum256([]byte("record")), Hint: "01234567", Signature: make([]byte, 64)}
		names := []string{record.Name(), "reports/20261123T080500Z-0123456789abcdef.html"}
		for _, name := range names {
			overwrite(t, w, name, []byte("record"), store.Retention{})
		}
		w.Store.Attacker().Hide(names[0])
		w.Vault.Locking.Mode = mode
		w.Clock = w.Clock.Add(4 * day)
		s, err := w.Prune(t.Context(), w.Remover(), nil)
		if err != nil {
			t.Fatalf("%q: %+v, %v", mode, s, err)
		}
		for _, name := range names {
			if there := versions(t, w, name); len(there) != 1 || there[0].DeleteMarker {
				t.Errorf("%q: %s: %+v are left", mode, name, there)
			}
		}
	}
}

// TestPruneInterrupted: broken off at each of its calls, each time all after it failing too, a pruning loses nothing that
// a living point needs and leaves no point that is over without what it needs; the next one does the rest.
func TestPruneInterrupted(t *testing.T) {
	o := short()
	o.Objects = 12
	w := ran(t, o, 9)
	p := faults.New()
	read, inspect := w.Vault.Read, w.Vault.Inspect
	w.Vault.Read, w.Vault.Inspect = p.Reader(read), p.Inspector(inspect)
	if _, err := w.Prune(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	plan := len(p.Calls())
	removed := 0
	for n := 1; ; n++ {
		p := faults.New(faults.Rule{Nth: n, Way: faults.Lost}, faults.Rule{Nth: n, Way: faults.Transient})
		if n <= plan {
			p = faults.New(faults.Rule{Nth: n, Way: faults.Transient})
		}
		w.Vault.Read, w.Vault.Inspect = p.Reader(read), p.Inspector(inspect)
		s, err := w.Prune(t.Context(), p.Remover(w.Remover()), nil)
		w.Vault.Read, w.Vault.Inspect = read, inspect
		audit(t, w)
		whole(t, w)
		removed += int(s.Removed)
		if err == nil {
			if len(p.Left()) == 0 {
				t.Fatalf("call %d failed, and the pruning did not", n)
			}
			t.Logf("figure: calls=%d", n-1)
			break
		}
	}
	if s, err := w.Prune(t.Context(), w.Remover(), nil); err != nil || s.Removed != 0 || removed == 0 {
		t.Errorf("in the end: %+v, %v; %d removed before", s, err, removed)
	}
	run(t, w)
}

// whole demands that every point that is listed has all it needs, whether it is over or not.
func whole(t *testing.T, w *lifetest.World) {
	t.Helper()
	if err := w.Whole(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestPruneRefuses: where it cannot be read what a living point needs, nothing at all is deleted.
func TestPruneRefuses(t *testing.T) {
	for _, prefix := range []string{format.PrefixPoints, format.PrefixNeeds} {
		w := ran(t, short(), 12)
		all := versions(t, w, prefix)
		for _, info := range all {
			if _, lock, err := w.Store.Stat(t.Context(), info.Ref); err == nil && lock.Until.After(w.Clock.Add(2*day)) {
				if err := w.Store.Attacker().Damage(info.Ref, func(b []byte) []byte { return append([]byte("x"), b...) }); err != nil {
					t.Fatal(err)
				}
			}
		}
		before := len(versions(t, w, ""))
		s, err := w.Prune(t.Context(), w.Remover(), nil)
		if !errors.Is(err, prune.ErrUnsure) || s.Removed != 0 || len(versions(t, w, "")) != before {
			t.Errorf("%s: %+v, %v", prefix, s, err)
		}
	}
}

// grudging is a remover that finds everything locked again.
type grudging struct{}

func (grudging) Remove(context.Context, store.Ref) error { return store.ErrLocked }

func TestPruneOfWhatIsLockedMeanwhile(t *testing.T) {
	w := ran(t, short(), 12)
	s, err := w.Prune(t.Context(), grudging{}, nil)
	if err != nil || s.Removed != 0 || s.Locked == 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
