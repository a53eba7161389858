package s3source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/store"
)

// garbles reports whether a key or marker of the page may not be the true one. XML has no way to write control
// characters; encoding-type=url is for that, and servers that do not follow it put U+FFFD in their place. Such a key
// stands where the true one belongs, which is not where its own name would.
func (p *listPage) garbles(s string) bool {
	return p.encoding != "url" && strings.ContainsRune(s, utf8.RuneError)
}

// maxGarbled bounds how many such keys are held back.
const maxGarbled = 10_000

// garbled holds such keys back until their turn by name comes, since a view is in order of names. Reading them tells
// whether the name is true: one that is not is not found, and is listed as missing.
type garbled struct {
	from, to string
	visit    func(context.Context, *listItem) (bool, error)
	held     []listItem // by name, versions as they came
}

func (v *view) holdBack(g *garbled, it *listItem) error {
	if it.key < g.from || g.to != "" && it.key >= g.to {
		return nil
	}
	after := func(a listItem, key string) int { return strings.Compare(a.key, key) }
	at, _ := slices.BinarySearchFunc(g.held, it.key+"\x00", after)
	for i := at - 1; i >= 0 && g.held[i].key == it.key; i-- {
		if !v.s.all() || g.held[i].version == it.version {
			return nil // listed already, or not to be told apart
		}
	}
	if len(g.held) == maxGarbled {
		return fmt.Errorf("list %s: more than %d keys hold control characters, and the server does not follow encoding-type=url; rename them: %w",
			v.s.name, maxGarbled, store.ErrListing)
	}
	g.held = slices.Insert(g.held, at, *it)
	return nil
}

// before hands on what comes before key; all of it for "".
func (g *garbled) before(ctx context.Context, key string) error {
	for len(g.held) > 0 && (key == "" || g.held[0].key < key) {
		it := g.held[0]
		g.held = g.held[1:]
		more, err := g.visit(ctx, &it)
		if err != nil {
			return err
		}
		if !more {
			return errStop
		}
	}
	return nil
}
