package backup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// imagePlan walks an image's listing beside the extents of its base. It holds one range of each.
type imagePlan struct {
	blocks []source.Block // of the range at hand
	same   bool           // all of them are as in the base
	since  bool           // same means something

	next   func() (source.Block, error, bool)
	ahead  source.Block // the block behind the range at hand, if more
	more   bool
	last   int64
	oldest func() (format.Extent, error, bool)
	old    *format.Extent // the base's extent at or behind the range at hand
	image  *imageTask
	known  map[int64]format.Chunk
}

// newImagePlan starts both walks; stop ends them.
func (r *imageReader) newImagePlan(ctx context.Context) (_ *imagePlan, stop func()) {
	p := &imagePlan{image: r.t.image, last: -1, known: map[int64]format.Chunk{}}
	p.since, _ = r.img.Since()
	next, stopNext := iter.Pull2(r.img.Blocks(ctx))
	p.next = next
	if p.image.base == nil {
		p.oldest = func() (format.Extent, error, bool) { return format.Extent{}, nil, false }
		return p, stopNext
	}
	inner := func(x format.Extent) { p.image.inner = append(p.image.inner, x) }
	old, stopOld := iter.Pull2(tree.Extents(ctx, r.s.Content.Extent, p.image.base, 0, inner))
	p.oldest = old
	return p, func() { stopNext(); stopOld() }
}

// list collects the blocks of a range and the base's extent.
func (p *imagePlan) list(end *rangeEnd) error {
	p.blocks, p.same = p.blocks[:0], true
	limit := (end.from + end.size + format.ImageBlock - 1) / format.ImageBlock
	for {
		if !p.more {
			b, err, ok := p.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if b.N <= p.last {
				return fmt.Errorf("block %d is listed behind block %d", b.N, p.last)
			}
			p.ahead, p.more, p.last = b, true, b.N
		}
		if p.ahead.N >= limit {
			break
		}
		p.blocks, p.same, p.more = append(p.blocks, p.ahead), p.same && p.ahead.Same, false
	}
	end.digest = blocksDigest(p.blocks)
	return p.listOld(end)
}

// listOld finds the base's extent of the same place. What there is between is left behind.
func (p *imagePlan) listOld(end *rangeEnd) error {
	for {
		if p.old == nil {
			x, err, ok := p.oldest()
			if err != nil {
				return fmt.Errorf("read where the image was: %w", err)
			}
			if !ok {
				return nil
			}
			p.old = &x
		}
		if p.old.From > end.from {
			return nil
		}
		x := p.old
		p.old = nil
		if x.From == end.from && x.Size == end.size {
			end.was = x
			return nil
		}
		p.image.left = append(p.image.left, *x)
	}
}

// rest leaves behind what the base has more, and refuses blocks behind the image's end.
func (p *imagePlan) rest() error {
	if p.more {
		return fmt.Errorf("block %d is listed behind the image's end", p.ahead.N)
	}
	if _, err, ok := p.next(); err != nil || ok {
		return errors.Join(err, errors.New("blocks are listed behind the image's end"))
	}
	for {
		x, err, ok := p.oldest()
		if p.old != nil {
			p.image.left, p.old = append(p.image.left, *p.old), nil
		}
		if err != nil || !ok {
			return err
		}
		p.image.left = append(p.image.left, x)
	}
}

// chunksWere gives the base's chunks of a range by block, where they mean something.
func (p *imagePlan) chunksWere(ctx context.Context, s *repo.Session, end *rangeEnd) (map[int64]format.Chunk, error) {
	clear(p.known)
	if !p.since || end.was == nil || end.was.Hole {
		return p.known, nil
	}
	at := end.from
	for c, err := range tree.ExtentChunks(ctx, s.Content.Extent, *end.was) {
		if err != nil {
			return nil, fmt.Errorf("read where the image was: %w", err)
		}
		if !c.Hole && (at%format.ImageBlock != 0 || c.Size != min(format.ImageBlock, end.from+end.size-at)) {
			return nil, fmt.Errorf("read where the image was: chunk of %d bytes at %d: %w", c.Size, at, format.ErrMalformed)
		}
		if !c.Hole {
			p.known[at/format.ImageBlock] = c
		}
		at += c.Size
	}
	return p.known, nil
}

func appendNumber(b []byte, n int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(n)) }

// resolveImage brings the needs list up to date.
func (m *manifest) resolveImage(ctx context.Context, t *task) error {
	image := t.image
	count, sign := image.taken, int64(1)
	if image.base == nil || image.base != t.old {
		if err := m.fetch.letGo(ctx, t); err != nil {
			return err
		}
	} else {
		count, sign = image.left, -1
		for _, x := range image.inner {
			m.needs.drops(x)
		}
	}
	for _, x := range count {
		if sign < 0 && !m.needs.beyond {
			break
		}
		if err := m.needs.extent(ctx, x, m.s.Content, sign); err != nil {
			return fmt.Errorf("read where %q was: %w", t.entry.Key, err)
		}
	}
	return nil
}

// letGo takes an image that is not in the point off the needs list; of other entries the planner did.
func (e *fetching) letGo(ctx context.Context, t *task) error {
	if t.image == nil || t.old == nil || !isDisk(t.old) {
		return nil
	}
	return e.needs.dropsEntry(ctx, t.old, e.s.Content)
}
