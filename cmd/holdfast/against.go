package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/cmd/holdfast/internal/location"
	"github.com/holdfast-backup/holdfast/replicator/against"
	"github.com/holdfast-backup/holdfast/replicator/browse"
	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/verify"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// comparedJSON is what a comparison of one point with its source came to, for scripts and for the record.
type comparedJSON struct {
	Source    string  `json:"source"`
	Vault     string  `json:"vault"`
	Point     string  `json:"point"`
	Status    string  `json:"status"` // ok, differs, incomplete
	Sample    float64 `json:"sample"` // percent
	Unchanged int64   `json:"unchanged"`
	Compared  int64   `json:"compared"`
	Bytes     int64   `json:"bytes"`
	Differ    int64   `json:"differ"`
	Unread    int64   `json:"unread"`
	Changed   int64   `json:"changed"`
	New       int64   `json:"new"`
	Missed    int64   `json:"missed"` // of the new ones: dated before the point was made
	Aside     int64   `json:"aside"`  // disk images, files that were being written
}

// differsJSON is one entry that differs.
type differsJSON struct {
	Finding string `json:"finding"` // differs
	Source  string `json:"source"`
	Key     string `json:"key"`
	Version string `json:"version,omitempty"`
	Detail  string `json:"detail"`
}

// againstSource holds the newest points, or those that are named, against what their sources deliver now.
func againstSource(ctx context.Context, a *app, f *readerFlags, specs []string, sample float64) (err error) {
	r, err := a.openReading(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if r.config == nil {
		return usage(errors.New("--against-source reads the sources of the configuration, and there is none here: give --config FILE"))
	}
	if !r.repo.Vouched() {
		return together{fmt.Errorf("verify --against-source: %w", repo.ErrNoDescriptor), r.alarm()}.orNil()
	}
	in, err := r.names()
	if err != nil {
		return err
	}
	if len(specs) == 0 {
		specs = r.verifies.comparable()
	}
	if len(specs) == 0 {
		return usage(errors.New("--against-source: the configuration has no source of objects or files: disks, machines and programs cannot be compared"))
	}
	var all together
	did := newActivity(a.now())
	for _, spec := range specs {
		line, err := r.verifies.compareOne(ctx, in, spec, sample)
		if ctx.Err() != nil {
			return err
		}
		if line != nil {
			did.line(*line)
			err = together{err, r.verifies.printCompared(*line)}.orNil()
		}
		if err != nil {
			all = append(all, err)
		}
	}
	if len(did.lines) > 0 {
		all = append(all, r.verifies.record(ctx, "compare", did))
	}
	return together{all.orNil(), r.alarm()}.orNil()
}

// comparable gives the newest points of the sources that can be compared.
func (r *verifying) comparable() (specs []string) {
	for _, s := range r.config.Sources {
		if why := incomparable(s); why != "" {
			r.ui.remark("Source %s is left out: %s.", s.Name, why)
			continue
		}
		if len(s.Vaults) == 0 || slices.Contains(s.Vaults, r.vault.name) {
			specs = append(specs, s.Name+"@latest")
		}
	}
	return specs
}

// incomparable says why a source has nothing that can be compared.
func incomparable(s config.Source) string {
	switch s.URL.Kind {
	case location.S3, location.File:
		return ""
	case location.Exec:
		return "what a program writes is not the same twice"
	}
	return "disks and machines are not compared"
}

func (r *verifying) compareOne(ctx context.Context, in *repo.Reader, spec string, sample float64) (line *comparedJSON, err error) {
	p, err := r.point(ctx, spec)
	if err != nil {
		return nil, err
	}
	s, ok := r.config.Source(p.Source)
	if !ok {
		return nil, usage(fmt.Errorf("%s: the configuration has no source %s to compare it with", safe(spec), p.Source))
	}
	if why := incomparable(s); why != "" {
		return nil, usage(fmt.Errorf("source %s: %s", s.Name, why))
	}
	src, _, err := r.newBackends(filepath.Dir(r.config.Path), r.config.Limits).openSource(s)
	if err != nil {
		return nil, err
	}
	view, err := src.Freeze(ctx)
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	o := against.Options{
		View: view, TakenAt: p.Commit.TakenAt.Time, Share: sample, AtOnce: r.connections(), Read: &progress.Count{},
		Point: func(ctx context.Context) iter.Seq2[*format.Entry, error] { return browse.List(ctx, in, p.Commit, "") },
	}
	if _, err := crand.Read(o.Seed[:]); err != nil {
		return nil, err
	}
	var printErr error
	o.Differs = func(d against.Difference) { printErr = errors.Join(printErr, r.printDiffers(s.Name, d)) }
	stop := r.watch(ctx, s.Name, true, o.Read)
	res, err := against.Run(ctx, o)
	stop()
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	line = &comparedJSON{
		Source: s.Name, Vault: r.vault.name, Point: p.ID.String(), Status: string(verify.OK), Sample: sample, Unchanged: res.Alike, Compared: res.Compared, Bytes: res.Bytes,
		Differ: res.Differ, Unread: res.Unread, Changed: res.Changed, New: res.New, Missed: res.Missed, Aside: res.Aside,
	}
	return line, errors.Join(printErr, line.judge())
}

// judge says what the comparison comes to.
func (l *comparedJSON) judge() error {
	var all together
	if l.Differ > 0 {
		l.Status = "differs"
		all = append(all, &marked{errDiffers, fmt.Errorf("source %s: of %s that are listed as they were, %d are not what point %.12s holds", l.Source, entries(l.Compared), l.Differ, l.Point)})
	}
	if l.Unread > 0 {
		if l.Status == string(verify.OK) {
			l.Status = "incomplete"
		}
		all = append(all, &marked{errIncomplete, fmt.Errorf("source %s: %s could not be read", l.Source, entries(l.Unread))})
	}
	return all.orNil()
}

func (r *verifying) printDiffers(source string, d against.Difference) error {
	line := differsJSON{Finding: "differs", Source: source, Key: d.Key, Version: d.Version, Detail: d.Detail}
	if r.ui.json {
		return r.ui.object(line)
	}
	return r.ui.text(fmt.Sprintf("differs: %s of %s: %s", safe(d.Key), source, printable(d.Detail)))
}

func (r *verifying) printCompared(l comparedJSON) error {
	if l.Missed > 0 {
		r.ui.warn("source %s: %s, dated before point %.12s was made, not in it: the next run copies them; if they were there then, look why it did not", l.Source, plural(l.Missed, "object is", "objects are"), l.Point)
	}
	if r.ui.json {
		return r.ui.object(l)
	}
	var beside []string
	for _, x := range []struct {
		n    int64
		what string
	}{{l.Changed, "changed or deleted since"}, {l.New, "new"}, {l.Unread, "not to be read"}, {l.Aside, "not compared"}} {
		if x.n > 0 {
			beside = append(beside, fmt.Sprintf("%d %s", x.n, x.what))
		}
	}
	text := fmt.Sprintf("%s: %s: point %.12s against the source: %d of %s unchanged there read and compared, %s; %d differ", l.Source, l.Status, l.Point, l.Compared, entries(l.Unchanged), size(l.Bytes), l.Differ)
	if len(beside) > 0 {
		text += "; " + strings.Join(beside, ", ")
	}
	return r.ui.text(text)
}
