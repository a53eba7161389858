package guard_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/guard"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// engine backs a world up as the program does: into a vault in memory. An alarm is acknowledged at once.
type engine struct {
	w     *world
	src   *memsource.Source
	store *memstore.Store
	vault []*repo.Vault
	host  *keys.HostKey
	dir   string
	at    map[string]*file // what the source has
	acks  backup.Acknowledged
}

func newEngine(t *testing.T, w *world, versions bool) *engine {
	r := &engine{w: w, src: memsource.New(memsource.Options{AllVersions: versions, Now: func() time.Time { return w.now }}), dir: t.TempDir(), at: map[string]*file{}}
	id, err := keys.GenerateIdentity(keys.X25519)
	if err == nil {
		r.host, err = keys.GenerateHostKey(keys.X25519)
	}
	must(t, err)
	r.keepIn(memstore.New(memstore.Options{Now: func() time.Time { return w.now }}))
	_, err = repo.Init(t.Context(), repo.InitOptions{Vaults: r.vault, HostKey: r.host, Recipients: []keys.Recipient{id.Recipient()}, Need: 24 * time.Hour, Now: func() time.Time { return w.now }})
	must(t, err)
	return r
}

func (r *engine) keepIn(s *memstore.Store) {
	r.store, r.vault = s, []*repo.Vault{{Name: "v", Read: s, Write: s, Lock: s, Inspect: s}}
}

func (r *engine) fork(t *testing.T, w *world) watcher {
	out := &engine{w: w, src: memsource.New(memsource.Options{Now: func() time.Time { return w.now }}), host: r.host, dir: t.TempDir(), at: map[string]*file{}, acks: r.acks}
	out.keepIn(r.store.Clone(func() time.Time { return w.now }))
	must(t, os.CopyFS(out.dir, os.DirFS(r.dir)))
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sync brings the source to what the world is.
func (r *engine) sync() {
	for name, f := range r.w.files {
		was := r.at[name]
		if was == f && !f.locked && !f.marker {
			continue
		}
		switch {
		case f.marker:
			r.src.Delete(name)
			continue
		case f.locked:
			r.src.Fail(name, memsource.Fault{Failure: memsource.Unreadable, Reason: "encrypted with a customer's key (SSE-C)"})
		}
		if was == nil || was.modified != f.modified || was != f || f.locked {
			e := format.Entry{Key: name, Modified: format.At(f.modified)}
			if f.locked {
				e.ETag = "locked"
			}
			r.src.PutEntry(e, f.body)
		}
		r.at[name] = f
	}
	for name := range r.at {
		if r.w.files[name] == nil {
			r.src.Delete(name)
			delete(r.at, name)
		}
	}
}

func (r *engine) run(t *testing.T, w *world, wires map[string]format.Hash) (found []guard.Finding, emptied bool) {
	t.Helper()
	r.sync()
	now := func() time.Time { return w.now }
	s, err := repo.OpenSession(t.Context(), repo.SessionOptions{
		Vaults: r.vault, HostKey: r.host, Now: now,
		Cache: func(format.Hash) (*cache.Cache, error) { return cache.Open(r.dir, cache.Options{Memory: 4 << 20}) },
	})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	res, err := backup.Run(t.Context(), backup.Options{
		Source: r.src, Name: "site", Session: s, Retention: retain.Policy{Daily: retain.Span{Duration: 35 * 24 * time.Hour}}, TagsMaxAge: -1, Memory: 48 << 20, Now: now,
		Guard: &backup.Guarding{
			Tripwires:    wires,
			Acknowledged: func(context.Context) (backup.Acknowledged, error) { return r.acks, nil },
		},
		Remark: func(_, text string) {
			if strings.Contains(text, "guard") {
				t.Error(text)
			}
		},
	})
	must(t, err)
	if res.Suspect != nil {
		found = res.Suspect.Findings
		r.acks = backup.Acknowledged{Until: res.SignedAt, Points: map[format.Hash]bool{res.Point: true}}
	}
	return found, res.Emptied != nil
}
