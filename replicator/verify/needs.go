package verify

import (
	"container/heap"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// maxStreams is how many needs lists are walked side by side: each holds a page a level, some 100 KiB.
const maxStreams = 128

// locks is how long one object has to be held, by mode: several points may ask for different ones.
type locks struct {
	compliance, governance time.Time
}

// lockOf takes a point that names no mode as one that any lock satisfies: a vault that keeps locks has to keep one.
func lockOf(r store.Retention) locks {
	if r.Mode == store.Compliance {
		return locks{compliance: r.Until}
	}
	return locks{governance: r.Until}
}

// join takes over what o asks for beyond l and reports whether that was anything.
func (l *locks) join(o locks) bool {
	more := false
	if o.compliance.After(l.compliance) {
		l.compliance, more = o.compliance, true
	}
	if o.governance.After(l.governance) {
		l.governance, more = o.governance, true
	}
	return more
}

// held reports whether a lock as read back is enough.
func (l locks) held(r store.Retention) bool {
	return r.Covers(store.Retention{Mode: store.Compliance, Until: l.compliance}) &&
		r.Covers(store.Retention{Mode: store.Governance, Until: l.governance})
}

func (l locks) String() string {
	if l.compliance.IsZero() {
		return "governance until " + l.governance.Format(time.RFC3339)
	}
	s := "compliance until " + l.compliance.Format(time.RFC3339)
	if l.governance.After(l.compliance) {
		s += ", governance until " + l.governance.Format(time.RFC3339)
	}
	return s
}

// object is one stored object that some selected point needs.
type object struct {
	name  string
	size  int64 // -1: not known, but at least least
	least int64
	sum   format.Hash // SHA-256 of its bytes
	locks locks
	point format.Hash
}

// list is a needs list that one or more points share.
type list struct {
	root  format.PageRef
	locks locks
	point format.Hash
	next  func() (format.Need, error, bool)
	stop  func()
	head  format.Need
}

// lists gives the different needs lists of the points.
func lists(points []*point) []*list {
	var out []*list
	at := map[format.Hash]*list{}
	for _, p := range points {
		root := p.commit.Needs
		l := at[root.Sum]
		if l == nil {
			l = &list{root: root, point: p.ID}
			at[root.Sum] = l
			out = append(out, l)
		}
		if l.locks.join(lockOf(p.lock())) {
			l.point = p.ID
		}
	}
	return out
}

// merger walks several needs lists side by side.
type merger struct {
	load   tree.Load
	pages  func(l *list, ref format.PageRef) // called for every page of every list
	broken func(l *list, err error) error    // called for a list that cannot be read further; the others go on
	heap   listHeap
}

// merged gives the objects of the lists in order of name, each once, asking for all that its lists ask for.
func (m *merger) merged(ctx context.Context, lists []*list) iter.Seq2[*object, error] {
	return func(yield func(*object, error) bool) {
		defer func() {
			for _, l := range lists {
				if l.stop != nil {
					l.stop()
				}
			}
		}()
		m.heap = nil
		for _, l := range lists {
			l.next, l.stop = iter.Pull2(tree.Needs(ctx, m.load, l.root, func(ref format.PageRef) { m.pages(l, ref) }))
			if err := m.advance(l); err != nil {
				yield(nil, err)
				return
			}
		}
		for len(m.heap) > 0 {
			o, err := m.take()
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// take gives the object with the least name and moves every list that has it on.
func (m *merger) take() (*object, error) {
	first := m.heap[0]
	sum, err := format.ParseName(first.head.Name)
	if err != nil {
		return nil, fmt.Errorf("needs list of %s: %w", first.point, err)
	}
	o := &object{name: first.head.Name, size: first.head.Size, sum: sum, point: first.point}
	for len(m.heap) > 0 && m.heap[0].head.Name == o.name {
		l := heap.Pop(&m.heap).(*list)
		if o.locks.join(l.locks) {
			o.point = l.point
		}
		if err := m.advance(l); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// advance puts a list back with its next need, if it has one.
func (m *merger) advance(l *list) error {
	n, err, ok := l.next()
	if err != nil {
		return m.broken(l, err)
	}
	if ok {
		l.head = n
		heap.Push(&m.heap, l)
	}
	return nil
}

// listHeap orders lists by the name of their next need.
type listHeap []*list

func (h listHeap) Len() int           { return len(h) }
func (h listHeap) Less(i, j int) bool { return h[i].head.Name < h[j].head.Name }
func (h listHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *listHeap) Push(x any)        { *h = append(*h, x.(*list)) }
func (h *listHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	*h = old[:len(old)-1]
	return l
}

// remembered collects objects that become known in no order: those that needs lists themselves are in, of which there
// are a few a point.
type remembered map[string]*object

func (m remembered) add(o object) {
	old := m[o.name]
	if old == nil {
		m[o.name] = &o
		return
	}
	old.least = max(old.least, o.least)
	if old.locks.join(o.locks) {
		old.point = o.point
	}
}

func (m remembered) sorted() iter.Seq2[*object, error] {
	return func(yield func(*object, error) bool) {
		names := make([]string, 0, len(m))
		for n := range m {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			if !yield(m[n], nil) {
				return
			}
		}
	}
}
