package repo

import (
	"context"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// sinkFull is the payload with which a sink seals the object it fills, before it takes another page.
const sinkFull = 8 << 20

// sinkPages is the number of pages at which it does so. The needs list can then name any part of them, index segments between them
// included.
const sinkPages = 2*format.MaxStretches - 384

// Sink packs pages into stored objects: meta objects for pages of manifests and extents and for index segments, plain needs
// objects for pages of needs lists and points lists. It is a tree.Sink and belongs to one goroutine.
type Sink struct {
	s     *Writer
	enc   *pack.Encoder
	to    []keys.Recipient // nil: plain
	name  func(format.Hash) string
	b     *pack.Builder
	slots []*tree.Slot
	index []format.Frame // those of the object being filled that are index segments
	frame []byte
}

// MetaSink takes pages of manifests and extents, and index segments.
func (s *Writer) MetaSink() *Sink { return &Sink{s: s, enc: s.enc, to: s.meta, name: format.MetaName} }

// NeedsSink takes pages of needs lists and points lists.
func (s *Writer) NeedsSink() *Sink { return &Sink{s: s, enc: s.lists, name: format.NeedsName} }

// Page implements tree.Sink.
func (k *Sink) Page(ctx context.Context, plain []byte) (*tree.Slot, error) {
	return k.Refs(ctx, func() ([]byte, error) { return plain, nil })
}

// Refs implements tree.Sink.
func (k *Sink) Refs(ctx context.Context, encode func() ([]byte, error)) (*tree.Slot, error) {
	if _, err := k.SealFull(ctx); err != nil {
		return nil, err
	}
	plain, err := encode()
	if err != nil {
		return nil, err
	}
	f, err := k.add(plain)
	if err != nil {
		return nil, err
	}
	slot := &tree.Slot{Frame: f}
	k.slots = append(k.slots, slot)
	return slot, nil
}

// add appends a frame to the object being filled.
func (k *Sink) add(plain []byte) (f format.Frame, err error) {
	k.frame = k.enc.Frame(k.frame[:0], plain)
	if k.b == nil {
		if k.b, err = pack.NewBuilder(k.to, nil); err != nil {
			return f, err
		}
	}
	off, err := k.b.Add(k.frame)
	return format.Frame{Offset: off, Length: int64(len(k.frame)), Plain: int64(len(plain))}, err
}

// payload is how much the object being filled holds.
func (k *Sink) payload() int64 {
	if k.b == nil {
		return 0
	}
	return k.b.Payload()
}

// Index puts index lines beside the pages, as a signed segment.
func (k *Sink) Index(lines []format.IndexLine) error {
	plain, err := k.s.indexSegment(lines)
	if err != nil {
		return err
	}
	f, err := k.add(plain)
	if err != nil {
		return err
	}
	k.index = append(k.index, f)
	return nil
}

// SealFull seals the object being filled if it takes no more pages, and tells whether it did.
func (k *Sink) SealFull(ctx context.Context) (bool, error) {
	if k.payload() < sinkFull && len(k.slots) < sinkPages {
		return false, nil
	}
	return true, k.Seal(ctx)
}

// Seal implements tree.Sink: it stores the object being filled in every vault.
func (k *Sink) Seal(ctx context.Context) error {
	if k.b == nil {
		return nil
	}
	sealed, err := k.b.Close()
	if err != nil {
		return err
	}
	index := k.index
	k.b, k.index = nil, nil
	name := k.name(sealed.Sum)
	if err := k.s.store(ctx, name, sealed.Body, sealed.Sum, index); err != nil {
		return err
	}
	for _, s := range k.slots {
		s.Name(name)
	}
	k.slots = k.slots[:0]
	return nil
}
