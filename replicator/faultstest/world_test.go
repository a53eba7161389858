package faultstest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/storetest/faults"
)

const (
	name = "uploads" // of the source
	keep = 35 * 24 * time.Hour
	life = 12 * 24 * time.Hour // from the second run to the third: longer than the slack, so that locks are lengthened
)

// world is a repository with two points, and the source as it is for the third. Nothing in it is changed by a case.
type world struct {
	clock  clock
	restor keys.Identity
	host   *keys.HostKey
	source *memsource.Source
	want   map[string][]byte // of the source

	two    *memstore.Store // with two points
	three  *memstore.Store // with the third as well
	points []format.Hash   // in three
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{clock: clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}, want: map[string][]byte{}}
	w.source = memsource.New(memsource.Options{Now: w.clock.now})
	var err error
	if w.restor, err = keys.GenerateIdentity(keys.X25519); err != nil {
		t.Fatal(err)
	}
	if w.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		t.Fatal(err)
	}
	w.two = memstore.New(memstore.Options{Now: w.clock.now})
	// Small chunks: the large object has so many that they stand in extent pages.
	params := format.Parameters{Chunker: "fastcdc-v1.0.0", MinChunk: 1 << 10, AvgChunk: 4 << 10, MaxChunk: 16 << 10, LeafKeys: 8, Fanout: 8}
	if _, err := repo.Init(t.Context(), repo.InitOptions{
		Vaults: []*repo.Vault{vaultOf(w.two, nil)}, HostKey: w.host, Recipients: []keys.Recipient{w.restor.Recipient()}, Need: keep, Now: w.clock.now, Parameters: params,
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 52 {
		w.put(fmt.Sprintf("docs/%03d", i), uint64(i), 100+37*i)
	}
	w.put("large/grows", 1000, 1100<<10)
	w.mark("docs/sub/", format.KindDir)
	w.firstRuns(t)
	return w
}

// firstRuns makes the three points.
func (w *world) firstRuns(t *testing.T) {
	t.Helper()
	c := &trial{world: w, clock: &w.clock, store: w.two, cache: t.TempDir()}
	c.mustRun(t)
	for i := range 5 {
		w.put(fmt.Sprintf("docs/%03d", 7*i), uint64(100+i), 3000)
	}
	w.put("more/one", 200, 70_000)
	w.clock.at = w.clock.at.Add(time.Hour)
	c.mustRun(t)
	w.put("docs/003", 300, 500)
	w.put("docs/011", 301, 5000)
	w.put("more/two", 302, 40_000)
	w.put("more/empty", 303, 0)
	w.put("large/grows", 1000, 1160<<10) // the same and some more
	w.mark("more/sub/", format.KindDir)
	w.source.Delete("docs/020")
	delete(w.want, "docs/020")
	third := w.fresh(t)
	defer third.close(t)
	third.mustRun(t)
	w.three = third.store
	for _, p := range third.points(t) {
		w.points = append(w.points, p.ID)
	}
	if packs := countNames(t, w.three, format.PrefixPacks); packs != 3 || len(w.points) != 3 || len(w.want) < 56 {
		t.Fatalf("the fixture has %d packs, %d points, %d entries", packs, len(w.points), len(w.want))
	}
}

func (w *world) put(key string, seed uint64, size int) {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	w.source.Put(key, b)
	w.want[key] = b
}

// mark puts an entry without content.
func (w *world) mark(key string, k format.Kind) {
	w.source.PutEntry(format.Entry{Key: key, Kind: k}, nil)
	w.want[key] = nil
}

func countNames(t *testing.T, s *memstore.Store, prefix string) (n int) {
	t.Helper()
	last := ""
	for info, err := range s.Versions(context.Background(), prefix, "") {
		if err != nil {
			t.Fatal(err)
		}
		if info.Name != last {
			n++
		}
		last = info.Name
	}
	return n
}

// vaultOf puts the wrappers around a vault that the command puts there, and the plan's faults below them.
func vaultOf(s *memstore.Store, p *faults.Plan) *repo.Vault {
	v := &repo.Vault{
		Name: "offsite", Read: s, Write: s, Lock: s, Inspect: s,
		Locking: repo.Locking{Mode: store.Compliance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour},
	}
	if p != nil {
		again := retry.New(retry.Options{Attempts: 3, Initial: time.Microsecond, Max: 10 * time.Microsecond})
		v.Read, v.Write = again.Reader(p.Reader(s)), again.Writer(p.Writer(s))
		v.Lock, v.Inspect = again.Locker(p.Locker(s)), again.Inspector(p.Inspector(s))
	}
	return v
}

// plan makes a plan whose names are those of w.two's objects; new ones are told by what they are, as their hashes differ from
// run to run.
func (w *world) plan(old *memstore.Store, rules ...faults.Rule) *faults.Plan {
	known := map[string]bool{}
	for info := range old.Versions(context.Background(), "", "") {
		known[info.Name] = true
	}
	p := faults.New(rules...)
	p.Class = func(name string) string {
		if name == "" || strings.HasSuffix(name, "/") || known[name] {
			return name
		}
		dir, _, _ := strings.Cut(name, "/")
		return dir + "/new"
	}
	return p
}

// trial is a world of its own for one case: it has its vault, clock and cache.
type trial struct {
	*world
	clock *clock
	store *memstore.Store
	cache string
}

// fresh is the state before the third run.
func (w *world) fresh(t *testing.T) *trial {
	t.Helper()
	c := &trial{world: w, clock: &clock{w.clock.at.Add(life)}}
	c.store = w.two.Clone(c.clock.now)
	var err error
	if c.cache, err = os.MkdirTemp("", "faultstest-"); err != nil {
		t.Error(err)
	}
	return c
}

func (c *trial) close(t *testing.T) {
	if err := os.RemoveAll(c.cache); err != nil {
		t.Error(err)
	}
}

// run makes a point of src, by way of p if it is not nil.
func (c *trial) run(p *faults.Plan, src source.Source) (_ *backup.Result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.runIn(ctx, src, vaultOf(c.store, p))
}

func (c *trial) runIn(ctx context.Context, src source.Source, vaults ...*repo.Vault) (_ *backup.Result, err error) {
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: vaults, HostKey: c.host, Now: c.clock.now,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(c.cache, cache.Options{Memory: 16 << 20}) },
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	day, err := retain.Parse("35d")
	if err != nil {
		return nil, err
	}
	return backup.Run(ctx, backup.Options{
		Source: src, Name: name, Session: s, Retention: retain.Policy{Daily: day}, TagsMaxAge: -1, Memory: 64 << 20, Fetchers: 4, Now: c.clock.now,
	})
}

func (c *trial) mustRun(t *testing.T) format.Hash {
	t.Helper()
	res, err := c.run(nil, c.source)
	if err != nil {
		t.Fatal(err)
	}
	return res.Point
}

// points lists what is committed.
func (c *trial) points(t *testing.T) []repo.Point {
	t.Helper()
	rp, err := repo.Find(context.Background(), c.store, "", nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	points, err := rp.Points(context.Background(), c.store, name, nil)
	if err != nil {
		t.Error(err)
	}
	return points
}

// since gives the points that w.two does not have.
func (c *trial) since(t *testing.T) (out []format.Hash) {
	for _, p := range c.points(t) {
		if !slices.Contains(c.world.points[:2], p.ID) {
			out = append(out, p.ID)
		}
	}
	return out
}

// verified is a verification of everything, finding by way of p if it is not nil.
func (w *world) verified(s *memstore.Store, p *faults.Plan) (verify.Summary, []verify.Finding, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	in := vaultOf(s, p).Read
	rp, err := repo.Find(ctx, in, "", nil)
	if err != nil {
		return verify.Summary{}, nil, err
	}
	var found []verify.Finding
	sum, err := verify.Run(ctx, verify.Options{
		Repository: rp, In: in, Identities: []keys.Identity{w.restor}, Level: verify.Content, Concurrency: 4,
		Emit: func(f verify.Finding) { found = append(found, f) },
	})
	return sum, found, err
}

// restored brings a point back as the command does: with a restore key and one vault.
func (w *world) restored(s *memstore.Store, id format.Hash, p *faults.Plan) (map[string][]byte, restore.Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	in := vaultOf(s, p).Read
	rp, err := repo.Find(ctx, in, "", nil)
	if err != nil {
		return nil, restore.Result{}, err
	}
	points, err := rp.Points(ctx, in, name, nil)
	if err != nil {
		return nil, restore.Result{}, err
	}
	i := slices.IndexFunc(points, func(p repo.Point) bool { return p.ID == id })
	if i < 0 {
		return nil, restore.Result{}, verify.ErrNoPoint
	}
	commit, err := rp.Commit(ctx, in, points[i], nil)
	if err != nil {
		return nil, restore.Result{}, err
	}
	reader, err := repo.NewReader(rp, in, []keys.Identity{w.restor}, nil, nil)
	if err != nil {
		return nil, restore.Result{}, err
	}
	to := &memory{got: map[string][]byte{}}
	res, err := restore.Run(ctx, restore.Options{Reader: reader, Commit: commit, Target: to, Memory: restore.MinMemory, Concurrency: 4})
	return to.got, res, err
}

// wrong lists what is restored and is not what it was.
func (w *world) wrong(got map[string][]byte) (out []string) {
	for k, b := range got {
		if is, ok := w.want[k]; !ok || !bytes.Equal(is, b) {
			out = append(out, k)
		}
	}
	return out
}

// allWell verifies everything: every stored object there, intact and locked, every entry's content right, nothing odd.
func (c *trial) allWell() error {
	sum, found, err := c.verified(c.store, nil)
	if err != nil || sum.Status != verify.OK || len(found) > 0 {
		return fmt.Errorf("verify: %v, status %q, found %v", err, sum.Status, found)
	}
	return nil
}

// comesBack restores a point and compares every byte with the source. missing is how many entries it may lack.
func (c *trial) comesBack(id format.Hash, missing int) error {
	got, res, err := c.restored(c.store, id, nil)
	if err != nil || res.Failed > 0 {
		return fmt.Errorf("restore: %v, %+v", err, res)
	}
	if bad := c.wrong(got); len(bad) > 0 || len(got)+int(res.Missing) != len(c.want) || int(res.Missing) > missing {
		return fmt.Errorf("restore: %d of %d entries, %d missing, wrong %q", len(got), len(c.want), res.Missing, bad)
	}
	return nil
}

// memory is a restore's target: it keeps what arrives whole.
type memory struct {
	mu  sync.Mutex
	got map[string][]byte
}

func (m *memory) Begin(context.Context, restore.Job) error { return nil }
func (m *memory) Finish(context.Context) error             { return nil }
func (m *memory) Close() error                             { return nil }
func (m *memory) KeepsVersions() bool                      { return false }
func (m *memory) InOrder() bool                            { return false }
func (m *memory) Notes() []string                          { return nil }

func (m *memory) Accept(context.Context, []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	return m, restore.Take, nil
}

func (m *memory) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	var b []byte
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return err
		}
		b = append(append(b, p.Data...), make([]byte, p.Hole)...)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got[e.Key] = b
	return nil
}
