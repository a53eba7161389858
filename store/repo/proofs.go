package repo

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	maxProofs = 1 << 17 // bounds the memory of signatures that were verified; what is beyond is verified each time
	fewProofs = 64      // so many are looked up in the cache; who asks for more has all of them loaded
)

// proofs remember which signatures were found right, so that the arithmetic is done once for each: a vault lists the names of
// all its points to every run. What is remembered is the hash of the key, of what was signed, and of the signature; that a key
// counts is decided anew each time. A nil proofs remembers nothing. It is safe for concurrent use.
type proofs struct {
	mu    sync.Mutex
	right map[format.Hash]bool
	fresh []format.Hash // that the cache does not have
	cache *cache.Cache  // where others are; nil: they are all in right
	asked int           // of the cache
}

func newProofs() *proofs { return &proofs{right: map[format.Hash]bool{}} }

// openProofs takes what the cache remembers.
func openProofs(c *cache.Cache) *proofs {
	p := newProofs()
	p.cache = c
	return p
}

// knows reports whether a signature was found right before. A cache that cannot be read remembers nothing, and says why where it
// is used next.
func (p *proofs) knows(h format.Hash) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.right[h] || p.cache == nil {
		return p.right[h]
	}
	if p.asked++; p.asked <= fewProofs {
		ok, err := p.cache.Proofs.Has(h)
		if ok && err == nil {
			p.right[h] = true
		}
		return ok && err == nil
	}
	for h, err := range p.cache.Proofs.All() {
		if err != nil || len(p.right) >= maxProofs {
			break
		}
		p.right[h] = true
	}
	p.cache = nil
	return p.right[h]
}

// keep has the cache remember what was found right since.
func (p *proofs) keep(c *cache.Cache) error {
	p.mu.Lock()
	fresh := p.fresh
	p.fresh = nil
	p.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	return c.Proofs.Put(fresh)
}

// verify reports whether a key made a signature.
func (p *proofs) verify(key []byte, of signature) bool {
	if p == nil {
		return attest.Verify(ed25519.PublicKey(key), of.domain, of.msg, of.sig)
	}
	h := proofOf(key, of)
	if p.knows(h) {
		return true
	}
	if !attest.Verify(ed25519.PublicKey(key), of.domain, of.msg, of.sig) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.right) < maxProofs {
		p.right[h], p.fresh = true, append(p.fresh, h)
	}
	return true
}

func proofOf(key []byte, of signature) format.Hash {
	var b []byte
	for _, part := range [][]byte{key, []byte(of.domain), of.msg, of.sig} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}
