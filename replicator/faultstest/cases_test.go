package faultstest

import (
	"cmp"
	"errors"
	"flag"
	"io"
	"os"
	"path"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// every is how many cases there are for each that is tried: all of them take minutes. A Put whose answer is lost is always
// tried: what it leaves behind differs.
var every = flag.Int("every", sampled(), "try one case of so `many`")

func sampled() int {
	if raced {
		return 71
	}
	return 7
}

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // a thousand little repositories: most of the time would go into collecting them
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = io.WriteString(os.Stderr, err.Error()+"\n") // the exit code says it too
			code = 1
		}
	}
	os.Exit(code)
}

// cases gives the rules that make each call fail in each of its ways: once, and from then on.
func cases(calls []faults.Call, ways func(op string) []faults.Way) (out []faults.Rule) {
	// In an order that is the same each time, though the names are not.
	slices.SortFunc(calls, func(a, b faults.Call) int {
		return cmp.Or(cmp.Compare(a.Op, b.Op), cmp.Compare(path.Dir(path.Dir(a.Name)), path.Dir(path.Dir(b.Name))), cmp.Compare(a.Nth, b.Nth), cmp.Compare(a.Name, b.Name))
	})
	for _, c := range calls {
		for _, w := range ways(c.Op) {
			r := faults.Rule{Op: c.Op, Name: c.Name, Nth: c.Nth, Way: w}
			once := r
			once.Times = 1
			out = append(out, once, r)
		}
	}
	return out
}

// tryAll runs the cases, several at a time, as most of their time is waiting for a disk, and tells how many there were.
func tryAll(t *testing.T, what string, calls []faults.Call, ways func(op string) []faults.Way, try func(*testing.T, faults.Rule) *faults.Plan) {
	t.Helper()
	all := cases(calls, ways)
	todo := make(chan faults.Rule)
	var tried atomic.Int64
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for r := range todo {
				untilItCame(t, r, try)
				tried.Add(1)
			}
		})
	}
	for i, r := range all {
		if t.Failed() && tried.Load() > 200 {
			break // enough to see what is wrong
		}
		if i%max(*every, 1) == 0 || r.Way == faults.Lost && r.Op == "put" && r.Times == 1 {
			todo <- r
		}
	}
	close(todo)
	wg.Wait()
	perOp := map[string]int{}
	for _, c := range calls {
		perOp[c.Op]++
	}
	t.Logf("%s: %d calls (%v), every way of each, once and for good: %d cases, %d tried", what, len(calls), perOp, len(all), tried.Load())
}

// untilItCame tries a case until its call came: how many new objects there are of a kind depends a little on their names,
// which are hashes. A rule that is never exhausted fails the test.
func untilItCame(t *testing.T, r faults.Rule, try func(*testing.T, faults.Rule) *faults.Plan) {
	var p *faults.Plan
	for range 10 {
		if p = try(t, r); len(p.Left()) == 0 {
			return
		}
	}
	p.Check(t)
}

// clear reports whether an error says what is the matter: one of the kinds that callers and exit codes know, and that of the
// fault where it has one.
func clear(err error, w faults.Way) bool {
	switch w {
	case faults.Throttled:
		return errors.Is(err, store.ErrThrottled)
	case faults.Denied:
		return errors.Is(err, store.ErrDenied)
	case faults.Transient, faults.TimeOut, faults.Reset, faults.Lost:
		return errors.Is(err, store.ErrTransient)
	}
	for _, kind := range []error{
		repo.ErrDamaged, repo.ErrMissing, repo.ErrNoRepository, repo.ErrWrongBytes, pack.ErrDamaged, seal.ErrDamaged,
		format.ErrMalformed, format.ErrBounds, store.ErrChecksum, store.ErrNotFound, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}
