package cache

import (
	"fmt"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Chunks are where chunks lie, by ID.
type Chunks struct{ *core }

// Get tells where the chunk with this ID is. Sum is not set: the caller knows it. That the pack is in a vault, whole
// and locked for long enough, the placement there has to say.
func (c *Chunks) Get(id format.Hash) (chunk format.Chunk, ok bool, err error) {
	ok, err = c.get("looking up a chunk", chunkKey(id), func(value []byte) (err error) {
		chunk, err = decodeChunk(value)
		return err
	})
	return chunk, ok, err
}

// Put remembers where chunks are. Of several lines with one ID the last counts. It is not synced; see Sync.
func (c *Chunks) Put(lines []format.IndexLine) error {
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
