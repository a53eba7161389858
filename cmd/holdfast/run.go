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
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const runHelp = `Make a recovery point of each SOURCE, of all of them if none is named.

What is stored already is found and not stored again, also after a run that was
killed. A source that fails does not keep the others from being done.

A source in which nothing is found, where the last point had something, ends with exit code
4 at every run: a disk that is not mounted looks like this. The point is marked as empty,
SOURCE@latest passes it by, and the last point that is not empty is kept on. If the source
is meant to be empty, say so once: --allow-empty SOURCE.

A second run of the same configuration does not begin while one is going on on this machine: it says who runs since when, and ends
with exit code 1. With --wait it waits and then begins. A run that was killed is in nobody's way.

The guard of each run looks for what those do who encrypt or delete: content that turned into
noise, names with a suffix, much that is gone, a tripwire that was touched. An alarm ends with
exit code 4, and the point is marked suspect; see 'holdfast guard --help'.

--quiet leaves out the lines of complete points, so that a timer's mail says only what
went wrong; with --json every line is there.`

// runFlags are what a run is told on the command line.
type runFlags struct {
	pin   string
	dry   bool
	wait  bool
	empty []string // sources that are allowed to be empty
	most  int64    // bytes that may be stored in a vault; 0: any number
	sums  bool     // of a dry run: nothing is said of what would become of single entries ..
	still bool     // .. and nothing else of them either

	beside func(func() error) error // see backup.Options
}

// ran is one source in one vault, for scripts.
type ran struct {
	Source        string        `json:"source"`
	Vault         string        `json:"vault"`
	Point         string        `json:"point,omitempty"`
	Status        string        `json:"status"`
	Marks         []string      `json:"marks,omitempty"`
	Entries       int64         `json:"entries"`
	Bytes         int64         `json:"bytes"`
	Added         int64         `json:"added"`
	Changed       int64         `json:"changed"`
	Deleted       int64         `json:"deleted"`
	Missing       int64         `json:"missing"`
	Unsettled     int64         `json:"unsettled"` // files that others wrote to while they were read
	BytesRead     int64         `json:"bytes_read"`
	BytesStored   int64         `json:"bytes_stored"`
	ObjectsStored int64         `json:"objects_stored"`
	ObjectsCopied int64         `json:"objects_copied"` // of those stored: from another vault
	LocksExtended int64         `json:"locks_extended"`
	RetainUntil   string        `json:"retain_until,omitempty"`
	LockedUntil   string        `json:"locked_until,omitempty"` // longer by the slack; absent where the vault keeps no locks
	Requests      int64         `json:"requests"`               // to the vault, as they are billed; 0 for a directory
	SourceAsked   int64         `json:"source_requests"`        // to the source; the same on each vault's line
	Seconds       float64       `json:"seconds"`
	DryRun        bool          `json:"dry_run,omitempty"`
	Error         string        `json:"error,omitempty"`
	Alarms        []string      `json:"alarms,omitempty"`
	Findings      []findingJSON `json:"findings,omitempty"` // of the guard

	told  int       // alarms that marks tell, too
	said  alarms    // as receivers are told them
	taken time.Time // when the source was frozen; zero where no point came of it
	err   error     // why it failed
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:               "run [SOURCE...]",
		Short:             "Make a recovery point of each source",
		Long:              runHelp,
		ValidArgsFunction: a.complete.completeSources(-1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			var err error
			if f.pin, err = parsePin(f.pin); err != nil {
				return err
			}
			if !f.dry {
				a.notices.expect("run", args...)
				a.notices.later = true // it starts when it has its turn
			}
			return a.backup(ctx, args, f)
		}),
	}
	addFingerprint(cmd, &f.pin)
	a.notices.flag(cmd)
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "list and compare only: say what would be read, store nothing; the guard, which judges content, looks at nothing")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "wait for another run of this configuration to end, then begin")
	cmd.Flags().StringArrayVar(&f.empty, "allow-empty", nil, "it is right that nothing is in this `SOURCE` (repeatable)")
	return cmd
}

func (a *app) backup(ctx context.Context, names []string, f runFlags) (err error) {
	if !f.dry {
		a.traces.to = newTracer(a)
	}
	j, err := a.openJob(someVaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.pin = f.pin
	sources, err := j.pickSources(names)
	if err != nil {
		return err
	}
	for _, name := range f.empty {
		if !slices.ContainsFunc(sources, func(s config.Source) bool { return s.Name == name }) {
			return usage(fmt.Errorf("--allow-empty %s: this run has no source of that name", name))
		}
	}
	if err := trustedPrograms(a.trusts, j.config, sources); err != nil {
		return err
	}
	j.pulse = newPulse(j.backends.rate)
	defer j.pulse.begin(ctx)()
	turn, err := takeTurn(ctx, j, f.wait, j.pulse)
	if err != nil {
		return j.tells.noTurn(ctx, sources, err)
	}
	defer func() { err = errors.Join(err, turn.Close()) }()
	a.notices.start()
	a.traces.begin("run")
	if f.dry {
		tellNotRun(a.ui, j.config, sources)
	}
	around := newHooks(j, j.config.Hooks, "", f.dry)
	if err = around.before(ctx); err != nil {
		err = j.tells.noTurn(ctx, sources, err)
	} else {
		err = runSources(ctx, j, sources, f)
	}
	return together{err, around.after(ctx, runStatus(ctx, err), "")}.orNil()
}

// runSources makes the points of all sources, one after the other.
func runSources(ctx context.Context, j *job, sources []config.Source, f runFlags) (err error) {
	var left *allowance
	if !f.dry {
		end := j.traces.stage("forecast")
		left, err = j.budgeted(ctx, sources, f)
		if end(err); err != nil {
			return err
		}
		j.activity = newActivity(j.now())
	}
	var all together
	for _, s := range sources {
		f.most = left.most()
		if err := j.runSource(ctx, s, f); err != nil {
			all = append(all, prefixed(err, "source "+s.Name))
		}
		if ctx.Err() != nil {
			return all.orNil()
		}
		all = append(all, finishHolds(ctx, j, s))
	}
	all = append(all, finishOtherHolds(ctx, j))
	return append(all, j.record(ctx, "run", j.found)).orNil()
}

// noTurn is what a run comes to that did not begin. Another run that goes on, and a wait that was stopped, say nothing of the
// sources; and the other run tells the receivers itself what it comes to.
func (j *telling) noTurn(ctx context.Context, sources []config.Source, err error) error {
	if errors.Is(err, cache.ErrBusy) {
		j.notices.hush()
		return err
	}
	err = stopped(ctx, err)
	if ctx.Err() != nil {
		return err
	}
	all := together{err}
	for _, s := range sources {
		all = append(all, j.reportFailed(s, err, time.Now()))
	}
	return all.orNil()
}

func (j *job) pickSources(names []string) ([]config.Source, error) {
	if len(names) == 0 {
		return j.config.Sources, nil
	}
	var out []config.Source
	for _, n := range names {
		s, ok := j.config.Source(n)
		if !ok {
			return nil, notConfigured(j.config, n)
		}
		out = append(out, s)
	}
	return out, nil
}

// notConfigured says that the configuration has no source of a name.
func notConfigured(c *config.Config, name string) error {
	var have []string
	for _, s := range c.Sources {
		have = append(have, s.Name)
	}
	return usage(fmt.Errorf("the configuration has no source %q; it has %s", name, strings.Join(have, ", ")))
}

// runSource makes one source's point and reports it, a line a vault, failed or not.
func (j *job) runSource(ctx context.Context, s config.Source, f runFlags) error {
	began := time.Now()
	asked := newAsking(j.vaults)
	around := newHooks(j, s.Hooks, s.Name, f.dry)
	end := j.traces.copies(s.Name, string(s.URL.Kind))
	var result *backup.Result
	err := around.before(ctx)
	if err == nil {
		result, err = j.makePoint(ctx, s, f, asked)
	}
	end(err, traced(result))
	status, point := pointStatus(ctx, result, err)
	if err != nil {
		err = stopped(ctx, err)
		err = together{err, j.tells.reportFailed(s, err, began), j.tells.alarm()}.orNil()
	} else {
		err = j.tells.report(s, result, asked, began, f.dry)
	}
	late := around.after(ctx, status, point)
	if late != nil { // behind another error it stands on a line of its own
		late = prefixed(late, "source "+s.Name)
	}
	return together{err, late}.orNil()
}

// asking counts what one source's run asks of its source and of the vaults.
type asking struct {
	source meter.Requests
	vaults []*vault
	before []meter.Asked
}

func newAsking(vaults []*vault) *asking {
	a := &asking{vaults: vaults}
	for _, v := range vaults {
		a.before = append(a.before, v.requests.Snapshot())
	}
	return a
}

// beside lets do ask what is not counted.
func (a *asking) beside(do func() error) error {
	var were []meter.Asked
	for _, v := range a.vaults {
		were = append(were, v.requests.Snapshot())
	}
	err := do()
	for i, v := range a.vaults {
		a.before[i] = a.before[i].Plus(v.requests.Snapshot().Minus(were[i]))
	}
	return err
}

// vault is what was asked of one of them.
func (a *asking) vault(name string) meter.Asked {
	i := slices.IndexFunc(a.vaults, func(v *vault) bool { return v.name == name })
	if i < 0 {
		return meter.Asked{}
	}
	now := a.vaults[i].requests.Snapshot()
	if since := now.Minus(a.before[i]); since.Get >= 0 && since.Put >= 0 && since.List >= 0 {
		return since
	}
	return now // it was opened anew
}

func (j *job) makePoint(ctx context.Context, s config.Source, f runFlags, asked *asking) (result *backup.Result, err error) {
	if f.dry && s.URL.AWS != nil { // nothing is made, snapshots neither
		at := *s.URL.AWS
		at.Instances, s.URL.AWS = nil, &at
	}
	src, get, err := j.backends.counting(&asked.source).openSource(s)
	if err != nil {
		return nil, err
	}
	if err := j.distinctKeys(ctx, s.Name, get); err != nil {
		return nil, err
	}
	end := j.traces.stage("open")
	session, err := j.session(ctx, s.Vaults)
	if end(err); err != nil {
		return nil, err
	}
	defer func() {
		j.remember(session.Vaults())
		err = errors.Join(err, session.Close())
	}()
	if err := j.apart(ctx, s, get, session.Repository()); err != nil {
		return nil, err
	}
	if err := j.twins(ctx, session.Repository()); err != nil {
		return nil, err
	}
	j.found = session.Repository()
	j.tells.tellSession(s.Name, session)
	read := &progress.Count{}
	stop := j.watch(ctx, s.Name, true, read)
	defer stop()
	j.pulse.copies(s.Name, read)
	missing, remarks, unsettled := 0, 0, 0
	whatIfUnsettled := backup.StoreUnsettled
	if s.Unsettled == config.UnsettledMissing {
		whatIfUnsettled = backup.MissUnsettled
	}
	o := backup.Options{
		Source: src, Name: s.Name, Place: s.URL.String(), Session: session, Retention: s.Retention, Before: s.Before, TagsMaxAge: tagsAge(s.Tags, j.now()),
		Memory: j.config.Limits.Memory, Fetchers: j.config.Limits.Connections, DryRun: f.dry,
		AllowEmpty: slices.Contains(f.empty, s.Name), Progress: read, Now: j.now, Most: f.most,
		Unsettled: whatIfUnsettled, Beside: f.beside,
		Stage: func(name string) func(error) { return j.traces.stage(name) },
	}
	if f.still {
		return backup.Run(ctx, o)
	}
	defer func() {
		if err == nil && !result.Nothing { // of an empty source every pattern leaves nothing out
			j.tells.tellUnused(s.Name, src)
		}
	}()
	o.Fate = j.tells.tellFates(s.Name, f.dry && !f.sums)
	o.Unsettling = func(key string) {
		if unsettled++; unsettled <= maxListed {
			j.ui.detail("%s: %s was written to while it was read: kept as far as it was read, and read again next time", s.Name, safe(key))
		}
	}
	o.Missing = func(key, reason string) {
		if missing++; missing <= maxListed {
			j.ui.warn("%s: %s could not be read: %s", s.Name, safe(shortKey(key)), reason)
		}
	}
	o.Remark = func(key, text string) {
		if remarks++; remarks <= maxListed {
			j.ui.warn("%s: %s", strings.TrimSuffix(s.Name+": "+safe(shortKey(key)), ": "), text)
		}
	}
	o.Guard = j.tells.guarding(s, session)
	return backup.Run(ctx, o)
}

// tellSession says what a source's run works with, for those who asked for more.
func (j *telling) tellSession(source string, session *repo.Session) {
	j.ui.detail("%s: repository %.16s", source, session.Repository().Fingerprint)
	for _, v := range session.Vaults() {
		if v.Err != nil {
			j.ui.detail("%s: vault %s is left out: %v", source, v.Vault, v.Err)
		} else {
			j.ui.detail("%s: vault %s is open", source, v.Vault)
		}
	}
}

// tagsAge is how old read tags may be: negative for never reading them.
func tagsAge(t config.Tags, now time.Time) time.Duration {
	if t.Never {
		return -1
	}
	return t.MaxAge.AddTo(now).Sub(now)
}

// report prints one line a vault and gives what the run came to.
func (j *telling) report(s config.Source, r *backup.Result, asked *asking, began time.Time, dry bool) error {
	var all together
	said, alarm := j.alarms()
	if j.activity != nil && !r.Point.IsZero() {
		j.activity.point(s.Name, r)
		j.activity.holds = append(j.activity.holds, guardsHold(s.Name, r)...)
	}
	j.tellReread(s, r)
	findings, guarded, suspect := j.tellSuspect(s, r)
	emptied := j.tellEmpty(s, r)
	var marks []string // alarms that marks of the point tell, too
	for _, err := range []error{emptied, suspect} {
		if err != nil {
			marks = append(marks, err.Error())
		}
	}
	own := said // of vaults: each is told its own
	said = nil
	if emptied != nil {
		said = append(said, notify.Finding{Kind: "emptied", Text: emptied.Error()})
	}
	said = append(said, guarded...)
	var names []string
	for _, v := range r.Vaults {
		names = append(names, v.Vault)
	}
	for _, v := range r.Vaults {
		here := own.of(v.Vault, names)
		line := ran{
			Source: s.Name, Vault: v.Vault, Point: r.Point.String(), Status: r.Status, Entries: r.Entries, Bytes: r.Bytes,
			Added: r.Added, Changed: r.Changed, Deleted: r.Deleted, Missing: r.Missing, Unsettled: r.Unsettled, BytesRead: r.BytesRead,
			BytesStored: v.Bytes, ObjectsStored: v.Objects, ObjectsCopied: v.Copied, LocksExtended: v.Extended,
			RetainUntil: r.RetainUntil.UTC().Format(time.RFC3339), Seconds: seconds(began), DryRun: dry, Alarms: append(here.texts(), marks...),
			taken: r.TakenAt, said: append(here, said...),
			Requests: asked.vault(v.Vault).All(), SourceAsked: asked.source.Snapshot().All(),
		}
		if !v.LockedUntil.IsZero() {
			line.LockedUntil = v.LockedUntil.UTC().Format(time.RFC3339)
		}
		line.Marks, line.Findings, line.told = marksOf(r), findings, len(marks)
		if !v.Point.IsZero() {
			line.Point = v.Point.String()
		}
		if r.Point.IsZero() {
			line.Point = ""
		}
		if v.Err != nil {
			line.Status, line.Error, line.Point, line.RetainUntil, line.LockedUntil = "failed", v.Err.Error(), "", "", ""
			line.taken, line.err = time.Time{}, v.Err
			// The other vaults have the whole point; this one failed.
			all = append(all, &marked{errVault, v.Err})
		}
		if err := j.printRun(line); err != nil {
			return err
		}
	}
	if r.Status == format.StatusIncomplete {
		all = append(all, &marked{errIncomplete, fmt.Errorf("the point is incomplete: %s could not be read; the lines above say why, and the next run tries again", entries(r.Missing))})
	}
	return append(all, alarm, emptied, suspect).orNil()
}

// reportFailed prints a failed line a vault, for those who read the lines instead of the errors.
func (j *telling) reportFailed(s config.Source, err error, began time.Time) error {
	for _, name := range s.Vaults {
		line := ran{Source: s.Name, Vault: name, Status: "failed", Seconds: seconds(began), Error: err.Error(), err: err}
		if perr := j.printRun(line); perr != nil {
			return perr
		}
	}
	return nil
}

func seconds(since time.Time) float64 { return roundSeconds(time.Since(since).Seconds()) }

// roundSeconds keeps milliseconds.
func roundSeconds(s float64) float64 { return math.Round(s*1000) / 1000 }

func (j *telling) printRun(l ran) error {
	j.activity.line(recorded(l))
	j.notices.takes.ran(l)
	if j.ui.json {
		return j.ui.object(l)
	}
	var err error
	switch {
	case j.ui.quiet && l.Status == format.StatusComplete && l.Marks == nil && !l.DryRun:
	case l.Status == "failed":
		_, err = fmt.Fprintf(j.ui.out, "%s -> %s: failed\n", l.Source, l.Vault)
	case l.DryRun:
		_, err = fmt.Fprintf(j.ui.out, "%s -> %s: would read %s of %s in %s (+%d ~%d -%d) and extend %s; the point would be %s\n",
			l.Source, l.Vault, size(l.BytesRead), size(l.Bytes), entries(l.Entries), l.Added, l.Changed, l.Deleted,
			plural(l.LocksExtended, "lock", "locks"), held(l))
	default:
		_, err = fmt.Fprintf(j.ui.out, "%s -> %s: %s point %.12s: %s, %s (+%d ~%d -%d)%s; read %s, stored %s in %s, %s, %.1f s\n",
			l.Source, l.Vault, marking(l), l.Point, entries(l.Entries), size(l.Bytes), l.Added, l.Changed, l.Deleted, unsettledText(l.Unsettled),
			size(l.BytesRead), size(l.BytesStored), plural(l.ObjectsStored, "object", "objects"), held(l), l.Seconds)
	}
	return err
}

// held says how long a point is kept, and when the locks end of what is stored for it.
func held(l ran) string {
	kept := "kept until " + day(l.RetainUntil)
	if l.LockedUntil == "" {
		return kept
	}
	return kept + ", locked until " + day(l.LockedUntil)
}

// marking is a point's status with its marks.
func marking(l ran) string { return strings.Join(append([]string{l.Status}, l.Marks...), ", ") }

// unsettledText says in a summary how many files were written to while they were read.
func unsettledText(n int64) string {
	if n == 0 {
		return ""
	}
	return ", " + plural(n, "file", "files") + " written to while read"
}

func day(rfc3339 string) string { return strings.SplitN(rfc3339, "T", 2)[0] }

// plural writes a count for people.
func plural[T int | int64](n T, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func entries(n int64) string { return plural(n, "entry", "entries") }

// size writes bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < 4 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}

func notAsLeft(n int) error {
	if n == 1 {
		return errors.New("one thing is not as it was left in the vault; `holdfast verify` tells more")
	}
	return fmt.Errorf("%d things are not as they were left in the vault; `holdfast verify` tells more", n)
}

// alarms tells what was noticed since it was last asked, as lines for a summary and as what the command comes to.
func (j *telling) alarms() (said alarms, alarm error) {
	said, count, gone := j.findings.tell(j.ui)
	if count == 0 {
		return nil, nil
	}
	kind := errAlarm
	if gone {
		kind = errDamage
	}
	return said, &marked{kind, notAsLeft(count)}
}

func (j *telling) alarm() error {
	_, err := j.alarms()
	return err
}
