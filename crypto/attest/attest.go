// Package attest signs what a repository vouches for, and derives the keyed identifiers its content is known by.
//
// Signatures are Ed25519 (RFC 8032) with domain separation. The bytes that are signed are exactly
//
//	domain || 0x00 || SHA-256(message)
//
// where domain is the ASCII text of a [Domain]. The message's digest stands in for it so that a signature can be checked
// from a name that holds the digest, without fetching the object.
//
// Chunk IDs and cut hashes are HMAC-SHA-256 (RFC 2104) under the host key's chunk key; see [ChunkID] and [CutHash].
//
// It must never sign or verify without a domain, hold state shared between goroutines, or panic on what came from outside.
package attest

import (
	"crypto/ed25519"
	"crypto/sha256"
)

// Domain says what kind of message a signature is about, so that a signature of one kind is never valid for another.
type Domain string

// The domains of repository format 1.
const (
	Descriptor     Domain = "holdfast/1/descriptor"
	DescriptorName Domain = "holdfast/1/descriptor-name"
	Point          Domain = "holdfast/1/point"
	Placements     Domain = "holdfast/1/placements"
	Index          Domain = "holdfast/1/index"
	Record         Domain = "holdfast/1/record"
	Report         Domain = "holdfast/1/report"
)

// SignatureSize is the length of a signature in bytes.
const SignatureSize = ed25519.SignatureSize

// Sign signs a message within a domain and gives the 64-byte signature. The same key, domain and message give the same
// signature. A key of the wrong length gives nil, which verifies under no key.
func Sign(k ed25519.PrivateKey, domain Domain, msg []byte) []byte {
	return SignDigest(k, domain, sha256.Sum256(msg))
}

// SignDigest is Sign for a message whose SHA-256 is known.
func SignDigest(k ed25519.PrivateKey, domain Domain, digest [sha256.Size]byte) []byte {
	if len(k) != ed25519.PrivateKeySize {
		return nil
	}
	return ed25519.Sign(k, signed(domain, digest))
}

// Verify tells whether sig is the signature of msg within domain by the holder of pub. Keys and signatures of the wrong
// length verify nothing.
func Verify(pub ed25519.PublicKey, domain Domain, msg, sig []byte) bool {
	return VerifyDigest(pub, domain, sha256.Sum256(msg), sig)
}

// VerifyDigest is Verify for a message of which only the SHA-256 is at hand. The caller must still check the message
// against the digest once it has it.
func VerifyDigest(pub ed25519.PublicKey, domain Domain, digest [sha256.Size]byte, sig []byte) bool {
	if len(pub) != ed25519.PublicKeySize || len(sig) != ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(pub, signed(domain, digest), sig)
}

func signed(domain Domain, digest [sha256.Size]byte) []byte {
	b := make([]byte, 0, len(domain)+1+len(digest))
	b = append(b, domain...)
	b = append(b, 0)
	return append(b, digest[:]...)
}
