package verify

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// large checks an entry of several chunks: each chunk's hash, and the whole's over all of them in order.
func (w *walk) large(ctx context.Context, e *format.Entry) error {
	h := newWhole(e)
	var batch []format.Chunk
	var size int64
	object := format.PrefixPacks
	flush := func() (err error) {
		object, err = w.batch(ctx, h, batch)
		batch, size = batch[:0], 0
		return err
	}
	for c, err := range w.chunks(ctx, e) {
		if err != nil {
			return w.failed(ctx, extentOf(e, err), fmt.Sprintf("%q", e.Key), err)
		}
		if size > 0 && !c.Hole && size+c.Size > batchBytes {
			if err := flush(); err != nil {
				return w.failed(ctx, object, fmt.Sprintf("%q cannot be restored", e.Key), err)
			}
		}
		batch = append(batch, c)
		if !c.Hole {
			size += c.Size
		}
	}
	if err := flush(); err != nil {
		return w.failed(ctx, object, fmt.Sprintf("%q cannot be restored", e.Key), err)
	}
	if h.sum() != e.SHA256 {
		w.lost(repo.Damaged, w.p.commit.Manifest.Object, "%q: its chunks are intact, and their sum is not the entry's: %v", e.Key, errDiffers)
		return nil
	}
	w.done(1)
	return nil
}

// batch fetches the chunks' bytes, checks each, and adds them to h in order. On error it names the object concerned.
func (w *walk) batch(ctx context.Context, h *whole, chunks []format.Chunk) (string, error) {
	byPack := map[format.Hash][]int{}
	var order []format.Hash
	for i, c := range chunks {
		if c.Hole {
			continue
		}
		if byPack[c.Pack] == nil {
			order = append(order, c.Pack)
		}
		byPack[c.Pack] = append(byPack[c.Pack], i)
	}
	got := make([][]byte, len(chunks))
	for _, pack := range order {
		at := byPack[pack]
		frames := make([]format.Frame, len(at))
		for k, i := range at {
			frames[k] = chunks[i].Frame
		}
		name := format.PackName(pack)
		err := w.reader.Frames(ctx, name, frames, func(k int, plain []byte) error {
			c := chunks[at[k]]
			if err := w.compare(piece{chunk: c}, plain); err != nil {
				return err
			}
			got[at[k]] = bytes.Clone(plain[c.At:][:c.Size])
			return nil
		})
		if err != nil {
			return name, err
		}
	}
	for i, c := range chunks {
		if err := h.add(ctx, c, got[i]); err != nil {
			return "", err
		}
	}
	return "", nil
}

// whole is the sum over an entry's content. That of an image is made of its chunks' hashes, which were compared.
type whole struct {
	bytes *format.ContentSum
	image *format.ImageSum

	sparse bool // bytes takes zeros as they are
}

func newWhole(e *format.Entry) *whole {
	if e.Kind == format.KindImage {
		return &whole{image: format.NewImageSum(e.Size)}
	}
	return &whole{bytes: e.NewSum(), sparse: e.Sparse}
}

func (h *whole) add(ctx context.Context, c format.Chunk, b []byte) error {
	switch {
	case h.image != nil:
		return h.image.Chunk(c)
	case c.Hole && h.sparse:
		h.bytes.Zeros(c.Size)
		return nil
	case c.Hole:
		return zeros(ctx, h.bytes, c.Size)
	}
	_, err := h.bytes.Write(b) // which does not fail
	return err
}

func (h *whole) sum() format.Hash {
	if h.image != nil {
		return h.image.Sum()
	}
	return h.bytes.Sum()
}

// zeros hashes a hole, which may be of terabytes.
func zeros(ctx context.Context, h io.Writer, n int64) error {
	var block [64 << 10]byte
	for ; n > 0; n -= int64(len(block)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := h.Write(block[:min(n, int64(len(block)))]); err != nil {
			return err
		}
	}
	return nil
}
