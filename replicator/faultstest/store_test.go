package faultstest

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

// TestEveryCall is the whole matter: one world, and everything that is done with it failing in turn.
func TestEveryCall(t *testing.T) {
	w := newWorld(t)
	t.Run("run", w.everyCallOfARun)
	t.Run("source", w.everyCallOfASource)
	t.Run("verification", w.everyCallOfAVerification)
	t.Run("restore", w.everyCallOfARestore)
	t.Run("one vault of two times out", w.oneVaultOfTwoTimesOut)
}

// everyCallOfARun: the third run, with changes, each of its calls of the vault failing in turn.
func (w *world) everyCallOfARun(t *testing.T) {
	record := w.plan(w.two)
	c := w.fresh(t)
	if _, err := c.run(record, w.source); err != nil {
		t.Fatal(err)
	}
	c.close(t)
	tryAll(t, "run", record.Calls(), faults.Ways, w.tryRun)
}

func (w *world) tryRun(t *testing.T, r faults.Rule) *faults.Plan {
	c := w.fresh(t)
	defer c.close(t)
	p := w.plan(w.two, r)
	res, err := c.run(p, w.source)
	made := c.since(t)
	switch {
	case err == nil:
		if len(made) != 1 || made[0] != res.Point || res.Status != format.StatusComplete {
			t.Errorf("%s: no error, and points %v, result %+v", r, made, res)
			return p
		}
	case r.Way.Retryable() && (r.Times == 1 || r.Way == faults.Slow):
		t.Errorf("%s: not mended by trying again: %v", r, err)
	case len(made) > 0 && !strings.HasPrefix(r.Name, format.PrefixPoints):
		t.Errorf("%s: a point was committed, and the run failed: %v", r, err)
	case !clear(err, r.Way):
		t.Errorf("%s: not a clear error: %v", r, err)
	}
	w.converges(t, c, r, made, 0)
	return p
}

// converges makes the next run, with nothing in its way, and then holds everything to what it should be: the points that were
// made, which may lack so many entries, and the next one.
func (w *world) converges(t *testing.T, c *trial, r faults.Rule, made []format.Hash, missing int) {
	c.clock.at = c.clock.at.Add(time.Hour)
	res, err := c.run(nil, w.source)
	if err != nil {
		t.Errorf("%s: the next run: %v", r, err)
		return
	}
	if res.Status != format.StatusComplete || len(c.since(t)) != len(made)+1 {
		t.Errorf("%s: the next run: %+v", r, res)
	}
	if err := c.allWell(); err != nil {
		t.Errorf("%s: afterwards: %v", r, err)
	}
	for _, id := range made {
		if err := c.comesBack(id, missing); err != nil {
			t.Errorf("%s: the point is not whole: %v", r, err)
		}
	}
	if missing == 0 && len(made) > 0 {
		return // of the same source: the same pages
	}
	if err := c.comesBack(res.Point, 0); err != nil {
		t.Errorf("%s: the next run's point is not whole: %v", r, err)
	}
}

// everyCallOfAVerification: at the level of content, over three points.
func (w *world) everyCallOfAVerification(t *testing.T) {
	record := w.plan(w.three)
	clean, found, err := w.verified(w.three, record)
	if err != nil || clean.Status != verify.OK {
		t.Fatalf("%v, %+v, %v", err, clean, found)
	}
	stored := countNames(t, w.three, "")
	tryAll(t, "verification", record.Calls(), faults.Ways, func(t *testing.T, r faults.Rule) *faults.Plan {
		p := w.plan(w.three, r)
		sum, found, err := w.verified(w.three, p)
		mended := r.Times == 1 && (r.Way.Retryable() || r.Way == faults.Flipped || r.Way == faults.Truncated) || r.Way == faults.Slow
		exact := err == nil && sum.Status == verify.OK && sum.Points == clean.Points && sum.Objects == clean.Objects && sum.EntriesRead == clean.EntriesRead
		switch {
		case len(p.Left()) > 0: // nothing failed
		case exact:
			// A byte of a range that is read later on may lie between the frames that are wanted.
			// And a version that may not be asked about is found by its bytes: it might be one that only an attacker can read.
			if !mended && r.Times == 0 && r.Way != faults.Stale && (r.Way != faults.Flipped || r.Nth == 1) && (r.Op != "stat" || r.Way != faults.Denied) {
				t.Errorf("%s: passed for good", r)
			}
		case mended:
			t.Errorf("%s: not mended by trying again: %v, %+v, %v", r, err, sum, found)
		case err != nil:
			if !clear(err, r.Way) {
				t.Errorf("%s: not a clear error: %v", r, err)
			}
		case r.Way == faults.Stale && sum.Points < clean.Points: // it says how many it looked at
		case sum.Status == verify.OK || len(found) == 0:
			t.Errorf("%s: neither exact nor a finding: %+v", r, sum)
		}
		return p
	})
	if sum, found, err := w.verified(w.three, nil); err != nil || sum.Status != verify.OK || countNames(t, w.three, "") != stored {
		t.Errorf("afterwards: %v, %+v, %v", err, sum, found)
	}
}

// everyCallOfARestore: of the third point. What comes back is right to the byte, or does not come back and is told.
func (w *world) everyCallOfARestore(t *testing.T) {
	id := w.points[2]
	record := w.plan(w.three)
	if got, res, err := w.restored(w.three, id, record); err != nil || len(got) != len(w.want) {
		t.Fatalf("%v, %+v", err, res)
	}
	tryAll(t, "restore", record.Calls(), faults.Ways, func(t *testing.T, r faults.Rule) *faults.Plan {
		p := w.plan(w.three, r)
		got, res, err := w.restored(w.three, id, p)
		if bad := w.wrong(got); len(bad) > 0 {
			t.Errorf("%s: wrong bytes restored: %q", r, bad)
		}
		exact := err == nil && len(got) == len(w.want) && res.Failed+res.Missing == 0
		mended := r.Times == 1 && (r.Way.Retryable() || r.Way == faults.Flipped || r.Way == faults.Truncated) || r.Way == faults.Slow
		switch {
		case exact:
		case mended:
			t.Errorf("%s: not mended by trying again: %v, %+v", r, err, res)
		case err == nil && (res.Failed == 0 || len(got)+int(res.Failed) != len(w.want)):
			t.Errorf("%s: %d of %d entries, and only %d are told of", r, len(got), len(w.want), res.Failed)
		case err == nil && !clear(res.Failures[0].Err, r.Way), err != nil && !clear(err, r.Way) && r.Way != faults.Stale:
			t.Errorf("%s: not a clear error: %v, %v", r, err, res.Failures)
		}
		return p
	})
}
