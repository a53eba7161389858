// Package progress is how far an operation has come, for whoever watches it. It must never be what an operation goes by.
package progress

import "sync/atomic"

// Count is filled in while an operation goes on, which says what it counts; it may be read at any time.
type Count struct {
	Done  atomic.Int64
	Total atomic.Int64 // as far as it is known by now; 0: it is not
}

// Reset begins again.
func (c *Count) Reset() {
	c.Done.Store(0)
	c.Total.Store(0)
}
