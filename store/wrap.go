package store

import (
	"context"
	"io"
	"iter"
)

// Op is one thing that is asked of a vault.
type Op struct {
	Name string // as in Error
	Ref  Ref    // what it is about: of a listing its prefix, of Inspect nothing
}

// Around is what a wrapper does around everything that is asked of a vault: it calls do, which asks, with its own context or one
// that ends earlier, once, again, or not at all, and what it returns is the error. Its methods wrap the interfaces of this package
// so. A wrapper that must know more of one method has that method of its own, over what these give: it counts what streams by, or
// begins a stream in the middle.
//
// Open asks only for the stream, which is read later: a context that Around ends when it returns ends the stream. A listing streams
// while do runs, so that do must not be called again.
type Around func(ctx context.Context, op Op, do func(context.Context) error) error

// Reader wraps r.
func (a Around) Reader(r Reader) Reader { return aroundReader{a, r} }

type aroundReader struct {
	around Around
	r      Reader
}

func (a aroundReader) Open(ctx context.Context, ref Ref, off, n int64) (body io.ReadCloser, err error) {
	err = a.around(ctx, Op{"open", ref}, func(ctx context.Context) (err error) {
		body, err = a.r.Open(ctx, ref, off, n)
		return err
	})
	return body, err
}

func (a aroundReader) Stat(ctx context.Context, ref Ref) (info Info, lock Retention, err error) {
	err = a.around(ctx, Op{"stat", ref}, func(ctx context.Context) (err error) {
		info, lock, err = a.r.Stat(ctx, ref)
		return err
	})
	return info, lock, err
}

func (a aroundReader) Versions(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		stopped := false
		err := a.around(ctx, Op{"versions", Ref{Name: prefix}}, func(ctx context.Context) error {
			for info, err := range a.r.Versions(ctx, prefix, after) {
				if err != nil {
					return err
				}
				if stopped = !yield(info, nil); stopped {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Info{}, err)
		}
	}
}

// Writer wraps w.
func (a Around) Writer(w Writer) Writer { return aroundWriter{a, w} }

type aroundWriter struct {
	around Around
	w      Writer
}

func (a aroundWriter) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o PutOptions) (ref Ref, err error) {
	err = a.around(ctx, Op{"put", Ref{Name: name}}, func(ctx context.Context) (err error) {
		ref, err = a.w.Put(ctx, name, body, size, o)
		return err
	})
	return ref, err
}

// Locker wraps l.
func (a Around) Locker(l Locker) Locker { return aroundLocker{a, l} }

type aroundLocker struct {
	around Around
	l      Locker
}

func (a aroundLocker) Extend(ctx context.Context, ref Ref, to Retention) error {
	return a.around(ctx, Op{"extend", ref}, func(ctx context.Context) error { return a.l.Extend(ctx, ref, to) })
}

// Remover wraps r.
func (a Around) Remover(r Remover) Remover { return aroundRemover{a, r} }

type aroundRemover struct {
	around Around
	r      Remover
}

func (a aroundRemover) Remove(ctx context.Context, ref Ref) error {
	return a.around(ctx, Op{"remove", ref}, func(ctx context.Context) error { return a.r.Remove(ctx, ref) })
}

// Inspector wraps i.
func (a Around) Inspector(i Inspector) Inspector { return aroundInspector{a, i} }

type aroundInspector struct {
	around Around
	i      Inspector
}

func (a aroundInspector) Inspect(ctx context.Context) (facts Facts, err error) {
	err = a.around(ctx, Op{Name: "inspect"}, func(ctx context.Context) (err error) {
		facts, err = a.i.Inspect(ctx)
		return err
	})
	return facts, err
}
