package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/crypto/seal"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// readerHelp stands under the help of every command that reads a vault.
const readerHelp = `
The vault is a configured one (--vault NAME; without it the first that answers), or any
other by --vault URL --credentials REF, and then no configuration is needed. REF is
env:PREFIX, profile:NAME, file:PATH[#PROFILE] or systemd:NAME.`

// oneVaultHelp is readerHelp for commands that change the vault they are given.
const oneVaultHelp = `
The vault is the configured one (of several, --vault NAME says which), or any other by
--vault URL --credentials REF, and then no configuration is needed. REF is env:PREFIX,
profile:NAME, file:PATH[#PROFILE] or systemd:NAME.`

const pointHelp = `
POINT is an ID or a unique beginning of one (4 digits or more), SOURCE@latest, SOURCE@clean, or
SOURCE@TIME with a date or an RFC 3339 time: the newest complete point signed at or before it.
SOURCE@clean passes points by that the guard marked, unless somebody acknowledged them.`

// readerFlags are the flags of the commands that read a vault and write to none.
type readerFlags struct {
	vault, credentials, fingerprint string
	identities                      []string
	allowIncomplete                 bool

	unvouched bool // the command reads a point by its full ID where no descriptor can be read
	accepting bool // the command shows all changes of keys itself: those that are not known here are no alarm
}

// addUnvouched is add for a command that reads a point where no descriptor can be read.
func (f *readerFlags) addUnvouched(cmd *cobra.Command, a *app) {
	f.add(cmd, a)
	f.unvouched = true
}

func (f *readerFlags) add(cmd *cobra.Command, a *app) {
	s := cmd.Flags()
	s.StringVar(&f.vault, "vault", "", "the vault: a configured `NAME`, or a URL")
	s.StringVar(&f.credentials, "credentials", "", "where the credentials for the vault lie: a `REF` such as env:PREFIX")
	addFingerprint(cmd, &f.fingerprint)
	complete(cmd, "vault", a.complete.vaultNames)
}

func (f *readerFlags) addIdentity(cmd *cobra.Command, what string) {
	cmd.Flags().StringArrayVarP(&f.identities, "identity", "i", nil, what+", - for standard input (repeatable)")
}

func (f *readerFlags) addAllowIncomplete(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.allowIncomplete, "allow-incomplete", false, "take the newest incomplete point where SOURCE@.. finds no complete one")
}

// reading is a vault opened for reading, with its repository recognised.
type reading struct {
	shows    *showing
	prunes   *pruning
	restores *restoring
	verifies *verifying
	renews   *renewing
	runs     *nextRuns
	stands   *standings

	*app
	flags    *readerFlags
	config   *config.Config // nil where there is none
	vault    *vault
	repo     *repo.Repository
	trust    repo.Known      // of the repository, from elsewhere than a vault
	ids      []keys.Identity // as given on the command line
	findings findings
	own      *[]cache.Made // see made; nil: not asked for yet
}

// openReading finds the vault that the flags name. The caller closes it.
func (a *app) openReading(ctx context.Context, f *readerFlags) (*reading, error) {
	r, places, pin, err := prepareReading(a, f)
	if err != nil {
		return nil, err
	}
	err = r.openFirst(ctx, places, pin)
	if f.unvouched && errors.Is(err, repo.ErrNoDescriptor) {
		err = r.openUnvouched(ctx, places, pin, err)
	}
	if err != nil {
		return nil, err
	}
	r.introduce(len(places) > 1)
	return r, nil
}

// nextVault is how long a vault is waited for before the next one of the configuration is asked as well.
const nextVault = 3 * time.Second

// opening is what became of opening one vault.
type opening struct {
	p     place
	repo  *repo.Repository
	vault *vault
	found *findings
	err   error
}

// openFirst opens the first vault that answers. They are asked in order, the next one when the one before has failed or takes
// too long, so that a dead vault costs little.
func (r *reading) openFirst(ctx context.Context, places []place, pin string) error {
	done := make(chan opening, len(places))
	var tried []error
	var running []context.CancelFunc
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	pending, next := 0, 0
	start := func() {
		p := places[next]
		next, pending = next+1, pending+1
		octx, cancel := context.WithCancel(ctx)
		running = append(running, cancel)
		go func() { done <- r.open(octx, p, pin) }()
	}
	start()
	timer := time.NewTicker(nextVault)
	defer timer.Stop()
	for pending > 0 {
		select {
		case o := <-done:
			pending--
			if o.err == nil {
				r.take(o, pin)
				r.letGo(done, pending, running)
				return nil
			}
			tried = append(tried, prefixed(o.err, "vault "+o.p.name, "vault "+o.p.url.String()))
			if ctx.Err() == nil && len(tried) < len(places) {
				r.ui.warn("vault %s cannot be read, trying the next: %v", o.p.name, o.err)
			}
			if next < len(places) && pending == 0 && ctx.Err() == nil {
				start()
			}
		case <-timer.C:
			if next < len(places) && ctx.Err() == nil {
				r.ui.warn("vault %s has not answered yet, trying the next as well", places[next-1].name)
				start()
			}
		}
	}
	return errors.Join(tried...)
}

// letGo ends what is still being opened.
func (r *reading) letGo(done <-chan opening, pending int, running []context.CancelFunc) {
	for _, stop := range running {
		stop()
	}
	for range pending {
		if o := <-done; o.err == nil {
			if err := o.vault.close(); err != nil {
				r.ui.detail("vault %s: %v", o.p.name, err)
			}
		}
	}
}

// take goes on with a vault that was opened.
func (r *reading) take(o opening, pin string) {
	r.repo, r.vault = o.repo, o.vault
	list, _ := o.found.take()
	for _, f := range list {
		r.findings.add(f)
	}
	if whole := r.repo.Fingerprint.String(); !strings.HasPrefix(whole, r.trust.Pin) {
		r.ui.warn("this is not the repository of the configuration, whose fingerprint begins with %.16s, but %s", r.trust.Pin, whole)
		r.trust = repo.Known{Pin: pin}
	}
}

// place is a vault that may be read.
type place struct {
	name  string
	url   location.Location
	ref   credentials.Ref
	dir   string // what relative credential files are relative to
	other bool   // not a vault of the configuration: it may hold another repository
}

// places gives the vaults to try, in order.
func (r *reading) places() ([]place, error) {
	f := r.flags
	var ref credentials.Ref
	if f.credentials != "" {
		var err error
		if ref, err = credentials.ParseVault(f.credentials); err != nil {
			return nil, usage(fmt.Errorf("--credentials: %w", err))
		}
		if ref.IsDefault() {
			return nil, usage(errors.New("--credentials default is for sources only: a vault's credentials are kept apart from the environment's; name them with `profile:`, `file:`, `env:` or `systemd:` instead"))
		}
	}
	if strings.Contains(f.vault, "://") {
		return r.otherPlace(f.vault, ref)
	}
	c, err := r.loadConfig()
	if errors.Is(err, config.ErrNone) && f.vault == "" && r.configFile == "" {
		err = fmt.Errorf("%w; a vault can also be read without one: --vault URL --credentials REF", err)
	}
	if err != nil {
		return nil, err
	}
	r.config = c
	var out []place
	var names []string
	for _, v := range c.Vaults {
		names = append(names, v.Name)
		if f.vault != "" && f.vault != v.Name {
			continue
		}
		p := place{v.Name, v.URL, v.Credentials, filepath.Dir(c.Path), false}
		if !ref.IsZero() {
			p.ref, p.dir = r.standIns.forPlace(v.URL, ref), "."
		}
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil, usage(fmt.Errorf("the configuration has no vault %q; it has %s", f.vault, strings.Join(names, ", ")))
	}
	if !ref.IsZero() && len(out) > 1 {
		return nil, usage(fmt.Errorf("--credentials belong to one vault: name it with --vault, one of %s", strings.Join(names, ", ")))
	}
	return out, nil
}

// otherPlace is a vault named by its URL. A configuration is used if there is one, for its host key and limits.
func (r *reading) otherPlace(url string, ref credentials.Ref) ([]place, error) {
	l, err := location.Parse(url)
	if err != nil {
		return nil, usage(fmt.Errorf("--vault: %w", err))
	}
	if l.Vault() && !l.Local() && ref.IsZero() {
		return nil, usage(fmt.Errorf("--vault with an %s:// URL needs --credentials REF as well, such as --credentials env:PREFIX", l.Kind))
	}
	if l.Insecure() {
		r.ui.warn("%s is not encrypted on the way: what is read is verified, but names of stored objects and requests can be seen", l)
	}
	c, err := r.loadConfig()
	switch {
	case err == nil:
		r.config = c
	case r.configFile != "":
		return nil, err
	case !errors.Is(err, config.ErrNone):
		r.ui.warn("the configuration is not used: %v", err)
	}
	p := place{name: url, url: l, ref: r.standIns.forPlace(l, ref), dir: ".", other: true}
	if r.config != nil { // a configured vault is called what runs call it, also where it is named by its URL
		if i := slices.IndexFunc(r.config.Vaults, func(v config.Vault) bool { return v.URL.String() == l.String() }); i >= 0 {
			p.name, p.other = r.config.Vaults[i].Name, false
		}
	}
	return []place{p}, nil
}

func (r *reading) open(ctx context.Context, p place, pin string) opening {
	if !p.other {
		pin = r.trust.Pin
	}
	return r.openWith(p, func(o *opening) (*repo.Repository, error) { return repo.Find(ctx, o.vault.Reader, pin, o.found.add) })
}

// openWith opens a vault and finds its repository.
func (r *reading) openWith(p place, find func(*opening) (*repo.Repository, error)) opening {
	o := opening{p: p, found: &findings{}}
	limits := config.Limits{Connections: defaultConnections}
	if r.config != nil {
		limits = r.config.Limits
	}
	b := r.newBackends(p.dir, limits)
	b.readOnly = true
	if r.config != nil {
		b.stall = r.config.Stall
	}
	if o.vault, o.err = b.openVault(p.name, p.url, p.ref); o.err != nil {
		if !p.other {
			o.err = r.trusts.absent(o.err, r.config, p.url)
		}
		return o
	}
	if o.repo, o.err = find(&o); o.err != nil {
		o.err = errors.Join(o.err, o.vault.close())
	}
	return o
}

// introduce says which repository is read, and whether that is known from elsewhere than the vault itself.
func (r *reading) introduce(several bool) {
	if several {
		r.ui.remark("Reading vault %s.", r.vault.name)
	}
	if !r.repo.Vouched() {
		return // said where it was opened
	}
	if r.trust.Pin == "" {
		r.ui.warn("the repository %s is not pinned: the vault's own times alone say that it is the right one; compare it with the paper that "+
			"`holdfast init` had you write, or give --fingerprint HEX", r.repo.Fingerprint)
	} else {
		r.ui.remark("Repository %s, the pinned one.", r.repo.Fingerprint)
	}
	if r.trust.Short(r.repo) {
		r.ui.warn("vault %s does not show the change of keys %d (%.16x..) that this machine knows: it was not reached yet, is set back, or withholds it; "+
			"keys that were dropped count here", r.vault.name, r.trust.Newest.Number, r.trust.Newest.Sum)
	}
	if !r.flags.accepting {
		r.trust.ReportStrangers(r.repo, r.findings.add)
	}
}

const (
	defaultConnections = 32
	defaultMemory      = 256 << 20
)

// memory is limits.memory, or its default where there is no configuration.
func (r *reading) memory() int64 {
	if r.config != nil && r.config.Limits.Memory > 0 {
		return r.config.Limits.Memory
	}
	return defaultMemory
}

// connections is limits.connections, or its default.
func (r *reading) connections() int {
	if r.config != nil {
		return max(r.config.Limits.Connections, 1)
	}
	return defaultConnections
}

func (r *reading) close() error { return r.vault.close() }

func (r *reading) view() browse.View {
	return browse.View{Repository: r.repo, In: r.vault.Reader, Vault: r.vault.name, Made: r.verifies.made(), Report: r.findings.add, PassedOver: r.passedOver}
}

// point resolves a POINT.
func (r *reading) point(ctx context.Context, spec string) (browse.Point, error) {
	if len(spec) < 4 && strings.Trim(spec, "0123456789abcdef") == "" {
		return browse.Point{}, usage(fmt.Errorf("POINT %q is too short: give at least 4 digits of an ID, or SOURCE@latest", spec))
	}
	if at, _ := browse.Split(spec); at != spec {
		return browse.Point{}, usage(fmt.Errorf("%s: this command takes whole points: POINT:PREFIX is for ls, cat, dump and restore", safe(spec)))
	}
	p, err := browse.Resolve(ctx, r.view(), spec, r.flags.allowIncomplete)
	if err != nil {
		return p, err
	}
	if !p.Complete() {
		r.ui.warn("point %.12s of %s is incomplete: %s could not be read when it was made", p.ID, p.Source, entries(p.Commit.Missing))
	}
	if p.Empty() {
		r.ui.warn("point %.12s of %s is marked as empty: nothing was found, where there had been something before", p.ID, p.Source)
	}
	if p.Line.Marked(format.MarkSuspect) {
		if acked, err := isAcknowledged(ctx, r, p); err != nil {
			return p, err
		} else if !acked {
			r.ui.warn("point %.12s of %s is suspect: an alarm of the guard stood when it was made (`holdfast guard %s`). %s@clean takes the newest point without an alarm", p.ID, p.Source, p.Source, p.Source)
		}
	}
	if source, _, named := strings.Cut(spec, "@"); named && len(r.repo.Chain) > 1 {
		listed, err := r.repo.Points(ctx, r.vault.Reader, source, nil)
		if err != nil {
			return p, err
		}
		n := 0
		for _, q := range listed {
			if q.Distrusted {
				n++
			}
		}
		if n > 0 {
			r.ui.warn("%s of %s passed over: the key that signed them was distrusted before they came", plural(n, "distrusted point", "distrusted points"), source)
		}
	}
	if p.Doubt != nil {
		r.ui.warn("point %.12s of %s: %v", p.ID, p.Source, p.Doubt)
	} else if p.Distrusted {
		r.ui.warn("point %.12s of %s arrived at %s, after its host key was distrusted: it may be a thief's", p.ID, p.Source, p.Arrived.UTC().Format(timeForm))
	}
	if p.Late {
		r.ui.warn("point %.12s of %s arrived over an hour after it was signed, at %s", p.ID, p.Source, p.Arrived.UTC().Format(timeForm))
	}
	return p, nil
}

// keptPoint resolves a POINT for what goes by its keeping alone, and so takes one that only a newer program can read.
func (r *reading) keptPoint(ctx context.Context, spec string) (browse.Point, error) {
	p, err := r.point(ctx, spec)
	if p.Head != nil {
		return p, nil
	}
	return p, err
}

// noPoints warns of a source that is not in the vault and that the configuration does not know either: most likely a slip.
func (r *showing) noPoints(ctx context.Context, source string) error {
	if r.config != nil {
		if _, ok := r.config.Source(source); ok {
			return nil
		}
	}
	listed, err := r.repo.Points(ctx, r.vault.Reader, "", nil)
	if err != nil {
		return err
	}
	names := sourcesOf(listed, nil)
	switch {
	case slices.Contains(names, source):
	case len(names) == 0:
		r.ui.warn("no points of source %s; this vault has none at all", safe(source))
	default:
		r.ui.warn("no points of source %s; this vault has: %s", safe(source), strings.Join(names, ", "))
	}
	return nil
}

// names gives a reader that opens manifests: with the keys given, or else with the configured host key.
func (r *reading) names() (*repo.Reader, error) {
	configured := len(r.ids) == 0
	if configured && r.config != nil {
		h, err := r.readHostKey(r.config)
		if err != nil {
			return nil, fmt.Errorf("%w (or give a restore key with --identity FILE)", err)
		}
		r.ids = h.Identities()
	}
	if len(r.ids) == 0 {
		return nil, repo.ErrNeedKey
	}
	var opens []string
	for _, l := range r.repo.Chain {
		opens = append(append(opens, l.Recipients...), l.Metadata...)
	}
	switch {
	case r.have(opens) || !r.repo.Vouched(): // which keys open it is not known before it is tried
		return repo.NewReader(r.repo, r.vault.Reader, r.ids, nil, r.findings.add)
	case configured:
		return nil, fmt.Errorf("the configured host key is not one of this repository (fingerprint %.16s): %w", r.repo.Fingerprint, repo.ErrNeedKey)
	default:
		return nil, r.strangers()
	}
}

// content gives a reader that opens content, which the host key does not.
func (r *reading) content() (*repo.Reader, error) {
	if len(r.ids) == 0 {
		return nil, &marked{errNoRestoreKey, errors.New("no restore key given, and content opens with nothing else: give one with --identity FILE")}
	}
	var opens []string
	host := false
	for _, l := range r.repo.Chain {
		opens = append(opens, l.Recipients...)
		host = host || r.have(l.Metadata)
	}
	switch {
	case r.have(opens) || !r.repo.Vouched():
		return repo.NewReader(r.repo, r.vault.Reader, r.ids, nil, r.findings.add)
	case host:
		return nil, &marked{errNoRestoreKey, errors.New("this is the host key: it opens names, never content; give a restore key with --identity FILE")}
	}
	return nil, r.strangers()
}

// strangers says which keys the repository opens with. Their public halves are no secret, and stand in the key files.
func (r *reading) strangers() error {
	var opens []string
	for _, l := range r.repo.Chain {
		opens = append(opens, l.Recipients...)
	}
	for i, o := range opens {
		opens[i] = keys.Brief(o)
	}
	return &marked{seal.ErrNoKey, fmt.Errorf("none of the keys given opens this repository (fingerprint %.16s): it opens with %s; compare the lines `# short form:` or `# public key:` of your key files, or check that this is the right vault",
		r.repo.Fingerprint, strings.Join(distinct(opens), ", "))}
}

var errNoRestoreKey = errors.New("no restore key given")

// distinct drops what stands twice, and keeps the order.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func (r *reading) have(recipients []string) bool {
	return slices.ContainsFunc(r.ids, func(id keys.Identity) bool { return slices.Contains(recipients, id.Recipient().String()) })
}

// maxKeyFile bounds a file of identities; the same as for package keys.
const maxKeyFile = 1 << 20

// readIdentities reads a file of restore keys, or a host key, whose metadata identity opens names; - is standard input.
func (a *app) readIdentities(path string) ([]keys.Identity, error) {
	text, err := a.trusts.readSecret(path)
	if errors.Is(err, keys.ErrEmpty) || errors.Is(err, keys.ErrTooLarge) || errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; a restore key is the file that `holdfast keygen --out FILE` made, or its line AGE-SECRET-KEY-.. typed from the paper", err)
	}
	if err != nil {
		return nil, &marked{repo.ErrNeedKey, fmt.Errorf("--identity: %w", err)}
	}
	if bytes.HasPrefix(text, []byte("holdfast-host-key-")) || bytes.Contains(text, []byte("\nholdfast-host-key-")) {
		h, err := keys.ParseHostKey(text)
		if err != nil {
			return nil, fmt.Errorf("--identity %s: %w", path, err)
		}
		return h.Identities(), nil
	}
	ids, err := keys.ParseIdentities(text)
	if err != nil {
		return nil, fmt.Errorf("--identity %s: %w", path, err)
	}
	return ids, nil
}

// addFingerprint adds --fingerprint.
func addFingerprint(cmd *cobra.Command, to *string) {
	cmd.Flags().StringVar(to, "fingerprint", "", "the repository's fingerprint, or its first 32 `HEX` digits or more: any other is refused")
}

// parsePin checks --fingerprint; empty is none.
func parsePin(s string) (string, error) {
	pin, ok := config.ParsePin(s)
	switch {
	case pin == "":
		return "", nil
	case !ok:
		return "", usage(errors.New("--fingerprint " + config.WantPin))
	}
	return pin, nil
}

// alarm tells what was noticed while reading and gives what the command comes to: an alarm, or damage where something is lost that
// was done without, such as a newer point.
func (r *reading) alarm() error {
	_, err := r.alarms()
	return err
}

func (r *reading) alarms() (said alarms, alarm error) {
	said, count, gone := r.findings.tell(r.ui)
	if count == 0 {
		return nil, nil
	}
	kind := errAlarm
	if gone {
		kind = errDamage
	}
	return said, &marked{kind, notAsLeft(count)}
}
