package rotation

import (
	"container/heap"
	"slices"
	"time"
)

// key says in which order objects are read: what stands in the stretch that waited longest first, in the order of the ring.
type key struct {
	rank  int // of the stretch
	place Place
}

func (k key) before(o key) bool { return k.rank < o.rank || k.rank == o.rank && k.place < o.place }

// picked is an object that is due.
type picked struct {
	Object
	key
}

// pass is one walk over all objects, which picks those that are due and fit into the budget, and counts how the rest stands.
type pass struct {
	*running
	ring  Ring  // as it was when the pass began
	rank  []int // of each stretch of it; -1: it was read that day
	order []int // the stretches that are due, by rank

	due    byKey // the last of them on top
	sum    int64
	near   key // of the first of them
	cut    key // what is there or behind it is not picked: the end, if all that is due is
	marked key // what is before it counts as read

	owed map[string]Object // what is owed and still needed

	living, objects, largest, covered int64
	oldest                            time.Time
	left                              bool // something is due and not read
}

func newPass(r *running) *pass {
	r.Ledger.Ring.whole()
	p := &pass{running: r, ring: Ring{slices.Clone(r.Ledger.Ring.stretches)}, owed: map[string]Object{}}
	s := p.ring.stretches
	p.rank = make([]int, len(s))
	for i := range s {
		if p.rank[i] = -1; !r.Ledger.today(s[i].read) {
			p.order = append(p.order, i)
		}
	}
	slices.SortStableFunc(p.order, func(a, b int) int { return s[a].read.Compare(s[b].read) })
	for rank, i := range p.order {
		p.rank[i] = rank
	}
	p.cut = key{rank: len(p.order)}
	return p
}

// take is told of every object.
func (p *pass) take(o Object) {
	p.living, p.objects, p.largest = p.living+o.Cost, p.objects+1, max(p.largest, o.Cost)
	if _, owed := debt(p.Ledger.Owed, o.Name); owed {
		p.owed[o.Name] = o
		if p.small(o) {
			return // it is read among the debts, if at all
		}
	}
	k := key{p.rank[p.ring.index(PlaceOf(o.Sum))], PlaceOf(o.Sum)}
	if k.rank < 0 {
		p.count(o)
		return
	}
	if !k.before(p.cut) {
		p.leave([]picked{{o, k}})
		return
	}
	if len(p.due) == 0 || k.before(p.near) {
		p.near = k
	}
	heap.Push(&p.due, picked{o, k})
	p.sum += o.Cost
	p.fit()
}

// fit lets go of what is last in the order until the rest fits. What is first is kept for now: something before it may still come.
func (p *pass) fit() {
	room := p.room()
	for (p.sum > room || len(p.due) > maxPicked) && p.near.before(p.due[0].key) {
		p.drop()
	}
}

// drop lets go of all that stands at the last place.
func (p *pass) drop() {
	for p.cut = p.due[0].key; len(p.due) > 0 && p.due[0].key == p.cut; {
		x := heap.Pop(&p.due).(picked)
		p.sum -= x.Cost
		p.leave([]picked{x})
	}
}

// picked gives what is to be read, in order, once all objects were seen.
func (p *pass) picked() []picked {
	if len(p.due) > 0 {
		p.fit()
		if p.sum > p.room() && !p.fresh {
			p.drop()
		}
	}
	out := []picked(p.due)
	slices.SortFunc(out, func(a, b picked) int {
		switch {
		case a.before(b.key):
			return -1
		case b.before(a.key):
			return 1
		}
		return 0
	})
	return out
}

// leave counts objects that are due and are not read.
func (p *pass) leave(xs []picked) {
	for _, x := range xs {
		p.left = true
		p.count(x.Object)
	}
}

// count counts an object as what was remembered of it says.
func (p *pass) count(o Object) {
	read := p.ring.Read(PlaceOf(o.Sum))
	i, owed := debt(p.Ledger.Owed, o.Name)
	if owed {
		read = p.Ledger.Owed[i].since()
	}
	if !owed && !read.IsZero() && !read.Before(o.Stored) {
		p.covered += o.Cost
	}
	p.age(later(read, o.Stored))
}

// age takes when an object was last read or stored, where that is known: of one that is missing it is not.
func (p *pass) age(t time.Time) {
	if t.IsZero() {
		return
	}
	if p.oldest.IsZero() || t.Before(p.oldest) {
		p.oldest = t
	}
}

// took takes what became of a batch.
func (p *pass) took(batch []Object, o Outcome) error {
	if len(p.Ledger.Owed)+len(o.Unread) > maxOwed {
		return ErrOwed
	}
	for i, x := range batch {
		p.out.Read += x.Cost
		unread := slices.Contains(o.Unread, i)
		if unread || slices.Contains(o.Wrong, i) {
			p.Ledger.owe(x.Name, p.ring.Read(PlaceOf(x.Sum)))
			p.count(x)
			continue
		}
		p.Ledger.paid(x.Name)
		p.covered += x.Cost
		p.age(p.at)
	}
	return nil
}

// end gives up to where all was read when the first n of what was picked were.
func (p *pass) end(due []picked, n int) key {
	if n < len(due) {
		return due[n].key
	}
	return p.cut
}

// mark notes that all that is due was read up to a key.
func (p *pass) mark(to key) {
	for p.marked.before(to) && p.marked.rank < len(p.order) {
		i := p.order[p.marked.rank]
		from, last := max(p.ring.stretches[i].from, p.marked.place), p.ring.last(i)
		next := key{rank: p.marked.rank + 1}
		if to.rank == p.marked.rank {
			if to.place <= from {
				return
			}
			last, next = to.place-1, to
		}
		p.Ledger.Ring.Mark(from, last, p.at)
		p.marked = next
	}
}

// stands says how all objects stand after the pass.
func (p *pass) stands() (covered int64, oldest time.Time, left bool) {
	for _, o := range p.owed {
		if !p.small(o) {
			continue // it was counted with those that are not owed
		}
		if _, still := debt(p.Ledger.Owed, o.Name); still {
			p.count(o)
			continue
		}
		p.covered += o.Cost
		p.age(p.at)
	}
	return p.covered, p.oldest, p.left
}

// byKey is a heap of what was picked, the last in the order on top.
type byKey []picked

func (h byKey) Len() int           { return len(h) }
func (h byKey) Less(i, j int) bool { return h[j].before(h[i].key) }
func (h byKey) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *byKey) Push(x any)        { *h = append(*h, x.(picked)) }
func (h *byKey) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = picked{}
	*h = (*h)[:last]
	return x
}
