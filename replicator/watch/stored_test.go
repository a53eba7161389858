package watch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/lifetest"
	"github.com/holdfast-backup/holdfast/replicator/watch"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What a directory loses that points need is missed, until it would be over, or is back; so is what is cut short.
func TestStoredInADirectory(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	directory := func(o *watch.Options) { o.Locks = false }
	live := func(days int) {
		for i := range days {
			p.run()
			p.change = func(o *watch.Options) { directory(o); o.Expected = i == 0 && days > 1 }
			p.silent()
			p.w.Pass(day)
		}
		p.change = directory
	}
	live(4)
	p.run()
	p.silent()
	m, err := watch.ReadMemory(p.path)
	p.must(err)
	if n := len(m.Sentinels); n < 5 || n > 64 {
		t.Fatalf("%d stored objects are remembered", n)
	}
	of := map[string]int{}
	for _, s := range m.Sentinels {
		folder, _, _ := strings.Cut(s.Name, "/")
		of[folder+"/"]++
		if s.Size <= 0 || !s.Until.After(p.w.Clock) || s.Version != "" {
			t.Errorf("%+v", s)
		}
	}
	if of[format.PrefixPacks] == 0 {
		t.Errorf("no pack is looked at: %v", of)
	}

	// All packs go: any that is looked at tells of it.
	all := map[string]bool{}
	for info, err := range p.w.Store.Versions(t.Context(), format.PrefixPacks, "") {
		p.must(err)
		all[info.Name] = true
	}
	p.in = stat{p.w.Store, func(name string, info *store.Info) error {
		if all[name] {
			return store.ErrNotFound
		}
		return nil
	}}
	r := p.finds("withheld are not there as they were: packs/")
	if len(r.Findings) != 1 || r.Findings[0].Count < of[format.PrefixPacks] || !strings.Contains(r.Findings[0].Text, " is gone") {
		t.Errorf("%s", told(r))
	}
	if r = p.look(); len(r.Findings) != 1 || r.Findings[0].Kind != watch.Withheld || len(r.Over) > 0 {
		t.Errorf("the look after: %s", told(r))
	}
	p.in = p.w.Store
	p.over(watch.Withheld)

	// One is cut short.
	one := m.Sentinels[slices.IndexFunc(m.Sentinels, func(s watch.Sentinel) bool { return strings.HasPrefix(s.Name, format.PrefixPacks) })]
	p.in = stat{p.w.Store, func(name string, info *store.Info) error {
		if name == one.Name {
			info.Size = 1
		}
		return nil
	}}
	p.finds(fmt.Sprintf("withheld %s has 1 bytes, and had %d", one.Name, one.Size))

	// What no point needs any more may go, or be as it is.
	p.w.Pass(500 * day)
	p.run()
	if r = p.look(); len(r.Over) != 1 || slices.ContainsFunc(r.Findings, func(f watch.Finding) bool { return f.Kind == watch.Withheld }) {
		t.Errorf("long after: %s", told(r))
	}
}

// stat answers otherwise than there is.
type stat struct {
	store.Reader
	change func(name string, info *store.Info) error
}

func (s stat) Stat(ctx context.Context, ref store.Ref) (store.Info, store.Retention, error) {
	info, lock, err := s.Reader.Stat(ctx, ref)
	return info, lock, errors.Join(err, s.change(ref.Name, &info))
}

func (s stat) Open(ctx context.Context, ref store.Ref, off, n int64) (io.ReadCloser, error) {
	if err := s.change(ref.Name, &store.Info{}); err != nil {
		return nil, err
	}
	return s.Reader.Open(ctx, ref, off, n)
}

// A look that finds no needs list says so, and goes on saying it, whichever point it asks the next time.
func TestNeedsGoneFromADirectory(t *testing.T) {
	p := newPost(t, lifetest.Options{})
	p.change = func(o *watch.Options) { o.Locks, o.Expected = false, true }
	p.run()
	needs := func(i store.Info) bool { return strings.HasPrefix(i.Name, format.PrefixNeeds) }
	p.in = stat{shows{p.w.Store, needs}, func(name string, _ *store.Info) error {
		if strings.HasPrefix(name, format.PrefixNeeds) {
			return store.ErrNotFound
		}
		return nil
	}}
	p.finds("withheld are not there as they were: needs/")
	if r := p.look(); len(r.Findings) != 1 || len(r.Over) > 0 {
		t.Errorf("the look after: %s", told(r))
	}
	p.in = p.w.Store
	if r := p.look(); len(r.Findings) > 0 || len(r.Over) != 1 {
		t.Errorf("once it is back: %s", told(r))
	}
}
