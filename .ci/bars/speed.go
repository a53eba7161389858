package main

import (
	"context"
	"fmt"
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

	figures map[string][2][]cost // by step: holdfast's, rclone's
}

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
	tree, err := w.newContest(ctx, "Go tree", func(b *bucket) error { return b.fill(ctx, root, 0, false) })
	if err != nil {
		return err
	}
	if err := tree.run(ctx); err != nil {
		return err
	}
	tree.hold("first", 1, 1)
	tree.hold("unchanged", 0.3, 0.3)
	tree.hold("restore", 1, 1)
	return nil
}

func speedLarge(ctx context.Context, w *world) error {
	large, err := w.newContest(ctx, "1 GiB of noise in 8 objects", func(b *bucket) error { return b.fillNoise(ctx, 8, 128<<20, 0) })
	if err != nil {
		return err
	}
	if err := large.run(ctx); err != nil {
		return err
	}
	large.hold("first", 1.3, 1.3)
	large.hold("restore", 1, 1)
	return nil
}

func (w *world) newContest(ctx context.Context, name string, fill func(*bucket) error) (*contest, error) {
	c := &contest{w: w, name: name, figures: map[string][2][]cost{}}
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
	c.bucket, err = w.newBucket(ctx, servers.KindMinIO)
	return c, err
}

// run does the rounds: 3, or as many as BARS_ROUNDS says. Who goes first changes from round to round.
func (c *contest) run(ctx context.Context) error {
	rounds, err := strconv.Atoi(os.Getenv("BARS_ROUNDS"))
	if err != nil || rounds < 1 {
		rounds = 3
	}
	for n := range rounds {
		sides := []func(context.Context, int) error{c.holdfast, c.peer}
		if n%2 == 1 {
			slices.Reverse(sides)
		}
		for _, side := range sides {
			if err := side(ctx, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *contest) note(step string, side int, x cost) {
	f := c.figures[step]
	f[side] = append(f[side], x)
	c.figures[step] = f
}

// holdfast is one round in a new repository with an empty cache.
func (c *contest) holdfast(ctx context.Context, n int) error {
	vault, reader := c.vault, c.reader
	vault.url = strings.Replace(vault.url, "/prod?", fmt.Sprintf("/round%d?", n), 1)
	reader.url = strings.Replace(reader.url, "/prod?", fmt.Sprintf("/round%d?", n), 1)
	j, err := c.w.newJob(ctx, c.source, vault, reader)
	if err != nil {
		return err
	}
	settle()
	first, err := j.run(ctx, "holdfast first")
	if err != nil {
		return err
	}
	c.note("first", 0, first.cost)
	settle()
	unchanged, err := j.run(ctx, "holdfast unchanged")
	if err != nil {
		return err
	}
	c.note("unchanged", 0, unchanged.cost)
	dir := c.w.path("restored")
	settle()
	back, err := j.restore(ctx, "holdfast restore", first.Point, dirAt(dir))
	if err != nil {
		return err
	}
	c.note("restore", 0, back)
	return c.check(n, dir)
}

// settle has everything written out that the step before left, servers included, so that it is not billed to the next.
// What a step itself leaves unwritten is to its own credit.
func settle() { unix.Sync() }

// peer is one round of rclone with a new remote folder and its own defaults.
func (c *contest) peer(ctx context.Context, n int) error {
	env, err := c.rcloneEnv(ctx)
	if err != nil {
		return err
	}
	from, to := "SRC:"+c.src.name, fmt.Sprintf("CRYPT:round%d", n)
	dir := c.w.path("restored")
	for _, step := range []struct{ name, from, to string }{{"first", from, to}, {"unchanged", from, to}, {"restore", to, dir}} {
		settle()
		_, x, err := execute(ctx, c.w.dir, env, c.rclone, "copy", step.from, step.to)
		if err != nil {
			return err
		}
		fmt.Printf("%-32s %s\n", "rclone "+step.name, x)
		c.note(step.name, 1, x)
	}
	return c.check(n, dir)
}

// check compares what was restored, in the first round: speed without the right bytes counts for nothing. Nothing is
// removed before the end: ext4 takes long to make files where many have just been deleted.
func (c *contest) check(n int, dir string) error {
	if n > 0 {
		return nil
	}
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

// hold compares the medians of a step with the bar: our share of the other's CPU and wall.
func (c *contest) hold(step string, cpu, wall float64) {
	f := c.figures[step]
	ours, theirs := f[0], f[1]
	ourCPU, theirCPU := median(ours, func(x cost) time.Duration { return x.cpu }), median(theirs, func(x cost) time.Duration { return x.cpu })
	ourWall, theirWall := median(ours, func(x cost) time.Duration { return x.wall }), median(theirs, func(x cost) time.Duration { return x.wall })
	byCPU, byWall := ourCPU.Seconds()/theirCPU.Seconds(), ourWall.Seconds()/theirWall.Seconds()
	c.w.bar(byCPU <= cpu, "%s, %s: CPU %.2f s, rclone %.2f s: %.2f of it, bar %.2f", c.name, step, ourCPU.Seconds(), theirCPU.Seconds(), byCPU, cpu)
	c.w.bar(byWall <= wall, "%s, %s: wall %.2f s, rclone %.2f s: %.2f of it, bar %.2f", c.name, step, ourWall.Seconds(), theirWall.Seconds(), byWall, wall)
}

func median(costs []cost, of func(cost) time.Duration) time.Duration {
	all := make([]time.Duration, len(costs))
	for i, c := range costs {
		all[i] = of(c)
	}
	slices.Sort(all)
	if len(all) == 0 {
		return 0
	}
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
