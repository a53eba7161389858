// Package repo is the repository inside a vault: the only door to its format.
//
// It finds a repository, lists and reads its points, and stores and locks new objects. Readers find the right bytes by
// hash whatever lies on top of them; writers hold every object to the lock they asked for, as read back. Nothing here
// deletes, rewrites or needs a right to. Encoding lives below in format, pack and tree; what a recovery point is made
// from and what becomes of it lives above, in the replicator.
package repo

import (
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/flat"
)

// Vault is one vault as its credential lets us use it. Write and Lock are nil for a reader's.
type Vault struct {
	Name    string // from the configuration, or the URL
	Read    store.Reader
	Write   store.Writer
	Lock    store.Locker
	Inspect store.Inspector
	Locking Locking

	Err      error // why it could not be opened: it is left out with that
	Doubtful bool  // it was down a moment ago: once the others are done it is not waited for long
}

// Locking is how objects put into one vault are locked.
type Locking struct {
	Mode    store.Mode    // ModeNone for a directory
	Slack   time.Duration // how much longer than the point needs an object is locked, so that renewals are rare
	Ceiling time.Duration // no lock is ever set further ahead than this
}

// eitherName gives the vault with every object under the name that references use, also what lies without its folder.
func (v Vault) eitherName() *Vault {
	if v.Write != nil {
		v.Write = flat.NewWriter(v.Write, v.Read)
	}
	if v.Read != nil {
		v.Read = flat.NewReader(v.Read)
	}
	if v.Lock != nil {
		v.Lock = flat.Locker{Locker: v.Lock}
	}
	return &v
}

// MaxClockOffset is how far the local clock and a vault's may be apart.
const MaxClockOffset = 5 * time.Minute

// Errors of the repository. They are wrapped with the vault and object concerned.
var (
	ErrNoRepository = errors.New("no repository in this vault: check the bucket and prefix, or create one with `holdfast init`")
	ErrFingerprint  = errors.New("the repository's fingerprint is not the pinned one")
	ErrAmbiguous    = errors.New("two repositories claim this vault; pin the right one with --fingerprint")
	ErrHostKey      = errors.New("the host key is not this repository's")
	ErrRecipients   = errors.New("the configured recipients are not the repository's")
	ErrOwners       = errors.New("the configured owners are not the repository's")
	ErrMissing      = errors.New("missing from the vault")
	ErrDamaged      = errors.New("no version in the vault has the right bytes")
	ErrCeiling      = errors.New("lock would reach beyond the ceiling")
	ErrNotLocked    = errors.New("the vault did not keep the lock")
	ErrAllVaults    = errors.New("no vault can be written")
	ErrRefused      = errors.New("this vault cannot hold an immutable copy")
)

// FindingKind classifies what a reader noticed.
type FindingKind string

const (
	Missing  FindingKind = "missing"  // an object a point needs is not there
	Damaged  FindingKind = "damaged"  // it is there, with wrong bytes in every version
	Unlocked FindingKind = "unlocked" // its lock is shorter or weaker than the point's
	Tampered FindingKind = "tampered" // something was put on top or beside; the right bytes are still there
)

// Finding is something a reader noticed about one stored object.
type Finding struct {
	Kind   FindingKind
	Name   string // of the stored object
	Detail string
	Vault  string // in which it was found, where several are in use; empty: the only one
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Kind, f.Name, f.Detail) }

// Report receives findings; it must be safe for concurrent use. A nil Report is ignored.
type Report func(Finding)

func (r Report) send(k FindingKind, name, format string, args ...any) {
	if r != nil {
		r(Finding{Kind: k, Name: name, Detail: fmt.Sprintf(format, args...)})
	}
}

// in gives a Report that says of every finding which vault it is about.
func (r Report) in(vault string) Report {
	if r == nil {
		return nil
	}
	return func(f Finding) {
		f.Detail, f.Vault = "vault "+vault+": "+f.Detail, vault
		r(f)
	}
}
