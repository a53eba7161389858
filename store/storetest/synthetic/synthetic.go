// Package synthetic is an S3 server in this process whose bucket is a formula: any number of keys, with their bytes,
// headers, metadata, tags and versions, of which none is stored. It answers what a source reader asks (listings of both
// kinds, GET, HEAD, tags) and refuses everything else.
//
// It is there for what real servers in a test cannot do: a million objects without a fill, every key that AWS takes, an
// object that cannot be read just once. It is as strict as the published rules that the comments name, so that what works
// here is not owed to laxness. It is for tests and measurements only: production code must never import it. It must
// never keep anything per object beyond the edits it was told of, and never find a page's place by counting up to it.
package synthetic

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3url"
)

// Region is what requests must be signed for.
const Region = "us-east-1"

// Options are the formula.
type Options struct {
	Bucket string // default "synthetic"
	Shape  Shape  // its keys
	// Describe fills in the i-th object from its key, always the same way. Default: a few bytes (0 to 7), a type, metadata
	// for every fifth and tags for every hundredth.
	Describe func(i int64, o *Object)
	// Versions makes the bucket a versioned one: how many versions the i-th key has, at least 1. nil: unversioned.
	Versions func(i int64) int
	// Marker says which of those, 0 being the oldest, are delete markers. nil: none.
	Marker func(i int64, n int) bool
	// PageSize is how many entries a page has at most; default and most 1,000.
	PageSize int
	Now      func() time.Time // when edits are said to be made; default time.Now
}

// Object is what the formula says of one object.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time // of the oldest version; each later one is a second on
	Class    string    // storage class; "" is STANDARD
	Headers  map[string]string
	Metadata map[string]string // names in lower case
	Tags     map[string]string // at most 10
}

// Stats counts the requests that were answered.
type Stats struct {
	Pages   int64 // of listings
	Listed  int64 // entries in them
	Gets    int64 // of content, ranges included
	Heads   int64
	Tags    int64
	Bytes   int64 // of content
	Refused int64 // answered with an error, of whatever kind
}

// Server serves one bucket on a port of its own. Safe for concurrent use.
type Server struct {
	o     Options
	creds store.Credentials
	http  *http.Server
	addr  string
	ended chan error
	sign  signing

	mu    sync.RWMutex
	edits map[string]*edit
	added []string // keys beyond the formula, sorted

	pages, listed, gets, heads, tags, bytes, refused atomic.Int64
}

// edit is what became of one key.
type edit struct {
	object     *Object // of a key beyond the formula
	more       []change
	retagged   int
	unreadable int // how many GETs will still be refused
}

// change is a version beyond the formula's.
type change struct {
	marker bool
	at     time.Time
}

// Start begins to serve. Close ends it.
func Start(o Options) (*Server, error) {
	if o.Shape.Key == nil || o.Shape.Len < 0 {
		return nil, errors.New("a synthetic bucket needs a shape")
	}
	o.Bucket = cmp.Or(o.Bucket, "synthetic")
	if o.PageSize <= 0 || o.PageSize > maxPage {
		o.PageSize = maxPage
	}
	if o.Describe == nil {
		o.Describe = describe
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{
		o: o, creds: store.Credentials{AccessKeyID: "AKIASYNTHETIC", SecretAccessKey: "secret-of-the-synthetic-bucket"},
		edits: make(map[string]*edit), ended: make(chan error, 1),
	}
	s.sign.creds = s.creds
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("synthetic bucket: %w", err)
	}
	s.addr = l.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { s.ended <- s.http.Serve(l) }()
	return s, nil
}

// Close ends serving.
func (s *Server) Close() error {
	err := s.http.Close()
	if e := <-s.ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Location is where the bucket is; its credentials are Credentials.
func (s *Server) Location() s3url.Location {
	return s3url.Location{Bucket: s.o.Bucket, Endpoint: "http://" + s.addr, Region: Region, PathStyle: true}
}

// Credentials are the only ones that are let in.
func (s *Server) Credentials() store.Credentials { return s.creds }

// Stats gives the counts so far.
func (s *Server) Stats() Stats {
	return Stats{s.pages.Load(), s.listed.Load(), s.gets.Load(), s.heads.Load(), s.tags.Load(), s.bytes.Load(), s.refused.Load()}
}

// Key is the formula's i-th key, in order of bytes.
func (s *Server) Key(i int64) string { return s.o.Shape.Key(i) }

// Change gives an object new content of the same size; where there are versions, as one more.
func (s *Server) Change(key string) error { return s.change(key, false) }

// Delete removes an object, or puts a delete marker on it where there are versions.
func (s *Server) Delete(key string) error { return s.change(key, true) }

func (s *Server) change(key string, marker bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.edit(key)
	if err != nil {
		return err
	}
	e.more = append(e.more, change{marker, s.o.Now()})
	return nil
}

// Retag gives an object (where there are versions: its newest one) other tags and leaves everything else as it is.
func (s *Server) Retag(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.edit(key)
	if err == nil {
		e.retagged++
	}
	return err
}

// Unreadable refuses the next times GETs of the object's content with AccessDenied.
func (s *Server) Unreadable(key string, times int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.edit(key)
	if err == nil {
		e.unreadable = times
	}
	return err
}

// Add makes an object that the formula does not have. Where Modified is zero it is now.
func (s *Server) Add(o Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.edit(o.Key); err == nil {
		return fmt.Errorf("there is an object %q already", o.Key)
	}
	if o.Modified.IsZero() {
		o.Modified = s.o.Now()
	}
	i, _ := slices.BinarySearch(s.added, o.Key)
	s.added = slices.Insert(s.added, i, o.Key)
	s.edits[o.Key] = &edit{object: &o}
	return nil
}

// edit gives what is to be written down about an object that there is. The lock is held.
func (s *Server) edit(key string) (*edit, error) {
	if e := s.edits[key]; e != nil {
		return e, nil
	}
	i := s.o.Shape.Search(key)
	if i == s.o.Shape.Len || s.o.Shape.Key(i) != key {
		return nil, fmt.Errorf("no object %q", key)
	}
	e := &edit{}
	s.edits[key] = e
	return e, nil
}

// find gives what is at a key.
func (s *Server) find(key string) (record, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.edits[key]; e != nil && e.object != nil {
		return s.record(-1, key), true
	}
	i := s.o.Shape.Search(key)
	if i == s.o.Shape.Len || s.o.Shape.Key(i) != key {
		return record{}, false
	}
	return s.record(i, key), true
}

// from walks through everything from the first key at or after key, in order. The lock is held.
func (s *Server) from(key string, visit func(record) bool) {
	i := s.o.Shape.Search(key)
	j, _ := slices.BinarySearch(s.added, key)
	for i < s.o.Shape.Len || j < len(s.added) {
		var r record
		if i < s.o.Shape.Len {
			r.Key = s.o.Shape.Key(i)
		}
		if i == s.o.Shape.Len || j < len(s.added) && strings.Compare(s.added[j], r.Key) < 0 {
			r = s.record(-1, s.added[j])
			j++
		} else {
			r = s.record(i, r.Key)
			i++
		}
		if !visit(r) {
			return
		}
	}
}

// Len is how many keys the formula has.
func (s *Server) Len() int64 { return s.o.Shape.Len }
