package backup_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// TestNoMoreIsStoredThanAllowed: a run that would store too much stops, makes no point, and what it stored is found by the next run.
func TestNoMoreIsStoredThanAllowed(t *testing.T) {
	const count, size = 10, 8 << 20
	r := newRig(t, 2)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	for i := range count {
		src.Put(fmt.Sprintf("%02d", i), body(uint64(i), size))
	}
	r.clock = r.clock.Add(time.Hour)
	r.most = 40 << 20
	before := int64(0)
	for tries := int64(1); before == 0; tries++ { // on a slow machine the first pack may be on its way yet when the run stops
		if _, err := r.try(t.Context()); !errors.Is(err, backup.ErrMost) {
			t.Fatalf("%v; want ErrMost", err)
		}
		for v := range r.stores {
			if n, _ := inVault(r, v, format.PrefixPoints); n != 0 {
				t.Errorf("vault %d has %d points", v, n)
			}
			if _, stored := inVault(r, v, format.PrefixPacks); stored > tries*r.most {
				t.Errorf("vault %d has packs of %d bytes after %d runs; want at most %d of each", v, stored, tries, r.most)
			}
		}
		if _, before = inVault(r, 0, format.PrefixPacks); before == 0 && tries == 5 {
			t.Fatal("nothing of five runs was stored")
		}
	}
	r.most = count*size + 1<<20 - before // only what is missing yet
	if res := r.run(); res.Entries != count {
		t.Errorf("%+v", res)
	}
}

// TestADryRunSaysWhatThereIsToDo counts what is read, looked at and written, and how well the last point compressed.
func TestADryRunSaysWhatThereIsToDo(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	const count = 40
	for i := range count {
		src.Put(fmt.Sprintf("%02d", i), append(body(uint64(i), 50_000), make([]byte, 50_000)...))
	}
	r.clock = r.clock.Add(time.Hour)
	r.dry = true
	first := r.run().Work
	if first.Reads != count || first.Lines != count || first.Leaves == 0 || first.Chunks != count || first.Standing == 0 || first.Last.Bytes != 0 {
		t.Errorf("before the first run: %+v", first)
	}
	r.dry = false
	r.run()
	src.Put("07", body(100, 100_000))
	src.Put("new", body(101, 30_000))
	r.clock = r.clock.Add(time.Hour)
	r.dry = true
	res := r.run()
	w := res.Work
	if w.Reads != 2 || res.BytesRead != 130_000 || w.Known != 100_000 || w.Standing != 0 || w.Lines < 2 || w.Lines > count+1 || len(w.Locks) != 1 || w.Locks[0].Stored == 0 {
		t.Errorf("after a change: %+v", w)
	}
	if share := float64(w.Last.Packed) / float64(w.Last.Bytes); share < 0.24 || share > 0.26 || w.Last.Entries != count {
		t.Errorf("the last point is stored in %.3f of its bytes; want a quarter: %+v", share, w.Last)
	}
	r.dry = false
	r.run()
	r.dry = true
	r.clock = r.clock.Add(20 * 24 * time.Hour) // the next point is kept for longer than what is there is locked
	locks := r.run().Work.Locks[0]
	r.dry = false
	// Of the two runs before, an object of each is let go where the new point folds what was left in it, by the sizes that come of it:
	// the forecast takes those of the point before.
	if done := r.run().Vaults[0].Extended; done == 0 || locks.Longer < done-1 || locks.Longer > done+2 || locks.ByteHours <= 0 {
		t.Errorf("%+v; and %d locks were lengthened", locks, done)
	}
}

// TestADryRunCountsTheLeavesThatChange: of many leaves, however the repository's key cuts them, few are written anew for two changes.
func TestADryRunCountsTheLeavesThatChange(t *testing.T) {
	r := newRig(t, 1)
	src := memsource.New(memsource.Options{Now: r.now})
	r.source = src
	const count = 1000
	for i := range count {
		src.Put(fmt.Sprintf("%04d", i), body(uint64(i), 100))
	}
	r.clock = r.clock.Add(time.Hour)
	r.run()
	src.Put("0007", body(count, 100))
	src.Put("new", body(count+1, 100))
	r.clock = r.clock.Add(time.Hour)
	r.dry = true
	if w := r.run().Work; w.Reads != 2 || w.Leaves == 0 || w.Lines < 2 || w.Lines > count/2 {
		t.Errorf("%+v", w)
	}
}
