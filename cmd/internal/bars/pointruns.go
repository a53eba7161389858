package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// programMeasured is how many runs of the program are measured, of which the middle one counts.
const programMeasured = 21

// programRuns measures the CPU that a run of the built program takes where so many points are in the vault, on a server with locks.
func programRuns(ctx context.Context, w *world, points ...int) error {
	var first time.Duration
	for _, n := range points {
		h := history{1, n}
		var vault place
		y, err := newYears(ctx, w.path("years"), h, func(y *years) (err error) {
			vault, err = onServer(ctx, w, y)
			return err
		})
		if err != nil {
			return err
		}
		run, listed, err := programRun(ctx, w, y, vault)
		if err != nil {
			return err
		}
		if first == 0 {
			first = run - listed
		}
		over := float64(run-listed) / float64(first)
		w.bar(over <= cpuMost, "%s: a run of the program takes %.1f ms of CPU, and %.1f without the listing, %.2f times that with one point (at most %.1f)", h, ms(run), ms(run-listed), over, cpuMost)
	}
	return nil
}

// onServer has the years on a server, now, and a folder for each source.
func onServer(ctx context.Context, w *world, y *years) (vault place, err error) {
	const kind = servers.KindVersityGW
	if vault, _, err = w.lockedVault(ctx, kind); err != nil {
		return vault, err
	}
	s, err := openVault(vault)
	if err != nil {
		return vault, err
	}
	y.now, y.vault = time.Now, newCounting(s)
	y.locking = yearsLocking
	for i := range y.sources {
		if y.sources[i], err = folderSource(filepath.Join(y.dir, "source-"+itoa(i))); err != nil {
			return vault, err
		}
	}
	return vault, nil
}

func openVault(p place) (*s3store.Store, error) {
	loc, err := s3url.Parse(p.url)
	if err != nil {
		return nil, err
	}
	return s3store.New(s3store.Options{Location: loc, Credentials: fixed.Credentials(p.creds)})
}

// listingOf names the variable by which this program is told to list a vault and do nothing else: as a process of its own, which
// begins and collects garbage as the one that makes a run does.
const listingOf = "BARS_LISTING_OF"

// onlyList lists the vault, if there is an argument, with the credentials of a job.
func onlyList(ctx context.Context, args []string) error {
	c := store.Credentials{AccessKeyID: os.Getenv("BARS_VAULT_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("BARS_VAULT_SECRET_ACCESS_KEY")}
	s, err := openVault(place{os.Getenv(listingOf), c})
	if err != nil || len(args) == 0 {
		return err
	}
	for _, err := range s.Versions(ctx, "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}

// listing gives the CPU that listing a vault takes, without that of a process which lists nothing.
func listing(ctx context.Context, vault place, env []string) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	env = append(slices.Clone(env), listingOf+"="+vault.url)
	_, nothing, err := execute(ctx, "", env, self)
	if err != nil {
		return 0, err
	}
	_, all, err := execute(ctx, "", env, self, "all")
	return all.cpu - nothing.cpu, err
}

func folderSource(root string) (c changing, err error) {
	c.change = func(n int, content []byte) error {
		return os.WriteFile(filepath.Join(root, itemKey(n)), content, 0o600)
	}
	if err := os.MkdirAll(filepath.Join(root, "folder"), 0o700); err != nil {
		return c, err
	}
	for n := range 200 {
		if err := c.change(n, fmt.Appendf(nil, "content %d", n)); err != nil {
			return c, err
		}
	}
	c.Source, err = dirsource.New(dirsource.Options{Root: root})
	return c, err
}

// programRun gives the CPU of a run that changed one entry of 200, and that of listing the vault alone.
func programRun(ctx context.Context, w *world, y *years, vault place) (run, listed time.Duration, err error) {
	if err := keys.WriteHostKeyFile(filepath.Join(y.dir, "host.key"), y.host); err != nil {
		return 0, 0, err
	}
	if err := (configuration{
		vault: vaultName, at: vault, recipient: y.restore.Recipient().String(), name: "source-0", source: dirAt(filepath.Join(y.dir, "source-0")),
		retention: "{daily: 35d, weekly: 0, monthly: 0, yearly: 0}",
	}).write(y.dir); err != nil {
		return 0, 0, err
	}
	env := append(environment(), credentials("VAULT", vault.creds)...)
	var runs, listings []time.Duration
	for range programMeasured + 1 {
		y.changes++
		if err := y.sources[0].change(y.changes, fmt.Appendf(nil, "content, changed for the %d. time", y.changes)); err != nil {
			return 0, 0, err
		}
		nextSecond()
		_, c, err := execute(ctx, y.dir, env, w.holdfast, "run", "--json")
		if err != nil {
			return 0, 0, err
		}
		listed, err := listing(ctx, vault, env)
		if err != nil {
			return 0, 0, err
		}
		runs, listings = append(runs, c.cpu), append(listings, listed)
	}
	return middle(runs[1:]), middle(listings[1:]), nil // the first made the cache
}

// nextSecond waits for it: two points of one second, which no schedule makes, are read to see which of them came first.
func nextSecond() {
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(1050 * time.Millisecond).Sub(now))
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
