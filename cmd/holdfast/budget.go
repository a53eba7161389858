package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// verdict is what came of holding forecasts against the budget. A nil one is that of no budget.
type verdict struct {
	limit config.Budget
	bytes int64   // that would be stored, in the vault that gets most
	vault string  // which that is
	month float64 // what the vaults would cost a month
	fits  []string
	why   error // not nil: the budget cannot be held
}

// budget holds forecasts against the configuration's budget.
func (p *foreseeing) budget(all []foreseen) *verdict {
	limit := p.config.Budget
	if limit == (config.Budget{}) {
		return nil
	}
	v := &verdict{limit: limit}
	v.bytes, v.vault = mostStored(all)
	if !limit.Month.IsZero() {
		if v.month, v.why = monthly(all, limit.Month.Currency); v.why != nil {
			return v
		}
	}
	if !v.exceeded() {
		return v
	}
	v.fits = fitting(all, func(some []foreseen) bool {
		w := verdict{limit: limit}
		w.bytes, _ = mostStored(some)
		if !limit.Month.IsZero() {
			w.month, _ = monthly(some, limit.Month.Currency)
		}
		return !w.exceeded()
	})
	return v
}

func (v *verdict) exceeded() bool {
	return v.limit.Run > 0 && v.bytes > v.limit.Run || !v.limit.Month.IsZero() && v.month > v.limit.Month.Amount
}

// mostStored is how much would be stored in the vault that gets most.
func mostStored(all []foreseen) (most int64, where string) {
	sum := map[string]int64{}
	for _, x := range all {
		if sum[x.vault] += x.Stored; sum[x.vault] > most {
			most, where = sum[x.vault], x.vault
		}
	}
	return most, where
}

// monthly is what the vaults cost in the month of the run: all that they hold then, keeping up its locks, the run's requests, and what
// leaves the sources.
func monthly(all []foreseen, currency string) (sum float64, err error) {
	held := map[string]int64{}
	seen := map[string]bool{}
	for _, x := range all {
		switch {
		case x.err != nil:
			continue
		case len(x.unknown) > 0:
			return 0, fmt.Errorf("budget.month cannot be held: %s. It takes a price of every vault and source; put it into the file that `prices` names, with 0 where nobody bills anything "+
				"(a directory as a vault: \"hosts\": [\"directory\"])", strings.Join(x.unknown, "; "))
		case x.cost != nil && x.cost.Currency != currency || x.atCost != nil && x.atCost.Currency != "" && x.atCost.Currency != currency:
			return 0, fmt.Errorf("budget.month is in %s, and prices of %s or its vault %s are not: give prices in %s with `prices: FILE`", currency, x.source, x.vault, currency)
		}
		if x.cost != nil {
			if _, ok := held[x.vault]; !ok {
				sum += x.price.Month(x.Now)
			}
			held[x.vault] += x.Stored
			sum += x.price.Month(max(x.Stored, x.Objects*x.price.Table.MinimumBytes)) + x.cost.Requests
			if x.slack > 0 {
				calls := int64(float64(x.Needs+x.Objects) * monthHours / x.slack.Hours())
				sum += x.price.Requests(meter.Asked{Lock: calls, Get: 2 * calls})
			}
		}
		if x.atCost != nil && !seen[x.source] {
			sum += x.atCost.Amount
		}
		seen[x.source] = true
	}
	return sum, nil
}

const monthHours = 730

// fitting gives sources that fit together, the smallest first taken, in the order in which they were forecast.
func fitting(all []foreseen, fits func([]foreseen) bool) []string {
	var names []string
	stored := map[string]int64{}
	for _, x := range all {
		if !slices.Contains(names, x.source) {
			names = append(names, x.source)
		}
		stored[x.source] += x.Stored
	}
	by := slices.Clone(names)
	slices.SortStableFunc(by, func(a, b string) int { return int(max(min(stored[a]-stored[b], 1), -1)) })
	var taken []foreseen
	chosen := map[string]bool{}
	for _, name := range by {
		more := slices.Clone(taken)
		for _, x := range all {
			if x.source == name {
				more = append(more, x)
			}
		}
		if fits(more) {
			taken, chosen[name] = more, true
		}
	}
	return slices.DeleteFunc(names, func(n string) bool { return !chosen[n] })
}

// over is the error of a run that may not be; nil if it may.
func (v *verdict) over() error {
	switch {
	case v == nil:
		return nil
	case v.why != nil:
		return &marked{errPrices, v.why}
	case !v.exceeded():
		return nil
	}
	var what []string
	if v.limit.Run > 0 && v.bytes > v.limit.Run {
		what = append(what, fmt.Sprintf("about %s would be stored in vault %s, and budget.run allows %s", size(v.bytes), v.vault, size(v.limit.Run)))
	}
	if m := v.limit.Month; !m.IsZero() && v.month > m.Amount {
		what = append(what, fmt.Sprintf("the vaults would cost about %s a month, and budget.month allows %s", money(m.Currency, v.month), money(m.Currency, m.Amount)))
	}
	fit := "none of the sources fits by itself"
	if len(v.fits) > 0 {
		fit = fmt.Sprintf("what fits: holdfast run %s", strings.Join(v.fits, " "))
	}
	return &marked{errBudget, fmt.Errorf("over the budget, and nothing is stored: %s; %s", strings.Join(what, "; "), fit)}
}

// verdictJSON is a budget, for scripts.
type verdictJSON struct {
	Run      int64      `json:"run,omitempty"` // bytes
	Stored   int64      `json:"bytes_stored"`  // in the vault that gets most
	Month    *limitJSON `json:"month,omitempty"`
	Costs    float64    `json:"costs_a_month,omitempty"`
	Exceeded bool       `json:"exceeded"`
	Fits     []string   `json:"fits,omitempty"` // where it is exceeded
}

type limitJSON struct {
	Currency string  `json:"currency"`
	Amount   float64 `json:"amount"`
}

func (v *verdict) json() *verdictJSON {
	if v == nil {
		return nil
	}
	out := &verdictJSON{Run: v.limit.Run, Stored: v.bytes, Exceeded: v.why != nil || v.exceeded(), Fits: v.fits, Costs: cents(v.month)}
	if m := v.limit.Month; !m.IsZero() {
		out.Month = &limitJSON{m.Currency, m.Amount}
	}
	return out
}

func (v *verdict) text() string {
	if v == nil || v.why != nil || v.exceeded() {
		return "" // the error says it
	}
	return "; within the budget"
}

// allowance is what a run may store, over all its sources, whatever became of them. A nil one has no bounds.
type allowance struct {
	bytes  int64
	vaults []*vault
	before []int64 // that were sent to each
}

func newAllowance(bytes int64, vaults []*vault) *allowance {
	a := &allowance{bytes: bytes, vaults: vaults}
	for _, v := range vaults {
		a.before = append(a.before, v.sent())
	}
	return a
}

// sent is how many bytes went to a vault.
func (v *vault) sent() int64 {
	if v.counted == nil { // it could not be opened
		return 0
	}
	return v.counted.Snapshot().BytesOut
}

// most is how many bytes a vault may still be given; 0: any number.
func (a *allowance) most() int64 {
	if a == nil {
		return 0
	}
	var used int64
	for i, v := range a.vaults {
		used = max(used, v.sent()-a.before[i])
	}
	return max(a.bytes-used, 1)
}

// budgeted refuses a run that would be over the budget, before anything is stored, and says how much it may store: forecasts can be
// wrong.
func (j *job) budgeted(ctx context.Context, sources []config.Source, f runFlags) (*allowance, error) {
	if j.config.Budget == (config.Budget{}) {
		return nil, nil
	}
	p, err := j.foreseeing()
	if err != nil {
		return nil, err
	}
	dry := f
	dry.dry, dry.sums, dry.still = true, true, true
	all, failed := p.all(ctx, sources, dry, func(foreseen) error { return nil })
	err = j.aside.drop()
	j.aside = nil
	switch {
	case ctx.Err() != nil:
		return nil, errors.Join(failed, err)
	case err != nil:
		return nil, err
	}
	if failed != nil {
		j.ui.detail("not in the forecast: %v", failed) // the run itself meets it again, and says so
	}
	v := p.budget(all)
	if err := v.over(); err != nil {
		return nil, together{err, j.tells.alarm()}.orNil()
	}
	return newAllowance(v.allows(all), j.vaults), nil
}

// allows is how many bytes a vault may be given, by both limits.
func (v *verdict) allows(all []foreseen) int64 {
	most := int64(math.MaxInt64)
	if v.limit.Run > 0 {
		most = v.limit.Run
	}
	if m := v.limit.Month; !m.IsZero() {
		var perByte, stored float64
		seen := map[string]bool{}
		for _, x := range all {
			if x.price == nil {
				continue
			}
			stored += x.price.Month(x.Stored)
			if !seen[x.vault] {
				seen[x.vault] = true
				perByte += x.price.Month(1)
			}
		}
		if perByte > 0 {
			if n := (m.Amount - v.month + stored) / perByte; n < float64(most) {
				most = int64(n)
			}
		}
	}
	return most
}
