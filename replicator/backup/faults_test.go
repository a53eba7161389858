package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// flaky is a vault that stops answering when down says so.
type flaky struct {
	inner interface {
		store.Reader
		store.Writer
		store.Locker
		store.Inspector
	}
	down func(op, name string) bool
}

// errDown calls itself what time-outs of the network call themselves.
var errDown = fmt.Errorf("the vault does not answer: %w", context.DeadlineExceeded)

func (f *flaky) check(op, name string) error {
	if f.down != nil && f.down(op, name) {
		return &store.Error{Op: op, Vault: "flaky", Ref: store.Ref{Name: name}, Err: errDown}
	}
	return nil
}

func (f *flaky) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if err := f.check("open", ref.Name); err != nil {
		return nil, err
	}
	return f.inner.Open(ctx, ref, off, n)
}

func (f *flaky) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	if err := f.check("stat", ref.Name); err != nil {
		return store.Info{}, store.Retention{}, err
	}
	return f.inner.Stat(ctx, ref)
}

func (f *flaky) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	if err := f.check("versions", prefix); err != nil {
		return func(yield func(store.Info, error) bool) { yield(store.Info{}, err) }
	}
	return f.inner.Versions(ctx, prefix, after)
}

func (f *flaky) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	if err := f.check("put", name); err != nil {
		return store.Ref{}, err
	}
	return f.inner.Put(ctx, name, body, size, o)
}

func (f *flaky) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	if err := f.check("extend", ref.Name); err != nil {
		return err
	}
	return f.inner.Extend(ctx, ref, to)
}

func (f *flaky) Inspect(ctx context.Context) (store.Facts, error) {
	if err := f.check("inspect", ""); err != nil {
		return store.Facts{}, err
	}
	return f.inner.Inspect(ctx)
}

// wrap puts a flaky store before vault i.
func (r *rig) wrap(i int, down func(op, name string) bool) {
	f := &flaky{inner: r.stores[i], down: down}
	v := r.vaults[i]
	v.Read, v.Write, v.Lock, v.Inspect = f, f, f, f
}

func fill(src *memsource.Source, n int) map[string][]byte {
	want := map[string][]byte{}
	for i := range n {
		key := fmt.Sprintf("k/%04d", i)
		want[key] = body(uint64(i), 200+i)
		src.Put(key, want[key])
	}
	return want
}

func TestOneVaultOfTwoFailsAndCatchesUp(t *testing.T) {
	stages := map[string]func(op, name string) bool{
		"at the start":  func(op, _ string) bool { return op == "inspect" },
		"at the packs":  func(op, name string) bool { return op == "put" && strings.HasPrefix(name, format.PrefixPacks) },
		"at the meta":   func(op, name string) bool { return op == "put" && strings.HasPrefix(name, format.PrefixMeta) },
		"at the needs":  func(op, name string) bool { return op == "put" && strings.HasPrefix(name, format.PrefixNeeds) },
		"at the places": func(op, name string) bool { return op == "put" && strings.HasPrefix(name, format.PrefixPlacements) },
		"at the commit": func(op, name string) bool { return op == "put" && strings.HasPrefix(name, format.PrefixPoints) },
	}
	for name, down := range stages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 2)
			src := memsource.New(memsource.Options{Now: r.now})
			r.source = src
			want := fill(src, 300)
			r.clock = r.clock.Add(time.Hour)
			r.wrap(1, down)
			first := r.run()
			equal(t, r.contents(0, first.Point), want)
			if v := first.Vaults[1]; !errors.Is(v.Err, errDown) {
				t.Errorf("the failed vault's error is %v", v.Err)
			}
			r.wrap(1, nil)
			for k, v := range map[string][]byte{"k/new": body(77, 5000)} {
				src.Put(k, v)
				want[k] = v
			}
			r.clock = r.clock.Add(time.Hour)
			second := r.run()
			for i := range r.vaults {
				equal(t, r.contents(i, second.Point), want)
			}
			if second.BytesRead != 5000 {
				t.Errorf("catching up read %d bytes from the source instead of 5000", second.BytesRead)
			}
			for _, v := range second.Vaults {
				if v.Err != nil {
					t.Error(v.Err)
				}
			}
		})
	}
}

// TestKilledRunIsContinued cancels runs after every so many puts; the next run, even on a machine without the cache, ends
// with a whole point, and no point was ever visible before.
func TestKilledRunIsContinued(t *testing.T) {
	for stop := int64(1); stop <= 9; stop++ {
		r := newRig(t, 1)
		src := memsource.New(memsource.Options{Now: r.now})
		r.source = src
		want := fill(src, 200)
		for i := range 3 {
			key := fmt.Sprintf("large%d", i)
			want[key] = body(uint64(2*i), 4<<20)
			src.Put(key, want[key])
		}
		r.clock = r.clock.Add(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		var puts atomic.Int64
		r.wrap(0, func(op, _ string) bool {
			if op == "put" && puts.Add(1) >= stop {
				cancel()
			}
			return false
		})
		res, err := r.try(ctx)
		cancel()
		if err == nil {
			if res.Point.IsZero() {
				t.Fatal("no error and no point")
			}
			continue
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stop at %d: %v", stop, err)
		}
		r.wrap(0, nil)
		if stop%2 == 0 {
			r.cache = t.TempDir()
		}
		res = r.run()
		equal(t, r.contents(0, res.Point), want)
	}
}
