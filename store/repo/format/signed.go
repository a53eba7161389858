package format

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrSignature: a signed object whose signature does not verify. In a vault that is tampering, or a stranger's object.
var ErrSignature = errors.New("signature does not verify")

// Kinds of self-describing objects, their second member.
const (
	KindDescriptor = "descriptor"
	KindPoint      = "point"
	KindIndex      = "index"
	KindPlacements = "placements"
)

const (
	signatureStart = `{"signature":"`
	signatureEnd   = "\"}\n"
)

// marshal writes a value as one line: members in the order of the struct, no HTML escapes.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// unmarshal reads what marshal wrote and refuses any other spelling of it.
func unmarshal(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		for _, ours := range []error{ErrMalformed, ErrBounds, ErrNewer} {
			if errors.Is(err, ours) {
				return err
			}
		}
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	again, err := marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("not in the one spelling of this format: %w", ErrMalformed)
	}
	return nil
}

// checkHead looks at the members every version of every self-describing object begins with, before anything else.
func checkHead(b []byte, kind string) error {
	rest, ok := bytes.CutPrefix(b, []byte(`{"format":"`))
	if !ok {
		return fmt.Errorf("does not begin with a format version: %w", ErrMalformed)
	}
	version, rest, ok := bytes.Cut(rest[:min(len(rest), 64)], []byte{'"'})
	if !ok {
		return fmt.Errorf("format version: %w", ErrMalformed)
	}
	if err := checkVersion(string(version), nil); err != nil {
		return err // no version has such a name, so nothing newer wrote it
	}
	if string(version) != Version {
		return fmt.Errorf("format version %q: %w", version, ErrNewer)
	}
	if !bytes.HasPrefix(rest, []byte(`,"kind":"`+kind+`"`)) {
		return fmt.Errorf("not a %s: %w", kind, ErrMalformed)
	}
	return nil
}

// Bounds on what a head says of its version.
const (
	maxVersion  = 16 // bytes of a format version
	maxRequires = 16 // features an object may require
)

// checkVersion holds version and features to the forms that every version keeps to.
func checkVersion(version string, requires []string) error {
	if version == "" || len(version) > maxVersion {
		return fmt.Errorf("format version of %d bytes: %w", len(version), ErrMalformed)
	}
	for _, c := range []byte(version) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("format version %q: %w", clip([]byte(version)), ErrMalformed)
		}
	}
	if len(requires) > maxRequires {
		return fmt.Errorf("%d features: %w", len(requires), ErrBounds)
	}
	for i, f := range requires {
		if !ValidName(f) || strings.Contains(f, "_") || i > 0 && requires[i-1] >= f {
			return fmt.Errorf("feature %q: %w", clip([]byte(f)), ErrMalformed)
		}
	}
	return nil
}

// knownVersion refuses what this version of the format does not know. It knows no features.
func knownVersion(version string, requires []string) error {
	if version != Version {
		return fmt.Errorf("format version %q: %w", clip([]byte(version)), ErrNewer)
	}
	if len(requires) > 0 {
		return fmt.Errorf("it requires %q: %w", requires, ErrNewer)
	}
	return nil
}

// appendSignature closes a signed object.
func appendSignature(body []byte, sign func([]byte) []byte) ([]byte, error) {
	sig := sign(body)
	if len(sig) != signatureSize {
		return nil, fmt.Errorf("signature of %d bytes: %w", len(sig), ErrSignature)
	}
	b := append(body, signatureStart...)
	b = base64.StdEncoding.AppendEncode(b, sig)
	return append(b, signatureEnd...), nil
}

// splitSignature takes the last line off a signed object.
func splitSignature(b []byte) (body, sig []byte, err error) {
	n := len(signatureStart) + base64.StdEncoding.EncodedLen(signatureSize) + len(signatureEnd)
	if len(b) <= n || b[len(b)-n-1] != '\n' {
		return nil, nil, fmt.Errorf("no signature line: %w", ErrMalformed)
	}
	body, line := b[:len(b)-n], b[len(b)-n:]
	text, ok := bytes.CutPrefix(line, []byte(signatureStart))
	if !ok {
		return nil, nil, fmt.Errorf("no signature line: %w", ErrMalformed)
	}
	text, ok = bytes.CutSuffix(text, []byte(signatureEnd))
	if !ok {
		return nil, nil, fmt.Errorf("no signature line: %w", ErrMalformed)
	}
	s := members{scanner{b: line, pos: len(signatureStart) - 1}}
	sig = s.base64()
	if s.err != nil || len(sig) != signatureSize || len(text) == 0 {
		return nil, nil, fmt.Errorf("signature line: %w", ErrMalformed)
	}
	return body, sig, nil
}

func checkKindOf(version, kind, want string) error {
	if version != Version {
		return fmt.Errorf("format version %q: %w", clip([]byte(version)), ErrNewer)
	}
	if kind != want {
		return fmt.Errorf("kind %q instead of %q: %w", clip([]byte(kind)), want, ErrMalformed)
	}
	return nil
}
