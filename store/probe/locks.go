package probe

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// attempt is one way of getting at a locked version.
type attempt struct {
	check string
	what  string // for people: "to delete a locked version"
	ask   func(ctx context.Context, ref store.Ref) []attack.Answer
}

func (r *lockProbes) attempts() []attempt {
	a := r.Attacker
	both := func(ask func(bypass bool) attack.Answer) []attack.Answer {
		return []attack.Answer{ask(false), ask(true)}
	}
	return []attempt{
		{"delete-locked", "to delete a locked version", func(ctx context.Context, ref store.Ref) []attack.Answer {
			return []attack.Answer{a.Delete(ctx, ref, false)}
		}},
		{"delete-locked-bypass", "to delete a locked version, bypassing governance", func(ctx context.Context, ref store.Ref) []attack.Answer {
			return []attack.Answer{a.Delete(ctx, ref, true)}
		}},
		{"shorten-lock", "to shorten a lock, without and with bypass", func(ctx context.Context, ref store.Ref) []attack.Answer {
			return both(func(b bool) attack.Answer { return a.Retain(ctx, ref, r.lock(store.Compliance, r.Lock/2), b) })
		}},
		{"change-mode", "to turn a compliance lock into a governance one, without and with bypass", func(ctx context.Context, ref store.Ref) []attack.Answer {
			return both(func(b bool) attack.Answer { return a.Retain(ctx, ref, r.lock(store.Governance, r.Lock), b) })
		}},
		{"remove-lock", "to take a lock off, without and with bypass", func(ctx context.Context, ref store.Ref) []attack.Answer {
			return both(func(b bool) attack.Answer { return a.Release(ctx, ref, b) })
		}},
	}
}

// attackLock tries each way on a canary of its own. What counts is what has become of it: some vendors answer a refusal
// with 200, and one that deletes could answer anything.
func (r *lockProbes) attackLock(ctx context.Context) {
	for _, a := range r.attempts() {
		if !r.locks {
			r.unknown(a.check, "there is no lock to attack")
			continue
		}
		body, lock := content(a.check), r.lock(store.Compliance, r.Lock)
		ref, put := r.plant(ctx, r.fresh(a.check), body, attack.PutOptions{Lock: lock})
		if !put.Done() {
			r.unknown(a.check, "the canary could not be stored: "+put.Outcome(), put)
			continue
		}
		answers := a.ask(ctx, ref)
		evidence := append([]attack.Answer{put}, answers...)
		after := r.look(ctx, ref, body, lock)
		switch {
		case !after.known:
			r.unknown(a.check, "asked "+a.what+": "+outcomes(answers)+"; afterwards "+after.what, evidence...)
		case !after.intact:
			r.forget(ref)
			r.add(a.check, Critical, "do not trust this vault: its locks can be broken by whoever holds the writer's key; use another vendor, or ask this one",
				"locks are ignored: asked "+a.what+": "+outcomes(answers)+"; afterwards "+after.what, evidence...)
		case anyLost(answers):
			r.unknown(a.check, "asked "+a.what+": "+outcomes(answers), evidence...)
		case anyDone(answers):
			r.add(a.check, OK, "", "asked "+a.what+": answered as if it were done ("+outcomes(answers)+"), and nothing was changed", evidence...)
		case allDenied(answers):
			r.add(a.check, OK, "", "refused "+a.what+", for lack of the right or because of the lock: "+outcomes(answers), evidence...)
		default:
			r.add(a.check, OK, "", "refused "+a.what+": "+outcomes(answers), evidence...)
		}
	}
}

// forget notes that a canary is not to be expected in the listing.
func (r *lockProbes) forget(ref store.Ref) {
	if r.removed == nil {
		r.removed = map[store.Ref]bool{}
	}
	r.removed[ref] = true
}

func anyLost(answers []attack.Answer) bool {
	for _, a := range answers {
		if !a.Done() && !a.Refused() && !a.Unsupported() {
			return true
		}
	}
	return false
}

func allDenied(answers []attack.Answer) bool {
	for _, a := range answers {
		if !a.Denied() {
			return false
		}
	}
	return true
}

func anyDone(answers []attack.Answer) bool {
	for _, a := range answers {
		if a.Done() {
			return true
		}
	}
	return false
}

// extend: locks must grow, by version, or no lock can be renewed.
func (r *lockProbes) extend(ctx context.Context) {
	if !r.locks {
		r.unknown("extend-lock", "there is no lock to lengthen")
		return
	}
	ref, put := r.plant(ctx, r.fresh("extended"), content("extended"), attack.PutOptions{Lock: r.lock(r.Mode, r.Lock)})
	if !put.Done() {
		r.unknown("extend-lock", "the canary could not be stored: "+put.Outcome(), put)
		return
	}
	longer := r.lock(r.Mode, r.Lock+time.Minute)
	ans := r.Attacker.Retain(ctx, ref, longer, false)
	switch {
	case ans.Denied():
		r.add("extend-lock", Warning, "give the writer "+r.vendor.Right("s3:PutObjectRetention")+", or let `holdfast renew` with another credential lengthen locks",
			"the writer may not lengthen a lock: "+ans.Outcome(), put, ans)
	case !ans.Done():
		r.unknown("extend-lock", "a lock could not be lengthened: "+ans.Outcome(), put, ans)
	default:
		_, got, err := r.Vault.Stat(ctx, ref)
		switch {
		case err != nil:
			r.unknown("extend-lock", "the lengthened lock could not be read back: "+err.Error(), put, ans)
		case !got.Covers(longer):
			r.add("extend-lock", Critical, "use another vendor: locks cannot be renewed here", "the vault says that it lengthened a lock, and did not", put, ans)
		default:
			r.add("extend-lock", OK, "", "a lock can be lengthened", put, ans)
		}
	}
}

// hold asks that no legal hold lie on a canary, where none does: only whoever may set one is allowed that.
func (r *lockProbes) hold(ctx context.Context) {
	if !r.locks {
		r.unknown("legal-hold", "there is no locked canary to ask for")
		return
	}
	ref, put := r.plant(ctx, r.fresh("hold"), content("hold"), attack.PutOptions{Lock: r.lock(r.Mode, r.Lock)})
	if !put.Done() {
		r.unknown("legal-hold", "the canary could not be stored: "+put.Outcome(), put)
		return
	}
	switch ans := r.Attacker.Unhold(ctx, ref); {
	case ans.Denied():
		r.add("legal-hold", OK, "", "the writer may not set legal holds: "+ans.Outcome(), ans)
	case ans.Done():
		r.add("legal-hold", Warning, r.take("s3:PutObjectLegalHold"),
			"the writer may set legal holds, which have no end: a thief of its key can make you keep what he likes for ever", ans)
	case ans.Unsupported():
		r.add("legal-hold", Info, "", "the vault has no legal holds: "+ans.Outcome(), ans)
	default:
		r.unknown("legal-hold", "the answer does not tell whether the writer may set legal holds: "+ans.Outcome(), ans)
	}
}

// acl asks that a canary be private, which it is, by its name and by its version: two rights.
func (r *lockProbes) acl(ctx context.Context) {
	const check = "acl-right"
	ref, put := r.plant(ctx, r.fresh("acl"), content("acl"), attack.PutOptions{Lock: r.lock(store.Compliance, r.Lock)})
	if !put.Done() {
		r.unknown(check, "the canary could not be stored: "+put.Outcome(), put)
		return
	}
	answers := []attack.Answer{r.Attacker.Private(ctx, store.Ref{Name: ref.Name}), r.Attacker.Private(ctx, ref)}
	evidence := append([]attack.Answer{put}, answers...)
	none, denied := 0, 0
	for _, a := range answers {
		switch {
		case a.Code == "AccessControlListNotSupported", a.Unsupported():
			none++
		case a.Denied():
			denied++
		}
	}
	switch has := r.vendor.Rights.ACLs; {
	case has.Known() && !has.Value:
		r.add(check, OK, "", r.vendor.Title+" has no ACLs but private: "+outcomes(answers), evidence...)
	case anyDone(answers):
		r.add(check, Warning, r.take("s3:PutObjectAcl")+"; the same for s3:PutObjectVersionAcl",
			"the writer may set the ACLs of objects: a thief of its key can make them public, and give the rights to read and to set ACLs to accounts of his own ("+outcomes(answers)+")", evidence...)
	case none == len(answers):
		r.add(check, OK, "", "objects have no ACLs here: "+outcomes(answers), evidence...)
	case none+denied == len(answers):
		r.add(check, OK, "", "the writer may not set the ACLs of objects: "+outcomes(answers), evidence...)
	default:
		r.unknown(check, "the answers do not tell whether the writer may set ACLs: "+outcomes(answers), evidence...)
	}
}

// take says how a right is taken from the writer.
func (r *lockProbes) take(action string) string {
	if r.vendor.Owns() && slices.Contains(vendor.DenyByName(), action) {
		return "deny " + action + " to the writer by name, in a Deny statement of the bucket's policy: at " + r.vendor.Title +
			" who puts an object has it otherwise (`holdfast policy --vendor " + r.vendor.Name + " --role vault-writer` prints the statement)"
	}
	return "take " + r.vendor.Right(action) + " from the writer (`holdfast policy --vendor " + r.vendor.Name + " --role vault-writer` prints what it may have)"
}

// governance: whether the writer can get past a governance lock. Where jobs lock in governance mode that is all a thief
// needs; elsewhere it is a right too many.
func (r *lockProbes) governance(ctx context.Context) {
	const check = "governance-bypass"
	if !r.locks {
		r.unknown(check, "there is no lock to attack")
		return
	}
	worse := Warning
	if r.Mode == store.Governance {
		worse = Critical
	}
	body, lock := content("governance"), r.lock(store.Governance, r.Lock)
	ref, put := r.plant(ctx, r.fresh("governance"), body, attack.PutOptions{Lock: lock})
	if put.Refused() {
		r.add(check, Info, "", "the vault takes no lock in governance mode from the writer: "+put.Outcome(), put)
		return
	}
	if !put.Done() {
		r.unknown(check, "the canary could not be stored: "+put.Outcome(), put)
		return
	}
	evidence := []attack.Answer{put}
	broken := func(ans attack.Answer) (bool, state) {
		evidence = append(evidence, ans)
		s := r.look(ctx, ref, body, lock)
		return s.known && !s.intact, s
	}
	if gone, _ := broken(r.Attacker.Retain(ctx, ref, r.lock(store.Governance, r.Lock/2), false)); gone {
		r.forget(ref)
		r.add(check, worse, "lock in compliance mode", "a governance lock can be shortened without any bypass", evidence...)
		return
	}
	if gone, s := broken(r.Attacker.Delete(ctx, ref, true)); gone {
		r.forget(ref)
		r.add(check, worse, r.take("s3:BypassGovernanceRetention"), "the writer can delete what is locked in governance mode: "+s.what, evidence...)
		return
	}
	gone, s := broken(r.Attacker.Retain(ctx, ref, r.lock(store.Governance, r.Lock/2), true))
	switch own := r.vendor.Lock.Bypass; {
	case !s.known:
		r.unknown(check, "what became of the canary could not be seen: "+s.what, evidence...)
	case gone && own.Known() && !own.Value && r.Mode == store.Compliance:
		r.add(check, Info, "", "the writer can shorten a governance lock, bypass right or not: so it is at "+r.vendor.Title+". Compliance locks, which this vault's jobs set, are not touched by that", evidence...)
	case gone && own.Known() && !own.Value:
		r.add(check, Critical, "lock in compliance mode: `lock: {mode: compliance}`", "the writer can shorten a governance lock, bypass right or not: so it is at "+r.vendor.Title, evidence...)
	case gone:
		r.add(check, worse, r.take("s3:BypassGovernanceRetention"), "the writer can shorten what is locked in governance mode: "+s.what, evidence...)
	default:
		r.add(check, OK, "", "the writer cannot get past a governance lock: "+outcomes(evidence[1:]), evidence...)
	}
}
