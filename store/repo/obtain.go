package repo

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// secure makes sure that one vault holds name, locked until need at least.
func (s *Locks) secure(ctx context.Context, k *keeper, name string, size int64, need time.Time) error {
	p, ok, err := k.placement(name)
	if err != nil {
		return err
	}
	if ok {
		if k.locks.holds(p, need) {
			return nil
		}
		if err = k.locks.extend(ctx, p, need); !Classify(ctx, err).Lost() {
			return err
		}
		if err := k.lose(name, err); err != nil {
			return err
		}
	}
	if p, err = s.obtain(ctx, k, name, size, need); err != nil || k.locks.holds(p, need) {
		return err
	}
	return k.locks.extend(ctx, p, need)
}

// obtain gets an object whose placement is not known into one vault: by finding it there, or by copying it from another.
// No key is needed, and the source is not asked.
func (s *Locks) obtain(ctx context.Context, k *keeper, name string, size int64, need time.Time) (format.Placement, error) {
	index, err := s.indexIn(name)
	if err != nil {
		return format.Placement{}, err
	}
	p, err := k.adopt(ctx, name, size, index)
	if !Classify(ctx, err).Lost() {
		return p, err
	}
	if errors.Is(err, ErrDamaged) {
		k.report.send(Damaged, name, "%v", err)
	}
	sum, perr := format.ParseName(name)
	if perr != nil {
		return p, perr
	}
	weight := size
	if size < 0 || size > format.MaxPack {
		weight = format.MaxPack
	}
	if err := s.copying.Acquire(ctx, weight); err != nil {
		return p, err
	}
	defer s.copying.Release(weight)
	var body []byte
	lost := s.from(ctx, name, k, func(ctx context.Context, other *keeper) (err error) {
		body, err = other.reader.exactly(ctx, name, size)
		return err
	})
	if lost != nil {
		return p, lost
	}
	if p, err = k.put(ctx, name, body, sum, need, index); err == nil {
		k.mu.Lock()
		k.calls.Copied++
		k.mu.Unlock()
	}
	return p, err
}

// copyMemory is how many bytes of objects on their way from one vault to another are held at once.
const copyMemory = 64 << 20
