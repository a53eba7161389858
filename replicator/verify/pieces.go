package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// piece is a run of bytes in a frame with the hash it has to have.
type piece struct {
	key   string
	chunk format.Chunk
}

// flush hands the window to a goroutine.
func (w *walk) flush(ctx context.Context) error {
	win := w.win
	w.win, w.size = nil, 0
	if len(win) == 0 {
		return nil
	}
	w.g.Go(func() error { return w.window(ctx, win) })
	return ctx.Err()
}

// window checks single-chunk entries, pack by pack.
func (w *walk) window(ctx context.Context, win []piece) error {
	slices.SortStableFunc(win, func(a, b piece) int { return bytes.Compare(a.chunk.Pack[:], b.chunk.Pack[:]) })
	for len(win) > 0 {
		n := slices.IndexFunc(win, func(p piece) bool { return p.chunk.Pack != win[0].chunk.Pack })
		if n < 0 {
			n = len(win)
		}
		if err := w.pieces(ctx, win[:n]); err != nil {
			return err
		}
		win = win[n:]
	}
	return nil
}

// pieces checks pieces of one pack. Where something is wrong each frame is looked at by itself, to tell which entries are
// lost.
func (w *walk) pieces(ctx context.Context, ps []piece) error {
	pack := ps[0].chunk.Pack
	name := format.PackName(pack)
	if err := w.unread.why(pack); err != nil {
		return w.failed(ctx, name, notDelivered(len(ps), ps[0].key), err)
	}
	frames := make([]format.Frame, len(ps))
	for i, p := range ps {
		frames[i] = p.chunk.Frame
	}
	err := w.reader.Frames(ctx, name, frames, func(i int, plain []byte) error { return w.compare(ps[i], plain) })
	if err == nil {
		w.done(int64(len(ps)))
		return nil
	}
	if _, ok := judge(ctx, err); !ok {
		return w.failed(ctx, name, "", err)
	}
	lost, first, why := 0, "", error(nil)
	failed := map[format.Frame]error{} // small files share frames
	for i, p := range ps {
		err, again := failed[frames[i]]
		if !again || errors.Is(err, repo.ErrWrongBytes) { // of one piece, perhaps
			err = w.reader.Frames(ctx, name, frames[i:i+1], func(_ int, plain []byte) error { return w.compare(p, plain) })
		}
		if err == nil {
			w.done(1)
			continue
		}
		if _, ok := judge(ctx, err); !ok {
			return w.failed(ctx, name, "", err)
		}
		failed[frames[i]] = err
		if lost++; lost == 1 {
			first, why = p.key, err
		}
		if w.unread.note(pack, err) {
			return w.failed(ctx, name, notDelivered(lost+len(ps)-i-1, first), why)
		}
	}
	if lost == 0 {
		return nil
	}
	return w.failed(ctx, name, fmt.Sprintf("%d entries cannot be restored, the first is %q", lost, first), why)
}

func notDelivered(n int, first string) string {
	return fmt.Sprintf("the vault does not deliver it: %d entries were not read, the first is %q", n, first)
}

func (w *walk) compare(p piece, plain []byte) error {
	c := p.chunk
	if c.At > int64(len(plain))-c.Size {
		return repo.ErrWrongBytes
	}
	sum := format.Hash(sha256.Sum256(plain[c.At:][:c.Size]))
	if sum != c.Sum {
		return repo.ErrWrongBytes
	}
	return nil
}
