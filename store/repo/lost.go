package repo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// LostError names stored objects that a point needs and that no vault in use can give: gone, or damaged. What they held
// must come from the source again. The cache does not take them for stored any more.
type LostError struct {
	Names []string // at most a hundred of them
	Count int
	Err   error // of the first
}

func (e *LostError) Error() string {
	more := ""
	if e.Count > 1 {
		more = fmt.Sprintf(" (and %d more)", e.Count-1)
	}
	return fmt.Sprintf("an object that the point needs cannot be had from any vault%s: %v", more, e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// losses collects what vaults lack.
type losses struct {
	mu sync.Mutex
	of map[*keeper]*LostError
}

const maxLostNames = 100

func (l *losses) add(k *keeper, name string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[*keeper]*LostError{}
	}
	e := l.of[k]
	if e == nil {
		e = &LostError{Err: fmt.Errorf("vault %s: %w", k.vault.Name, err)}
		l.of[k] = e
	}
	e.Count++
	if len(e.Names) < maxLostNames {
		e.Names = append(e.Names, name)
	}
}

// err is what the vaults still in use lack; what one lacked that failed meanwhile does not matter.
func (l *losses) err(s *Session) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out *LostError
	for k, e := range l.of {
		if !s.inStep(k) {
			continue
		}
		if out == nil || e.Count > out.Count {
			out = e
		}
	}
	if out == nil {
		return nil
	}
	return out
}

// holders gives the vaults that can be asked, those known to hold the object first.
func (s *Session) holders(name string) ([]*keeper, error) {
	var known, others []*keeper
	for _, k := range s.givers() {
		_, ok, err := k.placement(name)
		if err != nil {
			return nil, err
		}
		if ok {
			known = append(known, k)
		} else {
			others = append(others, k)
		}
	}
	return append(known, others...), nil
}

// from reads something of the object from the first vault that can give it. A vault that has other bytes, or none, is
// reported and not asked again; one that fails is left out, and one that keeps the others waiting is left behind. A *LostError
// says that none has it.
func (s *Session) from(ctx context.Context, name string, not *keeper, read func(context.Context, *keeper) error) error {
	ks, err := s.holders(name)
	if err != nil {
		return err
	}
	lost := &LostError{Names: []string{name}, Count: 1, Err: fmt.Errorf("%s: %w", name, ErrMissing)}
	for _, k := range ks {
		if k == not {
			continue
		}
		var err error
		if not != nil { // what one vault takes from another is waited for
			err = read(ctx, k)
		} else {
			err = s.patiently(ctx, k, func(ctx context.Context) error { return read(ctx, k) })
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() == nil && k.err() == nil && !s.inStep(k):
			// It was left behind; the next vault may do.
		case ctx.Err() != nil:
			return ctx.Err()
		case Classify(ctx, err).Lost():
			lost.Err = err
			if _, ok, perr := k.placement(name); perr != nil {
				return perr
			} else if !ok && errors.Is(err, ErrMissing) {
				continue // it was not known to be there
			}
			if err := k.lose(name, err); err != nil {
				return err
			}
		case s.alone && not != nil:
			lost.Err = err // it has the point, and is in no trouble of ours
		default:
			_ = k.fail(err) // kept in the keeper; the next vault may do
		}
	}
	if err := s.living(ctx); err != nil {
		return err
	}
	return lost
}

// Page reads one page of a manifest or needs tree from any vault that has it; it is a tree.Load. A *LostError says that
// none has.
func (s *Session) Page(ctx context.Context, ref format.PageRef) (page []byte, err error) {
	err = s.from(ctx, ref.Object, nil, func(ctx context.Context, k *keeper) error {
		page, err = k.reader.Page(ctx, ref)
		return err
	})
	return page, err
}

// Extent reads one extent page likewise.
func (s *Session) Extent(ctx context.Context, x format.Extent) (page []byte, err error) {
	err = s.from(ctx, x.Object, nil, func(ctx context.Context, k *keeper) error {
		page, err = k.reader.Extent(ctx, x)
		return err
	})
	return page, err
}

// Holds reports whether some active vault has the object: by its placement, or, where none is known, by looking for it
// and reading it.
func (s *Session) Holds(ctx context.Context, name string) (bool, error) {
	ks, err := s.holders(name)
	if err != nil {
		return false, err
	}
	for _, k := range ks {
		if _, ok, err := k.placement(name); err != nil || ok {
			return ok, err
		}
		err := s.patiently(ctx, k, func(ctx context.Context) error {
			_, err := k.adopt(ctx, name, -1, nil)
			return err
		})
		if err == nil {
			return true, nil
		}
		if ctx.Err() == nil && (Classify(ctx, err).Lost() || !s.inStep(k)) {
			continue
		}
		if err := s.settle(ctx, k, err); err != nil {
			return false, err
		}
	}
	if err := s.living(ctx); err != nil {
		return false, err
	}
	if len(s.active()) == len(s.keepers) { // else the vault that was left out may have it
		s.report.send(Missing, name, "no vault has it any more: what it held is read from the source again for new points; older points have lost it")
	}
	return false, nil
}

// secure makes sure that one vault holds name, locked until need at least.
func (s *Session) secure(ctx context.Context, k *keeper, name string, size int64, need time.Time) error {
	p, ok, err := k.placement(name)
	if err != nil {
		return err
	}
	if ok {
		if k.holds(p, need) {
			return nil
		}
		if err = k.extend(ctx, p, need); !Classify(ctx, err).Lost() {
			return err
		}
		if err := k.lose(name, err); err != nil {
			return err
		}
	}
	if p, err = s.obtain(ctx, k, name, size, need); err != nil || k.holds(p, need) {
		return err
	}
	return k.extend(ctx, p, need)
}

// SizeOf is Size, and looks in the vaults for an object that none is known to hold: the placements that named it may be lost.
func (s *Session) SizeOf(ctx context.Context, name string) (int64, error) {
	size, ok, err := s.Size(name)
	if err != nil || ok {
		return size, err
	}
	err = fmt.Errorf("%s: no vault in use has it: %w", name, ErrMissing)
	for _, k := range s.active() {
		p, kerr := k.adopt(ctx, name, -1, nil)
		if kerr == nil {
			return p.Size, nil
		}
		err = fmt.Errorf("find %s in vault %s: %w", name, k.vault.Name, kerr)
	}
	return 0, err
}

// obtain gets an object whose placement is not known into one vault: by finding it there, or by copying it from another.
// No key is needed, and the source is not asked.
func (s *Session) obtain(ctx context.Context, k *keeper, name string, size int64, need time.Time) (format.Placement, error) {
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

// indexIn gives the frames of a meta object that are index segments, as another vault's placement says.
func (s *Session) indexIn(name string) ([]format.Frame, error) {
	for _, k := range s.givers() {
		if p, ok, err := k.placement(name); err != nil || ok && len(p.Index) > 0 {
			return p.Index, err
		}
	}
	return nil, nil
}

// copyMemory is how many bytes of objects on their way from one vault to another are held at once.
const copyMemory = 64 << 20
