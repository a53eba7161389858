package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a vault in memory with points in it, and an attacker's hands on it.
type rig struct {
	t       testing.TB
	clock   time.Time
	vault   *memstore.Store
	restore keys.Identity
	host    *keys.HostKey
	keep    string
	mode    store.Mode
	cache   string
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, clock: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), keep: "35d", mode: store.Compliance, cache: t.TempDir()}
	r.vault = memstore.New(memstore.Options{Now: r.now})
	r.restore = must(keys.GenerateIdentity(keys.X25519))(t)
	r.host = must(keys.GenerateHostKey(keys.X25519))(t)
	_, err := repo.Init(context.Background(), repo.InitOptions{
		Vaults: []*repo.Vault{r.asVault()}, HostKey: r.host, Recipients: []keys.Recipient{r.restore.Recipient()}, Need: 35 * 24 * time.Hour, Now: r.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (r *rig) now() time.Time { return r.clock }

func (r *rig) asVault() *repo.Vault {
	return &repo.Vault{
		Name: "offsite", Read: r.vault, Write: r.vault, Lock: r.vault, Inspect: r.vault,
		Locking: repo.Locking{Mode: r.mode, Slack: 24 * time.Hour, Ceiling: 400 * 24 * time.Hour},
	}
}

func (r *rig) session() *repo.Session {
	r.t.Helper()
	s, err := repo.OpenSession(context.Background(), repo.SessionOptions{
		Vaults: []*repo.Vault{r.asVault()}, HostKey: r.host, Now: r.now,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(r.cache, cache.Options{Memory: 16 << 20}) },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// again commits a point once more, changed as a confused or hostile writer would.
func (r *rig) again(id format.Hash, change func(*format.Commit)) format.Hash {
	r.t.Helper()
	s := r.session()
	defer s.Close()
	for _, p := range must(s.Repository().Points(context.Background(), r.vault, "", nil))(r.t) {
		if p.ID != id {
			continue
		}
		c := must(s.Repository().Commit(context.Background(), r.vault, p, nil))(r.t)
		change(c)
		if err := s.Begin(c.RetainUntil.Time); err != nil {
			r.t.Fatal(err)
		}
		out := must(s.Commit(context.Background(), c))(r.t)
		r.clock = r.clock.Add(time.Hour)
		return out
	}
	r.t.Fatalf("no point %s", id)
	return id
}

// run makes a point of src and gives its ID. The clock then moves on by an hour.
func (r *rig) run(name string, src *memsource.Source) format.Hash {
	r.t.Helper()
	s := r.session()
	defer func() {
		if err := s.Close(); err != nil {
			r.t.Error(err)
		}
	}()
	res, err := backup.Run(context.Background(), backup.Options{
		Source: src, Name: name, Session: s, Memory: 64 << 20, TagsMaxAge: -1, Now: r.now,
		Retention: retain.Policy{Daily: must(retain.Parse(r.keep))(r.t)},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.clock = r.clock.Add(time.Hour)
	return res.Point
}

// body gives n bytes that do not compress.
func body(seed uint64, n int) []byte {
	b := make([]byte, n)
	src := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = src.Read(b)
	return b
}

// filled is a source with small entries, a large one of several chunks, and an empty one.
func filled() *memsource.Source {
	s := memsource.New(memsource.Options{})
	for i := range 150 {
		s.Put(fmt.Sprintf("small/%04d", i), body(uint64(i), 2000+i))
	}
	s.Put("large", body(7777, 3<<20))
	s.Put("empty", nil)
	return s
}

func (r *rig) options(level Level) Options {
	r.t.Helper()
	found := must(repo.Find(context.Background(), r.vault, "", nil))(r.t)
	return Options{Repository: found, In: r.vault, Level: level, Identities: []keys.Identity{r.restore}}
}

// verify gives the findings and the summary.
func (r *rig) verify(o Options) ([]Finding, Summary) {
	r.t.Helper()
	var got []Finding
	var inside sync.Mutex
	o.Emit = func(f Finding) {
		if !inside.TryLock() {
			r.t.Error("findings are emitted at the same time")
			return
		}
		got = append(got, f)
		inside.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := Run(ctx, o)
	if err != nil {
		r.t.Fatal(err)
	}
	counts := map[repo.FindingKind]int64{}
	for _, f := range got {
		counts[f.Kind]++
	}
	if counts[repo.Missing] != s.Missing || counts[repo.Damaged] != s.Damaged || counts[repo.Unlocked] != s.Unlocked || counts[repo.Tampered] != s.Tampered {
		r.t.Errorf("summary %+v, findings %v", s, counts)
	}
	return got, s
}

// names lists the vault's objects under prefix, one version each.
func (r *rig) list(prefix string) []store.Info {
	r.t.Helper()
	var out []store.Info
	for info, err := range r.vault.Versions(context.Background(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		if !slices.ContainsFunc(out, func(o store.Info) bool { return o.Name == info.Name }) {
			out = append(out, info)
		}
	}
	return out
}

func (r *rig) one(prefix string) store.Info {
	r.t.Helper()
	all := r.list(prefix)
	if len(all) == 0 {
		r.t.Fatalf("nothing under %s", prefix)
	}
	return slices.MaxFunc(all, func(a, b store.Info) int { return int(a.Size - b.Size) })
}

// oldest is the first version of the only name under prefix.
func (r *rig) oldest(prefix string) store.Info {
	r.t.Helper()
	var out store.Info
	for info, err := range r.vault.Versions(context.Background(), prefix, "") {
		if err != nil {
			r.t.Fatal(err)
		}
		out = info
	}
	return out
}

func show(fs []Finding) string {
	var b strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&b, "\n  %s %s point %.8s: %s", f.Kind, f.Name, f.Point, f.Detail)
	}
	return b.String()
}
