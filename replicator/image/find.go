package image

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// placed is a chunk and where it begins in the content.
type placed struct {
	format.Chunk
	at int64
}

func (c placed) sameFrame(o placed) bool {
	return !c.Hole && !o.Hole && c.Pack == o.Pack && c.Frame == o.Frame
}

// search gives the place in list of the chunk that holds the byte at off, which must be in it.
func search(list []placed, off int64) int {
	i, found := slices.BinarySearchFunc(list, off, func(c placed, off int64) int { return cmp.Compare(c.at, off) })
	if found {
		return i
	}
	return i - 1
}

// find gives the chunks that hold the n bytes from off on, and before and behind them those of the same extent that come
// along because they lie in the same frame.
func (m *Image) find(ctx context.Context, off, n int64) ([]placed, error) {
	var out []placed
	for end := off + n; off < end; {
		list, err := m.around(ctx, off)
		if err != nil {
			return nil, err
		}
		from := search(list, off)
		to := from
		for to < len(list) && list[to].at < end {
			to++
		}
		off = list[to-1].at + list[to-1].Size
		for from > 0 && list[from-1].sameFrame(list[from]) {
			from--
		}
		for to < len(list) && list[to].sameFrame(list[to-1]) {
			to++
		}
		out = append(out, list[from:to]...)
	}
	return out, nil
}

// weigh gives the bytes of chunks that are held while they are read.
func weigh(list []placed) (n int64) {
	for _, c := range list {
		if !c.Hole {
			n += c.Size
		}
	}
	return n
}

// around gives the chunks of the extent that off lies in, or all where there are no extents.
func (m *Image) around(ctx context.Context, off int64) ([]placed, error) {
	if len(m.entry.Extents) == 0 {
		return m.direct, nil
	}
	x, err := m.extent(ctx, off)
	if err != nil {
		return nil, err
	}
	return m.pages.get(x.From, func() ([]placed, error) {
		var out []placed
		at := x.From
		for c, err := range tree.ExtentChunks(ctx, m.in.Extent, x) {
			if err != nil {
				return nil, err
			}
			out = append(out, placed{c, at})
			at += c.Size
		}
		return out, nil
	})
}

// extent gives the extent of level 0 that off lies in.
func (m *Image) extent(ctx context.Context, off int64) (format.Extent, error) {
	x := holding(m.entry.Extents, off)
	if x.Level == 0 {
		return x, nil
	}
	inner, err := m.inner.get(x.From, func() ([]format.Extent, error) {
		var out []format.Extent
		for i, err := range tree.Extents(ctx, m.in.Extent, &format.Entry{Kind: m.entry.Kind, Extents: []format.Extent{x}}, 0, nil) {
			if err != nil {
				return nil, err
			}
			out = append(out, i)
		}
		return out, nil
	})
	if err != nil {
		return format.Extent{}, err
	}
	return holding(inner, off), nil
}

// holding gives the one of neighbouring extents that off lies in.
func holding(list []format.Extent, off int64) format.Extent {
	i, found := slices.BinarySearchFunc(list, off, func(x format.Extent, off int64) int { return cmp.Compare(x.From, off) })
	if !found {
		i--
	}
	return list[i]
}

// kept keeps what was used last, by where it begins in the content.
type kept[V any] struct {
	most int
	mu   sync.Mutex
	list []keptAt[V] // newest last
}

type keptAt[V any] struct {
	at  int64
	val V
}

// get gives what is kept for at, or else what read gives. Two who ask at once may both read it.
func (k *kept[V]) get(at int64, read func() (V, error)) (V, error) {
	if v, ok := k.peek(at); ok {
		return v, nil
	}
	v, err := read()
	if err != nil {
		return v, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, keptAt[V]{at, v})
	if len(k.list) > k.most {
		k.list = slices.Delete(k.list, 0, 1)
	}
	return v, nil
}

func (k *kept[V]) peek(at int64) (v V, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.list, func(x keptAt[V]) bool { return x.at == at })
	if i < 0 {
		return v, false
	}
	x := k.list[i]
	k.list = append(slices.Delete(k.list, i, i+1), x)
	return x.val, true
}
