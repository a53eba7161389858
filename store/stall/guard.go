package stall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Guard ends all requests of one vault when the vault makes no progress, and refuses those that come later: a dead vault
// costs the limit once, however often it is asked.
type Guard struct {
	store.Around
	w    *Watch
	life context.Context
}

// NewGuard makes a guard that lets a vault give or take nothing for limit (0: Default).
func NewGuard(limit time.Duration) *Guard {
	life, end := context.WithCancelCause(context.Background())
	g := &Guard{w: NewWatch(limit, end), life: life}
	g.Around = g.ask
	return g
}

// enter begins a request. done ends it and words its error.
func (g *Guard) enter(ctx context.Context) (_ context.Context, done func(error) error) {
	caller := ctx
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.life, cancel)
	return ctx, func(err error) error {
		stop()
		cancel()
		return g.verdict(caller, err)
	}
}

// verdict gives the stall in the place of an error that came of it, and counts a request that succeeded.
func (g *Guard) verdict(ctx context.Context, err error) error {
	if err == nil {
		g.w.Add(Request)
		return nil
	}
	if stalled := g.w.Err(); stalled != nil && ctx.Err() == nil {
		var tried interface{ LastTry() error }
		switch {
		case errors.As(err, &tried):
			return fmt.Errorf("%w; last: %v", stalled, tried.LastTry()) //nolint:errorlint // it may be one to try again
		case errors.Is(err, context.Canceled):
			return stalled
		}
		return fmt.Errorf("%w; last: %w", stalled, err)
	}
	return err
}

// ask makes a request that is waited for as a whole.
func (g *Guard) ask(ctx context.Context, _ store.Op, do func(context.Context) error) error {
	ctx, done := g.enter(ctx)
	g.w.Enter()
	err := do(ctx)
	g.w.Exit()
	return done(err)
}

// Writer wraps w. What a try sends again is no progress.
func (g *Guard) Writer(w store.Writer) store.Writer { return writer{g.Around.Writer(w), g} }

type writer struct {
	store.Writer
	g *Guard
}

func (w writer) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	return w.Writer.Put(ctx, name, &sent{w: w.g.w, r: body}, size, o)
}

// sent counts how far a body was read.
type sent struct {
	w   *Watch
	r   io.ReaderAt
	mu  sync.Mutex
	far int64
}

func (s *sent) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	s.mu.Lock()
	more := off + int64(n) - s.far
	s.far += max(more, 0)
	s.mu.Unlock()
	if more > 0 {
		s.w.Add(more)
	}
	return n, err
}

// Reader wraps r. What streams is waited for piece by piece.
func (g *Guard) Reader(r store.Reader) store.Reader { return reader{g.Around.Reader(r), g, r} }

type reader struct {
	store.Reader
	g *Guard
	r store.Reader
}

func (r reader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	inner, done := r.g.enter(ctx)
	r.g.w.Enter()
	rc, err := r.r.Open(inner, ref, off, n)
	r.g.w.Exit()
	if err != nil {
		return nil, done(err)
	}
	r.g.w.Add(Request)
	return &body{g: r.g, ctx: ctx, rc: rc, done: done}, nil
}

// body keeps the request's context until it is closed.
type body struct {
	g    *Guard
	ctx  context.Context // of the Open call: the stream ends with it
	rc   io.ReadCloser
	done func(error) error
}

func (b *body) Read(p []byte) (int, error) {
	b.g.w.Enter()
	n, err := b.rc.Read(p)
	b.g.w.Exit()
	b.g.w.Add(int64(n))
	if err != nil && err != io.EOF { //nolint:errorlint // an end that is wrapped is none
		err = b.g.verdict(b.ctx, err)
	}
	return n, err
}

func (b *body) Close() error {
	err := b.rc.Close()
	_ = b.done(err) // it words errors of requests; a closed stream's own is clear
	return err
}

func (r reader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		inner, done := r.g.enter(ctx)
		ended := false
		defer func() {
			if !ended {
				_ = done(context.Canceled) // the consumer stopped it
			}
		}()
		r.g.w.Enter()
		defer r.g.w.Exit()
		for info, err := range r.r.Versions(inner, prefix, after) {
			if err != nil {
				ended = true
				err = done(err)
			} else {
				r.g.w.Add(Name + int64(len(info.Name)))
			}
			r.g.w.Exit()
			more := yield(info, err)
			r.g.w.Enter()
			if !more || err != nil {
				return
			}
		}
		ended = true
		_ = done(nil)
	}
}
