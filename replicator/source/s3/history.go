package s3source

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/store"
)

// errStop ends a listing whose reader has had enough.
var errStop = errors.New("stop")

// maxHistory is how many versions of one key are held while they are turned round.
const maxHistory = 8192

// history turns the versions of each key round: servers give the newest first, a view the oldest first. Of a key with
// more than maxHistory versions only the place of each full block is remembered (two short strings), and the blocks are
// listed again from the last to the first. So memory is bounded, and only such keys cost a second listing.
type history struct {
	v    *view
	give func(*listItem) bool
	key  string
	buf  []listItem
	ends []string // the last version of every full block that was dropped
}

// add takes the next item of the listing.
func (h *history) add(ctx context.Context, i *listItem) (bool, error) {
	if len(h.buf) > 0 && i.key != h.key {
		if more, err := h.flush(ctx); err != nil || !more {
			return more, err
		}
	}
	if len(h.buf) == h.v.held {
		h.ends = append(h.ends, h.buf[len(h.buf)-1].version)
		clear(h.buf)
		h.buf = h.buf[:0]
	}
	h.key = i.key
	h.buf = append(h.buf, *i)
	return true, nil
}

// flush gives what is held of one key.
func (h *history) flush(ctx context.Context) (bool, error) {
	more := h.backwards(h.buf)
	for more && len(h.ends) > 0 {
		block, err := h.block(ctx)
		if err != nil {
			return false, err
		}
		more = h.backwards(block)
	}
	clear(h.buf)
	h.buf, h.ends = h.buf[:0], nil
	return more, nil
}

// backwards gives the items in reverse, without those written after Freeze.
func (h *history) backwards(items []listItem) bool {
	for i := range slices.Backward(items) {
		if h.v.tooNew(items[i].modified) {
			continue
		}
		if !h.give(&items[i]) {
			return false
		}
	}
	return true
}

// block lists the last of the dropped blocks again.
func (h *history) block(ctx context.Context) ([]listItem, error) {
	n := len(h.ends) - 1
	end, start := h.ends[n], ""
	if n > 0 {
		start = h.ends[n-1]
	}
	h.ends = h.ends[:n]
	c := cursor{after: justBefore(h.key)}
	if start != "" {
		c = cursor{keyMarker: h.key, verMarker: start}
	}
	var block []listItem
	last := listItem{key: h.key, version: start}
	for {
		p, err := h.v.list.page(ctx, c)
		if err != nil {
			return nil, err
		}
		repeated := h.v.list.repeats(p, &last)
		for _, i := range p.items {
			if i.key < h.key || (i.key == h.key && repeated[i.version]) {
				continue
			}
			if i.key != h.key || len(block) == 2*h.v.held {
				return nil, h.moved()
			}
			block = append(block, i)
			if i.version == end {
				return block, nil
			}
			last = i
		}
		if !p.truncated {
			return nil, h.moved()
		}
		if c, err = h.v.list.advance(c, p); err != nil {
			return nil, err
		}
	}
}

// moved: versions were removed between the two listings of a key. Rather no listing than one with a gap.
func (h *history) moved() error {
	return fmt.Errorf("list %s: the versions of key %.200q were removed while they were listed; run again: %w",
		h.v.s.name, h.key, store.ErrListing)
}
