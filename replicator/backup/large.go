package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// extent is one range of a very large object: a page written already, or pieces that will become one.
type extent struct {
	ref    format.Extent
	was    *format.Extent // an image's: the parent's of the same range, if it has one
	slot   *tree.Slot     // where the page is going to be; nil: ref is whole
	pieces []piece
}

// fetchLarge streams objects too large to be held, cutting as it goes.
func (e *largeFiles) fetchLarge(ctx context.Context) error {
	c := &cutter{p: e.params}
	for {
		t, ok, err := receive(ctx, e.pipe.large)
		if err != nil || !ok {
			return err
		}
		if c.buf == nil { // most runs have nothing that is large
			c.buf = make([]byte, 4*e.params.MaxChunk)
		}
		read := func() error { return e.readLarge(ctx, t, c) }
		if t.again {
			read = func() error { return e.readAgain(ctx, t) }
		}
		if t.image != nil {
			read = func() error { return e.readImage(ctx, t) }
		}
		if err := e.fetch.attempt(ctx, t, read); err != nil {
			return err
		}
		close(t.fetched)
	}
}

// largeFiles reads what is cut into many chunks, and puts these where they are to be found.
type largeFiles struct{ *engine }

// readLarge reads one large object.
func (e *largeFiles) readLarge(ctx context.Context, t *task, c *cutter) error {
	body, err := e.fetch.open(ctx, t)
	if err != nil {
		return err
	}
	defer body.Close()
	return e.readStream(ctx, t, c, body, body)
}

// readSpare reads what came as a small object and is not: all of body, of which head was read already. There is one cutter
// for all such.
func (e *largeFiles) readSpare(ctx context.Context, t *task, head []byte, body io.Reader) error {
	t.data = nil
	c, _, err := receive(ctx, e.pipe.spare)
	if err != nil {
		return err
	}
	defer func() { e.pipe.spare <- c }()
	if c.buf == nil {
		c.buf = make([]byte, 4*c.p.MaxChunk)
	}
	if len(head) == 0 {
		return e.readStream(ctx, t, c, body, body)
	}
	return e.readStream(ctx, t, c, io.MultiReader(bytes.NewReader(head), body), body)
}

// readStream reads one large object's content, which comes from body in the end: every chunk is looked up, and new ones go
// into frames of their own.
func (e *largeFiles) readStream(ctx context.Context, t *task, c *cutter, content, body io.Reader) error {
	holes, _ := content.(source.Sparse)
	if holes != nil {
		n, err := holes.Holes(int64(e.params.AvgChunk), format.SparseOver)
		if err != nil {
			return err
		}
		t.entry.Sparse = n > format.SparseOver && t.entry.Kind == format.KindFile
		if n == 0 {
			holes = nil
		}
	}
	r := &streamReader{engine: e.engine, c: c, content: content, whole: t.entry.NewSum(), l: &layout{e: e.engine, t: t}}
	for holes != nil {
		hole, data, err := holes.Next(int64(e.params.AvgChunk))
		if err != nil {
			return err
		}
		if err := r.hole(ctx, hole); err != nil {
			return err
		}
		if data == 0 && hole == 0 {
			break
		}
		if err := r.data(ctx, io.LimitReader(content, data)); err != nil {
			return err
		}
	}
	if err := r.data(ctx, content); err != nil { // the rest, and what the stream says at its end
		return err
	}
	if err := e.fetch.settle(t, body); err != nil {
		return err
	}
	if r.total != t.entry.Size {
		return shortRead(io.ErrUnexpectedEOF)
	}
	t.entry.SHA256 = r.whole.Sum()
	return r.l.end()
}

// streamReader is one reading of a large object.
type streamReader struct {
	*engine
	c       *cutter
	content io.Reader
	whole   *format.ContentSum
	l       *layout
	total   int64
}

// data cuts what comes.
func (r *streamReader) data(ctx context.Context, from io.Reader) error {
	return r.c.cutRuns(from, func(chunk []byte) cutChunk {
		r.fetch.count(len(chunk))
		_, _ = r.whole.Write(chunk) // which does not fail
		r.total += int64(len(chunk))
		r.watch.pass(r.l.t, chunk)
		return r.large.look(chunk)
	}, func(run []cutChunk) error { return r.large.placeRun(ctx, r.l, run) })
}

// hole passes over n bytes that were never written. Of a file that is not sparse there can be no more of them than were
// counted: it was cut out meanwhile.
func (r *streamReader) hole(ctx context.Context, n int64) error {
	if n == 0 {
		return nil
	}
	if !r.l.t.entry.Sparse && n > format.SparseOver {
		return source.ErrChanged
	}
	r.whole.Zeros(n)
	r.total += n
	return r.l.add(ctx, piece{known: format.Chunk{Hole: true, Size: n}}, n)
}

// placeRun places the chunks of a run one after the other. No other large object's come between them: they lie together in
// the pack, and a restore reads them with one request. Reading and hashing go on beside it.
func (e *largeFiles) placeRun(ctx context.Context, l *layout, run []cutChunk) error {
	if _, _, err := receive(ctx, e.pipe.turn); err != nil {
		return err
	}
	defer func() { e.pipe.turn <- struct{}{} }()
	for _, c := range run {
		p, err := e.place(ctx, c)
		if err == nil {
			if p.spot != nil {
				e.watch.stores(l.t, int64(len(c.b)))
			}
			err = l.add(ctx, p, int64(len(c.b)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// look does what can be done about a chunk beside all others.
func (e *largeFiles) look(chunk []byte) cutChunk {
	if len(chunk) >= e.params.MinChunk && allZero(chunk) {
		return cutChunk{b: chunk, hole: true}
	}
	return cutChunk{b: chunk, sum: sha256.Sum256(chunk)}
}

// place finds a chunk or sends it off in a frame of its own.
func (e *largeFiles) place(ctx context.Context, c cutChunk) (piece, error) {
	if c.hole {
		return piece{known: format.Chunk{Hole: true, Size: int64(len(c.b))}}, nil
	}
	f := newFrame()
	p, fresh, err := e.dedup.find(ctx, c.sum, int64(len(c.b)), f)
	if err != nil || !fresh {
		return p, err
	}
	if err := e.addTo(ctx, f, p.spot, c.b); err != nil {
		return p, err
	}
	e.pipe.submit(f)
	return p, nil
}

// layout collects a large object's pieces. Beyond the number that may stand in the entry it turns full ranges of 1 GiB
// into extent pages as soon as their packs have names, so that memory does not grow with size.
type layout struct {
	e    *engine
	t    *task
	from int64 // where the pieces at hand begin
	size int64 // of the pieces at hand
	done int   // extents that are written
	held int   // pieces of those that are not
}

// maxHeldPieces is how many pieces of extents may wait for the names of their packs until packs are closed for their sake. An
// extent of a file of holes has few: a pack for each of them would be a pack for nothing.
const maxHeldPieces = 4 * extentChunks

func (l *layout) add(ctx context.Context, p piece, size int64) error {
	if last := len(l.t.pieces) - 1; p.known.Hole && last >= 0 && l.t.pieces[last].known.Hole {
		l.t.pieces[last].known.Size += size
	} else {
		l.t.pieces = append(l.t.pieces, p)
	}
	l.size += size
	reach := l.e.large.extentRange()
	full := len(l.t.pieces) == format.MaxPageLines // somebody chose content that is cut into the smallest chunks
	if !full && (l.from+l.size < (l.from/reach+1)*reach || len(l.t.pieces) <= format.MaxEntryChunks && len(l.t.extents) == 0) {
		return nil
	}
	if err := l.endRange(); err != nil {
		return err
	}
	for ; l.done < len(l.t.extents)-1; l.done++ {
		x := &l.t.extents[l.done]
		if !x.named() {
			// Waiting here could be for something that waits for this very object: ask for the pack to be closed, and
			// look again at the next range.
			if l.held > maxHeldPieces {
				poke(l.e.pipe.press)
			}
			return nil
		}
		l.held -= len(x.pieces)
		if err := l.e.large.writeExtent(ctx, l.t, x, l.t.used(l.e.needs)); err != nil {
			return err
		}
	}
	return nil
}

// extentRange is how many content bytes an extent page covers: 1 GiB with the chunk sizes init writes.
func (e *largeFiles) extentRange() int64 { return extentChunks * int64(e.params.AvgChunk) }

// maxExtents is how many extents one entry can refer to: all its lines with pages of level 1.
const maxExtents = format.MaxExtents * format.MaxInner

func (l *layout) endRange() error {
	if len(l.t.extents) >= maxExtents {
		return &source.Unreadable{Key: l.t.entry.Key, Reason: fmt.Sprintf("cannot be kept: more data than %d extents of %d MiB, which is all one entry can refer to", maxExtents, l.e.large.extentRange()>>20)}
	}
	x := extent{ref: format.Extent{From: l.from, Size: l.size}, pieces: l.t.pieces}
	if len(x.pieces) == 1 && x.pieces[0].known.Hole {
		x.ref.Hole, x.pieces = true, nil
	}
	l.t.extents, l.held = append(l.t.extents, x), l.held+len(x.pieces)
	l.from, l.size, l.t.pieces = l.from+l.size, 0, nil
	return nil
}

// end brings the rest into its final form: extents if there are any, else pieces that stand in the entry unless they are
// too many.
func (l *layout) end() error {
	if l.size > 0 && (len(l.t.extents) > 0 || len(l.t.pieces) > format.MaxEntryChunks) {
		return l.endRange()
	}
	return nil
}

// named reports whether every piece has a place already.
func (x *extent) named() bool {
	for _, p := range x.pieces {
		if p.spot != nil {
			select {
			case <-p.spot.frame.sealed:
			default:
				return false
			}
		}
	}
	return true
}

// writeExtent turns the pieces of a range into an extent page, waiting for their packs to have names. A page the parent
// has already is used again. What it uses is told to use.
func (e *largeFiles) writeExtent(ctx context.Context, t *task, x *extent, use func(object string, n int64) error) error {
	if x.pieces == nil {
		return nil
	}
	var page []byte
	for _, p := range x.pieces {
		if err := p.wait(ctx); err != nil {
			return err
		}
		c := p.chunk()
		var err error
		if page, err = c.AppendLine(page); err != nil {
			return err
		}
		if c.Hole {
			continue
		}
		if err := use(format.PackName(c.Pack), c.Share()); err != nil {
			return err
		}
	}
	x.pieces = nil
	x.ref.Sum = sha256.Sum256(page)
	o, ok, err := e.oldExtent(ctx, t, x)
	if err != nil {
		return err
	}
	if ok && !e.lost(ctx, o.Object) && !e.thin.leaves(o.Object) {
		x.ref.Object, x.ref.Frame, x.ref.Ext = o.Object, o.Frame, o.Ext
		return use(o.Object, o.Frame.Length)
	}
	x.slot, err = e.sink.Page(ctx, page)
	return err
}
