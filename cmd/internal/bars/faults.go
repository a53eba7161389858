package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// faultParallel is how many cases run at once: most of one is waiting, for a server or before another try.
const faultParallel = 6

// everyFault makes every request of a run, a verification and a restore fail in turn, in each of the ways, between the real
// program and the real servers: once in every way; for good in the ways that no repetition cures; and for good in the others for
// one request of each kind, as the program goes on trying for a while. BARS_EVERY=N tries one case of N.
func everyFault(ctx context.Context, w *world) error {
	f, err := newFaultBench(ctx, w)
	if err != nil {
		return err
	}
	for _, s := range []faultScene{
		{"run, requests to the vault", f.vault, servers.FaultWays, f.runVault},
		{"run, requests to the source", f.before.s, sourceFaults, f.runSource},
		{"verification at the level of content", f.vault, servers.FaultWays, f.verify},
		{"restore, requests to the vault", f.vault, servers.FaultWays, f.restoreVault},
		{"restore, requests to the target", f.before.s, targetFaults, f.restoreTarget},
	} {
		if err := f.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// sourceFaults leaves out the stale listing: what a source does not list is deleted, for all anybody can tell.
func sourceFaults(op string) []faults.Way { return without(servers.FaultWays(op), faults.Stale) }

// targetFaults leaves out the ways in which a target could lie about what it has already.
func targetFaults(op string) []faults.Way {
	if op == "get" {
		return without(servers.FaultWays(op), faults.Flipped)
	}
	return without(servers.FaultWays(op), faults.Stale)
}

func without(ways []faults.Way, out ...faults.Way) []faults.Way {
	return slices.DeleteFunc(ways, func(w faults.Way) bool { return slices.Contains(out, w) })
}

// faultScene is one command whose requests to one server fail. try runs it by way of a proxy and gives what is wrong with the
// outcome.
type faultScene struct {
	name   string
	server *servers.Server
	ways   func(op string) []faults.Way
	try    func(ctx context.Context, c *faultCase) error
}

// faultCase is one rule in a place of its own.
type faultCase struct {
	rule  faults.Rule // without a way: nothing fails
	plan  *faults.Plan
	proxy string // its endpoint
	dir   string
	id    string
}

// mended: trying again must have helped.
func (c *faultCase) mended() bool {
	return c.rule.Way == "" || c.rule.Way == faults.Slow || c.rule.Times == 1 && c.rule.Way.Retryable()
}

// class tells a request by its kind: hashes and folders are other ones in each case.
func class(path string) string {
	_, key, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	prefix, name, _ := strings.Cut(key, "/")
	dir, _, _ := strings.Cut(name, "/")
	switch {
	case key == "":
		return "the bucket"
	case slices.Contains([]string{"packs", "meta", "needs", "keys", "placements", "points", "descriptors"}, dir):
		return dir
	case strings.HasPrefix(prefix, "case-"):
		return name
	}
	return key
}

// play records a scene's requests and tries all cases.
func (f *faultBench) play(ctx context.Context, s faultScene) error {
	began := time.Now()
	record, err := f.one(ctx, s, faults.Rule{}, true)
	if err != nil {
		return fmt.Errorf("with nothing in its way: %w", err)
	}
	calls := record.plan.Calls()
	rules := faultRules(calls, s.ways)
	var mu sync.Mutex
	var wrong []string
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(faultParallel)
	tried := 0
	for i, r := range rules {
		if i%f.every != 0 {
			continue
		}
		tried++
		g.Go(func() error {
			err := f.until(gctx, s, r)
			if gctx.Err() != nil {
				return gctx.Err()
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				wrong = append(wrong, fmt.Sprintf("%s: %v", r, err))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	f.w.bar(len(wrong) == 0, "%s: %d requests, %d cases, %d tried, %d went wrong (%.0f s)", s.name, len(calls), len(rules), tried, len(wrong), time.Since(began).Seconds())
	for _, line := range wrong[:min(len(wrong), 20)] {
		fmt.Println("    " + line)
	}
	return nil
}

// until tries a case again, up to forty times, until its request came: which requests there are depends a little on what
// comes first, and on where the keys of a new repository cut its pages.
func (f *faultBench) until(ctx context.Context, s faultScene, r faults.Rule) (err error) {
	for range 40 {
		var c *faultCase
		if c, err = f.one(ctx, s, r, false); err != nil || len(c.plan.Left()) == 0 {
			return err
		}
	}
	return errors.New("the request never came")
}

// faultRules gives all cases; see everyFault.
func faultRules(calls []faults.Call, ways func(op string) []faults.Way) (out []faults.Rule) {
	long := map[string]bool{}
	for _, c := range calls {
		for _, w := range ways(c.Op) {
			r := faults.Rule{Op: c.Op, Name: c.Name, Nth: c.Nth, Way: w}
			once := r
			once.Times = 1
			out = append(out, once)
			kind := c.Op + string(w)
			if !w.Retryable() || w != faults.Slow && !long[kind] {
				out = append(out, r)
			}
			long[kind] = true
		}
	}
	return out
}

// one tries a case by way of a proxy of its own.
func (f *faultBench) one(ctx context.Context, s faultScene, r faults.Rule, clean bool) (c *faultCase, err error) {
	c = &faultCase{rule: r, plan: faults.New(r), id: fmt.Sprintf("case-%d", f.serial.Add(1))}
	if clean {
		c.plan = faults.New()
	}
	c.plan.Class = class
	c.dir = filepath.Join(f.dir, c.id)
	if err := os.MkdirAll(filepath.Join(c.dir, "home"), 0o700); err != nil {
		return c, err
	}
	proxy, err := servers.NewFaulting(s.server, c.plan)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, proxy.Close(), os.RemoveAll(c.dir)) }()
	c.proxy = proxy.Endpoint
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return c, s.try(ctx, c)
}

// said is what became of a command.
type said struct {
	code int
	out  []byte
	errs string
}

// do runs the program in a case's folder. Only what keeps it from running is an error.
func (f *faultBench) do(ctx context.Context, c *faultCase, creds []string, args ...string) (said, error) {
	cmd := exec.CommandContext(ctx, f.w.holdfast, append([]string{"--json"}, args...)...)
	cmd.Dir, cmd.Env = c.dir, append(append(environment(), "HOME="+filepath.Join(c.dir, "home")), creds...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	s := said{out: out, errs: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		s.code, err = exit.ExitCode(), nil
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && (s.code < 0 || s.code == 2 || strings.Contains(s.errs, "panic")) {
		err = fmt.Errorf("%s: exit code %d: %s", args[0], s.code, s.errs)
	}
	return s, err
}

// must is do for what nothing is in the way of.
func (f *faultBench) must(ctx context.Context, c *faultCase, creds []string, args ...string) (said, error) {
	s, err := f.do(ctx, c, creds, args...)
	if err == nil && s.code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s%s", args[0], s.code, s.out, s.errs)
	}
	return s, err
}

// clear reports whether a failed command says why, for scripts.
func (s said) clear() error {
	for _, line := range strings.Split(strings.TrimSpace(s.errs), "\n") {
		var e struct{ Error, Code string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Error != "" && e.Code != "" {
			return nil
		}
	}
	return fmt.Errorf("exit code %d, and no clear error: %q", s.code, s.errs)
}

// faultBench is what all cases share: servers, users, two states of the source, keys.
type faultBench struct {
	w             *world
	dir           string
	serial        atomic.Int64
	every         int // one case of so many is tried
	vault         *servers.Server
	bucket        string
	write, read   store.Credentials
	before, after *bucket
	users         [2]store.Credentials // of before and after
	is            state                // of after
	template      *job
	config        string   // the template's, with placeholders
	reader        place    // of a vault with three points
	point         string   // the newest of them
	sound         verified // what a verification says of it with nothing in its way
}

// at is a place in a bucket by way of an endpoint.
func at(endpoint, bucket, prefix string, c store.Credentials) place {
	l := s3url.Location{Bucket: bucket, Prefix: prefix, Endpoint: endpoint, Region: servers.Region, PathStyle: true}
	return place{l.String(), c}
}
