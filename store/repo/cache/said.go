package cache

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Said is a placements object of which is known what it said. Which names these are stands beside it: see SaidLists.In.
type Said struct {
	Name     string
	Lines    int
	Bytes    int64 // of the lines, plain
	Replaces int   // objects that it makes superfluous
}

// saidPart is how many names stand in one record, so that none is large.
const saidPart = 4096

// SaidLists are what placements objects said.
type SaidLists struct{ *core }

// Put remembers what a vault's placements object said: the names its lines are about, and the objects it replaces. It is
// not synced; see Sync.
func (c *SaidLists) Put(vault string, s Said, names []string, replaces []format.Hash) error {
	s.Lines, s.Replaces = len(names), len(replaces)
	return c.write("remembering what placements say", func(w *writer) error {
		for part := 0; part == 0 || len(names) > 0 || len(replaces) > 0; part++ {
			key, err := saidKey(vault, s.Name, part)
			if err != nil {
				return err
			}
			n, r := min(len(names), saidPart), min(len(replaces), saidPart)
			if err := w.set(key, encodeSaidIn(names[:n], replaces[:r])); err != nil {
				return err
			}
			names, replaces = names[n:], replaces[r:]
		}
		key, err := namedKey(keySaid, vault, s.Name)
		if err != nil {
			return err
		}
		value := binary.AppendUvarint(nil, uint64(s.Lines))
		value = binary.AppendUvarint(value, uint64(s.Bytes))
		return w.set(key, binary.AppendUvarint(value, uint64(s.Replaces)))
	})
}

// By gives the placements objects of a vault of which is known what they said, by name.
func (c *SaidLists) By(vault string) iter.Seq2[Said, error] {
	return func(yield func(Said, error) bool) {
		prefix, err := namedKey(keySaid, vault, "")
		if err == nil {
			err = c.each("listing what placements say", prefix, func(rest, value []byte) (bool, error) {
				r := reader{b: value}
				s := Said{Name: string(rest), Lines: int(r.count()), Bytes: r.count(), Replaces: int(r.count())}
				if !r.done() {
					return false, fmt.Errorf("%w: the record of a placements object", ErrCorrupt)
				}
				return yield(s, nil), nil
			})
		}
		if err != nil {
			yield(Said{}, err)
		}
	}
}

// In gives what Put was told of one placements object: none, where that was not done.
func (c *SaidLists) In(vault, object string) (names []string, replaces []format.Hash, err error) {
	prefix, err := namedKey(keySaidIn, vault, object+"\x00")
	if err != nil {
		return nil, nil, fmt.Errorf("reading what placements say: %w", err)
	}
	err = c.each("reading what placements say", prefix, func(_, value []byte) (bool, error) {
		r := reader{b: value}
		for n := r.count(); n > 0 && !r.bad; n-- {
			var h format.Hash
			copy(h[:], r.take(len(h)))
			replaces = append(replaces, h)
		}
		for n := r.count(); n > 0 && !r.bad; n-- {
			names = append(names, string(r.take(int(r.count()))))
		}
		if !r.done() {
			return false, fmt.Errorf("%w: what a placements object says", ErrCorrupt)
		}
		return true, nil
	})
	return names, replaces, err
}

// Drop forgets what placements objects said. Where the objects are that they spoke of stays known. It is not synced; see Sync.
func (c *SaidLists) Drop(vault string, objects ...string) error {
	return c.write("forgetting what placements say", func(w *writer) error {
		for _, o := range objects {
			key, err := namedKey(keySaid, vault, o)
			if err != nil {
				return err
			}
			if err := w.drop(key); err != nil {
				return err
			}
			prefix, err := namedKey(keySaidIn, vault, o+"\x00")
			if err != nil {
				return err
			}
			if err := w.batch.DeleteRange(prefix, after(prefix), nil); err != nil {
				return err
			}
		}
		return nil
	})
}

func saidKey(vault, object string, part int) ([]byte, error) {
	return namedKey(keySaidIn, vault, object+"\x00"+string(binary.BigEndian.AppendUint32(nil, uint32(part))))
}

// encodeSaidIn is the number of hashes, these, the number of names, and each with its length before it.
func encodeSaidIn(names []string, replaces []format.Hash) []byte {
	b := binary.AppendUvarint(nil, uint64(len(replaces)))
	for _, h := range replaces {
		b = append(b, h[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, n := range names {
		b = append(binary.AppendUvarint(b, uint64(len(n))), n...)
	}
	return b
}
