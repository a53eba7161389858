package backup

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// upload is a sealed pack on its way into the vaults.
type upload struct {
	sealed pack.Sealed
	buf    []byte // the pack's buffer, given back when it is stored
	frames []*frame
}

// packFrames fills packs with frames in the order they were made, and names them as soon as they are sealed.
func (e *engine) packFrames(ctx context.Context) error {
	defer close(e.pipe.uploads)
	p := &packer{engine: e}
	for {
		select {
		case f, ok := <-e.pipe.inOrder:
			if !ok {
				if err := ctx.Err(); err != nil {
					return err // the queue was closed by a failure, not by the end
				}
				return p.seal(ctx)
			}
			if err := p.add(ctx, f); err != nil {
				return err
			}
			if e.pipe.pressed.Load() && len(e.pipe.inOrder) == 0 {
				if err := p.seal(ctx); err != nil {
					return err
				}
			}
		case <-e.pipe.press:
			if err := p.seal(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type packer struct {
	*engine
	b      *pack.Builder
	frames []*frame
	chunks int
}

func (p *packer) add(ctx context.Context, f *frame) error {
	if _, _, err := receive(ctx, f.compressed); err != nil {
		return err
	}
	if p.b != nil && (p.b.Payload()+int64(len(f.packed)) > packTarget || p.chunks+len(f.spots) > packChunks) {
		if err := p.seal(ctx); err != nil {
			return err
		}
	}
	if p.b == nil {
		buf, _, err := receive(ctx, p.pipe.packBufs)
		if err != nil {
			return err
		}
		if cap(buf) == 0 {
			buf = make([]byte, 0, packTarget+packTarget/256) // at once: growing would copy; what is not written takes no memory
		}
		if p.b, err = pack.NewBuilder(p.s.Writer.Recipients(), buf[:0]); err != nil {
			return err
		}
	}
	off, err := p.b.Add(f.packed)
	if err != nil {
		return err
	}
	f.at.Offset, f.at.Length = off, int64(len(f.packed))
	p.pipe.packedBufs <- f.packed // there is always room for what was taken
	f.packed = nil
	p.frames = append(p.frames, f)
	p.chunks += len(f.spots)
	return nil
}

// seal closes the pack being filled, if there is one: its frames have a place from here on.
func (p *packer) seal(ctx context.Context) error {
	if p.b == nil {
		return nil
	}
	sealed, err := p.b.Close()
	if err != nil {
		return err
	}
	u := &upload{sealed: sealed, buf: sealed.Body, frames: p.frames}
	for _, f := range p.frames {
		f.pack = sealed.Sum
		close(f.sealed)
	}
	p.b, p.frames, p.chunks = nil, nil, 0
	return send(ctx, p.pipe.uploads, u)
}

// upload stores packs and makes their chunks known to the index.
func (e *engine) upload(ctx context.Context) error {
	for {
		u, ok, err := receive(ctx, e.pipe.uploads)
		if err != nil || !ok {
			return err
		}
		if err := e.mayStore(int64(len(u.sealed.Body))); err != nil {
			return err
		}
		if err := e.s.Writer.Store(ctx, format.PackName(u.sealed.Sum), u.sealed); err != nil {
			return err
		}
		size := int64(len(u.sealed.Body))
		e.pipe.packBufs <- u.buf // there is always room for what was taken
		lines, spots := u.index()
		if err := e.s.Cache().Chunks.Put(lines); err != nil {
			return err
		}
		e.dedup.landed(spots)
		if err := e.index.add(ctx, e.s, lines, size, e.o.Now()); err != nil {
			return err
		}
	}
}

// index gives the index lines of a stored pack.
func (u *upload) index() ([]format.IndexLine, []*spot) {
	var lines []format.IndexLine
	var spots []*spot
	for _, f := range u.frames {
		for _, s := range f.spots {
			lines = append(lines, format.IndexLine{ID: s.id, Pack: f.pack, Frame: f.at, At: s.at, Size: s.size})
		}
		spots = append(spots, f.spots...)
	}
	return lines, spots
}

// indexBuffer collects index lines of stored packs until a segment is worth writing: a killed run then loses minutes.
type indexBuffer struct {
	mu    sync.Mutex
	lines []format.IndexLine
	bytes int64
	since time.Time
}

func (b *indexBuffer) start(now time.Time) { b.since = now }

// add appends the lines of a pack of size bytes and writes a segment when one is due.
func (b *indexBuffer) add(ctx context.Context, s *repo.Session, lines []format.IndexLine, size int64, now time.Time) error {
	b.mu.Lock()
	b.lines = append(b.lines, lines...)
	b.bytes += size
	pace := s.Writer.Pace()
	due := b.bytes >= pace.Bytes || now.Sub(b.since) >= pace.Every || len(b.lines) >= packChunks
	if due {
		b.since = now
	}
	b.mu.Unlock()
	if !due {
		return nil
	}
	return b.flush(ctx, s)
}

// take gives what was collected.
func (b *indexBuffer) take() []format.IndexLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := b.lines
	b.lines, b.bytes = nil, 0
	return lines
}

// flush writes what was collected, and where it is.
func (b *indexBuffer) flush(ctx context.Context, s *repo.Session) error {
	lines := b.take()
	if len(lines) == 0 {
		return nil
	}
	if err := s.Writer.StoreIndex(ctx, lines); err != nil {
		return err
	}
	return s.Writer.FlushPlacements(ctx)
}

// keepUp flushes in time also while no pack lands, because the source or the vault is slow, until done is closed.
func (b *indexBuffer) keepUp(ctx context.Context, s *repo.Session, done <-chan struct{}) error {
	tick := time.NewTicker(s.Writer.Pace().Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := b.flush(ctx, s); err != nil {
				return err
			}
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
