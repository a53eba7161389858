package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// createOnly: whether If-None-Match: * is honoured. Holdfast does not rest on it: names are hashes.
func (r *run) createOnly(ctx context.Context) {
	name, o := r.fresh("once"), attack.PutOptions{Lock: r.lock(store.Compliance, r.Lock), OnlyIfNew: true}
	_, first := r.plant(ctx, name, content("once"), o)
	_, second := r.plant(ctx, name, content("twice"), o)
	switch {
	case first.Done() && second.Status == 412:
		r.add("create-only", OK, "", "a conditional PUT of a name that exists is refused: "+second.Outcome(), first, second)
	case first.Unsupported(), second.Unsupported():
		r.add("create-only", Info, "", "the vault has no conditional PUT: "+first.Outcome(), first, second)
	case first.Done() && second.Done():
		r.add("create-only", Info, "", "the vault ignores If-None-Match; Holdfast does not rely on it", first, second)
	default:
		r.unknown("create-only", "no clear answer to a conditional PUT: "+first.Outcome()+"; "+second.Outcome(), first, second)
	}
}

// overwrite: a newer version on top must leave the older one as it is. No right can be taken away for this: who may
// create may overwrite.
func (r *run) overwrite(ctx context.Context) {
	const check = "overwrite"
	body, lock := content("below"), r.lock(store.Compliance, r.Lock)
	name := r.fresh("overwritten")
	ref, put := r.plant(ctx, name, body, attack.PutOptions{Lock: lock})
	_, over := r.plant(ctx, name, content("on top"), attack.PutOptions{Lock: r.lock(store.Compliance, r.Lock)})
	switch {
	case !r.locks || !put.Done():
		r.unknown(check, "there is no locked canary to overwrite", put, over)
	case !over.Done() && !over.Refused():
		r.unknown(check, "no clear answer to an overwrite: "+over.Outcome(), put, over)
	default:
		r.below(ctx, check, "after an overwrite", ref, body, lock, put, over)
	}
}

// below says whether a version is still what it was, with something on top of it.
func (r *run) below(ctx context.Context, check, when string, ref store.Ref, body []byte, lock store.Retention, evidence ...attack.Answer) bool {
	switch s := r.look(ctx, ref, body, lock); {
	case s.intact:
		r.add(check, OK, "", when+" the locked version reads by its version ID as it was stored", evidence...)
		return true
	case s.denied:
		r.add(check, Warning, "give the writer "+r.vendor.Right("s3:GetObjectRetention")+", or locks of what lies below something newer cannot be checked and renewed",
			when+" the writer may not read the lock of what lies below: "+s.what, evidence...)
	case !s.known:
		r.unknown(check, when+": "+s.what, evidence...)
	default:
		r.byLock.forget(ref)
		r.add(check, Critical, "use another vendor, or a bucket with versioning and object lock: what is stored here can be destroyed", when+" "+s.what, evidence...)
	}
	return false
}

// deleteMarker asks for one on a canary. What lies below must stay; that the writer may lay one is a right too many.
func (r *run) deleteMarker(ctx context.Context) {
	const check = "delete-marker"
	body, lock := content("hidden"), r.lock(store.Compliance, r.Lock)
	ref, put := r.plant(ctx, r.fresh("hidden"), body, attack.PutOptions{Lock: lock})
	if !r.locks || !put.Done() {
		r.unknown(check, "there is no locked canary to hide", put)
		return
	}
	ans := r.Attacker.Delete(ctx, store.Ref{Name: ref.Name}, false)
	if ans.Done() && ans.Version != "" {
		r.planted = append(r.planted, store.Ref{Name: ref.Name, Version: ans.Version})
	}
	switch {
	case ans.Denied():
		r.add(check, OK, "", "the writer may not lay delete markers: "+ans.Outcome(), put, ans)
	case !ans.Done() && !ans.Refused():
		r.unknown(check, "no clear answer to a delete by name: "+ans.Outcome(), put, ans)
	case ans.Refused():
		r.below(ctx, check, "after a refused delete by name ("+ans.Outcome()+")", ref, body, lock, put, ans)
	case r.below(ctx, check, "below a delete marker", ref, body, lock, put, ans):
		f := &r.findings[len(r.findings)-1]
		if hide := r.vendor.Rights.HideByPut; hide.Known() && hide.Value {
			f.Severity, f.Seen = Info, "the writer may hide objects by name, as whoever may write does at "+r.vendor.Title+"; "+f.Seen
		} else {
			f.Severity, f.Seen, f.Mend = Warning, "the writer may lay delete markers; "+f.Seen, r.byLock.take("s3:DeleteObject")
		}
	}
}

// deleteRight asks for a version to be deleted that never was.
func (r *run) deleteRight(ctx context.Context) {
	const check = "delete-right"
	switch ans := r.Attacker.Remove(ctx); {
	case ans.Denied():
		r.add(check, OK, "", "the writer may not delete versions: "+ans.Outcome(), ans)
	case ans.Done(), ans.Status == 404:
		right := "s3:DeleteObjectVersion"
		if also := r.vendor.Rights.DeleteToo; also.Known() && also.Value {
			right = "s3:DeleteObject"
		}
		r.add(check, Warning, r.byLock.take(right), "the writer may delete versions, and so whatever has no lock or whose lock is over: "+ans.Outcome(), ans)
	default:
		r.unknown(check, "the answer does not tell whether the writer may delete versions: "+ans.Outcome(), ans)
	}
}

// inParts: whether a multipart upload keeps its lock. Holdfast makes none. Where the bucket has a retention of its own, a
// vault that forgets the lock would give the canary that one, which is days: then nothing is tried.
func (r *run) inParts(ctx context.Context) {
	const check = "multipart-lock"
	if !r.locks || r.blind || r.facts.Default.Mode != store.ModeNone {
		r.unknown(check, "not tried in a bucket that keeps no locks or may have a retention of its own, which a canary could get. Holdfast uploads nothing in parts")
		return
	}
	name, lock := r.fresh("parts"), r.lock(store.Compliance, r.Lock)
	ans := r.Attacker.PutInParts(ctx, name, content("parts"), lock)
	if !ans.Done() {
		r.unknown(check, "an upload in parts was not completed: "+ans.Outcome()+". Holdfast uploads nothing in parts", ans)
		return
	}
	info, got, err := r.Vault.Stat(ctx, store.Ref{Name: name, Version: ans.Version})
	if err == nil {
		r.planted = append(r.planted, info.Ref)
	}
	switch {
	case err != nil:
		r.unknown(check, "the lock of an upload in parts could not be read back: "+err.Error(), ans)
	case got.Covers(lock):
		r.add(check, OK, "", "an upload in parts keeps its lock", ans)
	default:
		r.add(check, Info, "", "an upload in parts loses its lock here; Holdfast uploads nothing in parts", ans)
	}
}

// checksum: a PUT whose checksums are those of other bytes.
func (r *run) checksum(ctx context.Context) {
	const check = "checksum"
	_, ans := r.plant(ctx, r.fresh("wrong"), content("wrong"), attack.PutOptions{Lock: r.lock(store.Compliance, r.Lock), WrongChecksum: true})
	switch {
	case ans.Denied():
		r.unknown(check, "the writer may not put: "+ans.Outcome(), ans)
	case ans.Refused():
		r.add(check, OK, "", "bytes that do not have the checksum they come with are refused: "+ans.Outcome(), ans)
	case ans.Done():
		r.add(check, Warning, "run `holdfast verify` after each run, or use another vendor: damage on the way there is not noticed", "the vault takes bytes that do not have the checksum they come with", ans)
	default:
		r.unknown(check, "no clear answer to a PUT with a wrong checksum: "+ans.Outcome(), ans)
	}
}

// century asks for a lock of a hundred years on an object that never was, and for one of minutes to compare.
func (r *run) century(ctx context.Context) {
	const check = "lock-length"
	bound := r.vendor.Lock.Cap
	if !r.locks {
		r.unknown(check, "there are no locks here") // and a server without them may take the question for an object
		return
	}
	short := r.Attacker.Keep(ctx, r.lock(store.Compliance, r.Lock))
	long := r.Attacker.Keep(ctx, r.lock(store.Compliance, 36525*24*time.Hour))
	reach(ctx, r, short)
	first := r.vendor.Rights.LockFirst
	switch {
	case bound.Known() && bound.Value == vendor.CapExtend:
		r.add(check, Info, "", r.vendor.Title+" bounds how far a lock may be lengthened, where the policy says so, and not the lock that a new object is put with: "+
			"a thief of the writer's key can store objects that are locked for a century, at your cost", short, long)
	case long.Denied() && !short.Denied() && short.Refused():
		r.add(check, OK, "", "the writer may not lock for a hundred years: "+long.Outcome(), short, long)
	case bound.Known() && bound.Value == vendor.CapNone:
		r.add(check, Info, "", r.vendor.Title+" cannot bound how long a lock may be: a thief of the writer's key can lock objects for a century, at your cost", short, long)
	case long.Refused() && !long.Denied() && first.Known() && first.Value:
		r.add(check, Warning, "bound it with s3:object-lock-remaining-retention-days, as in the statement NoLongerLocks that `holdfast policy --vendor "+r.vendor.Name+" --role vault-writer` prints",
			"a thief of the writer's key could lock objects for a century, at your cost", short, long)
	default:
		r.unknown(check, "whether the writer could lock for a century cannot be asked here without doing it; `holdfast policy` prints a policy that bounds it, where the vendor can", short, long)
	}
}

// reach asks for a lock as far ahead as the configuration may ask for one, on an object that never was: short is the answer to one of
// minutes.
func reach(ctx context.Context, r *run, short attack.Answer) {
	const check = "lock-reach"
	if r.Reach <= 0 {
		return
	}
	bound := r.vendor.Lock.Cap
	days := int((r.Reach + 24*time.Hour - 1) / (24 * time.Hour))
	far := r.Attacker.Keep(ctx, r.lock(store.Compliance, r.Reach))
	switch {
	case far.Denied() && !short.Denied() && short.Refused():
		r.add(check, Warning, fmt.Sprintf("print the writer's policy anew with `holdfast policy --max-lock %dd`, and apply it, or lower hold_ceiling", days),
			fmt.Sprintf("the writer may not lock for %d days, which hold_ceiling of the configuration allows: a hold that long would fail; %s", days, far.Outcome()), short, far)
	case short.Denied():
		r.unknown(check, "whether the writer may lock as far ahead as hold_ceiling allows cannot be told: "+short.Outcome(), short, far)
	case bound.Known() && bound.Value == vendor.CapExtend: // asked of an object that is there alone
		r.unknown(check, fmt.Sprintf("whether the writer may lengthen locks to %d days, as hold_ceiling allows, cannot be asked here without doing it: print its policy with `holdfast policy --max-lock %dd`, and compare",
			days, days), short, far)
	default:
		r.add(check, OK, "", fmt.Sprintf("nothing says that the writer may not lock for %d days, as hold_ceiling allows: %s", days, far.Outcome()), short, far)
	}
}

// strangers: what somebody without any credential may do.
func (r *run) strangers(ctx context.Context) {
	lock := r.lock(store.Compliance, r.Lock)
	ref, put := r.plant(ctx, r.fresh("public"), content("public"), attack.PutOptions{Lock: lock})
	if put.Done() {
		r.stranger("public-read", "read objects", Warning, r.Attacker.GetAnonymously(ctx, ref))
	} else {
		r.unknown("public-read", "the canary could not be stored: "+put.Outcome(), put)
	}
	r.stranger("public-list", "list the bucket", Warning, r.Attacker.ListAnonymously(ctx))
	_, ans := r.plant(ctx, r.fresh("stranger"), content("stranger"), attack.PutOptions{Lock: lock, Anonymous: true})
	if !ans.Denied() {
		r.stranger("public-write", "write objects", Critical, ans)
		return
	}
	// Perhaps for the lock only, which every canary has. The completion of an upload that never was needs none.
	switch fin := r.Attacker.FinishAnonymously(ctx); {
	case fin.Denied():
		r.stranger("public-write", "write objects", Critical, fin)
	case r.vendor.MayPut(fin.Status, fin.Code):
		r.add("public-write", Critical, closed, "anybody can write objects, without any credential: "+fin.Outcome(), ans, fin)
	default:
		r.unknown("public-write", "no clear answer to unsigned requests: "+outcomes([]attack.Answer{ans, fin}), ans, fin)
	}
}

// closed mends what is open to strangers.
const closed = "take public access off the bucket (its policy, or its ACL)"

func (r *run) stranger(check, what string, s Severity, ans attack.Answer) {
	switch {
	case ans.Refused():
		r.add(check, OK, "", "without a credential nobody can "+what+": "+ans.Outcome(), ans)
	case ans.Done():
		r.add(check, s, closed, "anybody can "+what+", without any credential", ans)
	default:
		r.unknown(check, "no clear answer to an unsigned request: "+ans.Outcome(), ans)
	}
}

// listing: every version that was made is listed once, in order, with the vault's own time.
func (r *run) listing(ctx context.Context) {
	const check = "listing"
	var names []string
	found := map[store.Ref]int{}
	var late []string
	now := r.now()
	for info, err := range r.Vault.Versions(ctx, r.dir, "") {
		if err != nil {
			if errors.Is(err, store.ErrDenied) {
				r.add(check, Critical, "give the writer "+r.vendor.Right("s3:ListBucketVersions")+" and "+r.vendor.Right("s3:ListBucket")+" on the bucket",
					"the writer may not list versions, without which no run begins: "+err.Error())
			} else {
				r.unknown(check, "versions could not be listed: "+err.Error())
			}
			r.unknown("timestamps", "versions could not be listed")
			return
		}
		names = append(names, info.Name)
		found[info.Ref]++
		if d := now.Sub(info.Modified); d.Abs() > maxSkew {
			late = append(late, fmt.Sprintf("%s is dated %s", strings.TrimPrefix(info.Name, r.dir), info.Modified.Format(time.RFC3339)))
		}
	}
	var wrong []string
	for _, ref := range r.planted {
		if n := found[ref]; n != 1 && !r.removed[ref] && ref.Version != "" {
			wrong = append(wrong, fmt.Sprintf("%s (version %s) %d times", strings.TrimPrefix(ref.Name, r.dir), ref.Version, n))
		}
	}
	switch {
	case len(r.planted) == 0:
		r.unknown(check, "nothing could be stored that could be listed")
	case len(wrong) > 0:
		r.add(check, Critical, "use another vendor: what is stored here cannot be found again", "listed wrongly: "+strings.Join(wrong, ", "))
	case !slices.IsSorted(names):
		r.add(check, Critical, "use another vendor: names are not listed in order", "versions are not listed in the order of their names")
	default:
		r.add(check, OK, "", fmt.Sprintf("all %d versions that were made are listed, each once and in order", len(r.planted)))
	}
	switch {
	case len(names) == 0:
		r.unknown("timestamps", "nothing is listed")
	case len(late) > 0:
		r.add("timestamps", Warning, "ask the vendor: points are told from planted ones by when they arrived", "the vault's own times of versions are not its clock's: "+late[0])
	default:
		r.add("timestamps", OK, "", "versions carry the vault's own time")
	}
}
