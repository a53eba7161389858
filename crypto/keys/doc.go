// Package keys holds the keys of a repository: restore keys (age identities and their public recipients) and
// host keys (what the job's machine holds), with their text forms and the rules for the files they lie in.
//
// It must never print, log or echo a secret: not in an error, not through fmt, slog or encoding/json. The two ways
// to a secret are named for it: [Identity.Secret] and [HostKey.MarshalText]. It must never overwrite a key file, and
// never read one that other users of the machine can read.
package keys

import "errors"

// Errors that callers tell apart with errors.Is. Each is wrapped with what was being read or written.
var (
	// ErrMixedClasses: post-quantum and classic recipients in one list. age cannot hold both in one file.
	ErrMixedClasses = errors.New("recipients of different classes cannot be mixed")
	// ErrNoRecipients: an empty list of recipients.
	ErrNoRecipients = errors.New("no recipient given")
	// ErrDuplicate: the same recipient twice.
	ErrDuplicate = errors.New("recipient given twice")
	// ErrMalformed: text that is not a key of the kind asked for.
	ErrMalformed = errors.New("malformed key")
	// ErrNewer: a host key written by a newer Holdfast.
	ErrNewer = errors.New("key was written by a newer version of Holdfast")
	// ErrFileMode: a secret file that others can read. The message names the chmod that mends it.
	ErrFileMode = errors.New("file mode is too wide for a secret")
	// ErrTooLarge: a secret file above its size limit.
	ErrTooLarge = errors.New("file is too large")
	// ErrEmpty: a secret file with nothing in it.
	ErrEmpty = errors.New("file is empty")
)

// Class is the kind of cryptography a key uses. A repository has one class.
type Class string

const (
	// Hybrid is ML-KEM-768 with X25519 (age1pq1…): safe against a future quantum computer, and the default.
	Hybrid Class = "hybrid"
	// X25519 is the classic age key (age1…), for programs that do not know the hybrid kind yet.
	X25519 Class = "x25519"
)
