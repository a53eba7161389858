package cache

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// spill is about how many bytes of sums a counter keeps in memory before it moves them to the disk.
const spill = 2 << 20

// Item is one key of a counter and the sum of what was added to it.
type Item struct {
	Key string
	Sum int64
}

// Counter sums numbers by key, in bounded memory whatever the number of keys. It lasts until it is closed, or its run ends. It
// is safe for concurrent use.
type Counter struct {
	cache  *Cache
	name   string
	prefix []byte

	mu      sync.Mutex
	pending map[string]int64
	size    int // about what pending takes
	closed  bool
}

// Counter starts an empty counter. Two of one name cannot be open at a time.
func (c *Cache) Counter(name string) (*Counter, error) {
	doing := "starting counter " + name
	if err := c.usable(); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	prefix, err := namedKey(keyScratch, name, "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counters[name] {
		return nil, fmt.Errorf("%s: it is open already", doing)
	}
	c.counters[name] = true
	return &Counter{cache: c, name: name, prefix: prefix, pending: make(map[string]int64)}, nil
}

// Add adds delta to the sum of key. Sums must fit an int64.
func (n *Counter) Add(key string, delta int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("counting: %w", ErrClosed)
	}
	if len(key) > format.MaxKey {
		return fmt.Errorf("counting: a key of %d bytes: %w", len(key), format.ErrBounds)
	}
	const entry = 64 // a map entry's share beside the key
	have, known := n.pending[key]
	n.pending[key] = have + delta
	if !known {
		n.size += len(key) + entry
	}
	if n.size < spill {
		return nil
	}
	return n.flush()
}

// flush moves the sums to the disk. The caller holds mu.
func (n *Counter) flush() error {
	err := n.cache.write("counting", func(w *writer) error {
		var value [binary.MaxVarintLen64]byte
		for k, delta := range n.pending {
			key, err := namedKey(keyScratch, n.name, k)
			if err != nil {
				return err
			}
			if err := w.merge(key, binary.AppendVarint(value[:0], delta)); err != nil {
				return err
			}
		}
		return nil
	})
	// After a failure some sums may have gone out and some not: neither more adding nor reading is of use.
	if err != nil {
		n.closed = true
		return err
	}
	clear(n.pending)
	n.size = 0
	return nil
}

// All gives every key that was ever added to, sums of zero included, sorted by key, as it was when the loop began. An
// error is the last it gives.
func (n *Counter) All() iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if err := n.settle(); err != nil {
			yield(Item{}, err)
			return
		}
		err := n.cache.each("reading counter "+n.name, n.prefix, func(rest, value []byte) (bool, error) {
			sum, err := decodeDelta(value)
			return err == nil && yield(Item{string(rest), sum}, nil), err
		})
		if err != nil {
			yield(Item{}, err)
		}
	}
}

func (n *Counter) settle() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("reading counter %s: %w", n.name, ErrClosed)
	}
	return n.flush()
}

// Close drops the counter and what it holds. A second Close does nothing.
func (n *Counter) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pending == nil {
		return nil
	}
	n.closed, n.pending = true, nil
	c := n.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.counters, n.name)
	if c.usable() != nil {
		// Whoever opens the cache next drops it.
		return nil
	}
	return c.outcome("dropping counter "+n.name, c.db.DeleteRange(n.prefix, after(n.prefix), pebble.NoSync))
}

// dropScratch drops what a run left behind that was killed.
func (c *core) dropScratch() error {
	prefix := []byte{keyScratch}
	left := false
	err := c.each("looking for leftovers", prefix, func(_, _ []byte) (bool, error) {
		left = true
		return false, nil
	})
	if err != nil || !left {
		return err
	}
	return c.outcome("dropping leftovers", c.db.DeleteRange(prefix, after(prefix), pebble.NoSync))
}

func decodeDelta(b []byte) (int64, error) {
	r := reader{b: b}
	v := r.signed()
	if !r.done() {
		return 0, fmt.Errorf("%w: a sum", ErrCorrupt)
	}
	return v, nil
}

// adder is the database's way of adding up: a sum is never read to be changed.
func adder() *pebble.Merger {
	return &pebble.Merger{
		Name: "holdfast.sum.v1",
		Merge: func(_, value []byte) (pebble.ValueMerger, error) {
			s := new(sum)
			return s, s.MergeNewer(value)
		},
	}
}

type sum int64

// MergeNewer implements pebble.ValueMerger. Addition has no order.
func (s *sum) MergeNewer(value []byte) error {
	v, err := decodeDelta(value)
	*s += sum(v)
	return err
}

// MergeOlder implements pebble.ValueMerger.
func (s *sum) MergeOlder(value []byte) error { return s.MergeNewer(value) }

// Finish implements pebble.ValueMerger.
func (s *sum) Finish(bool) ([]byte, io.Closer, error) {
	return binary.AppendVarint(nil, int64(*s)), nil, nil
}
