package cache

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Notes are what is remembered about a vault in its caller's own words, what was stored there and is not compared yet, and what a verification
// found damaged.
type Notes struct{ *core }

// Get gives what Put was told last about something of a vault; nil where nothing was.
func (c *Notes) Get(vault, about string) (note []byte, err error) {
	key, err := namedKey(keyNote, vault, about)
	if err != nil {
		return nil, fmt.Errorf("reading a note: %w", err)
	}
	_, err = c.get("reading a note", key, func(value []byte) error {
		note = slices.Clone(value)
		return nil
	})
	return note, err
}

// Put remembers something about a vault in its caller's own words; nil forgets it. It is not synced; see Sync.
func (c *Notes) Put(vault, about string, note []byte) error {
	return c.write("noting something", func(w *writer) error {
		key, err := namedKey(keyNote, vault, about)
		if err != nil {
			return err
		}
		if note == nil {
			return w.drop(key)
		}
		return w.set(key, note)
	})
}

// Unproved gives the names of a vault's objects whose placements were put since PutCompared, in order. An error is the last it gives.
func (c *Notes) Unproved(vault string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix, err := namedKey(keyUnproved, vault, "")
		if err == nil {
			err = c.each("listing what is to be compared", prefix, func(rest, _ []byte) (bool, error) { return yield(string(rest), nil), nil })
		}
		if err != nil {
			yield("", err)
		}
	}
}

// PutCompared remembers that all placements of a vault were held against its listing, with a note about how; nil: none. It is not
// synced; see Sync.
func (c *Notes) PutCompared(vault, about string, note []byte) error {
	const doing = "noting what was compared"
	if err := c.usable(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	prefix, err := namedKey(keyUnproved, vault, "")
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	key, err := namedKey(keyNote, vault, about)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	b := c.db.NewBatch()
	err = b.DeleteRange(prefix, after(prefix), nil)
	if note == nil {
		err = errors.Join(err, b.Delete(key, nil))
	} else {
		err = errors.Join(err, b.Set(key, note, nil))
	}
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	return c.outcome(doing, errors.Join(err, b.Close()))
}
