// Package cache is what the job's machine remembers between runs: where chunks are, where stored objects are in each vault, and
// which of a vault's own records of that were read already. It lies in one local folder.
//
// It saves time and nothing else: it can be deleted at any moment and is rebuilt from the vault. Everything in it is a hint
// of which nothing is believed without asking the vault. Beside it lie copies of a few stored objects, see [Kept]. It must never hold a key or content, never be the only
// place of anything, never grow in memory with what it holds, and never panic over what it finds on the disk.
package cache

import "errors"

// Errors that callers tell apart with errors.Is. Each is wrapped with what was being done.
var (
	// ErrBusy: another run has the folder open. Its text is what users and scripts look for.
	ErrBusy = errors.New("already running")
	// ErrCorrupt: the folder holds what this package did not write. It is set aside when the cache is next opened.
	ErrCorrupt = errors.New("local cache is corrupt")
	// ErrClosed: the cache, or the counter, was closed.
	ErrClosed = errors.New("local cache is closed")
)
