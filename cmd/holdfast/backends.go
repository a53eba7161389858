package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/source"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/dirstore"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3store/attacker"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// This file is the one list of drivers. A new vendor is a case in driver or openSource.

// vault is an opened vault: what a job may do, and no more. There is no way from here to a delete.
type vault struct {
	name string // of the configuration; empty for one named on the command line
	url  location.Location
	store.Reader
	store.Writer
	store.Locker
	store.Inspector

	once        store.Inspector       // without trying again
	failed      error                 // why it could not be opened; then nothing above is there
	credentials store.CredentialsFunc // nil for a directory
	counted     *meter.Meter          // what went over the wire, tries included
	close       func() error
}

// backends opens vaults and sources for one command. Its limits are shared by everything it opens.
type backends struct {
	ui          *ui
	env         credentials.Env
	dir         string // what relative paths of credentials are relative to
	connections int
	rate        *meter.Meter
	readOnly    bool          // create nothing
	stall       time.Duration // how long a vault may give or take nothing; 0: stall.Default
}

// driver is what every store driver is.
type driver interface {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
}

// firstAnswer is how long a vault is waited for that gives no answer at the start. One that worked and stops is given
// longer.
const firstAnswer = 20 * time.Second

// openVault opens a vault; nothing is sent yet.
func (b *backends) openVault(name string, at location.Location, ref credentials.Ref) (*vault, error) {
	v := &vault{name: name, url: at, counted: meter.New(meter.Options{}), close: func() error { return nil }}
	d, err := b.driver(v, ref)
	if err != nil {
		return nil, prefixed(err, "vault "+at.String(), "vault "+at.S3.String())
	}
	tell := func(e retry.Event) { b.ui.detail("trying again in %s: %v", e.Wait, e.Err) }
	again := retry.New(retry.Options{Notify: tell})
	// The first thing that is asked of a vault: whether it is there at all is seen soon.
	first := retry.New(retry.Options{Notify: tell, Total: firstAnswer})
	// Around all tries: a vault that stands still is given up once, not once a request.
	still := stall.NewGuard(b.stall)
	v.Reader = still.Reader(again.Reader(v.counted.Reader(b.rate.Reader(d))))
	v.Writer = still.Writer(again.Writer(v.counted.Writer(b.rate.Writer(d))))
	v.Locker = still.Locker(again.Locker(v.counted.Locker(d)))
	v.once = still.Inspector(v.counted.Inspector(d))
	v.Inspector = still.Inspector(first.Inspector(v.counted.Inspector(d)))
	return v, nil
}

func (b *backends) driver(v *vault, ref credentials.Ref) (driver, error) {
	switch v.url.Kind {
	case location.S3:
		get, err := credentials.Resolve(ref, b.dir, b.env)
		if err != nil {
			return nil, err
		}
		v.credentials = get
		return s3store.New(s3store.Options{
			Location: v.url.S3, Credentials: get, Connections: b.connections, UserAgent: userAgent(), Stall: b.stall,
		})
	case location.File:
		if !ref.IsZero() {
			return nil, usage(errors.New("a directory takes no credentials"))
		}
		s, err := dirstore.Open(v.url.Path, dirstore.Options{ReadOnly: b.readOnly})
		if err != nil {
			return nil, err
		}
		v.close = s.Close
		return s, nil
	}
	return nil, fmt.Errorf("no driver for %q", v.url.Kind)
}

// hasObject reports whether a bucket, asked with these credentials, has an object of that name under the place's prefix.
func hasObject(ctx context.Context, at s3url.Location, get store.CredentialsFunc, name string) bool {
	s, err := s3store.New(s3store.Options{Location: at, Credentials: get, Connections: 1, UserAgent: userAgent()})
	if err != nil {
		return false
	}
	defer func() { _ = s.Close() }() // only read from
	_, _, err = s.Stat(ctx, store.Ref{Name: name})
	return err == nil
}

// openRemover gives the one thing that can delete. Only prune asks for it.
func (b *backends) openRemover(at location.Location, ref credentials.Ref) (store.Remover, func() error, error) {
	again := retry.New(retry.Options{Notify: func(e retry.Event) { b.ui.detail("trying again in %s: %v", e.Wait, e.Err) }})
	switch at.Kind {
	case location.S3:
		get, err := credentials.Resolve(ref, b.dir, b.env)
		if err != nil {
			return nil, nil, err
		}
		s, err := s3store.New(s3store.Options{Location: at.S3, Credentials: get, Connections: b.connections, UserAgent: userAgent()})
		if err != nil {
			return nil, nil, err
		}
		return stall.NewGuard(b.stall).Remover(again.Remover(s)), s.Close, nil
	case location.File:
		s, err := dirstore.Open(at.Path, dirstore.Options{})
		if err != nil {
			return nil, nil, err
		}
		return again.Remover(s), s.Close, nil
	}
	return nil, nil, fmt.Errorf("no driver for %q", at.Kind)
}

// openPaged gives a bucket that is listed two names a page: doctor and init see in which order the server lists.
func (b *backends) openPaged(at location.Location, get store.CredentialsFunc) (store.Reader, error) {
	return s3store.New(s3store.Options{Location: at.S3, Credentials: get, Connections: b.connections, UserAgent: userAgent(), PageSize: 2})
}

// listsInOrder refuses a bucket that is to become a vault and does not list names in the order of their bytes. It stores a
// few canaries. What gives no clear answer is let through: whether it can be a vault is asked by others.
func (b *backends) listsInOrder(ctx context.Context, v *vault, now time.Time) error {
	if v.url.Kind != location.S3 {
		return nil
	}
	facts, err := v.once.Inspect(ctx)
	if err != nil || !facts.ObjectLock {
		return nil
	}
	for range v.Versions(ctx, format.PrefixDescriptors, "") {
		return nil // it is one already, or cannot be asked
	}
	if !facts.Clock.IsZero() {
		now = facts.Clock
	}
	a, err := b.openAttacker(v.url, v.credentials)
	if err != nil {
		return err
	}
	list, err := b.openPaged(v.url, v.credentials)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	if err = probe.Order(ctx, a, list, now); !errors.Is(err, probe.ErrOrder) {
		err = nil
	} else {
		err = fmt.Errorf("vault %s: %w; use a bucket at another vendor", v.name, err)
	}
	return errors.Join(err, a.Close())
}

// openAttacker gives what asks a bucket for what a job must never ask for: doctor and drill only.
func (b *backends) openAttacker(at location.Location, get store.CredentialsFunc) (*attacker.Attacker, error) {
	if at.Kind != location.S3 {
		return nil, fmt.Errorf("%s is no bucket: there is nothing to ask it", at)
	}
	return attacker.New(attacker.Options{Location: at.S3, Credentials: get, UserAgent: userAgent()})
}

// openSource opens a source; nothing is sent yet. The credentials are nil for a directory.
func (b *backends) openSource(s config.Source) (source.Source, store.CredentialsFunc, error) {
	switch s.URL.Kind {
	case location.S3:
		get, err := credentials.Resolve(s.Credentials, b.dir, b.env)
		if err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		versions := "current"
		if s.AllVersions {
			versions = "all"
		}
		l := s.URL.S3
		src, err := s3source.New(s3source.Options{
			Bucket: l.Bucket, Prefix: l.Prefix, Endpoint: l.Endpoint, Region: l.Region, PathStyle: l.PathStyle, Credentials: get,
			Versions: versions, Exclude: s.Exclude, SkipTags: s.Tags.Never, Archived: string(s.Archived), Connections: b.connections,
			ETag: s.ETag, IfMatch: s.IfMatch, RequestPayer: s.RequesterPays,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		return src, get, nil
	case location.File:
		src, err := dirsource.New(dirsource.Options{Root: filepath.Clean(s.URL.Path), Exclude: s.Exclude, OneFileSystem: s.OneFileSystem})
		if err != nil {
			return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
		}
		return src, nil, nil
	}
	if s.URL.Kind == location.EBS {
		return b.openDisks(s)
	}
	if s.URL.Kind == location.EC2 {
		return b.openMachines(s)
	}
	return nil, nil, fmt.Errorf("source %s: no driver for %q", s.Name, s.URL.Kind)
}

// userAgent names the program in vendors' logs.
func userAgent() string {
	version := strings.Trim(thisBuild().Version, "()")
	return "holdfast/" + strings.ReplaceAll(version, "/", "-")
}
