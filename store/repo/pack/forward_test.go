package pack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// trickle gives a body in small pieces, and ends after left bytes with err.
type trickle struct {
	r      io.Reader
	left   int64
	err    error
	closed *int
}

func (t *trickle) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, t.err
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left, 10_000)])
	t.left -= int64(n)
	return n, err
}

func (t *trickle) Close() error { *t.closed++; return nil }

func (v *vault) streamed(o *pack.Object, left int64, fail error) (opened, closed *int) {
	opened, closed = new(int), new(int)
	o.Streamed(func(_ context.Context, off, n int64) (io.ReadCloser, error) {
		if off < 0 || n <= 0 || off+n > int64(len(v.body)) {
			return nil, fmt.Errorf("stream of [%d, +%d) in %d bytes", off, n, len(v.body))
		}
		*opened++
		return &trickle{bytes.NewReader(v.body[off : off+n]), left, fail, closed}, nil
	})
	return opened, closed
}

// What is decrypted as it comes is what is decrypted from memory, in whatever order it is asked for.
func TestStreamedFrames(t *testing.T) {
	id := identity(t, keys.X25519)
	rapid.Check(t, func(rt *rapid.T) {
		var plains [][]byte
		for i := range rapid.IntRange(1, 12).Draw(rt, "frames") {
			n := rapid.SampledFrom([]int{1, 70, 65_536, 65_520, 131_072, 700_000, 1_500_000}).Draw(rt, "size")
			plains = append(plains, noise(uint64(i), n))
		}
		v, frames := build(t, []keys.Recipient{id.Recipient()}, plains...)
		o := v.open(t, id)
		opened, closed := v.streamed(o, 1<<40, io.EOF)
		pick := rapid.SliceOfN(rapid.IntRange(0, len(frames)-1), 0, 30).Draw(rt, "pick")
		want := make([]format.Frame, len(pick))
		for i, k := range pick {
			want[i] = frames[k]
		}
		got, err := read(o, want)
		if err != nil {
			rt.Fatal(err)
		}
		for i, k := range pick {
			if !bytes.Equal(got[i], plains[k]) {
				rt.Fatalf("frame %d holds other bytes", k)
			}
		}
		if *opened != *closed {
			rt.Fatalf("%d streams opened, %d closed", *opened, *closed)
		}
	})
}

// A stream that ends early, fails or lies is an error, and gives nothing that is wrong.
func TestStreamedFails(t *testing.T) {
	id := identity(t, keys.X25519)
	plains := [][]byte{noise(1, 300_000), noise(2, 300_000), noise(3, 300_000)}
	v, frames := build(t, []keys.Recipient{id.Recipient()}, plains...)
	broken := errors.New("broken")
	for left := int64(0); left < int64(len(v.body)); left += 9973 {
		for _, fail := range []error{io.EOF, broken} {
			o := v.open(t, id)
			v.streamed(o, left, fail)
			got, err := read(o, frames)
			if err == nil && left < 830_000 {
				t.Fatalf("%d bytes of %d were enough", left, len(v.body))
			}
			if want := fail; err != nil && !errors.Is(err, broken) && !(errors.Is(want, io.EOF) && errors.Is(err, io.ErrUnexpectedEOF)) {
				t.Fatalf("after %d bytes: %v", left, err)
			}
			for i, b := range got {
				if b != nil && !bytes.Equal(b, plains[i]) {
					t.Fatalf("after %d bytes frame %d holds other bytes", left, i)
				}
			}
		}
	}
	for at := 100_000; at < len(v.body)-70_000; at += 99_991 {
		bad := &vault{body: bytes.Clone(v.body)}
		o := bad.open(t, id)
		bad.body[at] ^= 1
		bad.streamed(o, 1<<40, io.EOF)
		if _, err := read(o, frames); !errors.Is(err, pack.ErrDamaged) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
	}
}
