package backup

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// mending is a run after something the last point needs was lost in every vault in use, or after its needs list was found not to
// be true. Such a run looks at every entry of the last point instead of at what the listing says has changed: an entry whose
// content, or the page it stood on, is lost is read from the source again; all others are carried over. What the new point needs
// is counted anew from all its entries, as the parent's own list may be among what is lost.
type mending struct {
	s    *repo.Session
	gone map[string]bool // objects that were asked for and could not be had

	mu     sync.Mutex
	asked  map[string]bool // by object: whether it is lost
	failed error           // the first question that got no answer
}

// maxAsked bounds the memory of asked; the answers are cheap to get again.
const maxAsked = 1 << 18

// examine looks, in the parent's needs list, whether everything it needs is held by some vault; nil means yes. Only the
// cache is asked, which the session has compared with the vaults' listings. gone is what an earlier try could not get; anew
// says that it did not find the list true. On the way it weighs what is worth letting go of.
func (e *engine) examine(ctx context.Context, gone []string, anew bool) (*mending, error) {
	if e.parent == nil {
		return nil, nil
	}
	m := &mending{s: e.s, asked: map[string]bool{}, gone: map[string]bool{}}
	for _, name := range gone {
		m.gone[name] = true
	}
	if len(gone) > 0 || anew {
		return m, nil
	}
	weigh := newScales(e.s, e.takenAt)
	pieces := scatter{objects: map[string]bool{}}
	for n, err := range tree.Needs(ctx, e.s.Content.Page, e.parent.Needs, pieces.add) {
		if isLost(err) {
			return m, nil // the list itself
		}
		if err != nil {
			return nil, err
		}
		if err := weigh.add(n); err != nil {
			return nil, err
		}
		held, err := e.s.Content.Holds(ctx, n.Name)
		if err != nil {
			return nil, err
		}
		if !held && !isStanding(n.Name) {
			m.asked[n.Name] = true
			return m, nil
		}
	}
	e.thin, e.scattered = weigh.verdict(), pieces.tooMany()
	return nil, nil
}

// scatter is how many objects a list's pages lie in, each of which every run reads. Pages are reused, so each run would leave
// one more of them, until there is one for each page.
type scatter struct {
	objects map[string]bool
	bytes   int64
}

// A list may lie in so many objects, and in one more for each so many bytes. One that lies in more is written anew: so a run
// writes no more than about these bytes for that, over time, and reads no more objects than a list of that size is worth.
const (
	fewPieces  = 2
	pieceBytes = 32 << 10
	maxPieces  = 10_000 // that are counted: a list of 300 MiB stays as it is
)

func (s *scatter) add(ref format.PageRef) {
	s.bytes += ref.Frame.Length
	if len(s.objects) <= maxPieces {
		s.objects[ref.Object] = true
	}
}

func (s *scatter) tooMany() bool { return int64(len(s.objects)) > fewPieces+s.bytes/pieceBytes }

// isLost reports whether err says that no vault has an object.
func isLost(err error) bool {
	return errors.As(err, new(*repo.LostError)) || errors.As(err, new(*repo.LostPointError))
}

// isLost reports whether no vault has an object. A question that cannot be answered is kept in failed, and the object
// taken for lost: the run then ends with that error.
func (m *mending) isLost(ctx context.Context, object string) bool {
	m.mu.Lock()
	lost, ok := m.asked[object]
	m.mu.Unlock()
	if ok || m.gone[object] {
		return lost || m.gone[object]
	}
	held, err := m.s.Content.Holds(ctx, object)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.failed = errors.Join(m.failed, err)
		return true
	}
	if len(m.asked) >= maxAsked {
		clear(m.asked)
	}
	m.asked[object] = !held
	return !held
}

func (m *mending) err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// passOver lets a page of the parent be that no vault has; it is a tree.Gap. What stood below it is read again. In a run
// that did not know of losses it ends the walk, and the run begins again.
func (e *engine) passOver(_ format.PageRef, err error) bool { return e.mend != nil && isLost(err) }

// lostContent reports whether content of an entry of the parent is lost.
func (e *engine) lostContent(ctx context.Context, old *format.Entry) (bool, error) {
	m := e.mend
	if m == nil {
		return false, nil
	}
	for _, x := range old.Extents {
		if !x.Hole && m.isLost(ctx, x.Object) {
			return true, m.err()
		}
	}
	read := func(ctx context.Context, x format.Extent) ([]byte, error) {
		if m.isLost(ctx, x.Object) {
			return nil, errLostPage
		}
		return e.s.Content.Extent(ctx, x)
	}
	for c, err := range tree.Chunks(ctx, read, old) {
		if isLost(err) || errors.Is(err, errLostPage) {
			return true, m.err()
		}
		if err != nil {
			return false, fmt.Errorf("read where %q was: %w", old.Key, err)
		}
		if !c.Hole && m.isLost(ctx, format.PackName(c.Pack)) {
			return true, m.err()
		}
	}
	return false, nil
}

// errLostPage: an extent page is not read, since no vault has it.
var errLostPage = errors.New("lost")
