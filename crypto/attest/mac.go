package attest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// cutLabel starts the message from which the key of a cut domain is derived.
const cutLabel = "holdfast/1/cut\x00"

// ChunkID names a chunk: HMAC-SHA-256 under the chunk key of the SHA-256 of the chunk's plain bytes. Equal content has equal
// IDs within a repository, and nobody without the key can tell which content an ID stands for.
func ChunkID(key [32]byte, contentSHA256 [32]byte) [32]byte {
	return NewChunkIDs(key).ID(contentSHA256)
}

// ChunkIDs computes chunk IDs under one key, several times as fast as ChunkID. For one goroutine.
type ChunkIDs struct {
	mac hash.Hash
	sum [sha256.Size]byte // of its own, since what is handed to a hash.Hash moves to the heap
	id  [sha256.Size]byte
}

// chunkKeyLabel is what a chunk key's ID is made of. It is no 32 bytes long, so no chunk has that ID.
const chunkKeyLabel = "holdfast/1/chunk-key"

// ChunkKeyID tells chunk keys apart, and says nothing about them: HMAC-SHA-256 under the key of a fixed text.
func ChunkKeyID(key [32]byte) (id [32]byte) {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(chunkKeyLabel))
	mac.Sum(id[:0])
	return id
}

// NewChunkIDs prepares a chunk key.
func NewChunkIDs(key [32]byte) *ChunkIDs { return &ChunkIDs{mac: hmac.New(sha256.New, key[:])} }

// ID is ChunkID under the prepared key.
func (c *ChunkIDs) ID(contentSHA256 [32]byte) [32]byte {
	c.sum = contentSHA256
	c.mac.Reset()
	c.mac.Write(c.sum[:]) // a hash never fails to write
	c.mac.Sum(c.id[:0])
	return c.id
}

// CutHash is the keyed hash that decides where pages of a manifest or needs list are cut: uniform over 64 bits, and not to be
// steered by someone who chooses keys without knowing the chunk key. With HMAC for HMAC-SHA-256:
//
//	subkey  = HMAC(key, "holdfast/1/cut" || 0x00 || domain)
//	CutHash = the first 8 bytes of HMAC(subkey, k), big-endian
//
// domain separates kinds of pages and levels of a tree.
func CutHash(key [32]byte, domain string, k []byte) uint64 {
	return NewCuts(key, domain).Hash(k)
}

// Cuts computes cut hashes within one domain, several times as fast as CutHash. For one goroutine.
type Cuts struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

// NewCuts prepares the subkey of a domain.
func NewCuts(key [32]byte, domain string) *Cuts {
	derive := hmac.New(sha256.New, key[:])
	derive.Write([]byte(cutLabel))
	derive.Write([]byte(domain))
	return &Cuts{mac: hmac.New(sha256.New, derive.Sum(nil))}
}

// Hash is CutHash in the prepared domain.
func (c *Cuts) Hash(k []byte) uint64 {
	c.mac.Reset()
	c.mac.Write(k)
	return binary.BigEndian.Uint64(c.mac.Sum(c.sum[:0]))
}

// tripwireLabel starts the message from which a tripwire's name and content are derived.
const tripwireLabel = "holdfast/1/tripwire\x00"

// Tripwire gives 32 bytes for tripwire n of a source: HMAC-SHA-256 under the chunk key. Nobody without the key can tell a tripwire from
// what lies beside it, or make one. Both are lost with the key.
func Tripwire(key [32]byte, source string, n byte) (out [32]byte) {
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(tripwireLabel))
	mac.Write([]byte(source))
	mac.Write([]byte{0, n})
	mac.Sum(out[:0])
	return out
}
