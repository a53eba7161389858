package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/doctor"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/probe"
)

const doctorHelp = `Look whether the set-up protects what it is to protect.

Each vault is attacked with the job's own key, on canaries under canary/ that are locked
for minutes: deleting, shortening, overwriting, hiding them. Rights that the key should
not have are asked for in ways that change nothing, allowed or not. Each source is read a
little, and asked with its own key for what that must not be allowed. Then: whether source
and vault are apart, clocks, TLS, key files, and restore keys on this machine.

What is not mended is listed with what mends it. What cannot be known is "not tested".
--all lists what is in order, too.

Exit codes: 0 nothing to mend; 4 there are warnings: a right too many, a protection too
few; 5 something is not protected; 1 a vault or source could not be looked at, and the
status is "incomplete".`

// answerJSON is one request and its answer, for scripts and for evidence.
type answerJSON struct {
	Request   string `json:"request"`
	Status    int    `json:"status"`
	Code      string `json:"code,omitempty"`
	Message   string `json:"message,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Time      string `json:"time,omitempty"`
	Error     string `json:"error,omitempty"`
}

// checkedJSON is one finding of doctor, for scripts.
type checkedJSON struct {
	Subject  string       `json:"subject"` // machine, vault NAME, source NAME, source NAME and vault NAME
	Check    string       `json:"check"`
	Severity string       `json:"severity"` // ok, info, not tested, warning, critical
	Seen     string       `json:"seen"`
	Mend     string       `json:"mend,omitempty"`
	Evidence []answerJSON `json:"evidence,omitempty"`
}

// diagnosisJSON is the summary, for scripts.
type diagnosisJSON struct {
	Status    string   `json:"status"` // ok, warning, incomplete, critical
	OK        int      `json:"ok"`
	Info      int      `json:"info"`
	NotTested int      `json:"not_tested"`
	Warning   int      `json:"warning"`
	Critical  int      `json:"critical"`
	Canaries  []string `json:"canaries,omitempty"` // what was left in the vaults, locked for minutes
	Seconds   float64  `json:"seconds"`
}

func (a *careCommands) doctorCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "doctor",
		Short:             "Check vaults, sources, keys and this machine, by trying",
		Long:              doctorHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.action(func(ctx context.Context, _ []string) error {
			a.notices.expect("doctor")
			return a.doctor(ctx, all)
		}),
	}
	a.notices.flag(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "list what is in order, too (with --json it always is)")
	return cmd
}

func (a *careCommands) doctor(ctx context.Context, all bool) (err error) {
	j, err := a.openJob(everyVault)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	o := doctor.Options{Now: a.now, Machine: j.heals.doctorMachine()}
	var closers []func() error
	defer func() {
		for _, c := range closers {
			err = errors.Join(err, c())
		}
	}()
	for _, v := range j.vaults {
		dv, closer, err := j.heals.doctorVault(v)
		if err != nil {
			return err
		}
		closers = append(closers, closer)
		o.Vaults = append(o.Vaults, dv)
	}
	for _, s := range j.config.Sources {
		ds, err := j.heals.doctorSource(s)
		if err != nil {
			return err
		}
		o.Sources = append(o.Sources, ds)
	}
	start := a.now()
	var found []doctor.Finding
	o.Emit = func(f doctor.Finding) { found = append(found, f) }
	stop := a.watch(ctx, "doctor", false, &progress.Count{})
	sum, err := doctor.Run(ctx, o)
	stop()
	line := diagnosis(sum, a.now().Sub(start))
	a.notices.takes.diagnosed(line)
	err = together{err, a.printDiagnosis(found, line, all), judged(sum)}.orNil()
	if ctx.Err() != nil {
		return err
	}
	j.activity = newActivity(start)
	for _, f := range found {
		if f.Severity != probe.OK { // what was seen may name files of this machine
			j.activity.line(checkedJSON{Subject: f.Subject, Check: f.Check, Severity: string(f.Severity)})
		}
	}
	j.activity.line(line)
	return together{err, j.record(ctx, "doctor", nil)}.orNil()
}

// judged is what the findings come to.
func judged(sum doctor.Summary) error {
	switch n := sum.Counts; {
	case n[probe.Critical] > 0:
		return &marked{errUnprotected, fmt.Errorf("%s: something is not protected as it must be", plural(n[probe.Critical], "critical finding", "critical findings"))}
	case n[probe.Warning] > 0 && sum.Unseen > 0:
		return &marked{errWarned, fmt.Errorf("%s, and not everything could be looked at", plural(n[probe.Warning], "warning", "warnings"))}
	case n[probe.Warning] > 0:
		return &marked{errWarned, fmt.Errorf("%s: what is stored is protected, and something should be mended", plural(n[probe.Warning], "warning", "warnings"))}
	}
	return nil
}

// diagnosis is the summary of what doctor found.
func diagnosis(sum doctor.Summary, took time.Duration) diagnosisJSON {
	n := sum.Counts
	line := diagnosisJSON{
		Status: "ok", OK: n[probe.OK], Info: n[probe.Info], NotTested: n[probe.NotTested], Warning: n[probe.Warning], Critical: n[probe.Critical],
		Canaries: sum.Left, Seconds: roundSeconds(took.Seconds()),
	}
	switch w := sum.Worst(); {
	case w == probe.Critical:
		line.Status = string(w)
	case sum.Unseen > 0:
		line.Status = "incomplete"
	case w == probe.Warning:
		line.Status = string(w)
	}
	return line
}

func (a *careCommands) printDiagnosis(found []doctor.Finding, line diagnosisJSON, all bool) error {
	if a.ui.json {
		for _, f := range found {
			if err := a.ui.object(checked(f)); err != nil {
				return err
			}
		}
		return a.ui.object(line)
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "SUBJECT\tCHECK\tSEVERITY\tSEEN") // a strings.Builder takes everything
	for _, f := range found {
		if f.Severity == probe.OK && !all {
			continue
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", safe(f.Subject), f.Check, f.Severity, safe(f.Seen))
		if f.Mend != "" {
			_, _ = fmt.Fprintf(t, "\t\t\tto mend it: %s\n", safe(f.Mend))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(&b, "%s: %d in order, %d to know, %d not tested, %s, %d critical; %.1f s", line.Status, line.OK, line.Info, line.NotTested,
		plural(line.Warning, "warning", "warnings"), line.Critical, line.Seconds)
	return a.ui.text(b.String())
}

func checked(f doctor.Finding) checkedJSON {
	out := checkedJSON{Subject: f.Subject, Check: f.Check, Severity: string(f.Severity), Seen: f.Seen, Mend: f.Mend}
	for _, e := range f.Evidence {
		x := answerJSON{Request: e.Request, Status: e.Status, Code: e.Code, Message: e.Message, RequestID: e.RequestID}
		if !e.Time.IsZero() {
			x.Time = e.Time.Format(time.RFC3339)
		}
		if e.Err != nil {
			x.Error = e.Err.Error()
		}
		out.Evidence = append(out.Evidence, x)
	}
	return out
}

// doctorMachine says where keys lie, and where people leave restore keys.
func (j *doctoring) doctorMachine() doctor.Machine {
	m := doctor.Machine{Recipients: j.config.Keys.Recipients, Owners: len(j.config.Keys.Owners), Config: j.config.Path}
	m.HostKey, m.HostKeyErr = j.config.HostKeyPath(j.env)
	m.SearchDirs = []string{filepath.Dir(j.config.Path)}
	if m.HostKey != "" && filepath.Dir(m.HostKey) != m.SearchDirs[0] {
		m.SearchDirs = append(m.SearchDirs, filepath.Dir(m.HostKey))
	}
	if home, _ := j.env("HOME"); filepath.IsAbs(home) {
		m.SearchDirs = append(m.SearchDirs, home, filepath.Join(home, "Desktop"), filepath.Join(home, "Documents"), filepath.Join(home, "Downloads"), filepath.Join(home, ".age"),
			filepath.Join(home, ".config", "age"), filepath.Join(home, ".config", "sops", "age"), filepath.Join(home, ".config", "holdfast"))
	}
	m.SearchDirs = append(distinct(m.SearchDirs), "/etc/holdfast")
	m.SearchDirs = distinct(m.SearchDirs)
	return m
}

// doctorPlace says where a URL is.
func doctorPlace(at location.Location) doctor.Place {
	p := doctor.Place{Directory: at.Local(), Program: at.Program(), Insecure: at.Insecure()}
	endpoint := at.S3.Endpoint
	if at.AWS != nil {
		endpoint = at.AWS.Endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return p
	}
	if u.Scheme == "http" && !p.Insecure {
		p.Insecure, p.Loopback = true, true
	}
	if !strings.HasSuffix(u.Hostname(), ".amazonaws.com") {
		p.Host = strings.ToLower(u.Host)
	}
	return p
}

// doctorBucket asks a place with any credential.
func (j *doctoring) doctorBucket(at location.Location) doctor.Bucket {
	return func(as store.CredentialsFunc) (doctor.Asker, error) { return j.backends.openAttacker(at, as) }
}

func (j *doctoring) doctorVault(v *vault) (doctor.Vault, func() error, error) {
	d := doctor.Vault{Name: v.name, Place: doctorPlace(v.url), Mode: store.Compliance}
	if c, ok := j.config.Vault(v.name); ok {
		d.Mode = c.Lock.Mode
		d.Reach = j.config.HoldCeiling.AddTo(j.now()).Sub(j.now())
		d.KeepDays = j.shortestDays(v.name, c.Lock.Slack, j.now())
	}
	if d.Directory {
		if v.failed != nil {
			d.Absent, d.New = v.url.Path, errors.Is(v.failed, errNotBegun)
		}
		return d, func() error { return nil }, nil
	}
	attacker, err := j.backends.openAttacker(v.url, v.credentials)
	if err != nil {
		return d, nil, err
	}
	d.Attacker, d.Key, d.Bucket = attacker, v.credentials, j.doctorBucket(v.url)
	if d.Paged, err = j.backends.openPaged(v.url, v.credentials); err != nil {
		return d, nil, errors.Join(err, attacker.Close())
	}
	d.Store = struct {
		store.Reader
		store.Inspector
	}{v.Reader, v.Inspector}
	return d, attacker.Close, nil
}

// shortestDays is how long the shortest-kept point of a vault is locked, in days; 0: none.
func (j *doctoring) shortestDays(vault string, slack retain.Span, now time.Time) int {
	days := 0
	for _, s := range j.config.Sources {
		if !slices.Contains(s.Vaults, vault) {
			continue
		}
		for _, span := range []retain.Span{s.Retention.Hourly, s.Retention.Daily, s.Retention.Weekly, s.Retention.Monthly, s.Retention.Yearly} {
			if span.IsZero() {
				continue
			}
			if n := int(slack.AddTo(span.AddTo(now)).Sub(now).Hours() / 24); days == 0 || n < days {
				days = n
			}
		}
	}
	return days
}

func (j *doctoring) doctorSource(s config.Source) (doctor.Source, error) {
	if s.URL.AWS != nil { // create= has snapshots made at each reading: not by doctor
		at := *s.URL.AWS
		at.Instances = nil
		s.URL.AWS = &at
	}
	src, get, err := j.backends.openSource(s)
	if err != nil {
		return doctor.Source{}, err
	}
	d := doctor.Source{Name: s.Name, Place: doctorPlace(s.URL), Source: src, Tags: !s.Tags.Never, Key: get, Vaults: s.Vaults}
	if kinds()[s.URL.Kind].attack != nil {
		d.Bucket = j.doctorBucket(s.URL)
	}
	return d, nil
}
