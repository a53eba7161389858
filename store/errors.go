package store

import (
	"errors"
	"fmt"
)

// The kinds of failure that callers act on. Drivers map their vendor's codes to these; errors.Is finds them through any
// wrapping. An error that is none of them is permanent and unexplained.
var (
	ErrNotFound    = errors.New("not found")
	ErrNoBucket    = errors.New("no such bucket") // the vault itself is not there
	ErrDenied      = errors.New("access denied")
	ErrCredentials = errors.New("credentials not accepted")         // unknown key, wrong secret, expired session token
	ErrLocked      = errors.New("refused because locked")           // the answer a locked object should give
	ErrExists      = errors.New("exists with other content")        // vaults without versions only
	ErrChecksum    = errors.New("checksum mismatch")                // the vault, or the driver, saw other bytes
	ErrThrottled   = errors.New("throttled")                        // 503 SlowDown and its kin: try again, slower
	ErrTransient   = errors.New("transient failure")                // resets, time-outs, 5xx: try again
	ErrNoSpace     = errors.New("no space left")                    // directory vaults and quotas
	ErrUnsupported = errors.New("not supported by this vault")      // an operation the vendor does not have
	ErrListing     = errors.New("listing does not advance")         // a server that repeats its own marker
	ErrNoLock      = errors.New("vault does not keep object locks") // lock headers accepted and ignored, or no lock at all
	ErrClock       = errors.New("clock differs too much")           // local and vault clocks are over 5 minutes apart
	ErrStalled     = errors.New("no progress")                      // it gives or takes nothing, or next to nothing, for too long
	ErrTooLarge    = errors.New("answer too large")                 // more than an answer of its kind can have
	ErrInTheWay    = errors.New("another object is in the way")     // where a folder of the name would have to be
)

// Error wraps what a driver met: which operation, on which vault and object, and the kind. Kind is one of the sentinels
// above or nil; Err is the cause, whose text never holds a secret.
type Error struct {
	Op    string // "put", "open", "stat", "versions", "extend", "remove", "inspect"
	Vault string // the vault's URL without credentials, or a directory
	Ref   Ref
	Kind  error
	Code  string // the vendor's own code, such as "SlowDown", if it sent one
	Err   error
}

// Error reads "put packs/ab/..: access denied (AccessDenied): ..." with the vault at the end.
func (e *Error) Error() string {
	s := e.Op
	if e.Ref.Name != "" {
		s += " " + e.Ref.Name
	}
	if e.Ref.Version != "" {
		s += " (version " + e.Ref.Version + ")"
	}
	s += " at " + e.Vault
	if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	if e.Code != "" {
		s += " [" + e.Code + "]"
	}
	if e.Err != nil {
		s += fmt.Sprintf(": %v", e.Err)
	}
	return s
}

// Unwrap gives both the kind and the cause to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

// Retryable reports whether trying the same request again may help. A vault that was given up for want of progress is not
// asked again, whatever its last answer was.
func Retryable(err error) bool {
	return !errors.Is(err, ErrStalled) && (errors.Is(err, ErrTransient) || errors.Is(err, ErrThrottled))
}
