package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/notify"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const statusHelp = `Say how the copy stands, a line for each source in each vault: its newest complete point, how old what it holds is, until when the
point is locked, when the vault was last verified and attacked as an exercise, and what somebody has to look at.

No key is needed, and nothing is written: it may run every few minutes, on any machine, with the reader's credential. All vaults of the
configuration are asked, or the one that --vault names. Ages are by this machine's clock. Without a configuration name the sources: a
vault that withholds all points of a source cannot be told from one that never had any.

A source that the configuration does not name any more is told as well, and its age is held against nothing.

The newest complete point may be as old as targets.rpo of the configuration says, or --rpo. When a vault was verified and attacked is
known from records alone: name a reporter's key under keys.reporter, and let verify run with the job's configuration. A verification
counts where all points were looked at, and of --level bytes and content where all of them were read. It says nothing of points that are
younger. At most the 400 newest records of a vault are read: "not lately" says that there are older ones.

LOCKED UNTIL is the end of the lock of the point's own object, which is stored last. What the point needs is not looked at: that does
'holdfast verify --level locks', which reads the locks of all objects.

Exit codes: 0 all is well, as far as this looks; 4 something is to be looked at; 5 a source has no complete point, or one that is too
old or not locked as long as it is kept; 1 a vault cannot be read, or 5 or 2 where it lacks its descriptor or its keys do not fit.

Any other vault is given by --vault URL --credentials REF, and then no configuration is needed. REF is env:PREFIX, profile:NAME,
file:PATH[#PROFILE] or systemd:NAME.`

// standingJSON is how one source stands in one vault, for scripts.
type standingJSON struct {
	Source      string                  `json:"source"`
	Vault       string                  `json:"vault"`
	Point       string                  `json:"point"` // the newest complete one; empty: none
	TakenAt     string                  `json:"taken_at"`
	AgeSeconds  *int64                  `json:"age_seconds"` // null without a point
	RPOMet      *bool                   `json:"rpo_met"`     // null where no age is asked for
	Configured  bool                    `json:"configured"`  // false: the vault has points of it, and the configuration does not name it any more
	RetainUntil string                  `json:"retain_until"`
	HeldUntil   string                  `json:"held_until,omitempty"` // of the point, where somebody or the guard holds it longer than that
	Protected   string                  `json:"protected_until"`      // as the lock of the point's own object says; "none"; empty: the vault keeps no locks
	Newest      *newestJSON             `json:"newest,omitempty"`     // the newest point of all, where that is another one
	LastRun     *saidJSON               `json:"last_run,omitempty"`
	Verified    map[verify.Level]string `json:"verified"` // empty: never, as far as records say
	DrilledAt   string                  `json:"drilled_at"`
	Drill       string                  `json:"drill,omitempty"` // what came of it
	Older       bool                    `json:"older_records"`   // there are records that were not read: what is empty here may stand there
	Alarms      []string                `json:"alarms"`
	Error       string                  `json:"error,omitempty"` // why nothing can be said of any source of the vault
}

type newestJSON struct {
	Point    string   `json:"point"`
	SignedAt string   `json:"signed_at"`
	Status   string   `json:"status"`
	Marks    []string `json:"marks,omitempty"`
}

type saidJSON struct {
	At     string `json:"at"`
	Status string `json:"status"`
}

func (a *readCommands) statusCommand() *cobra.Command {
	var f readerFlags
	var rpo string
	var cmd *cobra.Command
	cmd = &cobra.Command{
		Use:               "status [SOURCE...]",
		Short:             "Say how old, how long protected and how well checked the copy is",
		Long:              statusHelp,
		ValidArgsFunction: a.complete.completeSources(-1),
		RunE: a.action(func(ctx context.Context, args []string) error {
			if cmd.Flags().Changed("rpo") && rpo == "" {
				return usage(errors.New("--rpo is empty: give a time such as 90m, 26h or 2d"))
			}
			a.notices.expectVault("status", f.vault, args...)
			return a.status(ctx, &f, args, rpo)
		}),
	}
	f.add(cmd, a.app)
	a.notices.flag(cmd)
	cmd.Flags().StringVar(&rpo, "rpo", "", "the oldest that a newest complete point may be: a `DURATION` such as 26h (default targets.rpo)")
	return cmd
}

// standing is what came of looking at one vault.
type standing struct {
	vault   string
	locks   bool
	sources []status.Source
	told    alarms   // what was noticed on the way, of the vault as a whole
	alarm   error    // what that comes to
	said    []string // what records say of the vault as a whole
	err     error    // why nothing can be said
}

func (a *readCommands) status(ctx context.Context, f *readerFlags, sources []string, rpo string) error {
	base, places, pin, err := prepareReading(a.app, f)
	if err != nil {
		return err
	}
	o := status.Options{Gaps: true, Now: a.now()}
	if o.RPO, err = base.stands.rpo(rpo, o.Now); err != nil {
		return err
	}
	for _, s := range sources {
		if err := namesSource(s); err != nil {
			return err
		}
	}
	all := make([]standing, len(places))
	var g errgroup.Group
	for i, p := range places {
		g.Go(func() error {
			all[i] = base.stands.alone().stand(ctx, p, pin, sources, o)
			return nil
		})
	}
	_ = g.Wait() // each says itself what became of it
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return a.printStatus(all, o)
}

// rpo gives how old a newest complete point may be; 0: any age.
func (r *standings) rpo(flag string, now time.Time) (time.Duration, error) {
	var span retain.Span
	if r.config != nil {
		span = r.config.Targets.RPO
	}
	if flag != "" {
		var err error
		if span, err = retain.Parse(flag); err != nil || span.IsZero() {
			return 0, usage(fmt.Errorf("--rpo %s: give a time such as 90m, 26h or 2d", safe(flag)))
		}
	}
	return span.AddTo(now).Sub(now), nil
}

// alone is a reading of another vault with the same settings, to be opened.
func (r *standings) alone() *standings {
	return (&reading{app: r.app, flags: r.flags, config: r.config, trust: r.trust, ids: r.ids}).share().stands
}

// stand looks at one vault.
func (r *standings) stand(ctx context.Context, p place, pin string, wanted []string, o status.Options) standing {
	out := standing{vault: p.name, locks: p.url.Locks()}
	if out.err = r.openFirst(ctx, []place{p}, pin); out.err != nil {
		return out
	}
	r.introduce(false)
	o.View, o.Locks, o.Sources, o.Lost = r.view(), out.locks, wanted, r.verifies.lost()
	if len(wanted) == 0 && !p.other && r.config != nil {
		for _, s := range r.config.Sources {
			if slices.Contains(s.Vaults, p.name) {
				o.Sources = append(o.Sources, s.Name)
			}
		}
	}
	defer func() {
		if err := r.close(); err != nil {
			r.ui.detail("vault %s: %v", p.name, err)
		}
	}()
	sources, err := status.Look(ctx, o)
	if err != nil {
		out.err = prefixed(err, "vault "+p.name)
		return out
	}
	if len(sources) > 0 {
		out.said = sources[0].Vault // the same in all
	}
	if len(wanted) > 0 {
		sources = slices.DeleteFunc(sources, func(s status.Source) bool { return !slices.Contains(wanted, s.Name) })
	}
	out.sources = sources
	out.told, out.alarm = r.alarms()
	return out
}

func (a *readCommands) printStatus(all []standing, o status.Options) error {
	table := tabwriter.NewWriter(a.ui.out, 0, 0, 2, ' ', 0)
	if !a.ui.json {
		fmt.Fprintln(table, "SOURCE\tVAULT\tNEWEST COMPLETE\tAGE\tLOCKED UNTIL\tVAULT VERIFIED\tVAULT DRILLED\tSTATE")
	}
	var out together
	for _, v := range all {
		whole, why := "cannot be read", v.err
		if v.err == nil && len(v.sources) == 0 {
			whole, why = "no recovery points", &marked{errBehind, fmt.Errorf("vault %s: there are no recovery points", v.vault)}
		}
		out = append(out, why, v.alarm)
		if n := len(v.said); n > 0 {
			out = append(out, &marked{errAttention, fmt.Errorf("vault %s: %s to be looked at", v.vault, plural(n, "thing is", "things are"))})
		}
		for _, s := range v.sources {
			a.notices.takes.stood(v, s, o)
			out = append(out, a.printStanding(table, v, s, o), comesTo(v, s, o))
		}
		alarms := v.alarms()
		a.notices.takes.vaultStood(v)
		if why == nil && len(alarms) == 0 {
			continue // its sources say it all
		}
		line := standingJSON{Vault: v.vault, Verified: noLevels(), Alarms: append([]string{}, alarms.texts()...)}
		if why != nil {
			line.Error = why.Error()
		} else {
			whole = "alarm"
		}
		if a.ui.json {
			out = append(out, a.ui.object(line))
		} else {
			fmt.Fprintf(table, "-\t%s\t-\t-\t-\t-\t-\t%s\n", safe(v.vault), whole)
		}
	}
	err := table.Flush()
	if !a.ui.json {
		for _, v := range all {
			v.warn(a.ui)
		}
	}
	a.notices.warnFailing()
	return append(out, err).orNil()
}

// warn says what is to be looked at. What was noticed on the way was said then.
func (v standing) warn(u *ui) {
	for _, text := range v.said {
		u.warn("vault %s: %s", safe(v.vault), printable(text))
	}
	for _, s := range v.sources {
		for _, text := range s.Alarms {
			u.warn("vault %s, source %s: %s", safe(v.vault), s.Name, printable(text))
		}
	}
}

// alarms is what is to be looked at of the vault as a whole.
func (v standing) alarms() (out alarms) {
	for _, text := range v.said {
		out = append(out, notify.Finding{Text: text})
	}
	return append(out, v.told...)
}

// comesTo is what a source's standing comes to for exit codes.
func comesTo(v standing, s status.Source, o status.Options) error {
	var out together
	where := "source " + s.Name + ", vault " + v.vault
	switch {
	case !s.Wanted: // a source that was taken out of the configuration; its points are kept as long as they were to be
	case s.Point == nil:
		out = append(out, &marked{errBehind, fmt.Errorf("%s: there is no complete point", where)})
	case !s.RPOMet:
		out = append(out, &marked{errBehind, fmt.Errorf("%s: what the newest complete point holds is %s old; at most %s is asked for", where, agoBeyond(s.Age, o.RPO), ago(o.RPO))})
	}
	if s.Short != nil {
		out = append(out, &marked{errShort, fmt.Errorf("%s: %w", where, s.Short)})
	}
	if n := len(s.Alarms); n > 0 {
		out = append(out, &marked{errAttention, fmt.Errorf("%s: %s to be looked at", where, plural(n, "thing is", "things are"))})
	}
	return out.orNil()
}

func (a *readCommands) printStanding(table *tabwriter.Writer, v standing, s status.Source, o status.Options) error {
	line := standingOf(v, s, o)
	if a.ui.json {
		return a.ui.object(line)
	}
	point, age, protected := "none", "-", "-"
	if s.Point != nil {
		point, age = line.Point[:12], ago(s.Age)
		if line.Protected != "" {
			protected = day(line.Protected)
		}
	}
	drilled := day(line.DrilledAt)
	if drilled == "" {
		drilled = never(s.Records)
	}
	_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, safe(v.vault), point, age, protected, closest(s.Records), drilled, state(s))
	return err
}

// closest names the closest look that was taken, and when.
func closest(r status.Records) string {
	for _, level := range []verify.Level{verify.Content, verify.Bytes, verify.Locks} {
		if at := r.Verified[level]; !at.IsZero() {
			return fmt.Sprintf("%s (%s)", at.UTC().Format(time.DateOnly), level)
		}
	}
	return never(r)
}

// never says of what no record was read whether there may be one.
func never(r status.Records) string {
	if r.Older {
		return "not lately"
	}
	return "never"
}

// state is a standing in a few words.
func state(s status.Source) string {
	var out []string
	switch {
	case !s.Wanted:
		out = append(out, "not configured any more")
	case s.Point == nil:
		out = append(out, "no complete point")
	case !s.RPOMet:
		out = append(out, "too old")
	}
	if s.Short != nil {
		out = append(out, "not protected as long as it is kept")
	}
	if len(s.Alarms) > 0 {
		out = append(out, "alarm")
	}
	return cmp.Or(strings.Join(out, ", "), "well")
}

func noLevels() map[verify.Level]string {
	return map[verify.Level]string{verify.Locks: "", verify.Bytes: "", verify.Content: ""}
}

func standingOf(v standing, s status.Source, o status.Options) standingJSON {
	line := standingJSON{Source: s.Name, Vault: v.vault, Configured: s.Wanted, Verified: noLevels(), Drill: s.Records.Drill, Older: s.Records.Older, DrilledAt: moment(format.At(s.Records.Drilled)), Alarms: append([]string{}, s.Alarms...)}
	for level, at := range s.Records.Verified {
		line.Verified[level] = moment(format.At(at))
	}
	if !s.Records.Ran.IsZero() {
		line.LastRun = &saidJSON{moment(format.At(s.Records.Ran)), s.Records.Run}
	}
	if n := s.Newest; n != nil {
		line.Newest = &newestJSON{Point: n.ID.String(), SignedAt: moment(n.SignedAt), Status: "damaged"}
		if n.Line != nil {
			line.Newest.Status, line.Newest.Marks = n.Line.Status, n.Line.Marks
		} else if n.Head != nil {
			line.Newest.Status = "newer"
		}
	}
	if o.RPO > 0 && s.Wanted {
		met := s.Point != nil && s.RPOMet
		line.RPOMet = &met
	}
	if s.Point == nil {
		return line
	}
	age := int64(s.Age / time.Second)
	line.Point, line.TakenAt, line.RetainUntil, line.AgeSeconds = s.Point.ID.String(), moment(s.Point.Line.TakenAt), moment(s.Point.Line.RetainUntil), &age
	if !s.Held.IsZero() {
		line.HeldUntil = moment(format.At(s.Held))
	}
	switch {
	case s.Mode != store.ModeNone:
		line.Protected = moment(format.At(s.Protected))
	case v.locks && s.Point.Line.Mode != "":
		line.Protected = "none"
	}
	return line
}

// agoBeyond writes an age that is more than most, so that it reads as more.
func agoBeyond(age, most time.Duration) string {
	text := ago(age)
	if text != ago(most) {
		return text
	}
	return text + " and " + ago(max(age-most, time.Second))
}

// ago writes an age for people, in its two largest units.
func ago(d time.Duration) string {
	d = d.Round(time.Second)
	days, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour)%24, int(d/time.Minute)%60
	switch {
	case days > 0 && hours > 0:
		return fmt.Sprintf("%dd %dh", days, hours)
	case days > 0:
		return fmt.Sprintf("%dd", days)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%dh %dm", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%dh", hours)
	case minutes > 0 && d%time.Minute == 0:
		return fmt.Sprintf("%dm", minutes)
	}
	return d.String()
}
