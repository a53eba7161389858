package rehearse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Item is what is remembered of an entry, to compare it with.
type Item struct {
	Key    string
	Size   int64
	kind   format.Kind
	sparse bool
	sum    format.Hash
	target string // of a symbolic link
}

func itemOf(e *format.Entry) Item {
	x := Item{Key: strings.Clone(e.Key), Size: e.Size, kind: e.Kind, sparse: e.Sparse, sum: e.SHA256} // not the page that the key stands on
	if e.Kind == format.KindSymlink && e.File != nil {
		x.target = strings.Clone(e.File.Target)
	}
	return x
}

// sizes are where classes of sizes end. Disk images are a class of their own.
var sizes = []struct {
	below int64
	name  string
}{{1, "empty"}, {64 << 10, "under 64 KiB"}, {1 << 20, "under 1 MiB"}, {64 << 20, "under 64 MiB"}}

// stratum names what an entry is alike with.
func (x *Item) stratum() string {
	kind := ""
	switch x.kind {
	case format.KindObject:
		kind = "objects"
	case format.KindFile:
		kind = "files"
	case format.KindImage:
		return "disk images"
	case format.KindDir:
		return "folders"
	case format.KindSymlink:
		return "symbolic links"
	default:
		return "others"
	}
	for _, c := range sizes {
		if x.Size < c.below {
			return kind + ", " + c.name
		}
	}
	return kind + ", larger"
}

// drawn is what was seen of a manifest, and drawn from it.
type drawn struct {
	strata    []Stratum
	sample    map[string][]Item
	stretches []*stretch[Item]
	lost      []Finding

	missing, older, unheld int64
}

// count is how many were drawn.
func (d *drawn) count() (n int) {
	for _, list := range d.sample {
		n += len(list)
	}
	return n
}

// inFolder reports whether a restore into a folder is to bring an entry back.
func inFolder(e *format.Entry) bool {
	return e.Missing == "" && len(e.Unread) == 0 && e.Kind != format.KindMarker && e.Kind != format.KindSpecial
}

// draw reads the manifest once.
func draw(ctx context.Context, o Options) (*drawn, error) {
	d := &drawn{}
	most, bytes := o.Most, o.Bytes/2 // the other half is for runs of neighbours
	if o.Whole {
		most = 0
	} else {
		d.stretches = newStretches[Item](o.Commit.Manifest.Entries, o.Most, o.Bytes/2, o.Seed)
	}
	s := NewSampler[Item](most, bytes, o.Seed)
	see := func(e *format.Entry, at int64) bool {
		switch {
		case e == nil:
			d.older++
		case e.Missing != "" || len(e.Unread) > 0:
			d.missing++
		case e.Kind == format.KindMarker:
			d.older++
		case e.Kind == format.KindSpecial:
			d.unheld++
		default:
			x := Item{Key: e.Key, Size: e.Size, kind: e.Kind}
			keep := func() Item { return itemOf(e) }
			s.Add(x.stratum(), e.Size, keep)
			for _, st := range d.stretches {
				st.add(at, e.Size, keep)
			}
		}
		return true
	}
	lost := func(key string, entries int64, err error) {
		if len(d.lost) < maxTold {
			d.lost = append(d.lost, Finding{Key: key, Entries: entries, Bad: true, Err: err})
		}
	}
	if err := current(ctx, o.Reader, o.Commit, see, lost); err != nil {
		return nil, err
	}
	d.strata = s.Strata()
	if o.Whole {
		return d, nil
	}
	var err error
	d.sample, err = s.Draw()
	return d, err
}

// current gives each key's newest version with its place in the manifest, nil for each older one, and what is lost, as it comes. lost may be nil.
func current(ctx context.Context, in *repo.Reader, c *format.Commit, see func(e *format.Entry, at int64) bool, lost func(key string, entries int64, err error)) error {
	var last *format.Entry
	at := int64(0)
	tell := func(key string, entries int64, err error) {
		at += entries
		if lost != nil {
			lost(key, entries, err)
		}
	}
	for leaf, err := range in.Leaves(ctx, c, "", "", nil) {
		if l, ok := errors.AsType[*tree.Lost](err); ok {
			tell(l.From, l.Entries, l)
			continue
		}
		if errors.As(err, new(*tree.NotNewest)) {
			continue // the restore says it of what is drawn
		}
		if err != nil {
			if !repo.Classify(ctx, err).Lost() {
				return fmt.Errorf("read the manifest: %w", err)
			}
			tell("", max(c.Manifest.Entries-at, 1), fmt.Errorf("manifest from here on: %w", err))
			break
		}
		n := int64(0)
		for e, err := range tree.LeafEntries(ctx, in.Page, leaf) {
			if err != nil {
				if !repo.Classify(ctx, err).Lost() {
					return fmt.Errorf("read the manifest: %w", err)
				}
				tell(leaf.First, max(leaf.Entries-n, 1), fmt.Errorf("manifest page from here on: %w", err))
				break
			}
			n++
			if last != nil {
				next := last
				if last.Key == e.Key {
					next = nil
				}
				if !see(next, at-1) {
					return nil
				}
			}
			last = e
			at++
		}
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if last != nil {
		see(last, at-1)
	}
	return nil
}
