package pack_test

import (
	"context"
	"crypto/sha256"
	"runtime"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

func BenchmarkSHA256(b *testing.B) {
	data := noise(1, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		sha256.Sum256(data)
	}
}

// BenchmarkBuilder seals and hashes ready frames of 1 MiB into packs of 32 MiB.
func BenchmarkBuilder(b *testing.B) {
	frame := encoder(b).Frame(nil, noise(1, 1<<20))
	storage := make([]byte, 0, 33<<20)
	for name, to := range map[string][]keys.Recipient{"plain": nil, "x25519": {identity(b, keys.X25519).Recipient()}, "hybrid": {identity(b, keys.Hybrid).Recipient()}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(32 * int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				p, err := pack.NewBuilder(to, storage)
				if err != nil {
					b.Fatal(err)
				}
				for range 32 {
					if _, err := p.Add(frame); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := p.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncoder(b *testing.B) {
	e := encoder(b)
	for name, plain := range map[string][]byte{"noise": noise(1, 1<<20), "text": text(1, 1<<20), "small": text(1, 4<<10), "large noise": noise(1, 4<<20), "large text": text(1, 4<<20)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				dst = e.Frame(dst[:0], plain)
			}
			b.ReportMetric(float64(len(plain))/float64(len(dst)), "ratio")
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	e, d := encoder(b), decoder(b)
	for name, plain := range map[string][]byte{"noise": noise(1, 1<<20), "text": text(1, 1<<20), "small": text(1, 4<<10)} {
		b.Run(name, func(b *testing.B) {
			frame := e.Frame(nil, plain)
			b.SetBytes(int64(len(plain)))
			b.ReportAllocs()
			var dst []byte
			for b.Loop() {
				var err error
				if dst, err = d.Frame(dst[:0], frame, int64(len(plain))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkObject opens a pack of 24 MiB and reads all of it.
func BenchmarkObject(b *testing.B) {
	id := identity(b, keys.Hybrid)
	var plains [][]byte
	for i := range 24 {
		plains = append(plains, noise(uint64(i), 1<<20))
	}
	v, frames := build(b, []keys.Recipient{id.Recipient()}, plains...)
	b.SetBytes(24 << 20)
	b.ReportAllocs()
	fetch := func(_ context.Context, off, n int64) ([]byte, error) { return v.body[off : off+n], nil }
	for b.Loop() {
		o, err := pack.Open(context.Background(), int64(len(v.body)), fetch, id)
		if err != nil {
			b.Fatal(err)
		}
		if err := o.Frames(context.Background(), frames, func(int, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a small object and reads its one frame.
func BenchmarkOpen(b *testing.B) {
	for _, class := range []keys.Class{keys.X25519, keys.Hybrid} {
		b.Run(string(class), func(b *testing.B) {
			id := identity(b, class)
			v, frames := build(b, []keys.Recipient{id.Recipient()}, text(1, 20_000))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := read(v.open(b, id), frames); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A codec that has been used on all its lanes keeps memory in proportion to the window, not to what it coded; a decoder also
// keeps the last result of each lane from being collected.
func TestCodecMemory(t *testing.T) {
	const encoderLane, decoderLane = 4 << 20, 1 << 20
	lanes := int64(min(runtime.GOMAXPROCS(0), 16))
	plain := text(1, format.MaxFrame)
	e, d := encoder(t), decoder(t)
	dst, out := e.Frame(nil, plain), make([]byte, 0, len(plain)+64)
	before := heap()
	for range 2 * lanes {
		dst = e.Frame(dst[:0], plain)
	}
	mid := heap()
	for range 2 * lanes {
		if _, err := d.Frame(out, dst, int64(len(plain))); err != nil {
			t.Fatal(err)
		}
	}
	after := heap()
	t.Logf("%d lanes: the encoder keeps %d bytes, the decoder %d", lanes, mid-before, after-mid)
	if mid-before > lanes*encoderLane || after-mid > lanes*decoderLane {
		t.Error("that is too much")
	}
	runtime.KeepAlive(e)
	runtime.KeepAlive(d)
	runtime.KeepAlive(plain)
	runtime.KeepAlive(dst)
	runtime.KeepAlive(out)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkNewDecoder(b *testing.B) {
	frame := encoder(b).Frame(nil, text(1, 4<<10))
	b.ReportAllocs()
	for b.Loop() {
		d, err := pack.NewDecoder()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := d.Frame(nil, frame, 4<<10); err != nil {
			b.Fatal(err)
		}
	}
}
