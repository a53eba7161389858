package format

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"fmt"
	"slices"
	"time"
)

const (
	maxRecipients   = 64   // restore keys of one repository
	maxRecipientLen = 4096 // bytes of a public key's text
	maxMetadata     = 16   // metadata recipients
	maxKeys         = 64   // signing keys of one descriptor
	maxKeyLen       = 4096 // bytes of a public signing key
	maxKeySources   = 64   // sources that one job key may be limited to

	maxLongest = 200 * 366 * 24 * 60 * 60 // seconds that a point may be kept
)

// LongestKept is the longest that any repository may keep a point.
const LongestKept = maxLongest * time.Second

// descriptorHead is the first line of a descriptor, the same in every version of the format: which keys sign, and where it
// stands in the chain. Members and their order never change.
type descriptorHead struct {
	Format     string   `json:"format"`
	Kind       string   `json:"kind"`
	Requires   []string `json:"requires,omitempty"`
	Repository Hash     `json:"repository"`
	Number     int      `json:"number"`
	Previous   Hash     `json:"previous,omitzero"`
	Created    Time     `json:"created"`
	Keys       []Key    `json:"keys"`
	Ext        Ext      `json:"ext,omitzero"`
}

// descriptorBody is the second line, this version's own.
type descriptorBody struct {
	Class         string     `json:"class"`
	Recipients    []string   `json:"recipients"`
	Metadata      []string   `json:"metadata"`
	HostKey       string     `json:"host_key"`
	HostKeyLen    int64      `json:"host_key_len"`
	Parameters    Parameters `json:"parameters"`
	DistrustAfter Time       `json:"distrust_after,omitzero"`
	Vouched       *PageRef   `json:"vouched,omitempty"`
	FreshStart    bool       `json:"fresh_start,omitempty"`
	Ext           Ext        `json:"ext,omitzero"`
}

// EncodeDescriptor writes a descriptor; sign is given its first two lines, newlines included. Format and Kind may be left
// empty.
func EncodeDescriptor(d *Descriptor, sign func(body []byte) []byte) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("encode descriptor: %w", err) }
	filled := *d
	filled.Format, filled.Kind = cmp.Or(d.Format, Version), cmp.Or(d.Kind, KindDescriptor)
	if err := cmp.Or(knownVersion(filled.Format, filled.Requires), filled.checkHead(), filled.checkBody()); err != nil {
		return fail(err)
	}
	b, err := marshal(&descriptorHead{
		filled.Format, filled.Kind, filled.Requires, filled.Repository, filled.Number, filled.Previous, filled.Created, filled.Keys, filled.Ext,
	})
	if err != nil {
		return fail(err)
	}
	body, err := marshal(&descriptorBody{
		d.Class, d.Recipients, d.Metadata, d.HostKey, d.HostKeyLen, d.Parameters, d.DistrustAfter, d.Vouched, d.FreshStart, d.BodyExt,
	})
	if err != nil {
		return fail(err)
	}
	if b, err = appendSignature(append(b, body...), sign); err != nil {
		return fail(err)
	}
	if len(b) > MaxDescriptor {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	return b, nil
}

// DecodeDescriptor reads a descriptor. Nothing in it is to be believed before the caller has verified signature over signed,
// its first two lines, with the right key. Of one that a later version wrote, or that requires a feature this version does not
// know, it gives what stands in the head, together with ErrNewer.
func DecodeDescriptor(b []byte) (d *Descriptor, signed, signature []byte, err error) {
	fail := func(err error) (*Descriptor, []byte, []byte, error) {
		return nil, nil, nil, fmt.Errorf("descriptor: %w", err)
	}
	if len(b) > MaxDescriptor {
		return fail(fmt.Errorf("%d bytes: %w", len(b), ErrBounds))
	}
	if bytes.HasPrefix(b, []byte(`{"format":"`+draft+`"`)) {
		return fail(ErrDraft)
	}
	first, _ := cutLine(b)
	h := new(descriptorHead)
	if err := unmarshal(first, h); err != nil {
		return fail(err)
	}
	d = &Descriptor{
		Format: h.Format, Kind: h.Kind, Requires: h.Requires, Repository: h.Repository, Number: h.Number, Previous: h.Previous, Created: h.Created,
		Keys: h.Keys, Ext: h.Ext,
	}
	if err := d.checkHead(); err != nil {
		return fail(err)
	}
	if err := knownVersion(h.Format, h.Requires); err != nil {
		return d, nil, nil, fmt.Errorf("descriptor: %w", err)
	}
	if signed, signature, err = splitSignature(b); err != nil {
		return fail(err)
	}
	if len(signed) <= len(first) {
		return fail(fmt.Errorf("a head without a body: %w", ErrMalformed))
	}
	o := new(descriptorBody)
	if err := unmarshal(signed[len(first):], o); err != nil {
		return fail(err)
	}
	d.Class, d.Recipients, d.Metadata, d.HostKey, d.HostKeyLen = o.Class, o.Recipients, o.Metadata, o.HostKey, o.HostKeyLen
	d.Parameters, d.DistrustAfter, d.Vouched, d.FreshStart, d.BodyExt = o.Parameters, o.DistrustAfter, o.Vouched, o.FreshStart, o.Ext
	if err := d.checkBody(); err != nil {
		return fail(err)
	}
	return d, signed, signature, nil
}

// checkHead checks what stands in the head of any version.
func (d *Descriptor) checkHead() error {
	if d.Kind != KindDescriptor {
		return fmt.Errorf("kind %q instead of %q: %w", clip([]byte(d.Kind)), KindDescriptor, ErrMalformed)
	}
	if err := checkVersion(d.Format, d.Requires); err != nil {
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
	return d.checkKeys()
}

func (d *Descriptor) checkKeys() error {
	if len(d.Keys) > maxKeys {
		return fmt.Errorf("%d keys: %w", len(d.Keys), ErrBounds)
	}
	jobs := false
	for i := range d.Keys {
		k := &d.Keys[i]
		if err := k.check(); err != nil {
			return fmt.Errorf("key %d: %w", i+1, err)
		}
		if slices.ContainsFunc(d.Keys[:i], func(o Key) bool { return bytes.Equal(o.Key, k.Key) }) {
			return fmt.Errorf("key %d stands there twice: %w", i+1, ErrMalformed)
		}
		jobs = jobs || k.Use == UseJob
	}
	if !jobs {
		return fmt.Errorf("no job key: %w", ErrMalformed)
	}
	return nil
}

func (k *Key) check() error {
	if !ValidName(k.Use) || !ValidName(k.Alg) {
		return fmt.Errorf("use %q, algorithm %q: %w", clip([]byte(k.Use)), clip([]byte(k.Alg)), ErrMalformed)
	}
	if len(k.Key) == 0 || len(k.Key) > maxKeyLen || k.Alg == AlgEd25519 && len(k.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("%d bytes: %w", len(k.Key), ErrBounds)
	}
	if k.Name != "" && !ValidName(k.Name) || k.Role != "" && !ValidName(k.Role) || k.Use == UseReporter && k.Name == "" {
		return fmt.Errorf("name %q, role %q: %w", clip([]byte(k.Name)), clip([]byte(k.Role)), ErrMalformed)
	}
	if len(k.Sources) > maxKeySources {
		return fmt.Errorf("%d sources: %w", len(k.Sources), ErrBounds)
	}
	for i, s := range k.Sources {
		if !ValidName(s) || i > 0 && k.Sources[i-1] >= s {
			return fmt.Errorf("source %q: %w", clip([]byte(s)), ErrMalformed)
		}
	}
	return nil
}

// checkBody checks what this version says of a repository beside the head.
func (d *Descriptor) checkBody() error {
	if d.Class != "hybrid" && d.Class != "x25519" {
		return fmt.Errorf("class %q: %w", clip([]byte(d.Class)), ErrMalformed)
	}
	if d.Number == 0 && !slices.Contains(algsOf(d.Keys, UseJob)[:1], AlgEd25519) {
		return fmt.Errorf("the first job key signs the first descriptor, and is not of this version: %w", ErrMalformed)
	}
	if err := checkRecipients(d.Recipients, maxRecipients); err != nil {
		return fmt.Errorf("recipients: %w", err)
	}
	if err := checkRecipients(d.Metadata, maxMetadata); err != nil {
		return fmt.Errorf("metadata recipients: %w", err)
	}
	if d.HostKeyLen < 1 || d.HostKeyLen > MaxHostKeyCopy {
		return fmt.Errorf("host key of %d bytes: %w", d.HostKeyLen, ErrBounds)
	}
	if err := nameUnder(d.HostKey, PrefixKeys); err != nil {
		return err
	}
	if d.Number == 0 && (d.FreshStart || !d.DistrustAfter.IsZero() || d.Vouched != nil) {
		return fmt.Errorf("the first descriptor has none before it: %w", ErrMalformed)
	}
	if d.Vouched != nil {
		if err := cmp.Or(d.Vouched.check(), nameUnder(d.Vouched.Object, PrefixNeeds)); err != nil || d.Vouched.Entries == 0 {
			return fmt.Errorf("vouched points: %w", cmp.Or(err, ErrMalformed))
		}
	}
	if err := checkTime(d.DistrustAfter); err != nil {
		return err
	}
	return d.Parameters.check()
}

func algsOf(list []Key, use string) (algs []string) {
	for _, k := range list {
		if k.Use == use {
			algs = append(algs, k.Alg)
		}
	}
	return algs
}

func checkRecipients(list []string, most int) error {
	if len(list) == 0 || len(list) > most {
		return fmt.Errorf("%d of them: %w", len(list), ErrBounds)
	}
	for _, r := range list {
		if !isPrintable(r) {
			return ErrMalformed
		}
	}
	return nil
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
	if p.Longest < 1 || p.Longest > maxLongest {
		return fmt.Errorf("points that are kept for %d seconds: %w", p.Longest, ErrBounds)
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
