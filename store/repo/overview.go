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
	maxFront      = 1000        // names that are listed for a folder before it is known whether all are wanted: one answer of a vault
	overviewLasts = time.Minute // after which a vault is listed again
)

// overview is a vault of which everything is listed at once while a session opens, and each folder given from that: a vault answers
// with a thousand names, and most folders have a few. It holds nothing from before something was stored.
type overview struct {
	store.Reader

	mu    sync.Mutex
	wants bool     // the next listing of a folder is one of everything
	walk  *walking // a listing of everything that is on its way
	whole bool     // names are all there are
	vast  bool     // there were too many
	taken time.Time
	names []store.Info
}

// walking is a listing that is taken up again and again. It ends with the context it was begun with, and with that of any call that
// waits for it.
type walking struct {
	next func() (store.Info, error, bool)
	stop func()
	end  context.CancelFunc
	over func() error // its own context's
}

func walk(ctx context.Context, r store.Reader) *walking {
	ctx, end := context.WithCancel(ctx)
	w := &walking{end: end, over: ctx.Err}
	w.next, w.stop = iter.Pull2(r.Versions(ctx, "", ""))
	return w
}

// until gives names to take for as long as it wants more. ok is false where the listing ended with a call that did not wait for its
// end; whole tells that there are no more names.
func (w *walking) until(ctx context.Context, take func(store.Info) (more bool)) (whole, ok bool, err error) {
	stop := context.AfterFunc(ctx, w.end)
	defer stop()
	for {
		info, err, more := w.next()
		switch {
		case err != nil && ctx.Err() == nil && w.over() != nil:
			return false, false, nil
		case err != nil || !more:
			return err == nil, err == nil, err
		case !take(info):
			return false, true, nil
		}
	}
}

func (w *walking) close() {
	w.end()
	w.stop()
}

// start begins the listing of everything. Folders that are asked for before begin or end is called take no more of it than they
// need: the first ones cost nothing if it goes on.
func (g *overview) start(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
	g.walk, g.taken = walk(ctx, g.Reader), time.Now()
}

// begin has the next listing of a folder be one of everything.
func (g *overview) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.walk == nil && !g.whole {
		g.forget()
	}
	g.wants = !g.whole
}

// end forgets what was listed.
func (g *overview) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forget()
}

func (g *overview) forget() {
	if g.walk != nil {
		g.walk.close()
	}
	g.wants, g.whole, g.walk, g.names = false, false, nil, nil
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
			names, ok, err := g.all(ctx, prefix)
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

// all gives what was listed, of which a folder is a part; ok is false where that is to be listed by itself.
func (g *overview) all(ctx context.Context, folder string) (names []store.Info, ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.whole && time.Since(g.taken) > overviewLasts {
		g.forget()
	}
	switch {
	case g.whole:
		return g.names, true, nil
	case g.wants:
		return g.rest(ctx)
	case g.walk != nil:
		return g.front(ctx, folder)
	}
	return nil, false, nil
}

// rest lists everything, or what is left of it.
func (g *overview) rest(ctx context.Context) ([]store.Info, bool, error) {
	if g.walk == nil {
		g.walk, g.taken = walk(ctx, g.Reader), time.Now()
	}
	whole, _, err := g.walk.until(ctx, func(info store.Info) bool {
		if g.vast = len(g.names) == maxOverview; !g.vast {
			g.names = append(g.names, info)
		}
		return !g.vast
	})
	return g.came(whole, false, err)
}

// front lists as far as a folder reaches, if that is among the first names.
func (g *overview) front(ctx context.Context, folder string) ([]store.Info, bool, error) {
	passed := func() bool { return len(g.names) > 0 && beyond(g.names[len(g.names)-1].Name, folder) }
	if passed() {
		return g.names, true, nil
	}
	whole, ok, err := g.walk.until(ctx, func(info store.Info) bool {
		g.names = append(g.names, info)
		return len(g.names) < maxFront && !passed()
	})
	return g.came(whole, ok && passed(), err)
}

// came tells what came of going on with the listing: it is whole, or enough, or is given up.
func (g *overview) came(whole, enough bool, err error) ([]store.Info, bool, error) {
	names := g.names
	switch {
	case whole:
		g.forget()
		g.names, g.whole = names, true
	case !enough:
		g.forget()
		names = nil
	}
	return names, whole || enough, err
}

// beyond reports whether a name comes behind all of a folder.
func beyond(name, prefix string) bool { return name > prefix && !strings.HasPrefix(name, prefix) }

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
func (k *namesOf) look() error {
	vast, err := k.cache.Segments.Loaded(k.vault.Name, vastMark)
	lines := 0
	if err == nil && !vast {
		for said, serr := range k.cache.Said.By(k.vault.Name) {
			if err = serr; err != nil {
				break
			}
			lines += said.Lines
		}
	}
	if err != nil || vast || lines > maxOverview/2 {
		k.overview.end()
		return err
	}
	k.overview.begin()
	return nil
}

// looked remembers what came of it.
func (k *namesOf) looked() error {
	k.overview.mu.Lock()
	vast := k.overview.vast
	k.overview.mu.Unlock()
	if !vast {
		return nil
	}
	return k.cache.Segments.MarkLoaded(k.vault.Name, vastMark)
}
