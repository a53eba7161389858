package plan_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/plan"
	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// forecast is one of a run that reads so many bytes in so many pieces.
func forecast(bytes, chunks int64, change func(*backup.Work)) plan.Forecast {
	w := &backup.Work{Reading: source.Reading{Reads: chunks}, Chunks: chunks, Lines: chunks, Locks: []repo.Lengthening{{}}}
	if change != nil {
		change(w)
	}
	r := &backup.Result{BytesRead: bytes, Work: w, Vaults: []repo.VaultResult{{Vault: "v", LockedUntil: now.Add(10 * 24 * time.Hour)}}}
	return plan.Run(r, 0, meter.Asked{List: 1, Get: 2}, meter.Asked{List: 7})
}

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestObjects follow from the rules of the pipeline.
func TestObjects(t *testing.T) {
	for what, c := range map[string]struct {
		f    plan.Forecast
		want int64
	}{
		"nothing new: pages, lists, placements, point":                                 {forecast(0, 0, nil), 4},
		"a little: a pack beside":                                                      {forecast(1<<20, 10, nil), 5},
		"1 GiB in 32 packs and a bit, an index object, and what is written on the way": {forecast(1<<30, 1024, func(w *backup.Work) { w.Lines = 1 }), 33 + 4 + 2},
		"many small ones: packs by pieces":                                             {forecast(1<<20, 100_000, func(w *backup.Work) { w.Lines = 0 }), 4 + 4 + 2*3 + 1},
		"many entries: packs by what waits for them":                                   {forecast(1<<20, 100, func(w *backup.Work) { w.Weight = 80 << 20 }), 10 + 4},
	} {
		if c.f.Objects != c.want {
			t.Errorf("%s: %d objects, want %d", what, c.f.Objects, c.want)
		}
	}
}

// TestWhatComesBack: after an empty point the last one that is not tells what is stored already, and how the rest shrinks.
func TestWhatComesBack(t *testing.T) {
	back := func(w *backup.Work) {
		w.Last, w.Back = backup.Density{Bytes: 100 << 20, Packed: 50 << 20, Entries: 100, Pages: 10_000}, true
	}
	f := forecast(100<<20, 100, back)
	if f.Basis != plan.Filled || f.Stored > 100_000 || f.Most < 100<<20 || f.Objects != 4 {
		t.Errorf("all of it: %+v", f)
	}
	if f := forecast(140<<20, 140, back); math.Abs(float64(f.Stored)/float64(20<<20)-1) > 0.01 {
		t.Errorf("and more: %+v", f)
	}
	if f := forecast(0, 0, back); f.Basis == plan.Unknown || f.Objects != 4 {
		t.Errorf("nothing: %+v", f)
	}
}

// TestRequestsAndBytes: what was asked already, and what follows.
func TestRequestsAndBytes(t *testing.T) {
	f := forecast(100<<20, 100, func(w *backup.Work) {
		w.Asks = 100
		w.Last = backup.Density{Bytes: 1000, Packed: 250, Entries: 10, Pages: 2000}
		w.Locks = []repo.Lengthening{{Locks: 3, Longer: 2, ByteHours: 730e9, Stored: 5e9}}
	})
	if want := (meter.Asked{Put: f.Objects, Lock: 2, List: 1, Get: 2 + f.Objects + 3 + 2}); f.Vault != want {
		t.Errorf("vault: %+v, want %+v", f.Vault, want)
	}
	if want := (meter.Asked{List: 7, Get: 100}); f.Source != want {
		t.Errorf("source: %+v, want %+v", f.Source, want)
	}
	if f.Basis != plan.LastPoint || f.Ratio != 0.25 || math.Abs(float64(f.Stored)/float64(25<<20)-1) > 0.01 || f.Most < 100<<20 {
		t.Errorf("%+v", f)
	}
	first := forecast(100<<20, 100, func(w *backup.Work) { w.Standing = 2 })
	if first.Basis != plan.Unknown || first.Stored != first.Most || first.Vault.List != 1+2 {
		t.Errorf("%+v", first)
	}

	all, err := prices.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	all, err = all.Over(strings.NewReader(`{"vendor": "own", "as_of": "2026-01-02", "currency": "EUR", "hosts": ["h"], "gb": 1000000000, "minimum_days": 30,
		"regions": {"*": {"storage": 0.01, "put": 1, "lock": 2, "list": 3, "get": 4, "egress": 0.5}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := all.For("h", "")
	if err != nil {
		t.Fatal(err)
	}
	c := f.InVault(p, now, 10*24*time.Hour)
	if c.Days != 30 || !c.Minimum || math.Abs(c.Longer-0.01) > 1e-9 || math.Abs(c.Amount-c.Storage-c.Longer-c.Requests) > 1e-9 {
		t.Errorf("%+v", c)
	}
	if least := 0.01 * float64(f.Now+f.Stored) / 1e9; c.Month <= least {
		t.Errorf("a month costs %g; storage alone is %g", c.Month, least)
	}
	s, err := f.AtSource(p, false)
	if err != nil || math.Abs(s.Egress-0.5*float64(100<<20)/1e9) > 1e-9 || math.Abs(s.Requests-(7*3+100*4)/1000.0) > 1e-9 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := f.AtSource(p, true); err == nil {
		t.Error("blocks have no price there")
	}
	if d := (plan.Restore{Bytes: 100e6, Content: 360e6}).Takes(100e3); d != time.Hour {
		t.Errorf("it takes %s", d)
	}
}
