package repo

import (
	"context"
	"time"
)

// Pace is how often a run that goes on makes known in the vaults what it has stored: index segments and placements. A run
// that is killed loses what is newer, and the next one stores it again.
type Pace struct {
	Every time.Duration // default 2 minutes
	Bytes int64         // or after so many stored bytes; default 1 GiB
}

func (p Pace) orDefault() Pace {
	if p.Every <= 0 {
		p.Every = 2 * time.Minute
	}
	if p.Bytes <= 0 {
		p.Bytes = 1 << 30
	}
	return p
}

// placing writes into each vault where its objects are.
type placing struct {
	*vaults
	pace Pace
}

// Pace is the session's.
func (s *Writer) Pace() Pace { return s.placing.pace }

// keepUp writes what is new about where a vault's objects are, if that is due. Copying into a vault and lengthening locks
// can take hours, and memory for it is bounded.
func (s *placing) keepUp(ctx context.Context, k *keeper) error {
	now := s.now()
	k.mu.Lock()
	due := len(k.pending) >= maxSegmentLines/2 ||
		len(k.pending) > 0 && (k.unplaced >= s.pace.Bytes || now.Sub(k.flushed) >= s.pace.Every)
	if due { // one of those who ask does it
		k.flushed, k.unplaced = now, 0
	}
	k.mu.Unlock()
	if !due {
		return nil
	}
	return s.flushPlacements(ctx, k)
}
