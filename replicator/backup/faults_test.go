package backup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// errDown calls itself what time-outs of the network call themselves.
var errDown = fmt.Errorf("the vault does not answer: %w", context.DeadlineExceeded)

// wrap has vault i stop answering when down says so.
func (r *rig) wrap(i int, down func(op, name string) bool) {
	around := store.Around(func(ctx context.Context, op store.Op, do func(context.Context) error) error {
		if down != nil && down(op.Name, op.Ref.Name) {
			return &store.Error{Op: op.Name, Vault: "flaky", Ref: store.Ref{Name: op.Ref.Name}, Err: errDown}
		}
		return do(ctx)
	})
	v, in := r.vaults[i], r.stores[i]
	v.Read, v.Write, v.Lock, v.Inspect = around.Reader(in), around.Writer(in), around.Locker(in), around.Inspector(in)
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
