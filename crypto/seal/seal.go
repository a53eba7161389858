// Package seal turns bytes into plain age v1 files and back, as a stream or at random.
//
// Nothing home-made stands in a sealed file: `age -d` opens it. Three ways lead back to the plain bytes: [Open] for a stream,
// [OpenAt] for a reader at random, and [Header] for a caller that fetches ranges of ciphertext itself and wants each request
// to be one it chose.
//
// It must never give out a plain byte that was not authenticated, allocate by what a file claims about itself, or turn a
// failure of the reader below (a broken connection, a cancelled context) into a claim that the file is damaged.
// Age files say nothing about who made them: signatures are package attest's.
package seal

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNoKey: none of the identities opens the file.
	ErrNoKey = errors.New("this file is not sealed to the given key")
	// ErrDamaged: the file is no age file, is cut short, or was changed.
	ErrDamaged = errors.New("sealed file is damaged")
	// ErrRange: bytes were asked for that the file does not have, or the ciphertext given does not cover them.
	ErrRange = errors.New("range is outside the sealed file")
)

const (
	// MaxHeader bounds the header of a file that is opened, in bytes: about 40 hybrid recipients.
	MaxHeader = 64 << 10

	chunkPlain  = 64 << 10        // age's payload chunk
	chunkCipher = chunkPlain + 16 // with its authentication tag
	nonceSize   = 16              // between header and payload
)

// Seal starts an age file on dst that each of the recipients can open. What is written to the result comes out sealed;
// Close writes the last piece and must be called, and does not close dst. Without Close the file is cut short and does not
// open. Recipients must be of one class.
func Seal(dst io.Writer, to ...keys.Recipient) (io.WriteCloser, error) {
	if len(to) == 0 {
		return nil, fmt.Errorf("sealing: %w", keys.ErrNoRecipients)
	}
	rs := make([]age.Recipient, len(to))
	for i, r := range to {
		if r.Age() == nil {
			return nil, fmt.Errorf("sealing: %w: number %d is empty", keys.ErrNoRecipients, i+1)
		}
		if r.Class() != to[0].Class() {
			return nil, fmt.Errorf("sealing: %w", keys.ErrMixedClasses)
		}
		rs[i] = r.Age()
	}
	w, err := age.Encrypt(dst, rs...)
	if err != nil {
		return nil, fmt.Errorf("sealing: %w", err)
	}
	return w, nil
}

// SealedSize gives the size of a sealed file from the size of what is sealed and the length of its header, nonce included
// All in bytes.
func SealedSize(plain, header int64) int64 {
	return header + plain + max(1, (plain+chunkPlain-1)/chunkPlain)*(chunkCipher-chunkPlain)
}

// Open opens an age file from its start and gives its plain bytes as a stream. Every byte it gives is authenticated, but
// only io.EOF says that the file was whole. The header is bounded by [MaxHeader].
//
// Errors, here and from the result's Read: [ErrNoKey], [ErrDamaged], or what src gave, wrapped.
func Open(src io.Reader, ids ...keys.Identity) (io.Reader, error) {
	as, err := ageIdentities(ids)
	if err != nil {
		return nil, err
	}
	in := &streamSource{r: src, header: MaxHeader + nonceSize}
	r, err := age.Decrypt(in, as...)
	if err != nil {
		return nil, openError(err, in.err, ids)
	}
	in.opened = true
	return &stream{r: r, in: in}, nil
}

// stream gives the plain bytes and names the reason when they end early.
type stream struct {
	r  io.Reader
	in *streamSource
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = payloadError(err, s.in.err)
	}
	return n, err
}

// streamSource stands between age and the caller's reader: it bounds how much is read while the header is parsed, and
// keeps the reader's own error apart from age's opinion of the bytes.
type streamSource struct {
	r      io.Reader
	header int // bytes that may still be read before the header must have ended
	opened bool
	err    error // the first error of r that is not io.EOF
}

var errLongHeader = fmt.Errorf("its header is longer than %d bytes", MaxHeader)

func (s *streamSource) Read(p []byte) (int, error) {
	if !s.opened {
		if s.header == 0 {
			return 0, errLongHeader
		}
		p = p[:min(len(p), s.header)]
	}
	n, err := s.r.Read(p)
	if !s.opened {
		s.header -= n
	}
	if err != nil && err != io.EOF && s.err == nil {
		s.err = err
	}
	return n, err
}

func ageIdentities(ids []keys.Identity) ([]age.Identity, error) {
	as := make([]age.Identity, 0, len(ids))
	for _, id := range ids {
		if !id.IsZero() {
			as = append(as, id.Age())
		}
	}
	if len(as) == 0 {
		return nil, fmt.Errorf("opening: %w: no key was given", ErrNoKey)
	}
	return as, nil
}

// openError names the reason a header did not open: read is the error of the reader below, which goes before all else.
func openError(err, read error, ids []keys.Identity) error {
	if read != nil {
		return fmt.Errorf("reading a sealed file: %w", read)
	}
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) {
		return noKey(no, ids)
	}
	// age's error is told, not wrapped: an io.ErrUnexpectedEOF in it would look like a broken connection.
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}

func payloadError(err, read error) error {
	if read != nil {
		return fmt.Errorf("reading a sealed file: %w", read)
	}
	return fmt.Errorf("%w: %v", ErrDamaged, err)
}

// noKey says more where more is known: a file of one class and keys of the other.
func noKey(no *age.NoIdentityMatchError, ids []keys.Identity) error {
	stanzas := map[keys.Class]string{keys.Hybrid: "mlkem768x25519", keys.X25519: "X25519"}
	for _, id := range ids {
		for _, t := range no.StanzaTypes {
			if stanzas[id.Class()] == t {
				return ErrNoKey
			}
		}
	}
	var have []string
	for _, id := range ids {
		have = append(have, string(id.Class()))
	}
	return fmt.Errorf("%w: the key is of class %s and the file is sealed to another", ErrNoKey, strings.Join(have, ", "))
}
