package keys

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

const (
	reporterKeyHead = "holdfast-reporter-key-1"
	maxReporterKey  = 4 << 10 // bytes of a reporter's key file; one is about 150
	maxReporterName = 40
)

// ReporterKey signs records, and nothing else: it opens nothing, signs no points and changes no keys. The descriptor names
// its public half, the reporter and the role. It prints as its public half.
type ReporterKey struct {
	Name    string // of the reporter: 1 to 40 of a-z 0-9 - _
	Role    string // what the reporter is: job, auditor, ..; of the same form
	Signing ed25519.PrivateKey
}

// GenerateReporterKey makes a new random key for a reporter.
func GenerateReporterKey(name, role string) (*ReporterKey, error) {
	if !reporterName(name) || !reporterName(role) {
		return nil, fmt.Errorf("reporter %q, role %q: %w: names are 1 to %d lower-case letters, digits, - and _", name, role, ErrMalformed, maxReporterName)
	}
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a reporter's key: %w", err)
	}
	return &ReporterKey{Name: name, Role: role, Signing: signing}, nil
}

// Public is the public half.
func (k *ReporterKey) Public() ed25519.PublicKey {
	if len(k.Signing) != ed25519.PrivateKeySize {
		return nil
	}
	pub, _ := k.Signing.Public().(ed25519.PublicKey)
	return pub
}

// MarshalText is the secret text form, four lines each ended by a line feed:
//
//	holdfast-reporter-key-1
//	name NAME
//	role ROLE
//	signing <the 32-byte Ed25519 seed, standard base64 with padding>
func (k *ReporterKey) MarshalText() ([]byte, error) {
	if !reporterName(k.Name) || !reporterName(k.Role) || len(k.Signing) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("reporter's key: %w: it is not complete", ErrMalformed)
	}
	return fmt.Appendf(nil, "%s\nname %s\nrole %s\nsigning %s\n", reporterKeyHead, k.Name, k.Role, base64.StdEncoding.EncodeToString(k.Signing.Seed())), nil
}

// ParseReporterKey reads what [ReporterKey.MarshalText] writes. Lines starting with "#" are passed over; apart from them
// there is one spelling, and anything else is refused with [ErrMalformed].
func ParseReporterKey(text []byte) (*ReporterKey, error) {
	fail := func(why string) (*ReporterKey, error) {
		return nil, fmt.Errorf("reporter's key: %w: %s", ErrMalformed, why)
	}
	if len(text) > maxReporterKey {
		return nil, fmt.Errorf("reporter's key: %w: at most %d bytes", ErrTooLarge, maxReporterKey)
	}
	var plain []byte
	var values []string
	for line := range bytes.Lines(text) {
		if line[0] == '#' {
			continue
		}
		plain = append(plain, line...)
		values = append(values, strings.TrimSuffix(string(line), "\n"))
	}
	if len(values) != 4 || values[0] != reporterKeyHead {
		return fail("it does not have the four lines " + reporterKeyHead + ", name, role and signing")
	}
	for i, name := range []string{"name ", "role ", "signing "} {
		v, ok := strings.CutPrefix(values[i+1], name)
		if !ok {
			return fail("the line " + strings.TrimSpace(name) + " is missing or out of order")
		}
		values[i+1] = v
	}
	seed, err := secret32(values[3])
	if err != nil {
		return nil, fmt.Errorf("reporter's key: signing: %w", err)
	}
	k := &ReporterKey{Name: values[1], Role: values[2], Signing: ed25519.NewKeyFromSeed(seed[:])}
	again, err := k.MarshalText()
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(again, plain) != 1 {
		return fail("it is not spelled as it was written (line ends, spaces or base64)")
	}
	return k, nil
}

// ReadReporterKeyFile reads a reporter's key. The file must be readable by its owner only.
func ReadReporterKeyFile(path string) (*ReporterKey, error) {
	b, err := ReadSecretFile(path, maxReporterKey)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	k, err := ParseReporterKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// WriteReporterKeyFile creates path with mode 0600. It never overwrites.
func WriteReporterKeyFile(path string, k *ReporterKey) error {
	text, err := k.MarshalText()
	if err != nil {
		return err
	}
	defer clear(text)
	return writeSecretFile(path, text)
}

func reporterName(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxReporterName
}

// String gives the public half.
func (k ReporterKey) String() string {
	return "reporter " + k.Name + " (" + k.Role + ") " + base64.StdEncoding.EncodeToString(k.Public())
}

// GoString is String, so that %#v shows no secret.
func (k ReporterKey) GoString() string { return k.String() }

// Format is String for every verb.
func (k ReporterKey) Format(f fmt.State, verb rune) { writeRedacted(f, verb, k.String()) }

// LogValue is String.
func (k ReporterKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String.
func (k ReporterKey) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(k.String())), nil }
