package image

import (
	"bytes"
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// cache keeps checked chunks by where they begin, those used last, up to most bytes.
type cache struct {
	mu   sync.Mutex
	most int64
	size int64
	at   map[int64]*list.Element
	used list.List // of *slot, newest in front
}

// slot is one chunk, there or on its way. data and err are set before done is closed.
type slot struct {
	chunk placed
	done  chan struct{}
	data  []byte
	err   error
}

// claim gives c's slot, and whether the caller has to fill it.
func (k *cache) claim(c placed) (s *slot, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.at[c.at]; ok {
		k.used.MoveToFront(e)
		return e.Value.(*slot), false
	}
	s = &slot{chunk: c, done: make(chan struct{})}
	k.at[c.at] = k.used.PushFront(s)
	return s, true
}

// settle says that a claimed slot is filled, or will not be: then the next who asks may try again.
func (k *cache) settle(s *slot) {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(s.done)
	if s.err != nil {
		k.drop(s)
		return
	}
	k.size += s.chunk.Size
	for e := k.used.Back(); e != nil && k.size > k.most; {
		old := e.Value.(*slot)
		e = e.Prev()
		select {
		case <-old.done:
			k.size -= old.chunk.Size
			k.drop(old)
		default: // on its way
		}
	}
}

func (k *cache) drop(s *slot) {
	k.used.Remove(k.at[s.chunk.at])
	delete(k.at, s.chunk.at)
}

// get gives the chunks' slots, filled; a hole has none.
func (m *Image) get(ctx context.Context, want []placed) ([]*slot, error) {
	slots := make([]*slot, len(want))
	var mine []*slot
	for i, c := range want {
		if c.Hole {
			continue
		}
		var fill bool
		if slots[i], fill = m.chunks.claim(c); fill {
			mine = append(mine, slots[i])
		}
	}
	if len(mine) > 0 {
		m.fill(ctx, mine)
	}
	for i, s := range slots {
		for s != nil {
			select {
			case <-s.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if s.err == nil {
				break
			}
			// Whoever was fetching it may have gone away.
			if !errors.Is(s.err, context.Canceled) && !errors.Is(s.err, context.DeadlineExceeded) || ctx.Err() != nil {
				return nil, s.err
			}
			var fill bool
			if s, fill = m.chunks.claim(want[i]); fill {
				m.fill(ctx, []*slot{s})
			}
			slots[i] = s
		}
	}
	return slots, nil
}

// fill fetches what the slots are made of and settles every one of them.
func (m *Image) fill(ctx context.Context, mine []*slot) {
	byPack := map[format.Hash][]*slot{}
	for _, s := range mine {
		byPack[s.chunk.Pack] = append(byPack[s.chunk.Pack], s)
	}
	var g errgroup.Group
	for pack, some := range byPack {
		g.Go(func() error {
			m.fetch(ctx, pack, some)
			return nil // each slot has its own
		})
	}
	_ = g.Wait()
}

// fetch fills slots of one pack. A frame that fails fails alone: the others may be right.
func (m *Image) fetch(ctx context.Context, pack format.Hash, some []*slot) {
	err := m.fetches.Acquire(ctx, 1)
	if err == nil {
		defer m.fetches.Release(1)
		err = m.frames(ctx, pack, some)
	}
	for _, s := range some {
		serr := err
		if s.data == nil && err != nil && len(some) > 1 && ctx.Err() == nil {
			serr = m.frames(ctx, pack, []*slot{s})
		}
		if s.data == nil {
			s.err = cmp.Or(serr, errUnvisited)
		}
		m.chunks.settle(s)
	}
}

var errUnvisited = errors.New("a chunk was not fetched")

func (m *Image) frames(ctx context.Context, pack format.Hash, some []*slot) error {
	frames := make([]format.Frame, len(some))
	for i, s := range some {
		frames[i] = s.chunk.Frame
	}
	return m.in.Frames(ctx, format.PackName(pack), frames, func(i int, plain []byte) error {
		s := some[i]
		if s.data != nil {
			return nil
		}
		c := &s.chunk
		if c.At < 0 || c.Size < 0 || c.At > int64(len(plain)) || c.Size > int64(len(plain))-c.At {
			return repo.ErrWrongBytes
		}
		b := plain[c.At:][:c.Size]
		if sha256.Sum256(b) != c.Sum {
			return repo.ErrWrongBytes
		}
		s.data = bytes.Clone(b)
		return nil
	})
}
