package faults

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// late is a time-out as net/http has it: it calls itself DeadlineExceeded though no context of the caller's has ended.
type late struct{ after time.Duration }

func (l late) Error() string     { return fmt.Sprintf("no answer within %s (injected)", l.after) }
func (l late) Timeout() bool     { return true }
func (l late) Is(err error) bool { return err == context.DeadlineExceeded }

func fail(op string, ref store.Ref, kind error, code string, err error) error {
	return &store.Error{Op: op, Vault: "faults:", Ref: ref, Kind: kind, Code: code, Err: err}
}

var errReset = fmt.Errorf("%w (injected)", syscall.ECONNRESET)

// Err is the error of a call that fails without anything being done. The ways that concern bodies and listings only, and
// Lost, are none.
func (p *Plan) Err(ctx context.Context, w Way, op string, ref store.Ref) error {
	switch w {
	case Transient:
		return fail(op, ref, store.ErrTransient, "InternalError", errors.New("injected"))
	case Reset:
		return fail(op, ref, store.ErrTransient, "", errReset)
	case Throttled:
		return fail(op, ref, store.ErrThrottled, "SlowDown", errors.New("injected"))
	case Denied:
		return fail(op, ref, store.ErrDenied, "AccessDenied", errors.New("injected"))
	case TimeOut:
		t := time.NewTimer(p.patience())
		defer t.Stop()
		select {
		case <-ctx.Done():
			return fail(op, ref, nil, "", ctx.Err())
		case <-t.C:
			return fail(op, ref, store.ErrTransient, "", late{p.patience()})
		}
	}
	return nil
}

// lost is the error of a call that was done and whose answer does not come.
func lost(op string, ref store.Ref) error {
	return fail(op, ref, store.ErrTransient, "", fmt.Errorf("the answer was lost: %w", errReset))
}

// act does what is asked as it is, or fails.
func (p *Plan) act(ctx context.Context, op store.Op, do func(context.Context) error) error {
	w, ok := p.Next(op.Name, op.Ref.Name)
	if ok {
		if err := p.Err(ctx, w, op.Name, op.Ref); err != nil {
			return err
		}
	}
	err := do(ctx)
	if err == nil && w == Lost && slices.Contains(Ways(op.Name), Lost) {
		return lost(op.Name, op.Ref)
	}
	return err
}

// Locker wraps l.
func (p *Plan) Locker(l store.Locker) store.Locker { return store.Around(p.act).Locker(l) }

// Remover wraps r.
func (p *Plan) Remover(r store.Remover) store.Remover { return store.Around(p.act).Remover(r) }

// Inspector wraps i.
func (p *Plan) Inspector(i store.Inspector) store.Inspector { return store.Around(p.act).Inspector(i) }

// Reader wraps r.
func (p *Plan) Reader(r store.Reader) store.Reader {
	return reader{store.Around(p.act).Reader(r), p, r}
}

type reader struct {
	store.Reader // of which the streams are made to break in the middle here
	p            *Plan
	r            store.Reader
}

func (r reader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	w, ok := r.p.Next("open", ref.Name)
	if !ok {
		return r.r.Open(ctx, ref, off, n)
	}
	if w != Reset {
		if err := r.p.Err(ctx, w, "open", ref); err != nil {
			return nil, err
		}
	}
	rc, err := r.r.Open(ctx, ref, off, n)
	if err != nil {
		return nil, err
	}
	return r.p.Body(ctx, w, rc, fail("open", ref, store.ErrTransient, "", errReset))
}

func (r reader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		w, ok := r.p.Next("versions", prefix)
		if !ok {
			r.r.Versions(ctx, prefix, after)(yield)
			return
		}
		ref := store.Ref{Name: prefix}
		if w != Reset {
			if err := r.p.Err(ctx, w, "versions", ref); err != nil {
				yield(store.Info{}, err)
				return
			}
		}
		var all []store.Info
		var last error
		for info, err := range r.r.Versions(ctx, prefix, after) {
			if last = err; err == nil {
				all = append(all, info)
			}
		}
		switch w {
		case Reset:
			all, last = all[:len(all)/2], fail("versions", ref, store.ErrTransient, "", errReset)
		case Stale:
			all = stale(all)
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
		if last != nil {
			yield(store.Info{}, last)
		}
	}
}

// stale takes out what came last, and makes the newest of what is left the latest.
func stale(all []store.Info) (out []store.Info) {
	var newest time.Time
	for _, info := range all {
		if info.Modified.After(newest) {
			newest = info.Modified
		}
	}
	for _, info := range all {
		if info.Modified.Equal(newest) {
			continue
		}
		info.Latest = len(out) == 0 || out[len(out)-1].Name != info.Name
		out = append(out, info)
	}
	return out
}

// Writer wraps w.
func (p *Plan) Writer(w store.Writer) store.Writer { return writer{p, w} }

type writer struct {
	p *Plan
	w store.Writer
}

func (w writer) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref := store.Ref{Name: name}
	way, ok := w.p.Next("put", name)
	if !ok {
		return w.w.Put(ctx, name, body, size, o)
	}
	if err := w.p.Err(ctx, way, "put", ref); err != nil {
		return ref, err
	}
	if way == Flipped {
		b := make([]byte, size)
		if _, err := body.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
			return ref, err
		}
		flip(b)
		body = bytes.NewReader(b)
	}
	got, err := w.w.Put(ctx, name, body, size, o)
	if err == nil && way == Lost {
		return ref, lost("put", ref)
	}
	return got, err
}
