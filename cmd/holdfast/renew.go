package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/renew"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
)

const renewHelp = `Lengthen the locks that living recovery points need, from another machine: of all
points, or of those named.

Runs keep up all locks themselves, so in a vault where all is well there is nothing to
lengthen. This is for the days when something is not well: locks that were taken off a
governance vault, or that a copy of a bucket did not carry. And with --for 90d it holds
what there is for at least that long from now, when no new points come any more.

No key is needed. The credential lists, reads and extends locks (` + "`holdfast policy --role\nrenewer`" + `); nothing is written, and nothing can be deleted with it. Locks are lengthened
by version, of the version whose bytes are right, whatever lies on top. Every lock is
read; --dry-run only says how many are too short. A lock that is lengthened goes beyond what
is needed by lock.slack (10 days without a configuration), so that it is not due again at once.

A point that is held ('holdfast hold') is locked until its hold ends, as far as lock.ceiling and hold_ceiling allow from today on.
` + pointHelp + oneVaultHelp

// renewedJSON is the summary for scripts.
type renewedJSON struct {
	Vault       string   `json:"vault"`
	DryRun      bool     `json:"dry_run"`
	Points      int      `json:"points"`
	Held        int      `json:"held"` // of them, that are held longer than they are kept
	Objects     int64    `json:"objects"`
	Due         int64    `json:"due"`
	FirstExpiry string   `json:"first_expiry,omitempty"`
	Extended    int64    `json:"extended"`
	Refused     int64    `json:"refused"`
	Lost        int64    `json:"lost"`
	HeldUntil   string   `json:"held_until,omitempty"`
	Seconds     float64  `json:"seconds"`
	Alarms      []string `json:"alarms,omitempty"`
	said        alarms   // Alarms, as receivers are told them
}

func (a *careCommands) renewCommand() *cobra.Command {
	var f readerFlags
	var dry bool
	var span string
	cmd := &cobra.Command{
		Use:               "renew [POINT...]",
		Short:             "Lengthen locks from another machine",
		Long:              renewHelp,
		ValidArgsFunction: a.complete.completePoints(&f, -1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if !dry && len(args) == 0 {
				a.notices.expectVault("renew", f.vault)
			}
			return a.renew(ctx, &f, args, span, dry)
		}),
	}
	f.add(cmd, a.app)
	a.notices.flag(cmd)
	f.addAllowIncomplete(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say how many locks are too short, lengthen none")
	cmd.Flags().StringVar(&span, "for", "", "hold what the points need for at least this `DURATION` from now, such as 90d")
	return cmd
}

func (a *careCommands) renew(ctx context.Context, f *readerFlags, specs []string, span string, dry bool) (err error) {
	o := renew.Options{DryRun: dry, Progress: &progress.Count{}, Now: a.now}
	if span != "" {
		s, err := retain.Parse(span)
		if err != nil {
			return usage(fmt.Errorf("--for: %w", err))
		}
		o.Until = s.AddTo(a.now())
	}
	if err := a.oneVault(f, "renew"); err != nil {
		return err
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if !r.vault.url.Locks() {
		return usage(errors.New("a directory keeps no locks, so there is nothing to renew"))
	}
	for _, spec := range specs {
		p, err := r.keptPoint(ctx, spec)
		if err != nil {
			return err
		}
		o.Points = append(o.Points, p.ID)
	}
	scratch, err := r.renews.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	if c, ok := configured(r.renews); ok {
		o.Reach = holdReach(r.config, c, a.now())
	}
	o.Repository, o.Vault, o.Scratch, o.Made, o.Report = r.repo, r.renews.asRepoVault(), scratch.Cache, r.verifies.made(), r.findings.add
	stop := r.watch(ctx, "renew", false, o.Progress)
	sum, err := renew.Run(ctx, o)
	stop()
	if sum.HeldShort > 0 {
		r.ui.warn("the holds of %s reach further than lock.ceiling and hold_ceiling allow here: locks are set as far as that goes, and further by later renewals", plural(sum.HeldShort, "point", "points"))
	}
	if sum.Distrusted > 0 {
		r.ui.warn("%s passed over: the key that signed them was distrusted before they came; name one by its ID to hold it all the same", plural(sum.Distrusted, "distrusted point was", "distrusted points were"))
	}
	said, alarm := r.alarms()
	all := together{err, alarm}
	if err == nil || sum.Objects > 0 {
		all = append(all, r.renews.printRenewed(sum, said))
	}
	if sum.Newer > 0 {
		r.ui.warn("a newer holdfast wrote %s: what is held by them alone is not locked further here; update holdfast on this machine", plural(sum.Newer, "record", "records"))
	}
	if bad := sum.Refused + sum.Lost + int64(sum.Broken); bad > 0 {
		all = append(all, &marked{errDamage, fmt.Errorf("vault %s: %d locks were refused, %d objects have no version with the right bytes, %d points or records cannot be read in full; the lines above name them",
			r.vault.name, sum.Refused, sum.Lost, sum.Broken)})
	}
	return all.orNil()
}

func (r *renewing) printRenewed(s renew.Summary, said alarms) error {
	line := renewedJSON{
		Vault: r.vault.name, DryRun: s.DryRun, Points: s.Points, Held: s.Held, Objects: s.Objects, Due: s.Due, Extended: s.Extended, Refused: s.Refused,
		Lost: s.Lost, Seconds: roundSeconds(s.Seconds), Alarms: said.texts(), said: said,
	}
	if !s.Until.IsZero() {
		line.HeldUntil = s.Until.UTC().Format(time.RFC3339)
	}
	if !s.First.IsZero() {
		line.FirstExpiry = s.First.UTC().Format(time.RFC3339)
	}
	r.notices.takes.renewed(line)
	if r.ui.json {
		return r.ui.object(line)
	}
	what := fmt.Sprintf("%d of %s lengthened", s.Extended, plural(s.Due, "short lock", "short locks"))
	switch {
	case s.DryRun:
		what = plural(s.Due, "lock is too short and would be lengthened", "locks are too short and would be lengthened")
	case s.Due == 0:
		what = "no lock was too short"
	}
	if line.FirstExpiry != "" {
		what += ", the first of them ending " + day(line.FirstExpiry)
		if most := s.Until.Add(r.asRepoVault().Locking.Slack); s.Extended > 0 || s.DryRun {
			what += "; " + map[bool]string{true: "none would go", false: "none goes"}[s.DryRun] + " beyond " + day(most.UTC().Format(time.RFC3339))
		}
	}
	return r.ui.text(fmt.Sprintf("%s: %s, %s; %s; %.1f s", safe(line.Vault), plural(s.Points, "living point", "living points"),
		plural(s.Objects, "lock read", "locks read"), what, s.Seconds))
}

// configured is what the configuration says of the vault that is read, if it is one of its own.
func configured(r *renewing) (config.Vault, bool) {
	if r.config == nil {
		return config.Vault{}, false
	}
	return r.config.Vault(r.vault.name)
}

// asRepoVault is the vault as the repository sees it, with the locking it is configured with, or the defaults.
func (r *renewing) asRepoVault() *repo.Vault {
	v := &repo.Vault{Name: r.vault.name, Read: r.vault.Reader, Lock: r.vault.Locker, Inspect: r.vault.Inspector}
	if !r.vault.url.Locks() {
		return v
	}
	now := r.now()
	lock := config.DefaultLock()
	lock.Mode = store.ModeNone // as the points were made
	if r.config != nil {
		if c, ok := r.config.Vault(r.vault.name); ok {
			lock = c.Lock
		}
	}
	v.Locking = lockingAt(lock, now)
	return v
}

// scratch is a folder for what is only needed while the command runs: beside the cache, or where the system has such things.
func (r *renewing) scratch() (*needed.Scratch, error) {
	if r.config != nil {
		if dir, err := r.cacheDir(r.config, r.repo.CacheID()); err == nil {
			if s, err := needed.NewScratch(filepath.Dir(dir)); err == nil {
				return s, nil
			}
		}
	}
	return needed.NewScratch("")
}
