package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// contest is one source copied by both programs several times, in alternation.
type contest struct {
	w      *world
	name   string
	files  state
	source place
	vault  place // of holdfast
	reader place
	bucket *bucket // of rclone's crypt remote
	src    *bucket
	rclone string
	env    []string // rclone's

	duels map[string][]duel // by step
}

// duel is a step done by both, one right after the other: a machine's speed changes within minutes, and then only what was
// measured side by side can be compared.
type duel struct{ ours, theirs cost }

func speed(ctx context.Context, w *world) error {
	if err := speedTree(ctx, w); err != nil {
		return err
	}
	return speedLarge(ctx, w)
}

func speedTree(ctx context.Context, w *world) error {
	root, err := goTree(ctx)
	if err != nil {
		return err
	}
	tree, err := newContest(ctx, w, "Go tree", func(b *bucket) error { return b.fill(ctx, root, 0, false) })
	if err != nil {
		return err
	}
	if err := tree.run(ctx, 3, 3); err != nil {
		return err
	}
	tree.hold("first", 1, 1)
	tree.hold("unchanged", 0.3, 0.3)
	tree.hold("restore", 1, 1)
	return nil
}

func speedLarge(ctx context.Context, w *world) error {
	large, err := newContest(ctx, w, "1 GiB of noise in 8 objects", func(b *bucket) error { return b.fillNoise(ctx, 8, 128<<20, 0) })
	if err != nil {
		return err
	}
	if err := large.run(ctx, 3, 15); err != nil {
		return err
	}
	large.hold("first", 1.3, 1.3)
	large.hold("restore", 1, 1)
	return nil
}

func newContest(ctx context.Context, w *world, name string, fill func(*bucket) error) (*contest, error) {
	c := &contest{w: w, name: name, duels: map[string][]duel{}}
	var err error
	if c.rclone, err = servers.Binary(ctx, "rclone"); err != nil {
		return nil, err
	}
	if c.src, err = w.newBucket(ctx, servers.KindVersityGW); err != nil {
		return nil, err
	}
	if err := fill(c.src); err != nil {
		return nil, err
	}
	if c.files, err = c.src.state(ctx); err != nil {
		return nil, err
	}
	fmt.Printf("%s: %d objects, %d bytes\n", name, len(c.files), c.files.bytes())
	if c.source, err = c.src.asSource(ctx); err != nil {
		return nil, err
	}
	if c.vault, c.reader, err = w.lockedVault(ctx, servers.KindMinIO); err != nil {
		return nil, err
	}
	if c.bucket, err = w.newBucket(ctx, servers.KindMinIO); err != nil {
		return nil, err
	}
	c.env, err = c.rcloneEnv(ctx)
	return c, err
}

// run copies in so many rounds, or as many as BARS_ROUNDS says, each into a new repository and a new folder of rclone's, and
// restores the first round's copies several times. Who goes first changes from duel to duel.
func (c *contest) run(ctx context.Context, rounds, restores int) error {
	if n, err := strconv.Atoi(os.Getenv("BARS_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	var first copies
	for n := range rounds {
		k, err := c.copies(ctx, n)
		if err != nil {
			return err
		}
		if n == 0 {
			first = k
		}
	}
	for n := range restores {
		if err := c.restore(ctx, n, first); err != nil {
			return err
		}
	}
	return nil
}

// copies are what a round stored.
type copies struct {
	job   *job
	point string
	crypt string // rclone's
}

// copies is one round: a first run, and one with nothing new, of both.
func (c *contest) copies(ctx context.Context, n int) (copies, error) {
	k := copies{crypt: fmt.Sprintf("CRYPT:round%d", n)}
	vault, reader := c.vault, c.reader
	vault.url = strings.Replace(vault.url, "/prod?", fmt.Sprintf("/round%d?", n), 1)
	reader.url = strings.Replace(reader.url, "/prod?", fmt.Sprintf("/round%d?", n), 1)
	var err error
	if k.job, err = newJob(ctx, c.w, c.source, vault, reader); err != nil {
		return k, err
	}
	for _, step := range []string{"first", "unchanged"} {
		err := c.duel(n, step, func() (cost, error) {
			r, err := k.job.run(ctx, "holdfast "+step)
			if step == "first" {
				k.point = r.Point
			}
			return r.cost, err
		}, func() (cost, error) { return c.peer(ctx, step, "SRC:"+c.src.name, k.crypt) })
		if err != nil {
			return k, err
		}
	}
	return k, nil
}

// restore is one restore by both. Speed without the right bytes counts for nothing: the first is compared.
func (c *contest) restore(ctx context.Context, n int, k copies) error {
	side := func(restore func(to string) (cost, error)) func() (cost, error) {
		return func() (cost, error) {
			to := c.w.path("restored")
			x, err := restore(to)
			if err == nil {
				err = c.look(n, to)
			}
			return x, err
		}
	}
	return c.duel(n, "restore",
		side(func(to string) (cost, error) {
			return k.job.restore(ctx, "holdfast restore", k.point, dirAt(to))
		}),
		side(func(to string) (cost, error) { return c.peer(ctx, "restore", k.crypt, to) }))
}

// look compares and removes what was restored. Many small files are not removed before the end: ext4 takes long to make
// some where many have just been deleted.
func (c *contest) look(n int, dir string) error {
	if n == 0 {
		if err := c.check(dir); err != nil {
			return err
		}
	}
	if len(c.files) < 100 {
		return os.RemoveAll(dir)
	}
	return nil
}

// duel does a step by both.
func (c *contest) duel(n int, step string, ours, theirs func() (cost, error)) error {
	var p duel
	sides := []func() error{
		func() (err error) { p.ours, err = ours(); return err },
		func() (err error) { p.theirs, err = theirs(); return err },
	}
	if n%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := c.settle(); err != nil {
			return err
		}
		if err := side(); err != nil {
			return err
		}
	}
	c.duels[step] = append(c.duels[step], p)
	return nil
}

// settle has everything written out that the step before left, servers included, so that it is not billed to the next.
// What a step itself leaves unwritten is to its own credit. And it gives each step a gigabyte of memory that was used a
// moment ago: a virtual machine hands what lies free for seconds back to its host, and who comes first after that pays for
// getting it again, which took as long as a whole restore.
func (c *contest) settle() error {
	unix.Sync()
	ballast := c.w.path("ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, newNoise(0, 5<<28, 0))
	return errors.Join(err, f.Close(), os.Remove(ballast))
}

// peer is rclone copying, with its own defaults.
func (c *contest) peer(ctx context.Context, step, from, to string) (cost, error) {
	_, x, err := execute(ctx, c.w.dir, c.env, c.rclone, "copy", from, to)
	if err != nil {
		return x, err
	}
	fmt.Printf("%-32s %s\n", "rclone "+step, x)
	return x, nil
}

// check compares what was restored.
func (c *contest) check(dir string) error {
	is, err := folderState(dir, true)
	if err != nil {
		return err
	}
	if len(is) != len(c.files) {
		return fmt.Errorf("%d files came back of %d", len(is), len(c.files))
	}
	for key, i := range c.files {
		if is[key].sum != i.sum {
			return fmt.Errorf("%s came back different", key)
		}
	}
	return nil
}

// rcloneEnv configures the remotes SRC, DST and CRYPT by environment, as rclone's manual has it.
func (c *contest) rcloneEnv(ctx context.Context) ([]string, error) {
	secret, _, err := execute(ctx, c.w.dir, environment(), c.rclone, "obscure", "a long enough password")
	if err != nil {
		return nil, err
	}
	env := append(environment(), "HOME="+c.w.dir, "RCLONE_CONFIG="+filepath.Join(c.w.dir, "rclone.conf"))
	for remote, values := range map[string]map[string]string{
		"SRC": {
			"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": c.src.s.Direct, "REGION": servers.Region,
			"ACCESS_KEY_ID": c.source.creds.AccessKeyID, "SECRET_ACCESS_KEY": c.source.creds.SecretAccessKey, "FORCE_PATH_STYLE": "true",
		},
		"DST": {
			"TYPE": "s3", "PROVIDER": "Minio", "ENDPOINT": c.bucket.s.Direct, "REGION": servers.Region,
			"ACCESS_KEY_ID": c.bucket.s.Root.AccessKeyID, "SECRET_ACCESS_KEY": c.bucket.s.Root.SecretAccessKey,
		},
		"CRYPT": {
			"TYPE": "crypt", "REMOTE": "DST:" + c.bucket.name, "PASSWORD": strings.TrimSpace(string(secret)),
			"FILENAME_ENCRYPTION": "standard", "DIRECTORY_NAME_ENCRYPTION": "true",
		},
	} {
		for k, v := range values {
			env = append(env, "RCLONE_CONFIG_"+remote+"_"+k+"="+v)
		}
	}
	return env, os.WriteFile(filepath.Join(c.w.dir, "rclone.conf"), nil, 0o600)
}

// hold compares our share of the other's CPU and wall with the bar: the median of the duels' own ratios.
func (c *contest) hold(step string, cpu, wall float64) {
	duels := c.duels[step]
	for _, of := range []struct {
		name string
		bar  float64
		take func(cost) time.Duration
	}{{"CPU", cpu, func(x cost) time.Duration { return x.cpu }}, {"wall", wall, func(x cost) time.Duration { return x.wall }}} {
		var ratios, ours, theirs []float64
		for _, p := range duels {
			a, b := of.take(p.ours).Seconds(), of.take(p.theirs).Seconds()
			ratios, ours, theirs = append(ratios, a/b), append(ours, a), append(theirs, b)
		}
		r := median(ratios)
		c.w.bar(r <= of.bar, "%s, %s: %s %.2f s, rclone %.2f s: %.2f of it (%.2f to %.2f in %d duels), bar %.2f",
			c.name, step, of.name, median(ours), median(theirs), r, slices.Min(ratios), slices.Max(ratios), len(ratios), of.bar)
	}
}

func median(all []float64) float64 {
	all = slices.Clone(all)
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
