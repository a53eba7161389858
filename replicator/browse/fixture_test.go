package browse

import (
	"context"
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

	findings []repo.Finding
	told     repo.Report // by runs; may be nil
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
		Vaults: []*repo.Vault{r.asVault()}, HostKey: r.host, Now: r.now, Report: r.told,
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

func (r *rig) view() View {
	r.t.Helper()
	return View{Repository: must(repo.Find(context.Background(), r.vault, "", nil))(r.t), In: r.vault, Report: func(f repo.Finding) { r.findings = append(r.findings, f) }}
}

func (r *rig) reader() *repo.Reader {
	r.t.Helper()
	return must(repo.NewReader(r.view().Repository, r.vault, []keys.Identity{r.host.Metadata}, nil, nil))(r.t)
}

func (r *rig) point(id format.Hash) Point {
	r.t.Helper()
	return must(Resolve(context.Background(), r.view(), id.String(), false))(r.t)
}
