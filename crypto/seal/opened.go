package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"

	"github.com/holdfast-backup/holdfast/crypto/keys"
)

// Opened is a sealed file whose header was opened and whose size was authenticated. Any range of its plain bytes can be had
// from the ciphertext that covers it, without the private key and without another look at header or end. It holds at most
// MaxHeader + 128 KiB and is safe for concurrent use.
type Opened struct {
	size    int64 // of the file
	plain   int64 // of its content
	payload int64 // where the first chunk starts
	tail    int64 // where the final chunk starts
	key     age.Identity
	header  []byte // the file up to payload
	final   []byte // the file from tail on, still sealed

	// readers are age's, each over a window of its own: opening one costs some microseconds and a decrypted final chunk,
	// and each remembers the last chunk it opened, which neighbouring ranges share.
	readers sync.Pool
}

// Header opens the header of a file of size bytes. It makes one read of at most MaxHeader + 16 bytes at the start, and one
// of at most 65,552 bytes at the end unless the first already held it.
//
// Errors: [ErrNoKey], [ErrDamaged], or what src gave, wrapped.
func Header(src io.ReaderAt, size int64, ids ...keys.Identity) (*Opened, error) {
	as, err := ageIdentities(ids)
	if err != nil {
		return nil, err
	}
	prefix := make([]byte, min(max(size, 0), MaxHeader+nonceSize))
	if err := readFull(src, prefix, 0); err != nil {
		return nil, err
	}
	header, err := age.ExtractHeader(bytes.NewReader(prefix))
	if err != nil {
		return nil, openError(err, nil, ids)
	}
	payload := int64(len(header) + nonceSize)
	// age's own offsets rest on a header having one spelling; so do these.
	if !bytes.HasPrefix(prefix, header) || payload > int64(len(prefix)) {
		return nil, fmt.Errorf("%w: its header is longer than %d bytes, or not spelled as age spells it", ErrDamaged, MaxHeader)
	}
	fileKey, err := age.DecryptHeader(header, as...)
	if err != nil {
		return nil, openError(err, nil, ids)
	}
	o := &Opened{size: size, payload: payload, key: age.NewInjectedFileKeyIdentity(fileKey), header: bytes.Clone(prefix[:payload])}
	if err := o.measure(); err != nil {
		return nil, err
	}
	if err := o.readTail(src, prefix); err != nil {
		return nil, err
	}
	// The first reader opens the final chunk, and so proves that the file ends where size says.
	r, err := o.newReader()
	if err != nil {
		return nil, err
	}
	o.readers.Put(r)
	return o, nil
}

// measure computes sizes from the size of the file alone.
func (o *Opened) measure() error {
	payload := o.size - o.payload
	chunks := (payload + chunkCipher - 1) / chunkCipher
	last := payload - (chunks-1)*chunkCipher
	if chunks < 1 || last < chunkCipher-chunkPlain || (chunks > 1 && last == chunkCipher-chunkPlain) {
		return fmt.Errorf("%w: no sealed file has %d bytes", ErrDamaged, o.size)
	}
	o.tail = o.payload + (chunks-1)*chunkCipher
	o.plain = payload - chunks*(chunkCipher-chunkPlain)
	return nil
}

// readTail gets the final chunk, from what was read already if that reaches to the end.
func (o *Opened) readTail(src io.ReaderAt, prefix []byte) error {
	if int64(len(prefix)) == o.size {
		o.final = bytes.Clone(prefix[o.tail:])
		return nil
	}
	o.final = make([]byte, o.size-o.tail)
	return readFull(src, o.final, o.tail)
}

// PlainSize is the number of plain bytes.
func (o *Opened) PlainSize() int64 { return o.plain }

// Cover gives the range of ciphertext that holds the plain bytes [off, off+n), cut to the file: whole chunks, so up to
// 128 KiB more than n. It is empty (cipherLen 0) where n is not positive or off lies past the end. Ranges that touch cover the
// chunk they share twice: coalesce in plain offsets, and cover once.
func (o *Opened) Cover(off, n int64) (cipherOff, cipherLen int64) {
	if off < 0 || n <= 0 || off >= o.plain {
		return 0, 0
	}
	end := o.plain
	if n < o.plain-off {
		end = off + n
	}
	start := o.payload + off/chunkPlain*chunkCipher
	stop := min(o.payload+(end+chunkPlain-1)/chunkPlain*chunkCipher, o.size)
	return start, stop - start
}

// Fetch is Cover less the final chunk where the range reaches into it, since that was read when the file was opened: what
// needs to be fetched for Decrypt. Often nothing at all for a file of one chunk.
func (o *Opened) Fetch(off, n int64) (cipherOff, cipherLen int64) {
	cipherOff, cipherLen = o.Cover(off, n)
	return cipherOff, min(cipherOff+cipherLen, o.tail) - cipherOff
}

// Decrypt fills dst with the plain bytes from off on. cipher is the ciphertext that Cover(off, len(dst)) or
// Fetch(off, len(dst)) named, from its first byte on; it may go on beyond. It is not changed and not kept.
//
// Errors: [ErrRange] if dst reaches past the end or cipher is too short, [ErrDamaged].
func (o *Opened) Decrypt(dst, cipher []byte, off int64) error {
	start, _ := o.Cover(off, int64(len(dst)))
	a := o.Along(bytes.NewReader(cipher), start)
	defer a.Close()
	return a.Decrypt(dst, off)
}

// Along decrypts ranges that follow each other, from ciphertext that comes in order. It is for one goroutine.
type Along struct {
	file      *Opened
	cipher    io.ReaderAt
	cipherOff int64
	lent      *reader
}

// Along starts with ciphertext whose byte 0 is byte cipherOff of the file. Close must be called.
func (o *Opened) Along(cipher io.ReaderAt, cipherOff int64) *Along {
	return &Along{file: o, cipher: cipher, cipherOff: cipherOff}
}

// Decrypt is [Opened.Decrypt]. The ciphertext is read 64 KiB at a time, and as long as each range starts in the chunk where the one
// before ended, or later, in order and each chunk once. Its errors are given on, wrapped, and its end before the range is covered is
// [ErrRange].
func (a *Along) Decrypt(dst []byte, off int64) error {
	o := a.file
	if off < 0 || off > o.plain || int64(len(dst)) > o.plain-off {
		return fmt.Errorf("%w: [%d, %d) of %d plain bytes", ErrRange, off, off+int64(len(dst)), o.plain)
	}
	if len(dst) == 0 {
		return nil
	}
	if err := a.lend(); err != nil {
		return err
	}
	w := a.lent.window
	n, err := a.lent.plain.ReadAt(dst, off)
	if n == len(dst) {
		return nil
	}
	switch {
	case w.short:
		return fmt.Errorf("%w: the ciphertext given does not cover plain bytes [%d, %d)", ErrRange, off, off+int64(len(dst)))
	case errors.Is(w.err, ErrDamaged):
		return w.err
	case w.err != nil:
		return fmt.Errorf("reading a sealed file: %w", w.err)
	default:
		return fmt.Errorf("%w: %v", ErrDamaged, err)
	}
}

// lend takes one of the file's readers, where that was not done, and points its window at the ciphertext.
func (a *Along) lend() error {
	if a.lent == nil {
		a.lent, _ = a.file.readers.Get().(*reader)
	}
	if a.lent == nil {
		var err error
		if a.lent, err = a.file.newReader(); err != nil {
			return err
		}
	}
	*a.lent.window = window{file: a.file, given: a.cipher, givenOff: a.cipherOff}
	return nil
}

// Close gives back what was lent. It does not close the ciphertext.
func (a *Along) Close() {
	if a.lent == nil {
		return
	}
	*a.lent.window = window{file: a.file}
	a.file.readers.Put(a.lent)
	a.lent = nil
}

// reader is age's reader at random and the window it looks through.
type reader struct {
	plain  io.ReaderAt
	window *window
}

func (o *Opened) newReader() (*reader, error) {
	w := &window{file: o}
	plain, n, err := age.DecryptReaderAt(w, o.size, o.key)
	if err != nil {
		return nil, payloadError(err, w.err)
	}
	if n != o.plain {
		return nil, fmt.Errorf("%w: it has %d plain bytes where %d were reckoned", ErrDamaged, n, o.plain)
	}
	return &reader{plain, w}, nil
}

// window is a sealed file of which only the header, the final chunk and a given stretch are at hand.
type window struct {
	file     *Opened
	given    io.ReaderAt // nil: nothing
	givenOff int64
	short    bool  // a byte was asked for that is not at hand
	err      error // what given said
}

var errNotAtHand = errors.New("this part of the file is not at hand")

func (w *window) ReadAt(p []byte, off int64) (int, error) {
	switch f := w.file; {
	case off < f.payload:
		// The parser reads ahead of the header; it gets no further than the header's end, and needs no more.
		return endOf(f.header, p, off)
	case off >= f.tail:
		return endOf(f.final, p, off-f.tail)
	case w.given == nil || off < w.givenOff:
		w.short = true
		return 0, errNotAtHand
	}
	n, err := w.given.ReadAt(p, off-w.givenOff)
	if n == len(p) {
		return n, nil
	}
	if err == nil || err == io.EOF {
		w.short = true
		return n, errNotAtHand
	}
	w.err = err
	return n, err
}

func endOf(b, p []byte, off int64) (int, error) {
	n := copy(p, b[min(off, int64(len(b))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readFull fills p and names what failed.
func readFull(src io.ReaderAt, p []byte, off int64) error {
	err := readAll(src, p, off)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return fmt.Errorf("reading a sealed file: %w", err)
	}
	return err
}

// readAll fills p. That the file is shorter than its size is damage; anything else is the reader's own error, as it was.
func readAll(src io.ReaderAt, p []byte, off int64) error {
	n, err := src.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return fmt.Errorf("%w: it ends at byte %d, before its stated size", ErrDamaged, off+int64(n))
	default:
		return err
	}
}
