package backup_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// tiny cuts small, so that a few megabytes have several levels of pages, extents and packs.
func tiny() format.Parameters {
	return format.Parameters{Chunker: "fastcdc-v1.0.0", MinChunk: 1 << 10, AvgChunk: 4 << 10, MaxChunk: 16 << 10, LeafKeys: 4, Fanout: 6}
}

// sweep is set where every moment and every object is to be tried: the tests that go through them try some of them each
// time, beginning anywhere.
func sweep() bool { return os.Getenv("HOLDFAST_SWEEP") != "" }

func every(n int) int {
	if sweep() {
		return 1
	}
	return n
}

func first(n int) int { return rand.IntN(every(n)) }

// varied fills a source with small objects and one large enough to have extent pages.
func varied(r *rig) (*memsource.Source, map[string][]byte) {
	src := memsource.New(memsource.Options{Now: r.now})
	want := fill(src, 60)
	want["large"] = body(4712, 2<<20)
	src.Put("large", want["large"])
	r.source = src
	r.clock = r.clock.Add(time.Hour)
	return src, want
}

func change(r *rig, src *memsource.Source, want map[string][]byte, key string, b []byte) {
	src.Put(key, b)
	want[key] = b
	r.clock = r.clock.Add(time.Hour)
}

// names gives what lies in a vault, without commit objects and what init puts there.
func (r *rig) names(vault int, prefix string) []store.Info {
	r.t.Helper()
	var out []store.Info
	for info, err := range r.stores[vault].Versions(r.t.Context(), prefix) {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

func (r *rig) lose(vault int, refs ...store.Info) {
	r.t.Helper()
	for _, info := range refs {
		if err := r.stores[vault].Attacker().Lose(info.Ref); err != nil {
			r.t.Fatal(err)
		}
	}
}

func noFailures(t *testing.T, res *backup.Result) {
	t.Helper()
	for _, v := range res.Vaults {
		if v.Err != nil {
			t.Error(v.Err)
		}
	}
}

// TestAVaultDiesAtAnyMoment lets one of two vaults stop answering after every so many requests of a run that has a point
// to follow. The other one's point is whole each time; the next run makes both whole and reads only what changed.
func TestAVaultDiesAtAnyMoment(t *testing.T) {
	for which := range 2 {
		t.Run(fmt.Sprint("vault", which), func(t *testing.T) {
			t.Parallel()
			died := 0
			for after := int64(first(16)); ; after += int64(every(16)) {
				r := newRigWith(t, 2, tiny())
				src, want := varied(r)
				r.run()
				change(r, src, want, "k/0007", body(99, 3000))
				var asked atomic.Int64
				r.wrap(which, func(string, string) bool { return asked.Add(1) > after })
				first := r.run()
				equal(t, r.contents(1-which, first.Point), want)
				failed := first.Vaults[which].Err != nil
				if failed {
					died++
					if !errors.Is(first.Vaults[which].Err, errDown) || first.Vaults[1-which].Err != nil {
						t.Fatalf("after %d requests: %v, %v", after, first.Vaults[0].Err, first.Vaults[1].Err)
					}
				}
				if r.saw(repo.Missing, "") || r.saw(repo.Damaged, "") {
					t.Fatalf("after %d requests: something was reported as lost", after)
				}
				r.wrap(which, nil)
				change(r, src, want, "k/0009", body(98, 2000))
				second := r.run()
				noFailures(t, second)
				for i := range r.vaults {
					equal(t, r.contents(i, second.Point), want)
				}
				if second.BytesRead != 2000 {
					t.Errorf("after %d requests: catching up read %d bytes from the source instead of 2000", after, second.BytesRead)
				}
				if !failed {
					break
				}
			}
			if died < 2 {
				t.Errorf("the vault died in %d runs only", died)
			}
			t.Logf("died at %d moments", died)
		})
	}
}

// TestBehindVaultIsAllThatIsLeft: the vault that is ahead dies in the middle of the run that lets the other catch up.
func TestBehindVaultIsAllThatIsLeft(t *testing.T) {
	for after := int64(first(12)); after < 90; after += int64(every(12)) {
		r := newRigWith(t, 2, tiny())
		src, want := varied(r)
		r.wrap(1, func(op, _ string) bool { return op == "inspect" })
		r.run()
		r.wrap(1, nil)
		change(r, src, want, "k/0003", body(5, 900))
		var asked atomic.Int64
		r.wrap(0, func(string, string) bool { return asked.Add(1) > after })
		res := r.run()
		equal(t, r.contents(1, res.Point), want)
		r.wrap(0, nil)
		r.clock = r.clock.Add(time.Hour)
		last := r.run()
		noFailures(t, last)
		for i := range r.vaults {
			equal(t, r.contents(i, last.Point), want)
		}
		if last.BytesRead != 0 {
			t.Errorf("dead after %d requests: the next run read %d bytes", after, last.BytesRead)
		}
		if t.Failed() {
			return
		}
	}
}

func TestAWipedVaultIsFilledFromTheOther(t *testing.T) {
	for which := range 2 {
		for _, keepCache := range []bool{true, false} {
			r := newRigWith(t, 2, tiny())
			src, want := varied(r)
			r.run()
			change(r, src, want, "k/0011", body(3, 700))
			r.run()
			r.stores[which] = memstore.New(memstore.Options{Now: r.now})
			r.wrap(which, nil)
			res := r.run() // not initialised: left out
			if err := res.Vaults[which].Err; !errors.Is(err, repo.ErrNoRepository) {
				t.Fatal(err)
			}
			r.init()
			if !keepCache {
				r.cache = t.TempDir()
			}
			r.saw("", "")
			change(r, src, want, "k/new", body(4, 800))
			res = r.run()
			noFailures(t, res)
			if res.BytesRead != 800 || res.Vaults[which].Copied == 0 {
				t.Errorf("read %d bytes, copied %d objects", res.BytesRead, res.Vaults[which].Copied)
			}
			if told := r.saw(repo.Missing, "vault vault"+fmt.Sprint(which)); told != keepCache {
				t.Errorf("the loss was reported: %t, there was a cache: %t", told, keepCache)
			}
			for i := range r.vaults {
				equal(t, r.contents(i, res.Point), want)
			}
			// The other vault is lost too, and the machine: what the refilled one has is enough to go on from.
			r.vaults, r.stores = r.vaults[which:which+1], r.stores[which:which+1]
			r.cache = t.TempDir()
			change(r, src, want, "copy of large", want["large"])
			res = r.run()
			equal(t, r.contents(0, res.Point), want)
			if stored := res.Vaults[0].Bytes; stored > 1<<20 {
				t.Errorf("content that the vault holds was stored again: %d bytes", stored)
			}
		}
	}
}

func TestAVaultAddedLaterIsFilledByCiphertext(t *testing.T) {
	r := newRigWith(t, 1, tiny())
	_, want := varied(r)
	r.run()
	r.addVault("later")
	r.wrap(1, nil)
	r.init()
	r.clock = r.clock.Add(time.Hour)
	res := r.run()
	noFailures(t, res)
	if res.BytesRead != 0 || res.Vaults[1].Copied == 0 || res.Vaults[0].Objects > 5 {
		t.Errorf("read %d bytes, %+v", res.BytesRead, res.Vaults)
	}
	for i := range r.vaults {
		equal(t, r.contents(i, res.Point), want)
	}
}

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
						r.lose(0, victim)
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
					if !told && how == "gone" {
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
			for n := first(7); ; n += every(7) {
				r := newRigWith(t, vaults, tiny())
				src, want := varied(r)
				r.run()
				change(r, src, want, "k/0020", body(2, 5000))
				r.run()
				all := append(r.names(0, format.PrefixMeta), r.names(0, format.PrefixNeeds)...)
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
				r.lose(0, info)
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
	r.lose(0, r.names(0, format.PrefixPacks)...)
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
	r.lose(0, r.names(0, format.PrefixKeys)...)
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
		for p, err := range c.PlacementsUnder(v.Name, format.PrefixPacks) {
			if err != nil {
				return err
			}
			names = append(names, p.Name)
		}
		if err := c.Drop(v.Name, slices.Compact(names)...); err != nil {
			return err
		}
	}
	return nil
}

// stale lists nothing under packs.
type stale struct{ store.Reader }

func (s stale) Versions(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	if prefix == format.PrefixPacks {
		return func(func(store.Info, error) bool) {}
	}
	return s.Reader.Versions(ctx, prefix)
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
			r.lose(0, info)
			pruned++
		}
	}
	res := r.run()
	equal(t, r.contents(0, res.Point), want)
	if pruned == 0 || r.saw(repo.Missing, "") || res.BytesRead != 0 {
		t.Errorf("%d objects went, read %d bytes, or something was reported", pruned, res.BytesRead)
	}
}
