package repo

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

const (
	maxOverview   = 1 << 16     // names that are held; a vault with more is listed folder by folder
	overviewLasts = time.Minute // after which a vault is listed again
)

// overview is a vault of which everything is listed at once while a session opens, and each folder given from that: a vault answers
// with a thousand names, and most folders have a few. It holds nothing from before something was stored.
type overview struct {
	store.Reader

	mu    sync.Mutex
	wants bool // the next listing of a folder is one of everything
	whole bool // names are all there are
	vast  bool // there were too many
	taken time.Time
	names []store.Info
}

// begin has the next listing of a folder be one of everything.
func (g *overview) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wants, g.whole, g.names = true, false, nil
}

// end forgets what was listed.
func (g *overview) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wants, g.whole, g.names = false, false, nil
}

// holds reports whether folders cost no listing.
func (g *overview) holds() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.whole
}

// Versions implements store.Reader.
func (g *overview) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	return func(yield func(store.Info, error) bool) {
		if strings.HasSuffix(prefix, "/") {
			names, ok, err := g.all(ctx)
			if err != nil {
				yield(store.Info{}, err)
				return
			}
			if ok && !shadowed(names, prefix) {
				for _, info := range names {
					if strings.HasPrefix(info.Name, prefix) && info.Name > after && !yield(info, nil) {
						return
					}
				}
				return
			}
		}
		g.Reader.Versions(ctx, prefix, after)(yield)
	}
}

// shadowed reports whether something lies under the name of a folder: MinIO lists nothing below it when it lists what is above, so
// that whoever may write could hide a folder with it.
func shadowed(names []store.Info, prefix string) bool {
	return slices.ContainsFunc(names, func(info store.Info) bool {
		n := len(info.Name)
		return n < len(prefix) && prefix[n] == '/' && prefix[:n] == info.Name
	})
}

// all gives what was listed; ok is false where folders are to be listed by themselves.
func (g *overview) all(ctx context.Context) (names []store.Info, ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.whole && time.Since(g.taken) > overviewLasts {
		g.whole, g.names = false, nil
	}
	if g.whole || !g.wants {
		return g.names, g.whole, nil
	}
	g.wants, g.taken = false, time.Now()
	for info, err := range g.Reader.Versions(ctx, "", "") {
		if err != nil {
			return nil, false, err
		}
		if len(names) == maxOverview {
			g.vast = true
			return nil, false, nil
		}
		names = append(names, info)
	}
	g.names, g.whole = names, true
	return names, true, nil
}

// overviewed puts an overview before each vault that a session stores in.
type overviewed struct {
	store.Writer
	g *overview
}

// Put implements store.Writer.
func (w overviewed) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	defer w.g.end()
	return w.Writer.Put(ctx, name, body, size, o)
}

// withOverview gives a vault with an overview before it.
func withOverview(v *Vault) (*Vault, *overview) {
	g := &overview{Reader: v.Read}
	w := *v
	if v.Read != nil {
		w.Read = g
	}
	if v.Write != nil {
		w.Write = overviewed{v.Write, g}
	}
	return &w, g
}

// vastMark is what the cache remembers a vault by that turned out to hold more than is listed at once: of ours, or of others that
// have the bucket with us.
const vastMark = "vast"

// look has the vault listed at once for what a session wants to know when it opens, unless it is known to hold too much.
func (k *keeper) look() error {
	if vast, err := k.cache.Loaded(k.vault.Name, vastMark); err != nil || vast {
		return err
	}
	lines := 0
	for said, err := range k.cache.SaidBy(k.vault.Name) {
		if err != nil {
			return err
		}
		lines += said.Lines
	}
	if lines <= maxOverview/2 {
		k.overview.begin()
	}
	return nil
}

// looked remembers what came of it.
func (k *keeper) looked() error {
	k.overview.mu.Lock()
	vast := k.overview.vast
	k.overview.mu.Unlock()
	if !vast {
		return nil
	}
	return k.cache.MarkLoaded(k.vault.Name, vastMark)
}
