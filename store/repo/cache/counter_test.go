package cache

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func sums(t testing.TB, n *Counter) []Item {
	t.Helper()
	var out []Item
	for i, err := range n.All() {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, i)
	}
	return out
}

func TestCounter(t *testing.T) {
	c := start(t, t.TempDir())
	a, err := c.Counter("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Counter("a"); err == nil {
		t.Error("two counters of one name")
	}
	b, err := c.Counter("ab")
	if err != nil {
		t.Fatal(err)
	}
	add := func(n *Counter, key string, delta int64) {
		t.Helper()
		if err := n.Add(key, delta); err != nil {
			t.Fatal(err)
		}
	}
	add(a, "y", 2)
	add(a, "", 7)
	add(a, "x\x00\xff", -3)
	add(b, "y", math.MinInt64)
	add(a, "y", 5)
	if got := sums(t, a); !slices.Equal(got, []Item{{"", 7}, {"x\x00\xff", -3}, {"y", 7}}) {
		t.Errorf("%v", got)
	}
	add(a, "y", -7)
	add(a, "z", math.MaxInt64)
	if got := sums(t, a); !slices.Equal(got, []Item{{"", 7}, {"x\x00\xff", -3}, {"y", 0}, {"z", math.MaxInt64}}) {
		t.Errorf("%v", got)
	}
	for range a.All() {
		break
	}
	if err := a.Add(strings.Repeat("k", format.MaxKey+1), 1); !errors.Is(err, format.ErrBounds) {
		t.Errorf("a long key: %v", err)
	}
	if err := errors.Join(a.Close(), a.Close()); err != nil {
		t.Error(err)
	}
	if err := a.Add("x", 1); !errors.Is(err, ErrClosed) {
		t.Errorf("add after close: %v", err)
	}
	if got := sums(t, b); !slices.Equal(got, []Item{{"y", math.MinInt64}}) {
		t.Errorf("the other counter: %v", got)
	}
	if a, err = c.Counter("a"); err != nil {
		t.Fatal(err)
	}
	if got := sums(t, a); len(got) != 0 {
		t.Errorf("a new counter holds %v", got)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
}

func TestCounterProperty(t *testing.T) {
	c := start(t, t.TempDir())
	rapid.Check(t, func(t *rapid.T) {
		n, err := c.Counter("n")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]int64{}
		for range rapid.IntRange(0, 50).Draw(t, "adds") {
			key, delta := rapid.StringN(0, 3, 6).Draw(t, "key"), rapid.Int64Range(-1000, 1000).Draw(t, "delta")
			want[key] += delta
			if err := n.Add(key, delta); err != nil {
				t.Fatal(err)
			}
			if rapid.IntRange(0, 9).Draw(t, "spill") == 0 {
				if err := n.settle(); err != nil {
					t.Fatal(err)
				}
			}
		}
		last, count := "", 0
		for i, err := range n.All() {
			if err != nil || want[i.Key] != i.Sum || (count > 0 && i.Key <= last) {
				t.Fatalf("%v after %q, %v", i, last, err)
			}
			last = i.Key
			count++
		}
		if count != len(want) {
			t.Fatalf("%d keys of %d", count, len(want))
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Two million keys, every fiftieth of them added to twice, take no more memory than a few thousand.
func TestCounterMemory(t *testing.T) {
	const again = 50
	keys, most := 2_000_000, uint64(24<<20)
	if underRace { // where pebble checks itself and keeps more about its memory
		keys, most = 400_000, 64<<20
	}
	c, err := Open(filepath.Join(t.TempDir(), "cache"), Options{Memory: 16 << 20}) // filled to the brim where the disk is slower than the writer
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n, err := c.Counter("needs")
	if err != nil {
		t.Fatal(err)
	}
	before, peak := heapInUse(), uint64(0)
	key := func(i int) string { return fmt.Sprintf("packs/%02x/%016x.age", i%256, uint64(i)*0x9e3779b97f4a7c15) }
	for _, step := range []int{1, again} {
		for i := 0; i < keys; i += step {
			if err := n.Add(key(i), int64(i)); err != nil {
				t.Fatal(err)
			}
			if i%400_000 == 0 {
				peak = max(peak, heapInUse())
			}
		}
	}
	count, total, last := 0, int64(0), ""
	for i, err := range n.All() {
		if err != nil || i.Key <= last {
			t.Fatal(i, err)
		}
		last = i.Key
		count++
		total += i.Sum
		if count%400_000 == 0 {
			peak = max(peak, heapInUse())
		}
	}
	want := int64(keys) * int64(keys-1) / 2
	want += again * (int64(keys/again) * int64(keys/again-1) / 2)
	if count != keys || total != want {
		t.Errorf("%d keys, total %d", count, total)
	}
	t.Logf("%d KiB of heap at most, over %d KiB before", peak>>10, before>>10)
	if peak > before+most {
		t.Errorf("heap grew from %d to %d bytes", before, peak)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
