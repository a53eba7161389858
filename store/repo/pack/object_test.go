package pack_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// expected is how many ranges a set of frames should take, by the rule in words: sorted, joined where the gap is at most
// 128 KiB and the range at most 8 MiB.
func expected(frames []format.Frame) int {
	sorted := slices.Clone(frames)
	slices.SortFunc(sorted, func(a, b format.Frame) int { return int(a.Offset - b.Offset) })
	n, start, end := 0, int64(0), int64(-1)
	for _, f := range sorted {
		if n == 0 || f.Offset-end > 128<<10 || max(end, f.Offset+f.Length)-start > 8<<20 {
			n, start, end = n+1, f.Offset, f.Offset+f.Length
		}
		end = max(end, f.Offset+f.Length)
	}
	return n
}

func TestFramesProperty(t *testing.T) {
	id, e := identity(t, keys.X25519), encoder(t)
	storage := make([]byte, 0, format.MaxPack)
	rapid.Check(t, func(t *rapid.T) {
		var to []keys.Recipient
		var ids []keys.Identity
		if rapid.Bool().Draw(t, "sealed") {
			to, ids = []keys.Recipient{id.Recipient()}, []keys.Identity{id}
		}
		b, err := pack.NewBuilder(to, storage)
		if err != nil {
			t.Fatal(err)
		}
		var plains [][]byte
		var frames []format.Frame
		for range rapid.IntRange(1, 20).Draw(t, "frames") {
			n := rapid.SampledFrom([]int{0, 1, 100, 5000, 65536, 130_000, 400_000, 1_500_000}).Draw(t, "n")
			p := noise(rapid.Uint64().Draw(t, "seed"), n)
			f := e.Frame(nil, p)
			off, err := b.Add(f)
			if errors.Is(err, pack.ErrFull) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			plains = append(plains, p)
			frames = append(frames, format.Frame{Offset: off, Length: int64(len(f)), Plain: int64(n)})
		}
		s, err := b.Close()
		if err != nil {
			t.Fatal(err)
		}
		v := &vault{body: s.Body}
		o, err := pack.Open(context.Background(), int64(len(v.body)), v.fetch, ids...)
		if err != nil {
			t.Fatal(err)
		}
		if o.PayloadSize() != frames[len(frames)-1].Offset+frames[len(frames)-1].Length {
			t.Fatalf("payload of %d", o.PayloadSize())
		}
		opening := len(v.fetches)
		v.reset()
		pick := rapid.SliceOfN(rapid.IntRange(0, len(frames)-1), 0, 40).Draw(t, "pick")
		want := make([]format.Frame, len(pick))
		for i, k := range pick {
			want[i] = frames[k]
		}
		got, err := read(o, want)
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range pick {
			if got[i] == nil || !bytes.Equal(got[i], plains[k]) {
				t.Fatalf("frame %d holds other bytes", k)
			}
		}
		small := len(ids) > 0 && len(v.body) <= 256<<10
		switch n := len(v.fetches); {
		case small && (opening != 1 || n != 0):
			t.Fatalf("a small object took %d fetches to open and %d to read", opening, n)
		case len(ids) == 0 && (opening != 0 || n != expected(want)):
			t.Fatalf("%d fetches to open, %d to read where %d were expected", opening, n, expected(want))
		case len(ids) > 0 && !small && (opening != 2 || n > expected(want) || n < expected(want)-1):
			// A range that lies in the last chunk was fetched when the object was opened.
			t.Fatalf("%d fetches to open, %d to read where %d were expected", opening, n, expected(want))
		}
		for _, f := range v.fetches {
			if f[1] > 8<<20+512<<10 {
				t.Fatalf("a fetch of %d bytes", f[1])
			}
		}
		all, err := io.ReadAll(o.Payload(context.Background()))
		if err != nil || int64(len(all)) != o.PayloadSize() {
			t.Fatalf("a stream of %d bytes: %v", len(all), err)
		}
		i := 0
		if err := o.Scan(context.Background(), func(f format.Frame, plain []byte) error {
			if i == len(frames) || f != frames[i] || !bytes.Equal(plain, plains[i]) {
				t.Fatalf("scan gave %v for frame %d", f, i)
			}
			i++
			return nil
		}); err != nil || i != len(frames) {
			t.Fatalf("scan of %d frames: %v", i, err)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	id, other := identity(t, keys.X25519), identity(t, keys.X25519)
	hybrid := identity(t, keys.Hybrid)
	for name, n := range map[string]int{"small": 1000, "large": 2 << 20} {
		v, frames := build(t, []keys.Recipient{id.Recipient()}, noise(1, n))
		size := int64(len(v.body))
		ctx := context.Background()
		if _, err := pack.Open(ctx, size, v.fetch, other); !errors.Is(err, seal.ErrNoKey) || errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s, other key: %v", name, err)
		}
		if _, err := pack.Open(ctx, size, v.fetch, hybrid); !errors.Is(err, seal.ErrNoKey) {
			t.Errorf("%s, key of the other class: %v", name, err)
		}
		if _, err := pack.Open(ctx, size-1, v.fetch, id); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s, wrong size: %v", name, err)
		}
		for _, bad := range []int64{-1, format.MaxPack + 1, 1 << 62} {
			if _, err := pack.Open(ctx, bad, v.fetch, id); !errors.Is(err, pack.ErrDamaged) {
				t.Errorf("%s, size %d: %v", name, bad, err)
			}
		}
		if _, err := read(v.open(t), frames); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s, sealed taken as plain: %v", name, err)
		}
		plain, _ := build(t, nil, noise(1, n))
		if _, err := pack.Open(ctx, int64(len(plain.body)), plain.fetch, id); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s, plain taken as sealed: %v", name, err)
		}
		cut := func(ctx context.Context, off, n int64) ([]byte, error) {
			b, err := v.fetch(ctx, off, n)
			return b[:len(b)-1], err
		}
		if _, err := pack.Open(ctx, size, cut, id); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s, short fetch: %v", name, err)
		}
	}
}

// Every byte matters: one that is changed anywhere makes a difference, and is called damage.
func TestFlippedBytes(t *testing.T) {
	id := identity(t, keys.X25519)
	for _, sealed := range []bool{true, false} {
		var to []keys.Recipient
		var ids []keys.Identity
		if sealed {
			to, ids = []keys.Recipient{id.Recipient()}, []keys.Identity{id}
		}
		plains := [][]byte{text(1, 3000), noise(2, 2000), text(3, 1)}
		v, frames := build(t, to, plains...)
		for i := range v.body {
			bad := &vault{body: bytes.Clone(v.body)}
			bad.body[i] ^= 0x10
			o, err := pack.Open(context.Background(), int64(len(bad.body)), bad.fetch, ids...)
			var got [][]byte
			if err == nil {
				got, err = read(o, frames)
			}
			switch {
			case err != nil && !errors.Is(err, pack.ErrDamaged) && !errors.Is(err, seal.ErrNoKey):
				t.Fatalf("byte %d: %v", i, err)
			case err == nil && sealed:
				t.Fatalf("byte %d of a sealed object can be changed unseen", i)
			case err == nil && len(got) != len(plains):
				t.Fatalf("byte %d: %d frames", i, len(got))
			}
		}
	}
}

func TestHostileFrames(t *testing.T) {
	id := identity(t, keys.X25519)
	for name, to := range map[string][]keys.Recipient{"plain": nil, "sealed": {id.Recipient()}} {
		v, frames := build(t, to, text(1, 10_000), noise(1, 100_000))
		var ids []keys.Identity
		if to != nil {
			ids = append(ids, id)
		}
		o := v.open(t, ids...)
		f := frames[0]
		v.reset()
		for _, bad := range []format.Frame{
			{}, {Offset: -1, Length: f.Length, Plain: f.Plain}, {Offset: f.Offset, Length: -1, Plain: f.Plain},
			{Offset: o.PayloadSize(), Length: 1, Plain: 1}, {Offset: 1 << 62, Length: 1 << 62, Plain: 1}, {Offset: 0, Length: 1 << 62, Plain: 1},
			{Offset: 0, Length: o.PayloadSize() + 1, Plain: 5}, {Offset: f.Offset, Length: f.Length, Plain: -1},
			{Offset: f.Offset, Length: f.Length, Plain: format.MaxFrame + 1}, {Offset: 0, Length: 0, Plain: 0},
		} {
			if _, err := read(o, []format.Frame{f, bad}); !errors.Is(err, pack.ErrDamaged) {
				t.Errorf("%s %v: %v", name, bad, err)
			}
		}
		if len(v.fetches) != 0 {
			t.Errorf("%s: %d fetches for what cannot be", name, len(v.fetches))
		}
		for _, bad := range []format.Frame{
			{Offset: f.Offset + 1, Length: f.Length, Plain: f.Plain}, {Offset: f.Offset, Length: f.Length - 1, Plain: f.Plain},
			{Offset: f.Offset, Length: f.Length + 1, Plain: f.Plain}, {Offset: f.Offset, Length: f.Length, Plain: f.Plain + 1},
			{Offset: 0, Length: o.PayloadSize(), Plain: f.Plain},
		} {
			if _, err := read(o, []format.Frame{bad}); !errors.Is(err, pack.ErrDamaged) {
				t.Errorf("%s %v: %v", name, bad, err)
			}
		}
	}
}

func TestErrorsPassThrough(t *testing.T) {
	id := identity(t, keys.X25519)
	boom := errors.New("the network is gone")
	v, frames := build(t, []keys.Recipient{id.Recipient()}, noise(1, 2<<20), noise(2, 2<<20), noise(3, 2<<20), noise(4, 2<<20), noise(5, 2<<20))
	ctx := context.Background()
	v.fail = boom
	if _, err := pack.Open(ctx, int64(len(v.body)), v.fetch, id); err != boom {
		t.Errorf("open: %v", err)
	}
	v.fail = nil
	o := v.open(t, id)
	v.reset()
	v.fail, v.from = boom, 1
	visited := 0
	if err := o.Frames(ctx, frames, func(int, []byte) error { visited++; return nil }); err != boom || visited == 0 {
		t.Errorf("frames: %v after %d", err, visited)
	}
	v.reset()
	r := o.Payload(ctx)
	if n, err := io.Copy(io.Discard, r); err != boom || n != 4<<20 {
		t.Errorf("payload: %v after %d", err, n)
	}
	if _, err := r.Read(make([]byte, 1)); err != boom {
		t.Errorf("payload again: %v", err)
	}
	v.reset()
	if err := o.Scan(ctx, func(format.Frame, []byte) error { return nil }); err != boom {
		t.Errorf("scan: %v", err)
	}
	v.fail = nil
	stop := errors.New("enough")
	if err := o.Frames(ctx, frames, func(int, []byte) error { return stop }); err != stop {
		t.Errorf("visit: %v", err)
	}
	if err := o.Scan(ctx, func(format.Frame, []byte) error { return stop }); err != stop {
		t.Errorf("scan's visit: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v", err)
	}
}

func TestCancellation(t *testing.T) {
	id := identity(t, keys.X25519)
	for name, n := range map[string]int{"small": 100, "large": 1 << 20} {
		v, frames := build(t, []keys.Recipient{id.Recipient()}, noise(1, n), noise(2, n))
		ctx, cancel := context.WithCancel(context.Background())
		o := v.open(t, id)
		if err := o.Frames(ctx, frames, func(int, []byte) error { cancel(); return nil }); err != context.Canceled {
			t.Errorf("%s, frames: %v", name, err)
		}
		if _, err := io.Copy(io.Discard, o.Payload(ctx)); err != context.Canceled {
			t.Errorf("%s, payload: %v", name, err)
		}
		if err := o.Scan(ctx, func(format.Frame, []byte) error { return nil }); err != context.Canceled {
			t.Errorf("%s, scan: %v", name, err)
		}
		if _, err := pack.Open(ctx, int64(len(v.body)), v.fetch, id); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, open: %v", name, err)
		}
	}
}

func TestObjectConcurrent(t *testing.T) {
	id := identity(t, keys.Hybrid)
	var plains [][]byte
	for i := range 20 {
		plains = append(plains, text(uint64(i), 100_000), noise(uint64(i), 30_000))
	}
	v, frames := build(t, []keys.Recipient{id.Recipient()}, plains...)
	o := v.open(t, id)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			got, err := read(o, frames[g:])
			if err != nil {
				t.Error(err)
				return
			}
			for i := range got {
				if !bytes.Equal(got[i], plains[g+i]) {
					t.Errorf("goroutine %d: frame %d differs", g, i)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzObject(f *testing.F) {
	id := identity(f, keys.X25519)
	for _, to := range [][]keys.Recipient{nil, {id.Recipient()}} {
		v, frames := build(f, to, text(1, 500), noise(1, 300))
		f.Add(v.body, to != nil, frames[0].Offset, frames[0].Length, frames[0].Plain)
		f.Add(v.body, to != nil, frames[1].Offset, frames[1].Length, frames[1].Plain)
		f.Add(v.body, to != nil, int64(-1), int64(1)<<62, int64(1)<<62)
	}
	f.Fuzz(func(t *testing.T, body []byte, sealed bool, off, n, plain int64) {
		v := &vault{body: body}
		var ids []keys.Identity
		if sealed {
			ids = append(ids, id)
		}
		expect := func(err error) {
			if err != nil && !errors.Is(err, pack.ErrDamaged) && !errors.Is(err, seal.ErrNoKey) {
				t.Fatal(err)
			}
		}
		o, err := pack.Open(context.Background(), int64(len(body)), v.fetch, ids...)
		if err != nil {
			expect(err)
			return
		}
		frame := format.Frame{Offset: off, Length: n, Plain: plain}
		got, err := read(o, []format.Frame{frame, {Offset: 0, Length: 13, Plain: 1}, frame})
		expect(err)
		if err == nil && (int64(len(got[0])) != plain || !bytes.Equal(got[0], got[2])) {
			t.Fatalf("%d bytes of %d", len(got[0]), plain)
		}
		expect(o.Scan(context.Background(), func(f format.Frame, plain []byte) error {
			if f.Plain != int64(len(plain)) || f.Offset+f.Length > o.PayloadSize() {
				t.Fatalf("frame %v of %d bytes", f, len(plain))
			}
			return nil
		}))
	})
}

// A whole pack is read in ranges of 8 MiB, and what lies far apart is fetched apart.
func TestRanges(t *testing.T) {
	var plains [][]byte
	for i := range 20 {
		plains = append(plains, noise(uint64(i), 1<<20))
	}
	v, frames := build(t, nil, plains...)
	o := v.open(t)
	for name, c := range map[string]struct {
		frames  []format.Frame
		fetches int
	}{
		"all": {frames, 3}, "every second": {[]format.Frame{frames[0], frames[2], frames[4]}, 3},
		"backwards": {[]format.Frame{frames[2], frames[1], frames[0]}, 1}, "one thrice": {[]format.Frame{frames[3], frames[3], frames[3]}, 1}, "none": {nil, 0},
	} {
		v.reset()
		if _, err := read(o, c.frames); err != nil {
			t.Fatal(err)
		}
		if len(v.fetches) != c.fetches {
			t.Errorf("%s: fetches %v, %d expected", name, v.fetches, c.fetches)
		}
		for _, f := range v.fetches {
			if f[1] > 8<<20 {
				t.Errorf("%s: a fetch of %d bytes", name, f[1])
			}
		}
	}
}
