package cache

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func FuzzChunk(f *testing.F) {
	for n := range uint64(3) {
		b, err := encodeChunk(nil, chunk(line(n*1_000_000)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeChunk(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || c != (format.Chunk{}) {
				t.Fatal(c, err)
			}
			return
		}
		again, err := encodeChunk(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeChunk(again); err != nil || back != c {
			t.Fatal(back, err)
		}
	})
}

func FuzzPlacement(f *testing.F) {
	for n := range int64(3) {
		b, err := encodePlacement(nil, placement("n", n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodePlacement("n", b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(p, err)
			}
			return
		}
		again, err := encodePlacement(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodePlacement("n", again); err != nil || !back.Equal(p) {
			t.Fatal(back, err)
		}
	})
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeDelta(b); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

func TestPlacementTimes(t *testing.T) {
	for _, at := range []format.Time{{}, format.At(time.Unix(0, 0)), format.At(time.Unix(-5, 999_999_999)), format.At(time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC))} {
		b, err := encodePlacement(nil, format.Placement{Name: "n", Until: at})
		if err != nil {
			t.Fatal(err)
		}
		p, err := decodePlacement("n", b)
		if err != nil || p.Until != at || p.Until.IsZero() != at.IsZero() {
			t.Errorf("%v became %v, %v", at, p.Until, err)
		}
	}
}

func TestAfter(t *testing.T) {
	for _, c := range [][2][]byte{{{'p'}, {'q'}}, {{'p', 0xff}, {'q'}}, {{'p', 1, 0xff, 0xff}, {'p', 2}}, {{'p', 0}, {'p', 1}}} {
		if got := after(c[0]); !bytes.Equal(got, c[1]) {
			t.Errorf("after % x comes % x", c[0], got)
		}
	}
}

func BenchmarkChunk(b *testing.B) {
	const keys = 1_000_000
	c := start(b, b.TempDir())
	lines := make([]format.IndexLine, 0, 10_000)
	began := time.Now()
	for n := range uint64(keys) {
		lines = append(lines, line(n))
		if len(lines) == cap(lines) {
			if err := c.Chunks.Put(lines); err != nil {
				b.Fatal(err)
			}
			lines = lines[:0]
		}
	}
	if err := c.Sync(); err != nil {
		b.Fatal(err)
	}
	b.Logf("%.0f puts a second", keys/time.Since(began).Seconds())
	if err := c.db.Flush(); err != nil {
		b.Fatal(err)
	}
	for name, first := range map[string]uint64{"hit": 0, "miss": 1 << 24} {
		b.Run(name, func(b *testing.B) {
			n := first
			for b.Loop() {
				n += 7919
				if n >= first+keys {
					n -= keys
				}
				if _, ok, err := c.Chunks.Get(hash(n)); err != nil || ok != (first == 0) {
					b.Fatal(ok, err)
				}
			}
		})
	}
	m := c.db.Metrics()
	b.Logf("%.1f bytes a key on disk", float64(m.DiskSpaceUsage())/keys)
}
