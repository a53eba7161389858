package backup

import (
	"context"
	"crypto/sha256"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// assemble takes the tasks in key order, brings small content into frames that neighbours share, and hands the entries
// on to the manifest.
func (e *engine) assemble(ctx context.Context) error {
	defer close(e.pipe.manifest)
	a := &assembler{engine: e, cutter: &cutter{p: e.params}}
	for {
		t, ok, err := receive(ctx, e.pipe.seq)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := a.take(ctx, t); err != nil {
			return err
		}
	}
	// Every task is fetched, so every large object's frames are on their way too.
	if err := a.endFrame(ctx); err != nil {
		return err
	}
	e.pipe.noMoreFrames()
	return nil
}

type assembler struct {
	*engine
	cutter *cutter // for small objects above the least chunk size
	open   *frame
}

func (a *assembler) take(ctx context.Context, t *task) error {
	if t.fetched != nil {
		if _, _, err := receive(ctx, t.fetched); err != nil {
			return err
		}
		if err := a.frameContent(ctx, t); err != nil {
			return err
		}
	}
	a.budget.release(t)
	a.pipe.waiting.Add(t.weight())
	if err := send(ctx, a.pipe.manifest, t); err != nil {
		return err
	}
	return a.relieve(ctx)
}

// weight is about what a task takes in the manifest's queue.
func (t *task) weight() int64 {
	if t.entry == nil {
		return 512
	}
	return int64(512 + 4*len(t.entry.Key) + 96*len(t.pieces) + 200*len(t.entry.Chunks))
}

// frameContent brings a small object's content into the open frame, or finds it stored already.
func (a *assembler) frameContent(ctx context.Context, t *task) error {
	if len(t.data) == 0 {
		t.data = nil
		return nil
	}
	data := t.data
	t.data = nil
	if len(data) <= a.params.MinChunk {
		return a.addChunk(ctx, t, data, t.entry.SHA256)
	}
	return a.cutter.cut(&sliceReader{data}, func(chunk []byte) error {
		return a.addChunk(ctx, t, chunk, sha256.Sum256(chunk))
	})
}

func (a *assembler) addChunk(ctx context.Context, t *task, chunk []byte, sum format.Hash) error {
	if a.open == nil {
		a.open = newFrame()
	}
	p, fresh, err := a.dedup.find(ctx, sum, int64(len(chunk)), a.open)
	if err != nil {
		return err
	}
	t.pieces = append(t.pieces, p)
	if !fresh {
		return nil
	}
	a.watch.stores(t, int64(len(chunk)))
	if err := a.large.addTo(ctx, a.open, p.spot, chunk); err != nil {
		return err
	}
	if len(a.open.plain) >= frameTarget {
		return a.endFrame(ctx)
	}
	return nil
}

func (a *assembler) endFrame(ctx context.Context) error {
	f := a.open
	if f == nil || len(f.spots) == 0 {
		return nil
	}
	a.open = nil
	a.pipe.submit(f)
	return nil
}

// relieve waits, when too many entries wait for the names of packs, until enough of them have one: packs are then closed
// early.
func (a *assembler) relieve(ctx context.Context) error {
	if a.pipe.waiting.Load() < waitingMax {
		return nil
	}
	if err := a.endFrame(ctx); err != nil {
		return err
	}
	a.pipe.pressed.Store(true)
	poke(a.pipe.press)
	for a.pipe.waiting.Load() > waitingMax/2 {
		if _, _, err := receive(ctx, a.pipe.relieved); err != nil {
			return err
		}
	}
	a.pipe.pressed.Store(false)
	return nil
}

// poke says "look again" without waiting for anyone to do so.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sliceReader reads a slice; unlike bytes.Reader it has nothing that a chunker could take a short cut through.
type sliceReader struct{ b []byte }

func (s *sliceReader) Read(p []byte) (int, error) {
	n := copy(p, s.b)
	s.b = s.b[n:]
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// newFrame makes a frame without a buffer: it takes one with its first chunk.
func newFrame() *frame { return &frame{compressed: make(chan struct{}), sealed: make(chan struct{})} }

// addTo appends a chunk to a frame. The first one takes a buffer, which is the right to have one more frame on its way.
func (e *largeFiles) addTo(ctx context.Context, f *frame, s *spot, chunk []byte) error {
	if len(f.spots) == 0 {
		buf, _, err := receive(ctx, e.pipe.frameBufs)
		if err != nil {
			return err
		}
		f.plain = buf[:0]
	}
	s.at = int64(len(f.plain))
	f.plain = append(f.plain, chunk...)
	f.spots = append(f.spots, s)
	return nil
}

// startCompressors compresses frames, one goroutine a processor.
func (e *engine) startCompressors(ctx context.Context, g *errgroup.Group) {
	for range compressors() {
		g.Go(func() error {
			for {
				// First the buffer, then the frame: so it is always the earliest frames that have one, and the packer's
				// next is among them.
				buf, _, err := receive(ctx, e.pipe.packedBufs)
				if err != nil {
					return err
				}
				f, ok, err := receive(ctx, e.pipe.frames)
				if err != nil || !ok {
					e.pipe.packedBufs <- buf // another may wait for it to see the end too
					return err
				}
				f.at.Plain = int64(len(f.plain))
				f.packed = e.s.Writer.Encoder().Frame(buf[:0], f.plain)
				e.pipe.frameBufs <- f.plain // there is always room for what was taken
				f.plain = nil
				close(f.compressed)
			}
		})
	}
}
