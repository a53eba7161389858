package cache

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// each calls visit for the keys that start with prefix, in order, with what follows the prefix, until it gives false or
// an error. The slices are valid during the call only.
func (c *core) each(doing string, prefix []byte, visit func(rest, value []byte) (bool, error)) error {
	return c.between(doing, prefix, after(prefix), len(prefix), visit)
}

// between is each for the keys from one on and before another, which begin alike for so many bytes.
func (c *core) between(doing string, from, before []byte, head int, visit func(rest, value []byte) (bool, error)) error {
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
