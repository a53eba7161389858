package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

const policyHelp = `Print the policy that gives one role exactly what it needs at one vendor, ready to be applied.

  source-reader  reads what is protected, at the primary vendor
  vault-writer   the job's: puts, reads and lengthens locks; no delete, no bypass
  vault-reader   restores and checks
  auditor        checks, and leaves records of what it found: puts under reports/ alone
  renewer        lengthens locks from another machine
  remover        prune: deletes versions whose lock is over

Each role is a user, or a key, of its own. The policy goes to standard output; what there
is to know of it, and how it is applied, to standard error. Where the vendor can, a role that
locks may not lock for longer than --max-lock from the day it asks: that has to cover the ceiling
of the vault, and hold_ceiling where 'holdfast hold' is used. Without the flag it is 400d, or what
the configuration asks for where there is one and that is more. At Backblaze B2 a key has capabilities instead of a policy; at versitygw and
Ceph a policy belongs to the bucket and names the user (--principal).

'holdfast doctor' tries what the policy promises.`

// policyFlags are those of policy.
type policyFlags struct {
	vendor, role, maxLock, kind string
	options                     vendor.PolicyOptions
}

// policyJSON is a policy for scripts.
type policyJSON struct {
	Vendor string          `json:"vendor"`
	Role   string          `json:"role"`
	Policy json.RawMessage `json:"policy"`
	Notes  []string        `json:"notes,omitempty"`
	Apply  []string        `json:"apply"`
}

func (a *careCommands) policyCommand() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use:               "policy --vendor VENDOR --role ROLE --bucket BUCKET",
		Short:             "Print the exact policy for each role at each vendor",
		Long:              policyHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = a.action(func(context.Context, []string) error { return a.policy(f, cmd.Flags().Changed("max-lock")) })
	s := cmd.Flags()
	s.StringVar(&f.vendor, "vendor", "", "the `VENDOR`: aws, b2, ceph, generic, minio, versitygw or wasabi")
	s.StringVar(&f.role, "role", "", "the `ROLE`: source-reader, vault-writer, vault-reader, auditor, renewer or remover")
	s.StringVar(&f.options.Bucket, "bucket", "", "the `BUCKET`")
	s.StringVar(&f.options.Prefix, "prefix", "", "the `PREFIX` in it, as in the URL; without one all of the bucket")
	s.StringVar(&f.options.Principal, "principal", "", "the `USER` that a bucket's policy is for (versitygw: an access key; ceph: arn:aws:iam::TENANT:user/NAME)")
	s.StringVar(&f.options.Partition, "partition", "aws", "of AWS's resource names: aws, aws-cn or aws-us-gov")
	s.StringVar(&f.kind, "kind", "s3", "of source-reader at aws: the `KIND` of the source, s3, ebs or ec2; the latter two need no bucket")
	s.StringVar(&f.maxLock, "max-lock", "400d", "the longest `TIME` from now that a lock may be set for; 0 for no bound")
	complete(cmd, "vendor", oneOf(vendor.Names()...))
	complete(cmd, "role", func() []string {
		var out []string
		for _, r := range vendor.Roles() {
			out = append(out, string(r))
		}
		return out
	})
	complete(cmd, "kind", oneOf("s3", "ebs", "ec2"))
	complete(cmd, "partition", oneOf("aws", "aws-cn", "aws-us-gov"))
	return cmd
}

func (a *careCommands) policy(f policyFlags, given bool) error {
	for _, x := range []struct{ flag, value string }{{"vendor", f.vendor}, {"role", f.role}, {"bucket", f.options.Bucket}} {
		if x.value == "" && (x.flag != "bucket" || f.kind == "s3") {
			return usage(fmt.Errorf("--%s is needed; `holdfast policy --help` lists what there is", x.flag))
		}
	}
	f.options.Kind = vendor.Kind(f.kind)
	span, err := retain.Parse(f.maxLock)
	if err != nil {
		return usage(fmt.Errorf("--max-lock: %w", err))
	}
	f.options.MaxDays = wholeDays(span, a.now())
	if vendor.Role(f.role).Locks() {
		f.options.MaxDays = coveringLocks(a.app, f.options.MaxDays, given)
	}
	p, err := vendor.Get(f.vendor)
	if err != nil {
		return usage(fmt.Errorf("--vendor: %w", err))
	}
	doc, err := vendor.PolicyFor(p, vendor.Role(f.role), f.options)
	if errors.Is(err, vendor.ErrPolicy) {
		return usage(err)
	}
	if err != nil {
		return err
	}
	if a.ui.json {
		return a.ui.object(policyJSON{Vendor: p.Name, Role: f.role, Policy: json.RawMessage(doc.Text), Notes: doc.Notes, Apply: p.Policy.Apply})
	}
	if err := a.ui.text(doc.Text); err != nil {
		return err
	}
	for _, n := range doc.Notes {
		a.ui.remark("Note: %s", n)
	}
	for _, line := range p.Policy.Apply {
		a.ui.remark("Apply: %s", line)
	}
	return nil
}

// wholeDays is how many days a span has from now on, rounded up.
func wholeDays(span retain.Span, now time.Time) int {
	return int((span.AddTo(now).Sub(now) + 24*time.Hour - 1) / (24 * time.Hour))
}

// coveringLocks gives how many days ahead a role may lock: as many as were given, with a note where they do not cover what the configuration
// asks for, or what that asks for, where none were given. Without a configuration it is what there is.
func coveringLocks(a *app, days int, given bool) int {
	if days == 0 {
		return 0 // no bound
	}
	c, err := a.loadConfig()
	if err != nil {
		return days // policies are printed before there is one
	}
	now := a.now()
	need, what := wholeDays(c.HoldCeiling, now), "hold_ceiling"
	for _, v := range c.Vaults {
		if n := wholeDays(v.Lock.Ceiling, now); v.URL.Locks() && n > need {
			need, what = n, "lock.ceiling of vault "+v.Name
		}
	}
	switch {
	case need <= days:
		return days
	case !given:
		return need
	}
	a.ui.warn("--max-lock of %d days does not cover %s of the configuration, which is %d days: the vendor will refuse such locks", days, what, need)
	return days
}
