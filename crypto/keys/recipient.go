package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"filippo.io/age"
)

// Recipient is the public half of an [Identity]: content can be sealed to it. The zero value is no recipient.
type Recipient struct {
	text  string
	class Class
	age   age.Recipient
}

// ParseRecipient reads the public text form of a recipient, "age1pq1…" or "age1…". There is one spelling: lower case,
// nothing around it.
func ParseRecipient(s string) (Recipient, error) {
	switch {
	case strings.HasPrefix(s, "age1pq1"):
		r, err := age.ParseHybridRecipient(s)
		if err != nil || r.String() != s {
			return Recipient{}, fmt.Errorf("recipient %s: %w: the characters do not check; copy it again whole", short(s), ErrMalformed)
		}
		return Recipient{text: s, class: Hybrid, age: r}, nil
	case strings.HasPrefix(s, "age1"):
		r, err := age.ParseX25519Recipient(s)
		if err != nil || r.String() != s {
			return Recipient{}, fmt.Errorf("recipient %s: %w: it is no age1pq1… or age1… key, or is cut short (plugin and tag recipients are not supported)",
				short(s), ErrMalformed)
		}
		return Recipient{text: s, class: X25519, age: r}, nil
	case strings.Contains(strings.ToUpper(s), "AGE-SECRET-KEY-"):
		// Never echoed: someone pasted a secret where a public key belongs.
		return Recipient{}, fmt.Errorf("%w: this is a secret key where its public half (age1…) belongs; take it out of here", ErrMalformed)
	default:
		return Recipient{}, fmt.Errorf("%w: a recipient starts with age1pq1 or age1", ErrMalformed)
	}
}

// ParseRecipients reads the recipients of a repository. It refuses an empty list ([ErrNoRecipients]), the same one twice
// ([ErrDuplicate]) and a mix of classes ([ErrMixedClasses]). The order is kept.
func ParseRecipients(texts []string) ([]Recipient, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: make a restore key with `holdfast keygen` and name its recipient", ErrNoRecipients)
	}
	out := make([]Recipient, 0, len(texts))
	seen := make(map[string]int, len(texts))
	for i, s := range texts {
		r, err := ParseRecipient(s)
		if err != nil {
			return nil, fmt.Errorf("recipient %d of %d: %w", i+1, len(texts), err)
		}
		if first, twice := seen[s]; twice {
			return nil, fmt.Errorf("recipient %d of %d: %w: it is also number %d", i+1, len(texts), ErrDuplicate, first+1)
		}
		seen[s] = i
		if r.class != firstClass(out, r) {
			return nil, fmt.Errorf("recipient %d of %d is %s and the first is %s: %w: make all with `holdfast keygen`, or all with `holdfast keygen --classic`",
				i+1, len(texts), r.class, out[0].class, ErrMixedClasses)
		}
		out = append(out, r)
	}
	return out, nil
}

func firstClass(have []Recipient, next Recipient) Class {
	if len(have) == 0 {
		return next.class
	}
	return have[0].class
}

// ShortForm is what people compare where a public key is too long for that, as post-quantum ones of 1,950 letters are: the first 16
// bytes of the SHA-256 of its text, in hexadecimal, in groups of four.
func ShortForm(public string) string {
	sum := sha256.Sum256([]byte(public))
	var groups []string
	for i := 0; i < 16; i += 2 {
		groups = append(groups, hex.EncodeToString(sum[i:i+2]))
	}
	return strings.Join(groups, " ")
}

// Brief names a public key in a message: its short form, and how it begins.
func Brief(public string) string { return fmt.Sprintf("%s (%.20s..)", ShortForm(public), public) }

// String is the public text form; ParseRecipient reads it back.
func (r Recipient) String() string { return r.text }

// Class tells the cryptography of the key.
func (r Recipient) Class() Class { return r.class }

// Age gives the recipient in the form the age library takes; nil for the zero value.
func (r Recipient) Age() age.Recipient { return r.age }

// Equal tells whether two recipients are the same key.
func (r Recipient) Equal(o Recipient) bool { return r.text == o.text }

// MarshalText is the public text form.
func (r Recipient) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText is ParseRecipient.
func (r *Recipient) UnmarshalText(text []byte) error {
	p, err := ParseRecipient(string(text))
	if err != nil {
		return err
	}
	*r = p
	return nil
}

// short cuts a public key for a message: a hybrid recipient is 1,959 characters long.
func short(s string) string {
	const keep = 20
	if len(s) <= keep {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q…", s[:keep])
}
