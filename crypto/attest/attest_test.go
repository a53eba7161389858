package attest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/crypto/attest"
)

var domains = []attest.Domain{attest.Descriptor, attest.Point, attest.Placements, attest.Index, attest.Record, attest.Report}

func key(fill byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{fill}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func TestSignVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := ed25519.NewKeyFromSeed(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		domain := rapid.SampledFrom(domains).Draw(t, "domain")
		msg := rapid.SliceOf(rapid.Byte()).Draw(t, "msg")
		sig := attest.Sign(k, domain, msg)
		if len(sig) != attest.SignatureSize || !attest.Verify(public(k), domain, msg, sig) {
			t.Fatal("it does not verify")
		}
		if !bytes.Equal(sig, attest.SignDigest(k, domain, sha256.Sum256(msg))) || !attest.VerifyDigest(public(k), domain, sha256.Sum256(msg), sig) {
			t.Fatal("message and digest disagree")
		}
		for _, other := range domains {
			if other != domain && attest.Verify(public(k), other, msg, sig) {
				t.Fatalf("valid in %s too", other)
			}
		}
		if attest.Verify(public(k), domain, append(bytes.Clone(msg), 0), sig) {
			t.Fatal("valid for another message")
		}
		if attest.Verify(public(key(9)), domain, msg, sig) {
			t.Fatal("valid for another key")
		}
		bad := bytes.Clone(sig)
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if attest.Verify(public(k), domain, msg, bad) {
			t.Fatal("a changed signature is valid")
		}
	})
}

// TestSignedBytes spells the signed bytes out, as a second implementation would.
func TestSignedBytes(t *testing.T) {
	k, msg := key(1), []byte("a commit object")
	digest := sha256.Sum256(msg)
	signed := append([]byte("holdfast/1/point\x00"), digest[:]...)
	if !bytes.Equal(attest.Sign(k, attest.Point, msg), ed25519.Sign(k, signed)) {
		t.Error("other bytes are signed than documented")
	}
}

func TestWrongLengths(t *testing.T) {
	k, msg := key(1), []byte("m")
	sig := attest.Sign(k, attest.Point, msg)
	for name, ok := range map[string]bool{
		"no key":         attest.Verify(nil, attest.Point, msg, sig),
		"short key":      attest.Verify(public(k)[:31], attest.Point, msg, sig),
		"long key":       attest.Verify(append(bytes.Clone(public(k)), 0), attest.Point, msg, sig),
		"no signature":   attest.Verify(public(k), attest.Point, msg, nil),
		"short":          attest.Verify(public(k), attest.Point, msg, sig[:63]),
		"long":           attest.Verify(public(k), attest.Point, msg, append(bytes.Clone(sig), 0)),
		"zero signature": attest.Verify(public(k), attest.Point, msg, make([]byte, 64)),
	} {
		if ok {
			t.Errorf("%s verifies", name)
		}
	}
	if attest.Sign(nil, attest.Point, msg) != nil || attest.Sign(k[:32], attest.Point, msg) != nil {
		t.Error("a key of the wrong length signs")
	}
}

// TestVectors holds every output against values computed by another implementation (Python's hmac and cryptography).
func TestVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Signatures []struct{ Seed, Public, Domain, Message, Signature string }
		ChunkIDs   []struct{ Key, SHA256, ID string }
		CutHashes  []struct {
			Key, Domain, K string
			Hash           string
		}
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Signatures) < len(domains) || len(v.ChunkIDs) == 0 || len(v.CutHashes) == 0 {
		t.Fatal("vectors are missing")
	}
	for i, s := range v.Signatures {
		k := ed25519.NewKeyFromSeed(unhex(t, s.Seed))
		if !bytes.Equal(public(k), unhex(t, s.Public)) {
			t.Errorf("signature %d: another public key", i)
		}
		if got := attest.Sign(k, attest.Domain(s.Domain), unhex(t, s.Message)); !bytes.Equal(got, unhex(t, s.Signature)) {
			t.Errorf("signature %d is %x", i, got)
		}
		if !attest.Verify(unhex(t, s.Public), attest.Domain(s.Domain), unhex(t, s.Message), unhex(t, s.Signature)) {
			t.Errorf("signature %d does not verify", i)
		}
	}
	for i, c := range v.ChunkIDs {
		if got := attest.ChunkID([32]byte(unhex(t, c.Key)), [32]byte(unhex(t, c.SHA256))); !bytes.Equal(got[:], unhex(t, c.ID)) {
			t.Errorf("chunk ID %d is %x", i, got)
		}
	}
	for i, c := range v.CutHashes {
		got := attest.CutHash([32]byte(unhex(t, c.Key)), c.Domain, unhex(t, c.K))
		if want := binary.BigEndian.Uint64(unhex(t, c.Hash)); got != want {
			t.Errorf("cut hash %d is %016x", i, got)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPrepared: the fast forms give what the plain ones give, in any order of calls.
func TestPrepared(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "key"))
		ids, cuts := attest.NewChunkIDs(k), attest.NewCuts(k, "manifest/0")
		for range rapid.IntRange(1, 5).Draw(t, "calls") {
			msg := rapid.SliceOf(rapid.Byte()).Draw(t, "msg")
			sum := sha256.Sum256(msg)
			mac := hmac.New(sha256.New, k[:])
			mac.Write(sum[:])
			if id := ids.ID(sum); id != attest.ChunkID(k, sum) || !bytes.Equal(id[:], mac.Sum(nil)) {
				t.Fatal("chunk IDs differ")
			}
			if cuts.Hash(msg) != attest.CutHash(k, "manifest/0", msg) {
				t.Fatal("cut hashes differ")
			}
		}
	})
}

// TestCutHashDepends: on key, domain and input, and on nothing shared between goroutines.
func TestCutHashDepends(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	seen := map[uint64]string{}
	for name, h := range map[string]uint64{
		"plain":        attest.CutHash(a, "d", []byte("k")),
		"other key":    attest.CutHash(b, "d", []byte("k")),
		"other domain": attest.CutHash(a, "e", []byte("k")),
		"other input":  attest.CutHash(a, "d", []byte("l")),
		"moved border": attest.CutHash(a, "dk", nil),
		"no domain":    attest.CutHash(a, "", []byte("dk")),
	} {
		if other, twice := seen[h]; twice {
			t.Errorf("%s equals %s", name, other)
		}
		seen[h] = name
	}
	want := attest.CutHash(a, "d", []byte("k"))
	var wg sync.WaitGroup
	id := attest.ChunkID(a, b)
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if attest.CutHash(a, "d", []byte("k")) != want || attest.ChunkID(a, b) != id {
					t.Error("it changes")
				}
			}
		})
	}
	wg.Wait()
}

// TestCutHashSpreads: low and high bits alike are set half of the time, so any comparison can decide a cut.
func TestCutHashSpreads(t *testing.T) {
	const n = 20_000
	cuts := attest.NewCuts([32]byte{7}, "d")
	var ones [64]int
	for i := range n {
		h := cuts.Hash(binary.BigEndian.AppendUint32([]byte("logs/2026/"), uint32(i)))
		for bit := range ones {
			ones[bit] += int(h >> bit & 1)
		}
	}
	for bit, c := range ones {
		if c < n*47/100 || c > n*53/100 {
			t.Errorf("bit %d is set %d times of %d", bit, c, n)
		}
	}
}

// FuzzVerify: nothing panics, and nothing but the signer's own signature verifies.
func FuzzVerify(f *testing.F) {
	k := key(1)
	f.Add([]byte(public(k)), "holdfast/1/point", []byte("m"), attest.Sign(k, attest.Point, []byte("m")))
	f.Add([]byte{}, "", []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, pub []byte, domain string, msg, sig []byte) {
		if attest.Verify(pub, attest.Domain(domain), msg, sig) && bytes.Equal(pub, public(k)) &&
			!bytes.Equal(sig, attest.Sign(k, attest.Domain(domain), msg)) {
			t.Error("a second signature verifies")
		}
	})
}

func BenchmarkChunkID(b *testing.B) {
	k, sum := [32]byte{1}, sha256.Sum256(nil)
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			sum = attest.ChunkID(k, sum)
		}
	})
	b.Run("prepared", func(b *testing.B) {
		ids := attest.NewChunkIDs(k)
		for b.Loop() {
			sum = ids.ID(sum)
		}
	})
}

func BenchmarkCutHash(b *testing.B) {
	k, name := [32]byte{1}, []byte("usr/local/go/src/crypto/internal/fips140/sha256/sha256.go")
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			attest.CutHash(k, "d", name)
		}
	})
	b.Run("prepared", func(b *testing.B) {
		cuts := attest.NewCuts(k, "d")
		for b.Loop() {
			cuts.Hash(name)
		}
	})
}

func BenchmarkSignVerify(b *testing.B) {
	k, msg := key(1), []byte("m")
	sig := attest.Sign(k, attest.Point, msg)
	b.Run("sign", func(b *testing.B) {
		for b.Loop() {
			attest.Sign(k, attest.Point, msg)
		}
	})
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if !attest.Verify(public(k), attest.Point, msg, sig) {
				b.Fatal("it does not verify")
			}
		}
	})
}
