// Package format is the wire form of everything a repository holds: names, JSON lines, signatures' inputs, bounds.
//
// It turns Go values into bytes and back and does nothing else: no I/O, no keys, no clocks. Every decoder here is given
// bytes that an attacker may have written, so it bounds every size and count before it allocates, refuses what it does
// not know, and is fuzzed. docs/format.md specifies what this package does in words; the vectors in docs/vectors hold
// both to it. Nothing outside store/repo and its subpackages encodes or decodes these forms.
package format

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"time"
)

// Version is written into every self-describing object. Until it is 1 it may change with a CHANGELOG line.
const Version = "1-rc"

// draft is the version before the format was settled. Nothing reads it any more.
const draft = "1-draft"

// Bounds on what a reader accepts, checked before anything is allocated. A writer stays below them.
const (
	MaxFrame       = 8 << 20   // plain bytes of one zstd frame
	MaxPack        = 48 << 20  // sealed bytes of one pack, meta object, needs or placements object
	MaxLine        = 4 << 20   // bytes of one JSON line
	MaxPageLines   = 4096      // lines of one page
	MaxKey         = 64 << 10  // bytes of one key
	MaxEntryChunks = 256       // chunk references that stand in the entry itself; more go to extent pages
	MaxExtents     = 256       // extents that stand in the entry itself; more go to pages of level 1
	MaxInner       = 1024      // extents on a page of level 1
	MaxImage       = 128 << 40 // bytes of a disk image
	MaxUnread      = 1 << 10   // ranges of an image that could not be read
	MaxReason      = 1 << 10   // bytes of the reason of each
	MaxDescriptor  = 256 << 10 // bytes of a descriptor
	MaxCommit      = 64 << 10  // bytes of a commit object
	MaxHostKeyCopy = 64 << 10  // bytes of a sealed host key
	MaxLevel       = 8         // height of a page tree
	MaxPredecessor = 64        // predecessors one commit may name
)

// Errors of every decoder. They are wrapped with what was being decoded.
var (
	// ErrMalformed: not what the format says. In a vault that means damage or tampering.
	ErrMalformed = errors.New("malformed")
	// ErrNewer: written by a newer format version. The answer is a newer holdfast.
	ErrNewer = errors.New("written in a newer format version; use a newer holdfast")
	// ErrDraft: a descriptor of the version before this one.
	ErrDraft = errors.New("made by a version before the format was settled: restore from it with that version, and begin a new repository under another prefix")
	// ErrBounds: a size or count beyond what the format allows.
	ErrBounds = errors.New("size or count out of bounds")
)

// Hash is a SHA-256. Its text form is 64 lower-case hexadecimal digits and nothing else.
type Hash [32]byte

// String gives the text form.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText accepts exactly the text form.
func (h *Hash) UnmarshalText(b []byte) error {
	p, err := ParseHash(string(b))
	if err != nil {
		return err
	}
	*h = p
	return nil
}

// ParseHash parses the text form; upper case is refused so that a hash has one spelling.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 64 {
		return h, fmt.Errorf("hash of %d characters instead of 64: %w", len(s), ErrMalformed)
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return h, fmt.Errorf("hash is not lower-case hexadecimal: %w", ErrMalformed)
		}
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return h, fmt.Errorf("hash: %w", ErrMalformed)
	}
	return h, nil
}

// timeLayout is RFC 3339 in UTC with up to nanoseconds; trailing zeros are dropped.
const timeLayout = "2006-01-02T15:04:05.999999999Z"

// Time is a moment in UTC whose text form is RFC 3339 ending in Z.
type Time struct{ time.Time }

// AddSizes adds up sizes that are not negative. Sums beyond 2^63-1 are 2^63-1: files of holes can have any size, and anybody
// can make many.
func AddSizes(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// At gives t as a Time in UTC.
func At(t time.Time) Time { return Time{t.UTC().Round(0)} }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.UTC().Format(timeLayout)), nil }

// MarshalJSON overrides time.Time's own.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalText accepts exactly the text form.
func (t *Time) UnmarshalText(b []byte) error {
	p, err := time.Parse(timeLayout, string(b))
	if err != nil || p.Format(timeLayout) != string(b) {
		return fmt.Errorf("time %q: %w", clip(b), ErrMalformed)
	}
	t.Time = p.UTC()
	return nil
}

// UnmarshalJSON overrides time.Time's own.
func (t *Time) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %q: %w", clip(b), ErrMalformed)
	}
	return t.UnmarshalText(b[1 : len(b)-1])
}

// clip keeps untrusted bytes in messages short.
func clip(b []byte) []byte {
	if len(b) > 64 {
		return b[:64]
	}
	return b
}
