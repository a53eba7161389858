package repo_test

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// behind is a vault whose machines disagree: it dates points earlier than the clock it answers with.
type behind struct {
	store.Reader
	by time.Duration
}

func (v behind) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, r, err := v.Reader.Stat(ctx, ref)
	return v.dated(info), r, err
}

func (v behind) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		for info, err := range v.Reader.Versions(ctx, prefix, after) {
			if !yield(v.dated(info), err) {
				return
			}
		}
	}
}

func (v behind) dated(info store.Info) store.Info {
	if strings.HasPrefix(info.Name, "points/") {
		info.Modified = info.Modified.Add(-v.by)
	}
	return info
}

// TestPointDatedBeforeItsSignature: a run never reports a point done that no reader takes.
func TestPointDatedBeforeItsSignature(t *testing.T) {
	for _, c := range []struct {
		by   time.Duration
		ok   bool
		said int // points that were signed too late, and are not taken
	}{{0, true, 0}, {time.Second, true, 0}, {5 * time.Second, true, 1}, {time.Minute, true, 2}, {8 * time.Minute, true, 3}, {time.Hour, false, 4}} {
		b := newBench(t)
		b.clock = b.clock.Add(2 * time.Hour)
		b.vault.Read = behind{b.store, c.by}
		id, err := b.commit("uploads", b.clock.Add(-time.Hour))
		points := b.points()
		switch {
		case c.ok && (err != nil || len(points) != 1 || points[0].ID != id):
			t.Errorf("dated %v early: %v, %d points", c.by, err, len(points))
		case !c.ok && (!errors.Is(err, store.ErrClock) || len(points) != 0):
			t.Errorf("dated %v early: %v, %d points", c.by, err, len(points))
		}
		if got := b.count(repo.Tampered, "points/"); got != c.said {
			t.Errorf("dated %v early: %d points are said to be forged, want %d", c.by, got, c.said)
		}
	}
}
