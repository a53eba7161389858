package repo

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

// TestProofs: a signature that was verified is not verified again, in this session or a later one, and nothing but that very
// signature, by that key, of that message and for that purpose is taken for right with it.
func TestProofs(t *testing.T) {
	key, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("a point")
	right := signature{domain: attest.Point, msg: msg, sig: attest.Sign(priv, attest.Point, msg)}
	wrong := map[string]signature{
		"another message":   {domain: attest.Point, msg: []byte("another"), sig: right.sig},
		"another purpose":   {domain: attest.Placements, msg: msg, sig: right.sig},
		"another signature": {domain: attest.Point, msg: msg, sig: make([]byte, 64)},
		"moved bytes":       {domain: attest.Point, msg: append([]byte("a point"), right.sig[0]), sig: right.sig[1:]},
	}
	dir := t.TempDir()
	for round := range 3 {
		c, err := cache.Open(dir, cache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := openProofs(c)
		if known := p.knows(proofOf(key, right)); known != (round > 0) {
			t.Errorf("round %d: it is remembered %t", round, known)
		}
		for range 2 {
			if !p.verify(key, right) {
				t.Errorf("round %d: the right one is refused", round)
			}
			if p.verify(other, right) {
				t.Errorf("round %d: another key's is taken", round)
			}
			for name, of := range wrong {
				if p.verify(key, of) {
					t.Errorf("round %d: %s is taken", round, name)
				}
			}
		}
		if fresh := len(p.fresh); fresh > 1 || round > 0 && fresh > 0 {
			t.Errorf("round %d: %d were verified anew", round, fresh)
		}
		if err := p.keep(c); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var none *proofs
	if !none.verify(key, right) || none.verify(other, right) {
		t.Error("without a memory signatures are not verified")
	}
}

// TestProofsAreBounded: what is beyond the bound is verified each time.
func TestProofsAreBounded(t *testing.T) {
	key, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := newProofs()
	for i := range maxProofs {
		p.right[[32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}] = true
	}
	msg := []byte("one more")
	of := signature{domain: attest.Point, msg: msg, sig: attest.Sign(priv, attest.Point, msg)}
	for range 2 {
		if !p.verify(key, of) {
			t.Error("it is refused")
		}
	}
	if len(p.right) != maxProofs || len(p.fresh) > 0 {
		t.Errorf("%d are remembered", len(p.right))
	}
}
