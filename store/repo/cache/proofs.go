package cache

import (
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Proofs are the signatures that were verified before.
type Proofs struct{ *core }

// All gives what Put was told. An error is the last it gives.
func (c *Proofs) All() iter.Seq2[format.Hash, error] {
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

// Has tells whether Put was told of one.
func (c *Proofs) Has(proof format.Hash) (bool, error) {
	return c.get("looking up a signature", append([]byte{keyProof}, proof[:]...), func([]byte) error { return nil })
}

// Put remembers signatures that were verified, each by a hash of all that was. It is not synced; see Sync.
func (c *Proofs) Put(proofs []format.Hash) error {
	return c.write("remembering which signatures were verified", func(w *writer) error {
		for _, h := range proofs {
			if err := w.set(append([]byte{keyProof}, h[:]...), nil); err != nil {
				return err
			}
		}
		return nil
	})
}
