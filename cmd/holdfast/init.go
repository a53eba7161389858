package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
)

const initHelp = `Create the host key and the repository in every vault of the configuration.

Safe to repeat: what is there already is left as it is. A vault that holds another
repository, or this one under another host key, is refused, and so is a vault that
cannot keep an immutable copy. The fingerprint that is printed belongs on the paper
with the restore keys. The repository is pinned by it, in the host key's file: every later
command refuses any other. A host key made before that is pinned by its next run.

A vault that was wiped is begun anew, from another vault. What it held is lost there: status
and verify tell of it, on this machine, until it would be over, or until somebody says with
--forget-lost that it is known.`

// initialised is one vault after init, for scripts.
type initialised struct {
	Vault       string `json:"vault"`
	Fingerprint string `json:"fingerprint"`
	Created     bool   `json:"created"`

	Next []nextPoint `json:"next,omitempty"` // until when each source's next point will be held there
}

func (a *app) initCommand() *cobra.Command {
	var pin string
	var forget bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Create the host key and the repository in every vault",
		Long:  initHelp,
		Args:  takes(0, 0),
		RunE: a.action(func(ctx context.Context, _ []string) error {
			p, err := parsePin(pin)
			if err != nil {
				return err
			}
			return a.init(ctx, p, forget)
		}),
	}
	addFingerprint(cmd, &pin)
	cmd.Flags().BoolVar(&forget, "forget-lost", false, "it is known what vaults lost that were wiped: status and verify do not tell of it any more")
	return cmd
}

func (a *app) init(ctx context.Context, pin string, forget bool) (err error) {
	j, err := a.openJob(newVaults)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	if err := j.checkSources(ctx); err != nil {
		return err
	}
	for _, v := range j.vaults {
		if err := j.backends.listsInOrder(ctx, v, a.now()); err != nil {
			return err
		}
	}
	host, path, fresh, err := j.changes.hostKeyForInit()
	if err != nil {
		return err
	}
	if fresh {
		// On disk before anything is created: a repository without its host key would have to be recovered.
		if err := keys.WriteHostKeyFile(path, host); err != nil {
			return err
		}
	}
	known, err := j.trusts.knownRepository(j.config, pin)
	if err != nil {
		return err
	}
	results, err := repo.Init(ctx, repo.InitOptions{
		Pin: known.Pin, Vaults: j.repoVaults(nil), HostKey: host, Recipients: j.config.Keys.Recipients, Owners: j.config.Keys.Owners,
		Need: longestKeep(j.config, a.now()), Report: j.findings.add, Now: a.now,
	})
	created := false
	for _, r := range results {
		created = created || r.Created
		if dir, derr := j.cacheDir(j.config, r.CacheID); derr == nil {
			err = errors.Join(err, lostIn(a.ui, dir, r, forget, a.now()))
		}
		next, nerr := j.tells.nextPoints(ctx, r.Vault)
		if nerr != nil {
			a.ui.warn("vault %s: until when the next points will be locked cannot be told: %v", r.Vault, nerr)
		}
		if perr := a.printInit(r, next); perr != nil {
			return perr
		}
	}
	if err == nil || created {
		err = errors.Join(err, j.trusts.keepPin(j.config, path, host))
	}
	if created && len(j.config.Keys.Owners) == 0 {
		a.ui.warn("keys.owners names no owner keys: whoever steals this machine can change the repository's keys; `holdfast keygen` prints one beside each recipient")
	}
	if fresh && (err == nil || created) {
		a.ui.remark("Made the host key %s. A copy of it, sealed to the restore keys, lies in the vault.", path)
	}
	if err != nil && fresh && !created {
		if rerr := os.Remove(path); rerr != nil {
			a.ui.warn("the host key %s was made for nothing and can be deleted: %v", path, rerr)
		}
	}
	if err == nil {
		err = j.twinsNow(ctx, results[0].Fingerprint.String())
	}
	return together{err, j.tells.alarm()}.orNil()
}

// lostIn says what a vault lost that was begun anew, and has this machine remember it, or forget it again.
func lostIn(u *ui, dir string, r repo.InitResult, forget bool, now time.Time) error {
	if r.Created {
		n, until, err := cache.LosePoints(dir, r.Vault, now)
		if err != nil {
			return err
		}
		if n > 0 {
			what := "a point that it held and that is kept, until %s, is lost there"
			if n > 1 {
				what = fmt.Sprintf("%d points that it held and that are kept", n) + ", until %s at the longest, are lost there"
			}
			u.warn("vault %s was begun anew: "+what+". Where only its disk was away, mount it: nothing is lost then", r.Vault, until.UTC().Format(time.DateOnly))
		}
	}
	if !forget {
		return nil
	}
	n, err := cache.ForgetLost(dir, r.Vault, now)
	if err == nil && n > 0 {
		u.remark("vault %s: %s not told of any more", r.Vault, plural(n, "point that was lost is", "points that were lost are"))
	}
	return err
}

// twinsNow refuses vaults that turn out to be one, now that each has a descriptor.
func (j *job) twinsNow(ctx context.Context, fingerprint string) error {
	if len(j.vaults) < 2 {
		return nil
	}
	r, err := repo.Find(ctx, j.vaults[0].Reader, fingerprint, nil)
	if err != nil {
		return err
	}
	return j.twins(ctx, r)
}

func (a *app) printInit(r repo.InitResult, next []nextPoint) error {
	if a.ui.json {
		return a.ui.object(initialised{r.Vault, r.Fingerprint.String(), r.Created, next})
	}
	what := "holds this repository already"
	if r.Created {
		what = "repository created"
	}
	if _, err := fmt.Fprintf(a.ui.out, "%s: %s, fingerprint %s\n", r.Vault, what, r.Fingerprint); err != nil {
		return err
	}
	for _, n := range next {
		a.ui.remark("%s -> %s: the next point will be %s", n.Source, r.Vault, held(ran{RetainUntil: n.RetainUntil, LockedUntil: n.LockedUntil}))
	}
	return nil
}

// hostKeyForInit reads the host key, or makes a new one of the recipients' class where there is none.
func (j *keyChanges) hostKeyForInit() (h *keys.HostKey, path string, fresh bool, err error) {
	if path, err = j.config.HostKeyPath(j.env); err != nil {
		return nil, "", false, err
	}
	h, err = j.trusts.readHostKeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return h, path, false, err
	}
	if path, err = j.config.WritableHostKeyPath(j.env); err != nil {
		return nil, "", false, usage(err)
	}
	h, err = keys.GenerateHostKey(j.config.Keys.Recipients[0].Class())
	return h, path, true, err
}

// checkSources refuses sources that share their key with a vault.
func (j *job) checkSources(ctx context.Context) error {
	for _, s := range j.config.Sources {
		_, get, err := j.backends.openSource(s)
		if err != nil {
			return err
		}
		if err := j.distinctKeys(ctx, s.Name, get); err != nil {
			return err
		}
	}
	return nil
}
