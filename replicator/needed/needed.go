// Package needed tells what the living recovery points of a vault need: which stored objects, and until when.
//
// Commit objects and needs lists are plain, so no key takes part. What many points share is read once, and the result lies
// on disk, sorted by name, whatever the number of objects. The package must never leave an object out that a point needs:
// a list that cannot be read to its end is an error.
package needed

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/retain"
	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/cache"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// Scratch is a cache in a folder of its own that goes when it is closed.
type Scratch struct {
	*cache.Cache
	dir string
}

// NewScratch makes one in dir ("" : the system's folder for such things).
func NewScratch(dir string) (*Scratch, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for what is only needed now: %w", err)
		}
	}
	own, err := os.MkdirTemp(dir, "holdfast-scratch-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for what is only needed now: %w", err)
	}
	c, err := cache.Open(own, cache.Options{Memory: 16 << 20})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	return &Scratch{c, own}, nil
}

// Close closes the cache and deletes its folder.
func (s *Scratch) Close() error {
	return errors.Join(s.Cache.Close(), os.RemoveAll(s.dir))
}

// Point is a recovery point with how long what it needs is wanted.
type Point struct {
	repo.Head
	Until time.Time
}

// Set is the stored objects that some points need, on disk.
type Set struct {
	c *cache.Counter
}

// Gather walks the needs lists of the points. What holds the lists themselves, the commit objects, descriptors and host
// key copies are in the set too. in reads plain objects; name tells sets of one scratch apart. broken is asked about a point
// whose list cannot be read to its end: nil passes over the rest of it; without broken that is an error.
func Gather(ctx context.Context, in *repo.Reader, scratch *cache.Cache, name string, points []Point, broken func(Point, error) error) (_ *Set, err error) {
	c, err := scratch.Counter(name)
	if err != nil {
		return nil, err
	}
	s := &Set{c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	var last time.Time
	// Those that are wanted longest first: a page that they share with others is then walked once.
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b Point) int { return b.Until.Compare(a.Until) })
	seen := map[format.Hash]bool{}
	for _, p := range points {
		last = retain.Later(last, p.Until)
		if err := s.add(repo.Wanted{Name: p.Name, Size: -1, Until: p.Until}); err != nil {
			return nil, err
		}
		err := s.walk(ctx, in, p, seen)
		if err != nil {
			err = fmt.Errorf("point %s of %s: what it needs cannot be read: %w", p.ID, p.Source, err)
		}
		if err != nil && broken != nil {
			err = broken(p, err)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, n := range in.Repository().Standing() {
		if err := s.add(repo.Wanted{Name: n.Name, Size: n.Size, Until: last}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// maxSeen bounds the memory of seen; a page that was forgotten is walked again.
const maxSeen = 1 << 17

func (s *Set) walk(ctx context.Context, in *repo.Reader, p Point, seen map[format.Hash]bool) error {
	held := map[string]bool{} // a few objects a point
	var failed error
	page := func(ref format.PageRef) {
		if !held[ref.Object] && failed == nil {
			held[ref.Object] = true
			failed = s.add(repo.Wanted{Name: ref.Object, Size: -1, Until: p.Until})
		}
	}
	for leaf, err := range tree.Leaves(ctx, in.Page, p.Commit.Needs, "", page) {
		if err != nil {
			return err
		}
		page(leaf)
		if failed != nil {
			return failed
		}
		if seen[leaf.Sum] {
			continue
		}
		for n, err := range tree.Needs(ctx, in.Page, leaf, nil) {
			if err != nil {
				return err
			}
			if err := s.add(repo.Wanted{Name: n.Name, Size: n.Size, Until: p.Until}); err != nil {
				return err
			}
		}
		if len(seen) >= maxSeen {
			clear(seen)
		}
		seen[leaf.Sum] = true
	}
	return failed
}

// add puts an object in. Keys sort by name, and of one name the longest time comes last.
func (s *Set) add(w repo.Wanted) error {
	return s.c.Add(fmt.Sprintf("%s\x00%016x%d", w.Name, max(w.Until.Unix(), 0), w.Size), 1)
}

// All gives each object once, in order of name, with the longest time that any point asks for.
func (s *Set) All() iter.Seq2[repo.Wanted, error] {
	return func(yield func(repo.Wanted, error) bool) {
		var last repo.Wanted
		for item, err := range s.c.All() {
			var w repo.Wanted
			if err == nil {
				w, err = parse(item.Key)
			}
			if err != nil {
				yield(repo.Wanted{}, err)
				return
			}
			if last.Name != "" && last.Name != w.Name && !yield(last, nil) {
				return
			}
			if last.Name == w.Name {
				w.Until, w.Size = retain.Later(last.Until, w.Until), max(last.Size, w.Size)
			}
			last = w
		}
		if last.Name != "" {
			yield(last, nil)
		}
	}
}

func parse(key string) (repo.Wanted, error) {
	name, rest, ok := strings.Cut(key, "\x00")
	if !ok || len(rest) < 17 {
		return repo.Wanted{}, fmt.Errorf("%w: an object that points need", cache.ErrCorrupt)
	}
	until, err1 := strconv.ParseInt(rest[:16], 16, 64)
	size, err2 := strconv.ParseInt(rest[16:], 10, 64)
	if err1 != nil || err2 != nil {
		return repo.Wanted{}, fmt.Errorf("%w: an object that points need", cache.ErrCorrupt)
	}
	return repo.Wanted{Name: name, Size: size, Until: time.Unix(until, 0).UTC()}, nil
}

// Close drops the set.
func (s *Set) Close() error { return s.c.Close() }

// Keep adds an object that no point needs and that is to stay.
func (s *Set) Keep(name string) error { return s.add(repo.Wanted{Name: name, Size: -1}) }
