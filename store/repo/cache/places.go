package cache

import (
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Places are where stored objects are in each vault.
type Places struct{ *core }

// Get tells where an object is in a vault.
func (c *Places) Get(vault, name string) (p format.Placement, ok bool, err error) {
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

// Put remembers where objects are in a vault. Of several with one name the last counts. It is not synced; see Sync.
func (c *Places) Put(vault string, ps []format.Placement) error {
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

// All gives what is known of a vault, by name, as it was when the loop began. An error is the last it gives.
func (c *Places) All(vault string) iter.Seq2[format.Placement, error] {
	return c.Under(vault, "")
}

// Under is All of the names that begin with under.
func (c *Places) Under(vault, under string) iter.Seq2[format.Placement, error] {
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

// Forget forgets where segments are in a vault, and not that they were loaded: they are not kept up any more, and not
// read again. It is not synced; see Sync.
func (c *Places) Forget(vault string, names ...string) error {
	return c.forget("letting go of segments", vault, names, keyPlacement, keyIndexed)
}

// Drop forgets where objects are in a vault, and that they were loaded. It is not synced; see Sync.
func (c *Places) Drop(vault string, names ...string) error {
	return c.forget("forgetting placements", vault, names, keyLoaded, keyPlacement, keyIndexed)
}

// forget drops the records of these kinds.
func (c *Places) forget(doing, vault string, names []string, kinds ...byte) error {
	return c.write(doing, func(w *writer) error {
		for _, name := range names {
			if err := c.heat(vault, name, nil); err != nil {
				return err
			}
			for _, kind := range kinds {
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

// Between is All of the names from one on and before another.
func (c *Places) Between(vault, from, before string) iter.Seq2[format.Placement, error] {
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

// Indexed is All of the meta objects that hold index segments.
func (c *Places) Indexed(vault string) iter.Seq2[format.Placement, error] {
	return func(yield func(format.Placement, error) bool) {
		prefix, err := namedKey(keyIndexed, vault, "")
		if err == nil {
			err = c.each("listing index segments", prefix, func(rest, _ []byte) (bool, error) {
				p, ok, err := c.Get(vault, string(rest))
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
