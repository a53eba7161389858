package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/storetest/faults"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// newFaultBench fills two buckets, the source before and after some changes, and makes keys and a vault of three points.
func newFaultBench(ctx context.Context, w *world) (f *faultBench, err error) {
	f = &faultBench{w: w, dir: w.path("faults"), every: 1}
	if n, err := strconv.Atoi(os.Getenv("BARS_EVERY")); err == nil && n > 0 {
		f.every = n
	}
	if f.vault, err = w.server(ctx, servers.KindMinIO); err != nil {
		return nil, err
	}
	if f.bucket, err = f.vault.MakeBucket(ctx, servers.BucketOptions{Lock: true}); err != nil {
		return nil, err
	}
	if f.write, err = f.vault.MakeUser(ctx, servers.WriterPolicy(f.bucket)); err != nil {
		return nil, err
	}
	if f.read, err = f.vault.MakeUser(ctx, servers.ReaderPolicy(f.bucket)); err != nil {
		return nil, err
	}
	for i, b := range []**bucket{&f.before, &f.after} {
		if *b, err = w.newBucket(ctx, servers.KindVersityGW); err != nil {
			return nil, err
		}
		p, err := (*b).asSource(ctx)
		if err != nil {
			return nil, err
		}
		f.users[i] = p.creds
	}
	if err := f.fill(ctx); err != nil {
		return nil, err
	}
	time.Sleep(4 * time.Second) // what changed within two seconds of the reading is looked at again, by clocks of whole seconds
	if f.is, err = f.after.state(ctx); err != nil {
		return nil, err
	}
	prefix := "shared"
	vault := at(f.vault.Direct, f.bucket, prefix, f.write)
	f.reader = at(f.vault.Direct, f.bucket, prefix, f.read)
	source := at(f.before.s.Direct, f.before.name, "", f.users[0])
	if f.template, err = newJob(ctx, w, source, vault, f.reader); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(f.template.dir, "holdfast.yaml"))
	if err != nil {
		return nil, err
	}
	f.config = strings.NewReplacer(vault.url, "VAULT_URL", source.url, "SOURCE_URL", filepath.Join(f.template.dir, "cache"), "CACHE").Replace(string(text))
	return f, f.threePoints(ctx, prefix)
}

// fill puts a dozen objects into both buckets; some differ.
func (f *faultBench) fill(ctx context.Context) error {
	sizes := []int{0, 1, 700, 5000, 20_000, 300_000, 1_600_000, 900, 3000, 40_000, 1000, 100_000}
	for i, size := range sizes {
		key, data := fmt.Sprintf("docs/%02d.bin", i), noise(size)
		for n, b := range []*bucket{f.before, f.after} {
			if n == 1 && i%4 == 3 {
				data = noise(size + 50)
			}
			if n == 0 && i == 10 || n == 1 && i == 9 {
				continue // added, deleted
			}
			if err := b.put(ctx, b.s.Admin(), key, data, options(i, key, true)); err != nil {
				return err
			}
		}
	}
	return nil
}

// threePoints fills the vault that verifications and restores read.
func (f *faultBench) threePoints(ctx context.Context, prefix string) error {
	c := &faultCase{dir: filepath.Join(f.dir, "shared"), id: prefix}
	if err := os.MkdirAll(filepath.Join(c.dir, "home"), 0o700); err != nil {
		return err
	}
	host, err := os.ReadFile(filepath.Join(f.template.dir, "host.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(c.dir, "host.key"), host, 0o600)
	}
	if err != nil {
		return err
	}
	for i := range 3 {
		b := []*bucket{f.before, f.after, f.after}[i]
		points, err := f.run(ctx, c, f.vault.Direct, b.s.Direct, b)
		if err != nil {
			return err
		}
		f.point = points
	}
	return nil
}

// configure writes a case's configuration. Its init makes the host key, which is pinned to the repository it was made for.
func (f *faultBench) configure(c *faultCase, vaultEnd, sourceEnd string, b *bucket) error {
	text := strings.NewReplacer(
		"VAULT_URL", at(vaultEnd, f.bucket, c.id, f.write).url, "SOURCE_URL", at(sourceEnd, b.name, "", f.users[0]).url,
		"CACHE", filepath.Join(c.dir, "cache"),
	).Replace(f.config)
	return os.WriteFile(filepath.Join(c.dir, "holdfast.yaml"), []byte(text), 0o600)
}

func (f *faultBench) writer(b *bucket) []string {
	user := f.users[0]
	if b == f.after {
		user = f.users[1]
	}
	return append(credentials("VAULT", f.write), credentials("SOURCE", user)...)
}

// run makes a point with nothing in the way and gives its ID.
func (f *faultBench) run(ctx context.Context, c *faultCase, vaultEnd, sourceEnd string, b *bucket) (string, error) {
	if err := f.configure(c, vaultEnd, sourceEnd, b); err != nil {
		return "", err
	}
	s, err := f.must(ctx, c, f.writer(b), "run")
	if err != nil {
		return "", err
	}
	var m made
	err = json.Unmarshal(bytes.TrimSpace(s.out), &m)
	if err == nil && m.Status != "complete" {
		err = fmt.Errorf("run: %s", s.out)
	}
	return m.Point, err
}

func (f *faultBench) runVault(ctx context.Context, c *faultCase) error {
	return f.runCase(ctx, c, c.proxy, f.after.s.Direct)
}

func (f *faultBench) runSource(ctx context.Context, c *faultCase) error {
	return f.runCase(ctx, c, f.vault.Direct, c.proxy)
}

// runCase makes a repository and a point, then one with the fault, then one without, and holds the outcome to the rule.
func (f *faultBench) runCase(ctx context.Context, c *faultCase, vaultEnd, sourceEnd string) error {
	if err := f.configure(c, f.vault.Direct, f.before.s.Direct, f.before); err != nil {
		return err
	}
	if _, err := f.must(ctx, c, f.writer(f.before), "init"); err != nil {
		return err
	}
	if _, err := f.run(ctx, c, f.vault.Direct, f.before.s.Direct, f.before); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(c.dir, "cache")); err != nil { // so that placements and index are read too
		return err
	}
	if err := f.configure(c, vaultEnd, sourceEnd, f.after); err != nil {
		return err
	}
	s, err := f.do(ctx, c, f.writer(f.after), "run")
	if err != nil {
		return err
	}
	reader := at(f.vault.Direct, f.bucket, c.id, f.read).url
	listed, err := f.must(ctx, c, credentials("READER", f.read), "points", "--vault", reader, "--credentials", "env:BARS_READER")
	if err != nil {
		return err
	}
	points := bytes.Count(listed.out, []byte("\n"))
	if err := c.judgeRun(s, points); err != nil {
		return err
	}
	if points == 2 && s.code != 3 {
		if err := f.whole(ctx, c, "tree@latest", "after"); err != nil {
			return fmt.Errorf("the point is not whole: %w", err)
		}
	}
	next, err := f.run(ctx, c, f.vault.Direct, f.after.s.Direct, f.after)
	if err != nil {
		return fmt.Errorf("the next run: %w", err)
	}
	if err := f.whole(ctx, c, next, "next"); err != nil {
		return fmt.Errorf("the next point is not whole: %w", err)
	}
	return nil
}

// judgeRun: a point and success, or none and a clear error.
func (c *faultCase) judgeRun(s said, points int) error {
	switch {
	case s.code == 0 && points == 2:
		return nil
	case s.code >= 3 && points == 2 && !c.mended():
		return s.clear() // 3: the point says itself that it is incomplete, and what is missing; 4, 5: an alarm beside a point
	case s.code == 0:
		return fmt.Errorf("no error, and %d points", points)
	case c.mended():
		return fmt.Errorf("not mended by trying again: exit code %d: %s", s.code, s.errs)
	case points != 1 && !strings.HasPrefix(c.rule.Name, "points"):
		return fmt.Errorf("exit code %d, and %d points: %s", s.code, points, s.errs)
	}
	return s.clear()
}

// whole verifies everything and compares a point with the source.
func (f *faultBench) whole(ctx context.Context, c *faultCase, point, to string) error {
	from := []string{"--vault", at(f.vault.Direct, f.bucket, c.id, f.read).url, "--credentials", "env:BARS_READER", "--identity", f.template.identity}
	creds := credentials("READER", f.read)
	if _, err := f.must(ctx, c, creds, append([]string{"verify", "--level", "content"}, from...)...); err != nil {
		return err
	}
	dir := filepath.Join(c.dir, to)
	if _, err := f.must(ctx, c, creds, append([]string{"restore", point, "--to", dir}, from...)...); err != nil {
		return err
	}
	is, err := folderState(dir, true)
	if err != nil {
		return err
	}
	if d := differences(f.is, is, true); len(d) > 0 {
		return fmt.Errorf("%d differences: %s", len(d), d[0])
	}
	return nil
}

// verified is what a verification says, as far as it must say the same each time.
type verified struct {
	Status       string
	Points       int
	Objects      int64
	Bytes        int64
	ObjectsRead  int64 `json:"objects_read"`
	Entries      int64
	EntriesRead  int64 `json:"entries_read"`
	LocksChecked bool  `json:"locks_checked"`
}

func (f *faultBench) verify(ctx context.Context, c *faultCase) error {
	s, err := f.do(ctx, c, credentials("READER", f.read), "verify", "--level", "content", "--vault", at(c.proxy, f.bucket, "shared", f.read).url,
		"--credentials", "env:BARS_READER", "--identity", f.template.identity)
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(s.out), []byte("\n"))
	var sum verified
	if s.code == 0 || s.code == 4 || s.code == 5 {
		if err := json.Unmarshal(lines[len(lines)-1], &sum); err != nil && s.code != 5 {
			return fmt.Errorf("exit code %d: %w: %s", s.code, err, s.out)
		}
	}
	if c.rule.Way == "" {
		f.sound = sum
	}
	exact := s.code == 0 && sum == f.sound && sum.Status == "ok" && sum.Points == 3
	again := c.mended() || c.rule.Times == 1 && (c.rule.Way == faults.Flipped || c.rule.Way == faults.Truncated)
	switch {
	case exact && (c.rule.Times == 1 || c.mended() || c.rule.Way == faults.Stale):
		return nil
	case exact && c.rule.Op == "head" && c.rule.Way == faults.Denied:
		return nil // the locks had been read; then, for the newest version being closed to it, it listed them all and read the right ones
	case exact:
		return errors.New("passed, though it failed for good")
	case again:
		return fmt.Errorf("not mended by trying again: exit code %d: %s%s", s.code, s.out, s.errs)
	case s.code == 0 && c.rule.Way == faults.Stale && sum.Points < 3:
		return nil // it says how many it looked at
	case s.code == 0:
		return fmt.Errorf("no error, and status %q of %d points", sum.Status, sum.Points)
	}
	return s.clear()
}

func (f *faultBench) restoreVault(ctx context.Context, c *faultCase) error {
	dir := filepath.Join(c.dir, "restored")
	s, err := f.restoreTo(ctx, c, c.proxy, nil, dir)
	if err != nil {
		return err
	}
	is, err := folderState(dir, true)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return f.judgeRestore(c, s, is)
}

// restoreTarget is to a bucket, the requests to which fail; then again, with nothing in the way.
func (f *faultBench) restoreTarget(ctx context.Context, c *faultCase) error {
	name, err := f.before.s.MakeBucket(ctx, servers.BucketOptions{})
	if err != nil {
		return err
	}
	to := &bucket{f.before.s, name}
	creds := credentials("TARGET", to.s.Root)
	s, err := f.restoreTo(ctx, c, f.vault.Direct, creds, at(c.proxy, name, "", to.s.Root).url, "--to-credentials", "env:BARS_TARGET")
	if err != nil {
		return err
	}
	is, err := to.state(ctx)
	if err != nil {
		return err
	}
	if err := f.judgeRestore(c, s, is); err != nil {
		return err
	}
	if s.code == 0 {
		if d := differences(f.is, is, false); len(d) > 0 {
			return fmt.Errorf("%d differences: %q", len(d), d)
		}
		return nil
	}
	again, err := f.restoreTo(ctx, c, f.vault.Direct, creds, to.asOwner().url, "--to-credentials", "env:BARS_TARGET", "--overwrite", "changed")
	if err != nil {
		return err
	}
	if is, err = to.state(ctx); err != nil {
		return err
	}
	if d := differences(f.is, is, false); again.code != 0 || len(d) > 0 {
		return fmt.Errorf("the next restore: exit code %d, %d differences: %q %s", again.code, len(d), d, again.errs)
	}
	return nil
}

func (f *faultBench) restoreTo(ctx context.Context, c *faultCase, vaultEnd string, creds []string, to string, more ...string) (said, error) {
	args := append([]string{"restore", f.point, "--to", to, "--vault", at(vaultEnd, f.bucket, "shared", f.read).url,
		"--credentials", "env:BARS_READER", "--identity", f.template.identity}, more...)
	return f.do(ctx, c, append(credentials("READER", f.read), creds...), args...)
}

// judgeRestore: everything, or a clear error; and never a wrong byte.
func (f *faultBench) judgeRestore(c *faultCase, s said, is state) error {
	for key, i := range is {
		if strings.HasPrefix(key, ".holdfast-part-") {
			continue // the next restore goes on with it
		}
		if was, ok := f.is[key]; !ok || was.sum != i.sum {
			return fmt.Errorf("%s came back wrong", key)
		}
	}
	switch {
	case s.code == 0 && len(is) != len(f.is):
		return fmt.Errorf("no error, and %d of %d entries", len(is), len(f.is))
	case s.code == 0:
		return nil
	case c.mended():
		return fmt.Errorf("not mended by trying again: exit code %d: %s%s", s.code, s.out, s.errs)
	}
	return s.clear()
}
