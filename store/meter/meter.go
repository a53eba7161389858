// Package meter counts what goes to and from a vault, and may slow it down to a given rate.
//
// It wraps the interfaces of package store one by one. Put it under the retry layer and it counts what went over the
// wire, tries included; over it, what was asked for. It must never change what a call does or returns.
package meter

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/store"
)

// Options of New.
type Options struct {
	Upload   int64 // bytes a second of Put bodies, over all calls together; 0: no limit
	Download int64 // bytes a second of Open streams; 0: no limit
}

// Meter counts. It is safe for concurrent use.
type Meter struct {
	up, down *rate.Limiter // nil: no limit

	open, stat, versions, put, extend, remove, inspect counter
	in, out, entries                                   atomic.Int64
}

type counter struct{ calls, errors atomic.Int64 }

func (c *counter) done(err error) {
	c.calls.Add(1)
	if err != nil {
		c.errors.Add(1)
	}
}

// Calls is how often an operation was called and how often it failed.
type Calls struct{ Calls, Errors int64 }

// Snapshot is what a Meter has counted so far.
type Snapshot struct {
	Open, Stat, Versions, Put, Extend, Remove, Inspect Calls

	BytesIn  int64 // read from Open streams
	BytesOut int64 // read from Put bodies
	Entries  int64 // listed
}

// Calls is the sum over all operations.
func (s Snapshot) Calls() Calls {
	var sum Calls
	for _, c := range []Calls{s.Open, s.Stat, s.Versions, s.Put, s.Extend, s.Remove, s.Inspect} {
		sum.Calls += c.Calls
		sum.Errors += c.Errors
	}
	return sum
}

// minBurst keeps a slow limit from cutting reads into crumbs.
const minBurst = 32 << 10

// New makes a Meter that has counted nothing.
func New(o Options) *Meter { return &Meter{up: limiter(o.Upload), down: limiter(o.Download)} }

func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(min(perSecond/4, 1<<30), minBurst)))
}

// Snapshot reads the counters; each is exact, together they are of about the same moment.
func (m *Meter) Snapshot() Snapshot {
	get := func(c *counter) Calls { return Calls{c.calls.Load(), c.errors.Load()} }
	return Snapshot{
		Open: get(&m.open), Stat: get(&m.stat), Versions: get(&m.versions), Put: get(&m.put), Extend: get(&m.extend),
		Remove: get(&m.remove), Inspect: get(&m.inspect),
		BytesIn: m.in.Load(), BytesOut: m.out.Load(), Entries: m.entries.Load(),
	}
}

// wait takes n bytes from l, in pieces that fit its burst.
func wait(ctx context.Context, l *rate.Limiter, n int) error {
	for l != nil && n > 0 {
		piece := min(n, l.Burst())
		if err := l.WaitN(ctx, piece); err != nil {
			if cerr := context.Cause(ctx); cerr != nil {
				return cerr
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			return errors.Join(context.DeadlineExceeded, err) // the limiter sees that the deadline will come first
		}
		n -= piece
	}
	return nil
}

// Writer wraps w.
func (m *Meter) Writer(w store.Writer) store.Writer { return writer{m, w} }

type writer struct {
	m *Meter
	w store.Writer
}

func (w writer) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref, err := w.w.Put(ctx, name, &upload{ctx: ctx, m: w.m, r: body}, size, o)
	w.m.put.done(err)
	return ref, err
}

type upload struct {
	ctx context.Context // of the Put call
	m   *Meter
	r   io.ReaderAt
}

func (u *upload) ReadAt(p []byte, off int64) (int, error) {
	if err := wait(u.ctx, u.m.up, len(p)); err != nil {
		return 0, err
	}
	n, err := u.r.ReadAt(p, off)
	u.m.out.Add(int64(n))
	return n, err
}

// Locker wraps l.
func (m *Meter) Locker(l store.Locker) store.Locker { return locker{m, l} }

type locker struct {
	m *Meter
	l store.Locker
}

func (l locker) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	err := l.l.Extend(ctx, ref, to)
	l.m.extend.done(err)
	return err
}

// Remover wraps r.
func (m *Meter) Remover(r store.Remover) store.Remover { return remover{m, r} }

type remover struct {
	m *Meter
	r store.Remover
}

func (r remover) Remove(ctx context.Context, ref store.Ref) error {
	err := r.r.Remove(ctx, ref)
	r.m.remove.done(err)
	return err
}

// Inspector wraps i.
func (m *Meter) Inspector(i store.Inspector) store.Inspector { return inspector{m, i} }

type inspector struct {
	m *Meter
	i store.Inspector
}

func (i inspector) Inspect(ctx context.Context) (store.Facts, error) {
	f, err := i.i.Inspect(ctx)
	i.m.inspect.done(err)
	return f, err
}

// Reader wraps r. A stream that breaks counts as an error of Open.
func (m *Meter) Reader(r store.Reader) store.Reader { return reader{m, r} }

type reader struct {
	m *Meter
	r store.Reader
}

func (r reader) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, lock, err := r.r.Stat(ctx, ref)
	r.m.stat.done(err)
	return info, lock, err
}

func (r reader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	rc, err := r.r.Open(ctx, ref, off, n)
	r.m.open.done(err)
	if err != nil {
		return nil, err
	}
	return &download{ctx: ctx, m: r.m, rc: rc}, nil
}

type download struct {
	ctx    context.Context // of the Open call
	m      *Meter
	rc     io.ReadCloser
	failed bool
}

func (d *download) Read(p []byte) (int, error) {
	if l := d.m.down; l != nil {
		p = p[:min(len(p), l.Burst())]
	}
	n, err := d.rc.Read(p)
	d.m.in.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) && !d.failed {
		d.failed = true
		d.m.open.errors.Add(1)
	}
	// Paid for afterwards, as only then it is known how much came.
	if werr := wait(d.ctx, d.m.down, n); werr != nil {
		return n, werr
	}
	return n, err
}

func (d *download) Close() error { return d.rc.Close() }

func (r reader) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		var failed error
		defer func() { r.m.versions.done(failed) }()
		for info, err := range r.r.Versions(ctx, prefix, after) {
			if err == nil {
				r.m.entries.Add(1)
			}
			failed = err
			if !yield(info, err) {
				return
			}
		}
	}
}
