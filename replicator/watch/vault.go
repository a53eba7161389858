package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// ownClock looks whether this machine's clock went on since the last look.
func (l *look) ownClock() {
	if !l.first && l.now.Before(l.m.Looked.Add(-slow)) {
		l.event(Finding{Kind: Clock, Text: fmt.Sprintf("this machine's clock went back: it says %s, and said %s at the last look", at(l.now), at(l.m.Looked))}, "own"+at(l.m.Looked))
	}
}

// vaultClock asks the vault for its time, and for what its bucket is set to where it says so.
func (l *look) vaultClock(ctx context.Context, seen *Memory) error {
	if l.Inspect == nil {
		return nil
	}
	began := l.Now()
	facts, err := l.Inspect.Inspect(ctx)
	if err != nil && (!errors.Is(err, store.ErrDenied) || facts.Clock.IsZero()) {
		return fmt.Errorf("ask for the vault's clock: %w", err)
	}
	local := began.Add(l.Now().Sub(began) / 2)
	l.clock = facts.Clock.UTC()
	// One of two clocks is wrong where they are apart: who sets one forward would have what was there forgotten.
	if l.due = l.now; l.clock.Before(l.now) {
		l.due = l.clock
	}
	if l.clock.Sub(local).Abs() > slow {
		l.due = time.Time{}
	}
	switch apart := l.clock.Sub(local); {
	case apart > slow:
		l.state(Finding{Kind: Clock, Text: fmt.Sprintf("the vault's clock is %s ahead of this machine's: the vault says %s; compare both with a third", span(apart), at(l.clock))}, "apart")
	case apart < -slow:
		l.state(Finding{Kind: Clock, Text: fmt.Sprintf("the vault's clock is %s behind this machine's: the vault says %s; compare both with a third", span(-apart), at(l.clock))}, "apart")
	}
	if !l.first && l.clock.Before(l.m.Clock.Add(-slow)) {
		l.event(Finding{Kind: Clock, Text: fmt.Sprintf("the vault's clock went back: it says %s, and said %s at the last look", at(l.clock), at(l.m.Clock))}, "vault"+at(l.m.Clock))
	}
	switch {
	case !l.Locks:
	case err == nil:
		l.guarantee(facts, seen)
	default:
		for _, subject := range []string{"versioning", "locking", "default"} {
			l.still(l.m, Finding{Kind: Shrunk}, subject)
		}
	}
	return nil
}

// guarantee holds what a bucket is set to against what it was set to.
func (l *look) guarantee(f store.Facts, seen *Memory) {
	now := Guarantee{Known: true, Versioning: f.Versioning, Locking: f.ObjectLock, Mode: f.Default.Mode}
	if !f.Default.Until.IsZero() {
		now.Days = int(f.Default.Until.Sub(f.Clock).Hours()/24 + 0.5)
	}
	before := l.m.Guarantee
	seen.Guarantee = now
	if !before.Known {
		return
	}
	if before.Versioning && !now.Versioning {
		l.state(Finding{Kind: Shrunk, Text: "versioning of the bucket was on and is off: what is stored from now on can be overwritten"}, "versioning")
		seen.Guarantee.Versioning = true // it is so until it is on again
	}
	if before.Locking && !now.Locking {
		l.state(Finding{Kind: Shrunk, Text: "object lock of the bucket was on and is off"}, "locking")
		seen.Guarantee.Locking = true
	}
	if before.Mode == store.ModeNone {
		return
	}
	// A retention of years is a day longer or shorter by when it is asked for. The longer one is remembered, so that it cannot shrink day by day.
	shorter := now.Days < before.Days-1
	if now.Mode == before.Mode && !shorter {
		seen.Guarantee.Days = max(before.Days, now.Days)
	}
	if now.Mode == store.ModeNone || shorter || before.Mode == store.Compliance && now.Mode != store.Compliance {
		l.state(Finding{Kind: Shrunk, Text: fmt.Sprintf("the default retention of the bucket was %s for %d days and is %s for %d", before.Mode, before.Days, cmp.Or(now.Mode, "none"), now.Days)}, "default")
		seen.Guarantee.Mode, seen.Guarantee.Days = before.Mode, before.Days // it is so until it is as it was
	}
}

// records holds the series of records against those that are remembered. They are never deleted, so every number has to be there.
func (l *look) records(ctx context.Context, seen *Memory) error {
	seen.Records = map[string]int{}
	var gaps []thing
	o := l.View.Records()
	o.Report = func(f evidence.Finding) {
		if len(gaps) < maxNotes {
			gaps = append(gaps, thing{f.Name, fmt.Sprintf("records: %s: %s", f.Name, f.Detail)})
		}
	}
	foreign := func(name string) {
		l.noticed.add(repo.Finding{Kind: repo.Tampered, Name: name, Detail: "not a record of this repository: no key of a reporter signed it"})
	}
	err := evidence.Names(ctx, o, foreign, func(n evidence.Named) {
		if len(seen.Records) < maxSeries {
			seen.Records[seriesKey(n)] = n.Last
		}
	})
	if err != nil {
		return err
	}
	full := len(seen.Records) == maxSeries
	for _, key := range slices.Sorted(maps.Keys(l.m.Records)) {
		last := l.m.Records[key]
		now, there := seen.Records[key]
		switch {
		case !there && (full || len(seen.Records) >= 2*maxSeries): // it may be one of those that are not remembered
			continue
		case !there:
			gaps = append(gaps, thing{key, fmt.Sprintf("the series of records %s, which had %d, is not there any more", key, last+1)})
		case now < last:
			gaps = append(gaps, thing{key, fmt.Sprintf("the series of records %s ended with number %d and ends with %d: records were taken away, or the vault was set back", key, last, now)})
		}
		seen.Records[key] = max(now, last)
	}
	l.several(Finding{Kind: Withheld}, "%d records, or series of them, are not there or are there twice", gaps)
	return nil
}

func seriesKey(n evidence.Named) string {
	return fmt.Sprintf("%s/%s", n.Reporter, n.Series.UTC().Format(time.RFC3339))
}

// isStored reports whether a name is that of something points need.
func isStored(name string) bool {
	_, err := format.ParseName(name)
	return err == nil
}
