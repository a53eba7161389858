package pack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vault is one stored object that counts and bounds what is fetched from it.
type vault struct {
	body []byte

	mu      sync.Mutex
	fetches [][2]int64
	fail    error // every fetch after failFrom of them gives it
	from    int
}

func (v *vault) fetch(ctx context.Context, off, n int64) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetches = append(v.fetches, [2]int64{off, n})
	if v.fail != nil && len(v.fetches) > v.from {
		return nil, v.fail
	}
	if off < 0 || n < 0 || off > int64(len(v.body))-n {
		return nil, fmt.Errorf("fetch of [%d, +%d) in %d bytes", off, n, len(v.body))
	}
	return bytes.Clone(v.body[off : off+n]), nil
}

func (v *vault) reset() { v.fetches = nil }

func (v *vault) open(t testing.TB, ids ...keys.Identity) *pack.Object {
	t.Helper()
	o, err := pack.Open(context.Background(), int64(len(v.body)), v.fetch, ids...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func identity(t testing.TB, c keys.Class) keys.Identity {
	t.Helper()
	id, err := keys.GenerateIdentity(c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func encoder(t testing.TB) *pack.Encoder {
	t.Helper()
	e, err := pack.NewEncoder()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func decoder(t testing.TB) *pack.Decoder {
	t.Helper()
	d, err := pack.NewDecoder()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noise does not compress; text does.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24), 7})
	_, _ = r.Read(b) // it does not fail
	return b
}

func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "%d the quick brown fox %d jumps over the lazy dog %s\n", r.IntN(1000), r.IntN(1000), "and again"[:r.IntN(10)])
	}
	return b[:n]
}

// build makes an object of frames that hold plains.
func build(t testing.TB, to []keys.Recipient, plains ...[]byte) (*vault, []format.Frame) {
	t.Helper()
	e := encoder(t)
	b, err := pack.NewBuilder(to, nil)
	if err != nil {
		t.Fatal(err)
	}
	var frames []format.Frame
	for _, p := range plains {
		f := e.Frame(nil, p)
		off, err := b.Add(f)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, format.Frame{Offset: off, Length: int64(len(f)), Plain: int64(len(p))})
	}
	s, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	if s.Sum != format.Hash(sha256.Sum256(s.Body)) {
		t.Fatal("the sum is not that of the body")
	}
	return &vault{body: s.Body}, frames
}

// read collects what Frames gives.
func read(o *pack.Object, frames []format.Frame) ([][]byte, error) {
	got := make([][]byte, len(frames))
	err := o.Frames(context.Background(), frames, func(i int, plain []byte) error {
		if got[i] != nil {
			return errors.New("visited twice")
		}
		got[i] = append([]byte{}, plain...)
		return nil
	})
	return got, err
}
