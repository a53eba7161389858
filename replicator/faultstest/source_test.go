package faultstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// Ways in which only sources fail.
const (
	changed faults.Way = "changed"
	gone    faults.Way = "gone"
)

// sourceWays gives the ways of a source's operations: "freeze", "list", "read" and "complete".
func sourceWays(op string) []faults.Way {
	all := []faults.Way{faults.Transient, faults.TimeOut, faults.Throttled, faults.Denied}
	switch op {
	case "list":
		return append(all, faults.Reset)
	case "read":
		return append(all, faults.Reset, faults.Slow, faults.Truncated, faults.Flipped, changed, gone)
	case "complete":
		return append(all, changed, gone)
	}
	return all
}

// failing is a source whose calls fail as a driver's may. Names of calls are keys; a listing's is where it begins.
type failing struct {
	source.Source
	p *faults.Plan
}

func (f failing) Freeze(ctx context.Context) (source.View, error) {
	if w, ok := f.p.Next("freeze", ""); ok {
		return nil, f.p.Err(ctx, w, "freeze", store.Ref{})
	}
	v, err := f.Source.Freeze(ctx)
	return failingView{v, f.p}, err
}

type failingView struct {
	source.View
	p *faults.Plan
}

// err is how a call that concerns one key fails at its start; nil: it does not.
func (v failingView) err(ctx context.Context, w faults.Way, op, key string) error {
	switch w {
	case faults.Denied:
		return &source.Unreadable{Key: key, Reason: "access denied"}
	case changed:
		return fmt.Errorf("%s %q: %w", op, key, source.ErrChanged)
	case gone:
		return fmt.Errorf("%s %q: %w", op, key, source.ErrGone)
	case faults.Reset:
		return nil // in the middle
	}
	return v.p.Err(ctx, w, op, store.Ref{Name: key})
}

func (v failingView) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		w, ok := v.p.Next("list", from)
		left := -1
		if ok {
			if w != faults.Reset {
				yield(nil, v.p.Err(ctx, w, "list", store.Ref{Name: from}))
				return
			}
			left = 20
		}
		for e, err := range v.View.Entries(ctx, from, to) {
			if left == 0 {
				break
			}
			left--
			if !yield(e, err) {
				return
			}
		}
		if ok {
			yield(nil, v.p.Err(ctx, w, "list", store.Ref{Name: from}))
		}
	}
}

func (v failingView) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	w, ok := v.p.Next("read", e.Key)
	if !ok {
		return v.View.Open(ctx, e, off, n)
	}
	if err := v.err(ctx, w, "read", e.Key); err != nil {
		return nil, err
	}
	rc, err := v.View.Open(ctx, e, off, n)
	if err != nil {
		return nil, err
	}
	rc, err = v.p.Body(ctx, w, rc, v.p.Err(ctx, faults.Reset, "read", store.Ref{Name: e.Key}))
	if w == faults.Flipped && err == nil {
		rc = corrupt{rc}
	}
	return rc, err
}

// corrupt ends a stream as a driver does that has seen the source's checksum not to match.
type corrupt struct{ io.ReadCloser }

func (c corrupt) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p[:max(len(p)-1, 0)])
	if n == 0 && err == nil || errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read: %w", source.ErrCorrupt)
	}
	return n, err
}

func (v failingView) Complete(ctx context.Context, e *format.Entry) error {
	if w, ok := v.p.Next("complete", e.Key); ok {
		if err := v.err(ctx, w, "complete", e.Key); err != nil {
			return err
		}
	}
	return v.View.Complete(ctx, e)
}

// everyCallOfASource: the third run again, the source failing in turn. Failures of one entry make the point incomplete
// and are listed; those of the source as a whole make none.
func (w *world) everyCallOfASource(t *testing.T) {
	record := w.plan(w.two)
	c := w.fresh(t)
	record.Class = nil
	if _, err := c.run(nil, failing{w.source, record}); err != nil {
		t.Fatal(err)
	}
	c.close(t)
	tryAll(t, "source", record.Calls(), sourceWays, w.trySource)
}

func (w *world) trySource(t *testing.T, r faults.Rule) *faults.Plan {
	c := w.fresh(t)
	defer c.close(t)
	p := faults.New(r)
	res, err := c.run(nil, failing{w.source, p})
	made := c.since(t)
	complete, may := format.StatusComplete, 0 // what a point may be
	whole := r.Op == "freeze" || r.Op == "list" || r.Way == faults.Transient || r.Way == faults.TimeOut || r.Way == faults.Throttled || r.Way == faults.Reset
	switch r.Way {
	case faults.Denied, faults.Flipped:
		complete, may = format.StatusIncomplete, 1
	case changed, gone, faults.Truncated:
		if r.Times == 0 {
			complete, may = format.StatusIncomplete, 1
		}
	}
	switch {
	case whole && (err == nil || len(made) > 0):
		t.Errorf("%s: the source failed, and there is %+v, %v, points %v", r, res, err, made)
	case whole && !clear(err, r.Way):
		t.Errorf("%s: not a clear error: %v", r, err)
	case !whole && (err != nil || len(made) != 1 || res.Status != complete || int(res.Missing) != may):
		t.Errorf("%s: %+v, %v, points %v; want a point that is %s", r, res, err, made, complete)
	}
	w.converges(t, c, r, made, may)
	return p
}

// oneVaultOfTwoTimesOut: a time-out of a driver's own calls itself DeadlineExceeded; it is that vault's failure and not
// the end of the run.
func (w *world) oneVaultOfTwoTimesOut(t *testing.T) {
	for _, r := range []faults.Rule{{Op: "put"}, {Op: "inspect"}, {Op: "versions"}, {Op: "stat"}, {Op: "put", Name: format.PrefixPoints + "*"}} {
		r.Way = faults.TimeOut
		c := w.fresh(t)
		other := vaultOf(w.two.Clone(c.clock.now), faults.New(r))
		other.Name = "second"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		res, err := c.runIn(ctx, w.source, vaultOf(c.store, nil), other)
		cancel()
		if err != nil || !errors.Is(res.Vaults[1].Err, store.ErrTransient) {
			t.Errorf("%s: %v, %+v", r, err, res)
		} else if err := errors.Join(c.allWell(), c.comesBack(res.Point, 0)); err != nil {
			t.Errorf("%s: %v", r, err)
		}
		c.close(t)
	}
}
