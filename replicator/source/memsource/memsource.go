// Package memsource is a source in memory, for the tests of whoever reads sources: objects are put, changed and deleted
// at will, and failures are injected by key.
//
// It keeps to the contract of package source (sourcetest holds it to that) so that the engine's tests mean something. It
// must never be reachable from a production binary.
package memsource

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // ETags are MD5
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options says what a Source is like.
type Options struct {
	AllVersions bool             // keep and list every version, with delete markers, instead of the current objects
	Start       time.Time        // Modified of the first Put, each later one a second on; default 2026-01-01
	Now         func() time.Time // for TagsRead; default time.Now
}

// Source is a bucket in memory. Its zero value is not usable; see New. Safe for concurrent use.
type Source struct {
	o      Options
	mu     sync.Mutex
	keys   []string // sorted; of all objects, markers included
	items  map[string][]item
	faults map[string]*Fault
	seq    int64
	stats  Stats
	onOpen func(key string, off int64)
}

// item is one version of one key.
type item struct {
	entry format.Entry // complete, without chunks
	body  io.ReaderAt
}

// Stats counts what was asked of a Source.
type Stats struct {
	Listed    int64 // entries given by listings
	Opened    int64 // successful calls of Open
	Completed int64 // calls of Complete
	Bytes     int64 // content bytes read
}

// New gives an empty Source.
func New(o Options) *Source {
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Source{o: o, items: map[string][]item{}, faults: map[string]*Fault{}}
}

// Put stores or overwrites an object.
func (s *Source) Put(key string, body []byte) { s.PutEntry(format.Entry{Key: key}, body) }

// PutEntry stores an entry with what it says of headers, metadata and tags, or an entry of another kind. Size and, where
// they are not set, Modified, ETag and Version are filled in.
func (s *Source) PutEntry(e format.Entry, body []byte) {
	if e.ETag == "" && e.Kind == format.KindObject {
		sum := md5.Sum(body) //nolint:gosec // ETags are MD5
		e.ETag = hex.EncodeToString(sum[:])
	}
	s.PutReaderAt(e, bytes.NewReader(body), int64(len(body)))
}

// PutReaderAt is PutEntry for content that need not be in memory. The body must stay readable and unchanged.
func (s *Source) PutReaderAt(e format.Entry, body io.ReaderAt, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	e.Size = size
	if e.Modified.IsZero() {
		e.Modified = format.At(s.o.Start.Add(time.Duration(s.seq) * time.Second))
	}
	switch e.Kind {
	case format.KindObject:
		if e.ETag == "" {
			e.ETag = fmt.Sprintf("etag-%d", s.seq)
		}
	case format.KindFile, format.KindDir, format.KindSymlink, format.KindSpecial:
		if e.File == nil {
			e.File = &format.File{Mode: 0o644, Inode: uint64(s.seq), Device: 1, Links: 1} //nolint:gosec // seq is positive
		}
		if e.File.Changed.IsZero() {
			e.File.Changed = e.Modified
		}
	}
	s.add(item{entry: e, body: body})
}

// Delete removes an object; with AllVersions it adds a delete marker. Deleting what is not there does nothing.
func (s *Source) Delete(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items[key]) == 0 {
		return
	}
	if s.o.AllVersions {
		s.seq++
		s.add(item{entry: format.Entry{
			Kind: format.KindMarker, Key: key,
			Modified: format.At(s.o.Start.Add(time.Duration(s.seq) * time.Second)),
		}})
		return
	}
	delete(s.items, key)
	i, _ := slices.BinarySearch(s.keys, key)
	s.keys = slices.Delete(s.keys, i, i+1)
}

// SetTags changes the tags of the newest version without a trace in listings, as S3 does.
func (s *Source) SetTags(key string, tags map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if vs := s.items[key]; len(vs) > 0 {
		vs[len(vs)-1].entry.Tags = maps.Clone(tags)
	}
}

// OnOpen sets a function that is called at the start of every Open, outside any lock: it may change the source.
func (s *Source) OnOpen(f func(key string, off int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onOpen = f
}

// Stats gives the counts so far.
func (s *Source) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// ResetStats sets the counts to zero.
func (s *Source) ResetStats() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = Stats{}
}

// add appends or replaces; the lock is held.
func (s *Source) add(it item) {
	if s.o.AllVersions && it.entry.Version == "" {
		it.entry.Version = fmt.Sprintf("v%08d", s.seq)
	}
	key := it.entry.Key
	if len(s.items[key]) == 0 {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	if s.o.AllVersions {
		s.items[key] = append(s.items[key], it)
	} else {
		s.items[key] = []item{it}
	}
}

// Kind is "s3": entries look like a bucket's.
func (s *Source) Kind() string { return "s3" }

// Freeze gives a view. Nothing is frozen: like an unversioned bucket it shows changes as they happen.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	if f := s.fault(""); f != nil {
		return nil, f.err("")
	}
	return &view{s: s}, ctx.Err()
}

type view struct{ s *Source }

// Entries implements source.View.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		after, first := from, true
		for {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			key, versions := v.s.next(after, first)
			if versions == nil || (to != "" && key >= to) {
				return
			}
			after, first = key, false
			if f := v.s.faultOf(key, Listing); f != nil {
				yield(nil, f.err(key))
				return
			}
			for i := range versions {
				e := listed(&versions[i].entry)
				if f := v.s.faultOf(key, Missing); f != nil {
					e.Missing = f.reason()
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// next gives the first key after (or, with inclusive, at or after) key, and its versions.
func (s *Source) next(key string, inclusive bool) (string, []item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.keys), func(i int) bool {
		return s.keys[i] > key || (inclusive && s.keys[i] == key)
	})
	if i == len(s.keys) {
		return "", nil
	}
	vs := s.items[s.keys[i]]
	s.stats.Listed += int64(len(vs))
	return s.keys[i], slices.Clone(vs)
}

// listed gives the listing fields of e.
func listed(e *format.Entry) *format.Entry {
	l := &format.Entry{
		Kind: e.Kind, Key: e.Key, Version: e.Version, Size: e.Size, Modified: e.Modified, ETag: e.ETag,
		StorageClass: e.StorageClass,
	}
	if e.File != nil {
		f := *e.File
		f.Xattrs = nil
		l.File = &f
	}
	return l
}

// find gives the item e was listed from, or ErrGone or ErrChanged.
func (s *Source) find(e *format.Entry) (item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	vs := s.items[e.Key]
	for i := range vs {
		if s.o.AllVersions && vs[i].entry.Version != e.Version {
			continue
		}
		it := vs[i]
		if it.entry.ETag != e.ETag || !it.entry.Modified.Equal(e.Modified.Time) {
			return item{}, fmt.Errorf("open %q: %w", e.Key, source.ErrChanged)
		}
		it.entry.Tags = maps.Clone(it.entry.Tags)
		return it, nil
	}
	return item{}, fmt.Errorf("open %q: %w", e.Key, source.ErrGone)
}

// Open implements source.View.
func (v *view) Open(ctx context.Context, e *format.Entry, off, n int64) (io.ReadCloser, error) {
	v.s.mu.Lock()
	hook := v.s.onOpen
	v.s.mu.Unlock()
	if hook != nil {
		hook(e.Key, off)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f := v.s.take(e.Key)
	if f != nil && f.atOpen() {
		return nil, f.err(e.Key)
	}
	it, err := v.s.find(e)
	if err != nil {
		return nil, err
	}
	if off < 0 || off > e.Size {
		return nil, fmt.Errorf("open %q at %d of %d bytes: out of range", e.Key, off, e.Size)
	}
	if off == 0 {
		v.s.complete(e, &it.entry)
	}
	if n < 0 || n > e.Size-off {
		n = e.Size - off
	}
	v.s.mu.Lock()
	v.s.stats.Opened++
	v.s.mu.Unlock()
	return &stream{ctx: ctx, s: v.s, key: e.Key, fault: f, size: n, r: io.NewSectionReader(it.body, off, n)}, nil
}

// complete fills in what a read reveals; the listing fields stay as they are.
func (s *Source) complete(e, full *format.Entry) {
	c := *full
	c.Kind, c.Key, c.Version, c.Size, c.Modified = e.Kind, e.Key, e.Version, e.Size, e.Modified
	c.ETag, c.StorageClass = e.ETag, e.StorageClass
	c.Metadata, c.Checksums = maps.Clone(full.Metadata), maps.Clone(full.Checksums)
	if full.File != nil {
		f := *full.File
		f.Xattrs = maps.Clone(full.File.Xattrs)
		c.File = &f
	}
	if e.Kind == format.KindObject {
		c.TagsRead = s.o.Now().Unix()
	}
	c.SHA256, c.Chunks, c.Extents, c.Missing = e.SHA256, e.Chunks, e.Extents, ""
	*e = c
}

// Complete implements source.View.
func (v *view) Complete(ctx context.Context, e *format.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.s.mu.Lock()
	v.s.stats.Completed++
	v.s.mu.Unlock()
	if f := v.s.take(e.Key); f != nil && f.atOpen() {
		return f.err(e.Key)
	}
	it, err := v.s.find(e)
	if err != nil {
		return err
	}
	v.s.complete(e, &it.entry)
	return nil
}

// Clock implements source.View.
func (v *view) Clock() time.Time { return v.s.o.Now() }

// Close implements source.View.
func (v *view) Close() error { return nil }

// String names the source in test output.
func (s *Source) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "memsource: " + strings.Join(s.keys, " ")
}
