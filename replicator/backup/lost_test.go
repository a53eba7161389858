package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestLostObjects makes each stored object in turn vanish, or end early, in one vault or in all of them. The next run's
// point is whole: from the other vault without a look at the source, else by reading what is lost again, and it says so.
func TestLostObjects(t *testing.T) {
	for _, vaults := range []int{1, 2} {
		for _, how := range []string{"gone", "cut short", "gone without the cache"} {
			t.Run(fmt.Sprintf("%s, %d vaults", how, vaults), func(t *testing.T) {
				t.Parallel()
				for n := first(4); ; n += every(4) {
					r := newRigWith(t, vaults, tiny())
					src, want := varied(r)
					r.run()
					folded := r.names(0, format.PrefixPlacements) // by the next run into its own: nothing needs it from then on
					change(r, src, want, "k/0020", body(2, 5000))
					r.run()
					r.clock = r.clock.Add(time.Hour)
					var all []store.Info
					for _, prefix := range []string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds, format.PrefixPlacements} {
						all = append(all, r.names(0, prefix)...)
					}
					if n >= len(all) {
						t.Logf("%d objects", n)
						return
					}
					victim := all[n]
					if how == "cut short" {
						err := r.stores[0].Attacker().Damage(victim.Ref, func(b []byte) []byte { return b[:len(b)-1] })
						if err != nil {
							t.Fatal(err)
						}
					} else {
						loseVault(r, 0, victim)
					}
					if strings.HasSuffix(how, "cache") {
						r.cache = t.TempDir()
					}
					r.saw("", "")
					res := r.run()
					noFailures(t, res)
					for i := range r.vaults {
						equal(t, r.contents(i, res.Point), want)
					}
					r.mu.Lock()
					told := slices.ContainsFunc(r.found, func(f repo.Finding) bool {
						return f.Name == victim.Name && (f.Kind == repo.Missing || f.Kind == repo.Damaged)
					})
					r.found = nil
					r.mu.Unlock()
					over := slices.ContainsFunc(folded, func(o store.Info) bool { return o.Name == victim.Name })
					switch {
					case over && told:
						t.Errorf("an alarm about %s, which the run before had replaced", victim.Name)
					case !over && !told && how == "gone":
						t.Errorf("nothing was said of %s", victim.Name)
					}
					if vaults == 2 && res.BytesRead != 0 {
						t.Errorf("%s: read %d bytes though another vault has them", victim.Name, res.BytesRead)
					}
					r.clock = r.clock.Add(time.Hour)
					again := r.run()
					if again.BytesRead != 0 || again.Changed != 0 || r.saw(repo.Missing, "") {
						t.Errorf("%s: the run after reads %d bytes, %d changed, or reports again", victim.Name, again.BytesRead, again.Changed)
					}
					for i := range r.vaults {
						equal(t, r.contents(i, again.Point), want)
					}
					if t.Failed() {
						return
					}
				}
			})
		}
	}
}

// TestDamagedPagesAreReadFromTheOther flips a byte in each metadata object; what a run has to read of it comes from the
// other vault, or from the source.
func TestDamagedPages(t *testing.T) {
	for _, vaults := range []int{1, 2} {
		t.Run(fmt.Sprint(vaults, " vaults"), func(t *testing.T) {
			t.Parallel()
			noticed := 0
			for n, passes := first(7), 1; ; n += every(7) {
				r := newRigWith(t, vaults, tiny())
				src, want := varied(r)
				r.run()
				change(r, src, want, "k/0020", body(2, 5000))
				r.run()
				all := append(r.names(0, format.PrefixMeta), r.names(0, format.PrefixNeeds)...)
				if n >= 3*len(all) && noticed == 0 && passes < every(7) { // a run need not read any of those few: take others
					n, passes = (n+1)%every(7), passes+1
				}
				if n >= 3*len(all) {
					break
				}
				victim := all[n/3]
				err := r.stores[0].Attacker().Damage(victim.Ref, func(b []byte) []byte { b[len(b)*(n%3*3+1)/8] ^= 1; return b })
				if err != nil {
					t.Fatal(err)
				}
				change(r, src, want, "k/0021", body(1, 400))
				r.saw("", "")
				res := r.run()
				noFailures(t, res)
				if vaults == 2 && res.BytesRead != 400 {
					t.Errorf("%s: read %d bytes though another vault has them", victim.Name, res.BytesRead)
				}
				if r.saw(repo.Damaged, victim.Name) {
					noticed++
				} else { // the run read nothing of that part of it; a verification does
					if err := cache.Doubt(r.cache, "vault0", []string{victim.Name}); err != nil {
						t.Fatal(err)
					}
					r.clock = r.clock.Add(time.Hour)
					res = r.run()
					noFailures(t, res)
				}
				equal(t, r.contents(0, res.Point), want)
				equal(t, r.contents(len(r.vaults)-1, res.Point), want)
				if t.Failed() {
					return
				}
			}
			if noticed == 0 {
				t.Error("nothing was ever noticed")
			}
			t.Logf("%d noticed", noticed)
		})
	}
}

func TestAVaultThatWasRolledBack(t *testing.T) {
	for _, vaults := range []int{1, 2} {
		r := newRigWith(t, vaults, tiny())
		src, want := varied(r)
		r.run()
		before := map[store.Ref]bool{}
		for _, info := range r.names(0, "") {
			before[info.Ref] = true
		}
		change(r, src, want, "k/0030", body(8, 6000))
		r.run()
		for _, info := range r.names(0, "") {
			if !before[info.Ref] {
				loseVault(r, 0, info)
			}
		}
		r.saw("", "")
		r.clock = r.clock.Add(time.Hour)
		res := r.run()
		noFailures(t, res)
		if !r.saw(repo.Missing, format.PrefixPacks) {
			t.Error("nothing was said")
		}
		for i := range r.vaults {
			equal(t, r.contents(i, res.Point), want)
		}
		if read := map[int]int64{1: 6000, 2: 0}[vaults]; res.BytesRead != read {
			t.Errorf("%d vaults: read %d bytes instead of %d", vaults, res.BytesRead, read)
		}
	}
}

// TestWhatTheSourceLostTooIsMissing: neither a vault nor the source has it, and the point says so.
func TestWhatTheSourceLostTooIsMissing(t *testing.T) {
	r := newRigWith(t, 1, tiny())
	src, want := varied(r)
	r.run()
	loseVault(r, 0, r.names(0, format.PrefixPacks)...)
	src.Delete("large")
	delete(want, "large")
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	if res.Status != format.StatusComplete || res.Deleted != 1 {
		t.Errorf("%+v", res)
	}
	equal(t, r.contents(0, res.Point), want)
}

// TestALostKeyCopyEndsTheRun: no run can make the founding objects again, and no point is written without them.
func TestALostKeyCopyEndsTheRun(t *testing.T) {
	r := newRig(t, 1)
	varied(r)
	r.run()
	loseVault(r, 0, r.names(0, format.PrefixKeys)...)
	r.clock = r.clock.Add(time.Hour)
	before := len(r.names(0, format.PrefixPoints))
	_, err := r.try(t.Context())
	if !errors.Is(err, repo.ErrMissing) || !strings.Contains(fmt.Sprint(err), "put it back") {
		t.Errorf("%v", err)
	}
	if n := len(r.names(0, format.PrefixPoints)); n != before {
		t.Errorf("%d points, there were %d", n, before)
	}
}

// TestAStaleListingIsNotTakenForALoss: objects that a listing leaves out and that are there when asked for are kept.
func TestAStaleListingIsNotTakenForALoss(t *testing.T) {
	r := newRig(t, 1)
	varied(r)
	r.run()
	r.clock = r.clock.Add(time.Hour)
	v := r.vaults[0]
	v.Read = stale{r.stores[0]}
	res := r.run()
	if res.BytesRead != 0 || r.saw(repo.Missing, "") {
		t.Errorf("%+v", res)
	}
}

// TestSecureAfterTheCacheForgot: a cache that was emptied by hand costs a look, not a copy.
func TestSecureAfterTheCacheForgot(t *testing.T) {
	r := newRig(t, 2)
	_, want := varied(r)
	r.run()
	s, err := r.session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := forget(s.Cache(), r.vaults); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	noFailures(t, res)
	for i, v := range res.Vaults {
		if v.Copied != 0 || res.BytesRead != 0 {
			t.Errorf("%+v", v)
		}
		equal(t, r.contents(i, res.Point), want)
	}
}

// forget drops the placements of content, and leaves it noted that their segments were read.
func forget(c *cache.Cache, vaults []*repo.Vault) error {
	for _, v := range vaults {
		var names []string
		for p, err := range c.Places.Under(v.Name, format.PrefixPacks) {
			if err != nil {
				return err
			}
			names = append(names, p.Name)
		}
		if err := c.Places.Drop(v.Name, slices.Compact(names)...); err != nil {
			return err
		}
	}
	return nil
}

// stale lists nothing under packs.
type stale struct{ store.Reader }

func (s stale) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if prefix == format.PrefixPacks {
		return func(func(store.Info, error) bool) {}
	}
	return s.Reader.Versions(ctx, prefix, after)
}

// TestDamageThatAVerificationFound flips a byte in a pack, which no listing shows, and notes it as `verify` does.
func TestDamageThatAVerificationFound(t *testing.T) {
	for _, vaults := range []int{1, 2} {
		r := newRigWith(t, vaults, tiny())
		_, want := varied(r)
		r.run()
		var names []string
		for _, info := range r.names(0, format.PrefixPacks) {
			names = append(names, info.Name)
		}
		victim := r.names(0, format.PrefixPacks)[0]
		if err := r.stores[0].Attacker().Damage(victim.Ref, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }); err != nil {
			t.Fatal(err)
		}
		r.clock = r.clock.Add(time.Hour)
		r.run()
		if r.saw(repo.Damaged, "") {
			t.Error("a run reads what is stored")
		}
		if err := cache.Doubt(r.cache, "vault0", append(names, "../../junk", "")); err != nil {
			t.Fatal(err)
		}
		r.clock = r.clock.Add(time.Hour)
		res := r.run()
		noFailures(t, res)
		if !r.saw(repo.Damaged, victim.Name) {
			t.Error("nothing was said of it")
		}
		if again := res.BytesRead > 0; again != (vaults == 1) {
			t.Errorf("%d vaults: read %d bytes", vaults, res.BytesRead)
		}
		for i := range r.vaults {
			equal(t, r.contents(i, res.Point), want)
		}
		r.clock = r.clock.Add(time.Hour)
		if res = r.run(); res.BytesRead != 0 || r.saw(repo.Damaged, "") {
			t.Errorf("the run after read %d bytes, or reports again", res.BytesRead)
		}
	}
}

// TestWhatWasPrunedIsNoLoss: objects whose locks are over, and that the new point does not need, may go.
func TestWhatWasPrunedIsNoLoss(t *testing.T) {
	r := newRigWith(t, 1, tiny())
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	src.Put("once", body(6, 100_000))
	r.clock = r.clock.Add(time.Hour)
	r.run()
	src.Delete("once")
	want := fill(src, 40)
	r.clock = r.clock.Add(30 * 24 * time.Hour)
	r.run()
	r.clock = r.clock.Add(30 * 24 * time.Hour)
	pruned := 0
	for _, info := range r.names(0, format.PrefixPacks) {
		if _, lock, err := r.stores[0].Stat(t.Context(), info.Ref); err != nil {
			t.Fatal(err)
		} else if lock.Until.Before(r.clock) {
			loseVault(r, 0, info)
			pruned++
		}
	}
	res := r.run()
	equal(t, r.contents(0, res.Point), want)
	if pruned == 0 || r.saw(repo.Missing, "") || res.BytesRead != 0 {
		t.Errorf("%d objects went, read %d bytes, or something was reported", pruned, res.BytesRead)
	}
}

// TestACopiedVault: every object has another version than the one that was stored. That is said as it is, not as if all were gone; and
// nothing is read from the source for it.
func TestACopiedVault(t *testing.T) {
	r := newRig(t, 1)
	src, want := varied(r)
	r.run()
	var all []store.Info
	for info, err := range r.stores[0].Versions(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, info)
	}
	for _, info := range all {
		body, err := r.stores[0].Open(t.Context(), info.Ref, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err == nil {
			err = body.Close()
		}
		if err == nil {
			_, err = r.stores[0].Put(t.Context(), info.Name, bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b)})
		}
		if err != nil {
			t.Fatal(err)
		}
		loseVault(r, 0, info)
	}
	r.saw("", "")
	change(r, src, want, "k/0021", body(1, 400))
	res := r.run()
	if res.BytesRead != 400 {
		t.Errorf("read %d bytes", res.BytesRead)
	}
	r.mu.Lock()
	told := slices.Clone(r.found)
	r.mu.Unlock()
	if !slices.ContainsFunc(told, func(f repo.Finding) bool { return strings.Contains(f.Detail, "the vault is a copy") }) {
		t.Errorf("%v", told)
	}
	equal(t, r.contents(0, res.Point), want)
}
