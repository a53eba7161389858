package repo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// smallRuns stores three packs a run, a minute apart, and the placements at the end of each: all in one session.
func smallRuns(b *bench, n int) (packs []string) {
	b.t.Helper()
	s := b.session()
	defer func() {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	if err := s.Begin(b.clock.Add(35 * dayLong)); err != nil {
		b.t.Fatal(err)
	}
	for i := range n {
		b.clock = b.clock.Add(time.Minute)
		for j := range 3 {
			body := binary.BigEndian.AppendUint64([]byte{byte(j)}, uint64(b.clock.Unix()))
			sum := format.Hash(sha256.Sum256(body))
			if err := s.Writer.Store(b.t.Context(), format.PackName(sum), pack.Sealed{Body: body, Sum: sum}); err != nil {
				b.t.Fatal(err)
			}
			packs = append(packs, format.PackName(sum))
		}
		if err := s.Locks.SecureSegments(b.t.Context()); err != nil {
			b.t.Fatal(i, err)
		}
		if err := s.EndPlacements(b.t.Context()); err != nil {
			b.t.Fatal(i, err)
		}
	}
	return packs
}

// knows counts which objects a session knows once it has opened, and how many placements objects it read for it.
func (b *bench) knows(names ...string) (known, read int) {
	b.t.Helper()
	f := &flipping{Reader: b.vault.Read, prefix: format.PrefixPlacements}
	b.vault.Read = f
	defer func() { b.vault.Read = f.Reader }()
	s := b.session()
	defer func() {
		if err := s.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	for _, n := range names {
		_, ok, err := s.Content.Size(n)
		if err != nil {
			b.t.Fatal(err)
		}
		if ok {
			known++
		}
	}
	return known, f.opened
}

// listed gives what the vault has under a prefix.
func (b *bench) listed(prefix string) (out []store.Info) {
	b.t.Helper()
	for info, err := range b.store.Versions(b.t.Context(), prefix, "") {
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, info)
	}
	return out
}

// lockOf is until when the one version of an object is locked.
func lockOf(b *bench, name string) time.Time {
	b.t.Helper()
	_, lock, err := b.store.Stat(b.t.Context(), store.Ref{Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return lock.Until
}

// TestFewPlacementsAfterManyRuns: each run writes one placements object, and a machine without its cache reads a handful of them
// after any number of runs and knows all that they said. What it writes folds on.
func TestFewPlacementsAfterManyRuns(t *testing.T) {
	b := newBench(t)
	b.cacheDir = t.TempDir()
	before := len(b.listed(format.PrefixPlacements))
	var packs []string
	steps := []int{1, 6, 93, 900, 500}
	if testing.Short() { // under the race detector; whole without
		steps = steps[:3]
	}
	for _, runs := range steps {
		packs = append(packs, smallRuns(b, runs)...)
		if got := len(b.listed(format.PrefixPlacements)) - before; got*3 != len(packs) {
			t.Fatalf("%d placements objects after %d runs", got, len(packs)/3)
		}
		b.cacheDir = t.TempDir()
		known, read := b.knows(packs...)
		t.Logf("after %d runs %d of %d placements objects are read", len(packs)/3, read, len(packs)/3)
		if known != len(packs) || read > 9 {
			t.Errorf("after %d runs: %d of %d objects are known, %d placements objects read", len(packs)/3, known, len(packs), read)
		}
		if known, read = b.knows(packs...); known != len(packs) || read != 0 {
			t.Errorf("after %d runs: %d of %d objects are known with the cache, %d placements objects read", len(packs)/3, known, len(packs), read)
		}
	}
	if b.saw(repo.Tampered, "") || b.saw(repo.Missing, "") {
		t.Error("something is wrong in the vault")
	}
}

// TestLocksOfFolds: runs keep up the locks of the placements objects that none replaces, with and without their cache, and of no others.
func TestLocksOfFolds(t *testing.T) {
	b := newBench(t)
	for _, kept := range []bool{true, false} {
		b.cacheDir = t.TempDir()
		smallRuns(b, 25)
		var old []string
		for _, o := range b.listed(format.PrefixPlacements) {
			old = append(old, o.Name)
		}
		b.clock = b.clock.Add(20 * dayLong)
		if !kept {
			b.cacheDir = t.TempDir()
		}
		packs := smallRuns(b, 1)
		need := b.clock.Add(35*dayLong - time.Hour)
		long := map[string]bool{}
		for _, name := range old {
			long[name] = !lockOf(b, name).Before(need)
		}
		read := map[string]bool{} // without any cache
		b.cacheDir = t.TempDir()
		s := b.session()
		for p, err := range s.Cache().Places.Under(b.vault.Name, format.PrefixPlacements) {
			if err != nil {
				t.Fatal(err)
			}
			read[p.Name] = true
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		kept, over := 0, 0
		for _, name := range old {
			if long[name] != read[name] {
				t.Errorf("%s: locked further %t, used %t", name, long[name], read[name])
			}
			if read[name] {
				kept++
			} else {
				over++
			}
		}
		if kept == 0 || over < 15 || len(packs) != 3 {
			t.Errorf("%d placements objects are in use, %d replaced", kept, over)
		}
	}
}

// TestWhatReplacesNothing: a placements object makes others superfluous only if it is the repository's, whole, and of the same
// vault. Else, and where it is lost, what it would have replaced is read as before.
func TestWhatReplacesNothing(t *testing.T) {
	other, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		replaces bool
		act      func(b *bench, by []format.Hash, lines []format.Placement)
	}{
		{"a fold", true, func(b *bench, by []format.Hash, lines []format.Placement) { sayInstead(b, b.host, by, lines...) }},
		{"a fold that arrived before what it replaces", true, func(b *bench, by []format.Hash, lines []format.Placement) {
			name, body := b.placements(b.host, by, lines...)
			b.store = b.store.Clone(b.now) // as a copied vault may have it: the objects there arrived in another order
			b.vault = vaultOf(b.store)
			b.clock = b.clock.Add(-30 * dayLong)
			plantPoint(b, name, body)
			b.clock = b.clock.Add(30 * dayLong)
		}},
		{"another key", false, func(b *bench, by []format.Hash, lines []format.Placement) { sayInstead(b, other, by, lines...) }},
		{"a junk signature", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			name, body := b.placements(b.host, by, lines...)
			id, err := format.ParsePlacementsName(name)
			if err != nil {
				b.t.Fatal(err)
			}
			id.Signature[5] ^= 1
			plantPoint(b, id.Name(), body)
		}},
		{"another vault's", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			b.vault.Name = "elsewhere"
			sayInstead(b, b.host, by, lines...)
			b.vault.Name = "v"
		}},
		{"another vault's, under this one's name", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			b.vault.Name = "elsewhere"
			name, body := b.placements(b.host, by, lines...)
			b.vault.Name = "v"
			plantPoint(b, strings.Replace(name, "elsewhere", "v", 1), body)
			plantPoint(b, nameOfPlacements(b, b.host, sha256.Sum256(body)), body) // signed by a thief for this vault
		}},
		{"a lost one", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			name := sayInstead(b, b.host, by, lines...)
			if err := b.store.Attacker().Lose(b.only(name).Ref); err != nil {
				b.t.Fatal(err)
			}
		}},
		{"a fold under a delete marker", true, func(b *bench, by []format.Hash, lines []format.Placement) {
			b.store.Attacker().Hide(sayInstead(b, b.host, by, lines...))
		}},
		{"a damaged one", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			name := sayInstead(b, b.host, by, lines...)
			if err := b.store.Attacker().Damage(b.only(name).Ref, func(body []byte) []byte { body[len(body)/2] ^= 1; return body }); err != nil {
				b.t.Fatal(err)
			}
		}},
		{"one that is cut short", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			_, body := b.placements(b.host, by, lines...)
			body = body[:len(body)-1]
			plantPoint(b, nameOfPlacements(b, b.host, sha256.Sum256(body)), body)
		}},
		{"one of another repository", false, func(b *bench, by []format.Hash, lines []format.Placement) {
			other := newBench(b.t)
			other.clock = b.clock
			_, body := other.placements(b.host, by, lines...)
			plantPoint(b, nameOfPlacements(b, b.host, sha256.Sum256(body)), body)
		}},
		{"one of an older version, without a list", false, func(b *bench, _ []format.Hash, lines []format.Placement) { b.say(b.host, lines...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.clock = b.clock.Add(time.Hour)
			b.cacheDir = t.TempDir()
			packs := smallRuns(b, 1)
			alone := b.say(b.host, saysOf(b, packs[1]))
			b.clock = b.clock.Add(time.Minute)
			by := []format.Hash{sumOf(t, alone), sumOf(t, b.say(b.host, saysOf(b, packs[2])))}
			slices.SortFunc(by, func(a, b format.Hash) int { return bytes.Compare(a[:], b[:]) })
			b.clock = b.clock.Add(time.Minute)
			c.act(b, by, []format.Placement{saysOf(b, packs[0]), {Name: format.PackName(format.Hash{7}), Size: 5}})
			f := &flipping{Reader: b.store, prefix: alone}
			b.vault.Read, b.cacheDir = f, t.TempDir()
			b.again()
			if read := f.opened > 0; read == c.replaces {
				t.Errorf("what it would replace was read %d times", f.opened)
			}
			f.opened = 0
			b.again()
			if f.opened > 0 {
				t.Errorf("with the cache it was read again, %d times", f.opened)
			}
		})
	}
}

// TestKnownOnesAreDisplaced: a machine with its cache lets go of placements objects that a fold of another machine replaces, but
// only where that leaves out nothing of what it knows from them.
func TestKnownOnesAreDisplaced(t *testing.T) {
	for _, all := range []bool{true, false} {
		b := newBench(t)
		b.cacheDir = t.TempDir()
		packs := smallRuns(b, 1)
		old := b.listed(format.PrefixPlacements)
		last := old[len(old)-1].Name
		b.clock = b.clock.Add(time.Minute)
		var lines []format.Placement
		for _, p := range packs {
			lines = append(lines, saysOf(b, p))
		}
		if !all {
			lines = lines[1:]
		}
		sayInstead(b, b.host, []format.Hash{sumOf(t, last)}, lines...)
		s := b.session()
		_, known, err := s.Cache().Places.Get(b.vault.Name, last)
		if cerr := s.Close(); err != nil || cerr != nil {
			t.Fatal(err, cerr)
		}
		if known == all {
			t.Errorf("the fold says all %t: what it replaces is known %t", all, known)
		}
	}
}

// TestLostFoldIsSaidAgain: where a placements object is gone from the vault, the next run of a machine that knows what it said
// says it again.
func TestLostFoldIsSaidAgain(t *testing.T) {
	b := newBench(t)
	b.cacheDir = t.TempDir()
	packs := smallRuns(b, 3)
	for _, o := range b.listed(format.PrefixPlacements) {
		if err := b.store.Attacker().Lose(o.Ref); err != nil {
			t.Fatal(err)
		}
	}
	packs = append(packs, smallRuns(b, 1)...)
	if !b.saw(repo.Missing, format.PrefixPlacements) {
		t.Error("the loss was not reported")
	}
	b.cacheDir = t.TempDir()
	if known, _ := b.knows(packs...); known != len(packs) {
		t.Errorf("%d of %d objects are known after the loss", known, len(packs))
	}
}

func sumOf(t *testing.T, name string) format.Hash {
	t.Helper()
	sum, err := format.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// saysOf is the placement of an object as the vault has it.
func saysOf(b *bench, name string) format.Placement {
	b.t.Helper()
	o := b.only(name)
	_, lock, err := b.store.Stat(b.t.Context(), o.Ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return format.Placement{Name: o.Name, Version: o.Version, Size: o.Size, Mode: string(lock.Mode), Until: format.At(lock.Until)}
}
