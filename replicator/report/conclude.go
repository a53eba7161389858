package report

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo"
)

// clocksDiffer is by how many seconds clocks may differ before it is said; a run refuses a vault beyond that.
const clocksDiffer = 300

// New begins a report.
func New(o Options) *Report {
	r := &Report{Kind: Kind, Schema: Schema, Identity: o.Identity, Scope: o.Scope, Targets: o.Targets, Limits: limits()}
	r.Identity.MadeAt, r.Identity.From, r.Identity.To = stamp(o.Now), stamp(o.From), stamp(o.To)
	return r
}

// limits is what no report of this kind can show, whatever it finds.
func limits() []string {
	return []string{
		"The locks are the storage vendor's promise. This report reads back what the vendor says of them and what came of attacks on them; whether the vendor keeps its word, today or later, no customer can show.",
		"Whoever can close the account at the vendor, or stops paying, can end the storage with all locks in it. No report sees that coming.",
		"The figures are what the vaults and the records in them say to this credential. A vault that hides an object from it is noticed only where something else names that object: a later point, a record, a memory of this machine.",
		"Records are signed by the machines that did the work. They show that the machine with the key said so at that time, not that it said the truth: a machine that was taken over signs what it is told.",
		"Times of points and records are the vault's clock. Nobody outside confirms them.",
		"That a point is complete says that everything its source showed was kept. What is wrong in the source, or encrypted by an attacker there, is kept as it is.",
		"Whether the copy can be restored is shown by restoring it. Where no rehearsal is on record, nothing here stands in for one.",
	}
}

// Conclude says what is out of the ordinary and what nobody knows, once all vaults were looked at. The worst stands first.
func (r *Report) Conclude() {
	if len(r.Vaults) == 0 {
		r.warn(Unread, "", "", "summary", "no vault was looked at")
	}
	for i := range r.Vaults {
		v := &r.Vaults[i]
		if v.Error != "" {
			r.warn(Unread, v.Name, "", "summary", "nothing can be said of this vault: %s", v.Error)
			continue
		}
		r.concludeVault(v)
		for j := range v.Sources {
			r.concludeSource(v, &v.Sources[j])
		}
		if c := v.coverage; c != nil && (r.Scope.Coverage == nil || r.Scope.Coverage.At < c.At) {
			r.Scope.Coverage = c
		}
	}
	r.concludeScope()
	r.notKnown()
	if id := r.Identity; id.Uncovered > 0 {
		r.warn(Notice, "", "", "identity", "no report covers the time from %s to %s, between the report before and this one", id.Previous.To, id.From)
	}
	rank := func(w Warning) int { return slices.Index([]Severity{Damage, Unread, Attention, Notice}, w.Severity) }
	slices.SortStableFunc(r.Warnings, func(a, b Warning) int { return cmp.Compare(rank(a), rank(b)) })
	r.Verdict = Well
	if len(r.Warnings) > 0 {
		r.Verdict = map[Severity]Verdict{Damage: Short, Unread: Failed, Attention: Alarm, Notice: Well}[r.Warnings[0].Severity]
	}
	fill(reflect.ValueOf(r).Elem())
}

func (r *Report) warn(s Severity, vault, source, section, text string, args ...any) {
	r.Warnings = append(r.Warnings, Warning{s, vault, source, section, fmt.Sprintf(text, args...)})
}

func (r *Report) concludeVault(v *Vault) {
	if len(v.Sources) == 0 {
		r.warn(Damage, v.Name, "", "targets", "there are no recovery points")
	}
	for _, text := range v.Alarms {
		r.warn(Attention, v.Name, "", "integrity", "%s", text)
	}
	for _, f := range v.Noticed {
		severity := Attention
		if f.Kind == string(repo.Missing) || f.Kind == string(repo.Damaged) {
			severity = Damage
		}
		r.warn(severity, v.Name, "", "integrity", "%s: %s: %s", f.Kind, f.Name, f.Detail)
	}
	if !v.Pinned {
		r.warn(Notice, v.Name, "", "identity", "the repository is not pinned: compare its fingerprint %s with the paper that was written when it was made", v.Fingerprint)
	}
	if c := v.Clock; c.Offset > clocksDiffer || c.Offset < -clocksDiffer {
		r.warn(Attention, v.Name, "", "identity", "the vault's clock and this machine's differ by %s", time.Duration(c.Offset)*time.Second)
	}
	r.concludeLocks(v)
	r.concludeEvidence(v)
	if len(v.Keys.Recipients) == 1 {
		r.warn(Notice, v.Name, "", "keys", "one restore key can open the copy: if it is lost, so is all content")
	}
	if v.Keys.Owners == 0 {
		r.warn(Notice, v.Name, "", "keys", "there are no owner keys: whoever steals the job's machine can change the keys for points to come")
	}
	if v.Points.Distrusted > 0 {
		r.warn(Notice, v.Name, "", "keys", "%d points arrived under a key that was distrusted, and count for nothing here", v.Points.Distrusted)
	}
	if s := v.Stored; s != nil && s.Missing.Objects > 0 {
		r.warn(Damage, v.Name, "", "stored", "%d stored objects that points need are not listed", s.Missing.Objects)
	}
}

func (r *Report) concludeLocks(v *Vault) {
	im := v.Immutability
	switch {
	case !im.Locks:
		r.warn(Notice, v.Name, "", "immutability", "this vault is a directory: it keeps no locks, so whoever can write there can delete the copy")
		return
	case im.Short > 0:
		r.warn(Damage, v.Name, "", "immutability", "of %d points whose locks were read back %d are locked shorter than they are kept, or not at all", im.Sampled, im.Short)
	case im.Population > 0 && im.Sampled == 0:
		r.warn(Attention, v.Name, "", "immutability", "no lock could be read back")
	}
	if im.Mode == "governance" || im.Mode == "mixed" {
		r.warn(Notice, v.Name, "", "immutability", "not all locks that were read back are of mode compliance: an administrator with the right to bypass governance can delete what they hold")
	}
	if im.ObjectLock == "off" || im.Versioning == "off" {
		r.warn(Damage, v.Name, "", "immutability", "object lock is %s and versioning is %s", im.ObjectLock, im.Versioning)
	}
}

// concludeEvidence takes what is wrong with records. Of what lies on top of a record, nothing is lost.
func (r *Report) concludeEvidence(v *Vault) {
	for _, f := range v.Evidence.Findings {
		s := Damage
		if f.Kind == "overlaid" {
			s = Attention
		}
		r.warn(s, v.Name, "", "evidence", "%s: %s: %s", f.Kind, f.Name, f.Detail)
	}
	if more := v.Evidence.Found - len(v.Evidence.Findings); more > 0 {
		r.warn(Damage, v.Name, "", "evidence", "and %d more findings in the records", more)
	}
	for _, f := range v.Evidence.Chains {
		r.warn(Damage, v.Name, "", "evidence", "report %d of %s: %s", f.Number, f.Reporter, f.Text)
	}
	if v.Evidence.Newer > 0 {
		r.warn(Notice, v.Name, "", "evidence", "%d records were written by a newer program: that they are there is all that is known of them", v.Evidence.Newer)
	}
}

func (r *Report) concludeSource(v *Vault, s *Source) {
	warn := func(severity Severity, section, text string, args ...any) {
		r.warn(severity, v.Name, s.Source, section, text, args...)
	}
	switch {
	case !s.Configured:
	case s.Point == "":
		warn(Damage, "targets", "there is no complete point")
	case s.RPOMet != nil && !*s.RPOMet:
		warn(Damage, "targets", "what the newest complete point holds is %s old; the RPO is %s", Span(*s.Age), Span(r.Targets.RPO))
	}
	if s.Short != "" {
		warn(Damage, "immutability", "%s", s.Short)
	}
	for _, text := range s.Alarms {
		warn(Attention, "completeness", "%s", text)
	}
	if s.Configured && s.GapCount > 0 {
		warn(Attention, "targets", "%d times in the period the newest complete point was older than %s (%s); the longest was %s, from %s to %s",
			s.GapCount, Span(r.Targets.Allowed), r.Targets.Basis, Span(s.Gaps[0].Seconds), s.Gaps[0].From, s.Gaps[0].To)
	}
}

func (r *Report) concludeScope() {
	c := r.Scope.Coverage
	if c == nil {
		return
	}
	if c.Unprotected > 0 {
		r.warn(Attention, "", "", "scope", "%d of %d things in the sources' accounts are in no source, and no reason is given", c.Unprotected, c.Resources)
	}
	if c.Unseen > 0 {
		r.warn(Attention, "", "", "scope", "%d accounts, or parts of them, could not be looked at", c.Unseen)
	}
}

// notKnown names what this report cannot know, and why.
func (r *Report) notKnown() {
	add := func(section, vault, what, why string) {
		r.Unknown = append(r.Unknown, Unknown{section, vault, what, why})
	}
	if r.Scope.Coverage == nil {
		add("scope", "", "coverage: what is in the accounts and in no source", "no record of it in the period: `holdfast coverage` looks")
	}
	add("scope", "", "reasons for exclusions", "the configuration has no place for them")
	if r.Targets.RPO == 0 {
		add("targets", "", "the declared RPO", "the configuration does not set targets.rpo")
	}
	if r.Targets.RTO == 0 {
		add("targets", "", "the declared RTO", "the configuration does not set targets.rto")
	}
	add("targets", "", "the measured RTO", "no record of a rehearsed restore")
	if !slices.ContainsFunc(r.Vaults, func(v Vault) bool { return v.Checks.RehearsCount > 0 }) {
		add("rehearsals", "", "rehearsed restores in the period", "no record of one: `holdfast drill restore` makes one, `holdfast restore` leaves none")
	}
	add("rehearsals", "", "who rehearsed, and what was done about what was found", "records name the reporter's key, and no persons")
	add("completeness", "", "reconciliation with the source", "no record of one: this version does not compare a point with its source again")
	if len(r.Scope.Custody) == 0 {
		add("keys", "", "where the restore keys are kept", "the configuration does not say (custody)")
	}
	add("keys", "", "when the restore keys were last checked", "no record of it: `holdfast key check` leaves none")
	if r.Identity.Configuration == "" {
		add("scope", "", "sources, exclusions and retention as configured", "no configuration was read: sources are those that the vaults show")
	}
	for _, v := range r.Vaults {
		if v.Error != "" || len(v.Evidence.Types) == 0 && v.Evidence.Records == 0 {
			if v.Error == "" && len(v.Keys.Reporters) > 0 {
				add("evidence", v.Name, "runs, verifications, drills and earlier reports", "no record of any lies in this vault")
			}
			continue
		}
		if v.Checks.VerifyCount == 0 {
			add("integrity", v.Name, "verifications in the period", "no record of one")
		}
		if !slices.ContainsFunc(v.Checks.Verifications, func(x Verification) bool { return x.Budget != "" }) {
			add("integrity", v.Name, "rotation: how far reading everything again within a time has come", "no record of a verification with a budget in the period")
		}
		if v.Checks.DrillCount == 0 && v.Immutability.Locks {
			add("rehearsals", v.Name, "attacks as an exercise in the period", "no record of one")
		}
		if v.Checks.DiagnoseCount == 0 {
			add("separation", v.Name, "rights probed by doctor in the period", "no record of a visit")
		}
	}
}

// fill makes empty lists of those that are nil, so that readers of the JSON meet a list everywhere.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem())
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}

// Span writes seconds for people, in their two largest units.
func Span(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	days, hours, minutes := seconds/86400, seconds/3600%24, seconds/60%60
	switch {
	case days > 0 && hours > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case days > 0:
		return fmt.Sprintf("%d d", days)
	case hours > 0 && minutes > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case hours > 0:
		return fmt.Sprintf("%d h", hours)
	case minutes > 0:
		return fmt.Sprintf("%d min", minutes)
	}
	return d.String()
}
