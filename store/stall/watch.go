// Package stall tells a vault that works from one that only keeps its callers waiting.
//
// A vault that hangs, and one that gives a byte a second, hold up whoever asks them for ever: no single answer is wrong.
// A Watch adds up what comes while somebody waits and ends the waiting when that is too little. A Guard is a watch over all
// requests of one vault; it stands around the retry layer, so that trying again is no progress. Time that the caller spends
// on his own does not count. It must never end a vault that is merely slow: see Least.
package stall

import (
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Default is how long a vault may give or take nothing.
const Default = 60 * time.Second

// Least is the rate below which a vault counts as giving nothing, in bytes a second. A request that succeeded counts as
// Request bytes and a listed name as Name bytes beside its own, so that many small answers are progress too.
const (
	Least   = 512
	Request = 4 << 10
	Name    = 128
)

// quarters is in how many parts a watch looks back over its limit.
const quarters = 4

// Watch adds up progress while somebody waits. It is safe for concurrent use.
type Watch struct {
	limit time.Duration
	least int64 // within limit
	ended func(error)

	mu      sync.Mutex
	waiting int
	since   time.Time     // of the present waiting, as far as it is not in spent
	spent   time.Duration // waiting in the quarter at hand
	got     [quarters]int64
	full    int // quarters that are over, up to all
	at      int // the quarter at hand
	timer   *time.Timer
	err     error
}

// NewWatch makes a watch that calls ended once, when for limit of waiting less came than Least a second.
func NewWatch(limit time.Duration, ended func(error)) *Watch {
	if limit <= 0 {
		limit = Default
	}
	return &Watch{limit: limit, least: max(int64(limit.Seconds()*Least), 1), ended: ended}
}

// Enter begins a wait. Each is followed by Exit.
func (w *Watch) Enter() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting++
	if w.waiting > 1 || w.err != nil {
		return
	}
	w.since = time.Now()
	left := w.quarter() - w.spent
	if w.timer == nil {
		w.timer = time.AfterFunc(left, w.look)
		return
	}
	w.timer.Reset(left)
}

// Exit ends a wait.
func (w *Watch) Exit() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting--; w.waiting > 0 || w.err != nil {
		return
	}
	w.spent += time.Since(w.since)
	w.timer.Stop()
}

// Add counts progress.
func (w *Watch) Add(n int64) {
	w.mu.Lock()
	w.got[w.at] += n
	w.mu.Unlock()
}

// Err is why the watch ended, nil as long as it has not.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func (w *Watch) quarter() time.Duration { return w.limit / quarters }

// look is called when a quarter is over.
func (w *Watch) look() {
	w.mu.Lock()
	if w.waiting == 0 || w.err != nil {
		w.mu.Unlock()
		return // the wait ended while the timer went off
	}
	now := time.Now()
	w.spent, w.since = w.spent+now.Sub(w.since), now
	if left := w.quarter() - w.spent; left > 0 {
		w.timer.Reset(left)
		w.mu.Unlock()
		return
	}
	w.full = min(w.full+1, quarters)
	var sum int64
	for _, n := range w.got {
		sum += n
	}
	if w.full == quarters && sum < w.least {
		w.err = fmt.Errorf("%w: it gave and took %d bytes in %s", store.ErrStalled, sum, w.limit)
		err := w.err
		w.mu.Unlock()
		w.ended(err)
		return
	}
	w.at = (w.at + 1) % quarters
	w.got[w.at], w.spent = 0, 0
	w.timer.Reset(w.quarter())
	w.mu.Unlock()
}
