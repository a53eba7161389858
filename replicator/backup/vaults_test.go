package backup_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
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
	for info, err := range r.stores[vault].Versions(r.t.Context(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

func loseVault(r *rig, vault int, refs ...store.Info) {
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
			for after := int64(first(4)); ; after += int64(every(4)) {
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
	for after := int64(first(6)); after < 90; after += int64(every(6)) {
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

// TestAWipedVaultIsNoReasonToReadAgain: packs that are mostly dead are copied, too.
func TestAWipedVaultIsNoReasonToReadAgain(t *testing.T) {
	r := newRigWith(t, 2, tiny())
	src, want := varied(r)
	r.run()
	for key, b := range maps.Clone(want) {
		if len(b) > 0 && key != "k/0011" {
			change(r, src, want, key, body(uint64(len(b)), len(b)))
		}
	}
	r.run()
	for which := range 2 {
		r.stores[which] = memstore.New(memstore.Options{Now: r.now})
		r.wrap(which, nil)
		r.init()
		res := r.run()
		noFailures(t, res)
		if res.BytesRead != 0 || res.Vaults[which].Copied == 0 {
			t.Errorf("read %d bytes, copied %d objects", res.BytesRead, res.Vaults[which].Copied)
		}
		for i := range r.vaults {
			equal(t, r.contents(i, res.Point), want)
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

// TestAVaultBegunAnew: what a lost vault held is missed by the run that fills it again, and by none after that. A point that one
// vault alone leaves out is missed by each run, also by a machine that remembers nothing.
func TestAVaultBegunAnew(t *testing.T) {
	r := newRig(t, 2)
	src, want := memsource.New(memsource.Options{Now: r.now}), map[string][]byte{}
	r.source = src
	for n := range 4 {
		change(r, src, want, "k", body(uint64(n), 100))
		r.run()
	}
	loseVault(r, 0, r.names(0, "")...)
	r.clock = r.clock.Add(time.Hour)
	r.init()
	if _, _, err := cache.LosePoints(r.cache, r.vaults[0].Name, r.now()); err != nil {
		t.Fatal(err)
	}
	r.saw(repo.Missing, "")
	for n, missed := range []bool{true, false, false} {
		r.run()
		if got := r.saw(repo.Missing, ""); got != missed {
			t.Errorf("run %d after the vault was lost: something is missing: %t", n, got)
		}
		change(r, src, want, "k", body(uint64(10+n), 100))
	}
	r.cache = t.TempDir()
	r.run()
	if r.saw(repo.Missing, "") {
		t.Error("a machine that lost its cache misses what the lost vault held")
	}
	loseVault(r, 1, r.names(1, "points/uploads/")[1])
	for n := range 3 {
		change(r, src, want, "k", body(uint64(20+n), 100))
		r.cache = t.TempDir()
		r.run()
		if !r.saw(repo.Missing, "points/uploads/") {
			t.Errorf("run %d: a vault leaves a point out, and nobody says so", n)
		}
	}
	equal(t, r.contents(0, r.run().Point), want)
}
