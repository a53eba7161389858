package pack_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

func TestBuilderUsesTheStorageGiven(t *testing.T) {
	id := identity(t, keys.X25519)
	storage := make([]byte, 0, 1<<20)
	for range 3 {
		b, err := pack.NewBuilder([]keys.Recipient{id.Recipient()}, storage)
		if err != nil {
			t.Fatal(err)
		}
		frame := encoder(t).Frame(nil, noise(1, 500_000))
		if off, err := b.Add(frame); off != 0 || err != nil {
			t.Fatal(off, err)
		}
		if b.Payload() != int64(len(frame)) {
			t.Errorf("payload of %d", b.Payload())
		}
		s, err := b.Close()
		if err != nil {
			t.Fatal(err)
		}
		if &s.Body[0] != &storage[:1][0] {
			t.Error("the body lies elsewhere")
		}
	}
}

func TestBuilderBounds(t *testing.T) {
	frame := encoder(t).Frame(nil, noise(1, format.MaxFrame))
	for name, to := range map[string][]keys.Recipient{"plain": nil, "sealed": {identity(t, keys.Hybrid).Recipient()}} {
		b, err := pack.NewBuilder(to, make([]byte, 0, format.MaxPack))
		if err != nil {
			t.Fatal(err)
		}
		n := int64(0)
		for {
			off, err := b.Add(frame)
			if errors.Is(err, pack.ErrFull) {
				break
			}
			if err != nil || off != n*int64(len(frame)) {
				t.Fatalf("%s: frame %d at %d: %v", name, n, off, err)
			}
			n++
		}
		if _, err := b.Add(encoder(t).Frame(nil, []byte("small"))); err != nil {
			t.Errorf("%s: a small frame after a refused one: %v", name, err)
		}
		s, err := b.Close()
		if err != nil || len(s.Body) > format.MaxPack || n != 5 {
			t.Errorf("%s: %d frames, %d bytes, %v", name, n, len(s.Body), err)
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	good := encoder(t).Frame(nil, text(1, 1000))
	b, err := pack.NewBuilder(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, frame := range map[string][]byte{"nothing": nil, "junk": []byte("junk"), "cut": good[:len(good)-1], "two": append(bytes.Clone(good), good...)} {
		if _, err := b.Add(frame); !errors.Is(err, pack.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if b.Payload() != 0 {
		t.Error("something was added")
	}
	if s, err := b.Close(); err != nil || len(s.Body) != 0 {
		t.Errorf("an empty object: %v", err)
	}
	if _, err := b.Add(good); !errors.Is(err, pack.ErrClosed) {
		t.Errorf("add after close: %v", err)
	}
	if _, err := b.Close(); !errors.Is(err, pack.ErrClosed) {
		t.Errorf("close after close: %v", err)
	}
	mixed := []keys.Recipient{identity(t, keys.X25519).Recipient(), identity(t, keys.Hybrid).Recipient()}
	if _, err := pack.NewBuilder(mixed, nil); !errors.Is(err, keys.ErrMixedClasses) {
		t.Errorf("mixed recipients: %v", err)
	}
}
