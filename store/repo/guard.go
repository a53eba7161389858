package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/holdfast-backup/holdfast/store"
)

// errLeftOut: the vault failed before. It hides what kind of failure that was, so that it is not taken for the answer to
// another question.
var errLeftOut = errors.New("left out")

// guarded gives the vault with every request ended as soon as the vault is left out: that it is down is noticed once, and
// not waited for again by each request that is still being tried.
func (k *keeper) guarded(v *Vault) *Vault {
	g := *v
	if v.Read != nil {
		g.Read = guardedReader{k, v.Read}
	}
	if v.Write != nil {
		g.Write = guardedWriter{k, v.Write}
	}
	if v.Lock != nil {
		g.Lock = guardedLocker{k, v.Lock}
	}
	if v.Inspect != nil {
		g.Inspect = guardedInspector{k, v.Inspect}
	}
	return &g
}

// enter gives a context for one request. done is called when it is over, and words its error.
func (k *keeper) enter(ctx context.Context) (_ context.Context, done func(error) error, err error) {
	caller := ctx
	verdict := func(err error) error {
		if err == nil || caller.Err() != nil {
			return err
		}
		if failed := k.err(); failed != nil {
			return fmt.Errorf("%w: %s", errLeftOut, failed.Error())
		}
		return err
	}
	if k.life.Err() != nil {
		return nil, nil, verdict(errLeftOut)
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(k.life, cancel)
	return ctx, func(err error) error {
		err = verdict(err)
		stop()
		cancel()
		return err
	}, nil
}

type guardedReader struct {
	k *keeper
	r store.Reader
}

func (g guardedReader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	ctx, done, err := g.k.enter(ctx)
	if err != nil {
		return nil, err
	}
	body, err := g.r.Open(ctx, ref, off, n)
	if err != nil {
		return nil, done(err)
	}
	return &guardedBody{ReadCloser: body, done: done}, nil
}

// guardedBody keeps the request's context until it is closed.
type guardedBody struct {
	io.ReadCloser
	done func(error) error
}

func (b *guardedBody) Close() error { return b.done(b.ReadCloser.Close()) }

func (g guardedReader) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	ctx, done, err := g.k.enter(ctx)
	if err != nil {
		return store.Info{}, store.Retention{}, err
	}
	info, lock, err := g.r.Stat(ctx, ref)
	return info, lock, done(err)
}

func (g guardedReader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		ctx, done, err := g.k.enter(ctx)
		if err != nil {
			yield(store.Info{}, err)
			return
		}
		for info, err := range g.r.Versions(ctx, prefix, after) {
			if err != nil {
				yield(store.Info{}, done(err))
				return
			}
			if !yield(info, nil) {
				break
			}
		}
		_ = done(nil)
	}
}

type guardedWriter struct {
	k *keeper
	w store.Writer
}

func (g guardedWriter) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ctx, done, err := g.k.enter(ctx)
	if err != nil {
		return store.Ref{}, err
	}
	ref, err := g.w.Put(ctx, name, body, size, o)
	return ref, done(err)
}

type guardedLocker struct {
	k *keeper
	l store.Locker
}

func (g guardedLocker) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	ctx, done, err := g.k.enter(ctx)
	if err != nil {
		return err
	}
	return done(g.l.Extend(ctx, ref, to))
}

type guardedInspector struct {
	k *keeper
	i store.Inspector
}

func (g guardedInspector) Inspect(ctx context.Context) (store.Facts, error) {
	ctx, done, err := g.k.enter(ctx)
	if err != nil {
		return store.Facts{}, err
	}
	f, err := g.i.Inspect(ctx)
	return f, done(err)
}
