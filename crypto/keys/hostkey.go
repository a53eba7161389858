package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	hostKeyPrefix  = "holdfast-host-key-"
	hostKeyVersion = 1
	// maxHostKey bounds a host key file; one is about 400 bytes.
	maxHostKey = 64 << 10
)

// HostKey is what the job's machine holds: it opens metadata (manifests and index), names chunks, and signs. It opens no
// content. It prints as its public halves. But its fields are plain, and fmt asks nothing that lies in an unexported field how
// it wants to be printed: never print a struct that holds one there.
type HostKey struct {
	// Metadata opens manifests and index segments.
	Metadata Identity
	// ChunkKey is the HMAC key of chunk IDs, and what page boundaries are derived from.
	ChunkKey [32]byte
	// Signing signs descriptors, points, placements and index segments.
	Signing ed25519.PrivateKey
	// Earlier opens manifests and index segments that were sealed before the host key was rotated, the newest first.
	Earlier []Identity

	// Repository pins the repository that the key is for: the SHA-256 of its first descriptor, its fingerprint. Zero: not
	// pinned yet. It is no secret, and stands in the host key's file alone: the copy in the vault is sealed before there is one.
	Repository [32]byte
	// Descriptors are the SHA-256 of the descriptors that the machine made or that its owner accepted, in their order. Those
	// of a change that was broken off may be among them. Only in the file, like Repository.
	Descriptors [][32]byte
	// Newest is the newest descriptor that a vault has shown, by number and SHA-256: a vault that shows less was set back, or was not
	// reached by a change. Zero: not known. Only in the file, like Repository.
	Newest Newest
}

// Newest is a descriptor by its number and its SHA-256.
type Newest struct {
	Number int
	Sum    [32]byte
}

// IsZero reports whether no descriptor is known.
func (n Newest) IsZero() bool { return n == Newest{} }

// Secrets gives the host key without what is known of its repository: what is sealed to the restore keys.
func (k *HostKey) Secrets() *HostKey {
	s := *k
	s.Repository, s.Descriptors, s.Newest = [32]byte{}, nil, Newest{}
	return &s
}

// Pin notes the repository, and descriptors of it, each once.
func (k *HostKey) Pin(repository [32]byte, descriptors ...[32]byte) {
	k.Repository = repository
	for _, d := range descriptors {
		if !slices.Contains(k.Descriptors, d) {
			k.Descriptors = append(k.Descriptors, d)
		}
	}
	if n := len(k.Descriptors) - maxKnown; n > 0 {
		k.Descriptors = slices.Clone(k.Descriptors[n:])
	}
}

// PinNewest notes a descriptor that a vault has shown, if none with its number or a higher one is known.
func (k *HostKey) PinNewest(n Newest) {
	if k.Newest.IsZero() || n.Number > k.Newest.Number {
		k.Newest = n
	}
}

// maxKnown bounds the descriptors that a host key file names: the newest ones, since each vouches for those before it.
const maxKnown = 64

// maxEarlier bounds how often a host key can be rotated and still open all metadata before.
const maxEarlier = 64

// Identities are those that open metadata: the one that new metadata is sealed to first.
func (k *HostKey) Identities() []Identity { return append([]Identity{k.Metadata}, k.Earlier...) }

// Rotated makes the host key that follows k: new identity and signing key. It opens what k opens, and cuts and names chunks
// alike, so that deduplication goes on; with fresh that starts anew as well.
func (k *HostKey) Rotated(fresh bool) (*HostKey, error) {
	n, err := GenerateHostKey(k.Metadata.Class())
	if err != nil {
		return nil, err
	}
	if n.Earlier = k.Identities(); len(n.Earlier) > maxEarlier {
		return nil, fmt.Errorf("rotating the host key: %w: it was rotated %d times", ErrTooLarge, maxEarlier)
	}
	if !fresh {
		n.ChunkKey = k.ChunkKey
	}
	n.Repository, n.Descriptors, n.Newest = k.Repository, slices.Clone(k.Descriptors), k.Newest
	return n, nil
}

// GenerateHostKey makes a new random host key whose metadata identity has the given class, which must be that of the
// repository's restore keys.
func GenerateHostKey(c Class) (*HostKey, error) {
	id, err := GenerateIdentity(c)
	if err != nil {
		return nil, err
	}
	k := &HostKey{Metadata: id}
	if _, err := rand.Read(k.ChunkKey[:]); err != nil {
		return nil, fmt.Errorf("generating a chunk key: %w", err)
	}
	if _, k.Signing, err = ed25519.GenerateKey(rand.Reader); err != nil {
		return nil, fmt.Errorf("generating a signing key: %w", err)
	}
	return k, nil
}

// Public is the public half of the signing key, which verifies what this host signed.
func (k *HostKey) Public() ed25519.PublicKey {
	if len(k.Signing) != ed25519.PrivateKeySize {
		return nil
	}
	pub, _ := k.Signing.Public().(ed25519.PublicKey)
	return pub
}

// Equal tells whether two host keys hold the same secrets, in constant time.
func (k *HostKey) Equal(o *HostKey) bool {
	if k == nil || o == nil {
		return k == o
	}
	same := subtle.ConstantTimeCompare([]byte(k.Metadata.Secret()), []byte(o.Metadata.Secret()))
	same &= subtle.ConstantTimeCompare(k.ChunkKey[:], o.ChunkKey[:])
	same &= subtle.ConstantTimeCompare(k.Signing, o.Signing)
	if len(k.Earlier) != len(o.Earlier) {
		return false
	}
	for i := range k.Earlier {
		same &= subtle.ConstantTimeCompare([]byte(k.Earlier[i].Secret()), []byte(o.Earlier[i].Secret()))
	}
	return same == 1
}

// MarshalText is the secret text form, four lines each ended by a line feed:
//
//	holdfast-host-key-1
//	metadata AGE-SECRET-KEY-…
//	chunk-id <32 bytes, standard base64 with padding>
//	signing <the 32-byte Ed25519 seed, the same>
//
// and a line "earlier AGE-SECRET-KEY-…" for every metadata identity before the last rotations, the newest first. Where the
// repository is pinned a line "repository <SHA-256 of its first descriptor, in hexadecimal>" follows, and a line "descriptor
// <the same of another>" for each that is known, and a line "newest <number> <the same>" for the newest that a vault has shown.
//
// It is what the host key file holds (with comments). Its [HostKey.Secrets] are sealed to the restore keys in the vault.
func (k *HostKey) MarshalText() ([]byte, error) {
	if k.Metadata.IsZero() || len(k.Signing) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("host key: %w: it is not complete", ErrMalformed)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s%d\nmetadata %s\nchunk-id %s\nsigning %s\n", hostKeyPrefix, hostKeyVersion, k.Metadata.Secret(),
		base64.StdEncoding.EncodeToString(k.ChunkKey[:]), base64.StdEncoding.EncodeToString(k.Signing.Seed()))
	for _, id := range k.Earlier {
		fmt.Fprintf(&b, "earlier %s\n", id.Secret())
	}
	if k.Repository != [32]byte{} {
		fmt.Fprintf(&b, "repository %x\n", k.Repository)
	}
	for _, d := range k.Descriptors {
		fmt.Fprintf(&b, "descriptor %x\n", d)
	}
	if !k.Newest.IsZero() {
		fmt.Fprintf(&b, "newest %d %x\n", k.Newest.Number, k.Newest.Sum)
	}
	return b.Bytes(), nil
}

// ParseHostKey reads what [HostKey.MarshalText] writes. Lines starting with "#" after the first are passed over; apart from
// them there is one spelling, and anything else is refused ([ErrMalformed]; [ErrNewer] for a later version's).
func ParseHostKey(text []byte) (*HostKey, error) {
	if len(text) > maxHostKey {
		return nil, fmt.Errorf("host key: %w: at most %d bytes", ErrTooLarge, maxHostKey)
	}
	if err := checkHostKeyVersion(text); err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	var plain []byte
	var lines []string
	for line := range bytes.Lines(text) {
		if len(plain) > 0 && line[0] == '#' {
			continue
		}
		plain = append(plain, line...)
		lines = append(lines, strings.TrimSuffix(string(line), "\n"))
	}
	if len(lines) < 4 || len(lines) > 4+maxEarlier+1+maxKnown+1 {
		return nil, fmt.Errorf("host key: %w: it has %d lines where the version, metadata, chunk-id and signing are expected", ErrMalformed, len(lines))
	}
	k, err := parseHostKeyLines(lines[1:])
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	// One spelling: what does not come out as it went in is refused, whatever the reason.
	again, err := k.MarshalText()
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(again, plain) != 1 {
		return nil, fmt.Errorf("host key: %w: it is not spelled as it was written (line ends, spaces or base64)", ErrMalformed)
	}
	return k, nil
}

// checkHostKeyVersion looks at the first line alone, so that a later version's file is named as such whatever follows.
func checkHostKeyVersion(text []byte) error {
	first, _, _ := strings.Cut(string(text[:min(len(text), len(hostKeyPrefix)+20)]), "\n")
	number, ok := strings.CutPrefix(first, hostKeyPrefix)
	if !ok {
		if strings.HasPrefix(first, "AGE-SECRET-KEY-") || strings.HasPrefix(first, "# created:") {
			return fmt.Errorf("%w: this is an age identity (a restore key), not a host key", ErrMalformed)
		}
		return fmt.Errorf("%w: the first line is not %s%d", ErrMalformed, hostKeyPrefix, hostKeyVersion)
	}
	v, err := strconv.ParseUint(number, 10, 32)
	if err != nil || v == 0 || strconv.FormatUint(v, 10) != number {
		return fmt.Errorf("%w: the first line is not %s%d", ErrMalformed, hostKeyPrefix, hostKeyVersion)
	}
	if v > hostKeyVersion {
		return fmt.Errorf("%w: it has version %d, this program knows %d; use a newer Holdfast", ErrNewer, v, hostKeyVersion)
	}
	return nil
}

// parseHostKeyLines reads the three fields, in their order.
func parseHostKeyLines(lines []string) (*HostKey, error) {
	var values [3]string
	for i, name := range []string{"metadata ", "chunk-id ", "signing "} {
		v, ok := strings.CutPrefix(lines[i], name)
		if !ok {
			return nil, fmt.Errorf("%w: line %q is missing or out of order", ErrMalformed, strings.TrimSpace(name))
		}
		values[i] = v
	}
	id, err := ParseIdentity(values[0])
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	k := &HostKey{Metadata: id}
	if k.ChunkKey, err = secret32(values[1]); err != nil {
		return nil, fmt.Errorf("chunk-id: %w", err)
	}
	seed, err := secret32(values[2])
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	k.Signing = ed25519.NewKeyFromSeed(seed[:])
	for _, l := range lines[3:] {
		if err := k.parseMore(l); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// parseMore reads a line behind the three fields. That they stand in their order is seen when the key is spelled again.
func (k *HostKey) parseMore(line string) error {
	name, v, _ := strings.Cut(line, " ")
	switch name {
	case "earlier":
		before, err := ParseIdentity(v)
		if err != nil {
			return fmt.Errorf("earlier: %w", err)
		}
		k.Earlier = append(k.Earlier, before)
		return nil
	case "repository", "descriptor":
		sum, err := sumOf(name, v)
		if name == "repository" {
			k.Repository = sum
		} else {
			k.Descriptors = append(k.Descriptors, sum)
		}
		return err
	case "newest":
		number, digits, _ := strings.Cut(v, " ")
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil {
			return fmt.Errorf("newest: %w: a number and 64 hexadecimal digits are expected", ErrMalformed)
		}
		k.Newest.Number = int(n)
		k.Newest.Sum, err = sumOf(name, digits)
		return err
	}
	return fmt.Errorf("%w: a line behind signing that is neither earlier, repository, descriptor nor newest", ErrMalformed)
}

// sumOf reads the hexadecimal digits of a SHA-256.
func sumOf(name, digits string) (sum [32]byte, err error) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(sum) {
		return sum, fmt.Errorf("%s: %w: 64 hexadecimal digits are expected", name, ErrMalformed)
	}
	copy(sum[:], b)
	return sum, nil
}

// secret32 decodes 32 bytes of base64. The decoder's own error would quote the input, so it is not passed on.
func secret32(s string) (out [32]byte, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(out) {
		return out, fmt.Errorf("%w: 32 bytes in standard base64 are expected", ErrMalformed)
	}
	copy(out[:], b)
	if out == [32]byte{} {
		return out, fmt.Errorf("%w: it is all zeros", ErrMalformed)
	}
	return out, nil
}

const hostKeyComment = "# The host key of a Holdfast job. It opens names and metadata, never content. A copy sealed to the restore\n" +
	"# keys lies in the vault: if this file is lost, run holdfast key recover.\n"

// ReadHostKeyFile reads a host key file under the rules of [ReadSecretFile].
func ReadHostKeyFile(path string) (*HostKey, error) {
	text, err := ReadSecretFile(path, maxHostKey)
	if err != nil {
		return nil, fmt.Errorf("reading the host key file %s: %w", path, err)
	}
	k, err := ParseHostKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading the host key file %s: %w", path, err)
	}
	return k, nil
}

// WriteHostKeyFile writes a host key file: mode 0600, never over an existing file, synced to the disk, and removed again if
// it could not be written whole.
func WriteHostKeyFile(path string, k *HostKey) error {
	content, err := k.file()
	if err != nil {
		return fmt.Errorf("writing the host key file %s: %w", path, err)
	}
	if err := writeSecretFile(path, content); err != nil {
		return fmt.Errorf("writing the host key file: %w", err)
	}
	return nil
}

func (k *HostKey) file() ([]byte, error) {
	text, err := k.MarshalText()
	version, fields, _ := bytes.Cut(text, []byte("\n"))
	return bytes.Join([][]byte{version, append([]byte(hostKeyComment), fields...)}, []byte("\n")), err
}

// PinHostKeyFile notes in a host key file what is known of its repository, as another host key has it. The secrets in it stay as they are: the file is
// replaced, in one step, by one with the same key. Where nothing is new, nothing is written.
func PinHostKeyFile(path string, known *HostKey) error {
	k, err := ReadHostKeyFile(path)
	if err != nil {
		return err
	}
	was, err := k.MarshalText()
	if err != nil {
		return err
	}
	k.Pin(known.Repository, known.Descriptors...)
	if !known.Newest.IsZero() {
		k.PinNewest(known.Newest)
	}
	if now, err := k.MarshalText(); err != nil || bytes.Equal(now, was) {
		return err
	}
	content, err := k.file()
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return fmt.Errorf("pinning the repository in the host key file: %w", err)
	}
	beside := path + ".pin" // what one that was broken off has left is no key of its own
	if err := os.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pinning the repository in the host key file: %w", err)
	}
	if err := writeSecretFile(beside, content); err != nil {
		return fmt.Errorf("pinning the repository in the host key file: %w", err)
	}
	if err := os.Rename(beside, path); err != nil {
		return fmt.Errorf("pinning the repository in the host key file: %w", errors.Join(err, os.Remove(beside)))
	}
	return nil
}

// String names the host key by its public halves.
func (k HostKey) String() string {
	if len(k.Signing) != ed25519.PrivateKeySize {
		return "host key(none)"
	}
	return fmt.Sprintf("host key(%s, signing %x…)", k.Metadata.Class(), []byte(k.Public()[:6]))
}

// GoString is String.
func (k HostKey) GoString() string { return k.String() }

// Format writes String whatever the verb is.
func (k HostKey) Format(f fmt.State, verb rune) { writeRedacted(f, verb, k.String()) }

// LogValue is String, for slog.
func (k HostKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String: encoding/json would otherwise take the secret text form of a host key that lies in something.
func (k HostKey) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(k.String())), nil }
