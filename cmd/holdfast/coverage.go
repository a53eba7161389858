package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/coverage"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/source"
)

const coverageHelp = `List what is in the accounts that the sources read, and whether a source has it: buckets of every region, and where there are ebs:// or ec2://
sources the disks, instances, AMIs and snapshots of every region that is open to the account. What no source has comes first.

It asks with the sources' own credentials and shows what these are shown. A bucket counts as protected when a source has all of it; a
volume when the source finds a snapshot of it that it can read; an instance and an AMI when an ec2:// source lists them, the AMI with its
snapshots. Snapshots of a volume that is gone, and of no AMI, stand for themselves. Directories and exec: sources have no account: nothing
is said of them.

What needs no copy is named in the configuration, with the reason:

  unprotected:
    - {url: "s3://scratch", reason: "rebuilt nightly"}
    - {url: "ebs://eu-west-1/vol-*", reason: "caches; the machines are rebuilt"}

Exit codes: 4 something is in no source, and no reason is given; 3 an account, or a part of it, could not be looked at.`

// sizeRequests is how many requests a bucket that no source has is listed with, for its size: of 1,000 objects each.
const sizeRequests = 10

// resourceJSON is one thing in an account, for scripts.
type resourceJSON struct {
	URL       string   `json:"url"`
	Kind      string   `json:"kind"` // bucket, volume, snapshots, instance, ami
	Name      string   `json:"name,omitempty"`
	Bytes     *int64   `json:"bytes"`              // null: not known. Of a bucket that a source has nothing is counted
	AtLeast   bool     `json:"at_least,omitempty"` // there are more than that
	Made      string   `json:"made,omitempty"`
	Protected bool     `json:"protected"`
	Reason    string   `json:"reason"` // why it needs no source; empty: none is given
	Sources   []string `json:"sources,omitempty"`
	Prefixes  []string `json:"prefixes,omitempty"` // of a bucket: what sources have, where none has all of it
}

// coveredJSON is what a look at the accounts came to, for its record: names of buckets and machines are not for the vault to read.
type coveredJSON struct {
	Resources   int `json:"resources"`
	Protected   int `json:"protected"`
	Accepted    int `json:"accepted"`
	Unprotected int `json:"unprotected"`
	Unseen      int `json:"unseen"` // accounts, or parts of them
}

func (a *careCommands) coverageCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "coverage",
		Short:             "List what is in the sources' accounts and in no source",
		Long:              coverageHelp,
		Args:              takes(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.action(func(ctx context.Context, _ []string) error { return a.coverage(ctx) }),
	}
}

func (a *careCommands) coverage(ctx context.Context) error {
	c, err := a.loadConfig()
	if err != nil {
		return err
	}
	began := a.now()
	s := &survey{app: a.app, config: c, backends: a.newBackends(filepath.Dir(c.Path), c.Limits)}
	if err := s.look(ctx); err != nil {
		return err
	}
	line := s.counted()
	if err := s.print(line); err != nil {
		return err
	}
	return together{s.verdict(line), s.record(ctx, began, line)}.orNil()
}

// survey is one look at the accounts.
type survey struct {
	*app
	config   *config.Config
	backends *backends
	found    []coverage.Resource
	unseen   []string
}

// account tells accounts apart, as far as the configuration does.
type account struct{ kind, endpoint, credentials string }

// accountOf gives whose account a source reads; ok is false for a directory or a program.
func accountOf(s config.Source) (account, bool) {
	switch s.URL.Kind {
	case location.S3:
		return account{"s3", s.URL.S3.Endpoint, s.Credentials.String()}, true
	case location.EBS, location.EC2:
		return account{"ec2", s.URL.AWS.Endpoint, s.Credentials.String()}, true
	}
	return account{}, false
}

func (s *survey) look(ctx context.Context) error {
	seen := map[account]bool{}
	var holdings []coverage.Holding
	var buckets []*coverage.Buckets
	defer func() {
		for _, b := range buckets {
			b.Close()
		}
	}()
	for _, src := range s.config.Sources {
		of, ok := accountOf(src)
		if !ok {
			continue
		}
		get, err := s.backends.resolve(src.URL, src.Credentials)
		if err != nil {
			return fmt.Errorf("source %s: %w", src.Name, err)
		}
		if h, err := s.holding(ctx, src); err != nil {
			s.miss(ctx, fmt.Errorf("source %s: %w", src.Name, err))
		} else {
			holdings = append(holdings, h)
		}
		if seen[of] {
			continue
		}
		seen[of] = true
		if of.kind == "s3" {
			l := src.URL.S3
			b := coverage.OpenBuckets(coverage.Account{Region: l.Region, Endpoint: l.Endpoint, PathStyle: l.PathStyle, Credentials: get})
			buckets = append(buckets, b)
			found, err := b.List(ctx)
			s.take(ctx, src.Name, found, nil, err)
			continue
		}
		found, unseen, err := coverage.Machines(ctx, coverage.Account{Region: src.URL.AWS.Region, Endpoint: src.URL.AWS.Endpoint, Credentials: get})
		s.take(ctx, src.Name, found, unseen, err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.settle(holdings)
	return s.sizes(ctx, buckets)
}

// take takes what an account came to.
func (s *survey) take(ctx context.Context, source string, found []coverage.Resource, unseen []string, err error) {
	s.found = append(s.found, found...)
	for _, text := range unseen {
		s.miss(ctx, fmt.Errorf("the account of source %s: %s", source, text))
	}
	if err != nil {
		s.miss(ctx, fmt.Errorf("the account of source %s: %w", source, err))
	}
}

// miss notes what could not be looked at.
func (s *survey) miss(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	s.unseen = append(s.unseen, err.Error())
	s.ui.warn("%v", err)
}

// settle says of all that was found whether a source has it, and leaves the vaults' own buckets out.
func (s *survey) settle(holdings []coverage.Holding) {
	var own []coverage.Holding
	for _, v := range s.config.Vaults {
		if v.URL.Kind == location.S3 {
			own = append(own, coverage.Holding{Source: v.Name, Bucket: v.URL.S3.Bucket, Endpoint: v.URL.S3.Endpoint})
		}
	}
	vaults := slices.Clone(s.found)
	coverage.Match(vaults, own)
	left := s.found[:0]
	for i, r := range s.found {
		if !vaults[i].Protected() {
			left = append(left, r)
		}
	}
	s.found = left
	coverage.Match(s.found, holdings)
	for _, x := range accept(s.found, s.config.Unprotected) {
		if len(s.unseen) == 0 && len(s.found) > 0 {
			s.ui.remark("unprotected: nothing that no source has was found for %s (%s); take it out of the configuration if it is gone", safe(x.URL), safe(x.Reason))
		}
	}
	s.found = coverage.Sorted(s.found)
}

// accept gives what no source has the first reason that the configuration has for it, and returns those that were for nothing.
func accept(found []coverage.Resource, reasons []config.Accepted) (idle []config.Accepted) {
	for _, x := range reasons {
		g, err := glob.Parse(x.URL)
		if err != nil {
			continue // it was checked when it was read
		}
		used := false
		for i := range found {
			r := &found[i]
			short, _, _ := strings.Cut(r.URL, "?")
			if r.Protected() || !g.Match(r.URL) && !g.Match(short) {
				continue
			}
			used = true
			if r.Reason == "" {
				r.Reason = x.Reason
			}
		}
		if !used {
			idle = append(idle, x)
		}
	}
	return idle
}

// sizes counts what lies in buckets that no source has.
func (s *survey) sizes(ctx context.Context, buckets []*coverage.Buckets) error {
	for i := range s.found {
		r := &s.found[i]
		if r.Kind != coverage.KindBucket || r.Protected() {
			continue
		}
		var why error
		for _, b := range buckets {
			if !b.Has(r) {
				continue
			}
			if why = b.Size(ctx, r, sizeRequests); why == nil {
				break
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if why != nil { // that it is there is what counts
			s.ui.detail("the size of %s is not known: %v", safe(r.URL), why)
		}
	}
	return nil
}

// holding lists what a source would put into a point now. Nothing is read, and no snapshot is made.
func (s *survey) holding(ctx context.Context, c config.Source) (h coverage.Holding, err error) {
	h.Source = c.Name
	if c.URL.Kind == location.S3 {
		l := c.URL.S3
		h.Bucket, h.Prefix, h.Endpoint = l.Bucket, l.Prefix, l.Endpoint
		return h, nil
	}
	at := c.URL.AWS
	h.Region, h.Instances, h.Keys = at.Region, at.Instances, map[string]bool{}
	if len(at.Instances) > 0 {
		return h, nil
	}
	src, _, err := s.backends.openSource(c)
	if err != nil {
		return h, err
	}
	view, err := src.Freeze(ctx)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	return h, keysOf(ctx, view, h.Keys)
}

// keysOf gives what can be read of a source.
func keysOf(ctx context.Context, view source.View, to map[string]bool) error {
	for e, err := range view.Entries(ctx, "", "") {
		if err != nil {
			return err
		}
		if e.Missing == "" {
			to[e.Key] = true
		}
	}
	return nil
}

func (s *survey) counted() coveredJSON {
	line := coveredJSON{Resources: len(s.found), Unseen: len(s.unseen)}
	for _, r := range s.found {
		switch {
		case r.Protected():
			line.Protected++
		case r.Reason != "":
			line.Accepted++
		default:
			line.Unprotected++
		}
	}
	return line
}

// verdict is what the command comes to.
func (s *survey) verdict(n coveredJSON) error {
	var all together
	if n.Unprotected > 0 {
		all = append(all, &marked{errUncovered, fmt.Errorf("%s in no source, and no reason is given", plural(n.Unprotected, "resource is", "resources are"))})
	}
	if n.Unseen > 0 {
		all = append(all, &marked{errIncomplete, fmt.Errorf("not everything could be looked at: %s", plural(n.Unseen, "account or part of one", "accounts or parts of them"))})
	}
	return all.orNil()
}

func (s *survey) print(n coveredJSON) error {
	if s.ui.json {
		l := s.ui.listing()
		for _, r := range s.found {
			if err := l.line(shownResource(r), ""); err != nil {
				return err
			}
		}
		return l.end()
	}
	if len(s.found) == 0 {
		text := "Nothing is in the accounts that the sources read."
		if !slices.ContainsFunc(s.config.Sources, func(c config.Source) bool { _, ok := accountOf(c); return ok }) {
			text = "No source reads an account, so there is none to look at: directories have none, nor have exec: sources."
		}
		s.ui.remark("%s", text)
		return nil
	}
	w := tabwriter.NewWriter(s.ui.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROTECTED\tKIND\tSIZE\tMADE\tURL\tNAME")
	for _, r := range s.found {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", protection(r), r.Kind, sizeText(r), madeText(r.Made), safe(r.URL), safe(r.Name))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.ui.remark("%s: %d protected, %d accepted with a reason, %d unprotected", plural(n.Resources, "resource", "resources"), n.Protected, n.Accepted, n.Unprotected)
	return nil
}

func protection(r coverage.Resource) string {
	switch {
	case r.Protected():
		return "by " + strings.Join(r.By, ", ")
	case r.Reason != "":
		return "accepted: " + safe(r.Reason)
	case len(r.Parts) > 0:
		return "NO, but for " + safe(strings.Join(r.Parts, ", "))
	}
	return "NO"
}

func sizeText(r coverage.Resource) string {
	switch {
	case r.Bytes == coverage.Unknown:
		return "-"
	case r.AtLeast:
		return "over " + size(r.Bytes)
	}
	return size(r.Bytes)
}

func madeText(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Format(time.DateOnly)
}

func shownResource(r coverage.Resource) resourceJSON {
	j := resourceJSON{
		URL: r.URL, Kind: r.Kind, Name: r.Name, AtLeast: r.AtLeast, Protected: r.Protected(), Reason: r.Reason, Sources: r.By, Prefixes: r.Parts,
	}
	if r.Bytes != coverage.Unknown {
		j.Bytes = &r.Bytes
	}
	if !r.Made.IsZero() {
		j.Made = r.Made.Format(time.RFC3339)
	}
	return j
}

// record leaves the figures as evidence, where a reporter's key is at hand.
func (s *survey) record(ctx context.Context, began time.Time, line coveredJSON) error {
	if s.config.Keys.Reporter == "" {
		s.ui.detail("no record of this is made: keys.reporter names no key")
		return nil
	}
	return leaveRecord(ctx, s.app, s.config, "coverage", began, nil, line)
}
