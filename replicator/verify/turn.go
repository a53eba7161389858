package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/rotation"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// InTurn has a verification look at a part of the vault only: at the part whose turn it is. What every point needs is still held against the
// listing, so what is missing, or has another size, is found each time.
type InTurn struct {
	State  *rotation.State
	Budget rotation.Budget // at level Bytes of bytes, at level Locks of requests
	Save   func() error    // keeps State, such that a power cut does not lose it
}

// ErrUnread: objects could not be read; they are tried again in the next turn.
var ErrUnread = errors.New("stored objects could not be read")

// maxUnreadObjects is how many objects may fail to be read before it is the vault that fails.
const maxUnreadObjects = 16

// turning is a verification in turns.
type turning struct {
	*checking
	points []*point

	walking, again bool // objects are looked for, and not read; not for the first time

	mu     sync.Mutex
	each   func(rotation.Object)
	read   int64 // objects, in all
	unread int64
	why    error // why the first of them was not
}

// due is what a turn has to know of an object to read it.
type due struct {
	object object
	group  group
}

// turn reads the part whose turn it is.
func (r *checking) turn(ctx context.Context, points []*point) error {
	t := &turning{checking: r, points: points}
	r.inTurn = t
	in := r.o.InTurn
	ledger := &in.State.Bytes
	if r.o.Level == Locks {
		ledger = &in.State.Locks
		ledger.Learn(&in.State.Bytes) // where bytes were read, the locks were as well
	}
	rot := rotation.Turn{Ledger: ledger, Budget: in.Budget, Now: r.o.Now, Walk: t.walk, Read: t.batch, Save: in.Save}
	out, err := rot.Run(ctx)
	r.sum.Turn = &Turned{Result: out, Unread: t.unread}
	r.sum.Sample = 100
	if t.read < out.Objects {
		r.sum.Sample = float64(int64(10000*t.read/out.Objects)) / 100
		r.sum.LocksChecked = false // not every one
	}
	if err == nil && t.unread > 0 {
		err = fmt.Errorf("verify: %d %w and are tried again in the next turn: %w", t.unread, ErrUnread, t.why)
	}
	return err
}

// walk goes over everything that points need.
func (t *turning) walk(ctx context.Context, each func(rotation.Object)) error {
	t.walking, t.each = true, each
	defer func() { t.walking, t.again = false, true }()
	return t.objects(ctx, t.points)
}

// due takes an object on a walk; it is checked when its turn comes.
func (t *turning) due(o *object, g group) {
	if g.markers > 0 || g.versions > len(g.kept) {
		t.find(repo.Tampered, o.name, o.point, "there are %d versions and %d delete markers; which bytes are right is read when its turn comes", g.versions, g.markers)
	}
	x := rotation.Object{Name: o.name, Sum: o.sum, Of: due{*o, g}}
	for _, info := range g.kept {
		if !o.fits(info.Size) {
			if g.versions > 1 {
				t.find(repo.Tampered, o.name, o.point, "a version of %d bytes lies on it, or below", info.Size)
			}
			continue
		}
		if x.Cost += info.Size; x.Stored.IsZero() || info.Modified.Before(x.Stored) {
			x.Stored = info.Modified
		}
	}
	if t.o.Level == Locks {
		x.Cost = int64(min(len(g.kept), 1))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.each(x)
}

// batch checks objects whose turn it is.
func (t *turning) batch(ctx context.Context, batch []rotation.Object) (out rotation.Outcome, err error) {
	t.o.Progress.Total.Add(int64(len(batch)))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(t.o.Concurrency)
	for i := range batch {
		g.Go(func() error {
			d := batch[i].Of.(due)
			err := gctx.Err()
			if err == nil && d.group.versions > 0 {
				err = t.check(gctx, task{object: &d.object, group: d.group})
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			switch {
			case err != nil:
				if t.unread++; t.why == nil {
					t.why = err
				}
				out.Unread = append(out.Unread, i)
				if t.unread >= maxUnreadObjects {
					return fmt.Errorf("%d %w, one after the other: %w", t.unread, ErrUnread, t.why)
				}
			case t.knows(repo.Damaged, d.object.name) || t.knows(repo.Missing, d.object.name):
				out.Wrong = append(out.Wrong, i)
			default:
				t.read++
			}
			return nil
		})
	}
	return out, g.Wait()
}

// left takes what check would do with an object on a walk.
func (r *checking) left(o *object, g group) bool {
	t := r.inTurn
	if t == nil || !t.walking {
		return false
	}
	size := int64(0)
	for _, info := range g.kept {
		if o.fits(info.Size) {
			size = info.Size
		}
	}
	r.count(size)
	if g.versions == 1 && g.markers == 0 && !o.fits(g.kept[0].Size) {
		r.find(repo.Damaged, o.name, o.point, "%d bytes instead of %s", g.kept[0].Size, o.sizeText())
	}
	t.due(o, g)
	return true
}

// counted reports whether an object was counted already: on the first walk.
func (r *checking) counted() bool { return r.inTurn != nil && (!r.inTurn.walking || r.inTurn.again) }

// stray looks at names that no point needs, without reading what lies there.
func (t *turning) stray(name string, g group) {
	same := g.markers == 0 && g.versions == len(g.kept)
	for _, info := range g.kept {
		same = same && info.Size == g.kept[0].Size
	}
	if !same {
		t.find(repo.Tampered, name, format.Hash{}, "%d different versions and %d delete markers; no point that was looked at needs it", g.versions, g.markers)
	}
}

// Turned is what a verification in turns came to.
type Turned struct {
	rotation.Result
	Unread int64 // objects that could not be read, and are tried again in the next turn
}
