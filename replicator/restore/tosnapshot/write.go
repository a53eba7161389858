package tosnapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// writer fills one snapshot.
type writer struct {
	o     Options
	id    string
	token string
	slots int

	g      *errgroup.Group
	bufs   chan []byte
	linear hash.Hash // of the blocks' hashes, in order
	count  int64
	at     int64  // bytes of content so far
	block  []byte // being filled
	fill   int    // bytes in it
	data   bool   // not only zeros so far

	mu      sync.Mutex
	behind  int64          // blocks before this one are written, as an earlier try noted
	low     int64          // blocks before this one are written
	pending map[int64]bool // sent and not answered, or answered out of turn
	noted   int64
	made    []string // folders made for the note, the innermost first
}

// write sends every block that is not all zeros, and completes the snapshot when the content turned out to be right.
func (w *writer) write(ctx context.Context, e *format.Entry, c restore.Content) error {
	w.linear = sha256.New()
	w.pending = map[int64]bool{}
	w.behind = w.readNote()
	w.low, w.noted = w.behind, w.behind
	var gctx context.Context
	w.g, gctx = errgroup.WithContext(ctx)
	w.bufs = make(chan []byte, w.slots)
	for range w.slots {
		w.bufs <- make([]byte, format.ImageBlock)
	}
	err := w.take(gctx, c)
	if werr := w.g.Wait(); werr != nil && (err == nil || errors.Is(err, context.Canceled)) {
		err = werr
	}
	if err != nil {
		w.note(true)
		return err
	}
	if w.at != e.Size {
		return fmt.Errorf("%d bytes came instead of %d", w.at, e.Size)
	}
	if err := w.o.Client.Complete(ctx, w.id, w.count, format.Hash(w.linear.Sum(nil))); err != nil {
		return err
	}
	w.forget()
	return nil
}

// take cuts the content into blocks.
func (w *writer) take(ctx context.Context, c restore.Content) error {
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		if p.Hole > 0 {
			if err := w.zeros(ctx, p.Hole); err != nil {
				return err
			}
			continue
		}
		for b := p.Data; len(b) > 0; {
			if err := w.open(ctx); err != nil {
				return err
			}
			n := copy(w.block[w.fill:], b)
			w.data = true
			b = b[n:]
			if err := w.advance(ctx, n); err != nil {
				return err
			}
		}
	}
	if w.fill > 0 {
		clear(w.block[w.fill:])
		return w.send(ctx)
	}
	return nil
}

// zeros passes over a hole.
func (w *writer) zeros(ctx context.Context, n int64) error {
	for n > 0 {
		if w.fill == 0 && n >= format.ImageBlock {
			whole := n / format.ImageBlock * format.ImageBlock
			w.at, n = w.at+whole, n-whole
			continue
		}
		if err := w.open(ctx); err != nil {
			return err
		}
		k := int(min(n, int64(format.ImageBlock-w.fill)))
		clear(w.block[w.fill : w.fill+k])
		n -= int64(k)
		if err := w.advance(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// open takes a buffer if there is none.
func (w *writer) open(ctx context.Context) error {
	if w.block != nil {
		return nil
	}
	select {
	case w.block = <-w.bufs:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) advance(ctx context.Context, n int) error {
	w.at += int64(n)
	if w.fill += n; w.fill < format.ImageBlock {
		return nil
	}
	return w.send(ctx)
}

// send sends the block at hand, unless it is all zeros or an earlier try has.
func (w *writer) send(ctx context.Context) error {
	block, data := w.block, w.data
	n := (w.at - 1) / format.ImageBlock
	w.block, w.fill, w.data = nil, 0, false
	if !data || len(bytes.Trim(block, "\x00")) == 0 {
		w.bufs <- block
		return nil
	}
	sum := format.Hash(sha256.Sum256(block))
	w.linear.Write(sum[:])
	w.count++
	if n < w.behind {
		w.bufs <- block
		return nil
	}
	w.mu.Lock()
	w.pending[n] = false
	w.mu.Unlock()
	w.g.Go(func() error {
		err := w.o.Client.Put(ctx, w.id, n, block, sum)
		w.bufs <- block
		if err == nil {
			w.written(n)
		}
		return err
	})
	return nil
}

// written takes note that a block has arrived.
func (w *writer) written(n int64) {
	w.mu.Lock()
	w.pending[n] = true
	least, most := int64(-1), int64(0)
	for k, done := range w.pending {
		if !done && (least < 0 || k < least) {
			least = k
		}
		most = max(most, k)
	}
	if least < 0 {
		least = most + 1
	}
	for k := range w.pending {
		if k < least {
			delete(w.pending, k)
		}
	}
	w.low = least
	w.mu.Unlock()
	w.note(false)
}

// compare reads a snapshot back, whole, and holds it against the image's sum.
func compare(ctx context.Context, c *ebsdirect.Client, e *format.Entry, id string, slots int) error {
	img, err := c.Image(ctx, e.Key, id, e.Size, "")
	if err != nil {
		return err
	}
	defer img.Close()
	g, gctx := errgroup.WithContext(ctx)
	type read struct {
		n    int64
		sum  format.Hash
		zero bool
		done chan struct{}
	}
	order := make(chan *read, slots)
	bufs := make(chan []byte, slots)
	for range slots {
		bufs <- make([]byte, format.ImageBlock)
	}
	g.Go(func() error {
		defer close(order)
		for b, err := range img.Blocks(gctx) {
			if err != nil {
				return err
			}
			r := &read{n: b.N, done: make(chan struct{})}
			var buf []byte
			select {
			case buf = <-bufs:
			case <-gctx.Done():
				return gctx.Err()
			}
			g.Go(func() error {
				defer func() { bufs <- buf }()
				defer close(r.done)
				var err error
				r.sum, err = img.Read(gctx, r.n, buf)
				r.zero = len(bytes.Trim(buf, "\x00")) == 0
				return err
			})
			select {
			case order <- r:
			case <-gctx.Done():
				return gctx.Err()
			}
		}
		return nil
	})
	sum := format.NewImageSum(e.Size)
	at := int64(0)
	g.Go(func() error {
		for r := range order {
			<-r.done
			if gctx.Err() != nil {
				return gctx.Err()
			}
			if r.zero {
				continue
			}
			from := r.n * format.ImageBlock
			sum.Zeros(from - at)
			if err := sum.Chunk(format.Chunk{Size: format.ImageBlock, Sum: r.sum}); err != nil {
				return err
			}
			at = from + format.ImageBlock
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	sum.Zeros(e.Size - at)
	if sum.Sum() != e.SHA256 {
		return fmt.Errorf("%w: it does not hold what was written; delete it and restore again", source.ErrCorrupt)
	}
	return nil
}

// What is written is noted in a small file now and then. It saves requests and nothing depends on it: without the note
// every block is written again.

type note struct {
	Snapshot string `json:"snapshot"`
	Written  int64  `json:"written"` // blocks before this one
}

const noteEvery = 1024 // blocks

func (w *writer) notePath() string { return filepath.Join(w.o.Journal, w.token+".json") }

func (w *writer) readNote() int64 {
	if w.o.Journal == "" {
		return 0
	}
	b, err := os.ReadFile(w.notePath())
	var n note
	if err != nil || json.Unmarshal(b, &n) != nil || n.Snapshot != w.id || n.Written < 0 {
		return 0
	}
	return n.Written
}

// note writes the note if it is due.
func (w *writer) note(now bool) {
	if w.o.Journal == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !now && w.low < w.noted+noteEvery {
		return
	}
	w.noted = w.low
	b, err := json.Marshal(note{w.id, w.low})
	if err == nil {
		err = w.folder()
	}
	temp := w.notePath() + ".new"
	if err == nil {
		err = os.WriteFile(temp, b, 0o600)
	}
	if err == nil {
		_ = os.Rename(temp, w.notePath()) // a restore without a note is a longer one
	}
}

// folder makes the folder of notes and remembers what of it there was not.
func (w *writer) folder() error {
	for dir := w.o.Journal; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		w.made = append(w.made, dir)
	}
	return os.MkdirAll(w.o.Journal, 0o700)
}

// forget takes the note away, and the folders that were made for it.
func (w *writer) forget() {
	if w.o.Journal == "" {
		return
	}
	_ = os.Remove(w.notePath()) // one that stays names a snapshot that is done, and will never be asked for again
	for _, dir := range w.made {
		_ = os.Remove(dir) // which fails if something else is in it
	}
}
