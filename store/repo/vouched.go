package repo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

const (
	vouchedLeaf = 1024    // average lines of a leaf of a list of vouched points
	maxVouched  = 1 << 20 // lines of such a list that are read
)

// readVouched reads the lists of vouched points that the chain's descriptors name. One that is lost or damaged in this vault is
// reported: its points count by their arrival then, as far as that goes.
func (r *Repository) readVouched(ctx context.Context, in store.Reader, report Report) error {
	for i := range r.Chain {
		l := &r.Chain[i]
		if l.Vouched == nil {
			continue
		}
		err := l.readVouched(ctx, r, in, report)
		if Classify(ctx, err).Lost() {
			report.send(Damaged, l.Vouched.Object, "the points that %s vouches for cannot be read: %v; read another vault with --vault NAME", l.describe(), err)
			continue
		}
		if err != nil {
			return fmt.Errorf("read the points that %s vouches for: %w", l.describe(), err)
		}
	}
	return nil
}

func (l *Link) readVouched(ctx context.Context, r *Repository, in store.Reader, report Report) error {
	reader, err := NewReader(r, in, nil, nil, report)
	if err != nil {
		return err
	}
	lines, objects := map[string]string{}, map[string]bool{l.Vouched.Object: true}
	for v, err := range tree.Vouched(ctx, reader.Page, *l.Vouched, func(ref format.PageRef) { objects[ref.Object] = true }) {
		if err == nil && len(lines) == maxVouched {
			err = fmt.Errorf("more than %d vouched points: %w", maxVouched, format.ErrMalformed)
		}
		if err != nil {
			return err
		}
		lines[v.Point] = v.Source
	}
	for name := range objects {
		info, err := reader.Locate(ctx, name)
		if err != nil {
			return err
		}
		l.vouchedIn = append(l.vouchedIn, format.Need{Name: name, Size: info.Size, Living: info.Size})
	}
	l.vouched = lines
	return nil
}

// vouches reports whether a descriptor lists a point.
func (l *Link) vouches(id format.PointID) bool {
	source, ok := l.vouched[id.Key()]
	return ok && source == id.Source
}

// pieces gives the names of what is stored of a descriptor, itself last.
func (l *Link) pieces() []string {
	var out []string
	for _, n := range l.vouchedIn {
		out = append(out, n.Name)
	}
	return append(out, l.HostKey, l.Name)
}

// vouch makes the list of the points that stay, in one needs object; nil where there are none.
func vouch(ctx context.Context, points map[string]string) (*format.PageRef, []piece, error) {
	if len(points) == 0 {
		return nil, nil, nil
	}
	b, err := pack.NewBuilder(nil, nil)
	if err != nil {
		return nil, nil, err
	}
	enc, err := pack.NewEncoder()
	if err != nil {
		return nil, nil, err
	}
	sink := &plainSink{b: b, enc: enc}
	cut := tree.NewCut([32]byte{}, format.Parameters{LeafKeys: vouchedLeaf, Fanout: format.DefaultParameters().Fanout})
	t := tree.NewBuilder(sink, cut, nil, nil)
	w := tree.NewListWriter(t, cut)
	for _, k := range slices.Sorted(maps.Keys(points)) {
		if err := w.Add(ctx, k, 0, format.Vouched{Point: k, Source: points[k]}.AppendLine); err != nil {
			return nil, nil, err
		}
	}
	if err := w.End(ctx); err != nil {
		return nil, nil, err
	}
	root, err := t.Root(ctx)
	if err != nil {
		return nil, nil, err
	}
	return &root, []piece{sink.sealed}, nil
}

// plainSink is a tree.Sink that fills one needs object in memory.
type plainSink struct {
	b      *pack.Builder
	enc    *pack.Encoder
	slots  []*tree.Slot
	sealed piece
}

// Page implements tree.Sink.
func (k *plainSink) Page(ctx context.Context, plain []byte) (*tree.Slot, error) {
	return k.Refs(ctx, func() ([]byte, error) { return plain, nil })
}

// Refs implements tree.Sink.
func (k *plainSink) Refs(_ context.Context, encode func() ([]byte, error)) (*tree.Slot, error) {
	plain, err := encode()
	if err != nil {
		return nil, err
	}
	frame := k.enc.Frame(nil, plain)
	if k.b == nil || k.b.Payload()+int64(len(frame)) > format.MaxPack {
		return nil, fmt.Errorf("more points than one object holds: %w", format.ErrBounds)
	}
	off, err := k.b.Add(frame)
	if err != nil {
		return nil, err
	}
	slot := &tree.Slot{Frame: format.Frame{Offset: off, Length: int64(len(frame)), Plain: int64(len(plain))}}
	k.slots = append(k.slots, slot)
	return slot, nil
}

// Seal implements tree.Sink.
func (k *plainSink) Seal(context.Context) error {
	if k.b == nil {
		return nil
	}
	sealed, err := k.b.Close()
	if err != nil {
		return err
	}
	k.b, k.sealed = nil, piece{format.NeedsName(sealed.Sum), sealed.Body}
	for _, s := range k.slots {
		s.Name(k.sealed.name)
	}
	return nil
}

// ErrNoSuchPoint: a point that is to be trusted again and that no vault lists.
var ErrNoSuchPoint = errors.New("no vault that can be read lists this point under a signature of the repository")

// staying gives the points that a change vouches for, by their key, with their sources: those that count in every vault that lists them, or
// that counted until a time by which the vaults had them, and those that are named.
func (c *changing) staying(ctx context.Context) (map[string]string, error) {
	stays, fails := map[string]string{}, map[string]bool{}
	named := map[format.Hash]bool{}
	for i, v := range c.o.Vaults {
		if c.out[i].Err != nil {
			continue
		}
		r := c.longest.shownBy(c.repos[i])
		points, err := r.Points(ctx, v.Read, "", nil)
		if err != nil {
			return nil, fmt.Errorf("vault %s: %w", v.Name, err)
		}
		for _, p := range points {
			k := p.Key()
			switch {
			case slices.Contains(c.o.Trust, p.ID):
				named[p.ID] = true
				stays[k] = p.Source
			case !r.Trust().Stays(p, c.o.DistrustAfter):
				fails[k] = true
			case stays[k] == "":
				stays[k] = p.Source
			}
		}
	}
	for k := range fails {
		if id, err := format.ParseHash(k[len(k)-64:]); err == nil && !named[id] {
			delete(stays, k)
		}
	}
	for _, id := range c.o.Trust {
		if !named[id] {
			return nil, fmt.Errorf("point %s: %w", id, ErrNoSuchPoint)
		}
	}
	return stays, nil
}

// Stays reports whether a point is vouched for by a change: what counts now, or with a time to distrust from, what this vault had by then
// or an earlier change vouched for by then. So a later time gives trust back to points that an earlier one had left out.
func (t Trust) Stays(p Point, after time.Time) bool {
	if after.IsZero() {
		return !p.Distrusted
	}
	for _, l := range t.r.Chain {
		if l.vouches(p.PointID) && !l.Created.After(after) {
			return true
		}
	}
	return !p.Arrived.After(after) && !t.tooLate(p)
}
