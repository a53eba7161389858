package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// How often kills kills.
type killPlan struct {
	runs, restores int
	points         int // fault points tried of each kind; 0: all
	big            bool
}

// killsInFull is what is promised; killsInSmall is for every run of .ci/run.
func killsInFull(ctx context.Context, w *world) error {
	return w.kills(ctx, killPlan{runs: 50, restores: 20, big: true})
}

func killsInSmall(ctx context.Context, w *world) error {
	return w.kills(ctx, killPlan{runs: 5, restores: 2, points: 1})
}

const (
	killNoise = 8        // large objects, new ones before every kill
	killSize  = 14 << 20 // bytes of each: several packs in all
	// Packs being filled and sent, and one that landed while the note of it was still in the cache's own buffers.
	inFlight = 4*32<<20 + 4<<20
	again    = 1 << 30 // what a killed run may store again besides what is in flight
)

// stage is a source, a vault and a job for kills.
type stage struct {
	*job
	w       *world
	src     *bucket
	vaultAs *bucket // its owner's view
	rng     *rand.Rand
	good    map[string]bool // points that were verified
	serial  byte
}

func killsAtRequests(ctx context.Context, w *world) error {
	rng, err := seeded()
	if err != nil {
		return err
	}
	return killPoints(ctx, w, rng, killPlan{})
}

func killsLate(ctx context.Context, w *world) error {
	rng, err := seeded()
	if err != nil {
		return err
	}
	return killBig(ctx, w, rng)
}

// seeded is what moments and points are chosen by; a run can be repeated with its seed.
func seeded() (*rand.Rand, error) {
	seed := uint64(20261123)
	if s := os.Getenv("BARS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			return nil, fmt.Errorf("BARS_SEED: %w", err)
		}
	}
	fmt.Printf("seed %d (BARS_SEED)\n", seed)
	return rand.New(rand.NewPCG(seed, 1)), nil
}

func (w *world) kills(ctx context.Context, plan killPlan) error {
	rng, err := seeded()
	if err != nil {
		return err
	}
	st, err := newStage(ctx, w, rng, 54)
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, killPlan) error{st.killRuns, st.killRestores, st.atOnce} {
		if err := step(ctx, plan); err != nil {
			return err
		}
	}
	if err := killPoints(ctx, w, rng, plan); err != nil || !plan.big {
		return err
	}
	return killBig(ctx, w, rng)
}

// newStage fills a bucket with files of the Go tree and makes a repository for it.
func newStage(ctx context.Context, w *world, rng *rand.Rand, files int) (*stage, error) {
	root, err := goTree(ctx)
	if err != nil {
		return nil, err
	}
	src, err := w.newBucket(ctx, servers.KindVersityGW)
	if err != nil {
		return nil, err
	}
	if err := src.fill(ctx, root, files, true); err != nil {
		return nil, err
	}
	source, err := src.asSource(ctx)
	if err != nil {
		return nil, err
	}
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return nil, err
	}
	j, err := newJob(ctx, w, source, vault, reader)
	if err != nil {
		return nil, err
	}
	return &stage{job: j, w: w, src: src, vaultAs: &bucket{w.started[servers.KindMinIO], bucketOf(vault)}, rng: rng, good: map[string]bool{}}, nil
}

func bucketOf(p place) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(p.url, "s3://"), "/")
	return name
}

// renew puts new bytes into the large objects, and gives how many.
func (s *stage) renew(ctx context.Context, count int, size int64) (int64, error) {
	c := s.src.s.Admin()
	for i := range count {
		s.serial++
		data := newNoise(s.serial, size, 0)
		data.r.Seed([32]byte{s.serial, byte(s.rng.Uint32()), byte(s.rng.Uint32()), byte(i)})
		_, err := c.PutObject(ctx, s.src.name, fmt.Sprintf("noise/%03d.bin", i), data, size,
			minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true, ContentType: "application/octet-stream"})
		if err != nil {
			return 0, err
		}
	}
	return int64(count) * size, nil
}

// stored is the size of all versions in the vault.
func (s *stage) stored(ctx context.Context) (n int64, err error) {
	for o := range s.vaultAs.s.Admin().ListObjects(ctx, s.vaultAs.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			return 0, o.Err
		}
		n += o.Size
	}
	return n, nil
}

// asReader runs holdfast with the reader's credential and the restore key, and nothing else of the job's.
func (s *stage) asReader(ctx context.Context, args ...string) ([]byte, error) {
	env := append(environment(), "HOME="+filepath.Join(s.dir, "nowhere"))
	env = append(env, credentials("READER", s.reader.creds)...)
	args = append(args, "--vault", s.reader.url, "--credentials", "env:BARS_READER")
	out, _, err := execute(ctx, filepath.Join(s.dir, "nowhere"), env, s.w.holdfast, args...)
	return out, err
}

// whole lists the points as a reader would, and verifies those that were not yet: each must be whole.
func (s *stage) whole(ctx context.Context) (points int, err error) {
	out, err := s.asReader(ctx, "points", "--json")
	if err != nil {
		return 0, err
	}
	var fresh []string
	for line := range bytes.Lines(out) {
		var p struct{ Point, Status string }
		if err := json.Unmarshal(line, &p); err != nil {
			return 0, fmt.Errorf("what points printed cannot be read: %w: %s", err, line)
		}
		if p.Status != "complete" {
			return 0, fmt.Errorf("a point is listed that is %q: %s", p.Status, p.Point)
		}
		points++
		if !s.good[p.Point] {
			fresh = append(fresh, p.Point)
		}
	}
	if len(fresh) == 0 {
		return points, nil
	}
	if err := s.verify(ctx, fresh...); err != nil {
		return points, err
	}
	for _, p := range fresh {
		s.good[p] = true
	}
	return points, nil
}

// verify holds points, or all if none is named, to level content.
func (s *stage) verify(ctx context.Context, points ...string) error {
	out, err := s.asReader(ctx, append([]string{"--json", "verify", "--level", "content", "--identity", s.identity}, points...)...)
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var sum struct {
		Status string
		Points int
	}
	if err := json.Unmarshal(lines[len(lines)-1], &sum); err != nil {
		return fmt.Errorf("what verify printed cannot be read: %w: %s", err, tail(out))
	}
	if sum.Status != "ok" || len(points) > 0 && sum.Points != len(points) {
		return fmt.Errorf("verify of %d points: status %q of %d: %s", len(points), sum.Status, sum.Points, tail(out))
	}
	return nil
}

// converge makes a point, verifies it, restores it to a directory and compares.
func (s *stage) converge(ctx context.Context) (m made, err error) {
	out, c, err := execute(ctx, s.dir, s.env, s.w.holdfast, "--json", "run")
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &m); err != nil || m.Status != "complete" {
		return m, fmt.Errorf("the run after a kill: %s (%w)", tail(out), err)
	}
	m.cost = c
	if _, err := s.whole(ctx); err != nil {
		return m, err
	}
	if !s.good[m.Point] {
		return m, fmt.Errorf("the point %s is not listed", m.Point)
	}
	was, err := s.src.state(ctx)
	if err != nil {
		return m, err
	}
	to := s.w.path("restored")
	defer os.RemoveAll(to) // what stays is removed with the rest
	if _, err := s.asReader(ctx, "--json", "restore", m.Point, "--identity", s.identity, "--to", to); err != nil {
		return m, err
	}
	is, err := folderState(to, true)
	if err != nil {
		return m, err
	}
	if d := differences(was, is, true); len(d) > 0 {
		return m, fmt.Errorf("restored from %s: %d differences: %s", m.Point, len(d), strings.Join(d[:min(3, len(d))], "; "))
	}
	return m, nil
}

func (s *stage) dropCache() error { return os.RemoveAll(filepath.Join(s.dir, "cache")) }

// killRuns kills runs at random moments, one to three in a row, and lets the next one go to its end.
func (s *stage) killRuns(ctx context.Context, plan killPlan) error {
	if _, err := s.renew(ctx, killNoise, killSize); err != nil {
		return err
	}
	m, err := s.converge(ctx)
	if err != nil {
		return err
	}
	typical, killed, finished := m.wall, 0, 0
	var worstKept, worstDropped, sum int64
	for killed < plan.runs {
		plain, err := s.renew(ctx, killNoise, killSize)
		if err != nil {
			return err
		}
		before, err := s.stored(ctx)
		if err != nil {
			return err
		}
		row, drop, n := 1+s.rng.IntN(3), s.rng.IntN(2) == 0, 0
		for range row {
			delay := time.Duration(s.rng.Int64N(int64(typical + typical/10)))
			e, err := doomed(ctx, s.w, s.dir, s.env, nil, trip{}, delay, "--json", "run")
			if err != nil {
				return err
			}
			if _, err := s.whole(ctx); err != nil {
				return fmt.Errorf("after a kill at %s: %w", delay, err)
			}
			if !e.killed {
				finished++
				break
			}
			killed, n = killed+1, n+1
			if drop {
				if err := s.dropCache(); err != nil {
					return err
				}
			}
		}
		if m, err = s.converge(ctx); err != nil {
			return fmt.Errorf("after %d kills: %w", n, err)
		}
		after, err := s.stored(ctx)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		// What does not compress is stored as it is: the rest was stored again, or is metadata.
		extra := max(after-before-plain, 0)
		sum += extra
		if drop {
			worstDropped = max(worstDropped, extra/int64(n))
		} else {
			worstKept = max(worstKept, extra/int64(n))
		}
	}
	s.w.bar(true, "%d runs killed (of about %.1f s each; %d more were done before), every point listed was whole, every next run converged, every restore was equal", killed, typical.Seconds(), finished)
	s.w.bar(worstKept <= inFlight, "stored again after a kill, cache kept: at most %.1f MiB, bar %d MiB (what is in flight)", mib(worstKept), inFlight>>20)
	s.w.bar(worstDropped <= again+inFlight, "stored again after a kill, cache lost: at most %.1f MiB, bar 1 GiB and what is in flight; all in all %.1f MiB again for %d kills of %d MiB each",
		mib(worstDropped), mib(sum), killed, killNoise*killSize>>20)
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// killRestores kills restores to directories and buckets at random moments and runs them again.
func (s *stage) killRestores(ctx context.Context, plan killPlan) error {
	// An object that goes to a bucket in parts.
	if _, err := s.src.s.Admin().PutObject(ctx, s.src.name, "large.bin", newNoise(99, 70<<20, 0), 70<<20,
		minio.PutObjectOptions{DisableMultipart: true, DisableContentSha256: true, ContentType: "application/octet-stream"}); err != nil {
		return err
	}
	m, err := s.converge(ctx)
	if err != nil {
		return err
	}
	was, err := s.src.state(ctx)
	if err != nil {
		return err
	}
	f := &fuse{}
	vaultServer := s.w.started[servers.KindMinIO]
	endpoint, err := f.before(vaultServer)
	if err != nil {
		return err
	}
	r := &restoring{stage: s, f: f, point: m.Point, was: was, from: through(s.reader, vaultServer, endpoint)}
	typical := map[bool]time.Duration{}
	killed, finished := 0, 0
	for err == nil && killed < plan.restores {
		toBucket := killed%2 == 1
		var k bool
		if k, err = r.once(ctx, toBucket, typical); k {
			killed++
		} else {
			finished++
		}
	}
	if err = errors.Join(err, f.close()); err != nil {
		return err
	}
	s.w.bar(true, "%d restores killed, half of them to buckets (%d more were done before): what had its name was whole each time, and run again all was equal", killed, finished)
	// A restore of everything reads metadata besides, and over gaps; one of some of it reads over more of them, and parts of
	// frames that neighbours share.
	const gaps = 8 << 20
	s.w.bar(r.wasted <= r.base+gaps, "a restore that was continued fetched at most %.1f MiB besides what was missing, an uninterrupted one %.1f MiB, bar %d MiB more than that (%d entries were there already)",
		mib(r.wasted), mib(r.base), gaps>>20, r.there)
	return nil
}

// restoring is a point and where it is read from.
type restoring struct {
	*stage
	f      *fuse
	point  string
	was    state
	from   place
	wasted int64 // bytes fetched at most by a continued restore besides those of what was missing
	base   int64 // the same of a restore that was not killed
	there  int64
}

// args are a restore's, and its environment.
func (r *restoring) args(to place) (args, env []string) {
	env = append(environment(), "HOME="+filepath.Join(r.dir, "nowhere"))
	env = append(env, credentials("READER", r.from.creds)...)
	args = []string{"--json", "restore", r.point, "--vault", r.from.url, "--credentials", "env:BARS_READER", "--identity", r.identity, "--to", to.url}
	if to.creds.AccessKeyID != "" {
		args = append(args, "--to-credentials", "env:BARS_TARGET")
		env = append(env, credentials("TARGET", to.creds)...)
	}
	return args, env
}

// goal is a fresh target.
func (r *restoring) goal(ctx context.Context, toBucket bool) (target, error) {
	if !toBucket {
		dir := r.w.path("restored")
		return target{"directory", dirAt(dir), true, func(context.Context) (state, error) {
			s, err := folderState(dir, true)
			if errors.Is(err, os.ErrNotExist) {
				return state{}, nil
			}
			for key := range s { // temporary, or the mark of what is not finished
				if strings.HasPrefix(filepath.Base(key), ".holdfast-part-") {
					delete(s, key)
				}
			}
			return s, err
		}}, nil
	}
	b, err := r.w.newBucket(ctx, servers.KindVersityGW)
	if err != nil {
		return target{}, err
	}
	return target{"bucket", b.asOwner(), false, b.state}, nil
}

// once kills one restore, looks at what is there, and continues it.
func (r *restoring) once(ctx context.Context, toBucket bool, typical map[bool]time.Duration) (killed bool, err error) {
	to, err := r.goal(ctx, toBucket)
	if err != nil {
		return false, err
	}
	args, env := r.args(to.to)
	delay := time.Duration(-1)
	if t := typical[toBucket]; t > 0 {
		delay = time.Duration(r.rng.Int64N(int64(t)))
	}
	e, err := doomed(ctx, r.w, r.dir, env, r.f, trip{}, delay, args...)
	if err != nil {
		return false, err
	}
	if typical[toBucket] == 0 {
		typical[toBucket], r.base = e.wall, max(r.base, r.f.counts().given-r.was.bytes())
	}
	return e.killed, r.resume(ctx, to)
}

// resume looks at what a killed restore left and continues it.
func (r *restoring) resume(ctx context.Context, to target) error {
	is, err := to.state(ctx)
	if err != nil {
		return err
	}
	rest := state{}
	for key, i := range r.was {
		if _, ok := is[key]; !ok {
			rest[key] = i
		}
	}
	have := state{}
	for key := range is {
		have[key] = r.was[key]
	}
	if d := differences(have, is, to.contentOnly); len(d) > 0 {
		return fmt.Errorf("a killed restore left in its %s: %s", to.name, strings.Join(d[:min(3, len(d))], "; "))
	}
	args, env := r.args(to.to)
	e, err := doomed(ctx, r.w, r.dir, env, r.f, trip{}, -1, args...)
	if err != nil {
		return err
	}
	var sum struct{ Entries, Skipped, Failed int64 }
	lines := bytes.Split(bytes.TrimSpace(e.out), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &sum); err != nil {
		return fmt.Errorf("what restore printed cannot be read: %w: %s", err, tail(e.out))
	}
	// A server may still have finished what a killed restore had sent whole.
	late := sum.Skipped - int64(len(is))
	if sum.Failed != 0 || sum.Skipped+sum.Entries != int64(len(r.was)) || late < 0 || late > 0 && to.contentOnly {
		return fmt.Errorf("%d of %d entries were there; the next restore says: %s", len(is), len(r.was), lines[len(lines)-1])
	}
	r.there += int64(len(is))
	r.wasted = max(r.wasted, r.f.counts().given-rest.bytes())
	if is, err = to.state(ctx); err != nil {
		return err
	}
	if d := differences(r.was, is, to.contentOnly); len(d) > 0 {
		return fmt.Errorf("a continued restore to a %s: %s", to.name, strings.Join(d[:min(3, len(d))], "; "))
	}
	if left, ok := strings.CutPrefix(to.to.url, "file://"); ok {
		return r.clean(left)
	}
	return nil
}

// clean removes a restored directory, in which nothing temporary may be left.
func (r *restoring) clean(dir string) error {
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(filepath.Base(p), ".holdfast-part-") {
			err = fmt.Errorf("%s was left", p)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// atOnce has two machines run at once while a third verifies, and refuses two runs on one machine.
func (s *stage) atOnce(ctx context.Context, _ killPlan) error {
	if _, err := s.renew(ctx, killNoise, killSize); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "holdfast.yaml"))
	if err != nil {
		return err
	}
	text = bytes.Replace(text, []byte(strconv.Quote(filepath.Join(s.dir, "cache"))), []byte(strconv.Quote(filepath.Join(s.dir, "second cache"))), 1)
	if err := os.WriteFile(filepath.Join(s.dir, "second.yaml"), text, 0o600); err != nil {
		return err
	}
	points, err := s.whole(ctx)
	if err != nil {
		return err
	}
	var g errgroup.Group
	done := make(chan struct{})
	verified := 0
	g.Go(func() error {
		for {
			if err := s.verify(ctx); err != nil {
				return fmt.Errorf("while two runs were under way: %w", err)
			}
			verified++
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	var machines errgroup.Group
	for _, config := range []string{"holdfast.yaml", "second.yaml"} {
		machines.Go(func() error {
			_, _, err := execute(ctx, s.dir, s.env, s.w.holdfast, "-c", config, "--json", "run")
			return err
		})
	}
	err = machines.Wait()
	close(done)
	if err = errors.Join(err, g.Wait()); err != nil {
		return err
	}
	after, err := s.whole(ctx)
	if err != nil {
		return err
	}
	// A machine tells, once, of a point that came after its own and that another made with the same host key: that could be
	// a thief's.
	_, _, err = execute(ctx, s.dir, s.env, s.w.holdfast, "--json", "run")
	if err != nil && !(strings.Contains(err.Error(), "exit status 4") && strings.Contains(err.Error(), "another machine with the same key did")) {
		return err
	}
	if _, err := s.converge(ctx); err != nil {
		return err
	}
	s.w.bar(after == points+2, "two runs at once from two machines, with %d verifications meanwhile: %d more points, each whole, and the next run restores equal", verified, after-points)
	return s.twice(ctx)
}

// twice starts the same run again while it is under way.
func (s *stage) twice(ctx context.Context) error {
	if _, err := s.renew(ctx, killNoise, killSize); err != nil {
		return err
	}
	results := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := execute(ctx, s.dir, s.env, s.w.holdfast, "--json", "run")
			results <- err
		}()
	}
	errs := []error{<-results, <-results}
	refused := slices.ContainsFunc(errs, func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "already running") && strings.Contains(err.Error(), "exit status 1")
	})
	succeeded := slices.Contains(errs, nil)
	s.w.bar(refused && succeeded, "two runs of one configuration at once: one is done, the other exits 1 with `already running`")
	if !refused || !succeeded {
		fmt.Println(errors.Join(errs...))
	}
	_, err := s.converge(ctx)
	return err
}
