package backup

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Work is what a dry run found that a run would have to do. It is counted from listings: no content was read.
type Work struct {
	source.Reading // what would be read

	Asks     int64 // requests to the source for that, beside those for listings; 0 where nobody bills any
	Known    int64 // bytes to be read of entries that the last point has as well: some of them may be the same
	Chunks   int64 // pieces that what is read would be cut into, about
	Leaves   int64 // pages of the manifest that would be written
	Lines    int64 // entries on them
	Weight   int64 // about what these take in memory until their packs have names: see waitingMax
	Needs    int64 // stored objects that the last point needs
	Standing int64 // of a first point: objects that every point needs, and of which nothing is known here

	Last  Density            // of the last point in which there was something; zero: there is none, or it is not to be relied on
	Back  bool               // that is an earlier one than the last: what comes back is most likely what it holds
	Locks []repo.Lengthening // by vault
}

// Density is how much room a point takes in a vault, added up over its needs list.
type Density struct {
	Bytes   int64 // of content
	Packed  int64 // of that as it is stored, each reference counted
	Entries int64
	Pages   int64 // stored bytes of the manifest
}

// weighs adds an object of a point's needs list.
func (d *Density) weighs(n format.Need) {
	switch {
	case strings.HasPrefix(n.Name, format.PrefixPacks):
		d.Packed += n.Living
	case strings.HasPrefix(n.Name, format.PrefixMeta):
		d.Pages += n.Living
	}
}

// filled gives the newest whole point in which there was content.
func filled(points []repo.Head) *repo.Head {
	var last *repo.Head
	for i := range points {
		if l := points[i].Line; l.Status == format.StatusComplete && l.Bytes > 0 {
			last = &points[i]
		}
	}
	return last
}

// density adds up how much room the last point takes. Where nothing was in that, it is the last one in which there was something: by
// an empty point nothing is known. That one is read for the forecast alone, and not by the run.
func (e *keeping) density(ctx context.Context) error {
	if e.parent == nil || e.parent.Bytes > 0 {
		return nil // forecast does it on its way
	}
	last := filled(e.counting)
	if last == nil {
		return nil
	}
	beside := e.o.Beside
	if beside == nil {
		beside = func(do func() error) error { return do() }
	}
	return beside(func() error {
		err := e.s.Past.Read(ctx, last)
		if err != nil {
			return ctx.Err() // then nothing is known
		}
		d := Density{Bytes: last.Commit.Bytes, Entries: last.Commit.Entries}
		for n, err := range tree.Needs(ctx, e.s.Content.Page, last.Commit.Needs, nil) {
			if err != nil {
				return ctx.Err()
			}
			d.weighs(n)
		}
		e.work.Last, e.work.Back = d, true
		return nil
	})
}

// weigh counts what a dry run would read, and gives its memory back.
func (e *engine) weigh(ctx context.Context, t *task) error {
	defer e.budget.release(t)
	w := &e.work
	if !t.content() {
		e.working.Lock()
		defer e.working.Unlock()
		switch {
		case t.entry.Kind != format.KindObject:
		case t.entry.Recheck:
			w.Heads++
			w.tagged(t.entry)
		default:
			w.Looks++
		}
		return nil
	}
	n, blocks, err := e.extentOf(ctx, t)
	if err != nil {
		return err
	}
	e.stats.wouldRead.Add(n)
	e.working.Lock()
	defer e.working.Unlock()
	w.Reads++
	w.Blocks += blocks
	if t.old != nil {
		w.Known += n
		w.tagged(t.old)
	}
	switch {
	case blocks > 0:
		w.Chunks += blocks
	case n > 0:
		w.Chunks += max(1, n/int64(e.params.AvgChunk))
	}
	return nil
}

// tagged counts an entry whose tags have to be asked for, as far as is known.
func (w *Work) tagged(known *format.Entry) {
	if len(known.Tags) > 0 {
		w.Tagged++
	}
}

// extentOf is how much of an entry would be read: of a disk image the blocks that are listed and not the same as in the last point.
func (e *engine) extentOf(ctx context.Context, t *task) (n, blocks int64, err error) {
	v, ok := e.view.(source.Images)
	if t.image == nil || !ok {
		if _, out := e.view.(source.Output); out && t.old != nil {
			return t.old.Size, 0, nil // nobody knows: most likely about what it was
		}
		return t.entry.Size, 0, nil
	}
	entry := *t.entry
	img, err := v.Image(ctx, &entry, t.image.base)
	if err != nil {
		return t.entry.Size, 0, ctx.Err() // a run says what there is about it; as a whole it is the most that can be read
	}
	defer func() { _ = img.Close() }() // only listed
	since, _ := img.Since()
	for b, err := range img.Blocks(ctx) {
		if err != nil {
			return t.entry.Size, 0, ctx.Err()
		}
		if !since || !b.Same {
			blocks++
		}
	}
	return min(blocks*format.ImageBlock, t.entry.Size), blocks, nil
}

// sequence counts what a dry run would write into the manifest.
func (e *engine) sequence(t *task) {
	e.working.Lock()
	defer e.working.Unlock()
	switch {
	case t.cut:
		e.work.Leaves++
	case t.entry != nil:
		e.work.Lines++
		if t.action != carry {
			e.work.Weight += t.weight() + 96
		}
	}
}
