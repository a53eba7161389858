package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/store"
)

// errLeftOut: the vault failed before. It hides what kind of failure that was, so that it is not taken for the answer to
// another question.
var errLeftOut = errors.New("left out")

// guarded gives the vault with every request ended as soon as the vault is left out: that it is down is noticed once, and
// not waited for again by each request that is still being tried.
func (k *keeper) guarded(v *Vault) *Vault {
	g := *v
	around := store.Around(k.ask)
	if v.Read != nil {
		g.Read = guardedReader{around.Reader(v.Read), k, v.Read}
	}
	if v.Write != nil {
		g.Write = around.Writer(v.Write)
	}
	if v.Lock != nil {
		g.Lock = around.Locker(v.Lock)
	}
	if v.Inspect != nil {
		g.Inspect = around.Inspector(v.Inspect)
	}
	return &g
}

func (k *keeper) ask(ctx context.Context, _ store.Op, do func(context.Context) error) error {
	ctx, done, err := k.enter(ctx)
	if err != nil {
		return err
	}
	return done(do(ctx))
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
	store.Reader
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
