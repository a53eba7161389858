// Package image reads one entry's content at random: any bytes of a disk image, or of any other large entry, without
// reading the rest.
//
// What is asked for is found through the entry's chunk references and extent pages, fetched in ranges as large as lie
// together, checked chunk by chunk against the manifest's hashes, and kept for a while. Memory is bounded by
// Options.Memory whatever the entry's size. The package must never give a byte whose chunk was not checked, never read
// ahead of what it was asked for, and never write.
package image

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Reader is what an image is read through: a repo.Reader that opens content.
type Reader interface {
	Frames(ctx context.Context, name string, frames []format.Frame, visit func(i int, plain []byte) error) error
	Extent(ctx context.Context, x format.Extent) ([]byte, error)
}

// Options of an image.
type Options struct {
	// Memory bounds what is kept and what is in flight, in bytes. Default 64 MiB, at least 32 MiB.
	Memory int64
	// Fetches is how many stored objects are read at once. Default 8.
	Fetches int
}

const (
	defaultMemory = 64 << 20
	minMemory     = 32 << 20
	defaultAtOnce = 8
	maxInner      = 4       // pages of extents kept decoded
	maxPages      = 16      // extent pages kept decoded: some 1,024 chunks each
	step          = 8 << 20 // content bytes that one call has in flight at once
	maxLooked     = 64      // extent pages that one Status looks at
)

// ErrNoContent: the entry is of a kind that has no content, or the point never had it.
var ErrNoContent = errors.New("this entry has no content")

// ErrUnread: these bytes could not be read when the point was made. Nobody knows them, so nothing is given in their place.
var ErrUnread = errors.New("these bytes could not be read when the point was made")

// Image is an entry's content. It is safe for concurrent use.
type Image struct {
	in      Reader
	entry   *format.Entry
	direct  []placed // entry.Chunks, where there are no extents
	pages   kept[[]placed]
	inner   kept[[]format.Extent] // of extents of level 1
	chunks  cache
	fetches *semaphore.Weighted // stored objects read at once
	flight  *semaphore.Weighted // bytes of chunks that calls hold
	most    int64               // all of flight
}

// New makes an image of e, which must not change afterwards. Nothing is read yet.
func New(in Reader, e *format.Entry, o Options) (*Image, error) {
	switch {
	case e.Missing != "":
		return nil, fmt.Errorf("%q: %w: it could not be read when the point was made: %s", e.Key, ErrNoContent, e.Missing)
	case e.Kind != format.KindObject && e.Kind != format.KindFile && e.Kind != format.KindImage:
		return nil, fmt.Errorf("%q: %w: it is a %s", e.Key, ErrNoContent, e.Kind)
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Fetches <= 0 {
		o.Fetches = defaultAtOnce
	}
	o.Memory = max(o.Memory, minMemory)
	m := &Image{
		in: in, entry: e, fetches: semaphore.NewWeighted(int64(o.Fetches)),
		pages: kept[[]placed]{most: maxPages}, inner: kept[[]format.Extent]{most: maxInner},
		chunks: cache{most: o.Memory / 2, at: map[int64]*list.Element{}},
		flight: semaphore.NewWeighted(o.Memory / 2), most: o.Memory / 2,
	}
	var at int64
	for _, c := range e.Chunks {
		if len(e.Chunks) == 1 && !c.Hole {
			c.Sum = e.SHA256 // which may stand for it
		}
		m.direct = append(m.direct, placed{c, at})
		at += c.Size
	}
	return m, nil
}

// Size is the content's length in bytes.
func (m *Image) Size() int64 { return m.entry.Size }

// ReadAt fills p with the content from off on. All of p must lie within the content. Errors are the reader's: damage
// names the stored object. After an error nothing is known of what p holds.
func (m *Image) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off > m.entry.Size || int64(len(p)) > m.entry.Size-off {
		return fmt.Errorf("%d bytes at %d of %d: %w", len(p), off, m.entry.Size, io.ErrUnexpectedEOF)
	}
	if u := m.unread(off); u != nil && u.From < off+int64(len(p)) {
		return fmt.Errorf("%w: %s", ErrUnread, u.Reason)
	}
	for len(p) > 0 {
		n := min(len(p), step)
		if err := m.readStep(ctx, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return ctx.Err()
}

// span is what of a chunk comes next. A range that could not be read is no hole: whoever asks for it must be told.
func (m *Image) span(c placed, off, to int64) Span {
	switch u := m.unread(off); {
	case u == nil || u.From >= to:
		return Span{to - off, c.Hole}
	case u.From > off:
		return Span{u.From - off, c.Hole}
	default:
		return Span{min(to, u.From+u.Size) - off, false}
	}
}

// unread gives the first range at or behind off that could not be read when the point was made.
func (m *Image) unread(off int64) *format.Unread {
	for i := range m.entry.Unread {
		if u := &m.entry.Unread[i]; u.From+u.Size > off {
			return u
		}
	}
	return nil
}

// readStep reads so few bytes that the chunks they lie in can be held together.
func (m *Image) readStep(ctx context.Context, p []byte, off int64) error {
	want, err := m.find(ctx, off, int64(len(p)))
	if err != nil {
		return err
	}
	cost := min(weigh(want), m.most)
	if err := m.flight.Acquire(ctx, cost); err != nil {
		return err
	}
	defer m.flight.Release(cost)
	slots, err := m.get(ctx, want)
	if err != nil {
		return err
	}
	for i, c := range want {
		from, to := max(off, c.at), min(off+int64(len(p)), c.at+c.Size)
		if from >= to {
			continue // a neighbour that came along with its frame
		}
		dst := p[from-off : to-off]
		if c.Hole {
			clear(dst)
			continue
		}
		copy(dst, slots[i].data[from-c.at:])
	}
	return nil
}

// Span is a stretch of content that is all data, or all hole: a hole is stored nowhere and reads as zeros.
type Span struct {
	Len  int64
	Hole bool
}

// Status says of the content from off on what is data and what is hole, in order, without reading any of it. Spans next to
// each other differ. It ends after n bytes, or after most spans, or sooner where it would have to look far; it gives at
// least one unless n is 0.
func (m *Image) Status(ctx context.Context, off, n int64, most int) ([]Span, error) {
	if off < 0 || n < 0 || off > m.entry.Size || n > m.entry.Size-off {
		return nil, fmt.Errorf("%d bytes at %d of %d: %w", n, off, m.entry.Size, io.ErrUnexpectedEOF)
	}
	var out []Span
	looked := 0
	end := off + n
	for off < end && looked < maxLooked {
		list, err := m.around(ctx, off)
		if err != nil {
			return nil, err
		}
		looked++
		for _, c := range list[search(list, off):] {
			if off >= end {
				break
			}
			to := min(c.at+c.Size, end)
			for off < to {
				s := m.span(c, off, to)
				if k := len(out) - 1; k >= 0 && out[k].Hole == s.Hole {
					out[k].Len += s.Len
				} else {
					if len(out) == most {
						return out, nil
					}
					out = append(out, s)
				}
				off += s.Len
			}
		}
	}
	return out, nil
}
