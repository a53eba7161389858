// Package lifetest lives through months of daily runs in minutes: a source of which a share changes every day, a vault in
// memory that keeps locks, one clock for all, runs, renewals and prunings as they come, and an audit of every lock after
// each of them. Tests and the measurement of renewal share it.
//
// It is for tests: no production code may import it. What runs here is handed a vault without a way to delete; only
// pruning has a store.Remover, and what it deletes is counted.
package lifetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/needed"
	"github.com/holdfast-backup/holdfast/replicator/prune"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Options of a World. Zero values are filled in.
type Options struct {
	Dir       string        // for caches; required
	Objects   int           // in the source, default 400
	Size      int           // bytes of each, default 4 KiB; they do not compress
	Change    float64       // share that is written anew every day, default 0.02
	Retention retain.Policy // default 35d/12w/12mo
	Slack     time.Duration // default 10 days
	Mode      store.Mode    // default compliance
	Report    repo.Report
	Memory    int64 // of a run, default 64 MiB
	Fetchers  int   // of a run, default 4
	Seed      byte
}

// World is a source, a vault and a job.
type World struct {
	o      Options
	Clock  time.Time
	Store  *memstore.Store // the vault as its owner sees it
	Source *memsource.Source
	Host   *keys.HostKey
	Key    keys.Identity // the restore key
	Meter  *meter.Meter  // what all together asked of the vault
	Vault  *repo.Vault   // as the job has it

	Retired []string       // sources whose last point may go
	Removed map[string]int // versions deleted, by the kind of object

	mu       sync.Mutex
	extended map[string]int64 // locks lengthened, by the kind of object

	noise  *rand.ChaCha8
	last   map[int][]byte // the objects' content
	points map[format.Hash]*life
}

// life is what a point needs and for how long.
type life struct {
	until  time.Time
	names  []string
	living []int64 // bytes of each that the point needs
}

// New makes a source of Options.Objects objects and an empty repository.
func New(ctx context.Context, o Options) (*World, error) {
	if o.Objects == 0 {
		o.Objects = 400
	}
	if o.Size == 0 {
		o.Size = 4 << 10
	}
	if o.Change == 0 {
		o.Change = 0.02
	}
	if o.Slack == 0 {
		o.Slack = 10 * 24 * time.Hour
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.Fetchers == 0 {
		o.Fetchers = 4
	}
	if o.Mode == "" {
		o.Mode = store.Compliance
	}
	if o.Retention == (retain.Policy{}) {
		o.Retention = retain.Policy{Daily: retain.Span{Duration: 35 * 24 * time.Hour}, Weekly: retain.Span{Duration: 84 * 24 * time.Hour}, Monthly: retain.Span{Months: 12}}
	}
	w := &World{
		o: o, Clock: time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC), Meter: meter.New(meter.Options{}),
		Removed: map[string]int{}, extended: map[string]int64{}, noise: rand.NewChaCha8([32]byte{o.Seed, 7}), points: map[format.Hash]*life{}, last: map[int][]byte{},
	}
	w.Store = memstore.New(memstore.Options{Now: w.Now})
	w.Source = memsource.New(memsource.Options{Now: w.Now})
	w.Vault = &repo.Vault{
		Name: "offsite", Read: w.Meter.Reader(w.Store), Write: w.Meter.Writer(w.Store), Lock: counted{w, w.Meter.Locker(w.Store)}, Inspect: w.Meter.Inspector(w.Store),
		Locking: repo.Locking{Mode: o.Mode, Slack: o.Slack, Ceiling: 400 * 24 * time.Hour},
	}
	for i := range o.Objects {
		w.write(i)
	}
	var err error
	if w.Key, err = keys.GenerateIdentity(keys.X25519); err != nil {
		return nil, err
	}
	if w.Host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		return nil, err
	}
	_, err = repo.Init(ctx, repo.InitOptions{
		Vaults: []*repo.Vault{w.Vault}, HostKey: w.Host, Recipients: []keys.Recipient{w.Key.Recipient()}, Need: 366 * 24 * time.Hour, Now: w.Now,
	})
	return w, err
}

// counted counts the calls that lengthen locks.
type counted struct {
	w *World
	l store.Locker
}

// Extend implements store.Locker.
func (c counted) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	c.w.mu.Lock()
	c.w.extended[kind(ref.Name)]++
	c.w.mu.Unlock()
	return c.l.Extend(ctx, ref, to)
}

// Extended gives how many locks were lengthened since it was last asked, by the kind of object.
func (w *World) Extended() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.extended
	w.extended = map[string]int64{}
	return out
}

// Now is the one clock.
func (w *World) Now() time.Time { return w.Clock }

// write puts the i-th object with new content.
func (w *World) write(i int) {
	body := make([]byte, w.o.Size)
	_, _ = w.noise.Read(body) // never fails
	key := fmt.Sprintf("%02x/object-%06d", i*7919%251, i)
	w.last[i] = body
	w.Source.PutEntry(format.Entry{Key: key, Modified: format.At(w.Clock.Add(-time.Hour))}, body)
}

// Copy puts the content of the i-th object under another name too.
func (w *World) Copy(i int) {
	w.Source.PutEntry(format.Entry{Key: fmt.Sprintf("copies/%06d", i), Modified: format.At(w.Clock.Add(-time.Hour))}, w.last[i])
}

// LoseCache goes on with an empty cache in dir.
func (w *World) LoseCache(dir string) { w.o.Dir = dir }

// Pass lets time go by and changes the source as much as it does in that time.
func (w *World) Pass(d time.Duration) {
	w.Clock = w.Clock.Add(d)
	n := int(float64(w.o.Objects)*w.o.Change*d.Hours()/24 + 0.5)
	for range n {
		var b [8]byte
		_, _ = w.noise.Read(b[:]) // never fails
		w.write(int(binary.BigEndian.Uint64(b[:]) % uint64(w.o.Objects)))
	}
}

// Session opens the job's.
func (w *World) Session(ctx context.Context, v *repo.Vault) (*repo.Session, error) {
	return repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: []*repo.Vault{v}, HostKey: w.Host, Now: w.Now, Report: w.o.Report,
		Cache: func(format.Hash) (*cache.Cache, error) {
			return cache.Open(w.o.Dir+"/index", cache.Options{Memory: 16 << 20})
		},
	})
}

// Run makes a point.
func (w *World) Run(ctx context.Context) (*backup.Result, error) { return w.run(ctx, false) }

// DryRun says what Run would do.
func (w *World) DryRun(ctx context.Context) (*backup.Result, error) { return w.run(ctx, true) }

func (w *World) run(ctx context.Context, dry bool) (*backup.Result, error) {
	s, err := w.Session(ctx, w.Vault)
	if err != nil {
		return nil, err
	}
	res, err := backup.Run(ctx, backup.Options{
		Source: w.Source, Name: "uploads", Session: s, Retention: w.o.Retention, TagsMaxAge: -1, Memory: w.o.Memory, Fetchers: w.o.Fetchers, DryRun: dry, Now: w.Now,
	})
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	return res, w.learn(ctx)
}

// Repository recognises the repository in the vault.
func (w *World) Repository(ctx context.Context) (*repo.Repository, error) {
	return repo.Find(ctx, w.Store, "", nil)
}

// listed gives the points that the vault lists, and what reads them.
func (w *World) listed(ctx context.Context) (*repo.Repository, *repo.Reader, []repo.Point, error) {
	r, err := w.Repository(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	in, err := repo.NewReader(r, w.Store, nil, nil, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	points, err := r.Points(ctx, w.Store, "", nil)
	return r, in, points, err
}

// learn reads what the points that came last need.
func (w *World) learn(ctx context.Context) error {
	r, in, points, err := w.listed(ctx)
	if err != nil {
		return err
	}
	for _, p := range points {
		if w.points[p.ID] != nil {
			continue
		}
		c, err := r.Commit(ctx, w.Store, p, nil)
		if err != nil {
			return err
		}
		l := &life{until: c.RetainUntil.Time, names: []string{p.Name}, living: []int64{0}}
		pages := map[string]int64{}
		for n, err := range tree.Needs(ctx, in.Page, c.Needs, func(ref format.PageRef) { pages[ref.Object] += ref.Frame.Length }) {
			if err != nil {
				return err
			}
			l.names, l.living = append(l.names, n.Name), append(l.living, n.Living)
		}
		for name, n := range pages {
			l.names, l.living = append(l.names, name), append(l.living, n)
		}
		w.points[p.ID] = l
	}
	return nil
}

// Prune deletes what is over, as the remover's credential would; dry only plans.
func (w *World) Prune(ctx context.Context, remover store.Remover, emit func(prune.Item)) (_ prune.Summary, err error) {
	r, err := w.Repository(ctx)
	if err != nil {
		return prune.Summary{}, err
	}
	scratch, err := needed.NewScratch(w.o.Dir)
	if err != nil {
		return prune.Summary{}, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	v := *w.Vault
	v.Write, v.Lock = nil, nil
	return prune.Run(ctx, prune.Options{
		Repository: r, Vault: &v, Remover: remover, Scratch: scratch.Cache, Retired: w.Retired, Now: w.Now, Report: w.o.Report,
		Emit: func(item prune.Item) {
			if remover != nil {
				w.Removed[kind(item.Name)]++
			}
			if emit != nil {
				emit(item)
			}
		},
	})
}

// Remover is what only Prune is handed.
func (w *World) Remover() store.Remover { return w.Meter.Remover(w.Store) }

func kind(name string) string {
	dir, _, _ := strings.Cut(name, "/")
	return dir
}

// Audit holds every object of every living point against the point's own retain-until: it must be there, and locked.
func (w *World) Audit(ctx context.Context) error {
	want := map[string]time.Time{}
	for id, l := range w.points {
		if l.until.Before(w.Clock) {
			delete(w.points, id)
			continue
		}
		for _, name := range l.names {
			if l.until.After(want[name]) {
				want[name] = l.until
			}
		}
	}
	for name, until := range want {
		_, lock, err := w.Store.Stat(ctx, store.Ref{Name: name})
		if err != nil {
			return fmt.Errorf("%s: a living point needs %s until %s: %w", w.Clock.Format(time.DateOnly), name, until.Format(time.DateOnly), err)
		}
		if !lock.Covers(store.Retention{Mode: w.o.Mode, Until: until}) {
			return fmt.Errorf("%s: %s is locked until %s, a living point needs it until %s",
				w.Clock.Format(time.DateOnly), name, lock.Until.Format(time.RFC3339), until.Format(time.RFC3339))
		}
	}
	return nil
}

// Whole demands that every point the vault lists has all that it needs, whether its time is over or not.
func (w *World) Whole(ctx context.Context) error {
	r, in, points, err := w.listed(ctx)
	if err != nil {
		return err
	}
	for _, p := range points {
		c, err := r.Commit(ctx, w.Store, p, nil)
		if err != nil {
			return err
		}
		for n, err := range tree.Needs(ctx, in.Page, c.Needs, nil) {
			if err == nil {
				_, _, err = w.Store.Stat(ctx, store.Ref{Name: n.Name})
			}
			if err != nil {
				return fmt.Errorf("point %s until %s: %w", p.ID, c.RetainUntil, err)
			}
		}
	}
	return nil
}

// Living is how many points are not over.
func (w *World) Living() int { return len(w.points) }

// Stored is what lies in the vault, by kind of object.
type Stored struct {
	Objects int64
	Bytes   int64
	Living  int64 // of Bytes, what living points need
}

// Sizes gives what is stored and what of it is needed. Of the bytes of one object, living points need what that one of
// them needs which needs most of it: what a later point needs of an older object is a part of what earlier ones do.
func (w *World) Sizes(ctx context.Context) (total Stored, kinds map[string]Stored, err error) {
	living := map[string]int64{}
	for _, l := range w.points {
		if l.until.Before(w.Clock) {
			continue
		}
		for i, name := range l.names {
			living[name] = max(living[name], l.living[i], 1)
		}
	}
	kinds = map[string]Stored{}
	for info, err := range w.Store.Versions(ctx, "", "") {
		if err != nil {
			return total, kinds, err
		}
		k := kinds[kind(info.Name)]
		k.Objects++
		k.Bytes += info.Size
		n := living[info.Name]
		if strings.HasPrefix(info.Name, format.PrefixPoints) && n > 0 {
			n = info.Size
		}
		k.Living += min(n, info.Size)
		kinds[kind(info.Name)] = k
		total.Objects++
		total.Bytes += info.Size
		total.Living += min(n, info.Size)
	}
	return total, kinds, nil
}
