package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/drill"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/store/probe"
)

const drillHelp = `Rehearse what you hope never to need: a restore (` + "`holdfast drill restore POINT`" + `), and an attack.

` + "`holdfast drill attack`" + `, or ` + "`holdfast drill`" + ` alone:
` + attackHelp

const attackHelp = `Attack the vaults, as an exercise, and keep the evidence.

Each VAULT, all of them if none is named, is attacked with the job's own key on canaries
under canary/, which are made for it and locked for minutes: deleting, shortening,
overwriting, hiding, reconfiguring. Every request, answer, time and request ID goes into a
report, which is stored in the vault itself under lock (reports/TIME-ID.json and .html).
With --out DIR both are written there, too.

Exit codes: 0 every attack was refused or had no effect ("incomplete" where something could
not be tested); 4 a right too many; 5 an attack got through; 1 a vault could not be attacked,
or kept no report. A directory keeps no locks and cannot be drilled.`

// drilledJSON is one vault's drill, for scripts.
type drilledJSON struct {
	Vault       string         `json:"vault"`
	Status      string         `json:"status"` // held, incomplete, weak, broken, failed
	ID          string         `json:"id"`
	Attacks     int            `json:"attacks"`
	Counts      map[string]int `json:"counts"`
	Report      string         `json:"report,omitempty"`      // name in the vault
	ReportHTML  string         `json:"report_html,omitempty"` // the same for people
	LockedUntil string         `json:"locked_until,omitempty"`
	Seconds     float64        `json:"seconds"`
	Error       string         `json:"error,omitempty"`
	Findings    []drill.Attack `json:"findings"`
}

func (a *careCommands) drillCommand() *cobra.Command {
	cmd := a.attackCommand("drill [VAULT...]", drillHelp)
	cmd.Short = "Rehearse a restore; attack the vaults as an exercise"
	cmd.AddCommand(a.attackCommand("attack [VAULT...]", attackHelp), a.reads.rehearseCommand())
	return cmd
}

// attackCommand is the attack, which the plain word stands for as well.
func (a *careCommands) attackCommand(use, help string) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:               use,
		Short:             "Attack the vaults as an exercise, and keep the evidence in them",
		Long:              help,
		ValidArgsFunction: a.complete.completeVaults,
		RunE: a.action(func(ctx context.Context, args []string) error {
			a.notices.expect("drill", args...)
			return a.drill(ctx, args, out)
		}),
	}
	a.notices.flag(cmd)
	cmd.Flags().StringVar(&out, "out", "", "write the reports into `DIR`, too")
	return cmd
}

func (a *completion) completeVaults(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	c, err := a.loadConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, v := range c.Vaults {
		out = append(out, v.Name)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (a *careCommands) drill(ctx context.Context, names []string, out string) (err error) {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	var have []string
	for _, v := range c.Vaults {
		have = append(have, v.Name)
	}
	for _, n := range names {
		if !slices.Contains(have, n) {
			return usage(fmt.Errorf("the configuration has no vault %q; it has %s", n, strings.Join(have, ", ")))
		}
	}
	j, err := a.openJob(everyVault, names...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.activity = newActivity(a.now())
	var all together
	drilled := 0
	for _, v := range j.vaults {
		if !v.url.Locks() {
			a.ui.warn("vault %s is a directory: it keeps no locks, so there is nothing to drill", v.name)
			continue
		}
		drilled++
		if err := j.drills.drillVault(ctx, v, out); err != nil {
			all = append(all, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if drilled == 0 {
		return append(all, usage(errors.New("none of the vaults keeps locks, so nothing was drilled"))).orNil()
	}
	if ctx.Err() == nil {
		all = append(all, j.record(ctx, "drill", nil))
	}
	return all.orNil()
}

func (j *drilling) drillVault(ctx context.Context, v *vault, out string) (err error) {
	began := j.now()
	o, closer, err := j.drillOptions(v)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closer()) }()
	stop := j.watch(ctx, "drill "+v.name, false, &progress.Count{})
	r, stored, err := drill.Run(ctx, o)
	stop()
	line := drilledJSON{
		Vault: v.name, Status: string(r.Status), ID: r.ID, Attacks: len(r.Attacks), Counts: map[string]int{}, Findings: r.Attacks,
		Seconds: roundSeconds(j.now().Sub(began).Seconds()),
	}
	for _, x := range r.Attacks {
		line.Counts[strings.ReplaceAll(x.Severity, " ", "_")]++
	}
	var all together
	if err != nil {
		line.Error = err.Error()
		all = append(all, err)
		if r.Status != drill.Broken {
			line.Status = "failed"
		}
	} else {
		line.Report, line.ReportHTML, line.LockedUntil = stored.JSON, stored.HTML, stored.Until.Format(time.RFC3339)
	}
	if out != "" && len(r.Attacks) > 0 {
		all = append(all, writeReports(out, r))
	}
	j.notices.takes.drilled(line, err)
	all = append(all, j.printDrill(line), drillOutcome(v.name, r))
	return all.orNil()
}

// drillOutcome is what a drill comes to for exit codes.
func drillOutcome(vault string, r drill.Report) error {
	switch r.Status {
	case drill.Broken:
		return &marked{errUnprotected, fmt.Errorf("vault %s: an attack got through; `holdfast doctor` says what mends it", vault)}
	case drill.Weak:
		return &marked{errWarned, fmt.Errorf("vault %s: nothing got through, but the key may do more than it should; `holdfast doctor` says what mends it", vault)}
	}
	return nil
}

func (j *drilling) drillOptions(v *vault) (drill.Options, func() error, error) {
	d, closer, err := j.heals.doctorVault(v)
	if err != nil {
		return drill.Options{}, nil, err
	}
	o := drill.Options{
		Vault: v.name, URL: v.url.String(), Program: userAgent(), Write: v.Writer, Mode: d.Mode, Keep: longestKeep(j.config, j.now()),
		Probe: probe.Options{Attacker: d.Attacker, Vault: d.Store, Host: d.Host, Mode: d.Mode, Now: j.now},
	}
	if c, ok := j.config.Vault(v.name); ok {
		o.Ceiling = lockingAt(c.Lock, j.now()).Ceiling
	}
	return o, closer, nil
}

func (j *drilling) printDrill(l drilledJSON) error {
	brief := l
	brief.Findings, brief.Error = nil, "" // they are in the report, which the line names; status says failed
	j.activity.line(brief)
	if j.ui.json {
		return j.ui.object(l)
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, x := range l.Findings {
		if x.Severity == string(probe.OK) && j.ui.quiet {
			continue
		}
		asked := "-"
		if n := len(x.Evidence); n > 0 {
			last := x.Evidence[n-1]
			asked = strings.TrimSpace(fmt.Sprintf("%d %s %s", last.Status, last.Code, last.RequestID))
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Check, x.Severity, safe(asked), safe(x.Seen)) // a strings.Builder takes everything
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(&b, "%s: %s: %s in %.1f s", l.Vault, l.Status, plural(l.Attacks, "check", "checks"), l.Seconds)
	if l.Report != "" {
		_, _ = fmt.Fprintf(&b, "; evidence in %s and .html, locked until %s", l.Report, day(l.LockedUntil))
	}
	return j.ui.text(b.String())
}

// writeReports writes both forms of a report into a folder.
func writeReports(dir string, r drill.Report) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, body := range r.Files() {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}
