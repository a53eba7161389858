// Package doctor looks whether a whole set-up protects what it is to protect: each vault by attacking it (package probe),
// each source by asking with its credential for what that must not be allowed, whether the two are truly apart, and the
// machine the job runs on.
//
// It changes nothing but a vault's canaries. A source is only read, and asked for what cannot be (package attack,
// Nothing; a setting with a body that is none): allowed or not, nothing there changes. What cannot be known is reported as
// not tested, never as fine. It mends nothing itself.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
)

// Place is where a vault or a source is.
type Place struct {
	Host      string // "host:port" as in the endpoint, lower case; empty: AWS, or no network at all
	Directory bool   // a directory of this machine
	Program   bool   // a program of this machine
	Insecure  bool   // plain http
	Loopback  bool   // the endpoint is this machine
}

// Asker asks a bucket for what cannot be, with one credential.
type Asker interface {
	attack.Nothing
	Garble(ctx context.Context, s attack.Setting) attack.Answer
}

// Bucket is a place that can be asked, with any credential.
type Bucket func(as store.CredentialsFunc) (Asker, error)

// Vault is one vault of the configuration.
type Vault struct {
	Name string
	Place
	Mode     store.Mode
	Attacker probe.Attacker        // nil for a directory
	Store    probe.Vault           // the ordinary driver
	Paged    store.Reader          // the same, listed two names a page; nil for a directory
	Key      store.CredentialsFunc // nil for a directory
	Bucket   Bucket                // nil for a directory
	Reach    time.Duration         // how far ahead a hold may lock; 0: no further than other locks
	KeepDays int                   // the shortest retention with slack that a source asks for here, in days
	Absent   string                // the folder of a directory, where it is not there; else empty
	New      bool                  // no repository is known on this machine: an absent folder is still to be made
}

// Source is one source of the configuration.
type Source struct {
	Name string
	Place
	Source source.Source
	Tags   bool                  // its tags are read
	Key    store.CredentialsFunc // nil for a directory
	Bucket Bucket                // nil for what is no bucket
	Vaults []string              // names of the vaults that keep it
}

// Machine is where the job runs.
type Machine struct {
	Recipients []keys.Recipient
	Owners     int      // owner keys, which sign changes of keys
	Config     string   // the configuration file
	HostKey    string   // the host key's path; empty: HostKeyErr says why
	HostKeyErr error    // why there is no path
	SearchDirs []string // where files are looked at for restore keys, without subfolders
}

// Options of Run.
type Options struct {
	Vaults  []Vault
	Sources []Source
	Machine Machine
	Emit    func(Finding) // called with each finding as it is made, one at a time; may be nil
	Now     func() time.Time
}

// Finding is one finding, and about what.
type Finding struct {
	Subject string // "machine", "vault NAME", "source NAME", "source NAME and vault NAME"
	probe.Finding
}

// Summary counts findings.
type Summary struct {
	Counts map[probe.Severity]int
	Left   []string // prefixes of canaries, with their vaults: their locks run out within minutes
	Unseen int      // vaults and sources that could not be looked at, or not to the end
}

// Worst is the worst severity there is.
func (s Summary) Worst() probe.Severity {
	worst := probe.OK
	for sev, n := range s.Counts {
		if n > 0 && sev.Worse(worst) {
			worst = sev
		}
	}
	return worst
}

// Run checks everything. What could not be looked at at all (a vault that does not answer) is in the error, and a finding
// "reach" that is not tested; the others are done.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &doctor{Options: o, sum: Summary{Counts: map[probe.Severity]int{}}}
	d.machine(o.Machine)
	var errs []error
	for i := range o.Vaults {
		if err := d.vault(ctx, &o.Vaults[i]); err != nil {
			d.sum.Unseen++
			errs = append(errs, fmt.Errorf("vault %s: %w", o.Vaults[i].Name, err))
		}
		if err := ctx.Err(); err != nil {
			return d.sum, err
		}
	}
	for i := range o.Sources {
		s := &o.Sources[i]
		if err := d.source(ctx, s); err != nil {
			d.sum.Unseen++
			errs = append(errs, fmt.Errorf("source %s: %w", s.Name, err))
		}
		d.apart(ctx, s)
		if err := ctx.Err(); err != nil {
			return d.sum, err
		}
	}
	return d.sum, errors.Join(errs...)
}

// doctor is one run.
type doctor struct {
	Options
	sum Summary
}

func (d *doctor) add(subject, check string, s probe.Severity, mend, seen string, evidence ...attack.Answer) {
	d.report(subject, probe.Finding{Check: check, Severity: s, Seen: seen, Mend: mend, Evidence: evidence})
}

func (d *doctor) report(subject string, f probe.Finding) {
	d.sum.Counts[f.Severity]++
	if d.Emit != nil {
		d.Emit(Finding{Subject: subject, Finding: f})
	}
}

// transport says whether a place is reached safely.
func (d *doctor) transport(subject string, p Place) {
	switch {
	case p.Directory:
	case p.Insecure && p.Loopback:
		d.add(subject, "tls", probe.Info, "", "plain http to this machine itself")
	case p.Insecure:
		d.add(subject, "tls", probe.Warning, "use an https:// endpoint", "plain http: names and session tokens can be read on the way, and answers about locks and time forged")
	default:
		d.add(subject, "tls", probe.OK, "", "reached over TLS")
	}
}

// vault checks one vault.
func (d *doctor) vault(ctx context.Context, v *Vault) error {
	subject := "vault " + v.Name
	d.transport(subject, v.Place)
	if v.Directory {
		d.add(subject, "immutable", probe.Warning, "add a vault with object lock at another vendor", "a directory keeps no locks: whoever may write here may delete everything")
		d.folder(subject, v)
		return nil
	}
	if v.Mode == store.Governance {
		d.add(subject, "lock-mode", probe.Warning, "lock in compliance mode: `lock: {mode: compliance}`", "locks are asked for in governance mode: the vault's administrators can delete everything")
	} else {
		d.add(subject, "lock-mode", probe.OK, "", "locks are asked for in compliance mode")
	}
	if _, err := v.Key(ctx); err != nil {
		return d.badCredentials(subject, err)
	}
	r, err := probe.Run(ctx, probe.Options{Attacker: v.Attacker, Vault: v.Store, Paged: v.Paged, Host: hostOf(v.Host), Mode: v.Mode, Reach: v.Reach, Now: d.Now})
	for _, f := range r.Findings {
		d.report(subject, f)
	}
	if err != nil {
		d.add(subject, "reach", probe.NotTested, "", "the vault could not be probed to the end: "+err.Error())
		return err
	}
	d.sum.Left = append(d.sum.Left, v.Name+": "+r.Canaries)
	if days := r.Vendor.MinimumDays; days.Known() && v.KeepDays > 0 && days.Value > v.KeepDays {
		d.add(subject, "minimum-days", probe.Info, "", fmt.Sprintf("%s bills each object for at least %d days, and the shortest retention asked for is %d", r.Vendor.Title, days.Value, v.KeepDays))
	}
	return nil
}

// folder says whether a directory is there at all.
func (d *doctor) folder(subject string, v *Vault) {
	switch {
	case v.Absent == "":
		d.add(subject, "folder", probe.OK, "", "its folder is there")
	case v.New:
		d.add(subject, "folder", probe.Info, "run `holdfast init`, which makes it", "there is no folder "+v.Absent+" yet")
	default:
		d.add(subject, "folder", probe.Critical, "mount the disk or share that it lies on; if it was deleted, `holdfast init` brings the repository there from another vault, and the next run fills it",
			"there is no folder "+v.Absent+": the copy is away, or was deleted")
	}
}

// badCredentials reports credentials that cannot be had. That others can read them is a finding, and no failure of doctor.
func (d *doctor) badCredentials(subject string, err error) error {
	d.add(subject, "reach", probe.NotTested, "", "its credentials could not be read: "+err.Error())
	if errors.Is(err, keys.ErrFileMode) {
		d.sum.Unseen++
		d.add(subject, "credentials-mode", probe.Critical, "chmod 600 the file, and make a new key if others can have read it", "others can read its credentials: "+err.Error())
		return nil
	}
	return err
}

// hostOf is a host without its port.
func hostOf(hostport string) string {
	for i := len(hostport) - 1; i >= 0; i-- {
		switch hostport[i] {
		case ':':
			return hostport[:i]
		case ']':
			return hostport
		}
	}
	return hostport
}
