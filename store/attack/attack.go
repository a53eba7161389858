// Package attack is the vocabulary of what a thief of a vault's key would ask for, and of what a vault answers.
//
// The drivers' ordinary interfaces (package store) have no delete without a version, no shortening and no bucket
// configuration, so that a job cannot ask for them. The probe and the drill must ask, to see the refusal. They are handed
// the interfaces below, and nothing else is. It holds types and no I/O. What implements them must hold to three rules,
// whoever calls:
//
//   - Canaries acts on names under Prefix only, and locks nothing for longer than MaxLock.
//   - Nothing acts on names and versions that never were: there is nothing that could change.
//   - Settings writes back what it has just read, or sends what no server can take for a setting.
package attack

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// Prefix is where canaries lie in a vault: objects made to be attacked.
const Prefix = "canary/"

// MaxLock is the longest lock that a canary is given, by the vault's clock.
const MaxLock = 10 * time.Minute

// Answer is what came of one request: the evidence.
type Answer struct {
	Request   string    // what was asked, such as "DELETE canary/ab12/kept?versionId=7 bypassing governance"; no secret, no host
	Status    int       // of HTTP; 0: no answer
	Code      string    // the vendor's error code, such as AccessDenied
	Message   string    // the vendor's words, shortened
	RequestID string    // the vendor's, for its support and its logs
	Server    string    // what the server calls itself
	Time      time.Time // the vault's Date header, UTC; zero without one
	Version   string    // the version ID that the answer names
	Owner     string    // Nothing.List only: who owns what was listed, as the vendor names them
	Body      []byte    // of Canaries.Get, and of a setting that was read
	Err       error     // why there is no answer, or why nothing was sent; nil where Status is not 0
}

// Done reports that the vault did what was asked.
func (a Answer) Done() bool { return a.Err == nil && a.Status >= 200 && a.Status < 300 }

// Refused reports a clear refusal of any kind: denied, locked, not found, not understood.
func (a Answer) Refused() bool {
	return a.Err == nil && a.Status >= 400 && a.Status < 500 && a.Status != 429
}

// Denied reports a refusal for lack of a right; some vendors say the same of what is locked.
func (a Answer) Denied() bool {
	return a.Refused() && (a.Status == 403 || a.Status == 401 || a.Code == "AccessDenied")
}

// Unsupported reports that the vault does not know such a request.
func (a Answer) Unsupported() bool {
	switch a.Code {
	case "NotImplemented", "XNotImplemented", "MethodNotAllowed":
		return a.Err == nil
	}
	return a.Err == nil && a.Status == 501
}

// Outcome is status, code and request ID in one line, such as "403 AccessDenied, request 4F2A".
func (a Answer) Outcome() string {
	if a.Err != nil {
		return "no answer: " + a.Err.Error()
	}
	s := fmt.Sprint(a.Status)
	if a.Code != "" {
		s += " " + a.Code
	}
	if a.RequestID != "" {
		s += ", request " + a.RequestID
	}
	return s
}

// PutOptions of Canaries.Put. Every canary is locked: without a lock of its own it would get the bucket's default one,
// which may be years.
type PutOptions struct {
	Lock          store.Retention // required
	OnlyIfNew     bool            // If-None-Match: *
	WrongChecksum bool            // x-amz-checksum-sha256 and Content-MD5 are those of other bytes
	Anonymous     bool            // unsigned
}

// Canaries attacks objects under Prefix. What is asked about a name elsewhere, and a lock longer than MaxLock, is
// refused before anything is sent: Answer.Err says so.
type Canaries interface {
	// Put stores a canary, or an overwrite of one.
	Put(ctx context.Context, name string, body []byte, o PutOptions) Answer
	// PutInParts stores one by a multipart upload whose beginning carries the lock; the answer is the completion's.
	PutInParts(ctx context.Context, name string, body []byte, lock store.Retention) Answer
	// Get reads one version, the newest for none.
	Get(ctx context.Context, ref store.Ref) Answer
	// GetAnonymously is Get unsigned.
	GetAnonymously(ctx context.Context, ref store.Ref) Answer
	// Delete asks for one version to be deleted; without a version, for a delete marker.
	Delete(ctx context.Context, ref store.Ref, bypass bool) Answer
	// Retain asks for another lock on one version: shorter, longer, of another mode.
	Retain(ctx context.Context, ref store.Ref, lock store.Retention, bypass bool) Answer
	// Release asks for the lock to be taken off one version.
	Release(ctx context.Context, ref store.Ref, bypass bool) Answer
	// Unhold asks that no legal hold lie on one version. None does: what is learnt is whether one may be set. A hold has no
	// end, so none is ever asked for.
	Unhold(ctx context.Context, ref store.Ref) Answer
	// Private asks that one version be private, the newest for none, as every canary is: what is learnt is whether an ACL may
	// be set.
	Private(ctx context.Context, ref store.Ref) Answer
}

// Nothing asks for what cannot be, and so changes nothing even where it is allowed. What a refusal for lack of a right
// looks like, and what else tells that the right is there, is known for each vendor by package vendor.
type Nothing interface {
	// Finish completes a multipart upload that was never begun: allowed to whoever may put objects, who hears
	// NoSuchUpload.
	Finish(ctx context.Context) Answer
	// FinishFolder is Finish under a name that only a folder has: allowed to whoever may put objects in the way of others.
	FinishFolder(ctx context.Context) Answer
	// FinishAnonymously is Finish unsigned.
	FinishAnonymously(ctx context.Context) Answer
	// Remove deletes a version of an object that never was: allowed to whoever may delete versions.
	Remove(ctx context.Context) Answer
	// Erase deletes, without a version, an object whose name is longer than any can be, so that no delete marker can be laid
	// for it: allowed to whoever may delete by name.
	Erase(ctx context.Context) Answer
	// EraseAnonymously is Erase unsigned. Who is refused for the name has not been asked for rights, and so Erase tells
	// nothing either.
	EraseAnonymously(ctx context.Context) Answer
	// Keep sets a lock on an object that never was: allowed to whoever may lock for that long. A server that knows no locks
	// may take this for a PUT of an object: ask only where locks are known to be kept.
	Keep(ctx context.Context, lock store.Retention) Answer
	// Look reads an object that never was.
	Look(ctx context.Context) Answer
	// List asks for one name of the bucket.
	List(ctx context.Context) Answer
	// ListAnonymously is List unsigned.
	ListAnonymously(ctx context.Context) Answer
}

// Setting is one part of a bucket's configuration, by the name it has in requests.
type Setting string

// The settings that decide whether a copy stays safe.
const (
	Versioning Setting = "versioning"
	ObjectLock Setting = "object-lock"
	Lifecycle  Setting = "lifecycle"
	Policy     Setting = "policy"
	Encryption Setting = "encryption"
)

// Settings tries a bucket's configuration in ways that change nothing if they are allowed.
type Settings interface {
	// Read reads a setting.
	Read(ctx context.Context, s Setting) Answer
	// Rewrite reads a setting and, where that was possible, writes the very bytes back. The second answer is zero where
	// nothing was written.
	Rewrite(ctx context.Context, s Setting) (read, write Answer)
	// Garble sends, in the setting's place, a body that is no setting.
	Garble(ctx context.Context, s Setting) Answer
}

// CheckName refuses names that are no canary's.
func CheckName(name string) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(name, Prefix); !ok || !strings.Contains(rest, "/") {
		return fmt.Errorf("%q is no canary: its name must be %sID/NAME", name, Prefix)
	}
	return nil
}

// CheckLock refuses locks that are none, or longer than MaxLock after now, the vault's time.
func CheckLock(lock store.Retention, now time.Time) error {
	switch {
	case lock.Mode != store.Compliance && lock.Mode != store.Governance || lock.Until.IsZero():
		return fmt.Errorf("a canary needs a lock of its own")
	case lock.LegalHold:
		return fmt.Errorf("a legal hold has no end; no canary gets one")
	case lock.Until.Sub(now) > MaxLock:
		return fmt.Errorf("a lock until %s is longer than the %s that a canary may get", lock.Until.UTC().Format(time.RFC3339), MaxLock)
	}
	return nil
}
