package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/report"
	"github.com/holdfast-backup/holdfast/replicator/report/page"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/vendor"
	"github.com/holdfast-backup/holdfast/store/wholefile"
)

const reportHelp = `Write a report on the copy for people who have to judge it: auditors, insurers, owners.

It is one HTML file that needs nothing else and runs no script, and the same as JSON (docs/report.schema.json). What needs attention comes first, then
scope, recovery points and their gaps, completeness, integrity, rehearsals, separation, immutability, keys, retention, alarms, what is stored, and the
evidence itself. What is not known is named, with the reason.

The reader's credential is enough, and no key that opens anything is needed. All vaults of the configuration are looked at, or those that --vault names.
The period is the last 365 days, or from --from to --to: dates, or RFC 3339 times.

Where keys.reporter names a key, the report is numbered and signed, names the report before it, and leaves a record in the vaults. Without one it is
neither, and says so. Files are never overwritten. --out names a folder for both files (the current one if nothing else is asked for) or, if it ends in .html,
the page; --json-out names the JSON. With --json the JSON goes to standard output.

With --check nothing is reported. Each FILE, a report's page or its JSON, is checked to the last byte, with its signature; no vault is needed. The signature
counts if its key is that of keys.reporter, or one that --signed-by or a vault names. With --vault NAME, or a vault's URL in the place of FILE, the records in
that vault are followed: one that was overwritten, is missing or is there twice is named, and each FILE's own record is looked for.

Exit codes: 0 all is well, as far as this looks; 4 something is to be looked at; 5 a target is missed, something is lost or not protected; 1 a vault
cannot be looked at. With --check: 0 unchanged, and signed with a key that is known; 4 unchanged, and signed by nobody or with a key that nothing vouches for;
5 changed, or something is wrong with the records; 2 no report.

Any other vault is given by --vault URL --credentials REF, and then no configuration is needed. REF is env:PREFIX, profile:NAME,
file:PATH[#PROFILE] or systemd:NAME.`

// reporting makes and checks reports.
type reporting struct {
	*app
	reader   readerFlags
	vaults   []string
	from, to string
	out      string
	jsonOut  string
	check    bool
	signedBy string

	options report.Options
	made    *report.Report
}

// errReported: a report that shows something which must not be.
var errReported = errors.New("the report shows damage, or a target that is missed")

func (r *reporting) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report [FILE...]",
		Short: "Write a report for auditors, or check one",
		Long:  reportHelp,
		RunE: r.action(func(ctx context.Context, args []string) error {
			switch {
			case r.check:
				return r.checks(ctx, args)
			case len(args) > 0:
				return usage(fmt.Errorf("%s: files are given with --check; --out names what is written", safe(args[0])))
			case r.signedBy != "":
				return usage(errors.New("--signed-by belongs to --check"))
			}
			r.notices.expect("report", r.vaults...)
			return r.report(ctx)
		}),
	}
	s := cmd.Flags()
	s.StringArrayVar(&r.vaults, "vault", nil, "a vault: a configured `NAME` (repeatable), or a URL")
	s.StringVar(&r.reader.credentials, "credentials", "", "where the credentials for the vault lie: a `REF` such as env:PREFIX")
	addFingerprint(cmd, &r.reader.fingerprint)
	complete(cmd, "vault", r.complete.vaultNames)
	s.StringVar(&r.from, "from", "", "the beginning of the period: a `DATE` or RFC 3339 time (default 365 days before its end)")
	s.StringVar(&r.from, "since", "", "the same as --from, a `TIME`")
	s.StringVar(&r.to, "to", "", "the end of the period: a `DATE` or RFC 3339 time (default now)")
	s.StringVar(&r.out, "out", "", "write both files into `DIR`, or the page to FILE.html")
	s.StringVar(&r.jsonOut, "json-out", "", "write the JSON to `FILE`")
	s.BoolVar(&r.check, "check", false, "check reports, or with --vault the records of them")
	s.StringVar(&r.signedBy, "signed-by", "", "with --check: the key that must have signed, the first 16 `HEX` digits or more of its SHA-256")
	r.notices.flag(cmd)
	return cmd
}

// places gives the vaults that are asked for.
func (r *reporting) places() (base *reading, places []place, pin string, err error) {
	if len(r.vaults) == 1 {
		r.reader.vault = r.vaults[0]
	}
	for _, v := range r.vaults {
		if len(r.vaults) > 1 && strings.Contains(v, "://") {
			return nil, nil, "", usage(errors.New("a vault by its URL is looked at alone: give one --vault"))
		}
	}
	if base, places, pin, err = prepareReading(r.app, &r.reader); err != nil || len(r.vaults) < 2 {
		return base, places, pin, err
	}
	for _, v := range r.vaults {
		if !slices.ContainsFunc(places, func(p place) bool { return p.name == v }) {
			return nil, nil, "", usage(fmt.Errorf("the configuration has no vault %q", v))
		}
	}
	return base, slices.DeleteFunc(places, func(p place) bool { return !slices.Contains(r.vaults, p.name) }), pin, nil
}

// reportTime reads a date or a time.
func reportTime(flag, text string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usage(fmt.Errorf("--%s %s: give a date such as 2026-11-30, or an RFC 3339 time", flag, safe(text)))
}

// period settles from when to when.
func (r *reporting) period() (err error) {
	o := &r.options
	o.Now = r.now().UTC().Truncate(time.Second)
	o.To = o.Now
	if r.to != "" {
		if o.To, err = reportTime("to", r.to); err != nil {
			return err
		}
	}
	if o.To.After(o.Now) {
		return usage(fmt.Errorf("--to %s is still to come", safe(r.to)))
	}
	o.From = o.To.AddDate(0, 0, -365)
	if r.from != "" {
		if o.From, err = reportTime("from", r.from); err != nil {
			return err
		}
	}
	if !o.From.Before(o.To) {
		return usage(errors.New("the period ends before it begins: --from must come before --to"))
	}
	return nil
}

func (r *reporting) report(ctx context.Context) error {
	if err := r.period(); err != nil {
		return err
	}
	base, places, pin, err := r.places()
	if err != nil {
		return err
	}
	files, err := r.files()
	if err != nil {
		return err
	}
	if err := r.describe(base); err != nil {
		return err
	}
	r.made = report.New(r.options)
	charged, err := openCharges(r.app, base.config)
	if err != nil {
		return err
	}
	own, err := r.ownKey(base)
	if err != nil {
		return err
	}
	var first *repo.Repository
	for _, p := range places {
		found, err := r.look(ctx, base.stands.alone().reading, p, pin, charged)
		if err != nil {
			return err
		}
		first = cmp.Or(first, found)
	}
	key, why := r.signer(base, first, own)
	if key != nil {
		r.made.Next(key.Name)
	} else {
		r.made.Identity.Unnumbered = why
	}
	r.made.Conclude()
	sealed, err := r.seal(key, first)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	names, err := r.write(files, sealed)
	if err != nil {
		return err
	}
	all := together{r.tell(sealed, names)}
	if len(names) == 0 && all.orNil() != nil {
		return all.orNil() // nobody has it: there is nothing to keep a record of
	}
	if key != nil {
		// Whoever has the report has to find its record: a signal between the two comes too late.
		all = append(all, leaveRecord(context.WithoutCancel(ctx), r.app, base.config, report.TypeReport, r.options.Now, first, r.made.Record(sealed.Seal)))
	} else {
		r.ui.warn("this report is not numbered and leaves no record: %s", why)
	}
	return append(all, r.verdict()).orNil()
}

// describe says what is declared, and who reports.
func (r *reporting) describe(base *reading) error {
	b := thisBuild()
	o := &r.options
	host, _ := os.Hostname() // nobody knows: the page says so
	name := ""
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	o.Identity = report.Identity{
		Program: report.Program{Name: "holdfast", Version: b.Version, Revision: b.Revision, Modified: b.Modified, Format: b.Format, Platform: b.Platform}, Command: r.line(),
		Host: host, User: name,
	}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	o.Seed = binary.BigEndian.Uint64(seed[:])
	o.Targets.Basis = "none"
	c := base.config
	if c == nil {
		return nil
	}
	text, err := os.ReadFile(c.Path)
	if err != nil {
		return err
	}
	o.Identity.Configuration = fmt.Sprintf("%x", sha256.Sum256(text))
	span := func(at time.Time) int64 { return int64(at.Sub(o.Now) / time.Second) }
	o.Targets.RPO, o.Targets.RTO = span(c.Targets.RPO.AddTo(o.Now)), span(c.Targets.RTO.AddTo(o.Now))
	o.Targets.Records = c.Reports.Keep.String()
	if o.Targets.Allowed, o.Targets.Basis = o.Targets.RPO, "targets.rpo"; o.Targets.RPO == 0 {
		o.Targets.Allowed, o.Targets.Basis = int64(watch.Allowed(c.Schedule.Run)/time.Second), "what the schedule lets it become"
	}
	for _, x := range c.Unprotected {
		o.Scope.Accepted = append(o.Scope.Accepted, report.Accepted(x))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Custody)) {
		o.Scope.Custody = append(o.Scope.Custody, report.Custody{Key: name, Kept: c.Custody[name]})
	}
	for _, s := range c.Sources {
		o.Scope.Sources = append(o.Scope.Sources, report.Scoped{
			Name: s.Name, URL: s.URL.String(), Configured: true, Vaults: s.Vaults, Exclude: s.Excluded(), Settings: settings(s), Retention: spans(s.Retention), Credential: s.Credentials.String(),
		})
	}
	return nil
}

// line is the command as it was given, without what says nothing of the figures.
func (r *reporting) line() string {
	words := []string{"holdfast report"}
	for _, v := range r.vaults {
		words = append(words, "--vault "+v)
	}
	for _, f := range [][2]string{{"--credentials", r.reader.credentials}, {"--fingerprint", r.reader.fingerprint}, {"--from", r.from}, {"--to", r.to}} {
		if f[1] != "" {
			words = append(words, f[0]+" "+f[1])
		}
	}
	return strings.Join(words, " ")
}

// look looks at one vault.
func (r *reporting) look(ctx context.Context, in *reading, p place, pin string, charged charges) (*repo.Repository, error) {
	to := report.Place{Name: p.name, URL: p.url.String(), Kind: string(p.url.Kind), Vendor: vendorOf(p.url), Credential: p.ref.String(), Locks: p.url.Locks()}
	if to.Err = in.openFirst(ctx, []place{p}, pin); to.Err != nil {
		return nil, r.made.Look(ctx, r.options, to)
	}
	defer func() {
		if err := in.close(); err != nil {
			r.ui.detail("vault %s: %v", p.name, err)
		}
	}()
	in.introduce(false)
	to.Pinned, to.View, to.Lost, to.Inspect = in.trust.Pin != "", in.view(), in.verifies.lost(), in.vault.once.Inspect
	if !p.other && in.config != nil {
		for _, s := range in.config.Sources {
			if slices.Contains(s.Vaults, p.name) {
				to.Sources = append(to.Sources, s.Name)
			}
		}
	}
	scratch, err := in.renews.scratch()
	if err == nil {
		to.Scratch = scratch.Cache
		defer func() {
			if err := scratch.Close(); err != nil {
				r.ui.detail("%v", err)
			}
		}()
	} else {
		r.ui.detail("vault %s: %v", p.name, err)
	}
	to.Misses = func(h evidence.Hold, listed []repo.Point) bool {
		return !needNot(in.config, p.name, in.repo, h, listed)
	}
	if price, err := charged.of(p.url); err == nil {
		to.Price = &price
	} else {
		to.NoPrice = err
	}
	to.Noticed = func() []repo.Finding { list, _ := in.findings.take(); return list }
	r.ui.remark("Looking at vault %s.", safe(p.name))
	return in.repo, r.made.Look(ctx, r.options, to)
}

// vendorOf names the vendor behind an endpoint, as far as its host tells.
func vendorOf(l location.Location) string {
	if !l.Locks() {
		return "none: a directory"
	}
	host := ""
	if e := l.S3.Endpoint; e != "" {
		host = strings.TrimPrefix(strings.TrimPrefix(e, "https://"), "http://")
		host, _, _ = strings.Cut(host, ":")
	}
	p, err := vendor.Detect(host, vendor.Answered{})
	if err != nil || p.Name == vendor.Generic {
		return "not known, at " + host
	}
	return p.Title
}

// ownKey reads the key that reports are signed with, where the configuration names one that this user can read. Whoever else uses the
// configuration, elsewhere or as another user, makes reports without a number. A key that is there and no good is an error: nobody means that.
func (r *reporting) ownKey(base *reading) (*keys.ReporterKey, error) {
	c := base.config
	if c == nil || c.Keys.Reporter == "" {
		return nil, nil
	}
	path, err := c.ReporterKeyPath(r.env)
	if err == nil {
		err = readable(path)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return (&job{app: r.app, config: c}).share().reporterKey()
}

// signer gives the key that the report is signed with, or why there is none.
func (r *reporting) signer(base *reading, in *repo.Repository, own *keys.ReporterKey) (*keys.ReporterKey, string) {
	c := base.config
	switch {
	case c == nil || slices.ContainsFunc(r.vaults, func(v string) bool { return strings.Contains(v, "://") }):
		return nil, "the vault is named by its URL, and only a configuration names a reporter's key"
	case c.Keys.Reporter == "":
		return nil, "keys.reporter names no key to sign with"
	case r.reader.credentials != "":
		return nil, "other credentials were given than those of the configuration"
	case own == nil:
		return nil, "the reporter's key that keys.reporter names is not here, or not for this user to read"
	case in == nil || !in.Vouched():
		return nil, "no vault shows the repository"
	}
	if _, ok := in.Keys().Reporter(own.Name, format.KeyHint(own.Public()), r.now()); !ok {
		return nil, "the repository does not know the key of the reporter " + own.Name
	}
	return own, ""
}

func (r *reporting) seal(key *keys.ReporterKey, in *repo.Repository) (report.Sealed, error) {
	figures, digest, err := report.Figures(r.made)
	if err != nil {
		return report.Sealed{}, err
	}
	html, err := page.Make(r.made, digest)
	if err != nil {
		return report.Sealed{}, err
	}
	id := ""
	if in != nil {
		id = in.ID.String()
	}
	return report.SealUp(r.made, id, figures, html, key)
}

// verdict is what the report comes to for exit codes.
func (r *reporting) verdict() error {
	var all together
	for _, w := range r.made.Warnings {
		kind := map[report.Severity]error{report.Damage: errReported, report.Attention: errAttention, report.Unread: errVault}[w.Severity]
		if kind == nil {
			continue
		}
		where := ""
		if w.Vault != "" {
			where = "vault " + w.Vault + ": "
		}
		if w.Source != "" {
			where = "source " + w.Source + ", " + where
		}
		all = append(all, &marked{kind, fmt.Errorf("%s%s", where, w.Text)})
	}
	return all.orNil()
}

// reportFiles are where a report is written; empty: nowhere.
type reportFiles struct{ dir, html, json string }

// files settles where the report goes.
func (r *reporting) files() (f reportFiles, err error) {
	f.json = r.jsonOut
	switch {
	case strings.HasSuffix(r.out, ".html"):
		f.html = r.out
	case r.out != "":
		f.dir = r.out
	case r.jsonOut == "" && !r.ui.json:
		f.dir = "."
	}
	for _, name := range []string{f.html, f.json} {
		if name == "" {
			continue
		}
		if _, err := os.Lstat(name); err == nil {
			return f, usage(fmt.Errorf("%s is there already: a report is never written over another file", safe(name)))
		}
	}
	if f.html != "" && filepath.Clean(f.html) == filepath.Clean(f.json) {
		return f, usage(fmt.Errorf("--out and --json-out both name %s: the page and the JSON are two files", safe(f.html)))
	}
	return f, nil
}

// write writes the files, all of them or none, and gives their names.
func (r *reporting) write(f reportFiles, s report.Sealed) (names []string, err error) {
	if f.dir != "" {
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return nil, err
		}
		base := "report-" + r.options.Now.Format("20060102T150405Z")
		if n := s.Seal.Number; n > 0 {
			base = fmt.Sprintf("report-%s-%04d", s.Seal.Reporter, n)
		}
		f.html, f.json = filepath.Join(f.dir, base+".html"), cmp.Or(f.json, filepath.Join(f.dir, base+".json"))
	}
	for _, x := range []struct {
		name string
		body []byte
	}{{f.html, s.HTML}, {f.json, s.JSON}} {
		if x.name == "" {
			continue
		}
		if err := writeNew(x.name, x.body); err != nil {
			for _, name := range names { // made just now: a page whose record is never made must not lie about
				err = errors.Join(err, os.Remove(name))
			}
			return nil, fmt.Errorf("write the report: %w", err)
		}
		names = append(names, x.name)
	}
	return names, nil
}

// writeNew writes a file that is not there yet, all of it or none.
func writeNew(name string, body []byte) error {
	err := wholefile.Create(name, body)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and nothing is written over it: name another place, or move it away", safe(name))
	}
	return err
}

// tell prints what came of it.
func (r *reporting) tell(s report.Sealed, names []string) error {
	if r.ui.json {
		return r.ui.text(strings.TrimSuffix(string(s.JSON), "\n"))
	}
	n := "not numbered"
	if s.Seal.Number > 0 {
		n = fmt.Sprintf("number %d of %s", s.Seal.Number, s.Seal.Reporter)
	}
	text := fmt.Sprintf("report, %s: %s; %s, %s not known", n, r.made.Verdict, plural(len(r.made.Warnings), "warning", "warnings"), plural(len(r.made.Unknown), "thing", "things"))
	for _, name := range names {
		text += "\n" + safe(name)
	}
	return r.ui.text(text)
}
