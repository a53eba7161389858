package pack

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Sealed is a finished object, ready to be stored under its hash. Body lies in the storage that the builder was given.
type Sealed struct {
	Sum  format.Hash // SHA-256 of Body
	Body []byte
}

// Builder puts frames into one object, sealing and hashing as it goes. It is for one goroutine and one object.
type Builder struct {
	out     output
	sealer  io.WriteCloser // nil for a plain object
	header  int64          // bytes before the sealed payload
	payload int64
	err     error // why nothing can be added any more
}

// NewBuilder starts an object that each of the recipients can open; without recipients it is a plain one. The object is
// written over buf, from its start: the caller gives storage of the capacity wanted and may use it again once the
// object is stored. Where it does not suffice more is allocated.
func NewBuilder(to []keys.Recipient, buf []byte) (*Builder, error) {
	b := &Builder{out: output{buf: buf[:0], sum: sha256.New()}}
	if len(to) == 0 {
		return b, nil
	}
	var err error
	if b.sealer, err = seal.Seal(&b.out, to...); err != nil {
		return nil, fmt.Errorf("starting an object: %w", err)
	}
	b.header = int64(len(b.out.buf))
	return b, nil
}

// Payload is the number of payload bytes so far: the offset of the next frame.
func (b *Builder) Payload() int64 { return b.payload }

// Add appends one frame, which must be exactly one as [Encoder.Frame] makes it, and gives its offset in the payload. The
// frame is not kept. Errors: [ErrFull], and nothing was added; [ErrClosed]; [ErrDamaged] for what is no frame.
func (b *Builder) Add(frame []byte) (offset int64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if _, err := whole(frame); err != nil {
		return 0, fmt.Errorf("adding a frame: %w", err)
	}
	n := int64(len(frame))
	if b.size(b.payload+n) > format.MaxPack {
		return 0, fmt.Errorf("adding %d bytes to %d: %w", n, b.payload, ErrFull)
	}
	var w io.Writer = &b.out
	if b.sealer != nil {
		w = b.sealer
	}
	if _, err := w.Write(frame); err != nil {
		b.err = fmt.Errorf("adding a frame: %w", err)
		return 0, b.err
	}
	offset = b.payload
	b.payload += n
	return offset, nil
}

// Close finishes the object. A second Close gives [ErrClosed].
func (b *Builder) Close() (Sealed, error) {
	if b.err != nil {
		return Sealed{}, b.err
	}
	b.err = ErrClosed
	if b.sealer != nil {
		if err := b.sealer.Close(); err != nil {
			return Sealed{}, fmt.Errorf("finishing an object: %w", err)
		}
	}
	// Without a private key it cannot be opened again here; that the sizes add up it can be asked.
	if got, want := int64(len(b.out.buf)), b.size(b.payload); got != want || b.out.hashed != got {
		return Sealed{}, fmt.Errorf("finishing an object: %w", errors.New("its size is not what its frames add up to"))
	}
	s := Sealed{Body: b.out.buf}
	b.out.sum.Sum(s.Sum[:0])
	b.out.buf = nil
	return s, nil
}

// size is how large the object is with so many payload bytes.
func (b *Builder) size(payload int64) int64 {
	if b.sealer == nil {
		return payload
	}
	return seal.SealedSize(payload, b.header)
}

// output hashes bytes in the same pass that stores them, while they are in the processor's cache.
type output struct {
	buf    []byte
	sum    hash.Hash
	hashed int64
}

func (o *output) Write(p []byte) (int, error) {
	o.buf = append(o.buf, p...)
	n, err := o.sum.Write(p)
	o.hashed += int64(n)
	return n, err
}
