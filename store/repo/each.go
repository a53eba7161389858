package repo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// vaults are those of a session, with what all share that is done with them.
type vaults struct {
	keepers []*keeper
	givers  func() []*keeper                           // those that others may take from
	rejoin  func(ctx context.Context, k *keeper) error // opens one that was left behind; nil: it is open
	alone   bool                                       // of one that catches up: nobody waits for it
	began   time.Time

	repo   *Repository
	host   *keys.HostKey
	cache  *cache.Cache // nil while they are opened
	enc    *pack.Encoder
	now    func() time.Time
	report Report

	recalling sync.Mutex

	mu   sync.Mutex
	need time.Time // what is stored now is held until then, and the slack
}

// active gives the vaults in step: those that have not failed and were not left behind.
func (s *vaults) active() []*keeper {
	var out []*keeper
	for _, k := range s.keepers {
		if s.inStep(k) {
			out = append(out, k)
		}
	}
	return out
}

// each runs fn for every vault in step at once. A vault whose fn fails is left out from then on, unless the context
// ended; one that keeps the others waiting for too long is left behind, see leaveBehind. An error comes back only when
// none is left.
func (s *vaults) each(ctx context.Context, fn func(context.Context, *keeper) error) error {
	return s.eachIndexed(ctx, func(ctx context.Context, _ int, k *keeper) error { return fn(ctx, k) })
}

func (s *vaults) eachIndexed(ctx context.Context, fn func(context.Context, int, *keeper) error) error {
	r := &race{s: s, ctx: ctx, ended: make(chan ended, len(s.keepers)), running: map[*keeper]context.CancelFunc{}, stopped: map[*keeper]bool{}}
	for i, k := range s.keepers {
		if !s.inStep(k) {
			continue
		}
		kctx, cancel := context.WithCancel(ctx)
		r.running[k] = cancel
		go func() { r.ended <- ended{k, fn(kctx, i, k)} }()
	}
	if err := r.wait(); err != nil {
		return err
	}
	return s.living(ctx)
}

// race is one thing that every vault in step is asked for at once.
type race struct {
	s       *vaults
	ctx     context.Context // of the call that waits
	ended   chan ended
	running map[*keeper]context.CancelFunc
	stopped map[*keeper]bool
	first   bool // one of them has done it
}

type ended struct {
	k   *keeper
	err error
}

// wait returns when all have ended: done, failed, or stopped because they kept the others waiting.
func (r *race) wait() error {
	var failed error
	for len(r.running) > 0 {
		timer := time.NewTimer(r.patience())
		select {
		case e := <-r.ended:
			r.running[e.k]()
			delete(r.running, e.k)
			if r.first {
				e.k.waitedFor(false)
			}
			if e.err == nil && !r.first {
				r.first = true
				for k := range r.running {
					k.waitedFor(true)
				}
			}
			if e.err != nil && r.s.inStep(e.k) {
				failed = errors.Join(failed, r.s.settle(r.ctx, e.k, e.err))
			}
		case <-timer.C:
			for k, stop := range r.running {
				if r.first && !r.stopped[k] && r.s.patience(k) <= 0 && r.s.leaveBehind(k) {
					r.stopped[k] = true
					stop()
				}
			}
		}
		timer.Stop()
	}
	if failed != nil && r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	return failed
}

// patience is how long it takes until the next vault may have kept the others waiting for too long.
func (r *race) patience() time.Duration {
	least := time.Hour
	if r.first {
		for k := range r.running {
			if !r.stopped[k] {
				least = min(least, max(r.s.patience(k), time.Millisecond))
			}
		}
	}
	return least
}

// settle turns an error of one vault into that vault being left out; the others go on. Only the context tells whether the
// caller ended it: a vault that does not answer gives errors that call themselves DeadlineExceeded too.
func (s *vaults) settle(ctx context.Context, k *keeper, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_ = k.fail(err) // kept in the keeper, shown in the vault's result; whether the session can go on is seen elsewhere
	return nil
}

// living is an error where no vault is in step any more. If some were only left behind, they are all there is now: they are
// waited for, and what they lack is a *LostError, with which a run begins again.
func (s *vaults) living(ctx context.Context) error {
	if len(s.active()) > 0 {
		return nil
	}
	if s.recall(ctx) {
		return &LostError{Err: fmt.Errorf("%w; the run goes on with what was left behind", s.dead())}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.dead()
}

// dead joins the vaults' errors.
func (s *vaults) dead() error {
	var errs []error
	for _, k := range s.keepers {
		errs = append(errs, k.err())
	}
	return fmt.Errorf("%w: %w", ErrAllVaults, errors.Join(errs...))
}

// Now is the earliest of the active vaults' clocks, so that no vault sees a point from its future.
func (s *vaults) Now() time.Time {
	var t time.Time
	for _, k := range s.active() {
		if c := k.clock(); t.IsZero() || c.Before(t) {
			t = c
		}
	}
	return t
}

// Mode is the weakest lock mode of the vaults that have not failed and lock at all: what a point can promise everywhere.
func (s *vaults) Mode() store.Mode {
	mode := store.ModeNone
	for _, k := range s.keepers {
		if k.err() != nil {
			continue
		}
		if m := k.vault.Locking.Mode; m == store.Governance || mode == store.ModeNone {
			mode = m
		}
	}
	return mode
}

func (s *vaults) until() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.need
}

// letGo ends what may still wait for a vault.
func (s *vaults) letGo() {
	for _, k := range s.keepers {
		k.end()
		k.overview.end()
	}
}

// chunkKeyID tells by which chunk key the chunk IDs of this session are made.
func (s *vaults) chunkKeyID() format.Hash { return attest.ChunkKeyID(s.host.ChunkKey) }

// held reports whether any vault in step is known to hold an object.
func (s *vaults) held(name string) (bool, error) {
	for _, k := range s.keepers {
		if !s.inStep(k) {
			continue
		}
		if _, ok, err := k.placement(name); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// ofUse reports whether content can be found through a segment: its chunk IDs are made as this session makes them, and no fresh
// start has come since.
func (s *vaults) ofUse(h format.SegmentHeader) bool {
	return h.ChunkKey == s.chunkKeyID() && s.repo.Trust().number(h.Descriptor) >= s.repo.Trust().Fresh()
}

// sealOne makes a plain object of a single frame.
func (s *vaults) sealOne(plain []byte) (pack.Sealed, error) {
	b, err := pack.NewBuilder(nil, nil)
	if err != nil {
		return pack.Sealed{}, err
	}
	if _, err := b.Add(s.enc.Frame(nil, plain)); err != nil {
		return pack.Sealed{}, err
	}
	return b.Close()
}

func (s *vaults) signer(d attest.Domain) func([]byte) []byte {
	return func(msg []byte) []byte { return attest.Sign(s.host.Signing, d, msg) }
}
