package keys

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"filippo.io/age"
)

// Identity is a private age key: a restore key, or the metadata key of a host. It prints as its class and a stretch of
// its public half, however it is printed. The zero value is no identity.
type Identity struct {
	// Behind a function, which fmt can only print as an address: where an identity lies in an unexported field of something
	// that is printed, its own Format is not asked, and a pointer is followed for verbs such as %s.
	reveal func() *identity
}

type identity struct {
	secret    string
	recipient Recipient
	age       age.Identity
}

// GenerateIdentity makes a new random identity.
func GenerateIdentity(c Class) (Identity, error) {
	switch c {
	case Hybrid:
		k, err := age.GenerateHybridIdentity()
		if err != nil {
			return Identity{}, fmt.Errorf("generating a %s key: %w", c, err)
		}
		return hybridIdentity(k), nil
	case X25519:
		k, err := age.GenerateX25519Identity()
		if err != nil {
			return Identity{}, fmt.Errorf("generating an %s key: %w", c, err)
		}
		return x25519Identity(k), nil
	default:
		return Identity{}, fmt.Errorf("generating a key: unknown class %q (known: %s, %s)", string(c), Hybrid, X25519)
	}
}

// ParseIdentity reads the secret text form, "AGE-SECRET-KEY-PQ-1…" or "AGE-SECRET-KEY-1…". Errors never hold any of it.
func ParseIdentity(s string) (Identity, error) {
	// The library's own errors may quote characters of the key: they are not passed on.
	switch {
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		k, err := age.ParseHybridIdentity(s)
		if err != nil || k.String() != s {
			return Identity{}, fmt.Errorf("%w: the characters of this post-quantum secret key do not check; copy it again whole", ErrMalformed)
		}
		return hybridIdentity(k), nil
	case strings.HasPrefix(s, "AGE-SECRET-KEY-1"):
		k, err := age.ParseX25519Identity(s)
		if err != nil || k.String() != s {
			return Identity{}, fmt.Errorf("%w: the characters of this secret key do not check; copy it again whole", ErrMalformed)
		}
		return x25519Identity(k), nil
	default:
		return Identity{}, fmt.Errorf("%w: %s", ErrMalformed, notAnIdentity(s))
	}
}

// notAnIdentity says what a text is instead of an identity, from its kind alone.
func notAnIdentity(s string) string {
	switch {
	case strings.HasPrefix(s, "age1"):
		return "this is a public recipient; the secret key starts with AGE-SECRET-KEY-"
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		return "plugin identities are not supported here"
	case strings.HasPrefix(s, "age-encryption.org/"), strings.HasPrefix(s, "-----BEGIN AGE"):
		return "this is an encrypted file; open it first with `age -d`"
	case strings.HasPrefix(s, hostKeyPrefix):
		return "this is a host key, not a restore key"
	case strings.HasPrefix(s, "-----BEGIN "):
		return "SSH and PEM keys are not supported; make a key with `holdfast keygen`"
	default:
		return "a secret key starts with AGE-SECRET-KEY-PQ-1 or AGE-SECRET-KEY-1"
	}
}

func newIdentity(i *identity) Identity { return Identity{func() *identity { return i }} }

func hybridIdentity(k *age.HybridIdentity) Identity {
	pub := k.Recipient()
	return newIdentity(&identity{secret: k.String(), recipient: Recipient{text: pub.String(), class: Hybrid, age: pub}, age: k})
}

func x25519Identity(k *age.X25519Identity) Identity {
	pub := k.Recipient()
	return newIdentity(&identity{secret: k.String(), recipient: Recipient{text: pub.String(), class: X25519, age: pub}, age: k})
}

// IsZero tells whether this is the zero value, no identity.
func (i Identity) IsZero() bool { return i.reveal == nil }

// Recipient is the public half; the zero Recipient for the zero value.
func (i Identity) Recipient() Recipient {
	if i.reveal == nil {
		return Recipient{}
	}
	return i.reveal().recipient
}

// Class tells the cryptography of the key.
func (i Identity) Class() Class { return i.Recipient().class }

// Age gives the identity in the form the age library takes; nil for the zero value. The library's own String prints the
// secret: do not print what this returns.
func (i Identity) Age() age.Identity {
	if i.reveal == nil {
		return nil
	}
	return i.reveal().age
}

// Secret is the secret text form, for a key file or for paper; ParseIdentity reads it back.
func (i Identity) Secret() string {
	if i.reveal == nil {
		return ""
	}
	return i.reveal().secret
}

// String names the identity without its secret.
func (i Identity) String() string {
	if i.reveal == nil {
		return "identity(none)"
	}
	r := i.reveal().recipient
	const shown = len("age1pq1") + 12
	return fmt.Sprintf("identity(%s, %s…)", r.class, r.text[:shown])
}

// GoString is String: %#v shows no secret either.
func (i Identity) GoString() string { return i.String() }

// Format writes String whatever the verb is.
func (i Identity) Format(f fmt.State, verb rune) { writeRedacted(f, verb, i.String()) }

// LogValue is String, for slog.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalText is String, so that an encoder that finds an identity inside something writes no secret.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

func writeRedacted(f fmt.State, verb rune, s string) {
	if verb == 'q' {
		s = fmt.Sprintf("%q", s)
	}
	// A failed write to a formatter's state has nowhere to go.
	_, _ = f.Write([]byte(s))
}

// MarshalIdentity is the text of an identity file: comment lines (when it was made, the public key), the secret, and the public
// key's short form. age and age-keygen read it as their own.
func MarshalIdentity(id Identity, created time.Time) []byte {
	var b bytes.Buffer
	public := id.Recipient().String()
	fmt.Fprintf(&b, "# created: %s\n# public key: %s\n%s\n# short form: %s\n", created.UTC().Format(time.RFC3339), public, id.Secret(), ShortForm(public))
	return b.Bytes()
}

// maxIdentityFile bounds an identity file. A hybrid identity with its comments is about 2.2 KB.
const maxIdentityFile = 1 << 20

// ParseIdentities reads the content of a file in age's identity format: one secret key a line, blank lines and lines starting with "#"
// passed over. There is at least one key, and at most 1 MiB of text. It gives the keys in the file's order.
func ParseIdentities(text []byte) ([]Identity, error) {
	if len(text) > maxIdentityFile {
		return nil, fmt.Errorf("%w: at most %d bytes", ErrTooLarge, maxIdentityFile)
	}
	var ids []Identity
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		id, err := ParseIdentity(s)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: it holds no secret key", ErrEmpty)
	}
	return ids, nil
}

// WriteIdentityFile writes an identity file: mode 0600, never over an existing file, synced to the disk, and removed
// again if it could not be written whole.
func WriteIdentityFile(path string, id Identity, created time.Time) error {
	if id.IsZero() {
		return fmt.Errorf("writing the key file %s: no identity given", path)
	}
	if err := writeSecretFile(path, MarshalIdentity(id, created)); err != nil {
		return fmt.Errorf("writing the key file: %w", err)
	}
	return nil
}
