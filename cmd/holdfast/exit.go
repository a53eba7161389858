package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/trusted"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/report"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/pack"
)

// The exit codes, which scripts rely on. They never change.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2 // bad usage, configuration or key
	exitIncomplete = 3 // finished, and what is missing is listed
	exitAlarm      = 4 // finished, and tampering or a guard was reported
	exitDamage     = 5 // damage, or a copy that is not protected
	exitInterrupt  = 130
	exitTerminate  = 143
)

// What a command may have come to, apart from plain failure. Its report has told the details by then.
var (
	errUsage      = errors.New("usage")
	errSameKey    = errors.New("one access key for source and vault")
	errCache      = errors.New("the cache folder cannot be used")
	errNoMatch    = errors.New("an include that matches nothing")
	errTarget     = errors.New("the target would be spoilt")
	errVault      = errors.New("a vault failed, and others have the point")
	errIncomplete = errors.New("finished, but incomplete")
	errAlarm      = errors.New("finished, with an alarm")
	errDamage     = errors.New("damaged or not protected")
	errEmptied    = errors.New("a source that became empty")
	errSuspect    = errors.New("an alarm of the guard")
	errUncovered  = errors.New("something in the sources' accounts is in no source")
	errDiffers    = errors.New("a source delivers other bytes than a point holds")
	errOverdue    = errors.New("not verified as often as asked")
	errBudget     = errors.New("over the budget")
	errPrices     = errors.New("no prices, or prices that cannot be used")
	errRecord     = errors.New("done, and no record could be made of it")

	errHook  = errors.New("a hook failed")
	errCheck = errors.New("a check of what was restored failed")

	errUnprotected = errors.New("not protected")                       // doctor's critical findings
	errWarned      = errors.New("protected, and something is to mend") // doctor's warnings

	errBehind    = errors.New("no complete point, or one that is too old") // what status finds
	errShort     = errors.New("not locked as long as it is kept")
	errAttention = errors.New("something is to be looked at")

	errNotDelivered = errors.New("a message did not get there") // what notify is for
)

// outcome is a kind of error with its exit code and its name in JSON.
type outcome struct {
	kind error
	code int
	name string
}

// next says what to do about an outcome, by its name. What is not here says so itself, in the error's own words: names of
// files, keys and settings stand there. docs/operations.md lists all of them.
func next(name string) string {
	switch name {
	case "credentials_refused":
		return "the vendor does not take this access key, its secret or its session token: it was mistyped, has expired or was revoked. " +
			"Renew what `credentials` names, and run the command again"
	case "denied":
		return "these credentials lack a right, or the bucket is not theirs: compare the user's policy with the one that `holdfast policy` prints, and run the command again"
	case "clock":
		return "set this machine's clock (NTP), and run the command again"
	case "exists":
		return "in a directory vault the file of that name is damaged, as its SHA-256 is not the one in the name: move it out of the vault, and run the command again, which stores it anew"
	case "no_space":
		return "make room there, or name another place, and run the command again"
	case "not_found":
		return "check bucket, prefix, endpoint and region in the URL, and in the vendor's console whether the bucket is still there"
	case "region":
		return "the bucket is in another region: put that one into region= of the URL, and its endpoint if you name one"
	case "unreachable":
		return "check the endpoint in the URL, the network and the vendor's status page, and run the command again: what is done already is not done twice"
	case "throttled":
		return "the vendor wants fewer requests: lower limits.connections, or wait, and run the command again"
	case "certificate":
		return "the endpoint's certificate is not one this machine trusts: check the host in the URL; " +
			"where it is signed by an authority of your own, add that one's certificate to this machine's, or name it in SSL_CERT_FILE=FILE"
	case "damaged":
		return "what is lost here may be whole in another vault (--vault NAME) or in another point (`holdfast points`); `holdfast verify` lists all that is wrong"
	case "behind":
		return "run `holdfast run` where the job is, and see in its timer's journal why the last runs did not end complete"
	case "short":
		return "run `holdfast renew`, and `holdfast doctor`, which says whether somebody may shorten locks"
	case "not_delivered":
		return "check the receiver's address, its secret and its server in the configuration under notify, and run `holdfast notify test`"
	case "no_descriptor":
		return "put the descriptor back: `holdfast init` brings it from another vault; until then restore, ls and verify take a point by its full ID, from paper or a report"
	case "newer":
		return "install a newer Holdfast"
	case "locked":
		return "nothing can be written over what is locked; name another place"
	case "read_only":
		return "name a place that can be written, or mount this one writable, and run the command again"
	case "not_a_folder":
		return "a file stands where a folder must be: name another place, or move the file away"
	case "no_permission":
		return "this user may not do that there: look at owner and mode, or name another place, and run the command again"
	case "no_such_file":
		return "check the path, and whether the disk or share it lies on is mounted"
	case "strange_keys":
		return repo.AfterStrangers
	case "withheld_keys":
		return "look at the vault's history of versions under descriptors/, and read another vault with --vault NAME; do not recover an older host key before you know why"
	case "fingerprint":
		return "check the vault's URL and prefix, the host key file, which is pinned to its own repository, and the digits on the paper; do not go on before you know why they differ. If all of them are right, this vault has lost the repository's first descriptor and another's lies there: read another vault with --vault NAME"
	case "unprotected":
		return "mend what is listed as critical, each as its line says, and run `holdfast doctor` again; until then do not rely on this copy"
	case "warnings":
		return "mend what is listed as a warning, each as its line says, and run `holdfast doctor` again"
	case "uncovered":
		return "give each of them a source, or name it under `unprotected` in the configuration, with the reason why it needs no copy"
	case "emptied":
		return "see whether its disk is mounted, its tag or prefix is the right one, and nobody deleted what was there, and run the command again; " +
			"if it is meant to be empty, acknowledge that with `holdfast run --allow-empty SOURCE`"
	case "overdue":
		return "run `holdfast verify --budget` each day, with a budget that is large enough for verify.every, or ask for less there"
	case "suspect":
		return "look at what is named there; if somebody did that who should not: stop them first, then restore from SOURCE@clean; " +
			"if it is right: `holdfast guard ack POINT --reason TEXT`"
	case "budget":
		return "raise `budget` if that is right, or run some of the sources; `holdfast plan` tells what each would store and cost"
	case "alarm":
		return "nothing is lost, but somebody wrote to the vault, or, in a directory, its disk fails: take the vault writer's key away and make a new one, keep this output, and run `holdfast verify`"
	}
	return ""
}

// outcomes lists the kinds in the order in which they count: what stands first in one error decides.
func outcomes() []outcome {
	return []outcome{
		{errSecretShown, exitUsage, "secret"},
		{errUsage, exitUsage, "usage"},
		{errSameKey, exitUsage, "same_access_key"},
		{errTarget, exitUsage, "target"},
		{errBudget, exitUsage, "budget"},
		{backup.ErrMost, exitUsage, "budget"},
		{errPrices, exitUsage, "prices"},
		{errSamePlace, exitUsage, "same_place"},
		{config.ErrNone, exitUsage, "config"},
		{trusted.ErrNotTrusted, exitUsage, "not_trusted"},
		{errCache, exitUsage, "config"},
		{errUnusable, exitUsage, "config"},
		{keys.ErrFileMode, exitUsage, "key"},
		{keys.ErrMalformed, exitUsage, "key"},
		{keys.ErrEmpty, exitUsage, "key"},
		{keys.ErrTooLarge, exitUsage, "key"},
		{keys.ErrNewer, exitUsage, "key"},
		{keys.ErrMixedClasses, exitUsage, "key"},
		{keys.ErrNoRecipients, exitUsage, "key"},
		{keys.ErrDuplicate, exitUsage, "key"},
		{credentials.ErrUnset, exitUsage, "credentials"},
		{repo.ErrNeedKey, exitUsage, "key"},
		{errNoRestoreKey, exitUsage, "key"},
		{seal.ErrNoKey, exitUsage, "key"},
		{repo.ErrEnd, exitAlarm, "chain_ends"},
		{repo.ErrStrangers, exitUsage, "strange_keys"},
		{repo.ErrForked, exitUsage, "strange_keys"},
		{repo.ErrWithheld, exitUsage, "withheld_keys"},
		{repo.ErrUnpinned, exitUsage, "fingerprint"},
		{repo.ErrGone, exitUsage, "fingerprint"},
		{repo.ErrHostKey, exitUsage, "host_key"},
		{repo.ErrRecipients, exitUsage, "recipients"},
		{repo.ErrOwners, exitUsage, "owners"},
		{repo.ErrNotOwner, exitUsage, "owners"},
		{repo.ErrOutdated, exitUsage, "outdated"},
		{repo.ErrFingerprint, exitUsage, "fingerprint"},
		{repo.ErrCeiling, exitUsage, "ceiling"},
		{glob.ErrPattern, exitUsage, "usage"},
		{verify.ErrLevel, exitUsage, "usage"},
		{browse.ErrSpec, exitUsage, "usage"},
		{browse.ErrAmbiguous, exitUsage, "ambiguous"},
		{browse.ErrTwoParts, exitUsage, "ambiguous"},
		{browse.ErrNotFound, exitFailed, "no_point"},
		{repo.ErrNoDescriptor, exitDamage, "no_descriptor"},
		{errNoMatch, exitFailed, "no_match"},
		{errNoEntry, exitFailed, "no_entry"},
		{browse.ErrNoPart, exitFailed, "no_entry"},
		{browse.ErrOnlyIncomplete, exitFailed, "only_incomplete"},
		{browse.ErrOnlyEmpty, exitFailed, "only_empty"},
		{errDamage, exitDamage, "damaged"},
		{errVault, exitFailed, "vault"},
		{errHook, exitFailed, "hook"},
		{errCheck, exitFailed, "check"},
		{errUnprotected, exitDamage, "unprotected"},
		{errBehind, exitDamage, "behind"},
		{errShort, exitDamage, "short"},
		{errDiffers, exitDamage, "differs"},
		{errReported, exitDamage, "reported"},
		{report.ErrChanged, exitDamage, "changed"},
		{errNotVouched, exitDamage, "not_vouched"},
		{report.ErrNotReport, exitUsage, "usage"},
		{report.ErrTooLarge, exitUsage, "usage"},
		{errAlarm, exitAlarm, "alarm"}, // whatever it is about
		{cache.ErrBusy, exitFailed, "already_running"},
		{repo.ErrRefused, exitFailed, "refused"},
		{repo.ErrNotLocked, exitFailed, "no_lock"},
		{repo.ErrNoRepository, exitFailed, "no_repository"},
		{errNotBegun, exitFailed, "no_repository"},
		{repo.ErrAmbiguous, exitFailed, "ambiguous"},
		{verify.ErrNoPoint, exitFailed, "no_point"},
		{store.ErrCredentials, exitFailed, "credentials_refused"},
		{syscall.EROFS, exitFailed, "read_only"}, // a directory vault's, as the next one, goes before what it means to a vault
		{fs.ErrPermission, exitFailed, "no_permission"},
		{store.ErrDenied, exitFailed, "denied"},
		{store.ErrNoLock, exitFailed, "no_lock"},
		{store.ErrExists, exitFailed, "exists"},
		{store.ErrInTheWay, exitFailed, "in_the_way"},
		{store.ErrLocked, exitFailed, "locked"},
		{store.ErrClock, exitFailed, "clock"},
		{store.ErrNoSpace, exitFailed, "no_space"},
		{syscall.ENOSPC, exitFailed, "no_space"},
		{syscall.EDQUOT, exitFailed, "no_space"},
		{format.ErrNewer, exitFailed, "newer"},
		{format.ErrDraft, exitFailed, "draft"},
		{format.ErrUnknownKind, exitFailed, "unknown_kind"},
		{repo.ErrMissing, exitDamage, "damaged"},
		{repo.ErrDamaged, exitDamage, "damaged"},
		{pack.ErrDamaged, exitDamage, "damaged"},
		{seal.ErrDamaged, exitDamage, "damaged"},
		{format.ErrMalformed, exitDamage, "damaged"},
		{format.ErrBounds, exitDamage, "damaged"},
		{store.ErrNoBucket, exitFailed, "not_found"},
		{store.ErrNotFound, exitFailed, "not_found"},
		{store.ErrStalled, exitFailed, "unreachable"},
		{repo.ErrBehind, exitFailed, "unreachable"},
		{store.ErrTooLarge, exitFailed, "unreachable"},
		{store.ErrThrottled, exitFailed, "throttled"},
		{store.ErrTransient, exitFailed, "unreachable"},
		{syscall.ENOTDIR, exitFailed, "not_a_folder"},
		{fs.ErrNotExist, exitFailed, "no_such_file"},
		{restore.ErrStop, exitFailed, "stopped"},
		{errEmptied, exitAlarm, "emptied"},
		{errSuspect, exitAlarm, "suspect"},
		{errOverdue, exitAlarm, "overdue"},
		{errRecord, exitAlarm, "record"},
		{errNotDelivered, exitFailed, "not_delivered"},
		{errWarned, exitAlarm, "warnings"},
		{errUncovered, exitAlarm, "uncovered"},
		{errAttention, exitAlarm, "attention"},
		{errNobodysKey, exitAlarm, "nobodys_key"},
		{errIncomplete, exitIncomplete, "incomplete"},
	}
}

// exitOf is the one mapping from an error to its exit code and its name in JSON. Of several outcomes (together) the
// first counts that holds of: 130 and 143, 2, 5, 1, 4, 3: an alarm is never hidden by
// something that could not be read.
func exitOf(ctx context.Context, err error) (code int, name string) {
	if err == nil {
		return exitDone, ""
	}
	var s *signalled
	if errors.As(context.Cause(ctx), &s) {
		return s.code, s.name
	}
	var list together
	if !errors.As(err, &list) {
		return exitOfOne(err)
	}
	order := []int{exitUsage, exitDamage, exitFailed, exitAlarm, exitIncomplete}
	code = -1
	for _, e := range list {
		if c, n := exitOf(ctx, e); code < 0 || slices.Index(order, c) < slices.Index(order, code) {
			code, name = c, n
		}
	}
	return code, name
}

func exitOfOne(err error) (code int, name string) {
	var m *marked
	if errors.As(err, &m) {
		err = m.kind // whoever marked it knew what the cause below comes to
	}
	if errors.As(err, new(*config.Error)) {
		return exitUsage, "config"
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return exitFailed, "certificate"
	}
	if e, ok := errors.AsType[*store.Error](err); ok && slices.Contains([]string{"PermanentRedirect", "AuthorizationHeaderMalformed"}, e.Code) {
		return exitFailed, "region"
	}
	if errors.As(err, new(*net.DNSError)) || errors.As(err, new(tls.RecordHeaderError)) { // https:// where plain http is spoken
		return exitFailed, "unreachable"
	}
	for _, o := range outcomes() {
		if errors.Is(err, o.kind) {
			return o.code, o.name
		}
	}
	return exitFailed, "failed"
}

// nextOf gives what to do about an error, each thing once. Of what was marked as something else the cause counts first: a
// vault that was left out because its credentials were refused wants new credentials.
func nextOf(ctx context.Context, err error) []string {
	if err == nil || errors.As(context.Cause(ctx), new(*signalled)) {
		return nil
	}
	var list together
	if !errors.As(err, &list) {
		list = together{err}
	}
	var out []string
	add := func(text string) {
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	for _, e := range list {
		if e == nil {
			continue
		}
		if errors.As(e, new(together)) {
			for _, text := range nextOf(ctx, e) {
				add(text)
			}
			continue
		}
		_, name := exitOfOne(e)
		text := next(name)
		if m, ok := errors.AsType[*marked](e); ok {
			_, cause := exitOfOne(m.err)
			text = cmp.Or(next(cause), text)
		}
		add(text)
	}
	return out
}

// marked says of an error what it comes to, without a word more in its text.
type marked struct{ kind, err error }

func (m *marked) Error() string   { return m.err.Error() }
func (m *marked) Unwrap() []error { return []error{m.kind, m.err} }

// together is several outcomes of one command, each counted by itself: one failed source of several, say.
type together []error

func (t together) Error() string {
	lines := make([]string, len(t))
	for i, e := range t {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

func (t together) Unwrap() []error { return t }

// orNil drops what is nil; nothing left is nil.
func (t together) orNil() error {
	t = slices.DeleteFunc(t, func(e error) bool { return e == nil })
	if len(t) == 0 {
		return nil
	}
	return t
}

// prefixed says what an error is about, unless it says so already in one of the given ways.
func prefixed(err error, about ...string) error {
	for _, a := range about {
		if strings.HasPrefix(err.Error(), a+": ") {
			return err
		}
	}
	return fmt.Errorf("%s: %w", about[0], err)
}

// stopped gives the signal in the place of an error that came of it: where it struck is of no use to anybody.
func stopped(ctx context.Context, err error) error {
	var s *signalled
	if errors.As(context.Cause(ctx), &s) && (errors.Is(err, context.Canceled) || errors.Is(err, s)) {
		return s
	}
	return err
}
