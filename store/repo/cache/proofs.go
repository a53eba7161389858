package cache

import (
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Proofs gives what PutProofs was told. An error is the last it gives.
func (c *Cache) Proofs() iter.Seq2[format.Hash, error] {
	return func(yield func(format.Hash, error) bool) {
		err := c.each("reading which signatures were verified", []byte{keyProof}, func(rest, _ []byte) (bool, error) {
			var h format.Hash
			if len(rest) != len(h) {
				return false, fmt.Errorf("%w: the record of a signature", ErrCorrupt)
			}
			copy(h[:], rest)
			return yield(h, nil), nil
		})
		if err != nil {
			yield(format.Hash{}, err)
		}
	}
}

// Proved tells whether PutProofs was told of one.
func (c *Cache) Proved(proof format.Hash) (bool, error) {
	return c.get("looking up a signature", append([]byte{keyProof}, proof[:]...), func([]byte) error { return nil })
}

// PutProofs remembers signatures that were verified, each by a hash of all that was. It is not synced; see Sync.
func (c *Cache) PutProofs(proofs []format.Hash) error {
	return c.write("remembering which signatures were verified", func(w *writer) error {
		for _, h := range proofs {
			if err := w.set(append([]byte{keyProof}, h[:]...), nil); err != nil {
				return err
			}
		}
		return nil
	})
}
