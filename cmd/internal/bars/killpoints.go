package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// killPoints kills a small run, and small restores, at each of their requests: before it is done, and when it is done and
// not answered yet. Both the source's and the vault's requests count.
func killPoints(ctx context.Context, w *world, rng *rand.Rand, plan killPlan) (err error) {
	p := &pointKiller{w: w, rng: rng, some: plan.points, f: &fuse{}}
	defer func() {
		if cerr := p.f.close(); err == nil {
			err = cerr
		}
	}()
	if err := p.prepare(ctx); err != nil {
		return err
	}
	if err := p.runs(ctx); err != nil {
		return err
	}
	for _, toBucket := range []bool{false, true} {
		if err := p.restores(ctx, toBucket); err != nil {
			return err
		}
	}
	return nil
}

type pointKiller struct {
	w           *world
	rng         *rand.Rand
	some        int
	f           *fuse
	src         *bucket
	source      place // through the fuse
	vault, read place // the vault's bucket itself
	at          string
	vaultAs     *servers.Server
	serial      int
	restoring   *restoring // the last whole point, for restores
	bucketAt    string
}

func (p *pointKiller) prepare(ctx context.Context) (err error) {
	if p.src, err = p.w.newBucket(ctx, servers.KindVersityGW); err != nil {
		return err
	}
	c := p.src.s.Admin()
	for i := range 7 {
		if err := p.src.put(ctx, c, fmt.Sprintf("small/%d", i), noise(300+i), options(i, "x.txt", true)); err != nil {
			return err
		}
	}
	if err := p.src.put(ctx, c, "large", noise(3<<20), options(8, "x.bin", true)); err != nil {
		return err
	}
	if p.source, err = p.src.asSource(ctx); err != nil {
		return err
	}
	if p.bucketAt, err = p.f.before(p.src.s); err != nil {
		return err
	}
	p.source = through(p.source, p.src.s, p.bucketAt)
	if p.vault, p.read, err = p.w.lockedVault(ctx, servers.KindMinIO); err != nil {
		return err
	}
	p.vaultAs = p.w.started[servers.KindMinIO]
	p.at, err = p.f.before(p.vaultAs)
	return err
}

// fresh makes a new repository under a prefix of its own.
func (p *pointKiller) fresh(ctx context.Context) (*stage, error) {
	p.serial++
	prefix := regexp.MustCompile(`/prod\b`)
	vault, reader := p.vault, p.read
	vault.url = prefix.ReplaceAllString(vault.url, fmt.Sprintf("/p%d", p.serial))
	reader.url = prefix.ReplaceAllString(reader.url, fmt.Sprintf("/p%d", p.serial))
	j, err := newJob(ctx, p.w, p.source, through(vault, p.vaultAs, p.at), reader)
	if err != nil {
		return nil, err
	}
	// A first point, so that the run that is killed has one to follow.
	s := &stage{job: j, w: p.w, src: p.src, rng: p.rng, good: map[string]bool{}}
	if _, err := s.converge(ctx); err != nil {
		return nil, err
	}
	return s, p.edit(ctx)
}

// edit changes something small and something large.
func (p *pointKiller) edit(ctx context.Context) error {
	c := p.src.s.Admin()
	for _, key := range []string{fmt.Sprintf("small/%d", p.serial%7), "large"} {
		n := 400
		if key == "large" {
			n = 2 << 20
		}
		if err := p.src.put(ctx, c, key, noise(n), minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true}); err != nil {
			return err
		}
	}
	return nil
}

// trips gives the fault points of something that makes so many requests: all, or some by chance.
func (p *pointKiller) trips(requests int) []trip {
	var all []trip
	for n := 1; n <= requests; n++ {
		all = append(all, trip{request: n}, trip{request: n, after: true})
	}
	if p.some > 0 && p.some < len(all) {
		p.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:p.some]
	}
	return all
}

func (p *pointKiller) runs(ctx context.Context) error {
	s, err := p.fresh(ctx)
	if err != nil {
		return err
	}
	if _, err := doomed(ctx, p.w, s.dir, s.env, p.f, trip{}, -1, "--json", "run"); err != nil {
		return err
	}
	requests := p.f.counts().requests
	all := p.trips(requests)
	killed, committed := 0, 0
	for _, t := range all {
		if err := os.RemoveAll(s.dir); err != nil {
			return err
		}
		if s, err = p.fresh(ctx); err != nil {
			return err
		}
		e, err := doomed(ctx, p.w, s.dir, s.env, p.f, t, -1, "--json", "run")
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		what := p.f.counts().tripped
		points, err := s.whole(ctx)
		if err != nil {
			return fmt.Errorf("killed at %s (%s): %w", t, what, err)
		}
		if e.killed {
			killed++
			// The commit is the last thing stored: a second point may only be there if that request was done.
			if points > 1 {
				committed++
				if !strings.Contains(what, "/points/") || strings.HasPrefix(what, "PUT") && !t.after {
					return fmt.Errorf("killed at %s (%s): a point is there", t, what)
				}
			}
		}
		if s.rng.IntN(2) == 0 {
			if err := s.dropCache(); err != nil {
				return err
			}
		}
		if _, err := s.converge(ctx); err != nil {
			return fmt.Errorf("killed at %s (%s), then: %w", t, what, err)
		}
	}
	p.restoring = &restoring{stage: s, f: p.f, from: through(s.reader, p.vaultAs, p.at)}
	p.w.bar(killed > 0 && killed >= len(all)*3/4, "a run of %d requests killed at %d of %d points (%d times the point was there already): no point was listed half, and each next run converged",
		requests, killed, len(all), committed)
	return nil
}

func (p *pointKiller) restores(ctx context.Context, toBucket bool) error {
	r := p.restoring
	m, err := r.converge(ctx)
	if err != nil {
		return err
	}
	if r.was, err = r.src.state(ctx); err != nil {
		return err
	}
	r.point = m.Point
	to, err := p.goal(ctx, toBucket)
	if err != nil {
		return err
	}
	args, env := r.args(to.to)
	if _, err := doomed(ctx, p.w, r.dir, env, p.f, trip{}, -1, args...); err != nil {
		return err
	}
	requests := p.f.counts().requests
	killed, all := 0, p.trips(requests)
	for _, t := range all {
		if to, err = p.goal(ctx, toBucket); err != nil {
			return err
		}
		args, env := r.args(to.to)
		e, err := doomed(ctx, p.w, r.dir, env, p.f, t, -1, args...)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		if e.killed {
			killed++
		}
		if err := r.resume(ctx, to); err != nil {
			return fmt.Errorf("killed at %s (%s): %w", t, p.f.counts().tripped, err)
		}
	}
	p.w.bar(killed > 0 && killed >= len(all)*3/4, "a restore to a %s of %d requests killed at %d of %d points: what had its name was whole, and run again all was equal",
		to.name, requests, killed, len(all))
	return nil
}

// goal is a fresh target; a bucket's requests go through the fuse.
func (p *pointKiller) goal(ctx context.Context, toBucket bool) (target, error) {
	to, err := p.restoring.goal(ctx, toBucket)
	if err == nil && toBucket {
		to.to = through(to.to, p.src.s, p.bucketAt)
	}
	return to, err
}

// killBig kills a long run late, loses the cache, and sees how much is stored again.
func killBig(ctx context.Context, w *world, rng *rand.Rand) (err error) {
	const count, size, at = 80, 32 << 20, 2200 << 20
	f := &fuse{}
	defer func() {
		if cerr := f.close(); err == nil {
			err = cerr
		}
	}()
	s, err := newStage(ctx, w, rng, 10)
	if err != nil {
		return err
	}
	if _, err := s.renew(ctx, count, size); err != nil {
		return err
	}
	vaultServer := w.started[servers.KindMinIO]
	endpoint, err := f.before(vaultServer)
	if err != nil {
		return err
	}
	config := filepath.Join(s.dir, "holdfast.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	fused := strings.Replace(string(text), s.vault.url, through(s.vault, vaultServer, endpoint).url, 1)
	if err := os.WriteFile(config, []byte(fused), 0o600); err != nil {
		return err
	}
	e, err := doomed(ctx, w, s.dir, s.env, f, trip{put: at}, -1, "--json", "run")
	if err != nil {
		return err
	}
	sent := f.counts().put
	if !e.killed || sent < at {
		return fmt.Errorf("the run was not killed (%d bytes sent)", sent)
	}
	if points, err := s.whole(ctx); err != nil || points != 0 {
		return fmt.Errorf("%d points after a run that was killed: %w", points, err)
	}
	if err := s.dropCache(); err != nil {
		return err
	}
	f.set(trip{}, nil)
	m, err := s.converge(ctx)
	if err != nil {
		return err
	}
	extra := sent + f.counts().put - count*size
	w.bar(extra <= again+inFlight, "a run of %d MiB killed after %d MiB, its cache lost: the next one stored %d MiB, %.1f MiB of them again; bar 1 GiB and what is in flight",
		count*size>>20, sent>>20, m.BytesStored>>20, mib(extra))
	w.bar(slices.Max([]int64{m.peak, 1}) < memoryBar, "peak memory of that run %d MiB, bar %d MiB", m.peak>>20, memoryBar>>20)
	return nil
}
