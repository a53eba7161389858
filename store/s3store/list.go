package s3store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// maxPage is how many entries S3 gives in one listing answer.
const maxPage = 1000

// Versions implements store.Reader. It streams: what is kept are the entries of the last two pages, because servers
// repeat some where a page begins. Servers that repeat a marker or go backwards give store.ErrListing.
func (s *Store) Versions(ctx context.Context, prefix string) iter.Seq2[store.Info, error] {
	return s.VersionsAfter(ctx, prefix, "")
}

// VersionsAfter is Versions that begins with the names after a given one; some servers begin with that one itself.
func (s *Store) VersionsAfter(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	ref := store.Ref{Name: prefix}
	return func(yield func(store.Info, error) bool) {
		// The consumer may stop in the middle of a page.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := s.versions(ctx, prefix, after, yield); err != nil && !errors.Is(err, errStop) {
			yield(store.Info{}, s.fail(ctx, "versions", ref, err))
		}
	}
}

var errStop = errors.New("stopped by the consumer")

func (s *Store) versions(ctx context.Context, prefix, after string, yield func(store.Info, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pages := pageCount{most: s.pageSize}
	client, err := s.listClient(ctx, &pages)
	if err != nil {
		return err
	}
	opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, WithVersions: true, MaxKeys: s.pageSize}
	if after != "" {
		opts.StartAfter = s.prefix + after
	}
	seen := recent{limit: 2 * s.pageSize}
	last := ""
	var list []store.Info // of one page
	of := 0               // the page they are of
	flush := func() error {
		inOrder(list)
		for _, info := range list {
			if info.Name < last {
				return fmt.Errorf("%w: %q comes after %q", store.ErrListing, info.Name, last)
			}
			last = info.Name
			if !yield(info, nil) {
				return errStop
			}
		}
		list = list[:0]
		return nil
	}
	for oi := range client.ListObjectsIter(ctx, s.loc.Bucket, opts) {
		if oi.Err != nil {
			if err := flush(); err != nil { // what came before the failure is good
				return err
			}
			return oi.Err
		}
		name, ok := strings.CutPrefix(oi.Key, s.prefix)
		if !ok || !strings.HasPrefix(name, prefix) {
			return fmt.Errorf("%w: %q is not under the prefix asked for", store.ErrListing, oi.Key)
		}
		entry := store.Ref{Name: name, Version: oi.VersionID}
		if seen.has(entry) {
			continue
		}
		seen.add(entry)
		pages.fresh++
		if pages.n != of {
			if err := flush(); err != nil {
				return err
			}
			of = pages.n
		}
		list = append(list, store.Info{
			Ref: entry, Size: oi.Size, Modified: oi.LastModified.UTC(), Latest: oi.IsLatest, DeleteMarker: oi.IsDeleteMarker,
		})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return flush()
}

// inOrder sorts a page as AWS does, by name and newest first: versitygw gives all versions and then all delete markers.
func inOrder(list []store.Info) {
	slices.SortStableFunc(list, func(a, b store.Info) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if a.Latest != b.Latest {
			if a.Latest {
				return -1
			}
			return 1
		}
		return b.Modified.Compare(a.Modified)
	})
}

// Pages with little in them that are put up with in a row: servers give some where much was deleted, and repeat entries
// where a page begins. One that goes on so would have a listing take for ever.
const (
	maxBarren = 100   // with nothing new
	maxThin   = 1_000 // with less than a hundredth of what was asked for
)

// pageCount counts the pages of one listing.
type pageCount struct {
	most         int // entries asked for
	n            int
	fresh        int // entries of the page at hand that were not given before
	barren, thin int // pages in a row
}

// next is called before each request.
func (c *pageCount) next() error {
	if c.n > 0 {
		c.barren, c.thin = c.barren+1, c.thin+1
		if c.fresh > 0 {
			c.barren = 0
		}
		if c.fresh >= max(c.most/100, 1) {
			c.thin = 0
		}
		if c.barren > maxBarren || c.thin > maxThin {
			return fmt.Errorf("%w: the server gave %d pages in a row with next to nothing on them", store.ErrListing, max(c.barren, c.thin))
		}
	}
	c.n, c.fresh = c.n+1, 0
	return nil
}

// listClient is a client of one listing, which sees the markers that minio-go keeps to itself, and counts its pages.
func (s *Store) listClient(ctx context.Context, pages *pageCount) (*minio.Core, error) {
	if s.opts.Region == "" {
		// Ask once, through the client that remembers.
		if _, err := s.client.GetBucketLocation(ctx, s.loc.Bucket); err != nil {
			return nil, err
		}
	}
	previous, first := "", true
	check := func(r *http.Request) error {
		q := r.URL.Query()
		if !q.Has("versions") {
			return nil
		}
		marker := q.Get("key-marker") + "\x00" + q.Get("version-id-marker")
		if !first && marker == previous {
			return fmt.Errorf("%w: the server gave the marker %q twice", store.ErrListing, marker)
		}
		previous, first = marker, false
		return pages.next()
	}
	return s.newClient(&tap{next: s.limited, before: check})
}

// recent remembers the last entries given, as many as limit.
type recent struct {
	limit int
	set   map[store.Ref]struct{}
	ring  []store.Ref
	next  int
}

func (r *recent) has(e store.Ref) bool {
	_, ok := r.set[e]
	return ok
}

func (r *recent) add(e store.Ref) {
	if r.set == nil {
		r.set = make(map[store.Ref]struct{})
	}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, e)
	} else {
		delete(r.set, r.ring[r.next])
		r.ring[r.next] = e
		r.next = (r.next + 1) % r.limit
	}
	r.set[e] = struct{}{}
}
