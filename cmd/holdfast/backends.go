package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/replicator/source"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	execsource "github.com/holdfast-backup/holdfast/replicator/source/exec"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/dirstore"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3store/attacker"
	"github.com/holdfast-backup/holdfast/store/stall"
)

// backend is what reads and stores at one kind of place; what there is not is nil.
type backend struct {
	vault  func(b *backends, at location.Location, get store.CredentialsFunc) (driver, error)
	source func(b *backends, s config.Source, get store.CredentialsFunc) (source.Source, error)
	target func(r *reading, t *target, get store.CredentialsFunc) (restore.Target, error)
	attack func(at location.Location, get store.CredentialsFunc) (*attacker.Attacker, error)
}

// kinds is the one list of them: a new one is a line here, and where its URLs are of a new kind one in package location.
func kinds() map[location.Kind]backend {
	return map[location.Kind]backend{
		location.S3:   {vault: bucketVault, source: bucketSource, target: bucketTarget, attack: bucketAttack},
		location.File: {vault: folderVault, source: folderSource, target: folderTarget},
		location.EBS:  {source: diskSource, target: snapshotTarget},
		location.EC2:  {source: machineSource, target: imageTarget},
		location.Exec: {source: programSource},
	}
}

func bucketVault(b *backends, at location.Location, get store.CredentialsFunc) (driver, error) {
	return s3store.New(s3store.Options{
		Location: at.S3, Credentials: get, Connections: b.connections, UserAgent: userAgent(), Stall: b.stall, PageSize: b.page, Requests: b.requests,
	})
}

func folderVault(b *backends, at location.Location, _ store.CredentialsFunc) (driver, error) {
	return dirstore.Open(at.Path, dirstore.Options{ReadOnly: b.readOnly, Create: b.create})
}

func bucketSource(b *backends, s config.Source, get store.CredentialsFunc) (source.Source, error) {
	versions := "current"
	if s.AllVersions {
		versions = "all"
	}
	l := s.URL.S3
	return s3source.New(s3source.Options{
		Bucket: l.Bucket, Prefix: l.Prefix, Endpoint: l.Endpoint, Region: l.Region, PathStyle: l.PathStyle, Credentials: get,
		Versions: versions, Exclude: s.Excluded(), SkipTags: s.Tags.Never, Archived: string(s.Archived), Connections: b.connections,
		ETag: s.ETag, IfMatch: s.IfMatch, RequestPayer: s.RequesterPays, Requests: b.requests,
	})
}

func folderSource(_ *backends, s config.Source, _ store.CredentialsFunc) (source.Source, error) {
	return dirsource.New(dirsource.Options{Root: filepath.Clean(s.URL.Path), Exclude: s.Excluded(), OneFileSystem: s.OneFileSystem})
}

func programSource(b *backends, s config.Source, _ store.CredentialsFunc) (source.Source, error) {
	says := newRelay(b.ui, s.Name)
	return execsource.New(execsource.Options{
		Command: s.Command, Entry: s.Entry, Dir: b.dir, Env: append(slices.Clone(b.environ), "HOLDFAST_SOURCE="+s.Name), Timeout: s.Timeout,
		Line: says.line, Failed: says.failed,
	})
}

func bucketTarget(r *reading, t *target, get store.CredentialsFunc) (restore.Target, error) {
	l := t.at.S3
	prefix := l.Prefix
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/" // a folder, as for a directory; never the beginning of a name
	}
	return tobucket.New(tobucket.Options{
		Bucket: l.Bucket, Prefix: prefix, Endpoint: l.Endpoint, Region: l.Region, PathStyle: l.PathStyle, Credentials: get, Connections: r.connections(),
	})
}

func folderTarget(_ *reading, t *target, _ store.CredentialsFunc) (restore.Target, error) {
	return todir.New(todir.Options{Root: t.at.Path, Owners: t.owners, Specials: t.specials, InPlace: t.inPlace})
}

func bucketAttack(at location.Location, get store.CredentialsFunc) (*attacker.Attacker, error) {
	return attacker.New(attacker.Options{Location: at.S3, Credentials: get, UserAgent: userAgent()})
}

// vault is an opened vault: what a job may do, and no more. There is no way from here to a delete.
type vault struct {
	name string // of the configuration; empty for one named on the command line
	url  location.Location
	store.Reader
	store.Writer
	store.Locker
	store.Inspector

	once        store.Inspector       // without trying again
	failed      error                 // why it could not be opened; then all of the above answers with that
	credentials store.CredentialsFunc // nil for a directory
	counted     *meter.Meter          // what went over the wire, tries included
	requests    *meter.Requests       // as they are billed
	close       func() error
}

// backends opens vaults and sources for one command. Its limits are shared by everything it opens.
type backends struct {
	ui          *ui
	env         credentials.Env
	dir         string // what relative paths of credentials are relative to
	connections int
	rate        *meter.Meter
	readOnly    bool            // create nothing
	create      bool            // make folders of vaults: init alone
	stall       time.Duration   // how long a vault may give or take nothing; 0: stall.Default
	page        int             // names a page of listings; 0: as many as there can be
	requests    *meter.Requests // of what is opened next; nil: they are not counted
	traces      *traces         // of what is written; may be nil
	environ     []string        // of programs that sources are
}

// driver is what every store driver is. What it can remove goes to prune only: see openRemover.
type driver interface {
	store.Reader
	store.Writer
	store.Locker
	store.Inspector
	store.Remover
	Close() error
}

// firstAnswer is how long a vault is waited for that gives no answer at the start. One that worked and stops is given
// longer.
const firstAnswer = 20 * time.Second

// openVault opens a vault; nothing is sent yet.
func (b *backends) openVault(name string, at location.Location, ref credentials.Ref) (*vault, error) {
	asked := &meter.Requests{}
	d, get, err := b.counting(asked).open(at, ref)
	if err != nil {
		return nil, prefixed(err, "vault "+at.String(), "vault "+at.S3.String())
	}
	v := &vault{name: name, url: at, credentials: get, counted: meter.New(meter.Options{}), requests: asked, close: d.Close}
	tell := func(e retry.Event) { b.ui.detail("trying again in %s: %v", e.Wait, e.Err) }
	again := retry.New(retry.Options{Notify: tell})
	// The first thing that is asked of a vault: whether it is there at all is seen soon.
	first := retry.New(retry.Options{Notify: tell, Total: firstAnswer})
	// Around all tries: a vault that stands still is given up once, not once a request.
	still := stall.NewGuard(b.stall)
	v.Reader = still.Reader(again.Reader(v.counted.Reader(b.rate.Reader(d))))
	v.Writer = b.traces.writer(name, still.Writer(again.Writer(v.counted.Writer(b.rate.Writer(d)))))
	v.Locker = still.Locker(again.Locker(v.counted.Locker(b.rate.Locker(d))))
	v.once = still.Inspector(v.counted.Inspector(d))
	v.Inspector = still.Inspector(first.Inspector(v.counted.Inspector(d)))
	return v, nil
}

// counting gives the same backends, which count the requests of what they open.
func (b *backends) counting(requests *meter.Requests) *backends {
	c := *b
	c.requests = requests
	return &c
}

// open opens what objects are kept in, with the credentials that were found for it, if it takes any.
func (b *backends) open(at location.Location, ref credentials.Ref) (driver, store.CredentialsFunc, error) {
	open := kinds()[at.Kind].vault
	switch {
	case open == nil:
		return nil, nil, fmt.Errorf("no driver for %q", at.Kind)
	case at.Local() && !ref.IsZero():
		return nil, nil, usage(errors.New("a directory takes no credentials"))
	}
	get, err := b.resolve(at, ref)
	if err != nil {
		return nil, nil, err
	}
	d, err := open(b, at, get)
	return d, get, err
}

// resolve finds the credentials for a place; a directory has none, and neither has a program.
func (b *backends) resolve(at location.Location, ref credentials.Ref) (store.CredentialsFunc, error) {
	if !at.Keyed() {
		return nil, nil
	}
	return credentials.Resolve(ref, b.dir, b.env)
}

// hasObject reports whether a place, asked with these credentials, has an object of that name.
func hasObject(ctx context.Context, at location.Location, get store.CredentialsFunc, name string) bool {
	open := kinds()[at.Kind].vault
	if open == nil {
		return false
	}
	s, err := open(&backends{connections: 1, readOnly: true}, at, get)
	if err != nil {
		return false
	}
	defer func() { _ = s.Close() }() // only read from
	_, _, err = s.Stat(ctx, store.Ref{Name: name})
	return err == nil
}

// openRemover gives the one thing that can delete. Only prune asks for it.
func (b *backends) openRemover(at location.Location, ref credentials.Ref) (store.Remover, func() error, error) {
	d, _, err := b.open(at, ref)
	if err != nil {
		return nil, nil, err
	}
	again := retry.New(retry.Options{Notify: func(e retry.Event) { b.ui.detail("trying again in %s: %v", e.Wait, e.Err) }})
	return stall.NewGuard(b.stall).Remover(again.Remover(d)), d.Close, nil
}

// openPaged gives a bucket that is listed two names a page: doctor and init see in which order the server lists.
func (b *backends) openPaged(at location.Location, get store.CredentialsFunc) (store.Reader, error) {
	paged := *b
	paged.page = 2
	return kinds()[at.Kind].vault(&paged, at, get)
}

// listsInOrder refuses a bucket that is to become a vault and does not list names in the order of their bytes. It stores a
// few canaries. What gives no clear answer is let through: whether it can be a vault is asked by others.
func (b *backends) listsInOrder(ctx context.Context, v *vault, now time.Time) error {
	if kinds()[v.url.Kind].attack == nil {
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
	attack := kinds()[at.Kind].attack
	if attack == nil {
		return nil, fmt.Errorf("%s is no bucket: there is nothing to ask it", at)
	}
	return attack(at, get)
}

// openSource opens a source; nothing is sent yet. The credentials are nil for a directory and a program.
func (b *backends) openSource(s config.Source) (source.Source, store.CredentialsFunc, error) {
	open := kinds()[s.URL.Kind].source
	if open == nil {
		return nil, nil, fmt.Errorf("source %s: no driver for %q", s.Name, s.URL.Kind)
	}
	get, err := b.resolve(s.URL, s.Credentials)
	if err != nil {
		return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	src, err := open(b, s, get)
	if err != nil {
		return nil, nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return src, get, nil
}

// userAgent names the program in vendors' logs.
func userAgent() string {
	version := strings.Trim(thisBuild().Version, "()")
	return "holdfast/" + strings.ReplaceAll(version, "/", "-")
}
