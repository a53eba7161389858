package format

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
)

const (
	maxRecipients   = 64   // restore keys of one repository
	maxRecipientLen = 4096 // bytes of a public key's text
)

// EncodeDescriptor writes a descriptor; sign is given its first line, newline included. Format and Kind may be left empty.
func EncodeDescriptor(d *Descriptor, sign func(body []byte) []byte) ([]byte, error) {
	filled := *d
	filled.Format, filled.Kind = cmp.Or(d.Format, Version), cmp.Or(d.Kind, KindDescriptor)
	if err := filled.check(); err != nil {
		return nil, fmt.Errorf("encode descriptor: %w", err)
	}
	b, err := marshal(&filled)
	if err != nil {
		return nil, fmt.Errorf("encode descriptor: %w", err)
	}
	if b, err = appendSignature(b, sign); err != nil {
		return nil, fmt.Errorf("encode descriptor: %w", err)
	}
	if len(b) > MaxDescriptor {
		return nil, fmt.Errorf("encode descriptor: %d bytes: %w", len(b), ErrBounds)
	}
	return b, nil
}

// DecodeDescriptor reads a descriptor. Nothing in it is to be believed before the caller has verified signature over
// body with the right key.
func DecodeDescriptor(b []byte) (d *Descriptor, body, signature []byte, err error) {
	fail := func(err error) (*Descriptor, []byte, []byte, error) {
		return nil, nil, nil, fmt.Errorf("descriptor: %w", err)
	}
	if len(b) > MaxDescriptor {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	if err := checkHead(b, KindDescriptor); err != nil {
		return fail(err)
	}
	if body, signature, err = splitSignature(b); err != nil {
		return fail(err)
	}
	d = new(Descriptor)
	if err := unmarshal(body, d); err != nil {
		return fail(err)
	}
	if err := d.check(); err != nil {
		return fail(err)
	}
	return d, body, signature, nil
}

func (d *Descriptor) check() error {
	if err := checkKindOf(d.Format, d.Kind, KindDescriptor); err != nil {
		return err
	}
	if d.Number < 0 || d.Number > maxDescriptorNumber {
		return fmt.Errorf("number %d: %w", d.Number, ErrBounds)
	}
	if d.Repository.IsZero() || (d.Number == 0) != d.Previous.IsZero() {
		return fmt.Errorf("every descriptor but the first names the one before: %w", ErrMalformed)
	}
	if err := checkTime(d.Created); err != nil {
		return err
	}
	if d.Class != "hybrid" && d.Class != "x25519" {
		return fmt.Errorf("class %q: %w", clip([]byte(d.Class)), ErrMalformed)
	}
	if len(d.Recipients) == 0 || len(d.Recipients) > maxRecipients {
		return fmt.Errorf("%d recipients: %w", len(d.Recipients), ErrBounds)
	}
	for _, r := range d.Recipients {
		if !isPrintable(r) {
			return fmt.Errorf("recipient: %w", ErrMalformed)
		}
	}
	if !isPrintable(d.Metadata) || len(d.SigningKey) != ed25519.PublicKeySize {
		return fmt.Errorf("public keys: %w", ErrMalformed)
	}
	if d.HostKeyLen < 1 || d.HostKeyLen > MaxHostKeyCopy {
		return fmt.Errorf("host key of %d bytes: %w", d.HostKeyLen, ErrBounds)
	}
	if err := nameUnder(d.HostKey, PrefixKeys); err != nil {
		return err
	}
	if d.Number == 0 && (d.FreshStart || !d.DistrustAfter.IsZero()) {
		return fmt.Errorf("the first descriptor has none before it: %w", ErrMalformed)
	}
	if err := checkTime(d.DistrustAfter); err != nil {
		return err
	}
	return d.Parameters.check()
}

func (p *Parameters) check() error {
	if !isPrintable(p.Chunker) || len(p.Chunker) > maxName {
		return fmt.Errorf("chunker: %w", ErrMalformed)
	}
	if p.MinChunk < 1 || p.AvgChunk < p.MinChunk || p.MaxChunk < p.AvgChunk || p.MaxChunk > MaxFrame {
		return fmt.Errorf("chunks of %d, %d, %d bytes: %w", p.MinChunk, p.AvgChunk, p.MaxChunk, ErrBounds)
	}
	if p.LeafKeys < 1 || p.LeafKeys > MaxPageLines/4 || p.Fanout < 2 || p.Fanout > MaxPageLines/4 {
		return fmt.Errorf("%d keys a leaf, fan-out %d: %w", p.LeafKeys, p.Fanout, ErrBounds)
	}
	return nil
}

// isPrintable holds text that this program writes itself to ASCII that needs no escape in JSON.
func isPrintable(s string) bool {
	if s == "" || len(s) > maxRecipientLen {
		return false
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
