// Package prove writes a page that lets anybody check one entry of a recovery point without this program: the hashes from the point's signed
// name down to the entry's bytes, and the commands that hold the stored objects against them. The page is text, and a shell script.
//
// The package reads a vault and never writes to one. What it puts on the page was checked on the way; the commands check it again.
package prove

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Errors of this package.
var (
	// ErrExtents: the entry has more chunks than a page can hold.
	ErrExtents = errors.New("its content is in more pieces than a page holds")
	// ErrNoPage: no page of the manifest has the entry.
	ErrNoPage = errors.New("no page of the manifest has it")
)

// Options of a proof.
type Options struct {
	Repository *repo.Repository
	In         store.Reader
	Reader     *repo.Reader // that opens content
	Point      repo.Point
	Commit     *format.Commit
	Entry      *format.Entry
	Program    string // that writes the page
	Now        time.Time
}

// step is a page of the manifest on the way to the entry.
type step struct {
	ref  format.PageRef
	page []byte
}

// Page gives the page.
func Page(ctx context.Context, o Options) ([]byte, error) {
	if len(o.Entry.Extents) > 0 {
		return nil, fmt.Errorf("prove %q: %w", o.Entry.Key, ErrExtents)
	}
	steps, line, err := way(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("prove %q: %w", o.Entry.Key, err)
	}
	w := &writer{o: o, steps: steps, line: line}
	if err := w.stored(ctx); err != nil {
		return nil, fmt.Errorf("prove %q: %w", o.Entry.Key, err)
	}
	w.all()
	return w.out.Bytes(), nil
}

// way gives the pages from the root down to the one that has the entry, and on which line of it that stands.
func way(ctx context.Context, o Options) (steps []step, line int, err error) {
	var above []format.PageRef
	visit := func(ref format.PageRef) {
		for len(above) > 0 && above[len(above)-1].Level <= ref.Level {
			above = above[:len(above)-1]
		}
		above = append(above, ref)
	}
	for leaf, err := range tree.Leaves(ctx, o.Reader.Page, o.Commit.Manifest, o.Entry.Key, visit) {
		if err != nil {
			return nil, 0, err
		}
		if leaf.First > o.Entry.Key {
			break
		}
		page, err := tree.Page(ctx, o.Reader.Page, leaf)
		if err != nil {
			return nil, 0, err
		}
		if line = lineOf(page, o.Entry); line == 0 {
			continue
		}
		for _, ref := range above {
			if ref.Level > leaf.Level {
				inner, err := tree.Page(ctx, o.Reader.Page, ref)
				if err != nil {
					return nil, 0, err
				}
				steps = append(steps, step{ref, inner})
			}
		}
		return append(steps, step{leaf, page}), line, nil
	}
	return nil, 0, ErrNoPage
}

// lineOf gives the line of a page that is an entry's, counted from 1; 0: none is. Of several the last counts.
func lineOf(page []byte, e *format.Entry) (found int) {
	n := 0
	for line := range bytes.Lines(page) {
		n++
		var l struct {
			Key     *string `json:"key"`
			KeyB64  *string `json:"key_b64"`
			Version string  `json:"version_id"`
			VersB64 []byte  `json:"version_id_b64"`
		}
		if json.Unmarshal(line, &l) != nil {
			continue
		}
		key, ok := "", false
		switch {
		case l.Key != nil:
			key, ok = *l.Key, true
		case l.KeyB64 != nil:
			b, err := base64.StdEncoding.DecodeString(*l.KeyB64)
			key, ok = string(b), err == nil
		}
		if version := l.Version + string(l.VersB64); ok && key == e.Key && version == e.Version {
			found = n
		}
	}
	return found
}

// stored is a stored object that the proof needs, as the vault answered.
type stored struct {
	name, version string
	size          int64
	lock          store.Retention
}

// writer writes the page.
type writer struct {
	o     Options
	steps []step
	line  int
	needs []stored
	out   bytes.Buffer
}

// names gives the stored objects that the proof needs, each once.
func (w *writer) names() (out []string) {
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	for _, l := range w.chain() {
		add(l.Name)
	}
	add(w.o.Point.Name)
	for _, s := range w.steps {
		add(s.ref.Object)
	}
	for _, c := range w.o.Entry.Chunks {
		if !c.Hole {
			add(format.PackName(c.Pack))
		}
	}
	return out
}

// chain gives the descriptors up to the one that the point was made under.
func (w *writer) chain() []repo.Link {
	for i, l := range w.o.Repository.Chain {
		if l.Sum == w.o.Commit.Descriptor {
			return w.o.Repository.Chain[:i+1]
		}
	}
	return w.o.Repository.Chain
}

// stored reads the objects' locks back.
func (w *writer) stored(ctx context.Context) error {
	for _, name := range w.names() {
		ref := store.Ref{Name: name}
		if name == w.o.Point.Name {
			ref.Version = w.o.Point.Version
		}
		info, lock, err := w.o.In.Stat(ctx, ref)
		if err != nil {
			return err
		}
		w.needs = append(w.needs, stored{name, info.Version, info.Size, lock})
	}
	return nil
}

// sumOf gives the hash in an object's name, or that of a point.
func sumOf(name string) string {
	sum, err := format.ParseName(name)
	if err != nil {
		return "?"
	}
	return sum.String()
}

func stamp(name string) string {
	s, _, _ := strings.Cut(path.Base(name), "-")
	return s
}
