// Package store is the vocabulary every vault speaks: how one stored object is named, put, read, locked and listed.
//
// It holds types, errors and four tiny interfaces, and nothing that does I/O. Drivers (s3store, dirstore, memstore)
// implement them; wrappers (retry, meter, stall) go around them, see Around; the repository format (store/repo) is their one consumer below
// the replicator. Nothing here may import a vendor SDK, print, exit, or know what a recovery point is. Code that backs
// up is handed a Reader, a Writer and a Locker, so that "the job cannot destroy" is a fact of its types: Remover is
// implemented by drivers but handed to nothing except prune.
package store

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"
	"unicode/utf8"
)

// Ref names one version of one stored object. Name is relative to the vault's prefix, plain ASCII, segments separated
// by "/". Version is the vault's own version ID; empty means "whatever is newest", or a vault without versions.
type Ref struct {
	Name    string
	Version string
}

// Info is what a vault says of one version of one object.
type Info struct {
	Ref
	Size         int64     // bytes; 0 for a delete marker
	Modified     time.Time // the vault's own timestamp of this version, UTC, usually to the second
	Latest       bool      // no newer version or delete marker lies on top
	DeleteMarker bool      // a marker: it has no bytes and cannot be opened
}

// Mode says how a retain-until is enforced.
type Mode string

const (
	// ModeNone: no lock, or a vault that has none.
	ModeNone Mode = ""
	// Compliance: nobody, the account's root included, shortens or removes the lock.
	Compliance Mode = "compliance"
	// Governance: a principal with a bypass right can. Reports must say so.
	Governance Mode = "governance"
)

// Retention is the lock on one object version, as asked for or as read back.
type Retention struct {
	Mode      Mode
	Until     time.Time // UTC; zero means no lock. S3 keeps whole seconds (MinIO, AWS): ask for whole seconds
	LegalHold bool      // only ever read back; Holdfast does not set it
}

// Covers reports whether r holds at least as long and as strictly as want.
func (r Retention) Covers(want Retention) bool {
	if want.Mode == ModeNone || want.Until.IsZero() {
		return true
	}
	if r.Mode != want.Mode && r.Mode != Compliance {
		return false
	}
	return !r.Until.Before(want.Until)
}

// PutOptions goes with every Put.
type PutOptions struct {
	Retention   Retention // zero: no lock asked for (a bucket's default retention may still apply)
	SHA256      [32]byte  // of the whole body; sent with the request, signed, and so checked by the vault. Required.
	CRC32C      []byte    // of the whole body, 4 bytes big-endian, where it is at hand: see s3store.Put
	ContentType string    // default application/octet-stream
}

// Reader reads a vault. Implementations are safe for concurrent use.
type Reader interface {
	// Open streams n bytes of ref from off; n < 0 means to the end. The stream ends with io.ErrUnexpectedEOF, never a
	// plain io.EOF, if the vault delivers fewer bytes than it promised. The caller closes it. A missing object or
	// version is ErrNotFound; a delete marker on top of a Ref without Version is ErrNotFound too.
	Open(ctx context.Context, ref Ref, off, n int64) (io.ReadCloser, error)
	// Stat reads size, time and lock of ref (the newest version if ref.Version is empty). Info.Latest is not filled in.
	Stat(ctx context.Context, ref Ref) (Info, Retention, error)
	// Versions lists every version and delete marker under prefix whose name comes behind after ("": all), by name in byte
	// order, then newest first. It costs what it gives, not what lies before that. Each (name, version) comes once even where
	// the server repeats it; a listing that does not advance is an error. After an error the sequence ends.
	Versions(ctx context.Context, prefix, after string) iter.Seq2[Info, error]
}

// Writer stores objects. It can create and, where a vault has versions, add a version; it can never remove one.
type Writer interface {
	// Put stores size bytes of body as one object in one request and returns the version the vault gave it. The body is
	// an io.ReaderAt of known size so that a try can be repeated and a broken stream can never become an object. Put
	// does not read the lock back: package repo does, for every object.
	Put(ctx context.Context, name string, body io.ReaderAt, size int64, o PutOptions) (Ref, error)
}

// Locker lengthens locks. A shorter time than what is set is ErrLocked or is ignored by the vault; callers read back.
type Locker interface {
	// Extend sets the retention of exactly ref; ref.Version must not be empty where the vault has versions, so that a
	// renewal never lands on an attacker's newer version.
	Extend(ctx context.Context, ref Ref, to Retention) error
}

// Remover deletes one version. Only prune is handed one.
type Remover interface {
	Remove(ctx context.Context, ref Ref) error
}

// Inspector reads what a vault is, changing nothing. Where that is denied to these credentials the error is ErrDenied, and
// Facts.Clock is set if the refusal told the time.
type Inspector interface {
	Inspect(ctx context.Context) (Facts, error)
}

// Facts is what can be known of a vault without changing it.
type Facts struct {
	Immutable  bool          // the driver can enforce locks at all (false: a directory)
	Versioning bool          // versioning is on
	ObjectLock bool          // object lock is on
	Default    Retention     // default retention of new objects: Mode, and Until as seen from Clock; zero if none
	Clock      time.Time     // the vault's own clock, from its Date header, UTC
	Offset     time.Duration // Clock minus the local clock at the middle of the request
}

// Garbled reports whether a listed name may not be the true one: servers that cannot write a character put U+FFFD in its
// place. Such a name stands where the true one belongs in the order of names, which is not where it seems to.
func Garbled(name string) bool { return strings.ContainsRune(name, utf8.RuneError) }

// Behind gives of a listing the names behind one, for vaults that begin a listing before it or cannot begin in the middle.
func Behind(list iter.Seq2[Info, error], after string) iter.Seq2[Info, error] {
	if after == "" {
		return list
	}
	return func(yield func(Info, error) bool) {
		for info, err := range list {
			if (err != nil || info.Name > after) && !yield(info, err) {
				return
			}
		}
	}
}

// InOrder gives of a listing what stands in the order of names, for those who hold it against names of their own; the rest, which
// somebody else put there, goes to other, which may be nil.
func InOrder(list iter.Seq2[Info, error], other func(Info)) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		last := ""
		for info, err := range list {
			if err == nil && (Garbled(info.Name) || info.Name < last) {
				if other != nil {
					other(info)
				}
				continue
			}
			last = max(last, info.Name)
			if !yield(info, err) {
				return
			}
		}
	}
}
