package cache

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Note gives what PutNote was told last about something of a vault; nil where nothing was.
func (c *Cache) Note(vault, about string) (note []byte, err error) {
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

// PutNote remembers something about a vault in its caller's own words; nil forgets it. It is not synced; see Sync.
func (c *Cache) PutNote(vault, about string, note []byte) error {
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
func (c *Cache) Unproved(vault string) iter.Seq2[string, error] {
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
func (c *Cache) PutCompared(vault, about string, note []byte) error {
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

// PlacementsFrom is Placements of the names from one on and before another.
func (c *Cache) PlacementsFrom(vault, from, before string) iter.Seq2[format.Placement, error] {
	return func(yield func(format.Placement, error) bool) {
		lower, err := namedKey(keyPlacement, vault, from)
		upper, uerr := namedKey(keyPlacement, vault, before)
		if err = errors.Join(err, uerr); err == nil {
			head := len(lower) - len(from)
			err = c.between("listing placements", lower, upper, head, func(name, value []byte) (bool, error) {
				p, err := decodePlacement(string(name), value)
				return err == nil && yield(p, nil), err
			})
		}
		if err != nil {
			yield(format.Placement{}, fmt.Errorf("listing placements: %w", err))
		}
	}
}

// Indexed is Placements of the meta objects that hold index segments.
func (c *Cache) Indexed(vault string) iter.Seq2[format.Placement, error] {
	return func(yield func(format.Placement, error) bool) {
		prefix, err := namedKey(keyIndexed, vault, "")
		if err == nil {
			err = c.each("listing index segments", prefix, func(rest, _ []byte) (bool, error) {
				p, ok, err := c.Placement(vault, string(rest))
				if err != nil || !ok || len(p.Index) == 0 {
					return err == nil, err
				}
				return yield(p, nil), nil
			})
		}
		if err != nil {
			yield(format.Placement{}, err)
		}
	}
}
