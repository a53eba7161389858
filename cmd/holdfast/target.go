package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/totar"
	"github.com/holdfast-backup/holdfast/replicator/restore/toterraform"
	"github.com/holdfast-backup/holdfast/store"
)

// target is where a restore goes, as the command line says it.
type target struct {
	text, credentials string
	inPlace           bool
	scratch           bool // what is put there is removed again
	owners, specials  bool
	disks             disks
	machines          machines

	at  location.Location // zero for a stream
	ref credentials.Ref
}

// stream reports whether the restore is a tar stream on standard output.
func (t *target) stream() bool { return t.text == "-" }

// almostURL is a URL that lost a slash; nobody means a directory of that name.
var almostURL = regexp.MustCompile(`^[a-z][a-z0-9]+:`)

func (t *target) parse() error {
	var err error
	switch {
	case t.text == "":
		return usage(errors.New("say where to restore to: --to s3://BUCKET/PREFIX, --to DIRECTORY, or --to - for a tar stream"))
	case t.stream():
	case t.device() != "":
	case strings.Contains(t.text, "://"):
		if t.at, err = location.Parse(t.text); err != nil {
			return usage(fmt.Errorf("--to: %w", err))
		}
	case almostURL.MatchString(t.text):
		return usage(fmt.Errorf("--to %s is neither a URL nor a plain path; write s3://BUCKET/PREFIX, or ./%s for a directory of that name", safe(t.text), safe(t.text)))
	default:
		abs, err := filepath.Abs(t.text)
		if err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		t.at = location.Location{Kind: location.File, Text: t.text, Path: abs}
	}
	if err := t.checkDisks(); err != nil {
		return err
	}
	if err := t.checkMachines(); err != nil {
		return err
	}
	if t.credentials == "" {
		return nil
	}
	if t.at.Kind == "" || t.at.Local() {
		return usage(errors.New("--to-credentials are for an s3://, ebs:// or ec2:// target"))
	}
	if t.ref, err = credentials.Parse(t.credentials); err != nil {
		return usage(fmt.Errorf("--to-credentials: %w", err))
	}
	return nil
}

// apart refuses a target that is, holds or lies in the vault or a source. landmark is an object of the vault.
func (t *target) apart(ctx context.Context, r *reading, landmark string) error {
	if t.stream() {
		return nil
	}
	to := resolved(t.at)
	var get store.CredentialsFunc
	if !t.ref.IsZero() {
		var err error
		if get, err = credentials.Resolve(t.ref, ".", r.env); err != nil {
			return err
		}
	}
	if to.Overlaps(resolved(r.vault.url)) || foldersOverlap(to, r.vault.url) || holdsVault(ctx, t.at, r.vault.url, get, landmark) {
		return &marked{errTarget, fmt.Errorf("--to %s overlaps the vault %s: a restore never writes to a vault; name another place", safe(t.text), r.vault.url)}
	}
	if r.config == nil {
		return nil
	}
	for _, v := range r.config.Vaults {
		if to.Overlaps(resolved(v.URL)) || foldersOverlap(to, v.URL) || holdsVault(ctx, t.at, v.URL, get, landmark) {
			return &marked{errTarget, fmt.Errorf("--to %s overlaps the vault %s of the configuration: a restore never writes to a vault; name another place", safe(t.text), v.Name)}
		}
	}
	for _, s := range r.config.Sources {
		if t.scratch && (to.Overlaps(resolved(s.URL)) || foldersOverlap(to, s.URL)) {
			return &marked{errTarget, fmt.Errorf("--to %s overlaps the source %s: name another place", safe(t.text), s.Name)}
		}
		if !t.inPlace && (to.Overlaps(resolved(s.URL)) || foldersOverlap(to, s.URL)) {
			return &marked{errTarget, fmt.Errorf("--to %s overlaps the source %s: restore beside it and compare first, or say --in-place if the source itself is to be filled again",
				safe(t.text), s.Name)}
		}
	}
	return nil
}

// resolved follows the symbolic links of a directory as far as it exists.
func resolved(l location.Location) location.Location {
	if !l.Local() {
		return l
	}
	rest := ""
	for p := l.Path; ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			l.Path = filepath.Join(real, rest)
			return l
		}
		if !errors.Is(err, fs.ErrNotExist) || p == filepath.Dir(p) {
			return l
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// openTarget makes the target; nothing is touched yet.
func (r *restoring) openTarget(ctx context.Context, t *target) (restore.Target, error) {
	switch {
	case t.disks.raw:
		return r.openRaw()
	case t.device() != "":
		return t.openDevice()
	case t.stream():
		if f, ok := r.ui.sticky.to.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			return nil, usage(errors.New("refusing to write a tar stream to a terminal: send it to a file or a pipe"))
		}
		return totar.New(r.ui.out), nil
	case t.machines.terraform():
		return toterraform.New(toterraform.Options{Root: t.at.Path})
	}
	open := kinds()[t.at.Kind].target
	if open == nil {
		return nil, fmt.Errorf("--to %s: no driver for %q", safe(t.text), t.at.Kind)
	}
	if t.at.Local() {
		return open(r.reading, t, nil)
	}
	ref := t.ref
	if ref.IsZero() {
		var err error
		if ref, err = credentials.Parse("default"); err != nil {
			return nil, err
		}
	}
	get, err := credentials.Resolve(ref, ".", r.env)
	if err != nil {
		return nil, err
	}
	if err := t.credentialsThere(ctx, get); err != nil {
		return nil, err
	}
	if t.at.Insecure() {
		r.ui.warn("%s is not encrypted on the way: what is restored can be read on the network", t.at)
	}
	return open(r.reading, t, get)
}

// credentialsThere looks before anything is read from the vault whether the target's credentials can be had.
func (t *target) credentialsThere(ctx context.Context, get store.CredentialsFunc) error {
	_, err := get(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case t.ref.IsZero() && errors.Is(err, credentials.ErrUnset):
		return &marked{credentials.ErrUnset, errors.New("no credentials for the target: give --to-credentials REF, such as env:PREFIX, profile:NAME or file:PATH")}
	}
	return fmt.Errorf("--to-credentials: %w", err)
}
