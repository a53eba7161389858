package pack

import "sync"

// keptFrom is the size from which a buffer is worth keeping.
const keptFrom = 64 << 10

// Scratch keeps large buffers for use again: fetched ranges, decrypted and decoded frames. Whoever reads many objects
// makes one and gives it to all of them. A nil Scratch keeps nothing. It is safe for concurrent use, and what it keeps the
// collector may take.
type Scratch struct{ pool sync.Pool }

// Get gives a buffer of n bytes with anything in it.
func (s *Scratch) Get(n int64) []byte {
	if s != nil && n >= keptFrom {
		if b, ok := s.pool.Get().(*[]byte); ok {
			// A much larger one would make budgets that count n wrong.
			if int64(cap(*b)) >= n && int64(cap(*b)) <= 8*n {
				return (*b)[:n]
			}
			s.pool.Put(b)
		}
	}
	return make([]byte, n)
}

// Put takes a buffer back that nobody uses any more.
func (s *Scratch) Put(b []byte) {
	if s != nil && cap(b) >= keptFrom {
		b = b[:0]
		s.pool.Put(&b)
	}
}
