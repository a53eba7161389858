package pack

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// streamRange is how much of the payload a stream fetches at once.
const streamRange = 4 << 20

// Payload gives the whole payload as a stream, fetched in ranges of 4 MiB as it is read. io.EOF says that it was whole and, for a
// sealed object, that every byte was authentic. Errors are those of [Object.Frames]. It is for one goroutine.
func (o *Object) Payload(ctx context.Context) io.ReadCloser {
	return &payload{ctx: ctx, object: o}
}

type payload struct {
	ctx    context.Context
	object *Object
	next   int64  // where the next range starts
	buf    []byte // storage of rest
	rest   []byte // read from the object and not yet given
	err    error
}

var errStreamClosed = errors.New("reading a closed stream")

func (p *payload) Read(b []byte) (int, error) {
	if len(p.rest) == 0 && p.err == nil && len(b) > 0 {
		p.err = p.fill()
	}
	if len(p.rest) == 0 {
		if len(b) == 0 && p.err == nil {
			return 0, nil
		}
		return 0, p.err
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *payload) fill() error {
	n := min(streamRange, p.object.payload-p.next)
	if n == 0 {
		return io.EOF
	}
	r, err := p.object.read(p.ctx, p.next, n)
	if err != nil {
		return err
	}
	if p.rest, err = r.bytes(p.buf, p.next, n); err != nil {
		return err
	}
	p.buf = p.rest
	p.next += n
	return nil
}

// Close lets go of the stream's memory. It does not fail.
func (p *payload) Close() error {
	p.err, p.buf, p.rest = errStreamClosed, nil, nil
	return nil
}

// Scan decodes every frame of the payload in order, without knowing beforehand where they are; plain is valid during the call
// only. Errors are those of [Object.Frames].
func (o *Object) Scan(ctx context.Context, visit func(f format.Frame, plain []byte) error) error {
	d, err := newDecoder(1)
	if err != nil {
		return err
	}
	p := o.Payload(ctx)
	defer func() { _ = p.Close() }() // it does not fail
	in := &lookahead{src: p}
	var plain []byte
	for at := int64(0); at < o.payload; {
		if err := ctx.Err(); err != nil {
			return err
		}
		stored, s, err := in.frame()
		if err != nil {
			return err
		}
		if plain, err = d.Frame(plain[:0], stored, s.plain); err != nil {
			return fmt.Errorf("frame at %d: %w", at, err)
		}
		if err := visit(format.Frame{Offset: at, Length: s.length, Plain: s.plain}, plain); err != nil {
			return err
		}
		in.drop(len(stored))
		at += s.length
	}
	return nil
}

// lookahead holds enough of a stream to see one whole frame.
type lookahead struct {
	src  io.Reader
	buf  []byte
	from int // buf[from:] is not used up
	eof  bool
}

// frame gives the next frame's bytes and shape; the bytes are valid until the next call.
func (l *lookahead) frame() ([]byte, shape, error) {
	for {
		rest := l.buf[l.from:]
		s, err := measure(rest)
		switch {
		case err == nil:
			return rest[:s.length], s, nil
		case err != errShort:
			return nil, shape{}, err
		case l.eof || len(rest) >= MaxFrameLength:
			return nil, shape{}, fmt.Errorf("%w: %v", ErrDamaged, err)
		}
		if err := l.fill(min(max(2*len(rest), 1<<20), MaxFrameLength)); err != nil {
			return nil, shape{}, err
		}
	}
}

// fill reads until want bytes are at hand, or the stream ends.
func (l *lookahead) fill(want int) error {
	rest := l.buf[l.from:]
	if cap(l.buf) < want {
		l.buf = make([]byte, 0, want)
	}
	have := copy(l.buf[:cap(l.buf)], rest)
	l.from = 0
	n, err := io.ReadFull(l.src, l.buf[have:want])
	l.buf = l.buf[:have+n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		l.eof = true
		return nil
	}
	return err
}

func (l *lookahead) drop(n int) { l.from += n }
