package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const pruneHelp = `Delete from a vault what no living recovery point needs and no lock holds any more, with
the remover's credential, which no other command uses.

Without --delete nothing is deleted: every version that would go is listed, with why.

A version goes if its lock, and its arrival, lie three days back and no point that is not
over needs it: objects of points that are over, their commit objects, delete markers,
and what somebody laid over or beside the vault's objects. The newest complete point
of each source is kept whatever its age, since it may be all there is, and does not count
as that if it is distrusted; --retired SOURCE lets go of it too. Where it cannot be read what a living point needs, nothing is deleted.

For a bucket --delete needs --credentials REF: the remover's own (` + "`holdfast policy --role\nremover`" + `). Of a directory vault no run may be under way meanwhile.
` + oneVaultHelp

// prunedJSON is one version that went, or would go, for scripts.
type prunedJSON struct {
	Name      string `json:"name"`
	Version   string `json:"version,omitempty"`
	Size      int64  `json:"size"`
	Reason    string `json:"reason"`
	LockEnded string `json:"lock_ended,omitempty"`
	Deleted   bool   `json:"deleted"`
}

// pruneJSON is the summary for scripts.
type pruneJSON struct {
	Vault        string   `json:"vault"`
	DryRun       bool     `json:"dry_run"`
	Points       int      `json:"points"`
	Living       int      `json:"living"`
	Versions     int64    `json:"versions"`
	Deleted      int64    `json:"deleted"` // of a dry run: that would be
	DeletedBytes int64    `json:"deleted_bytes"`
	Locked       int64    `json:"locked"` // not needed, and still locked or spared
	Needed       int64    `json:"needed"` // left because a point came meanwhile
	Seconds      float64  `json:"seconds"`
	Alarms       []string `json:"alarms,omitempty"`
	said         alarms   // Alarms, as receivers are told them
}

func (a *careCommands) pruneCommand() *cobra.Command {
	var f readerFlags
	var remove bool
	var retired []string
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete what is over and not needed, with the remover's credential",
		Long:  pruneHelp,
		Args:  takes(0, 0),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			if remove {
				a.notices.expectVault("prune", f.vault)
			}
			return a.prune(ctx, &f, retired, remove)
		}),
	}
	f.add(cmd, a.app)
	a.notices.flag(cmd)
	cmd.Flags().BoolVar(&remove, "delete", false, "delete; without it what would go is listed")
	cmd.Flags().StringArrayVar(&retired, "retired", nil, "a `SOURCE` that is backed up no more: its newest point goes too when it is over (repeatable)")
	complete(cmd, "retired", a.complete.sourceNames)
	return cmd
}

func (a *careCommands) prune(ctx context.Context, f *readerFlags, retired []string, remove bool) (err error) {
	for _, s := range retired {
		if !format.ValidName(s) {
			return usage(fmt.Errorf("--retired %q is no name of a source: lower-case letters, digits, - and _, at most 40", s))
		}
	}
	if err := a.oneVault(f, "prune"); err != nil {
		return err
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if remove && !r.vault.url.Local() && f.credentials == "" {
		return usage(errors.New("--delete needs --credentials REF: the remover's own credential, kept elsewhere than the job's, which cannot delete and must not be able to"))
	}
	var held *cache.Cache
	if !r.vault.url.Locks() && r.config != nil {
		if held, err = r.prunes.holdCache(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, held.Close()) }()
	}
	if err := r.prunes.known(ctx, retired); err != nil {
		return err
	}
	var remover store.Remover
	if remove {
		var closeIt func() error
		if remover, closeIt, err = r.prunes.remover(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeIt()) }()
	}
	return r.prunes.runPrune(ctx, remover, retired, held)
}

// known refuses sources to be retired that the vault has no point of, which are most likely a slip, and those that the
// configuration still backs up.
func (r *pruning) known(ctx context.Context, retired []string) error {
	if len(retired) == 0 {
		return nil
	}
	listed, err := r.repo.Points(ctx, r.vault.Reader, "", nil)
	if err != nil {
		return err
	}
	names := sourcesOf(listed, nil)
	for _, s := range retired {
		if !slices.Contains(names, s) {
			return usage(fmt.Errorf("--retired %s: this vault has no points of that source; it has: %s", s, strings.Join(names, ", ")))
		}
		if r.config == nil {
			continue
		}
		if _, ok := r.config.Source(s); ok {
			return usage(fmt.Errorf("--retired %s: the configuration still backs up that source; take it out there first", s))
		}
	}
	return nil
}

// oneVault refuses to choose among several vaults, for commands that change the one they are given.
func (a *careCommands) oneVault(f *readerFlags, command string) error {
	if f.vault != "" {
		return nil
	}
	c, err := a.loadConfig()
	if err != nil || len(c.Vaults) == 1 {
		return nil // what is wrong with the configuration is said when it is used
	}
	var names []string
	for _, v := range c.Vaults {
		names = append(names, v.Name)
	}
	return usage(fmt.Errorf("%s works on one vault: name it with --vault, one of %s", command, strings.Join(names, ", ")))
}

// holdCache keeps runs of this machine from beginning: a directory has no locks that would keep what they build on.
func (r *pruning) holdCache() (*cache.Cache, error) {
	dir, err := r.cacheDir(r.config, r.repo.CacheID())
	if err != nil {
		return nil, unusableCache(err)
	}
	return cache.Open(dir, cache.Options{})
}

// remover opens the place that is read a second time, to delete there.
func (r *pruning) remover() (store.Remover, func() error, error) {
	places, err := r.places()
	if err != nil {
		return nil, nil, err
	}
	p := places[0]
	limits := defaultConnections
	if r.config != nil {
		limits = r.config.Limits.Connections
	}
	b := &backends{ui: r.ui, env: r.env, dir: p.dir, connections: max(limits, 1)}
	return b.openRemover(p.url, p.ref)
}

// runPrune prunes. Of a directory, held is what this machine's runs know: it forgets what goes, as no lock would tell them.
func (r *pruning) runPrune(ctx context.Context, remover store.Remover, retired []string, held *cache.Cache) (err error) {
	scratch, err := r.renews.scratch()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	var printErr error
	o := prune.Options{
		Repository: r.repo, Vault: r.renews.asRepoVault(), Remover: remover, Retired: retired, Scratch: scratch.Cache, Made: r.verifies.made(), Report: r.findings.add,
		Concurrency: min(r.connections(), 32), Progress: &progress.Count{}, Now: r.now,
		Emit: func(item prune.Item) {
			if held != nil && remover != nil {
				printErr = errors.Join(printErr, held.Places.Drop(r.vault.name, item.Name))
			}
			printErr = errors.Join(printErr, r.printPruned(item, remover != nil))
		},
	}
	if r.vault.url.Locks() {
		o.Vault.Locking.Mode = store.Compliance // whatever it is: locks are asked for
	}
	stop := r.watch(ctx, "prune", false, o.Progress)
	sum, err := prune.Run(ctx, o)
	stop()
	said, alarm := r.alarms()
	all := together{err, printErr, alarm}
	if err == nil {
		all = append(all, r.printPrune(sum, said))
	}
	return all.orNil()
}

func (r *pruning) printPruned(item prune.Item, deleted bool) error {
	at := flat.Place(item.Ref)
	line := prunedJSON{Name: at.Name, Version: at.Version, Size: item.Size, Reason: string(item.Reason), Deleted: deleted}
	why := line.Reason
	if !item.LockOver.IsZero() {
		line.LockEnded = item.LockOver.UTC().Format(time.RFC3339)
		why += ", its lock ended " + day(line.LockEnded)
	}
	if r.ui.json {
		return r.ui.object(line)
	}
	if r.ui.quiet {
		return nil
	}
	verb := "would delete"
	if deleted {
		verb = "deleted"
	}
	version := ""
	if at.Version != "" {
		version = " (version " + safe(at.Version) + ")"
	}
	return r.ui.text(fmt.Sprintf("%s %s%s, %s: %s", verb, safe(at.Name), version, size(item.Size), why))
}

func (r *pruning) printPrune(s prune.Summary, said alarms) error {
	line := pruneJSON{
		Vault: r.vault.name, DryRun: s.DryRun, Points: s.Points, Living: s.Living, Versions: s.Versions, Deleted: s.Removed, DeletedBytes: s.Bytes,
		Locked: s.Locked, Needed: s.Needed, Seconds: roundSeconds(s.Seconds), Alarms: said.texts(), said: said,
	}
	r.notices.takes.pruned(line)
	if r.ui.json {
		return r.ui.object(line)
	}
	verb := "deleted"
	if s.DryRun {
		verb = "would delete"
	}
	when := "three days after their locks end"
	if !r.vault.url.Locks() {
		when = "three days after they came"
	}
	text := fmt.Sprintf("%s: %d of %s kept; %s %s, %s; %d more unneeded, deletable %s; %.1f s",
		safe(line.Vault), s.Living, plural(s.Points, "point is", "points are"), verb, plural(s.Removed, "version", "versions"), size(s.Bytes), s.Locked, when, s.Seconds)
	if s.DryRun && s.Removed > 0 {
		text += "\nNothing was deleted: add --delete, with the remover's credential"
	}
	return r.ui.text(text)
}
