package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// hostile is a vault that keeps its callers waiting. Time is synctest's.
type hostile struct {
	*memstore.Store
	delay func(op, name string) time.Duration // before a request; negative: for ever
	junk  time.Duration                       // between names of a listing that never ends; 0: it ends
}

func (h *hostile) wait(ctx context.Context, op, name string) error {
	d := h.delay(op, name)
	switch {
	case d == 0:
		return ctx.Err()
	case d < 0:
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (h *hostile) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return store.Behind(func(yield func(store.Info, error) bool) {
		for info, err := range h.Store.Versions(ctx, prefix, after) {
			if !yield(info, err) || err != nil {
				return
			}
		}
		for n := 0; h.junk > 0; n++ {
			select {
			case <-ctx.Done():
				yield(store.Info{}, ctx.Err())
				return
			case <-time.After(h.junk):
			}
			if !yield(store.Info{Ref: store.Ref{Name: fmt.Sprintf("%s~%09d", prefix, n), Version: "v"}, Modified: time.Now()}, nil) {
				return
			}
		}
	}, after)
}

// stalling lets a vault stand between the session and its store, as a command opens it.
func stalling(r *rig, which int, h *hostile) {
	g := stall.NewGuard(time.Minute)
	waits := store.Around(func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		if err := h.wait(ctx, op.Name, op.Ref.Name); err != nil {
			return err
		}
		return do(ctx)
	})
	v := r.vaults[which]
	v.Read, v.Write, v.Lock, v.Inspect = g.Reader(waits.Reader(h)), g.Writer(waits.Writer(h)), g.Locker(waits.Locker(h)), g.Inspector(waits.Inspector(h))
}

// timed notes when a vault is given its commit.
type timed struct {
	*memstore.Store
	began  time.Time
	commit time.Duration
	done   bool
}

func (m *timed) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	if strings.HasPrefix(name, format.PrefixPoints) {
		m.commit, m.done = time.Since(m.began), true
	}
	return m.Store.Put(ctx, name, body, size, o)
}

const forEver = time.Duration(-1)

func always(d time.Duration) func(string, string) time.Duration {
	return func(string, string) time.Duration { return d }
}

func onlyAt(op, prefix string, d time.Duration) func(string, string) time.Duration {
	return func(o, name string) time.Duration {
		if o == op && strings.HasPrefix(name, prefix) {
			return d
		}
		return 0
	}
}

// TestTheGoodVaultsCommitDoesNotWait: whatever one of two vaults does, the other has its point within a few seconds, whichever
// of the two comes first; the bad one is given up in bounded time, or gets its point later.
func TestTheGoodVaultsCommitDoesNotWait(t *testing.T) {
	const most = 2500 * time.Millisecond
	for _, c := range []struct {
		name  string
		h     hostile
		fresh bool // in the first run; else there is a point to follow
		whole bool // it gets the point in the end
	}{
		{name: "hung", h: hostile{delay: always(forEver)}},
		{name: "hung, first run", h: hostile{delay: always(forEver)}, fresh: true},
		{name: "hung at listings", h: hostile{delay: onlyAt("versions", "", forEver)}},
		{name: "hung at puts", h: hostile{delay: onlyAt("put", "", forEver)}},
		{name: "hung at packs, first run", h: hostile{delay: onlyAt("put", "packs/", forEver)}, fresh: true},
		{name: "hung at the commit", h: hostile{delay: onlyAt("put", "points/", forEver)}},
		{name: "hung at reading pages", h: hostile{delay: onlyAt("open", "meta/", forEver)}, whole: true},
		{name: "hung at reading points", h: hostile{delay: onlyAt("open", "points/", forEver)}, whole: true},
		{name: "hung at reading back", h: hostile{delay: onlyAt("stat", "", forEver)}},
		{name: "a second a request", h: hostile{delay: always(time.Second)}, whole: true},
		{name: "a second a request, first run", h: hostile{delay: always(time.Second)}, fresh: true, whole: true},
		{name: "slow to read from", h: hostile{delay: onlyAt("open", "", 5*time.Second)}, whole: true},
		{name: "endless listings", h: hostile{delay: always(0), junk: 10 * time.Millisecond}},
		{name: "endless listings, a name a second", h: hostile{delay: always(0), junk: time.Second}},
	} {
		for which := range 2 {
			t.Run(fmt.Sprintf("%s, vault %d", c.name, which), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRigWith(t, 2, tiny())
					src, want := varied(r)
					if !c.fresh {
						if _, err := r.try(t.Context()); err != nil {
							t.Fatal(err)
						}
						change(r, src, want, "k/0007", body(99, 3000))
					}
					h := &hostile{Store: r.stores[which], delay: c.h.delay, junk: c.h.junk}
					stalling(r, which, h)
					good := &timed{Store: r.stores[1-which], began: time.Now()}
					r.vaults[1-which].Write = good
					res, err := r.try(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					took := time.Since(good.began)
					if !good.done || good.commit > most {
						t.Errorf("the good vault's commit came after %s", good.commit)
					}
					if took > 15*time.Minute {
						t.Errorf("the run took %s", took)
					}
					equal(t, r.contents(1-which, res.Point), want)
					bad, ok := res.Vaults[which], res.Vaults[1-which]
					if ok.Err != nil {
						t.Error(ok.Err)
					}
					if c.whole != (bad.Err == nil) {
						t.Fatalf("the bad vault: %v", bad.Err)
					}
					if c.whole {
						equal(t, r.contents(which, res.Point), want)
					} else if !errors.Is(bad.Err, store.ErrStalled) && !errors.Is(bad.Err, repo.ErrBehind) {
						t.Errorf("the bad vault: %v", bad.Err)
					}
					// It comes back.
					stalling(r, which, &hostile{Store: r.stores[which], delay: always(0)})
					r.clock = r.clock.Add(time.Hour)
					if res, err = r.try(t.Context()); err != nil {
						t.Fatal(err)
					}
					noFailures(t, res)
					for i := range r.vaults {
						equal(t, r.contents(i, res.Point), want)
					}
				})
			})
		}
	}
}

// skewed is a vault whose clock is off, as it says when asked, or as it dates what it stores.
type skewed struct {
	*memstore.Store
	clock time.Duration
}

func (s skewed) Inspect(ctx context.Context) (store.Facts, error) {
	f, err := s.Store.Inspect(ctx)
	f.Clock = f.Clock.Add(s.clock)
	return f, err
}

// TestAVaultsClockIsItsOwnFault: six minutes off, one way or the other, or objects dated long before the time that the vault
// tells: that vault alone has no point.
func TestAVaultsClockIsItsOwnFault(t *testing.T) {
	for which := range 2 {
		for _, off := range []time.Duration{6 * time.Minute, -6 * time.Minute, 0} {
			t.Run(fmt.Sprintf("vault %d, %s", which, off), func(t *testing.T) {
				r := newRigWith(t, 2, tiny())
				_, want := varied(r)
				v := r.vaults[which]
				v.Inspect = skewed{r.stores[which], off}
				if off == 0 { // it dates objects an hour early, and tells the right time
					early := memstore.New(memstore.Options{Now: func() time.Time { return r.now().Add(-20 * time.Minute) }})
					r.stores[which] = early
					v.Read, v.Write, v.Lock = early, early, early
					v.Inspect = skewed{early, 20 * time.Minute}
					r.init()
				}
				res := r.run()
				if err := res.Vaults[which].Err; !errors.Is(err, store.ErrClock) {
					t.Errorf("the vault with the wrong clock: %v", err)
				}
				if err := res.Vaults[1-which].Err; err != nil {
					t.Error(err)
				}
				equal(t, r.contents(1-which, res.Point), want)
			})
		}
	}
}

// TestAVaultThatCannotBeOpened is left out with the reason; so is one whose ceiling forbids the lock.
func TestAVaultThatCannotBeOpened(t *testing.T) {
	errUnset := errors.New("credentials are not set")
	for which := range 2 {
		for what, spoil := range map[string]func(*repo.Vault) error{
			"not opened": func(v *repo.Vault) error {
				v.Err, v.Read, v.Write, v.Lock, v.Inspect = errUnset, nil, nil, nil, nil
				return errUnset
			},
			"ceiling": func(v *repo.Vault) error {
				v.Locking.Ceiling = 24 * time.Hour
				return repo.ErrCeiling
			},
		} {
			t.Run(fmt.Sprintf("%s, vault %d", what, which), func(t *testing.T) {
				r := newRigWith(t, 2, tiny())
				_, want := varied(r)
				why := spoil(r.vaults[which])
				res := r.run()
				if err := res.Vaults[which].Err; !errors.Is(err, why) {
					t.Error(err)
				}
				if err := res.Vaults[1-which].Err; err != nil {
					t.Error(err)
				}
				equal(t, r.contents(1-which, res.Point), want)
			})
		}
	}
}
