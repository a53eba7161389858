// Package against holds a recovery point against its source: what the source lists now exactly as it was listed then must still have the
// bytes whose hash the point holds.
//
// It finds what no look at the vault can: a source that delivers other bytes than it did, unnoticed by its own listing, and a point that
// was made of other bytes than the source has. Metadata of the point and the right to read the source are enough; no restore key, and no byte of
// content from the vault. It must never write anywhere, and never call different what may have changed since.
package against

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/progress"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options of a comparison.
type Options struct {
	View    source.View
	Point   func(ctx context.Context) iter.Seq2[*format.Entry, error] // the point's entries, in order of key, of one key the oldest version first
	TakenAt time.Time                                                 // when the point was made
	Share   float64                                                   // percent of what can be compared that is read; 0: all
	Seed    [32]byte                                                  // which ones
	AtOnce  int                                                       // entries that are read at once; default 8
	Differs func(Difference)                                          // called one at a time; may be nil
	Read    *progress.Count                                           // bytes; may be nil
}

// Difference is an entry whose bytes at the source are not those that the point holds, though the source lists it unchanged; or
// one that the source cannot deliver whole.
type Difference struct {
	Key, Version string
	Detail       string
}

// Result is what came of it. Entries are counted once each.
type Result struct {
	Alike    int64 // listed as in the point, with content that can be compared
	Compared int64 // of these, read and held against the point
	Bytes    int64 // of these
	Differ   int64 // of these, not the same
	Unread   int64 // of those that were chosen, not to be read now: the right to is missing, or they were archived
	Changed  int64 // in the point, and at the source no longer as they were: listed otherwise, deleted, changed while they were read
	New      int64 // at the source, and not in the point
	Missed   int64 // of the new ones of buckets, those that were written before the point was made: the point should have them
	Aside    int64 // not compared: disk images, output of programs, files written to while or just before the point was made, what it could not read
}

const (
	defaultAtOnce = 8
	// margin is how long before the point's time an object must have been written to be missed: clocks, and listings that lag.
	margin = time.Hour
)

// Run compares. A difference is no error: an error says that the source or the point could not be gone through to the end.
func Run(ctx context.Context, o Options) (Result, error) {
	r, err := run(ctx, o)
	if errors.Is(err, source.ErrOrder) && r.Differ == 0 {
		r, err = run(ctx, o) // it knows now that its listing has to be put in order
	}
	return r, err
}

func run(ctx context.Context, o Options) (Result, error) {
	if o.AtOnce < 1 {
		o.AtOnce = defaultAtOnce
	}
	c := &comparing{o: o, random: rand.New(rand.NewChaCha8(o.Seed))}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.AtOnce + 1) // those that read, and the walk
	c.group = g
	g.Go(func() error { return c.walk(gctx) })
	err := g.Wait()
	return c.result, err
}

type comparing struct {
	o       Options
	group   *errgroup.Group
	random  *rand.Rand // the walk's
	a, b    []byte     // listings, the walk's
	buffers sync.Pool

	mu     sync.Mutex
	result Result
}

// count changes the result.
func (c *comparing) count(change func(r *Result)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.result)
}

// walk goes through both lists side by side.
func (c *comparing) walk(ctx context.Context) error {
	then, stop := side(c.o.Point(ctx))
	defer stop()
	now, stopNow := side(c.o.View.Entries(ctx, "", ""))
	defer stopNow()
	for {
		a, err := then.peek()
		if err != nil {
			return fmt.Errorf("the point: %w", err)
		}
		b, err := now.peek()
		if err != nil {
			return fmt.Errorf("the source: %w", err)
		}
		if a == nil && b == nil {
			return ctx.Err()
		}
		first := a
		if a == nil || b != nil && b.Key < a.Key {
			first = b
		}
		key := first.Key
		old, err := then.take(key)
		if err != nil {
			return fmt.Errorf("the point: %w", err)
		}
		cur, err := now.take(key)
		if err != nil {
			return fmt.Errorf("the source: %w", err)
		}
		c.key(ctx, old, cur)
	}
}

// key compares what is under one key.
func (c *comparing) key(ctx context.Context, old, cur []*format.Entry) {
	for _, e := range old {
		i := indexOf(cur, e)
		if i < 0 {
			c.count(func(r *Result) { r.Changed++ })
			continue
		}
		c.pair(ctx, e, cur[i])
		cur = append(cur[:i], cur[i+1:]...)
	}
	for _, e := range cur {
		c.count(func(r *Result) {
			r.New++
			if e.Kind == format.KindObject && e.Modified.Before(c.o.TakenAt.Add(-margin)) {
				r.Missed++
			}
		})
	}
}

// indexOf finds the version that an entry is of.
func indexOf(list []*format.Entry, e *format.Entry) int {
	for i, x := range list {
		if x.Version == e.Version && (x.Kind == e.Kind) {
			return i
		}
	}
	return -1
}

// pair compares an entry of the point with what the source lists in its place.
func (c *comparing) pair(ctx context.Context, old, now *format.Entry) {
	c.a, c.b = old.AppendListing(c.a[:0]), now.AppendListing(c.b[:0])
	_, output := c.o.View.(source.Output)
	switch {
	case old.Unusable != nil || old.Missing != "" || old.Lost() != "" || now.Missing != "":
		c.count(func(r *Result) { r.Aside++ })
	case string(c.a) != string(c.b):
		c.count(func(r *Result) { r.Changed++ })
	case !old.Kind.HasContent(): // its listing is all there is of it
	case output || old.Kind == format.KindImage || old.Unsettled || old.Recheck && old.Kind == format.KindFile: // an object's ETag is its content's
		c.count(func(r *Result) { r.Aside++ })
	default:
		c.count(func(r *Result) { r.Alike++ })
		if c.o.Share > 0 && c.o.Share < 100 && c.random.Float64()*100 >= c.o.Share {
			return
		}
		e := *now // the walk goes on
		c.group.Go(func() error { return c.compare(ctx, old, &e) })
	}
}

// compare reads one entry at the source.
func (c *comparing) compare(ctx context.Context, old, now *format.Entry) error {
	n, sum, err := c.read(ctx, old, now)
	var unread *source.Unreadable
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, source.ErrChanged), errors.Is(err, source.ErrGone):
		c.count(func(r *Result) { r.Changed++ })
		return nil
	case errors.As(err, &unread):
		c.count(func(r *Result) { r.Unread++ })
		return nil
	case errors.Is(err, source.ErrCorrupt), errors.Is(err, source.ErrLength):
		c.count(func(r *Result) { r.Compared++ })
		c.differs(old, err.Error())
		return nil
	default:
		return fmt.Errorf("read %q at the source: %w", old.Key, err)
	}
	c.count(func(r *Result) { r.Compared, r.Bytes = r.Compared+1, r.Bytes+n })
	if c.o.Read != nil {
		c.o.Read.Done.Add(n)
	}
	switch {
	case n != old.Size:
		c.differs(old, fmt.Sprintf("%d bytes at the source, %d in the point", n, old.Size))
	case sum != old.SHA256:
		c.differs(old, fmt.Sprintf("SHA-256 %s at the source, %s in the point", sum, old.SHA256))
	}
	return nil
}

// read gives the length and the hash of what the source delivers. A file without data in it is summed as its entry was.
func (c *comparing) read(ctx context.Context, old, now *format.Entry) (int64, format.Hash, error) {
	body, err := c.o.View.Open(ctx, now, 0, -1)
	if err != nil {
		return 0, format.Hash{}, err
	}
	sum := old.NewSum()
	buf, _ := c.buffers.Get().(*[]byte)
	if buf == nil {
		b := make([]byte, 256<<10)
		buf = &b
	}
	defer c.buffers.Put(buf)
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{body}, *buf)
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return n, format.Hash{}, err
	}
	return n, sum.Sum(), nil
}

func (c *comparing) differs(e *format.Entry, detail string) {
	c.count(func(r *Result) {
		r.Differ++
		if c.o.Differs != nil {
			c.o.Differs(Difference{Key: e.Key, Version: e.Version, Detail: detail})
		}
	})
}
