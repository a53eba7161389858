// Package probe sees whether a vault keeps what it is given: it makes canaries of its own, locked for minutes, and attacks
// them with the writer's own credential, and it asks for what the writer must not be allowed in ways that change nothing.
//
// What it says is what was seen: OK is only said of a refusal that was asked for, or of a protection that was read back.
// What cannot be known is NotTested. It destroys nothing but its own canaries, locks nothing for longer than minutes, and
// changes no configuration; the interfaces it is handed (package attack) hold it to that. It knows nothing of repositories.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// Attacker is what the probe asks a vault with.
type Attacker interface {
	attack.Canaries
	attack.Nothing
	attack.Settings
}

// Vault is the ordinary driver of the same vault, with the same credential: it reads locks back and lists.
type Vault interface {
	store.Reader
	store.Inspector
}

// Options of Run.
type Options struct {
	Attacker Attacker
	Vault    Vault
	Paged    store.Reader  // the same vault, listed two names a page; nil: the order of listings is not looked at
	Host     string        // of the endpoint, to know the vendor by; empty: AWS
	Mode     store.Mode    // of the locks that jobs ask for; default compliance
	Lock     time.Duration // of canaries; default 3 minutes, at most 5
	Now      func() time.Time
	Reach    time.Duration // how far ahead the configuration may have holds lock; 0: holds reach no further than other locks
}

const (
	defaultLock = 3 * time.Minute
	maxLock     = 5 * time.Minute
	maxSkew     = 5 * time.Minute // between clocks: what stops a run
	someSkew    = time.Minute     // worth mending before it does
)

// Report is what a probe came to.
type Report struct {
	Vendor   vendor.Profile
	Findings []Finding // in the order of the checks
	Canaries string    // the prefix of the canaries it left behind; their locks run out within minutes
}

// Worst is the worst severity there is.
func (r Report) Worst() Severity {
	worst := OK
	for _, f := range r.Findings {
		if f.Severity.Worse(worst) {
			worst = f.Severity
		}
	}
	return worst
}

// Run probes one vault. A vault that cannot be reached at all, or whose credentials it does not take, is an error; what
// was found before stands in the report.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Mode == store.ModeNone {
		o.Mode = store.Compliance
	}
	if o.Lock <= 0 {
		o.Lock = defaultLock
	}
	o.Lock = min(o.Lock, maxLock)
	if o.Now == nil {
		o.Now = time.Now
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	r := (&run{Options: o, dir: attack.Prefix + hex.EncodeToString(id[:]) + "/"}).share()
	err := r.all(ctx)
	return Report{Vendor: r.vendor, Findings: r.findings, Canaries: r.dir}, err
}

// run is one probe under way.
type run struct {
	byLock *lockProbes

	Options
	dir      string // of its canaries
	vendor   vendor.Profile
	facts    store.Facts
	findings []Finding
	planted  []store.Ref // every version that was made, delete markers too
	removed  map[store.Ref]bool
	locks    bool // a lock was taken and read back
	blind    bool // the bucket's own retention is not known
	serial   int
}

// lockProbes asks what a lock forbids.
type lockProbes struct{ *run }

// share makes the roles.
func (r *run) share() *run {
	r.byLock = &lockProbes{r}
	return r
}

// all runs the checks in their order: what later ones rest on comes first.
func (r *run) all(ctx context.Context) error {
	if err := r.lookAtBucket(ctx); err != nil {
		return err
	}
	for _, check := range []func(context.Context){
		r.byLock.lockTaken, r.byLock.attackLock, r.byLock.extend, r.byLock.hold, r.byLock.acl, r.byLock.governance, r.createOnly, r.overwrite, r.deleteMarker, r.deleteRight,
		r.inParts, r.checksum, r.century, r.folders, r.settings, r.strangers, r.listing, r.order,
	} {
		if err := ctx.Err(); err != nil {
			return err
		}
		check(ctx)
	}
	return ctx.Err()
}

// add notes a finding.
func (r *run) add(check string, s Severity, mend, seen string, evidence ...attack.Answer) {
	r.findings = append(r.findings, Finding{Check: check, Severity: s, Seen: seen, Mend: mend, Evidence: evidence})
}

// unknown notes that a check came to nothing.
func (r *run) unknown(check, why string, evidence ...attack.Answer) {
	r.add(check, NotTested, "", why, evidence...)
}

// now is the vault's time.
func (r *run) now() time.Time { return r.Now().Add(r.facts.Offset) }

// lock is a canary's, until d after now, in whole seconds as S3 keeps them.
func (r *run) lock(mode store.Mode, d time.Duration) store.Retention {
	return store.Retention{Mode: mode, Until: r.now().Add(d).UTC().Truncate(time.Second)}
}

// lookAtBucket reads what the bucket says of itself, and whose it is.
func (r *run) lookAtBucket(ctx context.Context) error {
	f, ierr := r.Vault.Inspect(ctx)
	if ierr != nil && !errors.Is(ierr, store.ErrDenied) {
		return ierr
	}
	look := r.Attacker.Look(ctx)
	var err error
	if r.vendor, err = vendor.Detect(r.Host, vendor.Answered{Server: look.Server, RequestID: look.RequestID}); err != nil {
		return err
	}
	if r.vendor.Name == vendor.Generic {
		r.add("vendor", Info, "", "no vendor that there is a profile of: answers that would have to be known are not tested")
	} else {
		r.add("vendor", OK, "", "taken for "+r.vendor.Title)
	}
	if ierr != nil {
		r.add("bucket-facts", Critical, "give the writer "+r.vendor.Right("s3:GetBucketVersioning")+" and "+r.vendor.Right("s3:GetBucketObjectLockConfiguration"),
			"the writer may not read how the bucket keeps versions and locks, without which no run begins: "+ierr.Error())
		r.unknown("versioning", "it could not be read")
		r.unknown("object-lock", "it could not be read")
		r.unknown("default-retention", "it could not be read")
		r.blind = true
		if look.Time.IsZero() {
			r.unknown("clock", "no answer told the time")
			return nil
		}
		r.facts.Offset = look.Time.Sub(r.Now())
		r.clock(r.facts.Offset)
		return nil
	}
	r.facts = f
	if f.Versioning {
		r.add("versioning", OK, "", "versioning is on")
	} else {
		r.add("versioning", Critical, "make a new bucket with object lock switched on, which switches versioning on; then name that one in `url`",
			"versioning is off: an overwrite destroys what was there, and no lock can be kept")
	}
	if f.ObjectLock {
		r.add("object-lock", OK, "", "the bucket has object lock")
	} else {
		r.add("object-lock", Critical, "make a new bucket with object lock switched on, and name that one in `url`", "the bucket has no object lock")
	}
	switch d := f.Default; {
	case d.Mode == store.ModeNone:
		r.add("default-retention", OK, "", "the bucket sets no retention of its own: each object has the lock that the job asks for")
	case d.Until.Sub(f.Clock) > 400*24*time.Hour:
		r.add("default-retention", Warning, "shorten the bucket's default retention, or switch it off: Holdfast locks each object itself",
			fmt.Sprintf("the bucket locks whatever comes without a lock until %s, in %s mode", d.Until.UTC().Format("2006-01-02"), d.Mode))
	default:
		r.add("default-retention", Info, "", fmt.Sprintf("the bucket locks whatever comes without a lock for %d days, in %s mode",
			int(d.Until.Sub(f.Clock).Hours()/24+0.5), d.Mode))
	}
	r.clock(f.Offset)
	return nil
}

func (r *run) clock(offset time.Duration) {
	seen := fmt.Sprintf("the vault's clock is %s %s", offset.Abs().Round(time.Second), map[bool]string{true: "ahead of this machine's", false: "behind this machine's"}[offset > 0])
	switch {
	case offset.Abs() > maxSkew:
		r.add("clock", Critical, "set this machine's clock (NTP): every run refuses to go on", seen)
	case offset.Abs() > someSkew:
		r.add("clock", Warning, "set this machine's clock (NTP): at five minutes every run refuses to go on", seen)
	default:
		r.add("clock", OK, "", "the vault's clock and this machine's agree")
	}
}

// plant stores a canary and remembers it.
func (r *run) plant(ctx context.Context, name string, body []byte, o attack.PutOptions) (store.Ref, attack.Answer) {
	ans := r.Attacker.Put(ctx, name, body, o)
	ref := store.Ref{Name: name, Version: ans.Version}
	if ans.Done() {
		r.planted = append(r.planted, ref)
	}
	return ref, ans
}

// fresh is a canary's name that was not used before.
func (r *run) fresh(what string) string {
	r.serial++
	return fmt.Sprintf("%s%s-%d", r.dir, what, r.serial)
}

func content(what string) []byte { return []byte("canary of holdfast: " + what + "\n") }

// lockTaken: a PUT with a lock, and the lock as the vault shows it.
func (r *lockProbes) lockTaken(ctx context.Context) {
	want := r.lock(r.Mode, r.Lock)
	ref, ans := r.plant(ctx, r.fresh("kept"), content("kept"), attack.PutOptions{Lock: want})
	switch {
	case ans.Denied():
		r.add("lock-taken", Critical, "give the writer "+r.vendor.Right("s3:PutObject")+" and "+r.vendor.Right("s3:PutObjectRetention")+" on the vault's objects",
			"the writer may not store an object with a lock: "+ans.Outcome(), ans)
		return
	case ans.Refused():
		r.add("lock-taken", Critical, "make a bucket with object lock switched on, at a vendor that has it", "an object with a lock is refused: "+ans.Outcome(), ans)
		return
	case !ans.Done():
		r.unknown("lock-taken", "no clear answer to a PUT with a lock: "+ans.Outcome(), ans)
		return
	case ans.Version == "":
		r.add("lock-taken", Critical, "use another vendor: this one does not keep versions apart", "locks are ignored: the answer to a PUT names no version, and a lock is a version's", ans)
		return
	}
	_, got, err := r.Vault.Stat(ctx, ref)
	switch {
	case err != nil && errors.Is(err, store.ErrDenied):
		r.add("lock-taken", Critical, "give the writer "+r.vendor.Right("s3:GetObjectRetention")+" and "+r.vendor.Right("s3:GetObjectVersion"), "the writer may not read a lock back: "+err.Error(), ans)
	case err != nil:
		r.unknown("lock-taken", "the lock could not be read back: "+err.Error(), ans)
	case got.Mode == store.ModeNone:
		r.add("lock-taken", Critical, "use another vendor, or another bucket: nothing that is stored here is protected", "locks are ignored: the vault takes a lock and keeps none", ans)
	case !got.Covers(want):
		r.add("lock-taken", Critical, "use another vendor: this one changes the locks it is asked for", fmt.Sprintf("asked for %s until %s, kept %s until %s",
			want.Mode, want.Until.Format(time.RFC3339), got.Mode, got.Until.Format(time.RFC3339)), ans)
	default:
		r.locks = true
		r.add("lock-taken", OK, "", fmt.Sprintf("a lock in %s mode was taken and read back", got.Mode), ans)
	}
}

// state is what has become of a canary.
type state struct {
	intact bool   // there, with its content, under at least its lock
	what   string // if not
	known  bool
	denied bool // the lock may not be read
}

// look reads a canary's lock and content by its version.
func (r *run) look(ctx context.Context, ref store.Ref, body []byte, lock store.Retention) state {
	_, got, err := r.Vault.Stat(ctx, ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return state{what: "the locked version is gone", known: true}
	case err != nil:
		return state{what: err.Error(), denied: errors.Is(err, store.ErrDenied)}
	case got.Mode == store.ModeNone:
		return state{what: "the lock is gone", known: true}
	case !got.Covers(lock):
		return state{what: fmt.Sprintf("the lock is now %s until %s", got.Mode, got.Until.Format(time.RFC3339)), known: true}
	}
	ans := r.Attacker.Get(ctx, ref)
	switch {
	case ans.Done() && bytes.Equal(ans.Body, body):
		return state{intact: true, known: true}
	case ans.Done(), ans.Status == 404:
		return state{what: "the locked version no longer reads as it was stored: " + ans.Outcome(), known: true}
	}
	return state{what: "the locked version could not be read: " + ans.Outcome()}
}

// outcomes joins the outcomes of several answers.
func outcomes(answers []attack.Answer) string {
	var out []string
	for _, a := range answers {
		out = append(out, a.Outcome())
	}
	return strings.Join(out, "; ")
}
