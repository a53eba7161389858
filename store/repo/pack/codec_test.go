package pack_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

var sizes = []int{0, 1, 2, 255, 256, 257, 1023, 1024, 65791, 65792, 65793, 128<<10 - 1, 128 << 10, 128<<10 + 1, 1 << 20, 1<<20 + 1, 3 << 20, format.MaxFrame}

func TestFrameRoundTrip(t *testing.T) {
	e, d := encoder(t), decoder(t)
	for _, n := range sizes {
		for kind, plain := range map[string][]byte{"noise": noise(uint64(n), n), "text": text(uint64(n), n), "zeros": make([]byte, n)} {
			frame := e.Frame([]byte("kept"), plain)
			if !bytes.HasPrefix(frame, []byte("kept")) {
				t.Fatalf("%s %d: what was there is gone", kind, n)
			}
			frame = frame[4:]
			if len(frame) > pack.MaxFrameLength {
				t.Errorf("%s %d: %d bytes stored", kind, n, len(frame))
			}
			if kind == "text" && n > 4096 && len(frame) > n/2 {
				t.Errorf("text %d: %d bytes stored", n, len(frame))
			}
			out, err := d.Frame([]byte("kept"), frame, int64(n))
			if err != nil {
				t.Fatalf("%s %d: %v", kind, n, err)
			}
			if !bytes.Equal(out, append([]byte("kept"), plain...)) {
				t.Fatalf("%s %d: other bytes came back", kind, n)
			}
		}
	}
}

func TestIncompressibleIsRaw(t *testing.T) {
	e := encoder(t)
	for _, n := range sizes[1:] {
		plain := noise(uint64(n), n)
		frame := e.Frame(nil, plain)
		if !bytes.HasSuffix(frame, plain[len(plain)-min(n, 1):]) || !bytes.Contains(frame, plain[:min(n, 128<<10)]) {
			t.Errorf("%d bytes of noise are not stored as they are", n)
		}
		if over, most := len(frame)-n, 12+3*((n+128<<10-1)/(128<<10)); over > most {
			t.Errorf("%d bytes of noise take %d more, at most %d expected", n, over, most)
		}
	}
}

func TestDecoderAppends(t *testing.T) {
	before := noise(1, 7<<20)
	plain := text(1, 5<<20)
	frame := encoder(t).Frame(nil, plain)
	for name, dst := range map[string][]byte{"no room": slices.Clip(bytes.Clone(before)), "room": append(make([]byte, 0, 16<<20), before...)} {
		out, err := decoder(t).Frame(dst, frame, int64(len(plain)))
		if err != nil || !bytes.Equal(out[:len(before)], before) || !bytes.Equal(out[len(before):], plain) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFrameConcurrent(t *testing.T) {
	e, d := encoder(t), decoder(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 10 {
				plain := text(uint64(g*100+i), 50_000+g*1000+i)
				out, err := d.Frame(nil, e.Frame(nil, plain), int64(len(plain)))
				if err != nil || !bytes.Equal(out, plain) {
					t.Errorf("goroutine %d: %v", g, err)
				}
			}
		})
	}
	wg.Wait()
}

func foreign(t testing.TB, plain []byte, o ...zstd.EOption) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil, append([]zstd.EOption{zstd.WithEncoderConcurrency(1)}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(plain, nil)
}

// streamed is a frame that does not state its size.
func streamed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for len(plain) > 0 {
		n, err := z.Write(plain[:min(len(plain), 100_000)])
		if err != nil {
			t.Fatal(err)
		}
		plain = plain[n:]
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecoderRefuses(t *testing.T) {
	d := decoder(t)
	plain := text(1, 300_000)
	n := int64(len(plain))
	good := encoder(t).Frame(nil, plain)
	checksummed := foreign(t, plain, zstd.WithEncoderCRC(true))
	if out, err := d.Frame(nil, checksummed, n); err != nil || !bytes.Equal(out, plain) {
		t.Fatalf("a frame with a checksum: %v", err)
	}
	small := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x50, 3, 0, 0, 0, 0x19, 0, 0, 'r', 'a', 'w'}
	if out, err := d.Frame(nil, small, 3); err != nil || string(out) != "raw" {
		t.Fatalf("a frame with a window of 1 MiB: %v", err)
	}
	badSum := bytes.Clone(checksummed)
	badSum[len(badSum)-1] ^= 1
	big := make([]byte, format.MaxFrame+1)
	lying := bytes.Clone(good)
	lying[6], lying[7], lying[8] = 0xff, 0xff, 0x7f // states nearly 8 MiB
	for name, c := range map[string]struct {
		frame []byte
		plain int64
	}{
		"nothing":            {nil, 0},
		"junk":               {[]byte("this is no zstd frame at all"), 28},
		"size too small":     {good, n - 1},
		"size too large":     {good, n + 1},
		"negative size":      {good, -1},
		"trailing byte":      {append(bytes.Clone(good), 0), n},
		"two frames":         {append(bytes.Clone(good), good...), n},
		"two frames, summed": {append(bytes.Clone(good), good...), 2 * n},
		"cut":                {good[:len(good)-1], n},
		"cut in the header":  {good[:5], n},
		"wrong checksum":     {badSum, n},
		"no size":            {streamed(t, plain), n},
		"too large":          {foreign(t, big), int64(len(big))},
		"large window":       {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x80, 0x80, 3, 0, 0, 0, 0x19, 0, 0, 'r', 'a', 'w'}, 3},
		"dictionary":         {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 3, 0x19, 0, 0, 'r', 'a', 'w'}, 3},
		"reserved block":     {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0x1f, 0, 0, 'r', 'a', 'w'}, 3},
		"oversized block":    {[]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 0xff, 0xff, 0xff, 'r', 'a', 'w'}, 3},
		"skippable":          {[]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}, 0},
		"skippable before":   {append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9}, good...), n},
		"lying header":       {lying, 0x7fffff},
	} {
		out, err := d.Frame(nil, c.frame, c.plain)
		if !errors.Is(err, pack.ErrDamaged) || out != nil {
			t.Errorf("%s: %d bytes and error %v", name, len(out), err)
		}
	}
}

// A bomb is refused from its headers: no memory is taken for what it claims.
func TestDecoderBomb(t *testing.T) {
	d := decoder(t)
	// States 8 MiB and holds one raw block of one byte.
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x80, 0, 9, 0, 0, 'x'}
	if n := testing.AllocsPerRun(10, func() {
		if _, err := d.Frame(nil, bomb, 8<<20); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("error %v", err)
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			_, _ = d.Frame(nil, bomb, 8<<20) // seen to fail above
		}
	})
	if got.AllocedBytesPerOp() > 4096 {
		t.Errorf("%d bytes allocated", got.AllocedBytesPerOp())
	}
}

func TestFrameProperty(t *testing.T) {
	e, d := encoder(t), decoder(t)
	rapid.Check(t, func(t *rapid.T) {
		var plain []byte
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			seed := rapid.Uint64().Draw(t, "seed")
			n := rapid.IntRange(0, 150_000).Draw(t, "n")
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				plain = append(plain, noise(seed, n)...)
			case 1:
				plain = append(plain, text(seed, n)...)
			default:
				plain = append(plain, make([]byte, n)...)
			}
		}
		frame := e.Frame(nil, plain)
		if len(frame) > len(plain)+64 {
			t.Fatalf("%d bytes became %d", len(plain), len(frame))
		}
		out, err := d.Frame(nil, frame, int64(len(plain)))
		if err != nil || !bytes.Equal(out, plain) {
			t.Fatalf("other bytes, error %v", err)
		}
	})
}

func FuzzDecoderFrame(f *testing.F) {
	e, d := encoder(f), decoder(f)
	for _, p := range [][]byte{nil, []byte("a"), text(1, 5000), noise(1, 3000), make([]byte, 200_000)} {
		f.Add(e.Frame(nil, p), int64(len(p)))
	}
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x80, 0, 9, 0, 0, 'x'}, int64(8<<20))
	f.Fuzz(func(t *testing.T, frame []byte, plain int64) {
		out, err := d.Frame(nil, frame, plain)
		if err != nil {
			if !errors.Is(err, pack.ErrDamaged) || out != nil {
				t.Fatalf("%d bytes, error %v", len(out), err)
			}
			return
		}
		if int64(len(out)) != plain || plain > format.MaxFrame {
			t.Fatalf("%d bytes where %d were asked for", len(out), plain)
		}
		again, err := d.Frame(nil, e.Frame(nil, out), plain)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("what was decoded does not survive: %v", err)
		}
	})
}

// Small files of all kinds share a frame: what compresses among them must be compressed, wherever it lies.
func TestMixedFramesShrink(t *testing.T) {
	e := encoder(t)
	for _, piece := range []int{9 << 10, 20 << 10, 100 << 10} {
		for first := range 2 {
			var plain []byte
			for i := 0; len(plain) < 1<<20; i++ {
				if i%2 == first {
					plain = append(plain, noise(uint64(i), piece)...)
				} else {
					plain = append(plain, text(uint64(i), piece)...)
				}
			}
			if n := len(e.Frame(nil, plain)); n > len(plain)*9/10 {
				t.Errorf("%d bytes in pieces of %d, half of them text, became %d", len(plain), piece, n)
			}
		}
	}
}
