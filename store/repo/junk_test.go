package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
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
		indexedChunks(b)
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
		plantPoint(b, nameOfPlacements(b, b.host, c.sum), []byte("junk"))
		for run, want := range c.reads {
			f.opened = 0
			b.again()
			if told := b.count(repo.Tampered, format.PrefixPlacements); told == 0 || (f.opened > 0) != want {
				t.Errorf("%s, run %d: told %d times, read %d times", c.name, run, told, f.opened)
			}
		}
	}
}

// TestJunkByItsName: a placements object that no key of the repository signed in its name is never read, whatever it holds:
// neither by a run, with or without its cache, nor by a check of it. That is so for an object of a later format version, too.
func TestJunkByItsName(t *testing.T) {
	b := newBench(t)
	b.point("uploads")
	other, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.find("")
	if err != nil {
		t.Fatal(err)
	}
	later := b.session().Writer.Encoder().Frame(nil, []byte("{\"format\":\"2\"}\n"))
	id := format.PlacementsID{Vault: b.vault.Name, Written: format.At(b.clock.Truncate(time.Second)), Sum: sha256.Sum256(later), Hint: format.KeyHint(b.host.Public()), Signature: make([]byte, 64)}
	names := []string{
		id.Name(), nameOfPlacements(b, other, id.Sum), // a right hint without a signature, and another's signature
		format.PrefixPlacements + b.vault.Name + "/20261123T080500Z-" + id.Sum.String() + ".zst",
		format.PrefixPlacements + "20261123T080500Z-" + id.Sum.String() + ".zst",
		format.PrefixPlacements + "newest",
	}
	f := &flipping{Reader: b.store, prefix: format.PrefixPlacements}
	b.vault.Read = f
	b.cacheDir = t.TempDir()
	b.again()
	honest := f.opened
	for _, n := range names {
		plantPoint(b, n, later)
	}
	for range 2 {
		b.cacheDir, f.opened = t.TempDir(), 0
		b.again()
		if f.opened != honest {
			t.Errorf("%d placements objects were read among junk, %d without it", f.opened, honest)
		}
	}
	for _, n := range names {
		if err := r.Trust().CheckPlacements(t.Context(), f, store.Info{Ref: store.Ref{Name: n}}); err == nil {
			t.Errorf("%s passes for placements", n)
		}
	}
	if f.opened != honest {
		t.Error("a check of junk read it")
	}
}

// TestPlacementsOfAnotherName: a vault that was called otherwise before finds what it holds through what was written under
// that name; the versions of another vault count for nothing.
func TestPlacementsOfAnotherName(t *testing.T) {
	b := newBench(t)
	indexedChunks(b)
	want := packsKnown(b)
	if want == 0 {
		t.Fatal("no placements to find")
	}
	b.vault.Name, b.cacheDir = "renamed", t.TempDir()
	if got := packsKnown(b); got != want {
		t.Errorf("%d objects are known under the new name, %d were under the old one", got, want)
	}
}

// TestReplayedFromAnotherVault: what was signed for another vault is not read where this one has its own, and the name says
// which it was signed for: it cannot be moved.
func TestReplayedFromAnotherVault(t *testing.T) {
	b := newBench(t)
	indexedChunks(b)
	forged := format.Placement{Name: format.PackName(format.Hash{9}), Version: "v9", Size: 5}
	own := b.vault.Name
	b.vault.Name = "elsewhere"
	name := b.say(b.host, forged)
	b.vault.Name = own
	moved := strings.Replace(name, "elsewhere", own, 1)
	f := &flipping{Reader: b.store, prefix: name}
	b.vault.Read, b.cacheDir = f, t.TempDir()
	body := b.body(name)
	plantPoint(b, moved, body)
	b.saw(repo.Tampered, "")
	s := b.session()
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, ok, err := s.Content.Size(forged.Name); ok || err != nil || f.opened > 0 {
		t.Errorf("another vault's placement counts: %v %v, read %d times", ok, err, f.opened)
	}
	if !b.saw(repo.Tampered, moved) {
		t.Error("the moved placements object was not reported")
	}
}

// body reads what the store has under a name.
func (b *bench) body(name string) []byte {
	b.t.Helper()
	r, err := b.store.Open(b.t.Context(), store.Ref{Name: name}, 0, -1)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	out, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// packsKnown counts the placements that a session knows once it has opened.
func packsKnown(b *bench) int {
	b.t.Helper()
	s := b.session()
	n := 0
	for p, err := range s.Cache().Places.Under(b.vault.Name, format.PrefixMeta) {
		if err != nil || p.Version == "" {
			b.t.Fatal(p, err)
		}
		n++
	}
	if err := s.Close(); err != nil {
		b.t.Fatal(err)
	}
	return n
}

// indexedChunks stores an index segment.
func indexedChunks(b *bench) {
	b.t.Helper()
	s := b.session()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		b.t.Fatal(err)
	}
	err := s.Writer.StoreIndex(b.t.Context(), []format.IndexLine{{ID: format.Hash{1}, Pack: format.Hash{2}, Frame: format.Frame{Length: 10, Plain: 5}, Size: 5}})
	if err == nil {
		err = s.Writer.FlushPlacements(b.t.Context())
	}
	if cerr := s.Close(); err != nil || cerr != nil {
		b.t.Fatal(err, cerr)
	}
}
