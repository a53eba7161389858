package s3store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// maxPage is how many entries S3 gives in one listing answer.
const maxPage = 1000

// Versions implements store.Reader. It streams: what is kept are the entries of the last two pages, because servers
// repeat some where a page begins. Servers that repeat a marker, or go backwards again and again, give store.ErrListing. A name
// that stands out of order is given where it stands: whoever may store objects can have versitygw list one so (see garbled).
//
// The server is asked to begin behind after. Some begin with that name itself, or know no such thing: see store.Behind.
func (s *Store) Versions(ctx context.Context, prefix, after string) iter.Seq2[store.Info, error] {
	ref := store.Ref{Name: prefix}
	return store.Behind(func(yield func(store.Info, error) bool) {
		// The consumer may stop in the middle of a page.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if err := s.versions(ctx, prefix, after, yield); err != nil && !errors.Is(err, errStop) {
			yield(store.Info{}, s.fail(ctx, "versions", ref, err))
		}
	}, after)
}

var errStop = errors.New("stopped by the consumer")

func (s *Store) versions(ctx context.Context, prefix, after string, yield func(store.Info, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch { // MinIO refuses a marker that is not under the prefix
	case after < prefix:
		after = ""
	case !strings.HasPrefix(after, prefix):
		return nil // all names that begin so come before it
	}
	l := &lister{s: s, prefix: prefix, yield: yield, pages: pageCount{most: s.pageSize}, seen: recent{limit: 2 * s.pageSize}}
	for {
		err := l.from(ctx, after)
		g, ok := errors.AsType[*garbledMarker](err)
		if !ok {
			return err
		}
		if after, ok = g.resume(s.prefix, prefix, after, l.last); !ok {
			return nil // what follows begins with other letters than the prefix
		}
		if err := l.exactly(ctx, after); err != nil {
			return err
		}
	}
}

// lister is one listing, which may have to be begun again behind a name that its server cannot write.
type lister struct {
	s      *Store
	prefix string
	yield  func(store.Info, error) bool
	pages  pageCount
	seen   recent
	last   string // the highest name so far
}

func (l *lister) from(ctx context.Context, after string) error {
	s, prefix := l.s, l.prefix
	client, err := s.listClient(ctx, &l.pages)
	if err != nil {
		return err
	}
	opts := minio.ListObjectsOptions{Prefix: s.prefix + prefix, Recursive: true, WithVersions: true, MaxKeys: s.pageSize}
	if after != "" {
		opts.StartAfter = s.prefix + after
	}
	var list []store.Info // of one page
	of := l.pages.n       // the page they are of
	flush := func() error {
		inOrder(list)
		for _, info := range list {
			if !store.Garbled(info.Name) {
				l.last = max(l.last, info.Name)
			}
			if !l.yield(info, nil) {
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
		if l.seen.has(entry) {
			continue
		}
		l.seen.add(entry)
		l.pages.fresh++
		if l.pages.n != of {
			if err := flush(); err != nil {
				return err
			}
			of = l.pages.n
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

// garbledMarker: a page ends with a name that holds control characters or bytes that are no text. XML cannot write these;
// encoding-type=url is for that, and versitygw does not follow it: it puts U+FFFD in their place, which sorts behind all names
// of ours, so that going on from there would pass over them.
type garbledMarker struct{ key string }

func (g *garbledMarker) Error() string {
	return fmt.Sprintf("the page ends with %q, which is not its name", g.key)
}

// resume gives the name after which to go on with the listing of a prefix, that began after one and has given others up to
// last. All names of this program are printable ASCII: none stands between a control character and the blank, and none behind
// bytes from 0x80 on. It is false where none can follow.
func (g *garbledMarker) resume(bucket, prefix, after, last string) (string, bool) {
	head, _, _ := strings.Cut(strings.TrimPrefix(g.key, bucket), string(utf8.RuneError))
	if behind := head + " "; behind > after && behind > last { // it was a control character
		return behind, true
	}
	if len(head) <= len(prefix) {
		return "", false
	}
	// The next text there can be; it may be a name itself, and one goes on behind it: see exactly.
	n := len(head) - 1
	behind := head[:n] + string(rune(head[n]+1))
	return behind, behind > after
}

// exactly gives the versions of one name, which a listing is going to begin behind.
func (l *lister) exactly(ctx context.Context, name string) error {
	one := &lister{s: l.s, prefix: name, pages: pageCount{most: l.s.pageSize}, seen: recent{limit: 2 * l.s.pageSize}}
	stopped := false
	one.yield = func(info store.Info, err error) bool {
		if info.Name != name {
			return false // longer names follow, and those are listed with all others
		}
		stopped = !l.yield(info, err)
		return !stopped
	}
	if err := one.from(ctx, ""); stopped || err != nil && !errors.Is(err, errStop) && !errors.As(err, new(*garbledMarker)) {
		return err
	}
	return nil
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
	maxBack   = 10    // that begin before the one that came before them, in all
)

// pageCount counts the pages of one listing.
type pageCount struct {
	most         int // entries asked for
	n            int
	fresh        int // entries of the page at hand that were not given before
	barren, thin int // pages in a row
	back         int
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
		key, _, _ := strings.Cut(q.Get("key-marker"), "[minio_cache:") // MinIO keeps its place behind the name
		marker := key + "\x00" + q.Get("version-id-marker")
		switch {
		case first:
		case store.Garbled(key):
			return &garbledMarker{key}
		case marker == previous:
			return fmt.Errorf("%w: the server gave the marker %q twice", store.ErrListing, marker)
		case marker < previous && !strings.HasPrefix(previous, key+"\x00"): // versions of one name are in no order
			if pages.back++; pages.back > maxBack {
				return fmt.Errorf("%w: the server goes backwards, to %q", store.ErrListing, marker)
			}
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
