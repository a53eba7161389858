package cache

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// health hears what the database says in the background. It logs nothing, and it keeps the first failure after which the
// database must not be written any more: the database itself would end the process there, and a cache is not worth that.
type health struct{ err atomic.Pointer[error] }

func (h *health) failure() error {
	if e := h.err.Load(); e != nil {
		return *e
	}
	return nil
}

func (h *health) fail(err error) { h.err.CompareAndSwap(nil, &err) }

// Infof implements pebble.Logger.
func (*health) Infof(string, ...any) {}

// Errorf implements pebble.Logger. What it is told comes back from the operation, or is tried again.
func (*health) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (h *health) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			h.fail(fmt.Errorf("local database failed: %w", err))
			return
		}
	}
	h.fail(fmt.Errorf("local database failed: "+format, args...))
}

func (h *health) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			if pebble.IsCorruptionError(err) {
				h.fail(fmt.Errorf("%w: %w", ErrCorrupt, err))
			}
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			h.fail(fmt.Errorf("%w: %w", ErrCorrupt, info.Details))
		},
	}
}
