package format

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Prefixes of stored objects' names.
const (
	PrefixDescriptors = "descriptors/"
	PrefixKeys        = "keys/"
	PrefixPacks       = "packs/"
	PrefixMeta        = "meta/"
	PrefixNeeds       = "needs/"
	PrefixPlacements  = "placements/"
	PrefixPoints      = "points/"
)

const (
	stampLayout         = "20060102T150405Z" // times in names: UTC, whole seconds
	maxName             = 40                 // bytes of a source's or vault's name
	hashText            = 64                 // hexadecimal digits of a Hash
	signatureText       = 128                // hexadecimal digits of a signature
	hintText            = 8                  // hexadecimal digits of a KeyHint
	signatureSize       = 64                 // bytes of an Ed25519 signature
	maxDescriptorNumber = 999999             // highest number of a descriptor
)

// PackName names a pack by the SHA-256 of its stored bytes.
func PackName(h Hash) string { return fanned(PrefixPacks, h, ".age") }

// MetaName names a metadata object (manifest pages, extent pages, index segments).
func MetaName(h Hash) string { return fanned(PrefixMeta, h, ".age") }

// NeedsName names an object that holds pages of needs lists.
func NeedsName(h Hash) string { return fanned(PrefixNeeds, h, ".zst") }

func fanned(prefix string, h Hash, ext string) string {
	s := h.String()
	return prefix + s[:2] + "/" + s + ext
}

// HostKeyName names a sealed copy of the host key.
func HostKeyName(h Hash) string { return PrefixKeys + h.String() + ".age" }

// DescriptorName names descriptor number n. All but the first carry the signature of the key before over DescriptorMessage,
// so that junk is rejected from its name alone; the first has none.
func DescriptorName(n int, h Hash, sig []byte) string {
	if n == 0 {
		return fmt.Sprintf("%s%06d-%s.json", PrefixDescriptors, n, h)
	}
	return fmt.Sprintf("%s%06d-%s-%s.json", PrefixDescriptors, n, h, hex.EncodeToString(sig))
}

// ParseDescriptorName gives number and hash of a descriptor's name, and the signature where it has one.
func ParseDescriptorName(name string) (n int, h Hash, sig []byte, err error) {
	rest, ok := strings.CutPrefix(name, PrefixDescriptors)
	if !ok || len(rest) < 7 || rest[6] != '-' {
		return 0, Hash{}, nil, badName(name)
	}
	for _, c := range []byte(rest[:6]) {
		if c < '0' || c > '9' {
			return 0, Hash{}, nil, badName(name)
		}
		n = n*10 + int(c-'0')
	}
	rest = rest[7:]
	if n == 0 {
		h, err = hashBefore(name, rest, ".json")
		return n, h, nil, err
	}
	rest, ok = strings.CutSuffix(rest, ".json")
	if !ok || len(rest) != hashText+1+signatureText || rest[hashText] != '-' {
		return 0, Hash{}, nil, badName(name)
	}
	if h, err = ParseHash(rest[:hashText]); err != nil {
		return 0, Hash{}, nil, badName(name)
	}
	sig, err = hex.DecodeString(rest[hashText+1:])
	if err != nil || hex.EncodeToString(sig) != rest[hashText+1:] {
		return 0, Hash{}, nil, badName(name)
	}
	return n, h, sig, nil
}

// DescriptorMessage is what the signature in the name of a descriptor but the first signs: three lines of text.
func DescriptorMessage(repository Hash, n int, h Hash) []byte {
	return []byte(fmt.Sprintf("%s\n%06d\n%s\n", repository, n, h))
}

// PlacementsID is what the name of a placements object says. Only the signature makes it true.
type PlacementsID struct {
	Vault     string // the vault's name in the writer's configuration
	Written   Time   // by the vault's clock, whole seconds
	Sum       Hash   // SHA-256 of the stored bytes
	Hint      string // which key signed: KeyHint of its public half
	Signature []byte
}

// Name gives the name itself.
func (p PlacementsID) Name() string {
	return PrefixPlacements + p.Vault + "/" + p.Written.UTC().Format(stampLayout) + "-" + p.Sum.String() + "-" + p.Hint + "-" + hex.EncodeToString(p.Signature) + ".zst"
}

// Message is what the signature in the name signs: four lines of text. So junk is rejected from its name alone, and what
// was signed for one vault says nothing in another.
func (p PlacementsID) Message(repository Hash) []byte {
	return []byte(repository.String() + "\n" + p.Vault + "\n" + p.Written.UTC().Format(stampLayout) + "\n" + p.Sum.String() + "\n")
}

// ParsePlacementsName takes a placements object's name apart. It checks the form only: the caller verifies the signature
// over Message.
func ParsePlacementsName(name string) (PlacementsID, error) {
	rest, ok := strings.CutPrefix(name, PrefixPlacements)
	if !ok {
		return PlacementsID{}, badName(name)
	}
	vault, rest, ok := strings.Cut(rest, "/")
	if !ok || !ValidName(vault) {
		return PlacementsID{}, badName(name)
	}
	t, rest, err := stampBefore(name, rest)
	if err != nil {
		return PlacementsID{}, err
	}
	rest, ok = strings.CutSuffix(rest, ".zst")
	if !ok || len(rest) != hashText+1+hintText+1+signatureText || rest[hashText] != '-' || rest[hashText+1+hintText] != '-' {
		return PlacementsID{}, badName(name)
	}
	p := PlacementsID{Vault: vault, Written: t, Hint: rest[hashText+1 : hashText+1+hintText]}
	if p.Sum, err = ParseHash(rest[:hashText]); err != nil {
		return PlacementsID{}, badName(name)
	}
	p.Signature, err = hex.DecodeString(rest[hashText+1+hintText+1:])
	if err != nil || p.Name() != name || !isHint(p.Hint) {
		return PlacementsID{}, badName(name)
	}
	return p, nil
}

// KeyHint tells in a name which public key signed it: the first digits of the key's SHA-256.
func KeyHint(public []byte) string {
	sum := Hash(sha256.Sum256(public))
	return sum.String()[:hintText]
}

func isHint(s string) bool {
	for i := range len(s) {
		if unhex(s[i]) > 15 {
			return false
		}
	}
	return len(s) == hintText
}

// ParseName checks that name is exactly one of the names above and gives the SHA-256 in it. Points have ParsePointName.
func ParseName(name string) (Hash, error) {
	dir, rest, ok := strings.Cut(name, "/")
	if !ok {
		return Hash{}, badName(name)
	}
	switch dir + "/" {
	case PrefixPacks, PrefixMeta:
		return unfan(name, rest, ".age")
	case PrefixNeeds:
		return unfan(name, rest, ".zst")
	case PrefixKeys:
		return hashBefore(name, rest, ".age")
	case PrefixDescriptors:
		_, h, _, err := ParseDescriptorName(name)
		return h, err
	case PrefixPlacements:
		p, err := ParsePlacementsName(name)
		return p.Sum, err
	}
	return Hash{}, badName(name)
}

func unfan(name, rest, ext string) (Hash, error) {
	if len(rest) != 3+hashText+len(ext) || rest[2] != '/' || rest[:2] != rest[3:5] {
		return Hash{}, badName(name)
	}
	return hashBefore(name, rest[3:], ext)
}

func hashBefore(name, rest, ext string) (Hash, error) {
	digits, ok := strings.CutSuffix(rest, ext)
	if !ok {
		return Hash{}, badName(name)
	}
	h, err := ParseHash(digits)
	if err != nil {
		return Hash{}, badName(name)
	}
	return h, nil
}

// stampBefore splits "<time>-..." .
func stampBefore(name, rest string) (Time, string, error) {
	if len(rest) <= len(stampLayout) || rest[len(stampLayout)] != '-' {
		return Time{}, "", badName(name)
	}
	stamp := rest[:len(stampLayout)]
	t, err := time.Parse(stampLayout, stamp)
	if err != nil || t.Format(stampLayout) != stamp {
		return Time{}, "", badName(name)
	}
	return At(t), rest[len(stampLayout)+1:], nil
}

// PointID is what the name of a commit object says. Only the signature makes it true.
type PointID struct {
	Source    string
	SignedAt  Time
	ID        Hash // SHA-256 of the commit object
	Signature []byte
}

// PointName names a commit object. signedAt counts in whole seconds.
func PointName(source string, signedAt time.Time, id Hash, sig []byte) string {
	return PrefixPoints + source + "/" + signedAt.UTC().Format(stampLayout) + "-" + id.String() + "-" + hex.EncodeToString(sig)
}

// ParsePointName takes a commit object's name apart. It checks the form only: the caller verifies the signature over
// PointMessage.
func ParsePointName(name string) (PointID, error) {
	rest, ok := strings.CutPrefix(name, PrefixPoints)
	if !ok {
		return PointID{}, badName(name)
	}
	source, rest, ok := strings.Cut(rest, "/")
	if !ok || !ValidName(source) {
		return PointID{}, badName(name)
	}
	t, rest, err := stampBefore(name, rest)
	if err != nil {
		return PointID{}, err
	}
	if len(rest) != hashText+1+signatureText || rest[hashText] != '-' {
		return PointID{}, badName(name)
	}
	id, err := ParseHash(rest[:hashText])
	if err != nil {
		return PointID{}, badName(name)
	}
	sig, err := hex.DecodeString(rest[hashText+1:])
	if err != nil || hex.EncodeToString(sig) != rest[hashText+1:] {
		return PointID{}, badName(name)
	}
	return PointID{Source: source, SignedAt: t, ID: id, Signature: sig}, nil
}

// PointMessage is what the signature in a point's name signs: four lines of text. It can be checked before the commit
// object is fetched.
func PointMessage(repository Hash, source string, signedAt Time, id Hash) []byte {
	return []byte(repository.String() + "\n" + source + "\n" + signedAt.UTC().Format(stampLayout) + "\n" + id.String() + "\n")
}

// ValidName reports whether s can name a source or a vault: 1 to 40 lower-case letters, digits, "-" and "_".
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// storedName refuses what is not the name of any stored object of format 1.
func storedName(name string) error {
	if strings.HasPrefix(name, PrefixPoints) {
		_, err := ParsePointName(name)
		return err
	}
	_, err := ParseName(name)
	return err
}

// nameUnder refuses what is not the name of a stored object under prefix.
func nameUnder(name, prefix string) error {
	if !strings.HasPrefix(name, prefix) {
		return badName(name)
	}
	_, err := ParseName(name)
	return err
}

func badName(name string) error {
	return fmt.Errorf("name %q: %w", clip([]byte(name)), ErrMalformed)
}
