package s3source

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	sortMemory = 8 << 20 // what a sorter holds before it writes a run to disk
	maxRuns    = 32      // as many runs are merged into one at a time
	runBuffer  = 32 << 10
)

// sorter sorts listed items by key, and those of one key by the reverse of the order in which they came, or as they came.
// What does not fit into its memory lies in files without a name, which end with the process.
type sorter struct {
	dir    string // "": the system's
	memory int    // 0: sortMemory

	items []sortItem
	held  int
	next  int64
	runs  []*os.File
}

type sortItem struct {
	listItem
	turn int64
}

func compareItems(a, b *sortItem) int {
	return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.turn, b.turn))
}

// add takes an item; reversed: it comes before those of its key that were added earlier.
func (s *sorter) add(ctx context.Context, it *listItem, reversed bool) error {
	s.next++
	turn := s.next
	if reversed {
		turn = -turn
	}
	s.items = append(s.items, sortItem{*it, turn})
	s.held += 200 + len(it.key) + len(it.version) + len(it.etag) + len(it.class) + len(it.bad)
	if s.held < cmp.Or(s.memory, sortMemory) {
		return nil
	}
	return s.spill(ctx)
}

// spill writes what is held as a run of its own.
func (s *sorter) spill(ctx context.Context) error {
	slices.SortFunc(s.items, func(a, b sortItem) int { return compareItems(&a, &b) })
	w, err := s.newRun()
	if err != nil {
		return err
	}
	for i := range s.items {
		if err := w.write(&s.items[i]); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	clear(s.items)
	s.items, s.held = s.items[:0], 0
	if len(s.runs) < maxRuns {
		return nil
	}
	return s.join(ctx)
}

// join makes one run of all of them.
func (s *sorter) join(ctx context.Context) error {
	old := s.runs
	s.runs = nil
	defer func() {
		for _, f := range old {
			_ = f.Close() // only read from
		}
	}()
	w, err := s.newRun()
	if err != nil {
		return err
	}
	if err := merge(ctx, old, w.write); err != nil {
		return err
	}
	return w.end()
}

// each hands on everything in order.
func (s *sorter) each(ctx context.Context, give func(*listItem) error) error {
	if len(s.runs) == 0 {
		slices.SortFunc(s.items, func(a, b sortItem) int { return compareItems(&a, &b) })
		for i := range s.items {
			if err := give(&s.items[i].listItem); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(ctx); err != nil {
		return err
	}
	return merge(ctx, s.runs, func(it *sortItem) error { return give(&it.listItem) })
}

func (s *sorter) close() {
	for _, f := range s.runs {
		_ = f.Close() // only read from
	}
	s.runs = nil
}

// runWriter writes one run.
type runWriter struct {
	f   *os.File
	w   *bufio.Writer
	buf []byte
}

func (s *sorter) newRun() (*runWriter, error) {
	f, err := os.CreateTemp(s.dir, "holdfast-list-*")
	if err != nil {
		return nil, fmt.Errorf("a file to sort the listing in: %w", err)
	}
	s.runs = append(s.runs, f)
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("a file to sort the listing in: %w", err)
	}
	return &runWriter{f: f, w: bufio.NewWriterSize(f, runBuffer)}, nil
}

func (w *runWriter) write(it *sortItem) error {
	b := binary.AppendVarint(w.buf[:0], it.turn)
	b = binary.AppendVarint(b, it.size)
	b = binary.AppendVarint(b, it.modified.Unix())
	b = binary.AppendVarint(b, int64(it.modified.Nanosecond()))
	flags := byte(0)
	for i, set := range [...]bool{it.marker, it.latest, it.modified.IsZero()} {
		if set {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, text := range [...]string{it.key, it.version, it.etag, it.class, it.bad} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	w.buf = b
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("sort the listing on disk: %w", err)
	}
	return nil
}

func (w *runWriter) end() error {
	err := w.w.Flush()
	if err == nil {
		_, err = w.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("sort the listing on disk: %w", err)
	}
	return nil
}

// runReader gives the items of a run, one at a time.
type runReader struct {
	r    *bufio.Reader
	item sortItem
}

// step reads the next item; false at the end.
func (r *runReader) step() (bool, error) {
	var n [4]int64
	for i := range n {
		v, err := binary.ReadVarint(r.r)
		if i == 0 && errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("sort the listing on disk: %w", err)
		}
		n[i] = v
	}
	flags, err := r.r.ReadByte()
	if err != nil {
		return false, fmt.Errorf("sort the listing on disk: %w", err)
	}
	var texts [5]string
	for i := range texts {
		if texts[i], err = r.text(); err != nil {
			return false, fmt.Errorf("sort the listing on disk: %w", err)
		}
	}
	r.item = sortItem{turn: n[0], listItem: listItem{
		key: texts[0], version: texts[1], etag: texts[2], class: texts[3], bad: texts[4], size: n[1], marker: flags&1 != 0, latest: flags&2 != 0,
	}}
	if flags&4 == 0 {
		r.item.modified = time.Unix(n[2], n[3]).UTC()
	}
	return true, nil
}

func (r *runReader) text() (string, error) {
	n, err := binary.ReadUvarint(r.r)
	if err != nil || n > maxPageBytes {
		return "", errors.Join(err, io.ErrUnexpectedEOF)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.r, b)
	return string(b), err
}

// runHeap has the run with the least item first.
type runHeap []*runReader

func (h runHeap) Len() int           { return len(h) }
func (h runHeap) Less(i, j int) bool { return compareItems(&h[i].item, &h[j].item) < 0 }
func (h runHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *runHeap) Push(x any) { *h = append(*h, x.(*runReader)) } //nolint:forcetypeassert // our own

// Pop implements heap.Interface.
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// merge hands on the items of sorted runs in order.
func merge(ctx context.Context, runs []*os.File, give func(*sortItem) error) error {
	var h runHeap
	for _, f := range runs {
		r := &runReader{r: bufio.NewReaderSize(f, runBuffer)}
		ok, err := r.step()
		if err != nil {
			return err
		}
		if ok {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for n := 0; len(h) > 0; n++ {
		if n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := give(&h[0].item); err != nil {
			return err
		}
		ok, err := h[0].step()
		if err != nil {
			return err
		}
		if ok {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}
