package verify

import (
	"container/heap"
	"context"
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

	next func() (format.PageRef, error, bool) // its leaf pages
	stop func()
	leaf format.PageRef // the next of them
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

// merger walks several needs lists side by side. Lists of one vault share most of their leaf pages: a page is read once
// for all lists that have it.
type merger struct {
	load   tree.Load
	pages  func(l *list, ref format.PageRef)                            // called for every page of every list
	broken func(ref format.PageRef, point format.Hash, err error) error // called for a page that cannot be read; the rest goes on
	lists  queue[*list]
	open   queue[*page]
}

// page is a leaf page being read.
type page struct {
	ref   format.PageRef
	locks locks
	point format.Hash
	next  func() (format.Need, error, bool)
	stop  func()
	head  format.Need
}

// merged gives the objects of the lists in order of name, each once, asking for all that its lists ask for.
func (m *merger) merged(ctx context.Context, lists []*list) iter.Seq2[*object, error] {
	return func(yield func(*object, error) bool) {
		m.lists = queue[*list]{key: func(l *list) string { return l.leaf.First }}
		m.open = queue[*page]{key: func(p *page) string { return p.head.Name }}
		defer func() {
			for _, l := range lists {
				if l.stop != nil {
					l.stop()
				}
			}
			for _, p := range m.open.items {
				p.stop()
			}
		}()
		for _, l := range lists {
			l.next, l.stop = iter.Pull2(tree.Leaves(ctx, m.load, l.root, "", func(ref format.PageRef) { m.pages(l, ref) }))
			if err := m.advance(l); err != nil {
				yield(nil, err)
				return
			}
		}
		for {
			if err := m.fill(ctx); err != nil {
				yield(nil, err)
				return
			}
			if m.open.Len() == 0 {
				return
			}
			o, err := m.take()
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// fill opens every page that can hold the least name.
func (m *merger) fill(ctx context.Context) error {
	for m.lists.Len() > 0 && (m.open.Len() == 0 || m.lists.items[0].leaf.First <= m.open.items[0].head.Name) {
		first := m.lists.items[0]
		p := &page{ref: first.leaf, point: first.point}
		var same, other []*list
		for m.lists.Len() > 0 && m.lists.items[0].leaf.First == p.ref.First {
			l := heap.Pop(&m.lists).(*list)
			if l.leaf.Sum != p.ref.Sum {
				other = append(other, l)
				continue
			}
			same = append(same, l)
			m.pages(l, l.leaf)
			if p.locks.join(l.locks) {
				p.point = l.point
			}
		}
		for _, l := range other {
			heap.Push(&m.lists, l)
		}
		for _, l := range same {
			if err := m.advance(l); err != nil {
				return err
			}
		}
		p.next, p.stop = iter.Pull2(tree.Needs(ctx, m.load, p.ref, nil))
		if err := m.read(p); err != nil {
			return err
		}
	}
	return nil
}

// take gives the object with the least name and moves every page that has it on. A page is sorted and begins with its
// reference's first name, and references are sorted: so names only ever ascend, even where the pages of a list overlap.
func (m *merger) take() (*object, error) {
	first := m.open.items[0]
	name := first.head.Name
	sum, err := format.ParseName(name)
	if err != nil {
		return nil, err
	}
	o := &object{name: name, size: first.head.Size, sum: sum, point: first.point}
	for m.open.Len() > 0 && m.open.items[0].head.Name == name {
		p := heap.Pop(&m.open).(*page)
		if o.locks.join(p.locks) {
			o.point = p.point
		}
		if err := m.read(p); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// advance puts a list back with its next leaf page, if it has one.
func (m *merger) advance(l *list) error {
	ref, err, ok := l.next()
	if err != nil {
		return m.broken(l.root, l.point, err)
	}
	if ok {
		l.leaf = ref
		heap.Push(&m.lists, l)
	}
	return nil
}

// read puts a page back with its next line, if it has one.
func (m *merger) read(p *page) error {
	n, err, ok := p.next()
	if err != nil || !ok {
		p.stop()
	}
	if err != nil {
		return m.broken(p.ref, p.point, err)
	}
	if ok {
		p.head = n
		heap.Push(&m.open, p)
	}
	return nil
}

// queue is a heap of things ordered by a name.
type queue[T any] struct {
	items []T
	key   func(T) string
}

func (q *queue[T]) Len() int           { return len(q.items) }
func (q *queue[T]) Less(i, j int) bool { return q.key(q.items[i]) < q.key(q.items[j]) }
func (q *queue[T]) Swap(i, j int)      { q.items[i], q.items[j] = q.items[j], q.items[i] }
func (q *queue[T]) Push(x any)         { q.items = append(q.items, x.(T)) }
func (q *queue[T]) Pop() any {
	last := len(q.items) - 1
	x := q.items[last]
	q.items = q.items[:last]
	return x
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
