package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// matches is a target that notes which of the includes matched a key: one that matched none is most likely a slip.
type matches struct {
	restore.Target

	mu   sync.Mutex
	left []glob.Glob // those that matched no key so far
}

func newMatches(to restore.Target, include []string) (*matches, error) {
	m := &matches{Target: to}
	for _, text := range include {
		g, err := glob.Parse(text)
		if err != nil {
			return nil, usage(fmt.Errorf("--include: %w", err))
		}
		m.left = append(m.left, g)
	}
	return m, nil
}

// Accept implements restore.Target.
func (m *matches) Accept(ctx context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	if len(versions) > 0 {
		m.see(versions[0].Key)
	}
	return m.Target.Accept(ctx, versions)
}

func (m *matches) see(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.left[:0]
	for _, g := range m.left {
		if !g.Match(key) {
			kept = append(kept, g)
		}
	}
	m.left = kept
}

// none gives the includes that matched nothing.
func (m *matches) none() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, g := range m.left {
		out = append(out, g.String())
	}
	return out
}

// noMatch says how globs are meant.
func noMatch(globs []string) error {
	quoted := make([]string, len(globs))
	for i, g := range globs {
		quoted[i] = "'" + g + "'"
	}
	return &marked{errNoMatch, fmt.Errorf("--include %s matched nothing in this point, or nothing that is not excluded: "+
		"a glob is held against the whole key, so 'dir/**' takes a folder's contents", strings.Join(quoted, ", "))}
}
