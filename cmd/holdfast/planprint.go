package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/plan"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// askedJSON is how many requests of each kind.
type askedJSON struct {
	Put  int64 `json:"put"`
	Lock int64 `json:"lock"`
	List int64 `json:"list"`
	Get  int64 `json:"get"`
}

func askedOf(a meter.Asked) askedJSON { return askedJSON(a) }

// costJSON is money, for scripts.
type costJSON struct {
	Currency    string  `json:"currency"`
	Amount      float64 `json:"amount"`
	PricesOf    string  `json:"prices_of"`
	Storage     float64 `json:"storage"`
	Days        float64 `json:"days"` // that storage is billed for
	Lengthening float64 `json:"lengthening"`
	Requests    float64 `json:"requests"`
	Egress      float64 `json:"egress"`
	Month       float64 `json:"month"` // of all that the vault holds
}

func costOf(c *plan.Cost) *costJSON {
	if c == nil || c.Currency == "" {
		return nil
	}
	return &costJSON{c.Currency, cents(c.Amount), c.Of, cents(c.Storage), roundSeconds(c.Days), cents(c.Longer), cents(c.Requests), cents(c.Egress), cents(c.Month)}
}

// cents keeps six digits of money: a request costs as little.
func cents(v float64) float64 { return math.Round(v*1e6) / 1e6 }

// planLine is a forecast, for scripts.
type planLine struct {
	Source         string    `json:"source"`
	Vault          string    `json:"vault"`
	Reads          int64     `json:"reads"`
	BytesRead      int64     `json:"bytes_read"`
	BytesStored    int64     `json:"bytes_stored"`
	BytesMost      int64     `json:"bytes_most"`
	Basis          string    `json:"basis"`
	Ratio          float64   `json:"ratio"`
	ObjectsStored  int64     `json:"objects_stored"`
	LocksExtended  int64     `json:"locks_extended"`
	Requests       int64     `json:"requests"`
	Asked          askedJSON `json:"requests_by_kind"`
	SourceRequests int64     `json:"source_requests"`
	RetainUntil    string    `json:"retain_until,omitempty"`
	Until          string    `json:"until,omitempty"`
	Cost           *costJSON `json:"cost"`        // null: no price is known
	SourceCost     *costJSON `json:"source_cost"` // the same
	Unpriced       []string  `json:"unpriced,omitempty"`
	Error          string    `json:"error,omitempty"`
}

func (p *foreseeing) print(x foreseen) error {
	if p.ui.json {
		line := planLine{
			Source: x.source, Vault: x.vault, Reads: x.Reads, BytesRead: x.BytesRead, BytesStored: x.Stored, BytesMost: x.Most, Basis: string(x.Basis),
			Ratio: roundSeconds(x.Ratio), ObjectsStored: x.Objects, LocksExtended: x.Longer, Requests: x.Vault.All(), Asked: askedOf(x.Vault),
			SourceRequests: x.Source.All(), Cost: costOf(x.cost), SourceCost: costOf(x.atCost), Unpriced: x.unknown,
		}
		if x.err != nil {
			return p.ui.object(planLine{Source: x.source, Vault: x.vault, Error: x.err.Error()})
		}
		line.RetainUntil, line.Until = x.retain.UTC().Format(time.RFC3339), x.Until.UTC().Format(time.RFC3339)
		return p.ui.object(line)
	}
	if x.err != nil {
		return p.ui.text(fmt.Sprintf("%s -> %s: cannot be told", x.source, x.vault))
	}
	return p.ui.text(strings.Join(x.text(), "\n"))
}

// text is a forecast for people.
func (x foreseen) text() []string {
	rest := "as if nothing shrank, since no point tells"
	switch x.Basis {
	case plan.Filled:
		rest = fmt.Sprintf("what the last point that is not empty held is stored already, and the rest shrinks to %.0f %%; at most %s", x.Ratio*100, size(x.Most))
	case plan.LastPoint:
		rest = fmt.Sprintf("new content shrinks to %.0f %%, as that of the last point did; at most %s", x.Ratio*100, size(x.Most))
	}
	if x.BytesRead == 0 {
		rest = "no content is new"
	}
	out := []string{
		fmt.Sprintf("%s -> %s:", x.source, safe(x.vault)),
		fmt.Sprintf("  read    %s of %s; %s to the source", size(x.BytesRead), entries(x.Reads), plural(x.Source.All(), "request", "requests")),
		fmt.Sprintf("  store   about %s in %s; %s", size(x.Stored), plural(x.Objects, "object", "objects"), rest),
	}
	if x.locks {
		out = append(out,
			fmt.Sprintf("  ask     %s to the vault: %d put, %d get, %d list, %d lock", plural(x.Vault.All(), "request", "requests"), x.Vault.Put, x.Vault.Get, x.Vault.List, x.Vault.Lock),
			fmt.Sprintf("  lock    the point would be kept until %s, and what is stored for it locked until %s; %s lengthened", date(x.retain), date(x.Until), plural(x.Longer, "lock", "locks")))
	} else {
		out = append(out, fmt.Sprintf("  keep    the point would be kept until %s; this vault keeps no locks", date(x.retain)))
	}
	if c := x.cost; c != nil {
		least := ""
		if c.Minimum {
			least = ", the least that is billed"
		}
		out = append(out,
			fmt.Sprintf("  cost    %s until the locks end: storage %s (%.0f days%s), lengthening %s, requests %s; prices of %s", money(c.Currency, c.Amount),
				money("", c.Storage), c.Days, least, money("", c.Longer), money("", c.Requests), c.Of),
			fmt.Sprintf("          %s a month for all that the vault holds after it", money(c.Currency, c.Month)))
	}
	if c := x.atCost; c != nil && c.Currency != "" {
		out = append(out, fmt.Sprintf("  source  %s: egress %s, requests %s; prices of %s", money(c.Currency, c.Amount), money("", c.Egress), money("", c.Requests), c.Of))
	}
	for _, why := range x.unknown {
		out = append(out, "  no cost "+safe(why))
	}
	return out
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// money writes an amount for people: small ones with the digits that they have.
func money(currency string, v float64) string {
	text := fmt.Sprintf("%.2f", v)
	if v > 0 && v < 1 {
		text = fmt.Sprintf("%.5f", v)
	}
	return strings.TrimSpace(currency + " " + text)
}

// planTotal is the sum of all forecasts, for scripts.
type planTotal struct {
	Total       bool         `json:"total"`
	Reads       int64        `json:"reads"`
	BytesRead   int64        `json:"bytes_read"`
	BytesStored int64        `json:"bytes_stored"` // in all vaults together
	Requests    int64        `json:"requests"`     // to sources and vaults
	Until       string       `json:"until,omitempty"`
	Cost        []totalCost  `json:"cost"` // one for each currency; what is not priced is not in it
	Unpriced    []string     `json:"unpriced,omitempty"`
	Budget      *verdictJSON `json:"budget,omitempty"`
}

type totalCost struct {
	Currency string  `json:"currency"`
	Amount   float64 `json:"amount"`
	PricesOf string  `json:"prices_of"`
}

// sums adds forecasts up: of a source that goes to several vaults what is read counts once.
func sums(all []foreseen) (t planTotal) {
	t.Total = true
	money, of := map[string]float64{}, map[string][]string{}
	add := func(c *plan.Cost) {
		if c == nil || c.Currency == "" {
			return
		}
		money[c.Currency] += c.Amount
		if !slices.Contains(of[c.Currency], c.Of) {
			of[c.Currency] = append(of[c.Currency], c.Of)
		}
	}
	seen := map[string]bool{}
	var until time.Time
	for _, x := range all {
		if x.err != nil {
			continue
		}
		t.BytesStored += x.Stored
		t.Requests += x.Vault.All()
		if x.Until.After(until) {
			until = x.Until
		}
		add(x.cost)
		for _, why := range x.unknown {
			if !slices.Contains(t.Unpriced, why) {
				t.Unpriced = append(t.Unpriced, why)
			}
		}
		if !seen[x.source] {
			seen[x.source] = true
			t.Reads += x.Reads
			t.BytesRead += x.BytesRead
			t.Requests += x.Source.All()
			add(x.atCost)
		}
	}
	if !until.IsZero() {
		t.Until = until.UTC().Format(time.RFC3339)
	}
	t.Cost = []totalCost{}
	for c, v := range money {
		t.Cost = append(t.Cost, totalCost{c, cents(v), strings.Join(of[c], ", ")})
	}
	slices.SortFunc(t.Cost, func(a, b totalCost) int { return strings.Compare(a.Currency, b.Currency) })
	return t
}

func (p *foreseeing) printTotal(all []foreseen, b *verdict) error {
	t := sums(all)
	t.Budget = b.json()
	if p.ui.json {
		return p.ui.object(t)
	}
	text := fmt.Sprintf("In all: read %s, store about %s, %s", size(t.BytesRead), size(t.BytesStored), plural(t.Requests, "request", "requests"))
	for _, c := range t.Cost {
		text += fmt.Sprintf("; %s until the locks end", money(c.Currency, c.Amount))
	}
	if len(t.Unpriced) > 0 {
		text += "; what has no price is not in it"
	}
	return p.ui.text(text + b.text())
}
