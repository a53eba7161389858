package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/report"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
)

// errNobodysKey: a report that nobody signed, or whose key nothing vouches for.
var errNobodysKey = errors.New("signed by nobody who is known")

// errNotVouched: a report that whoever was asked for does not vouch for.
var errNotVouched = errors.New("not vouched for by who was asked")

// checkedReport is what came of checking one report, for scripts.
type checkedReport struct {
	File     string `json:"file"`
	Status   string `json:"status"` // ok, unsigned, unknown key, changed, no record
	Form     string `json:"form,omitempty"`
	Reporter string `json:"reporter,omitempty"`
	Number   int    `json:"number,omitempty"`
	Key      string `json:"key_sha256,omitempty"`
	KnownBy  string `json:"key_known_by,omitempty"`
	Figures  string `json:"figures,omitempty"`
	Record   string `json:"record,omitempty"`
	Error    string `json:"error,omitempty"`
}

// followed is what came of following the records of one vault, for scripts.
type followed struct {
	Vault    string                 `json:"vault"`
	Records  int                    `json:"records"`
	Reports  int                    `json:"reports"`
	Findings []report.ChainFinding  `json:"findings"`
	Found    int                    `json:"findings_count"`
	Sequence []report.ReportFinding `json:"report_findings"`
}

// followedVault is a vault's records, followed.
type followedVault struct {
	name  string
	repo  *repo.Repository
	lines []report.Made
}

// checks checks files, the records of vaults, or files against these.
func (r *reporting) checks(ctx context.Context, args []string) error {
	if r.out != "" || r.jsonOut != "" || r.from != "" || r.to != "" {
		return usage(errors.New("--check writes no report: --out, --json-out, --from and --to mean nothing beside it"))
	}
	if by := strings.ToLower(r.signedBy); by != "" && (len(by) < 16 || len(by) > 64 || strings.Trim(by, "0123456789abcdef") != "") {
		return usage(errors.New("--signed-by: give 16 to 64 hexadecimal digits of the key's SHA-256"))
	}
	var files []string
	for _, a := range args {
		if strings.Contains(a, "://") {
			r.vaults = append(r.vaults, a)
		} else {
			files = append(files, a)
		}
	}
	if len(files) == 0 && len(r.vaults) == 0 {
		return usage(errors.New("--check needs a FILE, or --vault"))
	}
	var all together
	var vaults []followedVault
	if len(r.vaults) > 0 {
		base, places, pin, err := r.places()
		if err != nil {
			return err
		}
		for _, p := range places {
			v, err := r.follow(ctx, base.stands.alone().reading, p, pin)
			if err != nil {
				all = append(all, prefixed(err, "vault "+p.name))
			}
			if v != nil {
				vaults = append(vaults, *v)
			}
		}
	}
	for _, name := range files {
		all = append(all, r.checkFile(name, vaults))
	}
	return all.orNil()
}

// follow follows the records of a vault.
func (r *reporting) follow(ctx context.Context, in *reading, p place, pin string) (*followedVault, error) {
	if err := in.openFirst(ctx, []place{p}, pin); err != nil {
		return nil, err
	}
	defer func() {
		if err := in.close(); err != nil {
			r.ui.detail("vault %s: %v", p.name, err)
		}
	}()
	in.introduce(false)
	v := &followedVault{name: p.name, repo: in.repo}
	e := report.Evidence{Findings: []report.ChainFinding{}, Chains: []report.ReportFinding{}}
	err := report.Follow(ctx, in.view().Records(), &e, func(f evidence.Found) {
		if line, ok := report.LineOf(f); ok {
			v.lines = append(v.lines, report.Made{Reporter: f.Reporter, Record: f.Name, Line: line})
		}
	})
	if err != nil {
		return nil, err
	}
	all := together{r.printFollowed(p.name, e)}
	lost := len(e.Chains) > 0
	for _, f := range e.Findings {
		lost = lost || f.Kind != string(evidence.Overlaid)
	}
	switch n := e.Found + len(e.Chains); {
	case lost:
		all = append(all, &marked{errDamage, fmt.Errorf("vault %s: %s in the records", p.name, plural(n, "finding", "findings"))})
	case n > 0:
		all = append(all, &marked{errAlarm, fmt.Errorf("vault %s: %s on top of records, which are all still there", p.name, plural(n, "thing lies", "things lie"))})
	}
	return v, append(all, in.alarm()).orNil()
}

func (r *reporting) printFollowed(name string, e report.Evidence) error {
	if r.ui.json {
		return r.ui.object(followed{Vault: name, Records: e.Records, Reports: e.Count, Findings: e.Findings, Found: e.Found, Sequence: e.Chains})
	}
	text := fmt.Sprintf("vault %s: %s, %s of them of reports", safe(name), plural(e.Records, "record", "records"), num(e.Count))
	for _, f := range e.Findings {
		text += fmt.Sprintf("\n%s: %s: %s", f.Kind, safe(f.Name), printable(f.Detail))
	}
	for _, f := range e.Chains {
		text += fmt.Sprintf("\nreport %d of %s: %s", f.Number, safe(f.Reporter), printable(f.Text))
	}
	return r.ui.text(text)
}

func num(n int) string { return fmt.Sprint(n) }

// checkFile checks one file.
func (r *reporting) checkFile(name string, vaults []followedVault) error {
	line := checkedReport{File: name, Status: "ok"}
	c, err := readReport(name)
	if err != nil && !errors.Is(err, report.ErrChanged) {
		return fmt.Errorf("%s: %w", safe(name), err)
	}
	if err == nil {
		line.Form, line.Reporter, line.Number, line.Figures = c.Form, c.Seal.Reporter, c.Seal.Number, c.Seal.Figures
		if c.Public != nil {
			line.Key = fmt.Sprintf("%x", sha256.Sum256(c.Public))
		}
		err = r.judge(&line, c, vaults)
	} else {
		line.Status = "changed"
	}
	if err != nil {
		line.Error = err.Error()
		err = fmt.Errorf("%s: %w", safe(name), err)
	}
	return together{r.printChecked(line), err}.orNil()
}

// readReport reads and checks a file.
func readReport(name string) (report.Checked, error) {
	f, err := os.Open(name)
	if err != nil {
		return report.Checked{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, report.MaxFile+1))
	if err != nil {
		return report.Checked{}, err
	}
	return report.Check(text)
}

// judge says who vouches for a report that is as it was made.
func (r *reporting) judge(line *checkedReport, c report.Checked, vaults []followedVault) error {
	if c.Public == nil {
		line.Status = "unsigned"
		if r.signedBy != "" { // whoever forges a report leaves the signature out as easily as he makes one of his own
			return &marked{errNotVouched, errors.New("signed by nobody, and so not with the key of --signed-by")}
		}
		return &marked{errNobodysKey, errors.New("as it was made, and signed by nobody: whoever changed it could have made it anew")}
	}
	if by := strings.ToLower(r.signedBy); by != "" {
		if !strings.HasPrefix(line.Key, by) {
			line.Status = "unknown key"
			return &marked{errNotVouched, fmt.Errorf("signed with the key %.16s.., and not with that of --signed-by", line.Key)}
		}
		line.KnownBy = "--signed-by"
	}
	for _, v := range vaults {
		if !slices.ContainsFunc(v.repo.Chain, func(l repo.Link) bool { return l.Lists("reporter", c.Public) }) || v.repo.ID.String() != c.Seal.Repository {
			line.Status = "unknown key"
			return &marked{errNotVouched, fmt.Errorf("signed with the key %.16s.., which is no reporter's of the repository in vault %s, or for another repository", line.Key, v.name)}
		}
		line.KnownBy = "vault " + v.name
		i := slices.IndexFunc(v.lines, func(m report.Made) bool {
			return m.Reporter == c.Seal.Reporter && m.Number == c.Seal.Number && m.Figures == c.Seal.Figures && m.Page == c.Seal.Page
		})
		if i < 0 {
			line.Status = "no record"
			return &marked{errNotVouched, fmt.Errorf("vault %s has no record of this report, number %d of %s", v.name, c.Seal.Number, c.Seal.Reporter)}
		}
		line.Record = v.lines[i].Record
	}
	if line.KnownBy == "" && r.isOwn(hex.EncodeToString(c.Public)) {
		line.KnownBy = "keys.reporter"
	}
	if line.KnownBy == "" {
		line.Status = "unknown key"
		return &marked{errNobodysKey, fmt.Errorf("as it was made, and signed with the key %.16s.. of %s, which nothing here vouches for: compare it with what you were given, and name it with --signed-by, or name a vault with --vault",
			line.Key, c.Seal.Reporter)}
	}
	return nil
}

// isOwn reports whether a key is that of the configuration, where there is one that can be read.
func (r *reporting) isOwn(public string) bool {
	c, err := r.loadConfig()
	if err != nil || c.Keys.Reporter == "" {
		return false
	}
	key, err := (&job{app: r.app, config: c}).share().reporterKey()
	return err == nil && key != nil && hex.EncodeToString(key.Public()) == public
}

func (r *reporting) printChecked(l checkedReport) error {
	if r.ui.json {
		return r.ui.object(l)
	}
	if l.Error != "" {
		return nil // the error says it
	}
	text := fmt.Sprintf("%s: unchanged; number %d, signed by %s, key %.16s.. (known by %s)", safe(l.File), l.Number, l.Reporter, l.Key, safe(l.KnownBy))
	if l.Record != "" {
		text += "; its record is " + safe(l.Record)
	}
	return r.ui.text(text)
}
