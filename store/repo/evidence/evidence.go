// Package evidence writes and reads records: what was done to a repository and what came of it, signed by whoever did it.
//
// A reporter has a key of its own, which the descriptor names. It numbers its records and names in each the one before, so a
// record that is taken away, doubled or changed is missed by whoever reads the series. A record exists once it is noted on
// the reporter's machine ([Book]); from there it is put into every vault, locked, and read back. A vault that was away gets
// what it lacks, in order, with the next record. So the count has no gap of its own making.
//
// The package must never sign with anything but a reporter's key, delete a record, or believe one whose name no key of the
// repository signed.
package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Errors of this package.
var (
	// ErrNotKept: the vault took a record and did not keep its lock.
	ErrNotKept = errors.New("the lock of a record was not kept")
	// ErrChanged: bytes that are not what the name says, in every version there is.
	ErrChanged = errors.New("changed after it was signed")
)

// Keyring gives the public key of a reporter that made a hint, if that key counts for what arrived in the vault at a time.
type Keyring func(reporter, hint string, arrived time.Time) (ed25519.PublicKey, bool)

// Vault is where records are put.
type Vault struct {
	Name    string
	Err     error // why it cannot be reached now: it gets its records later
	Read    store.Reader
	Write   store.Writer
	Mode    store.Mode    // of their locks; ModeNone where the vault has none
	Keep    time.Duration // how long a record is locked at least
	Ceiling time.Duration // no lock reaches further; 0: none
}

// retention is the lock of a record that is put now and speaks of what is kept until a time.
func (v Vault) retention(now, until time.Time) store.Retention {
	if v.Mode == store.ModeNone {
		return store.Retention{}
	}
	end := now.Add(v.Keep)
	if until.After(end) {
		end = until
	}
	if most := now.Add(v.Ceiling); v.Ceiling > 0 && end.After(most) {
		end = most
	}
	return store.Retention{Mode: v.Mode, Until: end.UTC().Truncate(time.Second)}
}

// Statement is what a record says.
type Statement struct {
	Time   time.Time            // by a vault's clock
	Type   string               // run, verify, drill, ..
	Newest []format.NewestPoint // by source
	Until  time.Time            // the end of the longest point it speaks of; zero: of none
	Body   []byte               // one JSON object on one line
}

// Delivery is what came of a record in one vault.
type Delivery struct {
	Vault   string
	Stored  int       // records that were put: this one, and earlier ones that were missing there
	Waiting int       // records that are still to be put
	Until   time.Time // the end of the last one's lock, as read back
	Err     error     // why the rest waits
}

// put stores one record and reads its lock back.
func (v Vault) put(ctx context.Context, name string, body []byte, want store.Retention) error {
	ref, err := v.Write.Put(ctx, name, bytes.NewReader(body), int64(len(body)), store.PutOptions{Retention: want, SHA256: sumOf(body)})
	if err != nil {
		return err
	}
	_, got, err := v.Read.Stat(ctx, ref)
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	if !got.Covers(want) {
		return fmt.Errorf("%s: asked for a lock until %s, read back %q until %s: %w", name, want.Until.Format(time.RFC3339), got.Mode, got.Until.Format(time.RFC3339), ErrNotKept)
	}
	return nil
}
