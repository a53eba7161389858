package seal

import (
	"bytes"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// What follows reads sealed files in ways that tests compare with those of the program.

// HeaderSize gives the length in bytes of the header that Seal writes for these recipients, nonce included.
func HeaderSize(to ...keys.Recipient) (int64, error) {
	var n countWriter
	if _, err := Seal(&n, to...); err != nil {
		return 0, err
	}
	return int64(n), nil
}

type countWriter int64

func (n *countWriter) Write(p []byte) (int, error) {
	*n += countWriter(len(p))
	return len(p), nil
}

// ReadRange fills dst with the plain bytes from off on, with at most one read of src.
func (o *Opened) ReadRange(src io.ReaderAt, dst []byte, off int64) error {
	start, n := o.Fetch(off, int64(len(dst)))
	if n == 0 {
		return o.Decrypt(dst, nil, off)
	}
	cipher := make([]byte, n)
	if err := readFull(src, cipher, start); err != nil {
		return err
	}
	return o.DecryptFrom(dst, bytes.NewReader(cipher), start, off)
}

// DecryptFrom is Decrypt for ciphertext that lies elsewhere: cipher's byte 0 is byte cipherOff of the file.
func (o *Opened) DecryptFrom(dst []byte, cipher io.ReaderAt, cipherOff, off int64) error {
	a := o.Along(cipher, cipherOff)
	defer a.Close()
	return a.Decrypt(dst, off)
}

// OpenAt opens an age file of size bytes at random. Opening it costs the one or two reads of [Header]; each ReadAt of the
// result costs one read of src over the whole range it needs, or none where the chunk is still at hand from the read before.
// The result is safe for concurrent use if src is.
//
// Errors, here and from ReadAt: [ErrNoKey], [ErrDamaged], or what src gave, wrapped; io.EOF at the end.
func OpenAt(src io.ReaderAt, size int64, ids ...keys.Identity) (ra io.ReaderAt, plainSize int64, err error) {
	o, err := Header(src, size, ids...)
	if err != nil {
		return nil, 0, err
	}
	return &readerAt{o, src}, o.plain, nil
}

type readerAt struct {
	o   *Opened
	src io.ReaderAt
}

func (r *readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: offset %d", ErrRange, off)
	}
	if off >= r.o.plain {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	whole := p[:min(int64(len(p)), r.o.plain-off)]
	start, n := r.o.Fetch(off, int64(len(whole)))
	ahead := &coalesced{src: r.src, end: start + n}
	if err := r.o.DecryptFrom(whole, ahead, 0, off); err != nil {
		return 0, err
	}
	if len(whole) < len(p) {
		return len(whole), io.EOF
	}
	return len(whole), nil
}

// coalesced turns the chunk-by-chunk reads of one range into one read of src: the first chunk that is asked for brings the
// rest up to end with it. For one goroutine.
type coalesced struct {
	src io.ReaderAt
	end int64  // where the range ends in the file
	off int64  // where buf starts in the file
	buf []byte // nil until the first read
}

func (c *coalesced) ReadAt(p []byte, off int64) (int, error) {
	if c.buf == nil {
		buf := make([]byte, max(c.end-off, int64(len(p))))
		if err := readAll(c.src, buf, off); err != nil {
			return 0, err
		}
		c.buf, c.off = buf, off
	}
	return endOf(c.buf, p, off-c.off)
}
