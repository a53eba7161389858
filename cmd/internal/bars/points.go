package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/memstore"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

const (
	dailySpan   = 35 * 24 * time.Hour
	pointsOver  = 30 * 24 * time.Hour // within which all points of a vault are made: none is over
	otherMost   = 12                  // requests of a run that list nothing
	storedMost  = 5                   // objects of a run that changed one of 200
	cpuMost     = 1.2                 // of that with one point
	lostMost    = 100                 // requests of a run without its cache, before its own work
	pointsMost  = 30                  // requests of `points` without a cache
	pointsTime  = 2 * time.Second
	measuredFor = 7 // runs, of which the middle one counts
)

// manyPoints measures what a run costs where one, 4,000 and 10,000 points are in the vault.
func manyPoints(ctx context.Context, w *world) error {
	return errors.Join(w.points(ctx, []history{{1, 1}, {1, 4000}, {1, 10000}, {10, 1000}}), programRuns(ctx, w, 1, 4000))
}

func manyPointsInSmall(ctx context.Context, w *world) error {
	return errors.Join(w.points(ctx, []history{{1, 1}, {1, 200}}), programRuns(ctx, w, 1, 200))
}

// history is what is in a vault.
type history struct{ sources, points int }

func (h history) String() string {
	switch {
	case h.points == 1:
		return "one point"
	case h.sources == 1:
		return itoa(h.points) + " points of one source"
	}
	return fmt.Sprintf("%d points of %d sources", h.sources*h.points, h.sources)
}

func (w *world) points(ctx context.Context, all []history) error {
	var first time.Duration // CPU of a run with one point
	for _, h := range all {
		began := time.Now()
		y, err := newYears(ctx, w.path("years"), h, memsources)
		if err != nil {
			return err
		}
		fmt.Printf("  %s: %d stored objects, in %.0f s\n", h, len(y.vault.listing), time.Since(began).Seconds())
		cpu, err := w.oneRun(ctx, y, h)
		if err != nil {
			return err
		}
		if first == 0 {
			first = cpu
		}
		over := float64(cpu) / float64(first)
		w.bar(over <= cpuMost, "%s: a run takes %.1f ms of CPU outside the listing, %.2f times that with one point (at most %.1f)", h, ms(cpu), over, cpuMost)
		if err := runWithoutCache(ctx, w, y, h); err != nil {
			return err
		}
		if err := listOfPoints(ctx, w, y, h); err != nil {
			return err
		}
	}
	return nil
}

// oneRun says what runs cost that change one entry of 200.
func (w *world) oneRun(ctx context.Context, y *years, h history) (time.Duration, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the vault is in this process; a real one's names are no garbage of the run's
	defer func(step time.Duration) { y.step = step }(y.step)
	y.step = time.Minute // so that the first of these runs lengthens what locks are due, and the last none: one call an object in ten days
	var cpus []time.Duration
	for range measuredFor {
		runtime.GC()
		y.vault.reset()
		began := cpuOfSelf()
		if err := y.run(ctx, 0); err != nil {
			return 0, err
		}
		took := cpuOfSelf() - began
		cpus = append(cpus, took-y.vault.bare())
	}
	names := len(y.vault.listing)
	others, kinds := y.vault.others()
	w.bar(y.vault.stored() <= storedMost, "%s: a run stores %d objects (at most %d)", h, y.vault.stored(), storedMost)
	pages := (names + pageNames - 1) / pageNames
	w.bar(y.vault.pages+others <= pages+otherMost, "%s: a run asks %d listing requests and %d others (%d stored names: together at most %d and %d): %s", h, y.vault.pages, others, names, pages, otherMost, kinds)
	return middle(cpus), nil
}

// runWithoutCache says what a run of a machine asks that lost its cache.
func runWithoutCache(ctx context.Context, w *world, y *years, h history) error {
	names := len(y.vault.listing)
	y.loseCache()
	y.vault.reset()
	var opening, pages int
	var kinds string
	y.opening = func() {
		opening, kinds = y.vault.others()
		pages = y.vault.pages
	}
	defer func() { y.opening = nil }()
	began := cpuOfSelf()
	if err := y.run(ctx, 0); err != nil {
		return err
	}
	over := max(pages-(names+pageNames-1)/pageNames, 0)
	w.bar(opening+over < lostMost, "%s: without its cache a run asks %d listing requests for %d names and %d others before its own work (without one listing of all below %d): %s", h, pages, names, opening, lostMost, kinds)
	others, kinds := y.vault.others()
	fmt.Printf("  %s: that run asks %d others in all and takes %.0f ms of CPU: %s\n", h, others, ms(cpuOfSelf()-began), kinds)
	return nil
}

// listOfPoints says what `points` costs: what it does but for the printing.
func listOfPoints(ctx context.Context, w *world, y *years, h history) error {
	y.vault.reset()
	began := time.Now()
	r, err := repo.Find(ctx, y.vault, "", nil)
	if err != nil {
		return err
	}
	n := 0
	for p, err := range browse.Points(ctx, browse.View{Repository: r, In: y.vault, Vault: vaultName}, "") {
		if err != nil {
			return err
		}
		if p.Line == nil || !p.Complete() || p.Line.RetainUntil.IsZero() {
			return fmt.Errorf("point %s is listed without its fields", p.ID)
		}
		n++
	}
	took := time.Since(began)
	others, kinds := y.vault.others()
	w.bar(n >= h.sources*h.points && took < pointsTime && y.vault.pages+others < pointsMost,
		"%s: `points` without a cache lists %d with every field in %.2f s (below %.0f) by %d listing requests and %d others (together below %d): %s",
		h, n, took.Seconds(), pointsTime.Seconds(), y.vault.pages, others, pointsMost, kinds)
	return nil
}

const vaultName = "offsite"

// years are many runs on one vault with locks, in this process.
type years struct {
	dir     string
	clock   time.Time
	step    time.Duration
	vault   *counting
	now     func() time.Time
	locking repo.Locking
	restore keys.Identity
	host    *keys.HostKey
	sources []changing
	caches  int
	changes int
	opening func() // called when a run has found what it goes on from, and begins its own work
}

// yearsLocking is how the vault of years is locked.
var yearsLocking = repo.Locking{Mode: store.Compliance, Slack: 10 * 24 * time.Hour, Ceiling: 400 * 24 * time.Hour}

// changing is a source of 200 small files, of which one can be given other content.
type changing struct {
	source.Source
	change func(n int, content []byte) error
}

func itemKey(n int) string { return fmt.Sprintf("folder/%04d", n%200) }

// memsources has the years in memory: a vault with locks, and sources.
func memsources(y *years) error {
	y.vault = newCounting(memstore.New(memstore.Options{Now: y.now}))
	y.locking = yearsLocking
	for i := range y.sources {
		src := memsource.New(memsource.Options{Now: y.now})
		y.sources[i] = changing{src, func(n int, content []byte) error {
			src.PutEntry(format.Entry{Key: itemKey(n), Modified: format.At(y.clock.Add(-time.Hour))}, content)
			return nil
		}}
		for n := range 200 {
			src.Put(itemKey(n), fmt.Appendf(nil, "content %d", n))
		}
	}
	return nil
}

// newYears makes every point with the program's own runs: all sources in one session, and again, until there are enough.
func newYears(ctx context.Context, dir string, h history, where func(*years) error) (*years, error) {
	step := pointsOver / time.Duration(h.points+100)
	y := &years{dir: dir, step: step, clock: time.Now().Add(-step * time.Duration(h.points+99)).Truncate(time.Second), sources: make([]changing, h.sources)}
	y.now = func() time.Time { return y.clock }
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = where(y)
	}
	if err != nil {
		return nil, err
	}
	if y.restore, err = keys.GenerateIdentity(keys.X25519); err != nil {
		return nil, err
	}
	if y.host, err = keys.GenerateHostKey(keys.X25519); err != nil {
		return nil, err
	}
	if _, err := repo.Init(ctx, repo.InitOptions{
		Vaults: []*repo.Vault{y.asVault()}, HostKey: y.host, Recipients: []keys.Recipient{y.restore.Recipient()}, Need: dailySpan, Now: y.now,
	}); err != nil {
		return nil, err
	}
	all := make([]int, h.sources)
	for i := range all {
		all[i] = i
	}
	for range h.points {
		if err := y.run(ctx, all...); err != nil {
			return nil, err
		}
	}
	return y, nil
}

func (y *years) asVault() *repo.Vault {
	return &repo.Vault{
		Name: vaultName, Read: y.vault, Write: y.vault, Lock: y.vault, Inspect: y.vault,
		Locking: y.locking,
	}
}

// loseCache has the next run begin without one.
func (y *years) loseCache() { y.caches++ }

// run is one session, in which some sources have a point made. In each one entry has changed.
func (y *years) run(ctx context.Context, sources ...int) (err error) {
	y.clock = y.clock.Add(y.step)
	s, err := repo.OpenSession(ctx, repo.SessionOptions{
		Vaults: []*repo.Vault{y.asVault()}, HostKey: y.host, Now: y.now,
		Cache: func(format.Hash) (*cache.Cache, error) {
			return cache.Open(filepath.Join(y.dir, "cache-"+itoa(y.caches)), cache.Options{Memory: 16 << 20})
		},
		Kept: cache.NewKept(filepath.Join(y.dir, "kept-"+itoa(y.caches))),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, i := range sources {
		y.changes++
		if err := y.sources[i].change(y.changes, fmt.Appendf(nil, "content, changed for the %d. time", y.changes)); err != nil {
			return err
		}
		res, err := backup.Run(ctx, backup.Options{
			Source: frozen{y.sources[i].Source, y.opening}, Name: "source-" + itoa(i), Session: s, Retention: retain.Policy{Daily: retain.Span{Duration: dailySpan}},
			TagsMaxAge: -1, Memory: 64 << 20, Fetchers: 4, Now: y.now,
		})
		if err != nil {
			return err
		}
		if res.Status != format.StatusComplete {
			return fmt.Errorf("point %s is %s", res.Point, res.Status)
		}
	}
	return nil
}

// frozen tells when a run turns to its source.
type frozen struct {
	source.Source
	told func()
}

func (f frozen) Freeze(ctx context.Context) (source.View, error) {
	if f.told != nil {
		f.told()
	}
	return f.Source.Freeze(ctx)
}

// cpuOfSelf is what this process has taken so far.
func cpuOfSelf() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func itoa(n int) string { return strconv.Itoa(n) }
