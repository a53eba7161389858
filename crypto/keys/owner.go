package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"
)

// Owner is the public half of an owner key, which signs the changes of a repository's keys. The zero value is none.
type Owner struct{ public [ed25519.PublicKeySize]byte }

const (
	ownerDomain = "holdfast/1/owner"
	ownerPrefix = "hfowner1"
	ownerCheck  = 4 // bytes that tell a typing error
)

var ownerText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// OwnerKey derives the owner key that belongs to an identity: whoever holds the restore key is the owner, and nothing else
// has to be kept. Its seed is HKDF-SHA-256 of the identity's text, without salt, with the info "holdfast/1/owner". It is nil
// for the zero value.
func OwnerKey(id Identity) ed25519.PrivateKey {
	if id.IsZero() {
		return nil
	}
	seed, err := hkdf.Key(sha256.New, []byte(id.Secret()), nil, ownerDomain, ed25519.SeedSize)
	if err != nil { // of a key of no length alone
		return nil
	}
	return ed25519.NewKeyFromSeed(seed)
}

// OwnerOf is the public half of an identity's owner key.
func OwnerOf(id Identity) Owner {
	var o Owner
	if k := OwnerKey(id); k != nil {
		copy(o.public[:], k[ed25519.SeedSize:])
	}
	return o
}

// ParseOwner reads the public text form, "hfowner1…". There is one spelling.
func ParseOwner(s string) (Owner, error) {
	rest, ok := strings.CutPrefix(s, ownerPrefix)
	if !ok {
		if strings.Contains(strings.ToUpper(s), "AGE-SECRET-KEY-") { // never echoed
			return Owner{}, fmt.Errorf("%w: this is a secret key where a public owner key (%s…) belongs; take it out of here", ErrMalformed, ownerPrefix)
		}
		return Owner{}, fmt.Errorf("%w: an owner key starts with %s; `holdfast keygen` prints it beside the recipient", ErrMalformed, ownerPrefix)
	}
	b, err := ownerText.DecodeString(rest)
	if err != nil || len(b) != ed25519.PublicKeySize+ownerCheck || ownerText.EncodeToString(b) != rest {
		return Owner{}, fmt.Errorf("owner key %s: %w: the characters do not check; copy it again whole", short(s), ErrMalformed)
	}
	o := Owner{[ed25519.PublicKeySize]byte(b[:ed25519.PublicKeySize])}
	if !bytes.Equal(b[ed25519.PublicKeySize:], o.check()) {
		return Owner{}, fmt.Errorf("owner key %s: %w: this key has a typing error (checksum failed)", short(s), ErrMalformed)
	}
	return o, nil
}

// OwnerFrom is the owner key with a public half; the zero Owner for one of another length.
func OwnerFrom(public []byte) Owner {
	var o Owner
	if len(public) == len(o.public) {
		copy(o.public[:], public)
	}
	return o
}

// ParseOwners reads a list of owner keys and refuses the same one twice ([ErrDuplicate]).
func ParseOwners(texts []string) ([]Owner, error) {
	var out []Owner
	seen := make(map[Owner]int, len(texts))
	for i, s := range texts {
		o, err := ParseOwner(s)
		if err != nil {
			return nil, fmt.Errorf("owner %d of %d: %w", i+1, len(texts), err)
		}
		if first, twice := seen[o]; twice {
			return nil, fmt.Errorf("owner %d of %d: %w: it is also number %d", i+1, len(texts), ErrDuplicate, first+1)
		}
		seen[o] = i
		out = append(out, o)
	}
	return out, nil
}

func (o Owner) check() []byte {
	sum := sha256.Sum256(append([]byte(ownerDomain+"\x00"), o.public[:]...))
	return sum[:ownerCheck]
}

// IsZero tells whether this is no owner key.
func (o Owner) IsZero() bool { return o == Owner{} }

// Public is the public key itself.
func (o Owner) Public() ed25519.PublicKey { return o.public[:] }

// String is the public text form; ParseOwner reads it back.
func (o Owner) String() string {
	return ownerPrefix + ownerText.EncodeToString(append(o.public[:], o.check()...))
}

// MarshalText is the public text form.
func (o Owner) MarshalText() ([]byte, error) { return []byte(o.String()), nil }
