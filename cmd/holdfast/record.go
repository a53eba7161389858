package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/backup"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/evidence"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// recordBody is what a record of this program says: which program did what, and the lines that the command prints with
// --json. It lies in the vault as plain text. So no line may hold a path, a key of the source, or an error's text.
type recordBody struct {
	Command string            `json:"command"`
	Program string            `json:"program"`
	Began   string            `json:"began"`
	Ended   string            `json:"ended"`
	Lines   []json.RawMessage `json:"lines"`
	evidence.Holding
	Omitted  int         `json:"omitted,omitempty"`  // lines that did not fit
	Rotation *turnRecord `json:"rotation,omitempty"` // what was read of a vault, and when
}

// activity is what a command did, for its record.
type activity struct {
	began  time.Time
	lines  []json.RawMessage
	newest map[string]format.NewestPoint
	until  time.Time       // the end of the longest point that was made
	holds  []evidence.Held // that were made; when and by whom says the record

	turn      *turnRecord         // of a verification in turns
	delivered []evidence.Delivery // of its record, in each vault
}

func newActivity(now time.Time) *activity {
	return &activity{began: now, newest: map[string]format.NewestPoint{}}
}

// recordedRun is a line of a run without the texts that could name what the source holds.
type recordedRun struct {
	ran
	AlarmCount int `json:"alarm_count,omitempty"`
}

func recorded(l ran) recordedRun {
	r := recordedRun{l, len(l.Alarms) - l.told}
	r.Error, r.Alarms = "", nil // status says failed
	r.Findings = slices.Clone(l.Findings)
	for i := range r.Findings {
		r.Findings[i].Text, r.Findings[i].Examples = "", nil
	}
	return r
}

// line takes a line as it is printed for scripts.
func (d *activity) line(line any) {
	if d == nil {
		return
	}
	if b, err := json.Marshal(line); err == nil { // a line that is printed, too: it can be
		d.lines = append(d.lines, b)
	}
}

// point takes a point that was made.
func (d *activity) point(source string, r *backup.Result) {
	d.newest[source] = format.NewestPoint{Source: source, Point: format.PointKey(format.At(r.SignedAt), r.Point)}
	if r.RetainUntil.After(d.until) {
		d.until = r.RetainUntil
	}
}

// body puts as many lines into a record as fit.
func (d *activity) body(command string, ended time.Time, holds []evidence.Held) ([]byte, error) {
	b := recordBody{
		Command: command, Program: userAgent(), Began: d.began.UTC().Format(time.RFC3339), Ended: ended.UTC().Format(time.RFC3339), Lines: d.lines, Rotation: d.turn,
	}
	if holds != nil { // else it is not known what is held, and that there is nothing must not be said
		b.Holding = evidence.Telling(holds)
	}
	told, err := json.Marshal(b.Holding)
	if err != nil {
		return nil, err
	}
	turned, err := json.Marshal(b.Rotation)
	if err != nil {
		return nil, err
	}
	const room = format.MaxRecord - 180<<10 // what the head takes at most
	size := len(told) + len(turned)
	for i, l := range d.lines {
		if size += len(l) + 1; size > room {
			b.Lines, b.Omitted = d.lines[:i], len(d.lines)-i
			break
		}
	}
	return json.Marshal(b)
}

// record makes a record of what the command did and puts it into the vaults; r may be nil. Where there is no reporter's key there is none: the log says
// so where it was asked for more. What becomes of a record never changes what the command itself came to, but for its being
// said: a vault that is away gets it with the next one.
func (j *job) record(ctx context.Context, kind string, r *repo.Repository) error {
	d := j.activity
	if d == nil {
		return nil
	}
	key, err := j.reporterKey()
	if err != nil || key == nil {
		if err == nil {
			j.ui.detail("no record of this is made: keys.reporter names no key")
		}
		return err
	}
	fail := func(err error) error { return &marked{errRecord, fmt.Errorf("no record of this is made: %w", err)} }
	if r == nil {
		if r, err = j.anyRepository(ctx); err != nil {
			return fail(err)
		}
	}
	if _, ok := r.Keys().Reporter(key.Name, format.KeyHint(key.Public()), j.now()); !ok {
		return fail(fmt.Errorf("the repository does not know the key of the reporter %s; the holder of a restore key adds it with `holdfast key add-reporter`", key.Name))
	}
	dir, err := j.cacheDir(j.config, r.CacheID())
	if err != nil {
		return fail(unusableCache(err))
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	book, lock, err := evidence.OpenBook(wait, filepath.Join(filepath.Dir(dir), "records", key.Name))
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	now, vaults := j.evidenceVaults(ctx)
	if now.IsZero() {
		return fail(errors.New("no vault answers"))
	}
	holds, err := bookHolds(ctx, j, book, r, d.holds, key.Name, now)
	if err != nil {
		return fail(err)
	}
	body, err := d.body(kind, now, holds)
	if err != nil {
		return fail(err)
	}
	by := evidence.Reporter{Key: key, Repository: r.ID, Book: book, Vaults: vaults}
	delivered, err := by.Add(ctx, evidence.Statement{Time: now, Type: kind, Newest: d.points(), Until: d.until, Body: body})
	if err != nil {
		return fail(err)
	}
	d.delivered = delivered
	for _, v := range delivered {
		until := ""
		if !v.Until.IsZero() {
			until = ", locked until " + v.Until.Format(time.DateOnly)
		}
		if v.Err != nil {
			j.ui.warn("%v; %s for it, and will be stored with the next", v.Err, plural(v.Waiting, "record waits", "records wait"))
		} else {
			j.ui.detail("vault %s: %s stored%s", v.Vault, plural(v.Stored, "record", "records"), until)
		}
	}
	return nil
}

// leaveRecord leaves a record of one line in the vaults of a configuration, by a command that opened none of them for itself; in may be nil.
func leaveRecord(ctx context.Context, a *app, c *config.Config, kind string, began time.Time, in *repo.Repository, line any) (err error) {
	j, err := a.openVaults(c, someVaults)
	if err != nil {
		return &marked{errRecord, fmt.Errorf("no record of this is made: %w", err)}
	}
	defer func() { err = errors.Join(err, j.close()) }()
	j.activity = newActivity(began)
	j.activity.line(line)
	return j.record(ctx, kind, in)
}

// points gives the newest points by source.
func (d *activity) points() (out []format.NewestPoint) {
	for _, name := range slices.Sorted(maps.Keys(d.newest)) {
		if out = append(out, d.newest[name]); len(out) == format.MaxNewest {
			break
		}
	}
	return out
}

// reporterKey reads the key that is configured; nil where none is.
func (j *job) reporterKey() (*keys.ReporterKey, error) {
	path, err := j.config.ReporterKeyPath(j.env)
	if err != nil || path == "" {
		return nil, err
	}
	if err := j.trusts.me().File(path); err != nil {
		return nil, fmt.Errorf("reporter's key: %w; who could have replaced it signs records in your place", err)
	}
	key, err := keys.ReadReporterKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &saying{repo.ErrNeedKey, fmt.Sprintf("there is no reporter's key at %s: the holder of a restore key makes one with `holdfast key add-reporter --identity FILE --key %s`, "+
			"and adds it to the repository; one that was lost is replaced with --replace", path, path)}
	}
	return key, err
}

// evidenceVaults gives the vaults, and the earliest of their clocks; zero where none answers. One whose clock is wrong gets its records later.
func (j *job) evidenceVaults(ctx context.Context) (now time.Time, out []evidence.Vault) {
	keep := j.config.Reports.Keep
	for _, v := range j.vaults {
		err := v.failed
		var facts store.Facts
		if err == nil {
			facts, err = v.once.Inspect(ctx)
		}
		if err == nil { // one that tells a wrong time would end holds, or lock for ever
			err = repo.CheckClock(facts.Clock, j.now())
		}
		if err != nil {
			out = append(out, evidence.Vault{Name: v.name, Err: err})
			continue
		}
		if now.IsZero() || facts.Clock.Before(now) {
			now = facts.Clock
		}
		c, _ := j.config.Vault(v.name) // all that are open are configured
		l := lockingAt(c.Lock, facts.Clock)
		out = append(out, evidence.Vault{
			Name: v.name, Read: v.Reader, Write: v.Writer, Mode: l.Mode, Keep: keep.AddTo(facts.Clock).Sub(facts.Clock), Ceiling: l.Ceiling,
		})
	}
	return now.UTC().Truncate(time.Second), out
}

// anyRepository finds the repository in the first vault that shows the known one.
func (j *job) anyRepository(ctx context.Context) (*repo.Repository, error) {
	known, err := j.trusts.knownRepository(j.config, j.pin)
	if err != nil {
		return nil, err
	}
	var all together
	for _, v := range j.vaults {
		r, err := repo.Find(ctx, v.Reader, known.Pin, nil)
		if err == nil {
			return r, nil
		}
		all = append(all, prefixed(err, "vault "+v.name))
	}
	return nil, all.orNil()
}
