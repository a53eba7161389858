package cache

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A run looks up the same few hundred placements as the one before it, which lie all over a database that was just opened. So those that
// were looked up are written into one record when the cache is closed, from which the next run takes them. The record is removed when it
// is read: after a crash, in which it could say what does not hold any more, there is none.

// maxHot is how many placements of a vault are remembered so.
const maxHot = 4096

// hot are placements of one vault that were looked up, or put, since the cache was opened, and those of the time before.
type hot struct {
	before map[string][]byte // as they are encoded
	now    map[string][]byte
	puts   int // and removals: what was read before one need not hold after it
}

// hots are those of all vaults.
type hots struct {
	mu sync.Mutex
	of map[string]*hot
}

// hot gives those of a vault. The caller holds hots.mu.
func (c *core) hot(vault string) (*hot, error) {
	if h := c.hots.of[vault]; h != nil {
		return h, nil
	}
	h := &hot{before: map[string][]byte{}, now: map[string][]byte{}}
	key, err := namedKey(keyHot, vault, "")
	if err != nil {
		return nil, err
	}
	there, err := c.get("reading what was looked up", key, func(value []byte) error {
		r := reader{b: append([]byte(nil), value...)}
		for !r.done() && !r.bad {
			name := string(r.take(int(r.count())))
			h.before[name] = r.take(int(r.count()))
		}
		if r.bad {
			return fmt.Errorf("%w: what was looked up", ErrCorrupt)
		}
		return nil
	})
	if err == nil && there {
		err = c.write("reading what was looked up", func(w *writer) error { return w.drop(key) })
	}
	if err != nil {
		return nil, err
	}
	if c.hots.of == nil {
		c.hots.of = map[string]*hot{}
	}
	c.hots.of[vault] = h
	return h, nil
}

// lookUp gives an encoded placement that is at hand, or how often something was put before it is read.
func (c *Places) lookUp(vault, name string) (value []byte, puts int, err error) {
	c.hots.mu.Lock()
	defer c.hots.mu.Unlock()
	h, err := c.hot(vault)
	if err != nil {
		return nil, 0, err
	}
	value, ok := h.now[name]
	if !ok {
		if value, ok = h.before[name]; ok {
			h.keep(name, value)
		}
	}
	return value, h.puts, nil
}

// found remembers a placement that was looked up, unless something was put meanwhile.
func (c *Places) found(vault, name string, value []byte, puts int) {
	c.hots.mu.Lock()
	defer c.hots.mu.Unlock()
	if h := c.hots.of[vault]; h != nil && h.puts == puts {
		h.keep(name, append([]byte(nil), value...))
	}
}

// heat remembers a placement that is put; nil: it is removed.
func (c *Places) heat(vault, name string, value []byte) error {
	c.hots.mu.Lock()
	defer c.hots.mu.Unlock()
	h, err := c.hot(vault)
	if err != nil {
		return err
	}
	h.puts++
	delete(h.before, name)
	if delete(h.now, name); value != nil {
		h.keep(name, append([]byte(nil), value...))
	}
	return nil
}

func (h *hot) keep(name string, value []byte) {
	if len(h.now) < maxHot {
		h.now[name] = value
	}
}

// keepHot writes what was looked up for the next run.
func (c *core) keepHot() error {
	c.hots.mu.Lock()
	defer c.hots.mu.Unlock()
	for vault, h := range c.hots.of {
		if len(h.now) == 0 {
			continue
		}
		var b []byte
		for name, value := range h.now {
			b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
			b = append(binary.AppendUvarint(b, uint64(len(value))), value...)
		}
		key, err := namedKey(keyHot, vault, "")
		if err != nil {
			return err
		}
		if err := c.write("keeping what was looked up", func(w *writer) error { return w.set(key, b) }); err != nil {
			return err
		}
	}
	return nil
}

// placementAt is Get of what is not at hand.
func (c *Places) placementAt(vault, name string, puts int) (p format.Placement, ok bool, err error) {
	key, err := namedKey(keyPlacement, vault, name)
	if err != nil {
		return p, false, fmt.Errorf("looking up a placement: %w", err)
	}
	ok, err = c.get("looking up a placement", key, func(value []byte) (err error) {
		if p, err = decodePlacement(name, value); err == nil {
			c.found(vault, name, value, puts)
		}
		return err
	})
	return p, ok, err
}
