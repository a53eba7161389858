package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	imageReaders = 64 // blocks of an image read at once
	rangeBlocks  = format.ImageRange / format.ImageBlock
	maxBadBlocks = 256 // an image of which more cannot be read is given up
)

// imageTask is what is known of a disk image beside its task.
type imageTask struct {
	// base is an entry of the parent that holds the same disk as it was; nil: none. Ranges in which nothing changed are
	// taken over from it without a look at what they refer to.
	base  *format.Entry
	left  []format.Extent // of base: not in the new entry as they are
	taken []format.Extent // of base, if it stays in the point as well: in the new entry too
	inner []format.Extent // of base: its pages of level 1
}

// step is what happens next to an image: a block, or the end of a range.
type step struct {
	block int64
	known format.Chunk  // a block as in the base, if it is not the zero Chunk
	done  chan struct{} // else closed when sum and buf are there, or err
	buf   []byte
	sum   format.Hash
	err   error

	end *rangeEnd
}

// rangeEnd is the end of a range.
type rangeEnd struct {
	from, size int64
	digest     string
	was        *format.Extent // the base's, of the same place
	whole      bool           // it stands as it was
}

// newImagePool gives the buffers for blocks; who holds them reads an image.
func newImagePool(memory int64) [][]byte {
	return make([][]byte, min(max(memory/format.ImageBlock, 4), imageReaders))
}

// readImage reads what may have changed of a disk image since its base. One image at a time: the readers of its blocks
// are many.
func (e *largeFiles) readImage(ctx context.Context, t *task) error {
	pool, _, err := receive(ctx, e.pipe.images)
	if err != nil {
		return err
	}
	defer func() { e.pipe.images <- pool }()
	view, ok := e.view.(source.Images)
	if !ok {
		return errors.New("this source lists a disk image and cannot read one")
	}
	t.image.left, t.image.taken, t.image.inner = nil, nil, nil
	img, err := view.Image(ctx, t.entry, t.image.base)
	if err != nil {
		return err
	}
	defer img.Close()
	if known, why := img.Since(); t.image.base != nil && !known && e.o.Remark != nil {
		e.o.Remark(t.entry.Key, "read in full: "+why)
	}
	g, gctx := errgroup.WithContext(ctx)
	r := &imageReader{engine: e.engine, t: t, img: img, jobs: make(chan *step), order: make(chan *step, len(pool)), bufs: make(chan []byte, len(pool))}
	for _, b := range pool {
		if b == nil {
			b = make([]byte, format.ImageBlock)
		}
		r.bufs <- b
	}
	g.Go(func() error { return r.plan(gctx) })
	for range len(pool) {
		g.Go(func() error { return r.read(gctx) })
	}
	g.Go(func() error { return r.place(gctx) })
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range pool { // they came back all
		pool[i] = <-r.bufs
	}
	return nil
}

// imageReader reads one image. plan decides on each block, readers read them, place puts them where they belong, in order.
type imageReader struct {
	*engine
	t     *task
	img   source.Image
	jobs  chan *step
	order chan *step
	bufs  chan []byte
}

// read reads the blocks that are planned.
func (r *imageReader) read(ctx context.Context) error {
	for {
		s, ok, err := receive(ctx, r.jobs)
		if err != nil || !ok {
			return err
		}
		s.sum, s.err = r.img.Read(ctx, s.block, s.buf)
		close(s.done)
	}
}

// place takes the steps in order and makes extents of them.
func (r *imageReader) place(ctx context.Context) (err error) {
	l := &imageLayout{engine: r.engine, t: r.t, sum: format.NewImageSum(r.t.entry.Size)}
	defer l.submit() // also after a failure: others may wait for what is in it
	for {
		s, ok, err := receive(ctx, r.order)
		if err != nil {
			return err
		}
		if !ok {
			r.t.entry.SHA256, r.t.entry.Unread = l.sum.Sum(), l.unread
			return l.nothing()
		}
		if err := r.step(ctx, l, s); err != nil {
			return err
		}
	}
}

func (r *imageReader) step(ctx context.Context, l *imageLayout, s *step) error {
	switch {
	case s.end != nil:
		return l.endRange(ctx, s.end)
	case s.done == nil:
		l.add(s.block, piece{known: s.known}, s.known.Size, s.known.Sum)
		return nil
	}
	if _, _, err := receive(ctx, s.done); err != nil {
		return err
	}
	if s.err != nil {
		if err := l.skip(s.block, int64(len(s.buf)), s.err); err != nil {
			return err
		}
		r.bufs <- s.buf[:format.ImageBlock]
		return nil
	}
	r.fetch.count(len(s.buf))
	if !allZero(s.buf) {
		p, err := l.find(ctx, s.sum, s.buf)
		if err != nil {
			return err
		}
		l.add(s.block, p, int64(len(s.buf)), s.sum)
	}
	r.bufs <- s.buf[:format.ImageBlock] // there is room for what was taken
	return nil
}

// imageLayout makes extents of an image's blocks, one a range, each as soon as its packs have names.
type imageLayout struct {
	*engine
	t      *task
	open   *frame
	at     int64 // where the pieces at hand end
	pieces []piece
	rng    format.RangeSum
	sum    *format.ImageSum
	done   int // extents that are written
	unread []format.Unread
	bad    int  // blocks in them
	held   bool // something of the image is there
	last   error
}

// skip leaves out a block that cannot be read, if that is all that is wrong with it: what it stands for is zeros, and its
// range has no digest, so that the next run reads it again.
func (l *imageLayout) skip(block, size int64, err error) error {
	var b *source.BadBlock
	if !errors.As(err, &b) {
		return err
	}
	if l.bad++; l.bad > maxBadBlocks {
		return fmt.Errorf("%d of its blocks cannot be read: %w", l.bad, b.Err)
	}
	l.last = b.Err
	reason := badReason(b.Err)
	from := block * format.ImageBlock
	if k := len(l.unread) - 1; k >= 0 && l.unread[k].From+l.unread[k].Size == from {
		l.unread[k].Size += size
		return nil
	}
	l.unread = append(l.unread, format.Unread{From: from, Size: size, Reason: reason})
	return nil
}

// nothing is why an image of which not one block could be read is missing rather than full of zeros.
func (l *imageLayout) nothing() error {
	var u *source.Unreadable
	if l.held || !errors.Is(l.last, source.ErrCorrupt) && !errors.As(l.last, &u) {
		return nil
	}
	return l.last
}

// badReason says in a few words why a block cannot be read.
func badReason(err error) string {
	var u *source.Unreadable
	switch {
	case errors.As(err, &u) && u.Reason != "":
		return u.Reason[:min(len(u.Reason), format.MaxReason)] // a part of it may be the server's words
	case errors.Is(err, source.ErrCorrupt):
		return corruptReason
	}
	return "the source answers with an error each time it is asked for"
}

// find gives the place of a block, which goes into the open frame if it is new. Neighbours share frames.
func (l *imageLayout) find(ctx context.Context, sum format.Hash, block []byte) (piece, error) {
	if l.open == nil {
		l.open = newFrame()
	}
	p, fresh, err := l.dedup.find(ctx, sum, int64(len(block)), l.open)
	if err != nil || !fresh {
		return p, err
	}
	if err := l.large.addTo(ctx, l.open, p.spot, block); err != nil {
		return p, err
	}
	if len(l.open.plain) >= frameTarget {
		l.submit()
	}
	return p, nil
}

// submit sends the open frame on its way.
func (l *imageLayout) submit() {
	if l.open != nil && len(l.open.spots) > 0 {
		l.pipe.submit(l.open)
		l.open = nil
	}
}

// add appends a block that is not all zeros, with the hole before it.
func (l *imageLayout) add(block int64, p piece, size int64, sum format.Hash) {
	l.holeUpTo(block * format.ImageBlock)
	l.pieces, l.held = append(l.pieces, p), true
	l.rng.Block(block, sum)
	l.at += size
}

func (l *imageLayout) holeUpTo(off int64) {
	if n := off - l.at; n > 0 {
		l.pieces = append(l.pieces, piece{known: format.Chunk{Hole: true, Size: n}})
		l.at = off
	}
}

// endRange turns the pieces at hand into an extent, and writes the earlier ones that can be.
func (l *imageLayout) endRange(ctx context.Context, end *rangeEnd) error {
	image := l.t.image
	x := extent{ref: format.Extent{From: end.from, Size: end.size, Digest: end.digest}, was: end.was}
	switch {
	case end.whole:
		l.held = l.held || !end.was.Hole
		x.ref, x.was = *end.was, nil
		if image.base != l.t.old {
			image.taken = append(image.taken, x.ref)
		}
	case len(l.pieces) == 0:
		x.ref.Hole = true
	default:
		l.holeUpTo(end.from + end.size)
		x.ref.Content, x.pieces = l.rng.Sum(), l.pieces
	}
	if k := len(l.unread) - 1; k >= 0 && l.unread[k].From+l.unread[k].Size > end.from {
		x.ref.Digest = ""
	}
	if end.was != nil && !end.whole {
		image.left = append(image.left, *end.was)
	}
	l.sum.Range(x.ref.Content, end.size)
	l.at, l.pieces, l.rng = end.from+end.size, nil, format.RangeSum{}
	l.t.extents = append(l.t.extents, x)
	for ; l.done < len(l.t.extents)-1; l.done++ {
		x := &l.t.extents[l.done]
		if !x.named() {
			// Waiting here could be for something that waits for this very image: ask for the pack to be closed, and look
			// again at the next range.
			poke(l.pipe.press)
			return nil
		}
		if err := l.large.writeExtent(ctx, l.t, x, l.t.used(l.needs)); err != nil {
			return err
		}
	}
	return nil
}

// plan decides for each block of the image, range by range, whether it is read, and passes it on.
func (r *imageReader) plan(ctx context.Context) error {
	defer close(r.order)
	defer close(r.jobs)
	p, stop := r.newImagePlan(ctx)
	defer stop()
	for from := int64(0); from < r.t.entry.Size; from += format.ImageRange {
		end := &rangeEnd{from: from, size: min(format.ImageRange, r.t.entry.Size-from)}
		if err := p.list(end); err != nil {
			return err
		}
		if err := r.planRange(ctx, p, end); err != nil {
			return err
		}
		if err := send(ctx, r.order, &step{end: end}); err != nil {
			return err
		}
	}
	return p.rest()
}

// planRange passes on the blocks of one range, unless it stands as it was.
func (r *imageReader) planRange(ctx context.Context, p *imagePlan, end *rangeEnd) error {
	unchanged := p.since && p.same && end.was != nil && end.was.Digest == end.digest && (end.digest != "" || end.was.Hole)
	if unchanged && r.thin == nil {
		end.whole = true
		return nil
	}
	were, err := p.chunksWere(ctx, r.s, end)
	if err != nil {
		return err
	}
	if unchanged && !r.thins(end.was, were) {
		end.whole = true
		return nil
	}
	for _, b := range p.blocks {
		s := &step{block: b.N}
		// What is the same but was no data block then is read as well, to be sure: mostly it was written with zeros.
		if c, ok := were[b.N]; ok && b.Same && !r.thin.leavesPack(c.Pack) {
			s.known = c
		} else {
			s.done = make(chan struct{})
			buf, _, err := receive(ctx, r.bufs)
			if err != nil {
				return err
			}
			s.buf = buf[:min(format.ImageBlock, r.t.entry.Size-b.N*format.ImageBlock)]
		}
		if err := send(ctx, r.order, s); err != nil {
			return err
		}
		if s.done == nil {
			continue
		}
		if err := send(ctx, r.jobs, s); err != nil {
			return err
		}
	}
	return nil
}

// thins reports whether something a range refers to is let go: it is read, or its page written, anew.
func (r *imageReader) thins(was *format.Extent, were map[int64]format.Chunk) bool {
	for _, c := range were {
		if r.thin.leavesPack(c.Pack) {
			return true
		}
	}
	return r.thin.leaves(was.Object)
}

// blocksDigest is what the listing said of a range; none if it has no blocks.
func blocksDigest(blocks []source.Block) string {
	if len(blocks) == 0 {
		return ""
	}
	h := sha256.New()
	var b []byte
	for _, n := range blocks {
		b = appendNumber(b[:0], n.N)
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
