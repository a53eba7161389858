package repo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Vaults go through a run in step: what is stored is stored in all of them before the buffer is used again. A vault may so
// keep the others waiting, and a hostile or a dying one would do so for ever. Each may for patienceBase and a small share of
// the run, all its delays together; then it is left behind: nothing more is asked of it until the others have the point.
// After that it is brought to the same point on its own, with ciphertext from the others: see CatchUp.
const (
	patienceBase  = 2 * time.Second
	patienceShare = 33 // one part in so many of the time since the session began
)

// joinPatience is how often a vault's stall it may take to open one that was left behind, once it is all that is waited for,
// beside ten times what the first one took: its listings may never end. doubtfulPatience is the time for a vault which an
// earlier source of the same command found down.
const (
	joinPatience     = 10
	doubtfulPatience = 5 * time.Second
)

// lateCommit is how long after it was signed a point is still stored in a vault that catches up. Later than that it is
// signed anew, since a point that arrives over an hour late is marked.
const lateCommit = LateAfter / 2

// ErrBehind is what a vault comes to that was left behind and was not brought up.
var ErrBehind = errors.New("left behind: the others did not wait for it; the next run brings it up")

// inStep reports whether a vault is in use: it has not failed and was not left behind, or is the one that catches up.
func (s *vaults) inStep(k *keeper) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed == nil && (s.alone || !k.behind)
}

// waitedFor begins and ends a time in which others wait for this vault. Several at once count once.
func (k *keeper) waitedFor(begins bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if begins {
		if k.waits++; k.waits == 1 {
			k.since = time.Now()
		}
		return
	}
	if k.waits--; k.waits == 0 {
		k.waited += time.Since(k.since)
	}
}

// patience is how much longer others may wait for a vault. In a session without others it never ends.
func (s *vaults) patience(k *keeper) time.Duration {
	if s.alone {
		return time.Hour
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	left := patienceBase + time.Since(s.began)/patienceShare - k.waited
	if k.waits > 0 {
		left -= time.Since(k.since)
	}
	return left
}

// leaveBehind takes a vault out of step, unless no other is left.
func (s *vaults) leaveBehind(k *keeper) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.keepers {
		if other != k && s.inStep(other) {
			k.mu.Lock()
			k.behind = true
			k.mu.Unlock()
			return true
		}
	}
	return false
}

// patiently asks one vault for something that the run waits for: only as long as it may keep the others waiting, if there
// are others in step.
func (s *vaults) patiently(ctx context.Context, k *keeper, fn func(context.Context) error) error {
	if s.alone || len(s.active()) < 2 {
		return fn(ctx)
	}
	kctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.waitedFor(true)
	defer k.waitedFor(false)
	timer := time.AfterFunc(max(s.patience(k), time.Millisecond), func() {
		if s.leaveBehind(k) {
			cancel()
		}
	})
	defer timer.Stop()
	return fn(kctx)
}

// recall takes vaults that were left behind back into step when no other is left, and reports whether there are any.
func (s *vaults) recall(ctx context.Context) bool {
	if s.alone || s.cache == nil { // while the session is opened, see find
		return false
	}
	s.recalling.Lock()
	defer s.recalling.Unlock()
	any := false
	for _, k := range s.keepers {
		if k.err() != nil {
			continue
		}
		if err := s.rejoin(ctx, k); err != nil {
			_ = s.settle(ctx, k, err) // kept in the keeper; the caller sees whether the context ended
			continue
		}
		k.mu.Lock()
		k.behind, k.waited = false, 0
		k.mu.Unlock()
		any = any || k.err() == nil
	}
	return any && ctx.Err() == nil
}

// takeBack puts vaults that were left behind in step again, as they are, and reports whether there were any.
func (s *vaults) takeBack() bool {
	any := false
	for _, k := range s.keepers {
		k.mu.Lock()
		any = any || k.behind && k.failed == nil
		k.behind, k.waited = false, 0
		k.mu.Unlock()
	}
	return any
}

// join opens a vault that was left behind while the session was opened.
func (s *Session) join(ctx context.Context, k *keeper) error {
	if k.joined {
		return nil
	}
	patience := joinPatience*s.stall + 10*s.opening
	if k.vault.Doubtful {
		patience = doubtfulPatience
	}
	jctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it could not be opened within %s: %w", patience.Round(time.Second), ErrBehind))
	defer cancel()
	err := s.open(jctx, k)
	if err != nil && jctx.Err() != nil && ctx.Err() == nil {
		err = context.Cause(jctx)
	}
	return err
}

// CatchUp brings the vaults that were left behind to a point that the others hold: it gives each what the point needs,
// needs, from the others, and commits the point there. A vault where that fails is left out. needs is walked once a vault.
func (s *Session) CatchUp(ctx context.Context, c *format.Commit, needs func(context.Context) iter.Seq2[format.Need, error]) {
	var g errgroup.Group
	for _, k := range s.keepers {
		if k.err() != nil || s.inStep(k) {
			continue
		}
		g.Go(func() error {
			err := s.join(ctx, k)
			if err == nil {
				err = s.catchUp(ctx, k, c, needs(ctx))
			}
			return s.settle(ctx, k, err)
		})
	}
	_ = g.Wait() // only the context's end comes back, and then the vaults are still marked as left behind
}

func (s *Session) catchUp(ctx context.Context, k *keeper, c *format.Commit, needs iter.Seq2[format.Need, error]) error {
	own := s.only(k)
	if s.decide != nil {
		own.Foresee(s.decide)
	}
	if err := own.Locks.Secure(ctx, needs); err != nil {
		return own.cause(k, err)
	}
	if err := own.Locks.SecureSegments(ctx); err != nil {
		return own.cause(k, err)
	}
	if err := own.placing.endAll(ctx); err != nil {
		return own.cause(k, err)
	}
	if err := own.signing.timely(ctx, c.RetainUntil.Time, own.signing.stored()); err != nil {
		return own.cause(k, err)
	}
	point, err := own.signing.commitLate(ctx, c)
	if err != nil {
		return own.cause(k, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.behind, k.point = false, point
	return nil
}

// cause is the vault's own error, where it has one, in the place of that of a session of one.
func (s *Session) cause(k *keeper, err error) error {
	if failed := k.err(); failed != nil {
		return failed
	}
	return err
}

// only is the session as one vault that was left behind goes on with it: it is waited for, and takes from the others.
func (s *Session) only(k *keeper) *Session {
	own := newSession(&vaults{
		keepers: []*keeper{k}, givers: s.active, alone: true, began: s.began,
		repo: s.repo, host: s.host, cache: s.cache, enc: s.enc, now: s.now, report: s.report, need: s.until(),
	}, s.placing.pace)
	own.Locks.copying = s.Locks.copying
	return own
}
