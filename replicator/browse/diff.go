package browse

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast/store/repo"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/repo/tree"
)

// ChangeKind says what became of an entry.
type ChangeKind string

// What becomes of entries between two points.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
)

// Change is one entry that two points do not have alike.
type Change struct {
	Kind ChangeKind
	Key  string
	Old  *format.Entry // nil if added
	New  *format.Entry // nil if removed
	What []string      // of a changed one: content, kind, metadata, mode and so on; see what
}

// maxVersions is how many versions of one key Diff compares at once.
const maxVersions = 1 << 16

// Diff gives what changed from one point to another, in order of key. The points may be of different sources. Pages that
// both have are not loaded. Where a key has one version in each point the two are compared, whatever their version IDs;
// where it has more, versions are matched by ID. How content is cut and stored, and when tags were last read, is no
// change.
func Diff(ctx context.Context, r *repo.Reader, older, newer *format.Commit) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d := newDiffer(ctx, r.Page, older, newer)
		defer d.close()
		for {
			key, ok, err := d.next()
			if err == nil && !ok {
				return
			}
			var a, b []*format.Entry
			if err == nil {
				a, err = d.side[tree.Old].take(key)
			}
			if err == nil {
				b, err = d.side[tree.New].take(key)
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, c := range match(key, a, b) {
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

// match pairs the versions of one key.
func match(key string, a, b []*format.Entry) []Change {
	var out []Change
	pair := func(x, y *format.Entry) {
		if w := what(x, y); len(w) > 0 {
			out = append(out, Change{Changed, key, x, y, w})
		}
	}
	if len(a) == 1 && len(b) == 1 {
		pair(a[0], b[0])
		return out
	}
	old := map[string]*format.Entry{}
	for _, e := range a {
		old[e.Version] = e
	}
	for _, e := range b {
		if x := old[e.Version]; x != nil {
			delete(old, e.Version)
			pair(x, e)
			continue
		}
		out = append(out, Change{Kind: Added, Key: key, New: e})
	}
	for _, e := range a {
		if old[e.Version] == e {
			out = append(out, Change{Kind: Removed, Key: key, Old: e})
		}
	}
	return out
}

// what names the differences that matter to whoever would restore.
func what(a, b *format.Entry) []string {
	var out []string
	note := func(name string, differs bool) {
		if differs {
			out = append(out, name)
		}
	}
	note("kind", a.Kind != b.Kind)
	if a.Unusable != nil && b.Unusable != nil {
		x, _ := a.AppendLine(nil)
		y, _ := b.AppendLine(nil)
		note("content", !bytes.Equal(x, y))
		return out
	}
	note("content", a.SHA256 != b.SHA256 || a.Size != b.Size)
	note("missing", (a.Lost() == "") != (b.Lost() == "") || !slices.Equal(a.Unread, b.Unread))
	note("modified", !a.Modified.Equal(b.Modified.Time))
	note("storage_class", a.StorageClass != b.StorageClass)
	note("headers", a.ContentType != b.ContentType || a.ContentEncoding != b.ContentEncoding || a.ContentLanguage != b.ContentLanguage ||
		a.ContentDisposition != b.ContentDisposition || a.CacheControl != b.CacheControl || a.Expires != b.Expires || a.WebsiteRedirect != b.WebsiteRedirect)
	note("metadata", !maps.Equal(a.Metadata, b.Metadata) || a.MissingMeta != b.MissingMeta)
	note("tags", !maps.Equal(a.Tags, b.Tags))
	if x, y := a.File, b.File; x != nil && y != nil {
		note("mode", x.Mode != y.Mode || x.Type != y.Type)
		note("owner", x.UID != y.UID || x.GID != y.GID)
		note("target", x.Target != y.Target)
		note("device", x.Rdev != y.Rdev)
		note("xattrs", !maps.EqualFunc(x.Xattrs, y.Xattrs, bytes.Equal))
	}
	return out
}

// differ merges the entries of the leaves that the two trees do not share.
type differ struct {
	leaves func() (tree.Leaf, error, bool)
	stop   func()
	leaf   tree.Leaf // the next one, if more
	more   bool
	begun  bool
	side   [2]*stretch
}

func newDiffer(ctx context.Context, load tree.Load, older, newer *format.Commit) *differ {
	d := &differ{}
	d.leaves, d.stop = iter.Pull2(tree.Diff(ctx, load, &older.Manifest, &newer.Manifest))
	for i := range d.side {
		d.side[i] = &stretch{ctx: ctx, load: load}
	}
	return d
}

func (d *differ) close() {
	d.stop()
	for _, s := range d.side {
		s.close()
	}
}

func (d *differ) advance() (err error) {
	d.leaf, err, d.more = d.leaves()
	d.more = d.more && err == nil
	return err
}

// next gives the least key that is still to be looked at, once all leaves that can hold it are in the stretches.
func (d *differ) next() (key string, ok bool, err error) {
	if !d.begun {
		d.begun = true
		if err := d.advance(); err != nil {
			return "", false, err
		}
	}
	for {
		key, ok = "", false
		for _, s := range d.side {
			e, err := s.peek()
			if err != nil {
				return "", false, err
			}
			if e != nil && (!ok || e.Key < key) {
				key, ok = e.Key, true
			}
		}
		if !d.more || ok && d.leaf.Ref.First > key {
			return key, ok, nil
		}
		d.side[d.leaf.Side].add(d.leaf.Ref)
		if err := d.advance(); err != nil {
			return "", false, err
		}
	}
}

// stretch gives the entries of a run of leaves of one tree.
type stretch struct {
	ctx  context.Context
	load tree.Load

	leaves  []format.PageRef
	entries func() (*format.Entry, error, bool)
	stop    func()
	head    *format.Entry
}

func (s *stretch) add(ref format.PageRef) { s.leaves = append(s.leaves, ref) }

// peek gives the next entry; nil if there is none in the leaves added so far.
func (s *stretch) peek() (*format.Entry, error) {
	for s.head == nil {
		if s.entries == nil {
			if len(s.leaves) == 0 {
				return nil, nil
			}
			s.entries, s.stop = iter.Pull2(tree.LeafEntries(s.ctx, s.load, s.leaves[0]))
			s.leaves = s.leaves[1:]
		}
		e, err, ok := s.entries()
		if err != nil {
			return nil, err
		}
		if !ok {
			s.close()
			continue
		}
		s.head = e
	}
	return s.head, nil
}

// take gives all entries of key, which is the least there is.
func (s *stretch) take(key string) ([]*format.Entry, error) {
	var out []*format.Entry
	for {
		e, err := s.peek()
		if err != nil || e == nil || e.Key != key {
			return out, err
		}
		if len(out) == maxVersions {
			return out, fmt.Errorf("%q has over %d versions, too many to compare: %w", key, maxVersions, format.ErrBounds)
		}
		out = append(out, e)
		s.head = nil
	}
}

func (s *stretch) close() {
	if s.stop != nil {
		s.stop()
	}
	s.entries, s.stop = nil, nil
}
