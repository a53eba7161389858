package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/plan"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const holdHelp = `Hold a recovery point longer than it is kept, or list what is held.

  holdfast hold POINT --for 2y --reason TEXT
  holdfast hold --list [SOURCE...]

Everything that POINT needs is locked until then in every vault of its source, and 'holdfast prune' spares the point. The locks are
ordinary ones with an end, never S3 legal holds, which have none. A lock cannot be taken back: a hold can be made longer, never shorter,
and what it costs is paid until its end. See it first with --dry-run. --until takes a date, which is its last second in UTC; --for counts
from now, and ends with that day where the ceilings allow.

A hold reaches as far as lock.ceiling of each vault, or as far as hold_ceiling of the configuration where that is more. Beyond both the
exit code is 2. The vault's policies have to allow it too: print them with 'holdfast policy --max-lock TIME'.

The reason is kept as evidence: a record signed with the reporter's key (keys.reporter), which lies in every vault as plain text. So name no
secrets in it. A vault that cannot be reached is done by the next run; the exit code is 1 until then. If interrupted, run it again; it
continues. A directory keeps no locks: there a hold keeps prune away, and nobody else. What the point needs is looked for there too, and is
copied from another vault where it is gone.

The list is of one vault and needs no key. It has what the guard holds as well, and holds that are over, as far as the newest 2000 records
tell. STATE is one of these:
  held        the point is there, and its own lock reaches to the end of the hold; a directory keeps no locks
  over        the hold has ended
  not locked  a lock ends before the hold does: the next run or 'holdfast renew' lengthens it
  gone        the point is not in the vault, and should be
  absent      the vault never had it: its source does not go there, or the vault was added later
  unknown     its lock cannot be read; the error says why

Exit codes: 0 done; 1 a vault failed, the others hold the point; 2 beyond the ceilings, shorter than before, or no key to sign with;
5 something the point needs is lost, and the rest is held, or a hold in the list is not locked as long as it says.
` + pointHelp + readerHelp

// holdFlags are those of hold.
type holdFlags struct {
	reader      readerFlags
	span, until string
	reason      string
	because     bool // a reason was given
	list, dry   bool

	parsedUntil time.Time   // of --until ..
	parsedSpan  retain.Span // .. or --for
}

// holdLine is a hold in one vault, for scripts.
type holdLine struct {
	Source      string    `json:"source"`
	Point       string    `json:"point"`
	SignedAt    string    `json:"signed_at"`
	Vault       string    `json:"vault"`
	Until       string    `json:"until"`
	Status      string    `json:"status"` // held, no locks, absent, not whole, failed
	DryRun      bool      `json:"dry_run"`
	Extended    int64     `json:"locks_extended"` // of a dry run: that would be
	Copied      int64     `json:"objects_copied"`
	LockedUntil string    `json:"locked_until,omitempty"`
	ByteHours   float64   `json:"byte_hours,omitempty"` // of a dry run: bound beside what was before
	Cost        *costJSON `json:"cost,omitempty"`       // of a dry run, where a price is known
	Unpriced    string    `json:"unpriced,omitempty"`
	Error       string    `json:"error,omitempty"`
}

// madeHold is a hold that was made, for its record.
type madeHold struct {
	Source   string `json:"source"`
	Point    string `json:"point"`
	SignedAt string `json:"signed_at"`
	Until    string `json:"until"`
	Reason   string `json:"reason"`
}

// holdCommands make holds and list them.
type holdCommands struct{ *app }

func holdCommand(a *app) *cobra.Command {
	h := &holdCommands{a}
	var f holdFlags
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:               "hold [POINT --for DURATION|--until TIME --reason TEXT]",
		Short:             "Hold a recovery point longer, or list what is held",
		Long:              holdHelp,
		ValidArgsFunction: a.complete.completePoints(&f.reader, 1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			f.because = cmd.Flags().Changed("reason")
			return h.act(ctx, &f, args)
		}),
	}
	f.reader.add(cmd, a)
	a.notices.flag(cmd)
	s := cmd.Flags()
	s.StringVar(&f.span, "for", "", "hold it for this `DURATION` from now, such as 2y")
	s.StringVar(&f.until, "until", "", "hold it until this `TIME`: a date, or RFC 3339")
	s.StringVar(&f.reason, "reason", "", "why it is held, in a `TEXT` for whoever reads the evidence")
	s.BoolVar(&f.list, "list", false, "list what is held, of SOURCE or of all")
	s.BoolVar(&f.dry, "dry-run", false, "say what would be locked and what that costs, change nothing")
	return cmd
}

func (h *holdCommands) act(ctx context.Context, f *holdFlags, args []string) error {
	making := f.span != "" || f.until != "" || f.because || f.dry
	switch {
	case f.list && making:
		return usage(errors.New("--list only lists: leave out --for, --until, --reason and --dry-run, or --list"))
	case f.list || len(args) == 0 && !making:
		return h.list(ctx, f, args)
	case len(args) != 1:
		return usage(fmt.Errorf("%s; the command is: holdfast hold POINT --for DURATION --reason TEXT", given(len(args))))
	case f.span == "" && f.until == "":
		return usage(errors.New("how long? give --for DURATION, such as 2y, or --until DATE"))
	case f.span != "" && f.until != "":
		return usage(errors.New("give --for or --until, not both"))
	case f.reader.vault != "" || f.reader.credentials != "":
		return usage(errors.New("--vault and --credentials are for --list: a point is held in all vaults of its source"))
	}
	var err error
	if f.until != "" {
		f.parsedUntil, err = browse.ParseMoment(f.until)
		if err != nil {
			return usage(fmt.Errorf("--until %s: write a date such as 2028-12-31, or 2028-12-31T12:00:00Z", safe(f.until)))
		}
	} else if f.parsedSpan, err = retain.Parse(f.span); err != nil || f.parsedSpan.IsZero() {
		return usage(fmt.Errorf("--for %s: write a duration such as 90d, 18mo or 2y", safe(f.span)))
	}
	if f.because || !f.dry { // a dry run may be asked before there is a reason, and takes none that would be refused then
		if f.reason, err = checkHoldReason(f.reason); err != nil {
			return err
		}
	}
	if !f.dry {
		h.notices.expect("hold")
	}
	return h.hold(ctx, f, args[0])
}

// checkHoldReason checks a reason, which every record is to have room for as it is written there.
func checkHoldReason(reason string) (string, error) {
	reason, err := checkReason(reason, evidence.MaxHoldReason)
	if n := evidence.ReasonSize(reason); err == nil && n > evidence.MaxHoldReason {
		err = usage(fmt.Errorf("--reason takes %d bytes in a record, where <, > and & have six each; at most %d", n, evidence.MaxHoldReason))
	}
	return reason, err
}

// hold makes a hold, or says what one would do.
func (h *holdCommands) hold(ctx context.Context, f *holdFlags, spec string) (err error) {
	j, err := h.openJob(someVaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	if j.pin, err = parsePin(f.reader.fingerprint); err != nil {
		return err
	}
	if !f.dry {
		if _, err := signer(j, "a hold"); err != nil {
			return err
		}
		turn, err := takeTurn(ctx, j, false, nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, turn.Close()) }()
	}
	p, r, err := pointOf(ctx, j, spec)
	if err != nil {
		return err
	}
	now, asked := j.evidenceVaults(ctx)
	for _, v := range asked {
		j.remember([]repo.VaultResult{{Vault: v.Name, Err: v.Err}})
	}
	if now.IsZero() {
		now = j.now() // no vault answers: each says why
	}
	names := vaultsOf(j, p.Source)
	made := evidence.Held{Hold: evidence.Hold{Source: p.Source, Point: p.ID, SignedAt: p.SignedAt, Reason: f.reason}}
	until, err := endOf(j, f, names, now)
	if err != nil {
		return err
	}
	made.Until = format.At(until)
	if err := worthHolding(p, until, now); err != nil {
		return err
	}
	had, held, err := heldAlready(ctx, j, r, made.Hold, now)
	if err != nil {
		return err
	}
	if held && until.Before(had.Until.Time) {
		return usage(fmt.Errorf("point %.12s is held until %s already (%s, %s: %s); a hold can be made longer, never shorter", p.ID, stamp(had.Until.Time), safe(had.Reporter), date(had.At.Time), safe(had.Reason)))
	}
	if f.dry {
		return h.dryRun(ctx, j, r, made.Hold, names)
	}
	if again := held && until.Equal(had.Until.Time) && had.Reason == made.Reason; again {
		made = had // it was broken off, or a vault was away, or its record was never made
	}
	if err := h.note(ctx, j, r, made, now); err != nil {
		return err
	}
	stop := h.watch(ctx, "hold", false, &progress.Count{})
	out, err := putHold(ctx, j, r, made, names)
	stop()
	if ctx.Err() != nil {
		return err
	}
	return h.report(j, made.Hold, undelivered(out, j.activity.delivered), err, now)
}

// vaultsOf gives the names of the vaults that a source goes to; all, for one that is not configured any more.
func vaultsOf(j *job, source string) (out []string) {
	if s, ok := j.config.Source(source); ok {
		return s.Vaults
	}
	for _, v := range j.config.Vaults {
		out = append(out, v.Name)
	}
	return out
}

// longestHold is how many years a hold may last: no vault takes more, and what is written as 20280 was meant for 2028.
const longestHold = 100

// endOf is when a hold is to end. Without a time of day it is the end of a day, so that the same command says the same again.
func endOf(j *job, f *holdFlags, names []string, now time.Time) (time.Time, error) {
	until := f.parsedUntil.UTC().Truncate(time.Second)
	rounded := until
	if until.IsZero() {
		until = f.parsedSpan.AddTo(now).Truncate(time.Second)
		rounded = until.Truncate(24 * time.Hour).Add(24*time.Hour - time.Second)
	}
	if until.After(now.AddDate(longestHold, 0, 0)) {
		return until, usage(fmt.Errorf("a hold until %s is longer than %d years, which nobody can take back", until.Format(time.DateOnly), longestHold))
	}
	if err := withinCeilings(j.config, names, until, now); err != nil {
		return until, err
	}
	if withinCeilings(j.config, names, rounded, now) == nil {
		until = rounded
	}
	return until, nil
}

// withinCeilings refuses a hold that a vault may not lock so far ahead, and names both limits.
func withinCeilings(c *config.Config, names []string, until, now time.Time) error {
	for _, v := range c.Vaults {
		if !slices.Contains(names, v.Name) {
			continue
		}
		if !v.URL.Locks() && c.HoldCeiling.IsZero() {
			continue // nothing is locked there
		}
		most := now.Add(holdReach(c, v, now))
		if !v.URL.Locks() {
			most = c.HoldCeiling.AddTo(now)
		}
		if until.After(most) {
			limits := fmt.Sprintf("hold_ceiling is %s", c.HoldCeiling)
			if c.HoldCeiling.IsZero() {
				limits = "hold_ceiling is 0, which is no further than lock.ceiling"
			}
			if v.URL.Locks() {
				limits += fmt.Sprintf(", lock.ceiling of vault %s is %s", v.Name, v.Lock.Ceiling)
			}
			return &marked{repo.ErrCeiling, fmt.Errorf("a hold until %s is beyond the ceilings: %s; today a hold may reach until %s. A lock cannot be taken back; if it is meant, set "+
				"hold_ceiling in the configuration, and let the vault's policies cover it: `holdfast policy --max-lock`", stamp(until), limits, stamp(most))}
		}
	}
	return nil
}

// worthHolding refuses a hold that would change nothing.
func worthHolding(p browse.Point, until, now time.Time) error {
	switch {
	case !until.After(now):
		return usage(fmt.Errorf("a hold until %s would be over already", stamp(until)))
	case p.Line == nil:
		return p.Err
	case !until.After(p.Line.RetainUntil.Time):
		return usage(fmt.Errorf("point %.12s is kept until %s anyway: a hold has to end later", p.ID, stamp(p.Line.RetainUntil.Time)))
	}
	return nil
}

// heldAlready gives the hold that somebody made of a point before, and that is not over.
func heldAlready(ctx context.Context, j *job, r *repo.Repository, made evidence.Hold, now time.Time) (had evidence.Held, ok bool, err error) {
	var own []evidence.Held
	if err := withBook(ctx, j, r, func(book *evidence.Book, _ *keys.ReporterKey) (err error) {
		own, _, err = book.Holds()
		return err
	}); err != nil {
		return had, false, err
	}
	told, _, err := toldHolds(ctx, j, r, "", now) // another reporter may have made it
	if err != nil {
		return had, false, err
	}
	for _, h := range told {
		if h.Point == made.Point && h.By == made.By && h.Until.After(had.Until.Time) {
			had, ok = h, true
		}
	}
	living, again := 0, false // of this book: what others hold they tell of themselves
	for _, h := range own {
		if h.Over(now) || h.By != made.By {
			continue
		}
		living++
		if h.Point != made.Point {
			continue
		}
		again = true // it takes no more room
		if !h.Until.Before(had.Until.Time) {
			had, ok = h, true
		}
	}
	if !again && living >= evidence.MaxHolds {
		return had, false, usage(fmt.Errorf("%d points are held, and no more can be: every record tells of all of them", living))
	}
	return had, ok, nil
}

// note makes the record of a hold. From then on it is finished by whatever run comes next, whatever becomes of this command.
func (h *holdCommands) note(ctx context.Context, j *job, r *repo.Repository, made evidence.Held, now time.Time) error {
	key, err := signer(j, "a hold")
	if err != nil {
		return err
	}
	if err := knownSigner(j, r, key); err != nil {
		return err
	}
	j.activity = newActivity(now)
	j.activity.line(madeHold{Source: made.Source, Point: made.Point.String(), SignedAt: moment(made.SignedAt), Until: moment(made.Until), Reason: made.Reason})
	j.activity.until = made.Until.Time
	j.activity.holds = []evidence.Held{made}
	return j.record(ctx, evidence.TypeHold, r)
}

// undelivered says of vaults without locks, where a hold is its record and nothing else, that the record is not there.
func undelivered(out []heldIn, delivered []evidence.Delivery) []heldIn {
	for i := range out {
		for _, d := range delivered {
			if d.Vault == out[i].vault && d.Err != nil && (out[i].status == noLocks || out[i].plain && out[i].status == heldShort && out[i].err == nil) {
				out[i].status, out[i].err = notHeld, d.Err
			}
		}
	}
	return out
}

// report prints a line a vault and gives what the hold came to.
func (h *holdCommands) report(j *job, made evidence.Hold, out []heldIn, err error, now time.Time) error {
	all := together{err}
	kept := false
	for _, v := range out {
		v.err = waysOut(v.err, made.Until.Time, now)
		line := lineOf(made, v)
		h.notices.takes.held(line, v.err)
		if v.err != nil && v.status == heldShort {
			all = append(all, v.err)
		} else if v.err != nil {
			all = append(all, &marked{errVault, v.err})
		}
		kept = kept || v.status != notThere && v.status != notHeld
		if h.ui.json {
			all = append(all, h.ui.object(line))
			continue
		}
		all = append(all, h.ui.text(fmt.Sprintf("%.12s of %s -> %s: %s", made.Point, made.Source, safe(v.vault), wasHeld(made, v))))
	}
	if !kept && err == nil {
		all = append(all, fmt.Errorf("no vault holds point %.12s yet", made.Point))
	}
	return append(all, j.tells.alarm()).orNil()
}

// wasHeld says of a vault what a hold came to there, for people.
func wasHeld(made evidence.Hold, v heldIn) string {
	switch v.status {
	case notThere:
		return "this vault has not got the point"
	case notHeld:
		return "not held yet; the next run tries again"
	}
	what := "held until "
	if v.plain {
		what = "spared by prune until "
	}
	what += stamp(made.Until.Time)
	if v.status == heldShort {
		what += ", as far as it is there"
	}
	if !v.plain {
		what += fmt.Sprintf("; %s lengthened", plural(v.extended, "lock", "locks"))
	}
	if v.copied > 0 {
		what += fmt.Sprintf(", %s copied from another vault", plural(v.copied, "object", "objects"))
	}
	if v.plain {
		what += "; a directory keeps no locks, so whoever may write there can still delete it"
	}
	return what
}

func lineOf(made evidence.Hold, v heldIn) holdLine {
	line := holdLine{
		Source: made.Source, Point: made.Point.String(), SignedAt: moment(made.SignedAt), Vault: v.vault, Until: moment(made.Until), Status: v.status,
		Extended: v.extended, Copied: v.copied,
	}
	if !v.until.IsZero() && v.err == nil {
		line.LockedUntil = v.until.UTC().Format(time.RFC3339)
	}
	if v.err != nil {
		line.Error = v.err.Error()
	}
	return line
}

// dryRun says what a hold would lock and cost.
func (h *holdCommands) dryRun(ctx context.Context, j *job, r *repo.Repository, made evidence.Hold, names []string) (err error) {
	charges, err := openCharges(j.app, j.config)
	if err != nil {
		return err
	}
	j.aside = &aside{} // nothing is changed on this machine
	out, at := holders(ctx, j, r, made, names)
	locking := toLock(out)
	would := map[string]repo.Lengthening{}
	if len(locking) > 0 {
		if would, err = forecastHold(ctx, j, made, *at, locking); err != nil {
			return err
		}
	}
	var all together
	for _, v := range out {
		line := lineOf(made, v)
		line.DryRun = true
		l, ok := would[v.vault]
		if ok {
			line.Status, line.Extended, line.ByteHours = nowHeld, l.Longer, l.ByteHours
			c, _ := j.config.Vault(v.vault)
			price, perr := charges.of(c.URL)
			if perr == nil {
				cost := plan.Hold{Locks: l.Locks, Longer: l.Longer, ByteHours: l.ByteHours}.Cost(price)
				line.Cost = costOf(&cost)
			} else {
				line.Unpriced = perr.Error()
			}
		}
		if v.err != nil {
			all = append(all, &marked{errVault, v.err})
		}
		if h.ui.json {
			all = append(all, h.ui.object(line))
		} else {
			all = append(all, h.ui.text(wouldHold(made, line)))
		}
	}
	return append(all, j.tells.alarm()).orNil()
}

// toLock gives the vaults that have the point and keep locks; of those that have it and keep none it says so.
func toLock(out []heldIn) (names []string) {
	for i := range out {
		switch {
		case out[i].status != "":
		case out[i].plain:
			out[i].status = noLocks
		default:
			names = append(names, out[i].vault)
		}
	}
	return names
}

// wouldHold is a line of a dry run for people.
func wouldHold(made evidence.Hold, l holdLine) string {
	what := map[string]string{
		noLocks:  fmt.Sprintf("prune would spare it until %s; a directory keeps no locks", stamp(made.Until.Time)),
		notThere: "this vault has not got the point",
		notHeld:  "cannot be told: " + l.Error,
	}[l.Status]
	if l.Status == nowHeld {
		what = fmt.Sprintf("would be held until %s; %s lengthened, which binds %s more than now", stamp(made.Until.Time), plural(l.Extended, "lock", "locks"), lockTime(l.ByteHours))
		if l.Cost != nil {
			what += fmt.Sprintf("; %s: storage %s, requests %s; prices of %s", money(l.Cost.Currency, l.Cost.Amount), money("", l.Cost.Lengthening), money("", l.Cost.Requests), l.Cost.PricesOf)
		} else {
			what += "; no cost: " + safe(l.Unpriced)
		}
	}
	return fmt.Sprintf("%.12s of %s -> %s: %s", made.Point, made.Source, safe(l.Vault), what)
}

// lockTime writes bytes over time for people.
func lockTime(byteHours float64) string {
	const year = 365 * 24
	return size(int64(byteHours/year)) + "-years"
}

// forecastHold asks what a hold would lengthen, by vault.
func forecastHold(ctx context.Context, j *job, made evidence.Hold, p repo.Point, names []string) (_ map[string]repo.Lengthening, err error) {
	j.holding = true
	defer func() { j.holding = false }()
	session, err := j.session(ctx, names)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	list, err := backup.ForecastHold(ctx, session, repo.Head{Point: p}, made.Until.Time)
	if err != nil {
		return nil, err
	}
	out := map[string]repo.Lengthening{}
	for i, v := range session.Vaults() {
		if v.Err == nil {
			out[v.Vault] = list[i]
		}
	}
	return out, nil
}

// stamp writes a moment for people: the day alone where it is the end of it.
func stamp(t time.Time) string {
	t = t.UTC()
	if t.Add(time.Second).Truncate(24 * time.Hour).Equal(t.Add(time.Second)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}
