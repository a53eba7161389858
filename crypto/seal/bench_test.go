package seal_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
)

const packSize = 32 << 20

func BenchmarkSeal(b *testing.B) {
	to := vectorKey(b, "hybrid").Recipient()
	content := plain(packSize)
	b.SetBytes(packSize)
	for b.Loop() {
		w, err := seal.Seal(io.Discard, to)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	id := vectorKey(b, "hybrid")
	file := sealed(b, plain(packSize), id.Recipient())
	b.SetBytes(packSize)
	for b.Loop() {
		r, err := seal.Open(bytes.NewReader(file), id)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecryptPack opens a whole pack that lies in memory.
func BenchmarkDecryptPack(b *testing.B) {
	id := vectorKey(b, "hybrid")
	file := sealed(b, plain(packSize), id.Recipient())
	dst := make([]byte, packSize)
	b.SetBytes(packSize)
	for b.Loop() {
		o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
		if err != nil {
			b.Fatal(err)
		}
		off, n := o.Cover(0, packSize)
		if err := o.Decrypt(dst, file[off:off+n], 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFrame opens one frame of 1 MiB of a pack that is open already.
func BenchmarkFrame(b *testing.B) {
	const frame = 1 << 20
	id := vectorKey(b, "hybrid")
	file := sealed(b, plain(packSize), id.Recipient())
	o, err := seal.Header(bytes.NewReader(file), int64(len(file)), id)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, frame)
	b.SetBytes(frame)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		at := i * 1_000_003 % (packSize - frame)
		off, n := o.Cover(at, frame)
		if err := o.Decrypt(dst, file[off:off+n], at); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenAt reads 4 KiB at random.
func BenchmarkOpenAt(b *testing.B) {
	id := vectorKey(b, "hybrid")
	file := sealed(b, plain(packSize), id.Recipient())
	ra, size, err := seal.OpenAt(bytes.NewReader(file), int64(len(file)), id)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, 4096)
	b.SetBytes(int64(len(dst)))
	for i := int64(0); b.Loop(); i++ {
		if _, err := ra.ReadAt(dst, i*1_000_003%(size-int64(len(dst)))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeader is what opening a file costs before its first byte.
func BenchmarkHeader(b *testing.B) {
	for _, class := range []keys.Class{keys.Hybrid, keys.X25519} {
		b.Run(string(class), func(b *testing.B) {
			id := vectorKey(b, string(class))
			file := sealed(b, plain(1000), id.Recipient())
			for b.Loop() {
				if _, err := seal.Header(bytes.NewReader(file), int64(len(file)), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
