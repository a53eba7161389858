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

// WithoutFolder gives the other name of a pack, a meta or a needs object: that without the folder of two digits, under which it
// lies where a vault refuses the folder. References never use it. ok is false for any other name.
func WithoutFolder(name string) (flat string, ok bool) {
	dir, rest, _ := strings.Cut(name, "/")
	if _, err := ParseName(name); err != nil || !fansOut(dir+"/") {
		return "", false
	}
	return dir + "/" + rest[3:], true
}

// WithFolder gives the name that references use for an object that lies under WithoutFolder's.
func WithFolder(flat string) (name string, ok bool) {
	dir, rest, found := strings.Cut(flat, "/")
	if !found || !fansOut(dir+"/") || len(rest) < 2 {
		return "", false
	}
	name = dir + "/" + rest[:2] + "/" + rest
	_, err := ParseName(name)
	return name, err == nil
}

// fansOut reports whether objects under a prefix lie in folders of two digits.
func fansOut(prefix string) bool {
	return prefix == PrefixPacks || prefix == PrefixMeta || prefix == PrefixNeeds
}

// HostKeyName names a sealed copy of the host key.
func HostKeyName(h Hash) string { return PrefixKeys + h.String() + ".age" }

// DescriptorID is what the name of a descriptor says. Only the signature makes it true; the first has none.
type DescriptorID struct {
	Number    int
	Sum       Hash   // SHA-256 of the stored bytes; of the first it is the fingerprint
	Hint      string // which key signed: KeyHint of its public half
	Signature []byte
}

// Name gives the name itself.
func (d DescriptorID) Name() string {
	if d.Number == 0 {
		return fmt.Sprintf("%s%06d-%s.json", PrefixDescriptors, d.Number, d.Sum)
	}
	return fmt.Sprintf("%s%06d-%s-%s-%s.json", PrefixDescriptors, d.Number, d.Sum, d.Hint, hex.EncodeToString(d.Signature))
}

// Message is what the signature in the name of a descriptor but the first signs: three lines of text.
func (d DescriptorID) Message(repository Hash) []byte {
	return fmt.Appendf(nil, "%s\n%06d\n%s\n", repository, d.Number, d.Sum)
}

// ParseDescriptorName takes a descriptor's name apart. It checks the form only: the caller verifies the signature over
// Message.
func ParseDescriptorName(name string) (d DescriptorID, err error) {
	rest, ok := strings.CutPrefix(name, PrefixDescriptors)
	if !ok || len(rest) < 7 || rest[6] != '-' {
		return DescriptorID{}, badName(name)
	}
	for _, c := range []byte(rest[:6]) {
		if c < '0' || c > '9' {
			return DescriptorID{}, badName(name)
		}
		d.Number = d.Number*10 + int(c-'0')
	}
	rest = rest[7:]
	if d.Number == 0 {
		d.Sum, err = hashBefore(name, rest, ".json")
		return d, err
	}
	if rest, ok = strings.CutSuffix(rest, ".json"); !ok {
		return DescriptorID{}, badName(name)
	}
	d.Sum, d.Hint, d.Signature, err = signedBefore(name, rest)
	return d, err
}

// signedBefore takes "HASH-HINT-SIGNATURE" apart.
func signedBefore(name, rest string) (h Hash, hint string, sig []byte, err error) {
	const second = hashText + 1 + hintText
	if len(rest) != second+1+signatureText || rest[hashText] != '-' || rest[second] != '-' || !isHint(rest[hashText+1:second]) {
		return Hash{}, "", nil, badName(name)
	}
	if h, err = ParseHash(rest[:hashText]); err != nil {
		return Hash{}, "", nil, badName(name)
	}
	digits := rest[second+1:]
	if sig, err = hex.DecodeString(digits); err != nil || hex.EncodeToString(sig) != digits {
		return Hash{}, "", nil, badName(name)
	}
	return h, rest[hashText+1 : second], sig, nil
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
	if rest, ok = strings.CutSuffix(rest, ".zst"); !ok {
		return PlacementsID{}, badName(name)
	}
	p := PlacementsID{Vault: vault, Written: t}
	if p.Sum, p.Hint, p.Signature, err = signedBefore(name, rest); err != nil {
		return PlacementsID{}, err
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
		d, err := ParseDescriptorName(name)
		return d.Sum, err
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
	ID        Hash   // SHA-256 of the commit object
	Hint      string // which key signed: KeyHint of its public half
	Signature []byte
}

// Name gives the name itself. SignedAt counts in whole seconds.
func (p PointID) Name() string {
	return PrefixPoints + p.Source + "/" + p.SignedAt.UTC().Format(stampLayout) + "-" + p.ID.String() + "-" + p.Hint + "-" + hex.EncodeToString(p.Signature)
}

// Message is what the signature in a point's name signs: four lines of text. It can be checked before the commit object is
// fetched.
func (p PointID) Message(repository Hash) []byte {
	return []byte(repository.String() + "\n" + p.Source + "\n" + p.SignedAt.UTC().Format(stampLayout) + "\n" + p.ID.String() + "\n")
}

// ParsePointName takes a commit object's name apart. It checks the form only: the caller verifies the signature over
// Message.
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
	p := PointID{Source: source, SignedAt: t}
	if p.ID, p.Hint, p.Signature, err = signedBefore(name, rest); err != nil {
		return PointID{}, err
	}
	return p, nil
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
