package probe

import (
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// setting is a part of a bucket's configuration, and what a thief would do with the right to change it.
type setting struct {
	name     attack.Setting
	check    string
	action   string // the right
	severity Severity
	means    string
}

func allSettings() []setting {
	return []setting{
		{attack.Versioning, "versioning-right", "s3:PutBucketVersioning", Warning, "suspend versioning where the vendor lets him"},
		{attack.ObjectLock, "object-lock-right", "s3:PutBucketObjectLockConfiguration", Warning, "set a default retention of a century, at your cost, or take it off"},
		{attack.Lifecycle, "lifecycle-right", "s3:PutLifecycleConfiguration", Warning, "have the vendor delete all whose lock is over"},
		{attack.Policy, "policy-right", "s3:PutBucketPolicy", Critical, "give himself every other right, and take yours"},
		{attack.Encryption, "encryption-right", "s3:PutEncryptionConfiguration", Warning, "have new objects encrypted with a key of his own, and then destroy that"},
	}
}

// settings asks for each.
func (r *run) settings(ctx context.Context) {
	for _, s := range allSettings() {
		f := Setting(ctx, r.Attacker, r.vendor, s.name)
		f.Check = s.check
		if f.Severity == Warning {
			f.Severity, f.Mend = s.severity, r.byLock.take(s.action)
			f.Seen = "the writer may change it: a thief of its key could " + s.means + "; " + f.Seen
		}
		r.findings = append(r.findings, f)
	}
}

// Setting finds out whether a credential may change a setting, changing nothing: first with a body that is no setting,
// whose refusal for lack of a right is the same everywhere; only where that leaves it open by writing back what was read
// a moment before. The finding is OK (it may not), Info (the vendor has no such setting), Warning (it may) or NotTested.
func Setting(ctx context.Context, a attack.Settings, v vendor.Profile, s attack.Setting) Finding {
	garbled := a.Garble(ctx, s)
	f := Finding{Check: string(s), Severity: OK, Seen: "may not be changed: " + garbled.Outcome(), Evidence: []attack.Answer{garbled}}
	lacking := v.Rights.Lacking.Known() && slices.Contains(v.Rights.Lacking.Value, string(s))
	switch {
	case garbled.Denied():
		return f
	case garbled.Unsupported(), lacking && (garbled.Refused() || garbled.Done()):
		f.Severity, f.Seen = Info, "the vendor has no such setting: "+garbled.Outcome()
		return f
	case garbled.Done():
		f.Severity, f.Seen = Warning, "a body that is no setting was taken: "+garbled.Outcome()
		return f
	}
	read, write := a.Rewrite(ctx, s)
	f.Evidence = append(f.Evidence, read)
	if write.Request != "" {
		f.Evidence = append(f.Evidence, write)
	}
	switch {
	case write.Denied():
		f.Seen = "may not be changed: " + write.Outcome()
	case write.Done():
		f.Severity, f.Seen = Warning, "writing back what was read a moment before was allowed: "+write.Outcome()
	case v.Judged(garbled.Status, garbled.Code):
		f.Severity, f.Seen = Warning, v.Title+" looks at rights first, and refused only the body: "+garbled.Outcome()
	default:
		f.Severity, f.Seen = NotTested, "the answers do not tell whether it may be changed: "+outcomes(f.Evidence)
	}
	return f
}
