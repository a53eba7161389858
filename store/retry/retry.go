// Package retry is the one retry layer over a vault: drivers try once, this tries again.
//
// It repeats only what store.Retryable allows, waits longer each time with jitter, honours its context, and keeps within
// limits on attempts and time. It must never turn a permanent refusal into a delay, never mix two versions in one
// stream, and never give a listed entry twice.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/holdfast-backup/holdfast/store"
)

// Options of New. The zero value is for production.
type Options struct {
	Attempts int           // tries of one request; default 8
	Total    time.Duration // time for one request with all its tries; default 10 minutes
	Initial  time.Duration // first wait; default 250 ms, four times that after a throttling
	Max      time.Duration // longest wait; default 30 s

	Notify func(Event)                                      // told of every retry before its wait; may be nil
	Sleep  func(ctx context.Context, d time.Duration) error // default: a timer; tests inject theirs
	Now    func() time.Time                                 // default time.Now
}

// Event is one retry.
type Event struct {
	Op      string // as in store.Error
	Ref     store.Ref
	Attempt int           // that failed, from 1
	Wait    time.Duration // before the next
	Err     error
}

// Policy repeats requests. It has no state between them and is safe for concurrent use.
type Policy struct {
	store.Around
	o Options
}

// New makes a Policy, filling in the defaults.
func New(o Options) *Policy {
	if o.Attempts <= 0 {
		o.Attempts = 8
	}
	if o.Total <= 0 {
		o.Total = 10 * time.Minute
	}
	if o.Initial <= 0 {
		o.Initial = 250 * time.Millisecond
	}
	if o.Max <= 0 {
		o.Max = 30 * time.Second
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Policy{o: o}
	p.Around = p.try
	return p
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// series is the tries of one request, or of one stretch of a stream.
type series struct {
	p       *Policy
	op      string
	ref     store.Ref
	begin   time.Time
	tries   int
	last    error // of the try before
	backoff *backoff.ExponentialBackOff
}

func (p *Policy) series(op string, ref store.Ref) *series {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = p.o.Initial, p.o.Max
	b.Reset()
	return &series{p: p, op: op, ref: ref, begin: p.o.Now(), backoff: b}
}

// again decides after a failed try: nil means try again, after the wait that is now over; an error is final.
func (s *series) again(ctx context.Context, err error) error {
	s.tries++
	if !store.Retryable(err) || ctx.Err() != nil {
		if ctx.Err() != nil && s.last != nil {
			return &ended{err, s.last}
		}
		return err
	}
	s.last = err
	wait := s.backoff.NextBackOff()
	if errors.Is(err, store.ErrThrottled) {
		wait = min(4*wait, s.p.o.Max)
	}
	spent := s.p.o.Now().Sub(s.begin)
	if s.tries >= s.p.o.Attempts || spent+wait > s.p.o.Total {
		if s.tries == 1 {
			return err
		}
		return fmt.Errorf("gave up after %d tries in %s: %w", s.tries, spent.Round(time.Millisecond), err)
	}
	if s.p.o.Notify != nil {
		s.p.o.Notify(Event{Op: s.op, Ref: s.ref, Attempt: s.tries, Wait: wait, Err: err})
	}
	if serr := s.p.o.Sleep(ctx, wait); serr != nil {
		return &ended{serr, err}
	}
	return nil
}

// ended is what the caller ended while it was tried again. That the last try's own error was retryable is hidden.
type ended struct{ by, last error }

func (e *ended) Error() string { return fmt.Sprintf("%v, while trying again after: %v", e.by, e.last) }
func (e *ended) Unwrap() error { return e.by }

// LastTry is what the try before came to: for who ended it because nothing moved, and is to say what did.
func (e *ended) LastTry() error { return e.last }

// try does something until it succeeds or is not worth repeating. What is simply done again may be done twice, where it was the
// answer that was lost. Bytes that are put twice become one more version, which costs space until its lock ends and can do no harm, as
// every reader knows the version it wants; the same retention set twice is set once.
func (p *Policy) try(ctx context.Context, op store.Op, do func(context.Context) error) error {
	s := p.series(op.Name, op.Ref)
	for {
		err := do(ctx)
		if op.Name == "remove" && s.tries > 0 && errors.Is(err, store.ErrNotFound) {
			err = nil // it was removed before
		}
		if err == nil {
			return nil
		}
		if err := s.again(ctx, err); err != nil {
			return err
		}
	}
}
