package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/credentials"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/trusted"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// job is what a configured command works with: the configuration, its vaults opened, and what was noticed.
type job struct {
	heals   *doctoring
	drills  *drilling
	tells   *telling
	changes *keyChanges

	*app
	config   *config.Config
	backends *backends
	vaults   []*vault
	pin      string // --fingerprint, checked
	findings findings
	pulse    *pulse           // of a run under systemd; nil: nobody asks
	activity *activity        // what the command did, for its record; nil: it leaves none
	found    *repo.Repository // as the last session saw it
	down     map[string]bool  // vaults that an earlier source of this command found down
	aside    *aside           // not nil: nothing is changed on this machine
	holding  bool             // locks are those of a hold: without slack, and up to hold_ceiling
}

// openMode says what is to be done about vaults that cannot be opened, and whether there is anything yet to be opened.
type openMode int

const (
	everyVault openMode = iota // one that cannot be opened ends the command, unless it is a directory without a folder
	someVaults                 // the command goes on with the others, and fails only where none can be opened
	newVaults                  // folders of directories are made: init alone
)

// openJob reads the configuration and opens the vaults that are named, all of them for none. Nothing is sent yet.
func (a *app) openJob(how openMode, names ...string) (*job, error) {
	c, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	return a.openVaults(c, how, names...)
}

// openVaults opens the vaults of a configuration. A directory that has no folder is in the list with its error, whoever asks: it is away,
// and the command says what it did without it.
func (a *app) openVaults(c *config.Config, how openMode, names ...string) (*job, error) {
	j := (&job{app: a, config: c, backends: a.newBackends(filepath.Dir(c.Path), c.Limits)}).share()
	j.backends.stall, j.backends.create, j.backends.environ = c.Stall, how == newVaults, programEnv(c)
	var failed together
	for _, v := range c.Vaults {
		if len(names) > 0 && !slices.Contains(names, v.Name) {
			continue
		}
		opened, err := j.backends.openVault(v.Name, v.URL, v.Credentials)
		if err = a.trusts.absent(err, c, v.URL); err != nil {
			if how != someVaults && !isAbsent(err) {
				return nil, errors.Join(err, j.close())
			}
			if !isAbsent(err) {
				failed = append(failed, err)
			}
			opened = unopenedVault(v, err)
		}
		j.vaults = append(j.vaults, opened)
	}
	if len(failed) > 0 && len(failed) == len(j.vaults) {
		return nil, failed
	}
	return j, nil
}

func (a *app) newBackends(dir string, l config.Limits) *backends {
	return &backends{
		ui: a.ui, env: a.env, dir: dir, traces: a.traces, connections: max(l.Connections, 1),
		rate: meter.New(meter.Options{Upload: l.Upload, Download: l.Download}),
	}
}

func (j *job) close() error {
	var errs []error
	for _, v := range j.vaults {
		errs = append(errs, v.close())
	}
	errs = append(errs, j.aside.drop())
	return errors.Join(errs...)
}

// repoVaults gives the opened vaults as the repository sees them, of those named, with their locking.
func (j *job) repoVaults(names []string) []*repo.Vault {
	var out []*repo.Vault
	for _, v := range j.vaults {
		c, ok := j.config.Vault(v.name)
		if !ok || names != nil && !slices.Contains(names, v.name) {
			continue
		}
		if j.down[v.name] && v.failed == nil {
			j.reopen(v, c)
		}
		inspect := v.Inspector
		if j.down[v.name] {
			inspect = v.once // all tries were waited out already
		}
		out = append(out, &repo.Vault{
			Name: v.name, Err: v.failed, Doubtful: j.down[v.name], Read: v.Reader, Write: v.Writer, Lock: v.Locker, Inspect: inspect,
			Locking: lockingFor(j, c),
		})
	}
	return out
}

// lockingFor is how a job locks what it puts into a vault, or holds there.
func lockingFor(j *job, v config.Vault) repo.Locking {
	l := lockingAt(v.Lock, j.now())
	if j.holding {
		l.Slack, l.Ceiling = 0, holdReach(j.config, v, j.now())
	}
	return l
}

// lockingAt is how a vault locks what it is given at a time: months and years have no length of their own.
func lockingAt(l config.Lock, now time.Time) repo.Locking {
	return repo.Locking{Mode: l.Mode, Slack: l.Slack.AddTo(now).Sub(now), Ceiling: l.Ceiling.AddTo(now).Sub(now)}
}

// reopen lets a vault that was given up in an earlier source be asked again.
func (j *job) reopen(v *vault, c config.Vault) {
	again, err := j.backends.openVault(c.Name, c.URL, c.Credentials)
	if err = j.trusts.absent(err, j.config, c.URL); err != nil {
		v.failed = err
		return
	}
	if err := v.close(); err != nil {
		j.ui.detail("vault %s: %v", v.name, err)
	}
	*v = *again
}

// distinctKeys refuses a vault and a source that resolve to the same access key: one stolen key would hold both.
func (j *job) distinctKeys(ctx context.Context, source string, get store.CredentialsFunc) error {
	for _, v := range j.vaults {
		if get == nil || v.credentials == nil {
			continue // a directory
		}
		if _, err := v.credentials(ctx); err != nil && ctx.Err() == nil {
			if v.failed == nil { // that vault alone cannot be used
				v.failed = err
			}
			continue
		}
		same, err := credentials.SameAccessKey(ctx, v.credentials, get)
		if err != nil {
			return err
		}
		if same {
			return &marked{errSameKey, fmt.Errorf("source %s and vault %s use the same access key: whoever steals it has both the original and the copy; "+
				"make a key of its own for the vault, at the other vendor", source, v.name)}
		}
	}
	return nil
}

// openCache opens the local cache of a repository. A folder that cannot be written is a fault of the configuration.
func (j *job) openCache(id format.Hash) (*cache.Cache, error) {
	dir, err := j.cacheDir(j.config, id)
	if err != nil {
		return nil, unusableCache(err)
	}
	if j.aside != nil {
		if dir, err = j.aside.cacheOf(dir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, unusableCache(err)
	}
	c, err := cache.Open(dir, cache.Options{Memory: j.config.Limits.Memory / 12})
	for _, kind := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOTDIR, cache.ErrLink} {
		if errors.Is(err, kind) {
			return nil, unusableCache(err)
		}
	}
	return c, err
}

// kept is what is kept of the vaults of the repository that is pinned; nil, and so nothing, where none is, or no folder can be
// used: then the cache says so.
func (j *job) kept(pin string) *cache.Kept {
	base, err := j.cacheBase(j.config)
	if err != nil || len(pin) < 16 || strings.Trim(pin, "0123456789abcdef") != "" {
		return nil
	}
	dir := filepath.Join(base, "kept-"+pin[:16])
	if j.trusts.me().Folder(dir) != nil {
		return nil
	}
	return cache.NewKept(dir)
}

func unusableCache(err error) error {
	if errors.Is(err, trusted.ErrNotTrusted) {
		return err
	}
	kind := errCache
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind = store.ErrNoSpace
	}
	return &marked{kind, fmt.Errorf("the cache folder cannot be used: %w; set `cache:` to a folder this user can write (what is in it is safe to delete)", err)}
}

// cacheDir is the folder of a repository's cache. What lies there is believed: locks that were read back, points that were
// made. So it must be nobody else's, and no link on the way from the configured folder leads elsewhere.
func (a *app) cacheDir(c *config.Config, id format.Hash) (string, error) {
	base, err := a.cacheBase(c)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(base, id.String()[:16], "index")
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := a.trusts.me().Folder(d); err != nil {
			return "", fmt.Errorf("cache: %w", err)
		}
	}
	return dir, nil
}

// cacheBase is the folder of all caches.
func (a *app) cacheBase(c *config.Config) (string, error) {
	base := c.Cache
	if base == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(dir, "holdfast")
	}
	if err := a.trusts.me().Folder(base); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return base, nil
}

// hostKey reads the host key named in the configuration.
func (j *job) hostKey() (*keys.HostKey, error) { return j.readHostKey(j.config) }

func (a *app) readHostKey(c *config.Config) (*keys.HostKey, error) {
	path, err := c.HostKeyPath(a.env)
	if err != nil {
		return nil, err
	}
	h, err := a.trusts.readHostKeyFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &marked{repo.ErrNeedKey, fmt.Errorf("there is no host key at %s: `holdfast init` makes one for a new repository, `holdfast key recover --identity FILE` gets a lost one back", path)}
	}
	return h, err
}

// readHostKeyFile says of a host key that cannot be used how to get it back.
func (a *trusting) readHostKeyFile(path string) (*keys.HostKey, error) {
	if err := a.me().File(path); err != nil {
		return nil, fmt.Errorf("host key: %w; who could have replaced it signs points and opens names in your place", err)
	}
	h, err := keys.ReadHostKeyFile(path)
	for _, kind := range []error{keys.ErrMalformed, keys.ErrEmpty, keys.ErrTooLarge} {
		if errors.Is(err, kind) {
			return nil, fmt.Errorf("%w; move the file away, then `holdfast key recover --identity FILE` gets the host key back", err)
		}
	}
	return h, err
}

// session opens the repository for a job that writes.
func (j *job) session(ctx context.Context, vaults []string) (*repo.Session, error) {
	h, err := j.hostKey()
	if err != nil {
		return nil, err
	}
	known, err := j.trusts.knownRepository(j.config, j.pin)
	if err != nil {
		return nil, err
	}
	kept := j.kept(known.Pin)
	if j.aside != nil {
		if kept, err = j.aside.keptOf(kept); err != nil {
			return nil, unusableCache(err)
		}
	}
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: j.repoVaults(vaults), HostKey: h, Recipients: j.config.Keys.Recipients, Owners: j.config.Keys.Owners, Known: known, Cache: j.openCache, Kept: kept, Report: j.findings.add, Now: j.now, Stall: j.config.Stall,
	})
	if path, perr := j.config.HostKeyPath(j.env); errors.Is(err, repo.ErrHostKey) && perr == nil {
		if _, lerr := os.Lstat(path + ".next"); lerr == nil {
			err = fmt.Errorf("%w; or, as %s.next is there, which a change of keys that was broken off has left: run `holdfast key rotate --identity FILE` again, and it is finished", err, path)
		}
	}
	if errors.Is(err, repo.ErrAllVaults) && ctx.Err() == nil {
		for _, name := range vaults {
			j.remember([]repo.VaultResult{{Vault: name, Err: err}})
		}
	}
	if err != nil {
		return nil, err
	}
	if j.aside != nil {
		return s, nil
	}
	if err := j.pinned(s, h); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// remember notes which vaults are down, so that the next source of this command asks them once instead of waiting again.
func (j *job) remember(vaults []repo.VaultResult) {
	if j.down == nil {
		j.down = map[string]bool{}
	}
	for _, v := range vaults {
		j.down[v.Vault] = v.Err != nil && (store.Retryable(v.Err) || errors.Is(v.Err, store.ErrStalled) || errors.Is(v.Err, repo.ErrBehind))
	}
}

// longestKeep is how long the longest-kept point of any source is kept.
func longestKeep(c *config.Config, at time.Time) time.Duration {
	var most time.Duration
	for _, s := range c.Sources {
		most = max(most, retain.Longest(s.Retention, at))
	}
	return most
}

// findings collects what readers noticed, each once, and bounded: an attacker may plant a million.
type findings struct {
	mu    sync.Mutex
	seen  map[repo.Finding]bool
	count int
	list  []repo.Finding
	lost  []repo.Finding // those of lost things
}

const maxFindings = 1000

func (f *findings) add(x repo.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[repo.Finding]bool{}
	}
	if f.seen[x] {
		return
	}
	f.count++
	// Losses have room of their own: any number of junk names must not hide one.
	list := &f.list
	if lost(x) {
		list = &f.lost
	}
	if len(*list) < maxFindings {
		f.seen[x] = true
		*list = append(*list, x)
	}
}

// lost reports whether a finding is of something that is not there any more as it was.
func lost(x repo.Finding) bool { return x.Kind == repo.Missing || x.Kind == repo.Damaged }

// take gives what was collected since the last take.
func (f *findings) take() (list []repo.Finding, count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, count = append(f.lost, f.list...), f.count
	f.list, f.lost, f.count = nil, nil, 0
	return list, count
}

// tell prints what was noticed since it was last taken. gone is whether something is lost or damaged.
func (f *findings) tell(u *ui) (said alarms, count int, gone bool) {
	list, count := f.take()
	for _, x := range list {
		said = append(said, alarmOf(x))
		u.warn("%s", x)
		gone = gone || lost(x)
	}
	if more := count - len(list); more > 0 {
		u.warn("and %d more", more)
	}
	return said, count, gone
}
