package repo

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// reuseMargin is the least lock a pack must have left for content to be found in it without lengthening it first; prune
// spares whatever ended less than this ago, so the two cannot meet.
const reuseMargin = 72 * time.Hour

// Writer stores objects in every vault in step: packs, pages, index segments and placements.
type Writer struct {
	*vaults
	placing *placing
	lists   *pack.Encoder    // of pages of plain lists
	to      []keys.Recipient // restore keys
	meta    []keys.Recipient // restore keys and the host's metadata key
}

// open finds out who is sealed to.
func (s *Writer) open() (err error) {
	if s.to, err = s.repo.Keys().Recipients(); err != nil {
		return err
	}
	if s.meta, err = s.repo.Keys().MetaRecipients(); err != nil {
		return err
	}
	s.lists, err = pack.NewListEncoder()
	return err
}

// Store puts one object into every active vault, locked and read back.
func (s *Writer) Store(ctx context.Context, name string, sealed pack.Sealed) error {
	return s.store(ctx, name, sealed.Body, sealed.Sum, nil)
}

// store puts an object into every active vault. index are its frames that are index segments.
func (s *Writer) store(ctx context.Context, name string, body []byte, sum format.Hash, index []format.Frame) error {
	need := s.until()
	return s.each(ctx, func(ctx context.Context, k *keeper) error {
		if _, err := k.put(ctx, name, body, sum, need, index); err != nil || len(index) == 0 {
			return err
		}
		return s.cache.Segments.MarkLoaded(k.vault.Name, name)
	})
}

// StoreIndex writes index lines as signed segments in objects of their own, so that a later run finds the chunks.
func (s *Writer) StoreIndex(ctx context.Context, lines []format.IndexLine) error {
	for some := range slices.Chunk(lines, maxSegmentLines) {
		sink := s.MetaSink()
		if err := sink.Index(some); err != nil {
			return err
		}
		if err := sink.Seal(ctx); err != nil {
			return err
		}
	}
	return nil
}

// indexSegment makes a signed segment of at most maxSegmentLines lines.
func (s *Writer) indexSegment(lines []format.IndexLine) ([]byte, error) {
	h := format.SegmentHeader{
		Repository: s.repo.ID, Descriptor: s.repo.Chain[len(s.repo.Chain)-1].Sum, ChunkKey: s.chunkKeyID(), Written: format.At(s.Now()),
	}
	return format.EncodeIndex(h, lines, s.signer(attest.Index))
}

// maxSegmentLines keeps a segment within one frame: a line is at most about 230 bytes.
const maxSegmentLines = 32_768

// FlushPlacements writes what is new about where objects are into each vault.
func (s *Writer) FlushPlacements(ctx context.Context) error {
	return s.each(ctx, func(ctx context.Context, k *keeper) error { return s.placing.flushPlacements(ctx, k) })
}

// Encoder compresses frames.
func (s *Writer) Encoder() *pack.Encoder { return s.enc }

// Recipients are the restore keys content is sealed to.
func (s *Writer) Recipients() []keys.Recipient { return s.to }

// ChunkID names a chunk by its SHA-256.
func (s *Writer) ChunkID(sum format.Hash) format.Hash { return attest.ChunkID(s.host.ChunkKey, sum) }

// ChunkKey keys the cut of manifest pages.
func (s *Writer) ChunkKey() [32]byte { return s.host.ChunkKey }
