// Package meter counts what goes to and from a vault, and may slow it down to a given rate.
//
// Put it under the retry layer and it counts what went over the
// wire, tries included; over it, what was asked for. It must never change what a call does or returns.
package meter

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"sync"
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
	store.Around

	up, down *rate.Limiter // nil: no limit

	mu               sync.Mutex
	asked            map[string]Calls
	in, out, entries atomic.Int64
}

// Calls is how often an operation was called and how often it failed.
type Calls struct{ Calls, Errors int64 }

// Snapshot is what a Meter has counted so far.
type Snapshot struct {
	Asked map[string]Calls // by operation, as store.Op names it

	BytesIn  int64 // read from Open streams
	BytesOut int64 // read from Put bodies
	Entries  int64 // listed
}

// Calls is the sum over all operations.
func (s Snapshot) Calls() (sum Calls) {
	for _, c := range s.Asked {
		sum.Calls += c.Calls
		sum.Errors += c.Errors
	}
	return sum
}

// minBurst keeps a slow limit from cutting reads into crumbs.
const minBurst = 32 << 10

// New makes a Meter that has counted nothing.
func New(o Options) *Meter {
	m := &Meter{up: limiter(o.Upload), down: limiter(o.Download), asked: map[string]Calls{}}
	m.Around = func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		err := do(ctx)
		m.count(op.Name, 1, err)
		return err
	}
	return m
}

func (m *Meter) count(op string, calls int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.asked[op]
	c.Calls += calls
	if err != nil {
		c.Errors++
	}
	m.asked[op] = c
}

func limiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(max(min(perSecond/4, 1<<30), minBurst)))
}

// Snapshot reads the counters; each is exact, together they are of about the same moment.
func (m *Meter) Snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Snapshot{Asked: maps.Clone(m.asked), BytesIn: m.in.Load(), BytesOut: m.out.Load(), Entries: m.entries.Load()}
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
func (m *Meter) Writer(w store.Writer) store.Writer { return writer{m.Around.Writer(w), m} }

type writer struct {
	store.Writer
	m *Meter
}

func (w writer) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	return w.Writer.Put(ctx, name, &upload{ctx: ctx, m: w.m, r: body}, size, o)
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

// Reader wraps r. A stream that breaks counts as an error of Open.
func (m *Meter) Reader(r store.Reader) store.Reader { return reader{m.Around.Reader(r), m} }

type reader struct {
	store.Reader
	m *Meter
}

func (r reader) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	rc, err := r.Reader.Open(ctx, ref, off, n)
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
		d.m.count("open", 0, err)
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
		for info, err := range r.Reader.Versions(ctx, prefix, after) {
			if err == nil {
				r.m.entries.Add(1)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}
