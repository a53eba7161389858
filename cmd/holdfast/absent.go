package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/store"
)

// A vault's folder that is not there is most often a disk that is not mounted. Whoever made it then would begin a second copy below
// the place where the disk belongs, and hide that the first is away. So init alone makes it, and all others say what is missing.

// errNotBegun: there is no vault, and nothing is known of there having been one.
var errNotBegun = errors.New("no vault yet")

// saying is an error of a kind, in words of its own. Unlike with marked, what it is joined with may count before it.
type saying struct {
	kind error
	text string
}

func (e *saying) Error() string { return e.text }
func (e *saying) Unwrap() error { return e.kind }

// absentVault: a directory vault has no folder.
type absentVault struct{ saying }

// noFolder says what it means that a vault has no folder. known is whether this machine knows the repository: then nobody is told to begin
// one. only is whether there is no other vault.
func noFolder(path string, known, only bool) error {
	e := &absentVault{saying{kind: fs.ErrNotExist}}
	what := "there is no folder " + path
	switch {
	case !known:
		e.kind = errNotBegun
		e.text = what + ": `holdfast init` makes it for a new repository; where there was one already, mount the disk or share it lies on"
	case only:
		e.text = what + ": its disk or share is not mounted, or the vault was deleted; if it was deleted, nothing of the copy is left in it: " +
			"a new repository begins with another file in keys.host and `holdfast init`"
	default:
		e.text = what + ": its disk or share is not mounted, or the vault was deleted; if it was deleted, `holdfast init` brings the repository there from another vault, " +
			"and the next run fills it"
	}
	return e
}

// absent says of a vault of the configuration that cannot be opened, where that is since it has no folder, what that means.
func (a *trusting) absent(err error, c *config.Config, at location.Location) error {
	if !at.Local() || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known, kerr := a.knownRepository(c, "")
	return noFolder(at.Path, known.Pin != "" || kerr != nil, len(c.Vaults) == 1)
}

// isAbsent reports whether an error is that of a vault's folder that is not there.
func isAbsent(err error) bool { return errors.As(err, new(*absentVault)) }

// unopened is a vault that could not be opened: it answers everything with the reason.
type unopened struct{ err error }

// unopenedVault stands in the place of a vault that could not be opened.
func unopenedVault(v config.Vault, err error) *vault {
	u := unopened{err}
	return &vault{
		name: v.Name, url: v.URL, failed: err, close: func() error { return nil },
		Reader: u, Writer: u, Locker: u, Inspector: u, once: u,
	}
}

// Open implements store.Reader.
func (u unopened) Open(context.Context, store.Ref, int64, int64) (io.ReadCloser, error) {
	return nil, u.err
}

// Stat implements store.Reader.
func (u unopened) Stat(context.Context, store.Ref) (store.Info, store.Retention, error) {
	return store.Info{}, store.Retention{}, u.err
}

// Versions implements store.Reader.
func (u unopened) Versions(context.Context, string, string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) { yield(store.Info{}, u.err) }
}

// Put implements store.Writer.
func (u unopened) Put(context.Context, string, io.ReaderAt, int64, store.PutOptions) (store.Ref, error) {
	return store.Ref{}, u.err
}

// Extend implements store.Locker.
func (u unopened) Extend(context.Context, store.Ref, store.Retention) error { return u.err }

// Inspect implements store.Inspector.
func (u unopened) Inspect(context.Context) (store.Facts, error) {
	return store.Facts{}, u.err
}
