package evidence

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/crypto/attest"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Reporter makes records. It is not safe for concurrent use: its book is one process's at a time.
type Reporter struct {
	Key        *keys.ReporterKey
	Repository format.Hash
	Book       *Book
	Vaults     []Vault // all there are, also those that cannot be reached
}

// Add makes a record of what is stated and puts it into every vault, behind what is still missing there. The record is made,
// and will be put sooner or later, whatever becomes of the vaults; an error says that it could not be made.
func (r *Reporter) Add(ctx context.Context, s Statement) ([]Delivery, error) {
	id, body, err := r.next(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("make a record: %w", err)
	}
	if err := r.Book.made(id, body); err != nil {
		return nil, fmt.Errorf("make a record: %w", err)
	}
	waiting, err := r.Book.waiting()
	if err != nil {
		return nil, err
	}
	out := make([]Delivery, len(r.Vaults))
	var g errgroup.Group // each vault by itself: one that fails stops no other
	for i, v := range r.Vaults {
		g.Go(func() error {
			out[i] = r.deliver(ctx, v, waiting, s)
			return nil
		})
	}
	_ = g.Wait() // none fails
	return out, r.tidy(waiting)
}

// next makes the record that follows. A new series begins where the reporter does not know its last record, where a vault
// has joined, which would have the series from its middle on, and where a vault has been away for too long.
func (r *Reporter) next(ctx context.Context, s Statement) (format.RecordID, []byte, error) {
	now := format.At(s.Time.Truncate(time.Second))
	rec := &format.Record{
		Repository: r.Repository, Reporter: r.Key.Name, Series: now, Time: now, Type: s.Type, Newest: s.Newest, Body: s.Body,
	}
	waiting, err := r.Book.waiting()
	if err != nil {
		return format.RecordID{}, nil, err
	}
	last, ok, err := r.Book.last(waiting)
	if err != nil {
		return format.RecordID{}, nil, err
	}
	fresh, err := r.beginsAnew(last, ok, waiting)
	if err != nil {
		return format.RecordID{}, nil, err
	}
	switch {
	case ok && !fresh:
		rec.Series, rec.Number, rec.Previous = last.series, last.number+1, last.sum
	case ok && !now.After(last.series.Time): // two series have two names
		rec.Series = format.At(last.series.Add(time.Second))
	case !ok: // the book may be lost within the second in which it began
		for r.begun(ctx, rec.Series) {
			rec.Series = format.At(rec.Series.Add(time.Second))
		}
	}
	body, err := format.EncodeRecord(rec)
	if err != nil {
		return format.RecordID{}, nil, err
	}
	id := format.RecordID{Reporter: rec.Reporter, Series: rec.Series, Number: rec.Number, Sum: sumOf(body), Hint: format.KeyHint(r.Key.Public())}
	id.Signature = attest.Sign(r.Key.Signing, attest.Record, id.Message(r.Repository))
	return id, body, nil
}

// begun reports whether a vault shows a series that began at that time. One that cannot be asked shows none.
func (r *Reporter) begun(ctx context.Context, series format.Time) bool {
	for _, v := range r.Vaults {
		if v.Err != nil {
			continue
		}
		for _, err := range v.Read.Versions(ctx, format.SeriesPrefix(r.Key.Name, series), "") {
			if err == nil {
				return true
			}
			break
		}
	}
	return false
}

// beginsAnew reports whether there is no series to go on with, a vault has nothing of it, or too much waits for one.
func (r *Reporter) beginsAnew(last place, known bool, waiting []format.RecordID) (bool, error) {
	if len(waiting) >= maxWaiting {
		for _, id := range waiting {
			if err := r.Book.forget(id); err != nil {
				return false, err
			}
		}
		return true, nil
	}
	if !known {
		return true, nil
	}
	// One that never had anything is behind, not new, as long as the series waits for it from its beginning.
	whole := slices.ContainsFunc(waiting, func(id format.RecordID) bool { return id.Number == 0 && id.Series.Equal(last.series.Time) })
	for _, v := range r.Vaults {
		_, there, err := r.Book.at(v.Name)
		if err != nil {
			return false, err
		}
		if !there && !whole {
			return true, nil
		}
	}
	return false, nil
}

// deliver puts into a vault what it lacks, in order.
func (r *Reporter) deliver(ctx context.Context, v Vault, waiting []format.RecordID, s Statement) Delivery {
	d := Delivery{Vault: v.Name}
	at, there, err := r.Book.at(v.Name)
	if err = cmp.Or(err, v.Err); err != nil {
		d.Err, d.Waiting = fmt.Errorf("vault %s: store a record: %w", v.Name, err), len(waiting)
		return d
	}
	want := v.retention(s.Time, s.Until)
	for i, id := range waiting {
		if there && placeOf(id).compare(at) <= 0 || !there && id.Number > 0 {
			continue // it has this one; or it joined later, and begins with a series
		}
		id.Reporter = r.Key.Name
		body, err := r.Book.body(id)
		if err == nil {
			err = v.put(ctx, id.Name(), body, want)
		}
		if err == nil {
			err = r.Book.note(atPrefix+v.Name, id.Name())
		}
		if err != nil {
			d.Waiting, d.Err = len(waiting)-i, fmt.Errorf("vault %s: store a record: %w", v.Name, err)
			return d
		}
		at, there = placeOf(id), true
		d.Stored++
		d.Until = want.Until
	}
	return d
}

// tidy removes what is in every vault.
func (r *Reporter) tidy(waiting []format.RecordID) error {
	for _, id := range waiting {
		for _, v := range r.Vaults {
			at, there, err := r.Book.at(v.Name)
			if err != nil {
				return err
			}
			if !there || placeOf(id).compare(at) > 0 {
				return nil // and so all that follow
			}
		}
		if err := r.Book.forget(id); err != nil {
			return err
		}
	}
	return nil
}
