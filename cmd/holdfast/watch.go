package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/lockfile"
	"github.com/holdfast-backup/holdfast/store/meter"
)

const watchHelp = `Look at the vaults again and again, from another machine than the job's, and tell what is wrong: a dead man's switch.

It needs the reader's credential and no key, and writes to no vault. It looks at what 'holdfast status' looks at, and remembers what it saw, so
that it also tells of points, records and stored objects that were there and are not any more, of locks that became shorter or weaker, of what no key of
the repository signed, of changes of keys, of clocks that are wrong or went back, of what was stored outside the hours of runs, and of a vault
that shows different things at different looks, was set back, or is not there any more.

Every finding is told when it begins and when it is over, to the receivers of the configuration too ('notify'). What happened and is no state is told
for 24 hours, and has no end. Something foreign that was told stays in the vault: it is counted from then on ('holdfast status' names it).

A source is late when its newest complete point is older than targets.rpo, or --rpo, or than 'schedule' lets it become: from one run to the next and a
quarter more (2 hours at least, 12 at most). The hours of runs are watch.hours, or --hours, by this machine's time zone; else schedule.window and 6 hours more;
without either there are none to hold anything against.

What it remembers lies beside the cache, a file for each vault. Where there is none, the look says so. That is right the first time only: then give --first, which
also takes the place of what is remembered when something that was told is known and right, such as a default retention that was shortened.

Exit codes: of --once, 0 all is well; 4 something is to be looked at; 5 a source is late, something is gone, or protection shrank; 1 a vault cannot be
looked at. Without --once it ends with a signal only: 130 or 143.

Any other vault is given by --vault URL --credentials REF, and then no configuration is needed. REF is env:PREFIX, profile:NAME,
file:PATH[#PROFILE] or systemd:NAME.`

// watching looks at vaults from another machine.
type watching struct {
	*app
	flags   watchFlags
	places  []place
	pin     string
	base    *reading
	every   time.Duration
	allowed time.Duration
	hours   watch.Hours
	dir     string // of what is remembered
	firsts  []bool // by vault: it is still to be looked at for the first time, with --first
	looks   int
}

type watchFlags struct {
	reader            readerFlags
	once, first       bool
	every, rpo, hours string
}

const (
	defaultEvery = 15 * time.Minute
	lookLimit    = 10 * time.Minute // for a look at a vault: then it is one that cannot be looked at
)

func (w *watching) command() *cobra.Command {
	var cmd *cobra.Command
	f := &w.flags
	cmd = &cobra.Command{
		Use:               "watch [SOURCE...]",
		Short:             "Look again and again, from another machine, and tell what is wrong",
		Long:              watchHelp,
		ValidArgsFunction: w.complete.completeSources(-1),
		RunE: w.action(func(ctx context.Context, args []string) error {
			for _, name := range []string{"every", "rpo", "hours"} {
				if cmd.Flags().Changed(name) && cmd.Flags().Lookup(name).Value.String() == "" {
					return usage(fmt.Errorf("--%s is empty", name))
				}
			}
			if f.once && f.every != "" {
				return usage(errors.New("--once looks once, so that --every means nothing beside it; give one"))
			}
			w.notices.expectVault("watch", f.reader.vault, args...)
			return w.watch(ctx, args)
		}),
	}
	f.reader.add(cmd, w.app)
	w.notices.flag(cmd)
	s := cmd.Flags()
	s.BoolVar(&f.once, "once", false, "look once, for a timer or a monitor")
	s.BoolVar(&f.first, "first", false, "take what is there now for right, and remember it: of the first look, or after something was looked into")
	s.StringVar(&f.every, "every", "", "from one look to the next: a `DURATION` from 1m to 7d (default watch.every, or 15m)")
	s.StringVar(&f.rpo, "rpo", "", "the oldest that a newest complete point may be: a `DURATION` such as 26h (default targets.rpo, or what the schedule lets it become)")
	s.StringVar(&f.hours, "hours", "", "the `HOURS` in which runs store something, such as 02:00-06:00, or any (default watch.hours, or what schedule.window says)")
	return cmd
}

func (w *watching) watch(ctx context.Context, sources []string) (err error) {
	for _, s := range sources {
		if err := namesSource(s); err != nil {
			return err
		}
	}
	if w.base, w.places, w.pin, err = prepareReading(w.app, &w.flags.reader); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	w.firsts = slices.Repeat([]bool{w.flags.first}, len(w.places))
	release, err := w.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	p := newPulse(meter.New(meter.Options{}))
	defer p.begin(ctx)()
	if w.flags.once {
		p.rests("looking", false)
		return w.look(ctx, sources)
	}
	w.ui.remark("Looking at %s every %s. Ctrl-C ends it.", plural(len(w.places), "vault", "vaults"), ago(w.every))
	defer func() { w.notices.config = nil }() // each look was told by itself
	for ctx.Err() == nil {
		next := w.now().Add(w.every)
		p.rests("looking", false)
		if err := w.turn(ctx, sources); err != nil {
			return err
		}
		p.rests("next look at "+next.UTC().Format(timeForm), true)
		timer := time.NewTimer(next.Sub(w.now()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return ctx.Err()
}

// settle takes together what flags and configuration say.
func (w *watching) settle() (err error) {
	c := w.base.config
	if c == nil {
		c = &config.Config{}
	}
	runs := c.Schedule.Run
	if len(runs) == 0 { // without a configuration
		runs = defaultRuns()
	}
	w.allowed = watch.Allowed(runs)
	rpo, err := w.base.stands.rpo(w.flags.rpo, w.now())
	if err != nil {
		return err
	}
	if named := slices.Contains(c.Schedule.Named, "run"); rpo > 0 && (w.flags.rpo != "" || !named || w.allowed == 0 || rpo < w.allowed) {
		w.allowed = rpo
	}
	if w.allowed == 0 { // it would never tell that the job is dead
		return usage(errors.New("nothing says how old the newest point may be, as `schedule.run` is never and there is no targets.rpo: give --rpo, such as --rpo 26h"))
	}
	w.every = defaultEvery
	if c.Watch.Every > 0 {
		w.every = c.Watch.Every
	}
	if w.flags.every != "" {
		var ok bool
		if w.every, ok = config.ParseEvery(w.flags.every); !ok {
			return usage(fmt.Errorf("--every %s: it %s", safe(w.flags.every), config.WantEvery))
		}
	}
	hours := c.Watch.Hours
	if w.flags.hours != "" {
		if hours, err = config.ParseHours(w.flags.hours); err != nil {
			return usage(fmt.Errorf("--hours: %w", err))
		}
	}
	w.hours = watch.Hours{Window: watch.RunHours(c.Schedule.Window), Zone: time.Local}
	if hours != nil {
		w.hours.Window = *hours
	}
	base, err := w.cacheBase(c)
	if err != nil {
		return unusableCache(err)
	}
	sum := sha256.Sum256([]byte(c.Path))
	w.dir = filepath.Join(base, fmt.Sprintf("watch-%x", sum[:8]))
	if err := w.trusts.me().Folder(w.dir); err != nil { // who could write there could have something forgotten
		return unusableCache(err)
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return unusableCache(err)
	}
	return nil
}

// alone keeps two from looking with one memory.
func (w *watching) alone(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	name := "lock"
	if len(w.places) == 1 && w.places[0].other { // it has a memory of its own
		name = strings.TrimSuffix(memoryName(w.places[0]), ".json") + ".lock"
	}
	if release, err = lockfile.Take(ctx, filepath.Join(w.dir, name), 0o600); err != nil {
		return nil, fmt.Errorf("another `holdfast watch` of this configuration runs: %w", err)
	}
	return release, nil
}

// turn is one look of many: what it comes to is told and is no reason to end.
func (w *watching) turn(ctx context.Context, sources []string) error {
	n := w.notices
	if w.looks > 0 && n.config != nil {
		n.results, n.samples, n.owned, n.began = nil, nil, nil, w.now()
		if !n.quietly() {
			n.open(n.config).Begin(ctx, n.command)
		}
	}
	err := w.look(ctx, sources)
	if ctx.Err() != nil {
		return err
	}
	code, name := exitOf(ctx, err)
	n.end(ctx, code, name, err)
	if errors.Is(err, errCannotSay) { // receivers were told
		return err
	}
	return nil
}

// errCannotSay: what was found cannot be printed.
var errCannotSay = errors.New("what was found cannot be printed")

// look looks at all vaults once.
func (w *watching) look(ctx context.Context, sources []string) error {
	began := w.now().Truncate(time.Second)
	all := make([]watched, len(w.places))
	var g errgroup.Group
	for i, p := range w.places {
		g.Go(func() error {
			all[i] = w.vault(ctx, p, sources, &w.firsts[i])
			return nil
		})
	}
	_ = g.Wait() // each says itself what became of it
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.looks++
	for _, v := range all {
		w.notices.takes.watched(v, began)
	}
	err := comesToAll(all)
	if perr := w.print(ctx, began, all, err); perr != nil {
		return together{err, &marked{errCannotSay, perr}}.orNil()
	}
	return err
}

// watched is what came of looking at one vault.
type watched struct {
	name     string
	report   watch.Report
	asked    int64 // requests
	took     time.Duration
	points   int
	complete bool // the whole vault was looked at
}

// vault looks at one vault.
//
// first is true until the vault was looked at as a whole with --first: only then what was remembered is of no more use.
func (w *watching) vault(ctx context.Context, p place, sources []string, first *bool) watched {
	began := w.now()
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	out := watched{name: p.name}
	path := filepath.Join(w.dir, memoryName(p))
	m, lost := watch.ReadMemory(path)
	if *first {
		m, lost = watch.NewMemory(), nil
	}
	o := watch.Options{Sources: sources, Locks: p.url.Locks(), Allowed: w.allowed, Hours: w.hours, Expected: *first, Asked: len(sources) > 0, Now: w.now}
	r := w.base.stands.alone()
	if o.Err = r.openFirst(ctx, []place{p}, w.pin); o.Err == nil {
		if w.looks == 0 {
			r.introduce(false)
		} else {
			r.trust.ReportStrangers(r.repo, r.findings.add)
		}
		o.Noticed, _ = r.findings.take()
		o.View, o.Pinned = r.view(), r.trust.Pin != ""
		if !p.url.Local() {
			o.Inspect = r.vault.Inspector
		}
		if len(sources) == 0 && !p.other && r.config != nil {
			for _, s := range r.config.Sources {
				if slices.Contains(s.Vaults, p.name) {
					o.Sources = append(o.Sources, s.Name)
				}
			}
		}
		defer func() {
			if err := r.close(); err != nil {
				w.ui.detail("vault %s: %v", p.name, err)
			}
		}()
	}
	out.report = watch.Look(ctx, o, m)
	if lost != nil {
		w.ui.warn("vault %s: %v", safe(p.name), lost)
	}
	failed := *first && m.Looked.IsZero()
	if !failed && (ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded)) {
		*first = false
		if err := m.Write(path); err != nil {
			w.ui.warn("vault %s: %v", safe(p.name), err)
			out.report.Findings = append(out.report.Findings, watch.Finding{Kind: watch.Unremembered, Text: err.Error(), Since: began, New: true})
		}
	}
	if o.Err == nil {
		out.asked = r.vault.counted.Snapshot().Calls().Calls
	}
	out.took, out.points, out.complete = w.now().Sub(began), len(m.Points), len(out.report.Sources) > 0 || !hasKind(out.report, watch.Unreadable, watch.Replaced)
	return out
}

// memoryName is the file of what is remembered of a vault.
func memoryName(p place) string {
	if p.other {
		sum := sha256.Sum256([]byte(p.url.String()))
		return fmt.Sprintf("%x.json", sum[:8])
	}
	return p.name + ".json"
}

func hasKind(r watch.Report, kinds ...watch.Kind) bool {
	return slices.ContainsFunc(r.Findings, func(f watch.Finding) bool { return slices.Contains(kinds, f.Kind) })
}

// findingComesTo is what a finding comes to for exit codes.
func findingComesTo(vault string, f watch.Finding) error {
	where := "vault " + vault
	if f.Source != "" {
		where = "source " + f.Source + ", " + where
	}
	err := fmt.Errorf("%s: %s: %s", where, f.Kind, f.Text)
	switch f.Kind {
	case watch.Late:
		return &marked{errBehind, err}
	case watch.Shrunk:
		return &marked{errShort, err}
	case watch.Withheld, watch.SetBack, watch.Replaced:
		return &marked{errDamage, err}
	case watch.Unreadable:
		if errors.Is(f.Err, context.DeadlineExceeded) {
			f.Err = fmt.Errorf("it took longer than %s: %w", lookLimit, store.ErrTransient)
		}
		return prefixed(f.Err, where)
	}
	return &marked{errAttention, err}
}

func comesToAll(all []watched) error {
	var out together
	for _, v := range all {
		for _, f := range v.report.Findings {
			out = append(out, findingComesTo(v.name, f))
		}
	}
	return out.orNil()
}
