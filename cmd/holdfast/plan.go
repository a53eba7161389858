package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/plan"
	"github.com/holdfast-backup/holdfast/replicator/prices"
	"github.com/holdfast-backup/holdfast/store/meter"
)

const planHelp = `Say what a run of each SOURCE, of all of them if none is named, would read, store and lock, how many requests that takes, and what it
costs until the locks end. Sources are listed and compared with their last points. No content is read, and nothing is stored: not in a
vault, and not on this machine.

How much is stored depends on how well it compresses. The forecast takes it that new content shrinks as the content of the last point
did, and that none of it is stored already; a first run is forecast as if nothing shrank. Beside it stands the most that can be stored.

Prices come from tables that ship with the program, each with its date, and from the file that 'prices: FILE' in the configuration
names, which comes first. Prices change: compare them with your invoice. Where no price is known, no cost is given. Costs are of list
prices, without taxes and free allowances, and where a vendor bills an object for a least number of days, of that.

  storage       what the run stores, until its locks end
  lengthening   what is bound longer because this run lengthens its locks, beyond their old ends
  requests      to the vault; each object is one PUT and one look, each lengthened lock one request and two looks
  source        what leaves the source for the internet, and requests to it
  a month       all that the vault holds after the run, and keeping up the locks of what the last point needs

With --restore POINT it says what a restore of the whole point would read from the vault, and how long that takes at --rate, or at 10
and 100 MB a second.

Exit codes: 0 told; 2 the run would be over the budget of the configuration, or the budget cannot be held because a price is missing;
1 a source or a vault could not be asked.`

// planFlags are those of plan.
type planFlags struct {
	reader  readerFlags
	restore string
	rate    string
}

func (a *planCommands) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:               "plan [SOURCE...]",
		Short:             "Say what a run, or a restore, would read, store and cost",
		Long:              planHelp,
		ValidArgsFunction: a.complete.completeSources(-1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			switch {
			case f.restore != "" && len(args) > 0:
				return usage(errors.New("--restore takes a point; name no SOURCE beside it"))
			case f.restore != "":
				return a.restore(ctx, &f)
			case f.rate != "" || f.reader.vault != "" || f.reader.credentials != "" || f.reader.allowIncomplete:
				return usage(errors.New("--rate, --vault, --credentials and --allow-incomplete go with --restore POINT"))
			}
			return a.runs(ctx, args, &f)
		}),
	}
	f.reader.add(cmd, a.app)
	f.reader.addAllowIncomplete(cmd)
	cmd.Flags().StringVar(&f.restore, "restore", "", "say it of a restore of this `POINT`")
	cmd.Flags().StringVar(&f.rate, "rate", "", "how many bytes a second a restore gets: a `SIZE` such as 50MB")
	return cmd
}

// foreseen is the forecast of one source in one vault.
type foreseen struct {
	source, vault string
	plan.Forecast
	retain  time.Time
	cost    *plan.Cost // nil: no price is known
	atCost  *plan.Cost // at the source
	unknown []string   // why there is no price
	price   *prices.Price
	locks   bool // the vault keeps them
	slack   time.Duration
	err     error
}

// foreseeing says beforehand what runs do.
type foreseeing struct {
	*job
	charges
}

// runs is `plan` without --restore.
func (a *planCommands) runs(ctx context.Context, names []string, f *planFlags) (err error) {
	j, err := a.openSomeVaults()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	if j.pin, err = parsePin(f.reader.fingerprint); err != nil {
		return err
	}
	sources, err := j.pickSources(names)
	if err != nil {
		return err
	}
	p, err := j.foreseeing()
	if err != nil {
		return err
	}
	all, failed := p.all(ctx, sources, runFlags{dry: true, sums: true}, func(x foreseen) error { return p.print(x) })
	if ctx.Err() != nil {
		return failed
	}
	b := p.budget(all)
	return together{failed, p.printTotal(all, b), j.tells.alarm(), b.over()}.orNil()
}

// foreseeing prepares forecasts: from here on nothing is changed on this machine.
func (j *job) foreseeing() (*foreseeing, error) {
	c, err := openCharges(j.app, j.config)
	if err != nil {
		return nil, err
	}
	j.aside = &aside{}
	return &foreseeing{j, c}, nil
}

// all forecasts runs of sources, each told when it is known. The error says which could not be.
func (p *foreseeing) all(ctx context.Context, sources []config.Source, f runFlags, tell func(foreseen) error) (out []foreseen, err error) {
	var failed together
	for _, s := range sources {
		lines, err := p.source(ctx, s, f)
		if err != nil {
			failed = append(failed, prefixed(stopped(ctx, err), "source "+s.Name))
		}
		for _, x := range lines {
			if err := tell(x); err != nil {
				return nil, err
			}
			if x.err != nil {
				failed = append(failed, &marked{errVault, x.err})
			}
		}
		out = append(out, lines...)
		if ctx.Err() != nil {
			return out, failed
		}
	}
	return out, failed.orNil()
}

// source forecasts a run of one source, a line a vault.
func (p *foreseeing) source(ctx context.Context, s config.Source, f runFlags) ([]foreseen, error) {
	asked := newAsking(p.vaults)
	r, err := p.makePoint(ctx, s, f, asked)
	if err != nil {
		return nil, err
	}
	now := p.now()
	var out []foreseen
	for i, v := range r.Vaults {
		x := foreseen{source: s.Name, vault: v.Vault, retain: r.RetainUntil, err: v.Err}
		if v.Err == nil {
			x.Forecast = plan.Run(r, i, asked.vault(v.Vault), asked.source.Snapshot())
			if c, _ := p.config.Vault(v.Vault); !c.URL.Locks() {
				x.Vault = meter.Asked{} // a directory is asked nothing that anybody bills
			}
			p.price(&x, s, now)
		}
		out = append(out, x)
	}
	return out, nil
}

// price says what a forecast costs, as far as prices are known.
func (p *foreseeing) price(x *foreseen, s config.Source, now time.Time) {
	c, _ := p.config.Vault(x.vault)
	if x.locks = c.URL.Locks(); x.locks {
		x.slack = lockingAt(c.Lock, now).Slack
	}
	price, err := p.of(c.URL)
	if err == nil {
		cost := x.InVault(price, now, x.slack)
		x.cost, x.price = &cost, &price
	} else {
		x.unknown = append(x.unknown, fmt.Sprintf("vault %s: %v", x.vault, err))
	}
	if s.URL.Kind == location.File || s.URL.Kind == location.EC2 { // which nobody bills
		x.atCost = &plan.Cost{}
		return
	}
	price, err = p.of(s.URL)
	if err == nil {
		var cost plan.Cost
		if cost, err = x.AtSource(price, s.URL.Kind == location.EBS); err == nil {
			x.atCost = &cost
			return
		}
	}
	x.unknown = append(x.unknown, fmt.Sprintf("source %s: %v", s.Name, err))
}

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
	if x.Basis == plan.LastPoint {
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
