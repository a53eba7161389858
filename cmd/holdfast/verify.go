package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/rotation"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

const verifyHelp = `Hold the vault against what its recovery points need: of all points, or of those named.

  --level locks    every stored object is there, in the right version, locked long enough
  --level bytes    and its bytes have the SHA-256 in its name: reads the whole vault
  --level content  and all of it decrypts to what was backed up: needs a restore key

The default is bytes, or content where a key is given with --identity: "verified" is not
to mean less than that the bytes are there. --sample 5% reads that share, chosen anew each
time; locks and names are always checked in full.

--budget 2h or --budget 200GB reads, once a day, the part whose turn it is, and the locks of
that part, so that every stored byte is read again within a number of days that it prints.
It goes on where it stopped, after days that were missed and after a kill, and the turns of
one day (of UTC) never come to more than the budget. With --level locks it goes round the
locks alone, and a budget may also be a number of requests. What was read is remembered in
the cache's folder of the configuration, and in the record where keys.reporter names a key.
verify.every of the configuration says within what time all has to be read: longer is an alarm.

--against-source holds the newest points, or those named, against their sources: what a source
lists as it did then must still have the bytes whose SHA-256 the point holds. It reads the
source, or with --sample 1% that share of it, and the names in the vault; the host key does.

Exit codes: 0 all is well; 4 something was put on top or beside and every byte is still
there; 5 something is missing, damaged or not locked long enough, or differs at the source.
` + pointHelp + unvouchedHelp + readerHelp

// foundJSON is one finding for scripts.
type foundJSON struct {
	Finding string `json:"finding"` // missing, damaged, unlocked, tampered
	Name    string `json:"name"`
	Point   string `json:"point"` // empty where the object belongs to none
	Detail  string `json:"detail"`
}

// verifiedJSON is the summary for scripts.
type verifiedJSON struct {
	Status       string   `json:"status"` // ok, tampered, damaged
	Level        string   `json:"level"`
	Vault        string   `json:"vault"`
	Fingerprint  string   `json:"fingerprint"` // empty where no descriptor can be read
	Points       int      `json:"points"`
	Objects      int64    `json:"objects"`
	Bytes        int64    `json:"bytes"`
	ObjectsRead  int64    `json:"objects_read"`
	Entries      int64    `json:"entries"`
	EntriesRead  int64    `json:"entries_read"`
	Sample       float64  `json:"sample"` // percent
	LocksChecked bool     `json:"locks_checked"`
	Governance   int64    `json:"governance"`
	UnknownKind  int64    `json:"unknown_kind,omitempty"` // entries of which this version does not know the kind: passed by
	Records      int64    `json:"records"`                // of what reporters did: read, and in their order but for what is named
	Missing      int64    `json:"missing"`
	Damaged      int64    `json:"damaged"`
	Unlocked     int64    `json:"unlocked"`
	Tampered     int64    `json:"tampered"`
	Owners       int      `json:"owners"` // keys that sign changes of keys; 0: the host key does
	Seconds      float64  `json:"seconds"`
	*turnJSON             // with --budget
	Alarms       []string `json:"alarms,omitempty"`
	NextRun      []string `json:"next_run,omitempty"` // what the next run does about what was found
	said         alarms   // Alarms, as receivers are told them
}

func (a *readCommands) verifyCommand() *cobra.Command {
	var f readerFlags
	var level, sample, budget string
	var atSource bool
	cmd := &cobra.Command{
		Use:               "verify [POINT...]",
		Short:             "Check that the copy is there, intact and locked",
		Long:              verifyHelp,
		ValidArgsFunction: a.complete.completePoints(&f, -1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if len(args) == 0 { // a part of a vault is a question of somebody's
				a.notices.expectVault("verify", f.vault)
			}
			own := verifyFlags{level, sample, budget}
			if atSource {
				share, err := own.share()
				if err != nil {
					return err
				}
				return againstSource(ctx, a.app, &f, args, share)
			}
			return a.verify(ctx, &f, args, own)
		}),
	}
	f.addUnvouched(cmd, a.app)
	a.notices.flag(cmd)
	f.addIdentity(cmd, "`FILE` with a restore key, for --level content")
	f.addAllowIncomplete(cmd)
	cmd.Flags().StringVar(&level, "level", "", "how closely to look: locks, bytes or content (default bytes, content with --identity)")
	complete(cmd, "level", oneOf("locks", "bytes", "content"))
	cmd.Flags().StringVar(&sample, "sample", "100%", "`SHARE` of the stored objects to read, such as 5%")
	cmd.Flags().StringVar(&budget, "budget", "", "read the part whose turn it is, within a day's `BUDGET`: a time such as 2h, or a size such as 200GB")
	cmd.Flags().BoolVar(&atSource, "against-source", false, "hold the newest points, or POINT, against what their sources deliver now")
	return cmd
}

// verifyFlags are the flags of verify that are its own.
type verifyFlags struct{ level, sample, budget string }

// share checks them for a comparison with the source, which reads nothing of what is stored but names.
func (v verifyFlags) share() (float64, error) {
	if v.level != "" || v.budget != "" {
		return 0, usage(errors.New("--against-source looks at the source: leave out --level and --budget"))
	}
	return parseSample(v.sample)
}

// options checks them.
func (v verifyFlags) options(f *readerFlags, specs []string) (o verify.Options, b rotation.Budget, err error) {
	o = verify.Options{Level: verify.Level(v.level), Progress: &progress.Count{}}
	if o.Sample, err = parseSample(v.sample); err != nil {
		return o, b, err
	}
	switch o.Level {
	case verify.Locks, verify.Bytes, verify.Content:
	case "":
		o.Level = verify.Bytes
		if len(f.identities) > 0 {
			o.Level = verify.Content
		}
	default:
		return o, b, usage(fmt.Errorf("--level %s: use locks, bytes or content", safe(v.level)))
	}
	if v.budget == "" {
		return o, b, nil
	}
	switch {
	case o.Level == verify.Content:
		return o, b, usage(errors.New("--budget goes with --level bytes or locks, and needs no restore key: leave out --identity; for content use --sample"))
	case len(specs) > 0:
		return o, b, usage(errors.New("--budget goes round all of the vault: leave out POINT"))
	case o.Sample < 100:
		return o, b, usage(errors.New("--budget and --sample both say what part is read; give one"))
	}
	b, err = parseBudget(v.budget, o.Level)
	return o, b, err
}

func (a *readCommands) verify(ctx context.Context, f *readerFlags, specs []string, flags verifyFlags) (err error) {
	o, budget, err := flags.options(f, specs)
	if err != nil {
		return err
	}
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if o.Level == verify.Content {
		if _, err := r.content(); err != nil {
			return err
		}
	}
	if !r.repo.Vouched() && len(specs) == 0 {
		return together{fmt.Errorf("verify: %w, so that only points named by their full IDs are verified, from your paper or a report; `holdfast points` lists "+
			"what is there, unvouched", repo.ErrNoDescriptor), r.alarm()}.orNil()
	}
	for _, spec := range specs {
		p, err := r.keptPoint(ctx, spec)
		if err != nil {
			return err
		}
		o.Points = append(o.Points, p.ID)
	}
	r.findings.take() // verify.Run notices the same things once more
	o.Repository, o.In, o.Identities = r.repo, r.vault.Reader, r.ids
	o.NoLocks = !r.vault.url.Locks()
	o.Concurrency = r.connections()
	o.Made, o.Lost = r.verifies.made(), r.verifies.lost()
	o.Vault = r.vault.name
	did := newActivity(a.now())
	var t *turns
	if flags.budget != "" {
		if o.NoLocks && o.Level == verify.Locks {
			return usage(fmt.Errorf("--level locks --budget: vault %s is a directory, which keeps no locks: leave out --level", r.vault.name))
		}
		if t, err = r.verifies.openTurns(ctx, flags.budget); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.file.Close()) }()
		o.InTurn, o.Now = &verify.InTurn{State: t.state, Budget: budget, Save: t.save}, a.now
		did.turn = t.record()
	}
	err = r.verifies.runVerify(ctx, o, t, did)
	if len(specs) > 0 || ctx.Err() != nil || len(did.lines) == 0 {
		return err // a part of a vault is no verification of it
	}
	return together{err, r.verifies.record(ctx, "verify", did)}.orNil()
}

// record makes a record of a verification, a comparison or a rehearsal, where it runs as the job does: with the configuration's own credentials and its reporter's key.
func (r *verifying) record(ctx context.Context, kind string, did *activity) (err error) {
	if r.config == nil || r.config.Keys.Reporter == "" || r.flags.credentials != "" || !r.repo.Vouched() {
		return nil
	}
	if _, ok := r.config.Vault(r.vault.name); !ok {
		return nil
	}
	// Whoever else uses the job's configuration, elsewhere or as another user, makes none.
	path, err := r.config.ReporterKeyPath(r.env)
	if err == nil {
		err = readable(path)
	}
	if err != nil {
		r.ui.detail("no record of this is made: the reporter's key cannot be read: %v", err)
		return nil
	}
	j, err := r.openVaults(r.config, someVaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.activity = did
	return j.record(ctx, kind, r.repo)
}

// made gives the points that this machine remembers to have made in the vault, as far as it is one of its own.
func (r *verifying) made() []cache.Made {
	if r.own != nil {
		return *r.own
	}
	r.own = new([]cache.Made)
	*r.own = r.noted(cache.PointsMade)
	return *r.own
}

// lost gives the points that this machine remembers to have made in the vault before it was begun anew.
func (r *verifying) lost() []cache.Made { return r.noted(cache.PointsLost) }

// noted reads what the cache notes of the vault's points.
func (r *verifying) noted(read func(dir, vault string) ([]cache.Made, error)) []cache.Made {
	if r.config == nil || r.trust.Pin == "" || !r.repo.Vouched() {
		return nil
	}
	dir, err := r.cacheDir(r.config, r.repo.CacheID())
	if err != nil {
		return nil
	}
	out, err := read(dir, r.vault.name)
	if err != nil {
		r.ui.warn("which points this machine made cannot be read, so that points which the vault leaves out are not noticed: %v", err)
	}
	return out
}

// weakerWithoutOwners says what a repository without owner keys lacks.
const weakerWithoutOwners = "This repository has no owner keys: whoever steals the job's machine can change its keys. Name hfowner1.. keys under keys.owners " +
	"(holdfast keygen --public FILE prints them), then run holdfast key rotate."

// maxAlarms bounds the alarms that a summary repeats; each was a line of its own before.
const maxAlarms = 100

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// runVerify verifies, prints, and tells did what came of it.
func (r *verifying) runVerify(ctx context.Context, o verify.Options, t *turns, did *activity) error {
	var said alarms
	var printErr error
	var found losses
	o.Emit = func(f verify.Finding) {
		found.add(f)
		if f.Kind == repo.Tampered && len(said) < maxAlarms {
			said = append(said, alarmOf(f.Finding))
		}
		printErr = errors.Join(printErr, r.printFinding(f))
	}
	stop := r.watch(ctx, "verify", false, o.Progress)
	sum, err := verify.Run(ctx, o)
	stop()
	noted := r.runs.note(&found)
	var late alarms
	switch {
	case t != nil && sum.Turn != nil:
		late = t.judge(sum)
		said = append(said, late...)
		for _, x := range late {
			r.ui.warn("%s", x.Text)
		}
	case t == nil && err == nil:
		r.wholeRead(ctx, o, did.began, found.names)
	}
	if err == nil || errors.Is(err, verify.ErrUnread) {
		err = together{err, r.printVerified(sum, said, r.runs.nextRun(&found, noted), t, did)}.orNil()
	}
	all := together{err, printErr}
	if len(late) > 0 {
		all = append(all, &marked{errOverdue, fmt.Errorf("vault %s is not read as often as verify.every asks", r.vault.name)})
	}
	switch {
	case sum.Missing+sum.Damaged+sum.Unlocked > 0:
		all = append(all, &marked{errDamage, fmt.Errorf("vault %s: stored objects: %d missing, %d damaged, %d not locked as long as their points need",
			r.vault.name, sum.Missing, sum.Damaged, sum.Unlocked)})
	case sum.Tampered > 0:
		all = append(all, &marked{errAlarm, fmt.Errorf("vault %s: put on top or beside: %s; the right bytes are all still there", r.vault.name, plural(sum.Tampered, "thing", "things"))})
	}
	return all.orNil()
}

func (r *verifying) printFinding(f verify.Finding) error {
	line := foundJSON{Finding: string(f.Kind), Name: f.Name, Detail: f.Detail}
	if !f.Point.IsZero() {
		line.Point = f.Point.String()
	}
	if r.ui.json {
		return r.ui.object(line)
	}
	point := ""
	if line.Point != "" {
		point = fmt.Sprintf(" (point %.12s)", line.Point)
	}
	return r.ui.text(fmt.Sprintf("%s: %s%s: %s", line.Finding, safe(line.Name), point, printable(line.Detail)))
}

func (r *verifying) printVerified(s verify.Summary, said alarms, nextRun []string, t *turns, did *activity) error {
	line := verifiedJSON{
		Status: string(s.Status), Level: string(s.Level), Vault: r.vault.name,
		Points: s.Points, Objects: s.Objects, Bytes: s.Bytes, ObjectsRead: s.ObjectsRead, Entries: s.Entries, EntriesRead: s.EntriesRead,
		Sample: s.Sample, LocksChecked: s.LocksChecked, Governance: s.Governance,
		UnknownKind: s.UnknownKind, Records: s.Records, Missing: s.Missing, Damaged: s.Damaged, Unlocked: s.Unlocked, Tampered: s.Tampered, Seconds: roundSeconds(s.Seconds), Alarms: said.texts(), said: said, NextRun: nextRun,
	}
	line.turnJSON = t.line(s)
	if r.repo.Vouched() {
		line.Fingerprint, line.Owners = r.repo.Fingerprint.String(), len(r.repo.Keys().Owners())
	}
	brief := line
	brief.Alarms, brief.NextRun = nil, nil
	did.line(brief)
	r.notices.takes.verified(line)
	if s.Points == 0 {
		r.ui.warn("there was nothing to verify: vault %s has no recovery points", r.vault.name)
	}
	if s.Governance > 0 {
		r.ui.warn("%d stored objects are held by a governance lock, which an administrator can take away", s.Governance)
	}
	if r.config != nil && len(r.config.Vaults) > 1 && r.flags.vault == "" {
		r.ui.warn("this was vault %s only; check each of the others with --vault NAME", r.vault.name)
	}
	if line.Owners == 0 && r.repo.Vouched() {
		r.ui.remark("%s", weakerWithoutOwners)
	}
	if r.ui.json {
		return r.ui.object(line)
	}
	locks := "no locks to check, since a directory keeps none"
	switch {
	case s.LocksChecked:
		locks = "every lock checked"
	case s.Turn != nil && r.vault.url.Locks():
		locks = "locks checked in their turn"
	}
	text := fmt.Sprintf("%s: %s: %s, %s, %s; %s", safe(line.Vault), line.Status,
		plural(s.Points, "point", "points"), plural(s.Objects, "stored object", "stored objects"), size(s.Bytes), locks)
	if s.Level != verify.Locks {
		text += fmt.Sprintf("; %s read and hashed", plural(s.ObjectsRead, "object", "objects"))
	}
	if s.Level == verify.Content {
		text += fmt.Sprintf("; %d of %d entries decrypted and compared", s.EntriesRead, s.Entries)
		if s.UnknownKind > 0 {
			text += fmt.Sprintf(", %d passed by, of a kind that this version does not know", s.UnknownKind)
		}
	}
	if s.Records > 0 {
		text += fmt.Sprintf("; %s read", plural(s.Records, "record", "records"))
	}
	if s.Sample < 100 && s.Turn == nil {
		text += fmt.Sprintf("; a sample of %g%%", s.Sample)
	}
	text += fmt.Sprintf("; %.1f s", s.Seconds)
	if s.Status != verify.OK {
		text += fmt.Sprintf("\n%d missing, %d damaged, %d not locked long enough, %d tampered with", s.Missing, s.Damaged, s.Unlocked, s.Tampered)
	}
	if line.turnJSON != nil {
		text += "\n" + t.text(s)
	}
	for _, line := range nextRun {
		text += "\n" + line
	}
	return r.ui.text(text)
}

// parseSample reads a share in percent, with or without the sign.
func parseSample(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(v > 0 && v <= 100) {
		return 0, usage(fmt.Errorf("--sample %s: give a share above 0 and up to 100, such as 5%%", safe(s)))
	}
	return v, nil
}
