package repo

import (
	"context"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// sinkFull is the payload at which a sink seals the object it fills.
const sinkFull = 8 << 20

// Sink packs pages into stored objects: meta objects for manifest and extent pages, plain needs objects for needs lists.
// It is a tree.Sink and belongs to one goroutine.
type Sink struct {
	s     *Session
	to    []keys.Recipient // nil: plain
	name  func(format.Hash) string
	b     *pack.Builder
	slots []*tree.Slot
	frame []byte
}

// MetaSink takes pages of manifests and extents.
func (s *Session) MetaSink() *Sink { return &Sink{s: s, to: s.meta, name: format.MetaName} }

// NeedsSink takes pages of needs lists.
func (s *Session) NeedsSink() *Sink { return &Sink{s: s, name: format.NeedsName} }

// Page implements tree.Sink.
func (k *Sink) Page(ctx context.Context, plain []byte) (*tree.Slot, error) {
	k.frame = k.s.enc.Frame(k.frame[:0], plain)
	if k.b != nil && k.b.Payload()+int64(len(k.frame)) > sinkFull {
		if err := k.Seal(ctx); err != nil {
			return nil, err
		}
	}
	if k.b == nil {
		b, err := pack.NewBuilder(k.to, nil)
		if err != nil {
			return nil, err
		}
		k.b = b
	}
	off, err := k.b.Add(k.frame)
	if err != nil {
		return nil, err
	}
	slot := &tree.Slot{Frame: format.Frame{Offset: off, Length: int64(len(k.frame)), Plain: int64(len(plain))}}
	k.slots = append(k.slots, slot)
	return slot, nil
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
	k.b = nil
	name := k.name(sealed.Sum)
	if err := k.s.Store(ctx, name, sealed); err != nil {
		return err
	}
	for _, s := range k.slots {
		s.Object = name
	}
	k.slots = k.slots[:0]
	return nil
}
