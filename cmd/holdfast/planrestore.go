package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/plan"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
)

// Rates between which a restore is likely to be, where none is given: in bytes a second.
const (
	slowRestore = 10_000_000
	fastRestore = 100_000_000
)

// restorePlan is what a restore would take, for scripts.
type restorePlan struct {
	Point      string     `json:"point"`
	Source     string     `json:"source"`
	Vault      string     `json:"vault"`
	Entries    int64      `json:"entries"`
	Bytes      int64      `json:"bytes"`      // of content
	BytesRead  int64      `json:"bytes_read"` // from the vault
	Objects    int64      `json:"objects"`
	Requests   int64      `json:"requests"`
	Cost       *costJSON  `json:"cost"` // null: no price is known
	Unpriced   string     `json:"unpriced,omitempty"`
	Rate       int64      `json:"rate,omitempty"` // bytes a second, as given
	Hours      *float64   `json:"hours,omitempty"`
	HoursRange *[]float64 `json:"hours_range,omitempty"` // without a rate: at 100 and at 10 MB a second
	RTOMet     *bool      `json:"rto_met,omitempty"`     // targets.rto, at the rate given
	Alarms     []string   `json:"alarms,omitempty"`
}

// restore is `plan --restore POINT`.
func (a *planCommands) restore(ctx context.Context, f *planFlags) (err error) {
	var rate int64
	if f.rate != "" {
		if rate, err = config.ParseSize(f.rate); err != nil || rate == 0 {
			return usage(fmt.Errorf("--rate %s: give bytes a second, such as 50MB", safe(f.rate)))
		}
	}
	r, err := a.openReading(ctx, &f.reader)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	p, err := r.keptPoint(ctx, f.restore)
	if err != nil {
		return err
	}
	asked, got := r.vault.requests.Snapshot(), r.vault.counted.Snapshot().BytesIn // until now, as a restore would
	in, err := repo.NewReader(r.repo, r.vault.Reader, nil, nil, r.findings.add)
	if err != nil {
		return err
	}
	w, err := plan.OfPoint(ctx, in, p.Commit)
	if err != nil {
		return err
	}
	if r.vault.url.Locks() {
		w.Requests = w.Requests.Plus(asked)
	} else {
		w.Requests = meter.Asked{}
	}
	w.Bytes += got
	line := restorePlan{
		Point: p.ID.String(), Source: p.Source, Vault: r.vault.name, Entries: p.Commit.Entries, Bytes: p.Commit.Bytes,
		BytesRead: w.Bytes, Objects: w.Objects, Requests: w.Requests.All(), Rate: rate,
	}
	c, err := openCharges(a.app, r.config)
	if err != nil {
		return err
	}
	price, perr := c.of(r.vault.url)
	var cost plan.Cost
	if perr == nil {
		cost = w.Cost(price)
		line.Cost = costOf(&cost)
	} else {
		line.Unpriced = perr.Error()
	}
	hours := func(rate int64) float64 { return cents(w.Takes(rate).Hours()) }
	if rate > 0 {
		h := hours(rate)
		line.Hours = &h
		if r.config != nil && !r.config.Targets.RTO.IsZero() {
			now := a.now()
			met := w.Takes(rate) <= r.config.Targets.RTO.AddTo(now).Sub(now)
			line.RTOMet = &met
		}
	} else {
		line.HoursRange = &[]float64{hours(fastRestore), hours(slowRestore)}
	}
	said, alarm := r.alarms()
	line.Alarms = said.texts()
	if a.ui.json {
		return together{a.ui.object(line), alarm}.orNil()
	}
	return together{a.ui.text(line.text(w, cost)), alarm}.orNil()
}

func (l restorePlan) text(w plan.Restore, c plan.Cost) string {
	out := fmt.Sprintf("Restoring point %.12s of %s from vault %s: %s, %s\n  read   %s from the vault, in %s from %s\n", l.Point, l.Source, safe(l.Vault), entries(l.Entries), size(l.Bytes),
		size(l.BytesRead), plural(l.Requests, "request", "requests"), plural(l.Objects, "object", "objects"))
	if l.Cost != nil {
		out += fmt.Sprintf("  cost   %s: egress %s, requests %s; prices of %s\n", money(c.Currency, c.Amount), money("", c.Egress), money("", c.Requests), c.Of)
	} else {
		out += fmt.Sprintf("  no cost %s\n", safe(l.Unpriced))
	}
	took := func(rate int64) string { return ago(max(w.Takes(rate), time.Second)) }
	if l.Rate > 0 {
		out += fmt.Sprintf("  time   %s at %s a second", took(l.Rate), size(l.Rate))
		if l.RTOMet != nil && !*l.RTOMet {
			out += "; targets.rto asks for less"
		}
		return out
	}
	return out + fmt.Sprintf("  time   %s at 100 MB a second, %s at 10 MB; --rate tells it for yours", took(fastRestore), took(slowRestore))
}
