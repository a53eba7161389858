package cache

import (
	"errors"
	"fmt"
	"iter"
)

// Segments are those objects of a vault's own records, placements and index segments, that were read and put here, and whatever else is marked as
// done once.
type Segments struct{ *core }

// Loaded tells whether MarkLoaded was called for a vault's segment.
func (c *Segments) Loaded(vault, segment string) (bool, error) {
	key, err := namedKey(keyLoaded, vault, segment)
	if err != nil {
		return false, fmt.Errorf("looking up a segment: %w", err)
	}
	return c.get("looking up a segment", key, func([]byte) error { return nil })
}

// From gives the segments of a vault that MarkLoaded was called for whose names begin with under, in order, from one such name
// on. An error is the last it gives.
func (c *Segments) From(vault, under, from string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix, err := namedKey(keyLoaded, vault, under)
		first, ferr := namedKey(keyLoaded, vault, from)
		if err = errors.Join(err, ferr); err == nil {
			err = c.between("listing segments", first, after(prefix), len(prefix), func(rest, _ []byte) (bool, error) { return yield(under+string(rest), nil), nil })
		}
		if err != nil {
			yield("", err)
		}
	}
}

// MarkLoaded remembers that segments of a vault (placements or index objects, by name) were read and all they say was put
// here. It syncs, and with itself everything put before.
func (c *Segments) MarkLoaded(vault string, segments ...string) error {
	err := c.write("remembering segments", func(w *writer) error {
		for _, s := range segments {
			key, err := namedKey(keyLoaded, vault, s)
			if err != nil {
				return err
			}
			if err := w.set(key, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.sync()
}
