package main

import (
	"context"
	"errors"
	"fmt"
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
did, and that none of it is stored already; a first run is forecast as if nothing shrank. After an empty point it goes by the last one that is
not empty, and takes it that what that held comes back. Beside it stands the most that can be stored.

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
1 a source or a vault could not be asked, or a run is going on.`

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
	j, err := a.openJob(someVaults)
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
	tellNotRun(a.ui, j.config, sources)
	p, err := j.foreseeing()
	if err != nil {
		return err
	}
	all, failed := p.all(ctx, sources, runFlags{dry: true, sums: true}, func(x foreseen) error { return p.print(x) })
	if ctx.Err() != nil {
		return failed
	}
	b := p.budget(all)
	if len(all) == 0 {
		return together{failed, j.tells.alarm()}.orNil() // there is nothing to sum up
	}
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
	f.beside = asked.beside
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
	if !s.URL.Keyed() || s.URL.Kind == location.EC2 { // which nobody bills
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
