package main

import (
	"context"

	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/status"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const guardHelp = `List the points that a guard marked, with what became of each: suspect ones, and those in which nothing was found.

The guard of each run compares what it sees with the last point and with what is usual. It looks for content that turned into noise,
names that got a suffix, much that is gone, keys of somebody else's, and tripwires that were touched (see 'holdfast tripwire'). An alarm
costs no data: the run completes, with exit code 4; its point is marked suspect, and the last clean point is held longer (guard.hold).
Every later run and 'holdfast status' say so until somebody acknowledges the newest point:

  holdfast guard ack POINT --reason TEXT

SOURCE@clean is the newest complete point that carries no mark, or whose mark was acknowledged. SOURCE@latest takes suspect points.

No key is needed. What was found is told in the output of the run; of runs with a reporter's key rules and counts stand here, too.

Exit codes: 0 no alarm stands; 4 one does.
` + readerHelp

const ackHelp = `Say that somebody looked at an alarm and found the data right.

POINT and all points of its source before it give no alarm from then on; POINT itself counts as clean. What is still to come is looked at
as before. The reason is kept as evidence: a record signed with the reporter's key, locked in every vault as long as the point is kept. It
lies there as plain text, so name no secrets in it.

Of a source that was encrypted and then restored, acknowledge the newest point, when a run has seen the restored data.

Without keys.reporter in the configuration there is nothing to sign with, and the exit code is 2.`

// guardCommands work with the guard's alarms.
type guardCommands struct{ *app }

func (g *guardCommands) guardCommand() *cobra.Command {
	var f readerFlags
	cmd := g.group("guard", "List the guard's alarms, and acknowledge them", g.ackCommand())
	cmd.Use, cmd.Long = "guard [SOURCE...]", guardHelp
	cmd.Args = nil
	cmd.ValidArgsFunction = g.complete.completeSources(-1)
	cmd.RunE = g.action(func(ctx context.Context, args []string) error { return g.list(ctx, &f, args) })
	f.add(cmd, g.app)
	return cmd
}

func (g *guardCommands) ackCommand() *cobra.Command {
	var pin, reason string
	cmd := &cobra.Command{
		Use:               "ack POINT --reason TEXT",
		Short:             "Acknowledge an alarm: the data is right",
		Long:              ackHelp + "\n" + pointHelp,
		Args:              takes(1, 1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: g.action(func(ctx context.Context, args []string) error {
			var err error
			if pin, err = parsePin(pin); err != nil {
				return err
			}
			return g.ack(ctx, args[0], reason, pin)
		}),
	}
	addFingerprint(cmd, &pin)
	cmd.Flags().StringVar(&reason, "reason", "", "why it is right, in a `TEXT` for whoever reads the evidence")
	return cmd
}

// markedJSON is one marked point for scripts.
type markedJSON struct {
	Source       string        `json:"source"`
	Vault        string        `json:"vault"`
	Point        string        `json:"point"`
	SignedAt     string        `json:"signed_at"`
	Marks        []string      `json:"marks"`
	State        string        `json:"state"` // open, acknowledged, over
	Findings     []findingJSON `json:"findings,omitempty"`
	Acknowledged *ackJSON      `json:"acknowledged,omitempty"` // the newest
	Earlier      []ackJSON     `json:"acknowledged_before,omitempty"`
}

type ackJSON struct {
	At       string `json:"at"`
	Reporter string `json:"reporter"`
	Reason   string `json:"reason"`
}

func (g *guardCommands) list(ctx context.Context, f *readerFlags, sources []string) (err error) {
	for _, s := range sources {
		if err := namesSource(s); err != nil {
			return err
		}
	}
	r, err := g.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	all, err := status.Marks(ctx, r.view())
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := r.shows.noPoints(ctx, s); err != nil {
			return err
		}
	}
	if len(sources) > 0 {
		all = slices.DeleteFunc(all, func(m status.Mark) bool { return !slices.Contains(sources, m.Point.Source) })
	}
	var out together
	table := tabwriter.NewWriter(g.ui.out, 0, 0, 2, ' ', 0)
	open := map[string]browse.Point{} // the newest, by source
	for i, m := range all {
		if m.State == status.Open {
			open[m.Point.Source] = m.Point
		}
		line := markedLine(m, r.vault.name)
		if g.ui.json {
			out = append(out, g.ui.object(line))
			continue
		}
		if i == 0 {
			fmt.Fprintln(table, "POINT\tSOURCE\tSIGNED\tMARKS\tSTATE\tWHAT")
		}
		fmt.Fprintf(table, "%.12s\t%s\t%s\t%s\t%s\t%s\n", line.Point, line.Source, m.Point.SignedAt.UTC().Format(timeForm), strings.Join(line.Marks, ", "), line.State, what(line))
	}
	if len(all) == 0 {
		g.ui.remark("No point in vault %s is marked.", safe(r.vault.name))
	}
	out = append(out, table.Flush())
	for _, source := range slices.Sorted(maps.Keys(open)) {
		p := open[source]
		out = append(out, &marked{errSuspect, fmt.Errorf("source %s: an alarm stands; look at it, then `holdfast guard ack %.12s --reason TEXT`", source, p.ID)})
	}
	return append(out, r.alarm()).orNil()
}

func markedLine(m status.Mark, vault string) markedJSON {
	line := markedJSON{
		Source: m.Point.Source, Vault: vault, Point: m.Point.ID.String(), SignedAt: moment(m.Point.SignedAt), Marks: m.Point.Line.Marks, State: string(m.State),
	}
	for _, f := range m.Findings {
		line.Findings = append(line.Findings, findingJSON{Rule: f.Rule, Count: f.Count})
	}
	for i, a := range acksOf(m.Acks) {
		if i == 0 {
			line.Acknowledged = &a
		} else {
			line.Earlier = append(line.Earlier, a)
		}
	}
	return line
}

func acksOf(acks []evidence.Ack) (out []ackJSON) {
	for _, a := range acks {
		out = append(out, ackJSON{moment(format.At(a.Time)), a.Reporter, a.Reason})
	}
	return out
}

// what says in a few words what was found, or why that was right.
func what(line markedJSON) string {
	var out []string
	if a := line.Acknowledged; a != nil {
		for _, a := range append([]ackJSON{*a}, line.Earlier...) {
			out = append(out, fmt.Sprintf("%s, %s: %s", a.Reporter, day(a.At), printable(a.Reason)))
		}
		return strings.Join(out, "; before: ")
	}
	for _, f := range line.Findings {
		out = append(out, printable(fmt.Sprintf("%s (%d)", f.Rule, f.Count)))
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ", ")
}

// acked is an acknowledgement that was made, for scripts and for its record.
type acked struct {
	Source   string `json:"source"`
	Point    string `json:"point"`
	SignedAt string `json:"signed_at"`
	Reason   string `json:"reason"`
}

// maxReason is how long a reason may be, in bytes.
const maxReason = 4096

func (g *guardCommands) ack(ctx context.Context, spec, reason, pin string) (err error) {
	if reason, err = checkReason(reason, maxReason); err != nil {
		return err
	}
	j, err := g.openJob(someVaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.pin = pin
	key, err := signer(j, "an acknowledgement")
	if err != nil {
		return err
	}
	p, r, err := pointOf(ctx, j, spec)
	if err != nil {
		return err
	}
	if len(p.Line.Marks) == 0 {
		return usage(fmt.Errorf("point %.12s of %s, signed %s, carries no mark: there is nothing to acknowledge", p.ID, p.Source, p.SignedAt.UTC().Format(time.RFC3339)))
	}
	if err := knownSigner(j, r, key); err != nil {
		return err
	}
	line := acked{Source: p.Source, Point: p.ID.String(), SignedAt: moment(p.SignedAt), Reason: reason}
	j.activity = newActivity(g.now())
	j.activity.line(line)
	j.activity.until = p.Line.RetainUntil.Time
	if err := j.record(ctx, evidence.TypeAcknowledge, r); err != nil {
		return err
	}
	if g.ui.json {
		return g.ui.object(line)
	}
	if !p.Line.RetainUntil.After(j.now()) {
		g.ui.warn("point %.12s was kept until %s, and is deleted by the next prune unless it is the newest of its source", p.ID, p.Line.RetainUntil.UTC().Format(time.RFC3339))
	}
	tellNewer(ctx, j, r, p)
	g.ui.remark("Acknowledged: point %.12s of %s, signed %s. Later runs give an alarm for what is new only.", p.ID, p.Source, p.SignedAt.UTC().Format(time.RFC3339))
	return nil
}

// pointOf finds a point in the first vault of a job that has it.
func pointOf(ctx context.Context, j *job, spec string) (p browse.Point, r *repo.Repository, err error) {
	known, err := j.trusts.knownRepository(j.config, j.pin)
	if err != nil {
		return p, nil, err
	}
	var all together
	for _, v := range j.vaults {
		if v.failed != nil {
			all = append(all, prefixed(v.failed, "vault "+v.name, "vault "+v.url.String(), "vault "+v.url.S3.String()))
			continue
		}
		r, err := repo.Find(ctx, v.Reader, known.Pin, nil)
		if err == nil {
			p, err = browse.Resolve(ctx, browse.View{Repository: r, In: v.Reader, Vault: v.name, Report: j.findings.add}, spec, true)
		}
		if err == nil {
			return p, r, nil
		}
		all = append(all, prefixed(err, "vault "+v.name))
	}
	return p, nil, all.orNil()
}

// tellNewer says that later points of the source are marked as well, whose alarm an acknowledgement of this one does not end.
func tellNewer(ctx context.Context, j *job, r *repo.Repository, p browse.Point) {
	for _, v := range j.vaults {
		if v.failed != nil {
			continue
		}
		marks, err := status.Marks(ctx, browse.View{Repository: r, In: v.Reader, Vault: v.name})
		if err != nil {
			continue // it was acknowledged all the same
		}
		for _, m := range slices.Backward(marks) {
			if m.Point.Source == p.Source && m.State == status.Open && m.Point.ID != p.ID && !m.Point.SignedAt.Before(p.SignedAt.Time) {
				j.ui.warn("the alarm of later points stands: the newest is %.12s, signed %s; `holdfast guard ack %.12s --reason TEXT` acknowledges all up to it",
					m.Point.ID, m.Point.SignedAt.UTC().Format(time.RFC3339), m.Point.ID)
				return
			}
		}
		return
	}
}

// checkReason checks what somebody gives as a reason, which is kept as evidence.
func checkReason(reason string, most int) (string, error) {
	reason = strings.TrimSpace(reason)
	switch {
	case reason == "":
		return "", usage(errors.New("--reason TEXT is needed: it is kept as evidence"))
	case strings.ContainsFunc(reason, unicode.IsControl):
		return "", usage(errors.New("--reason has a line end or another control character: write it in one line"))
	case len(reason) > most:
		return "", usage(fmt.Errorf("--reason has %d bytes; at most %d", len(reason), most))
	}
	return reason, nil
}

// signer gives the reporter's key, which has to sign what somebody says, once the repository is known to know it.
func signer(j *job, what string) (*keys.ReporterKey, error) {
	key, err := j.reporterKey()
	if err == nil && key == nil {
		err = usage(fmt.Errorf("%s is a signed record, and keys.reporter names no key to sign with; the holder of a restore key makes one: "+
			"`holdfast key add-reporter --identity FILE --key reporter.key`, and keys.reporter: reporter.key in the configuration", what))
	}
	return key, err
}

// knownSigner refuses a key that the repository does not know.
func knownSigner(j *job, r *repo.Repository, key *keys.ReporterKey) error {
	if _, ok := r.Keys().Reporter(key.Name, format.KeyHint(key.Public()), j.now()); !ok {
		return usage(fmt.Errorf("the repository does not know the key of the reporter %s; the holder of a restore key adds it with `holdfast key add-reporter`", key.Name))
	}
	return nil
}
