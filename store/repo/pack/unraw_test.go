package pack_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// sealedFrame is a sealed object with nothing but frame in it, whatever that is.
func sealedFrame(t testing.TB, frame []byte, to keys.Recipient) *vault {
	t.Helper()
	var out bytes.Buffer
	w, err := seal.Seal(&out, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(frame); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &vault{body: out.Bytes()}
}

// one reads the only frame of an object.
func one(v *vault, t testing.TB, id keys.Identity, frame []byte, plain int64) ([]byte, error) {
	var got []byte
	err := v.open(t, id).Frames(context.Background(), []format.Frame{{Length: int64(len(frame)), Plain: plain}}, func(_ int, b []byte) error {
		got = bytes.Clone(b)
		return nil
	})
	return got, err
}

// rawFrame is a frame of raw blocks that states a size and leaves the rest to its blocks.
func rawFrame(states uint32, blocks ...[]byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xFD2FB528)
	b = append(b, 2<<6|1<<5)
	b = binary.LittleEndian.AppendUint32(b, states)
	for i, block := range blocks {
		h := uint32(len(block)) << 3
		if i == len(blocks)-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16))
		b = append(b, block...)
	}
	return b
}

func grownFrames(t testing.TB) map[string][]byte {
	summing, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
	if err != nil {
		t.Fatal(err)
	}
	big := noise(1, 128<<10)
	return map[string][]byte{
		"ours":                   encoder(t).Frame(nil, noise(2, 300_000)),
		"one byte":               rawFrame(1, []byte("a")),
		"blocks of odd sizes":    rawFrame(6, []byte("ab"), nil, []byte("c"), []byte("def")),
		"many small blocks":      rawFrame(200, bytes.Split(bytes.Repeat([]byte("x,"), 200), []byte(","))...),
		"an empty last block":    rawFrame(2, []byte("ab"), nil),
		"full blocks":            rawFrame(256<<10, big, big),
		"a checksum":             summing.EncodeAll(noise(3, 200_000), nil),
		"more than it states":    rawFrame(3, []byte("ab"), []byte("cd")),
		"less than it states":    rawFrame(5, []byte("ab"), []byte("cd")),
		"a flipped checksum":     flipLast(summing.EncodeAll(noise(3, 200_000), nil)),
		"cut short":              rawFrame(4, []byte("abcd"))[:12],
		"followed by something":  append(rawFrame(1, []byte("a")), 0),
		"nothing":                rawFrame(0, nil),
		"compressed, and longer": encoder(t).Frame(nil, []byte("aaaaaaaaaaaaaaaaaaaaaa")),
	}
}

func flipLast(b []byte) []byte {
	b[len(b)-1] ^= 1
	return b
}

// TestGrownFrames: frames that are longer than what they hold are not passed through the decoder, and come out as if they were.
func TestGrownFrames(t *testing.T) {
	id := identity(t, keys.X25519)
	d := decoder(t)
	for name, frame := range grownFrames(t) {
		for _, plain := range []int64{0, 1, 2, 3, 4, 5, 6, 200, 200_000, 300_000, 256 << 10} {
			want, derr := d.Frame(nil, frame, plain)
			got, err := one(sealedFrame(t, frame, id.Recipient()), t, id, frame, plain)
			if (err == nil) != (derr == nil) || err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s as %d bytes: %d bytes, %v; decoded: %d bytes, %v", name, plain, len(got), err, len(want), derr)
			}
		}
	}
}

func FuzzGrownFrames(f *testing.F) {
	id := identity(f, keys.X25519)
	d := decoder(f)
	for _, frame := range grownFrames(f) {
		if len(frame) < 1000 {
			f.Add(frame, uint32(1))
		}
	}
	f.Fuzz(func(t *testing.T, frame []byte, plain uint32) {
		if len(frame) == 0 {
			return
		}
		want, derr := d.Frame(nil, frame, int64(plain))
		got, err := one(sealedFrame(t, frame, id.Recipient()), t, id, frame, int64(plain))
		if derr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d bytes, %v; decoded: %d bytes", len(got), err, len(want))
		}
	})
}
