package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	batchPieces = 1024 // chunks and holes of one batch
	batchQueue  = 16   // batches ahead; bytes bound them more tightly
)

// batch is a run of an entry's chunks that are fetched together.
type batch struct {
	chunks []format.Chunk
	size   int64 // bytes of data, holes not counted
	buf    []byte
	held   int64 // bytes of the stream's budget
	done   chan struct{}
	err    error // set before done is closed
}

// stream gives a large entry's content in order, a few batches being fetched ahead.
func (r *run) stream(ctx context.Context, e *format.Entry) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		g, gctx := errgroup.WithContext(ctx)
		s := &stream{run: r, e: e, g: g, budget: semaphore.NewWeighted(r.limits.stream), order: make(chan *batch, batchQueue)}
		g.Go(func() error {
			defer close(s.order)
			return s.plan(gctx)
		})
		more, err := s.consume(gctx, yield)
		cancel()
		// The batches' context ends with the planner's error, which then says why.
		if werr := g.Wait(); werr != nil && (err == nil || errors.Is(err, context.Canceled)) {
			err = werr
		}
		if err != nil && more {
			yield(Piece{}, err)
		}
	}
}

type stream struct {
	*run
	e      *format.Entry
	g      *errgroup.Group
	budget *semaphore.Weighted
	order  chan *batch
}

// plan cuts the content into batches and starts them, in order.
func (s *stream) plan(ctx context.Context) error {
	b := &batch{}
	for c, err := range s.chunks(ctx) {
		if err != nil {
			return err
		}
		size := c.Size
		if c.Hole {
			size = 0
		}
		if len(b.chunks) > 0 && (b.size+size > s.limits.batch || len(b.chunks) == batchPieces) {
			if err := s.start(ctx, b); err != nil {
				return err
			}
			b = &batch{}
		}
		b.chunks = append(b.chunks, c)
		b.size += size
	}
	if len(b.chunks) == 0 {
		return nil
	}
	return s.start(ctx, b)
}

// chunks gives the references in order, from the entry or from its extent pages.
func (s *stream) chunks(ctx context.Context) iter.Seq2[format.Chunk, error] {
	return func(yield func(format.Chunk, error) bool) {
		for _, c := range s.e.Chunks {
			c.Sum = sumOf(s.e, &c)
			if !yield(c, nil) {
				return
			}
		}
		for _, x := range s.e.Extents {
			var covered int64
			page, err := s.o.Reader.Extent(ctx, x)
			if err != nil {
				yield(format.Chunk{}, fmt.Errorf("extent page at %d: %w", x.From, err))
				return
			}
			for line, err := range format.PageLines(page) {
				var c format.Chunk
				if err == nil {
					c, err = format.ParseChunk(line)
				}
				if err == nil && c.Size > x.Size-covered {
					err = fmt.Errorf("holds more than its %d bytes: %w", x.Size, format.ErrMalformed)
				}
				if err != nil {
					yield(format.Chunk{}, fmt.Errorf("extent page at %d: %w", x.From, err))
					return
				}
				covered += c.Size
				if !yield(c, nil) {
					return
				}
			}
			if covered != x.Size {
				yield(format.Chunk{}, fmt.Errorf("extent page at %d holds %d of its %d bytes: %w", x.From, covered, x.Size, format.ErrMalformed))
				return
			}
		}
	}
}

// start fetches a batch on a goroutine of its own, as soon as the budget allows.
func (s *stream) start(ctx context.Context, b *batch) error {
	b.held = min(b.size, s.limits.stream)
	if err := s.budget.Acquire(ctx, b.held); err != nil {
		return err
	}
	b.buf, b.done = s.buffer(b.size), make(chan struct{})
	select {
	case s.order <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.g.Go(func() error {
		defer close(b.done)
		b.err = s.fill(ctx, b)
		return nil // the consumer sees it in its turn
	})
	return nil
}

// fill fetches what a batch is made of.
func (s *stream) fill(ctx context.Context, b *batch) error {
	packs := make(packs)
	var failed error
	at := int64(0)
	for i := range b.chunks {
		c := &b.chunks[i]
		if c.Hole {
			continue
		}
		packs.add(piece{chunk: c, sum: c.Sum, dst: b.buf[at : at+c.Size], arrived: func(err error) error {
			if err != nil && failed == nil {
				failed = err
			}
			return nil
		}})
		at += c.Size
	}
	for _, j := range packs.jobs() {
		if err := s.fetches.Acquire(ctx, 1); err != nil {
			return err
		}
		err := s.fetch(ctx, j)
		s.fetches.Release(1)
		if err == nil {
			err = failed
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// consume yields the batches' pieces as they come and checks the whole. more is false when the consumer wants no more.
func (s *stream) consume(ctx context.Context, yield func(Piece, error) bool) (more bool, err error) {
	sum := sha256.New()
	var total int64
	for b := range s.order {
		select {
		case <-b.done:
		case <-ctx.Done():
			return true, ctx.Err()
		}
		if b.err != nil {
			return true, b.err
		}
		at := int64(0)
		for i := range b.chunks {
			c := &b.chunks[i]
			p := Piece{Hole: c.Size}
			if !c.Hole {
				p = Piece{Data: b.buf[at : at+c.Size]}
				at += c.Size
			}
			if !isOneChunk(s.e) {
				hashPiece(sum, p)
			}
			total += c.Size
			if !yield(p, nil) {
				return false, nil
			}
			s.tally.show(0, c.Size)
		}
		s.keep(b.buf)
		b.buf = nil
		s.budget.Release(b.held)
	}
	if ctx.Err() != nil {
		return true, nil // the planner's error says why
	}
	if total != s.e.Size {
		return true, mismatch("%d bytes instead of %d", total, s.e.Size)
	}
	if !isOneChunk(s.e) && format.Hash(sum.Sum(nil)) != s.e.SHA256 {
		return true, mismatch("its chunks are right and its SHA-256 is not")
	}
	return true, nil
}

// buffer gives n bytes, of a buffer used before where one is at hand.
func (r *run) buffer(n int64) []byte {
	select {
	case b := <-r.free:
		if int64(cap(b)) >= n {
			return b[:n]
		}
	default:
	}
	return make([]byte, n, max(n, r.limits.batch))
}

// keep holds on to a buffer that nobody uses any more.
func (r *run) keep(b []byte) {
	select {
	case r.free <- b:
	default:
	}
}
