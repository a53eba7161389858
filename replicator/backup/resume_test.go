package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// inVault adds up the sizes of what a vault holds under a prefix, and counts it.
func inVault(r *rig, vault int, prefix string) (objects int, size int64) {
	r.t.Helper()
	for info, err := range r.stores[vault].Versions(context.Background(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		objects, size = objects+1, size+info.Size
	}
	return objects, size
}

// TestAKilledRunRepeatsNoMoreThanItsPace kills a run late and goes on from a machine that has no cache. With the usual pace
// the pack that had landed would be stored again.
func TestAKilledRunRepeatsNoMoreThanItsPace(t *testing.T) {
	const pack, count, size = 32 << 20, 8, 8 << 20
	r := newRig(t, 1)
	r.pace = repo.Pace{Bytes: 1}
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	for i := range count {
		src.Put(fmt.Sprintf("%02d", i), body(uint64(2*i), size))
	}
	r.clock = r.clock.Add(time.Hour)
	ctx, kill := context.WithCancel(t.Context())
	var packs atomic.Int64
	r.wrap(0, func(op, name string) bool {
		if op == "put" && strings.HasPrefix(name, format.PrefixPacks) && packs.Add(1) == 2 {
			kill()
		}
		return ctx.Err() != nil // nothing more gets through
	})
	if _, err := r.try(ctx); err == nil {
		t.Fatal("the run was not killed")
	}
	_, killed := inVault(r, 0, format.PrefixPacks)
	r.wrap(0, nil)
	r.cache = t.TempDir()
	if res := r.run(); res.Entries != count || res.Missing != 0 {
		t.Errorf("%+v", res)
	}
	_, all := inVault(r, 0, format.PrefixPacks)
	again := all - count*size
	t.Logf("%d bytes of packs when killed, %d at the end: %d again", killed, all, again)
	if killed < pack*9/10 || again > pack/2 {
		t.Errorf("%d bytes were stored again; want next to nothing", again)
	}
}

// waiting is a source whose one object cannot be read until it is let go.
type waiting struct {
	source.Source
	key   string
	until <-chan struct{}
}

func (w waiting) Freeze(ctx context.Context) (source.View, error) {
	v, err := w.Source.Freeze(ctx)
	return waitingView{v, w}, err
}

type waitingView struct {
	source.View
	w waiting
}

func (v waitingView) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	if e.Key == v.w.key {
		select {
		case <-v.w.until:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return v.View.Open(ctx, e, off, n)
}

// TestWhatIsStoredIsMadeKnownWhileTheSourceIsSlow: no pack lands for long, and what landed before is in a segment anyway.
func TestWhatIsStoredIsMadeKnownWhileTheSourceIsSlow(t *testing.T) {
	r := newRig(t, 1)
	r.pace = repo.Pace{Every: 100 * time.Millisecond}
	src := memsource.New(memsource.Options{Now: r.now})
	want := map[string][]byte{}
	for i := range 10 {
		key := fmt.Sprintf("%02d", i)
		want[key] = body(uint64(2*i), 4<<20)
		src.Put(key, want[key])
	}
	want["slow"] = body(100, 2000)
	src.Put("slow", want["slow"])
	r.clock = r.clock.Add(time.Hour)
	known := make(chan struct{})
	r.source = waiting{src, "slow", known}
	var once sync.Once
	var packs atomic.Int64
	r.wrap(0, func(op, name string) bool {
		if op == "put" && strings.HasPrefix(name, format.PrefixPacks) {
			packs.Add(1)
		}
		if op == "put" && strings.HasPrefix(name, format.PrefixPlacements) && packs.Load() > 0 {
			once.Do(func() { close(known) })
		}
		return false
	})
	res := r.run() // would not end
	equal(t, r.contents(0, res.Point), want)
}

// TestCopyingIsMadeKnownOnTheWay: a vault is filled from another, which may take hours, and a kill then loses little.
func TestCopyingIsMadeKnownOnTheWay(t *testing.T) {
	r := newRigWith(t, 1, tiny())
	src, want := varied(r)
	for i := range 5 { // so that there are several objects to copy
		r.run()
		change(r, src, want, fmt.Sprintf("new%d", i), body(uint64(50+2*i), 3000))
	}
	r.addVault("second")
	r.init()
	before, _ := inVault(r, 1, format.PrefixPlacements)
	r.pace = repo.Pace{Bytes: 1}
	var mu sync.Mutex
	last, flushes := "", 0
	r.wrap(1, func(op, name string) bool {
		mu.Lock()
		defer mu.Unlock()
		if op == "put" {
			if strings.HasPrefix(name, format.PrefixPlacements) && strings.HasPrefix(last, format.PrefixPacks) {
				flushes++
			}
			last = name
		}
		return false
	})
	res := r.run()
	equal(t, r.contents(1, res.Point), want)
	after, _ := inVault(r, 1, format.PrefixPlacements)
	if flushes == 0 || after-before < 5 {
		t.Errorf("%d placements objects while copying, %d of them after a pack", after-before, flushes)
	}
}

// TestTheClockJumpsWhileARunIsUnderWay: the machine sleeps for weeks in the middle of a run, or its clock is set.
func TestTheClockJumpsWhileARunIsUnderWay(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		slept, set time.Duration
		prune      bool
		fails      bool
	}{
		"asleep for less than the point is kept":          {slept: 20 * day},
		"asleep for longer":                               {slept: 36 * day, fails: true},
		"asleep until all was pruned":                     {slept: 60 * day, prune: true, fails: true},
		"this machine's clock is set forward":             {set: time.Hour, fails: true},
		"this machine's clock is set back":                {set: -time.Hour, fails: true},
		"this machine's clock is set right by one minute": {set: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1)
			src := memsource.New(memsource.Options{Now: r.now})
			r.source = src
			want := fill(src, 40)
			r.clock = r.clock.Add(time.Hour)
			var once sync.Once
			r.wrap(0, func(op, name string) bool {
				if op == "put" && strings.HasPrefix(name, format.PrefixNeeds) {
					once.Do(func() {
						r.slept.Store(int64(c.slept))
						r.set.Store(int64(c.set))
						if c.prune {
							r.prune(0)
						}
					})
				}
				return false
			})
			res, err := r.try(t.Context())
			points, _ := inVault(r, 0, format.PrefixPoints)
			switch {
			case c.fails && (err == nil || !c.prune && !errors.Is(err, store.ErrClock) || points != 0):
				t.Fatalf("%d points and %v", points, err)
			case !c.fails && err != nil:
				t.Fatal(err)
			case !c.fails:
				equal(t, r.contents(0, res.Point), want)
			}
			r.set.Store(0)
			equal(t, r.contents(0, r.run().Point), want)
		})
	}
}

// prune removes whatever lost its lock over three days ago and no point with time left needs; here, that is everything
// but what init stored.
func (r *rig) prune(vault int) {
	for _, prefix := range []string{format.PrefixPacks, format.PrefixMeta, format.PrefixNeeds, format.PrefixPlacements} {
		for info, err := range r.stores[vault].Versions(context.Background(), prefix, "") {
			if err != nil {
				r.t.Error(err)
				return
			}
			_, lock, err := r.stores[vault].Stat(context.Background(), info.Ref)
			if err == nil && lock.Until.Add(72*time.Hour).Before(r.now()) {
				err = r.stores[vault].Remove(context.Background(), info.Ref)
			}
			if err != nil {
				r.t.Error(err)
			}
		}
	}
}

// TestPruneBetweenAKillAndTheNextRun: what a killed run stored is known to the cache and belongs to no point. Weeks later
// its locks are over and it is gone.
func TestPruneBetweenAKillAndTheNextRun(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	want := fill(src, 40)
	r.clock = r.clock.Add(time.Hour)
	ctx, kill := context.WithCancel(t.Context())
	r.wrap(0, func(op, name string) bool {
		if op == "put" && strings.HasPrefix(name, format.PrefixPoints) {
			kill()
		}
		return false
	})
	if _, err := r.try(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r.wrap(0, nil)
	packs, _ := inVault(r, 0, format.PrefixPacks)
	r.clock = r.clock.Add(60 * 24 * time.Hour)
	r.prune(0)
	left, _ := inVault(r, 0, format.PrefixPacks)
	if packs == 0 || left != 0 {
		t.Fatalf("%d packs, %d after pruning", packs, left)
	}
	equal(t, r.contents(0, r.run().Point), want)
}
