package cache

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Chunk tells where the chunk with this ID is. Sum is not set: the caller knows it. That the pack is in a vault, whole
// and locked for long enough, the placement there has to say.
func (c *Cache) Chunk(id format.Hash) (chunk format.Chunk, ok bool, err error) {
	ok, err = c.get("looking up a chunk", chunkKey(id), func(value []byte) (err error) {
		chunk, err = decodeChunk(value)
		return err
	})
	return chunk, ok, err
}

// PutIndex remembers where chunks are. Of several lines with one ID the last counts. It is not synced; see Sync.
func (c *Cache) PutIndex(lines []format.IndexLine) error {
	var value []byte
	return c.write("remembering chunks", func(w *writer) (err error) {
		for _, l := range lines {
			value, err = encodeChunk(value[:0], format.Chunk{Pack: l.Pack, Frame: l.Frame, At: l.At, Size: l.Size})
			if err != nil {
				return fmt.Errorf("chunk %s: %w", l.ID, err)
			}
			if err := w.set(chunkKey(l.ID), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Placement tells where an object is in a vault.
func (c *Cache) Placement(vault, name string) (p format.Placement, ok bool, err error) {
	value, puts, err := c.lookUp(vault, name)
	if err != nil {
		return p, false, fmt.Errorf("looking up a placement: %w", err)
	}
	if value == nil {
		return c.placementAt(vault, name, puts)
	}
	p, err = decodePlacement(name, value)
	return p, err == nil, err
}

// PutPlacements remembers where objects are in a vault. Of several with one name the last counts. It is not synced; see Sync.
func (c *Cache) PutPlacements(vault string, ps []format.Placement) error {
	var value []byte
	return c.write("remembering placements", func(w *writer) error {
		for _, p := range ps {
			key, err := namedKey(keyPlacement, vault, p.Name)
			if err != nil {
				return err
			}
			if value, err = encodePlacement(value[:0], p); err != nil {
				return err
			}
			if err := w.set(key, value); err != nil {
				return err
			}
			if err := c.heat(vault, p.Name, value); err != nil {
				return err
			}
			key[0] = keyUnproved
			if err := w.set(key, nil); err != nil {
				return err
			}
			if key[0] = keyIndexed; len(p.Index) > 0 {
				err = w.set(key, nil)
			} else if strings.HasPrefix(p.Name, format.PrefixMeta) {
				err = w.drop(key)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Placements gives what is known of a vault, by name, as it was when the loop began. An error is the last it gives.
func (c *Cache) Placements(vault string) iter.Seq2[format.Placement, error] {
	return c.PlacementsUnder(vault, "")
}

// PlacementsUnder is Placements of the names that begin with under.
func (c *Cache) PlacementsUnder(vault, under string) iter.Seq2[format.Placement, error] {
	return func(yield func(format.Placement, error) bool) {
		prefix, err := namedKey(keyPlacement, vault, under)
		if err != nil {
			yield(format.Placement{}, fmt.Errorf("listing placements: %w", err))
			return
		}
		err = c.each("listing placements", prefix, func(rest, value []byte) (bool, error) {
			p, err := decodePlacement(under+string(rest), value)
			return err == nil && yield(p, nil), err
		})
		if err != nil {
			yield(format.Placement{}, err)
		}
	}
}

// Loaded tells whether MarkLoaded was called for a vault's segment.
func (c *Cache) Loaded(vault, segment string) (bool, error) {
	key, err := namedKey(keyLoaded, vault, segment)
	if err != nil {
		return false, fmt.Errorf("looking up a segment: %w", err)
	}
	return c.get("looking up a segment", key, func([]byte) error { return nil })
}

// LoadedFrom gives the segments of a vault that MarkLoaded was called for whose names begin with under, in order, from one such name
// on. An error is the last it gives.
func (c *Cache) LoadedFrom(vault, under, from string) iter.Seq2[string, error] {
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
func (c *Cache) MarkLoaded(vault string, segments ...string) error {
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
	return c.Sync()
}

// Drop forgets where objects are in a vault, and that they were loaded. It is not synced; see Sync.
func (c *Cache) Drop(vault string, names ...string) error {
	return c.write("forgetting placements", func(w *writer) error {
		for _, name := range names {
			if err := c.heat(vault, name, nil); err != nil {
				return err
			}
			for _, kind := range []byte{keyLoaded, keyPlacement, keyIndexed} {
				key, err := namedKey(kind, vault, name)
				if err != nil {
					return err
				}
				if err := w.drop(key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Unplace forgets where segments are in a vault, and not that they were loaded: they are not kept up any more, and not
// read again. It is not synced; see Sync.
func (c *Cache) Unplace(vault string, names ...string) error {
	return c.write("letting go of segments", func(w *writer) error {
		for _, name := range names {
			if err := c.heat(vault, name, nil); err != nil {
				return err
			}
			for _, kind := range []byte{keyPlacement, keyIndexed} {
				key, err := namedKey(kind, vault, name)
				if err != nil {
					return err
				}
				if err := w.drop(key); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// each calls visit for the keys that start with prefix, in order, with what follows the prefix, until it gives false or
// an error. The slices are valid during the call only.
func (c *Cache) each(doing string, prefix []byte, visit func(rest, value []byte) (bool, error)) error {
	return c.between(doing, prefix, after(prefix), len(prefix), visit)
}

// between is each for the keys from one on and before another, which begin alike for so many bytes.
func (c *Cache) between(doing string, from, before []byte, head int, visit func(rest, value []byte) (bool, error)) error {
	if err := c.usable(); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: before})
	if err != nil {
		return c.outcome(doing, err)
	}
	for ok := it.First(); ok && err == nil; {
		var value []byte
		if value, err = it.ValueAndErr(); err != nil {
			break
		}
		var more bool
		if more, err = visit(it.Key()[head:], value); !more || err != nil {
			break
		}
		ok = it.Next()
	}
	return c.outcome(doing, errors.Join(err, it.Close()))
}
