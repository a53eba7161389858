package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	maxGap   = 128 << 10 // bytes between two frames that are fetched rather than asked for separately
	maxRange = 8 << 20   // payload bytes of one fetch, unless a single frame is longer
	small    = 256 << 10 // a sealed object up to this size is fetched whole when it is opened
	edge     = 64<<10 + 16
)

// Fetch gives n bytes of the stored object from off on: exactly n, else an error. It may be called from several
// goroutines, and the result belongs to the caller.
type Fetch func(ctx context.Context, off, n int64) ([]byte, error)

// Stream gives n bytes of the stored object from off on, as they come.
type Stream func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// Object is a stored object that is read by ranges. It is safe for concurrent use. It holds little memory between calls, at
// most 400 KiB, and during one at most a range and a frame.
type Object struct {
	fetch   Fetch
	stream  Stream // may be nil
	size    int64  // of the stored object
	payload int64
	sealed  *seal.Opened // nil: plain
	body    []byte       // the stored object, where it was small enough to be fetched whole
	scratch *Scratch     // may be nil
}

// Reuse lets the object take buffers from s, and give those back that fetch gave it.
func (o *Object) Reuse(s *Scratch) { o.scratch = s }

// Streamed lets ranges of a sealed object be decrypted as they come, instead of being fetched into memory first. Then
// frames that follow each other are one request however long they are, which is kept open while they are visited.
func (o *Object) Streamed(s Stream) { o.stream = s }

// streams reports whether ranges are decrypted as they come.
func (o *Object) streams() bool { return o.stream != nil && o.sealed != nil && o.body == nil }

// Open opens an object of size bytes; without identities it is taken as a plain one, and nothing is fetched. A sealed
// object costs one fetch of all of it, or two at once of 64 KiB from its start and its end.
//
// Errors: [ErrDamaged], seal.ErrNoKey in the chain, or fetch's own as it is.
func Open(ctx context.Context, size int64, fetch Fetch, ids ...keys.Identity) (*Object, error) {
	if size < 0 || size > format.MaxPack {
		return nil, fmt.Errorf("opening an object: %w: %d bytes, at most %d", ErrDamaged, size, int64(format.MaxPack))
	}
	o := &Object{fetch: fetch, size: size, payload: size}
	if len(ids) == 0 {
		return o, nil
	}
	src, err := o.edges(ctx)
	if err != nil {
		return nil, err
	}
	if o.sealed, err = seal.Header(src, size, ids...); err != nil {
		return nil, fmt.Errorf("opening an object: %w", damaged(err))
	}
	o.payload = o.sealed.PlainSize()
	return o, nil
}

// edges fetches what opening looks at, and keeps a small object whole.
func (o *Object) edges(ctx context.Context) (io.ReaderAt, error) {
	if o.size <= small {
		var err error
		o.body, err = o.get(ctx, 0, o.size)
		return span{0, o.body}, err
	}
	var head, tail []byte
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { head, err = o.get(gctx, 0, edge); return err })
	g.Go(func() (err error) { tail, err = o.get(gctx, o.size-edge, edge); return err })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return spans{{0, head}, {o.size - edge, tail}}, nil
}

// Frames decodes the frames and calls visit for each with its place in frames; plain is valid during the call only. The
// order is that of the payload. Frames that are near each other are fetched together. Nothing is known of frames that were
// not visited when an error is returned.
//
// Errors: [ErrDamaged] (a frame outside the object included), fetch's, visit's and the context's own as they are.
func (o *Object) Frames(ctx context.Context, frames []format.Frame, visit func(i int, plain []byte) error) error {
	return o.FramesTo(ctx, frames, nil, visit)
}

// Room gives a buffer with a capacity of at least [RoomFor] its plain bytes that frame i is to be decoded into, or nil for one of the object's own.
type Room func(i int) ([]byte, error)

// RoomFor is the capacity that a buffer for a frame of so many plain bytes must have: it holds the stored frame too, where
// that did not shrink.
func RoomFor(plain int64) int64 { return rawLength(plain) + spare }

// FramesTo is [Object.Frames] for frames that are kept: what room gives for a frame is the visitor's, and visit gets a slice
// at its beginning. It is asked just before the frame is decoded, and its error ends the call.
func (o *Object) FramesTo(ctx context.Context, frames []format.Frame, room Room, visit func(i int, plain []byte) error) error {
	order := make([]int, len(frames))
	for i, f := range frames {
		if err := o.check(f); err != nil {
			return err
		}
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := frames[a], frames[b]
		return cmp.Or(cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Length, y.Length), cmp.Compare(x.Plain, y.Plain), cmp.Compare(a, b))
	})
	// A decoder costs 20 microseconds. One that was kept would keep the last frame's bytes with it.
	d, err := newDecoder(1)
	if err != nil {
		return err
	}
	w := work{object: o, decoder: d, frames: frames, room: room, visit: visit}
	defer func() { o.scratch.Put(w.stored); o.scratch.Put(w.own) }()
	for len(order) > 0 {
		n, end := o.near(frames, order)
		if err := w.group(ctx, order[:n], end); err != nil {
			return err
		}
		order = order[n:]
	}
	return nil
}

// check says whether a reference can be right before anything is fetched or allocated for it.
func (o *Object) check(f format.Frame) error {
	if f.Offset < 0 || f.Length <= 0 || f.Length > MaxFrameLength || f.Offset > o.payload-f.Length || f.Plain < 0 || f.Plain > format.MaxFrame {
		return fmt.Errorf("%w: no frame of %d bytes (%d plain) at %d in a payload of %d", ErrDamaged, f.Length, f.Plain, f.Offset, o.payload)
	}
	return nil
}

// near gives how many frames, from the first in order on, are fetched as one range, and where that range ends.
func (o *Object) near(frames []format.Frame, order []int) (n int, end int64) {
	longest := int64(maxRange)
	if o.streams() {
		longest = format.MaxPack
	}
	start := frames[order[0]].Offset
	end = start
	for _, i := range order {
		f := frames[i]
		next := max(end, f.Offset+f.Length)
		if n > 0 && (f.Offset > end+maxGap || next-start > longest) {
			break
		}
		end = next
		n++
	}
	return n, end
}

// work is one call of Frames: its buffers are reused from frame to frame.
type work struct {
	object  *Object
	decoder *Decoder
	frames  []format.Frame
	room    Room // may be nil
	visit   func(i int, plain []byte) error
	stored  []byte
	own     []byte // decoded frames that room had no place for
}

// place is where frame i is to be decoded to.
func (w *work) place(i int) ([]byte, error) {
	if w.room != nil {
		if dst, err := w.room(i); dst != nil || err != nil {
			return dst, err
		}
	}
	if need := RoomFor(w.frames[i].Plain); int64(cap(w.own)) < need {
		w.object.scratch.Put(w.own)
		w.own = w.object.scratch.Get(need)
	}
	return w.own, nil
}

// decode reads and decodes frame i. Its result lies where it is wanted.
func (w *work) decode(r *fetched, i int) ([]byte, error) {
	f := w.frames[i]
	dst, err := w.place(i)
	if err != nil {
		return nil, err
	}
	if w.object.sealed != nil && f.Length > f.Plain && f.Length <= int64(cap(dst)) {
		return w.grown(r, f, dst[:0])
	}
	return w.shrunk(r, f, dst[:0])
}

// shrunk decodes a frame from a buffer of its own.
func (w *work) shrunk(r *fetched, f format.Frame, dst []byte) ([]byte, error) {
	if w.object.sealed != nil && int64(cap(w.stored)) < f.Length {
		w.object.scratch.Put(w.stored)
		w.stored = w.object.scratch.Get(f.Length)
	}
	stored, err := r.bytes(w.stored, f.Offset, f.Length)
	if err != nil {
		return nil, err
	}
	return w.unpack(dst, stored, f)
}

// grown decodes a frame that is longer than what it holds, and so most likely nothing but raw blocks: it is fetched to
// where its bytes are wanted, which saves a second buffer and passing all of it through the decoder.
func (w *work) grown(r *fetched, f format.Frame, dst []byte) ([]byte, error) {
	stored, err := r.bytes(dst, f.Offset, f.Length)
	if err != nil {
		return nil, err
	}
	s, err := whole(stored)
	if err != nil || !s.raw || s.summed || s.plain != f.Plain {
		return w.unpack(dst, slices.Clone(stored), f) // the decoder says what is wrong, if anything is
	}
	plain, err := unraw(stored, s)
	if err != nil {
		return nil, fmt.Errorf("frame at %d: %w", f.Offset, err)
	}
	return plain, nil
}

func (w *work) unpack(dst, stored []byte, f format.Frame) ([]byte, error) {
	plain, err := w.decoder.Frame(dst, stored, f.Plain)
	if err != nil {
		return nil, fmt.Errorf("frame at %d: %w", f.Offset, err)
	}
	return plain, nil
}

// group reads the range from the first frame of order up to end and visits its frames.
func (w *work) group(ctx context.Context, order []int, end int64) error {
	start := w.frames[order[0]].Offset
	r, err := w.object.read(ctx, start, end-start)
	if err != nil {
		return err
	}
	defer r.close()
	var plain []byte
	for k, i := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := w.frames[i]
		// The same frame may be asked for many times: small files share one.
		if k == 0 || f != w.frames[order[k-1]] {
			if plain, err = w.decode(r, i); err != nil {
				return err
			}
		}
		if err := w.visit(i, plain); err != nil {
			return err
		}
	}
	return nil
}

// fetched is a payload range whose stored bytes are at hand, or on their way.
type fetched struct {
	object *Object
	at     int64 // where stored starts in the object
	stored []byte

	// Instead of stored. One reader decrypts all of it, so that the sealed chunk which two frames share is read once.
	coming *forward
	along  *seal.Along
}

// read fetches what covers the payload bytes [off, off+n), which the caller has checked to be inside.
func (o *Object) read(ctx context.Context, off, n int64) (*fetched, error) {
	at, length := off, n
	if o.sealed != nil {
		at, length = o.sealed.Fetch(off, n)
	}
	r := &fetched{object: o, at: at}
	switch {
	case length == 0:
		return r, ctx.Err()
	case o.body != nil:
		r.stored = o.body[at : at+length]
		return r, ctx.Err()
	case o.streams() && length > edge:
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		body, err := o.stream(ctx, at, length)
		if err != nil {
			return nil, err
		}
		r.coming = &forward{body: body, end: length}
		r.along = o.sealed.Along(r.coming, at)
		return r, nil
	}
	var err error
	r.stored, err = o.get(ctx, at, length)
	return r, err
}

// close gives back what the range held.
func (r *fetched) close() {
	o := r.object
	switch {
	case r.coming != nil:
		r.along.Close()
		_ = r.coming.body.Close() // what was wanted of it came
	case o.sealed != nil && o.body == nil: // of a plain object the frames lie in what was fetched
		o.scratch.Put(r.stored)
	}
}

// bytes gives the payload bytes [off, off+n) of the range, in buf where they had to be decrypted. Of a stream they must
// be asked for in order.
func (r *fetched) bytes(buf []byte, off, n int64) ([]byte, error) {
	o := r.object
	if o.sealed == nil {
		return r.stored[off-r.at:][:n:n], nil
	}
	buf = slices.Grow(buf[:0], int(n))[:n]
	var err error
	if r.coming != nil {
		err = r.along.Decrypt(buf, off)
	} else {
		// This range's own cover starts at or after r.at, and its first byte is what Decrypt wants first.
		at, _ := o.sealed.Fetch(off, n)
		err = o.sealed.Decrypt(buf, r.stored[min(at-r.at, int64(len(r.stored))):], off)
	}
	if err != nil {
		return nil, fmt.Errorf("payload at %d: %w", off, damaged(err))
	}
	return buf, nil
}

// get is fetch, held to its word.
func (o *Object) get(ctx context.Context, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b, err := o.fetch(ctx, off, n)
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != n {
		return nil, fmt.Errorf("%w: %d bytes at %d where %d were asked for", ErrDamaged, len(b), off, n)
	}
	return b, nil
}

// damaged puts this package's word for damage on seal's.
func damaged(err error) error {
	if errors.Is(err, seal.ErrDamaged) || errors.Is(err, seal.ErrRange) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
