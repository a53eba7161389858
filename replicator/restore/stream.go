package restore

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// batchPieces is how many chunks and holes a batch has at most.
const batchPieces = 1024

// batch is a run of an entry's chunks that lie behind each other in one pack: one request reads them.
type batch struct {
	chunks []format.Chunk
	pack   format.Hash // of the data chunks, if there are any
	at     int64       // where the last one's frame starts
	data   int         // chunks that are no holes
	alone  bool        // it takes all slots, and gives them back when it is fetched; else one, until it is consumed
	limit  int64       // bytes in flight
	budget *semaphore.Weighted
	came   chan arrival // in order; closed when nothing more comes
	err    error        // why not, set before came is closed
}

// arrival is one chunk's bytes, or why there are none.
type arrival struct {
	b   []byte
	err error
}

// takes reports whether c can be read by the same request.
func (b *batch) takes(c *format.Chunk) bool {
	if len(b.chunks) == batchPieces {
		return false
	}
	return c.Hole || b.data == 0 || c.Pack == b.pack && c.Frame.Offset >= b.at
}

func (b *batch) add(c format.Chunk) {
	b.chunks = append(b.chunks, c)
	if !c.Hole {
		b.pack, b.at = c.Pack, c.Frame.Offset
		b.data++
	}
}

// stream gives a large entry's content in order, a few batches being fetched ahead. With lax the chunks are not checked
// one by one, only the whole at the end.
func (r *run) stream(ctx context.Context, e *format.Entry, lax bool) iter.Seq2[Piece, error] {
	return func(yield func(Piece, error) bool) {
		r.streams.Add(1)
		defer r.streams.Add(-1)
		ctx, cancel := context.WithCancel(ctx)
		g, gctx := errgroup.WithContext(ctx)
		s := &stream{
			run: r, e: e, g: g, lax: lax && !isOneChunk(e) && e.Kind != format.KindImage,
			slots: semaphore.NewWeighted(r.limits.ahead), order: make(chan *batch, r.limits.ahead),
		}
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
	e     *format.Entry
	g     *errgroup.Group
	lax   bool
	slots *semaphore.Weighted // batches at once
	order chan *batch
}

// plan cuts the content into batches and starts them, in order.
func (s *stream) plan(ctx context.Context) error {
	b := &batch{}
	for c, err := range tree.Chunks(ctx, s.o.Reader.Extent, s.e) {
		if err != nil {
			return err
		}
		if !b.takes(&c) {
			if err := s.start(ctx, b); err != nil {
				return err
			}
			b = &batch{}
		}
		b.add(c)
	}
	if len(b.chunks) == 0 {
		return nil
	}
	return s.start(ctx, b)
}

// start fetches a batch on a goroutine of its own, as soon as an earlier one is done.
func (s *stream) start(ctx context.Context, b *batch) error {
	slots := int64(1)
	b.limit = s.limits.stream
	if b.alone = s.crowded(); b.alone {
		slots, b.limit = s.limits.ahead, min(b.limit, crowdedStream)
	}
	if err := s.slots.Acquire(ctx, slots); err != nil {
		return err
	}
	b.budget = semaphore.NewWeighted(b.limit)
	b.came = make(chan arrival, b.data) // so that nobody waits but for the budget
	select {
	case s.order <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.g.Go(func() error {
		defer close(b.came)
		b.err = s.fill(ctx, b)
		if b.alone {
			s.slots.Release(s.limits.ahead)
		}
		return nil // the consumer sees it in its turn
	})
	return nil
}

// crowded reports whether other large entries keep the processors busy: then one batch of each at once is enough.
func (s *stream) crowded() bool { return s.streams.Load() >= int64(runtime.GOMAXPROCS(0)) }

// fill fetches what a batch is made of. Frames are visited in order of their offsets, which is that of the chunks.
func (s *stream) fill(ctx context.Context, b *batch) error {
	wanted := make(packs)
	for i := range b.chunks {
		c := &b.chunks[i]
		if c.Hole {
			continue
		}
		var dst []byte
		room := func() ([]byte, error) {
			if dst != nil {
				return dst, nil // the frame is read again
			}
			if err := b.budget.Acquire(ctx, b.cost(c)); err != nil {
				return nil, err
			}
			dst = s.scratch.Get(pack.RoomFor(c.Size))
			return dst, nil
		}
		wanted.add(piece{chunk: c, sum: c.Sum, room: room, lax: s.lax, arrived: func(err error) error {
			if err != nil {
				b.came <- arrival{nil, err}
			} else {
				b.came <- arrival{dst[:c.Size], nil}
			}
			return nil
		}})
	}
	for _, j := range wanted.jobs(format.MaxPack) {
		if err := s.fetch(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a chunk takes of the batch's budget.
func (b *batch) cost(c *format.Chunk) int64 { return min(c.Size, b.limit) }

// consume yields the batches' pieces as they come and checks the whole. more is false when the consumer wants no more.
func (s *stream) consume(ctx context.Context, yield func(Piece, error) bool) (more bool, err error) {
	sum := newWhole(s.e)
	var total int64
	for b := range s.order {
		for i := range b.chunks {
			c := &b.chunks[i]
			p := Piece{Hole: c.Size}
			if !c.Hole {
				a, err := b.next(ctx)
				if err != nil {
					return true, err
				}
				p = Piece{Data: a}
			}
			if err := sum.add(*c, p); err != nil {
				return true, err
			}
			total += c.Size
			if !yield(p, nil) {
				return false, nil
			}
			if !c.Hole {
				s.scratch.Put(p.Data)
				b.budget.Release(b.cost(c))
			}
			s.tally.show(0, c.Size)
		}
		if !b.alone {
			s.slots.Release(1)
		}
	}
	if ctx.Err() != nil {
		return true, nil // the planner's error says why
	}
	if total != s.e.Size {
		return true, mismatch("%d bytes instead of %d", total, s.e.Size)
	}
	return true, sum.check()
}

// next waits for the batch's next chunk.
func (b *batch) next(ctx context.Context) ([]byte, error) {
	select {
	case a, ok := <-b.came:
		if !ok {
			return nil, cmp.Or(b.err, ctx.Err(), errUnasked)
		}
		return a.b, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errUnasked = errors.New("a chunk was not fetched")
