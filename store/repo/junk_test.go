package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// flipping damages what is read of some objects on its way, and counts how often they are read.
type flipping struct {
	store.Reader
	prefix string
	flips  bool
	opened int
}

func (f *flipping) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	body, err := f.Reader.Open(ctx, ref, off, n)
	if err != nil || !strings.HasPrefix(ref.Name, f.prefix) {
		return body, err
	}
	f.opened++
	if !f.flips {
		return body, nil
	}
	b, err := io.ReadAll(body)
	if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return io.NopCloser(bytes.NewReader(b)), err
}

// TestDamagedOnTheWay: what came damaged once is read again, and only what stays wrong, or has the right hash and is none of
// ours, is known as junk from then on.
func TestDamagedOnTheWay(t *testing.T) {
	for _, prefix := range []string{format.PrefixPlacements, format.PrefixMeta} {
		b := newBench(t)
		b.clock = b.clock.Add(time.Hour)
		b.point("uploads")
		b.indexed()
		b.cacheDir = t.TempDir()
		f := &flipping{Reader: b.store, prefix: prefix, flips: true}
		b.vault.Read = f
		for run, want := range []struct {
			flips, tells, reads bool
		}{{true, true, true}, {false, false, true}, {false, false, false}} {
			f.flips, f.opened = want.flips, 0
			b.again()
			if told := b.count(repo.Tampered, prefix) > 0; told != want.tells || (f.opened > 0) != want.reads {
				t.Errorf("%s, run %d: told of %v, read %d times", prefix, run, told, f.opened)
			}
		}
	}
}

// TestJunkIsReadFewTimes: what is proven to be junk is read once, what may have been damaged on its way twice.
func TestJunkIsReadFewTimes(t *testing.T) {
	for _, c := range []struct {
		name  string
		sum   [32]byte
		reads []bool
	}{
		{"of its name's hash", sha256.Sum256([]byte("junk")), []bool{true, false, false}},
		{"of another", [32]byte{1}, []bool{true, true, false, false}},
	} {
		b := newBench(t)
		b.cacheDir = t.TempDir()
		f := &flipping{Reader: b.store, prefix: format.PrefixPlacements}
		b.vault.Read = f
		b.again()
		b.plant(format.PlacementsName(b.clock, c.sum), []byte("junk"))
		for run, want := range c.reads {
			f.opened = 0
			b.again()
			if told := b.count(repo.Tampered, format.PrefixPlacements); told == 0 || (f.opened > 0) != want {
				t.Errorf("%s, run %d: told %d times, read %d times", c.name, run, told, f.opened)
			}
		}
	}
}

// indexed stores an index segment.
func (b *bench) indexed() {
	b.t.Helper()
	s := b.session()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		b.t.Fatal(err)
	}
	err := s.StoreIndex(b.t.Context(), []format.IndexLine{{ID: format.Hash{1}, Pack: format.Hash{2}, Frame: format.Frame{Length: 10, Plain: 5}, Size: 5}})
	if err == nil {
		err = s.FlushPlacements(b.t.Context())
	}
	if cerr := s.Close(); err != nil || cerr != nil {
		b.t.Fatal(err, cerr)
	}
}
