package pack

import (
	"slices"
	"sync"
)

const (
	keptFrom = 64 << 10 // the size from which a buffer is worth keeping
	keptMost = 64 << 20 // bytes that lie idle
	keptMany = 64       // buffers that lie idle
	rounding = 64 << 10 // sizes are rounded up to a multiple, so that more of them fit
)

// Scratch keeps large buffers for use again: fetched ranges, decrypted and decoded frames. Whoever reads many objects
// makes one and gives it to all of them. What it keeps was in use once at the same time, so it adds nothing to the most
// that is ever needed; a sync.Pool would lose all of it with every collection, and new memory costs more than what is
// done with it. A nil Scratch keeps nothing. It is safe for concurrent use.
type Scratch struct {
	mu    sync.Mutex
	idle  [][]byte // by capacity
	bytes int
}

func byCap(b []byte, n int) int { return cap(b) - n }

// Get gives a buffer of n bytes with anything in it.
func (s *Scratch) Get(n int64) []byte {
	if s == nil || n < keptFrom {
		return make([]byte, n)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.idle, int(n), byCap)
	// A much larger one would make budgets that count n wrong.
	if i < len(s.idle) && int64(cap(s.idle[i])) <= 8*n {
		b := s.idle[i]
		s.remove(i)
		return b[:n]
	}
	return make([]byte, n, (n+rounding-1)/rounding*rounding)
}

// Put takes a buffer back that nobody uses any more.
func (s *Scratch) Put(b []byte) {
	if s == nil || cap(b) < keptFrom {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Of too many the smallest go: they are cheapest to make again.
	i, _ := slices.BinarySearchFunc(s.idle, cap(b), byCap)
	s.idle = slices.Insert(s.idle, i, b[:0])
	s.bytes += cap(b)
	for len(s.idle) > keptMany || s.bytes > keptMost {
		s.remove(0)
	}
}

func (s *Scratch) remove(i int) {
	s.bytes -= cap(s.idle[i])
	s.idle = slices.Delete(s.idle, i, i+1)
}
