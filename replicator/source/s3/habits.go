package s3source

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/replicator/source"
)

// habit is a way in which a server differs from AWS. It is learned once for a Source, and every view goes by it.
type habit int

const (
	payer       habit = iota // the bucket is listed only by who says that he pays
	noCondition              // If-Match with the ETag that is listed is answered 412
	otherTags                // answers carry another ETag than listings do, or none
	opaqueTags               // ETags of 32 hex digits are no MD5
	md5Tags                  // at least one was
	noTokens                 // listings go on after a key: there is no continuation token
	firstKind                // .. by the first kind of listing, since the second starts over
	disorder                 // keys are not listed in the order of their bytes
	unpacked                 // content is stored compressed and given unpacked, unless gzip is asked for
	noLength                 // content comes without its length unless a range of it is asked for
	noZone                   // times in listings have no zone
)

// settings says which line of the configuration answers a habit, and what it is, in words for people.
var settings = map[habit]source.Habit{
	payer:       {Name: "requester-pays", Setting: "requester_pays: true", Text: "the bucket is open to those who pay for requests and data; this run agreed to pay"},
	noCondition: {Name: "if-match", Setting: "if_match: false", Text: "the server answers 412 to If-Match with the ETag that it lists; objects are read without it, and what was listed is looked up again after the reading"},
	otherTags:   {Name: "etag-differs", Text: "the server's answers carry other ETags than its listings; what was listed is looked up again after the reading"},
	opaqueTags:  {Name: "etag", Setting: "etag: opaque", Text: "the server's ETags look like MD5s and are none, so objects without another checksum are not checked against the server's own"},
	noTokens:    {Name: "list-token", Text: "the server gives no continuation token; listings go on after the last key"},
	firstKind:   {Name: "list-v1", Text: "the server does not continue ListObjectsV2; it is listed with the first kind of listing"},
	disorder:    {Name: "list-order", Text: "the server does not list keys in the order of their bytes; they are sorted here, on disk where they are many, before anything is read"},
	unpacked:    {Name: "gzip", Text: "the server unpacks content that is stored compressed, unless it is told that gzip is accepted; it is told"},
	noLength:    {Name: "length", Text: "the server gives content without its length; it is asked for by range"},
	noZone:      {Name: "list-zone", Text: "times in the server's listings have no zone; they are taken as UTC"},
}

// facts are the habits of a server that were met so far.
type facts struct {
	mu  sync.Mutex
	met map[habit]bool
}

func (f *facts) has(h habit) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.met[h]
}

// learn notes a habit, and reports whether it is news.
func (f *facts) learn(h habit) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.met[h] {
		return false
	}
	if f.met == nil {
		f.met = map[habit]bool{}
	}
	f.met[h] = true
	return true
}

// list gives what was met, in the order above.
func (f *facts) list() (out []source.Habit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var hs []habit
	for h := range f.met {
		hs = append(hs, h)
	}
	slices.SortFunc(hs, func(a, b habit) int { return cmp.Compare(a, b) })
	for _, h := range hs {
		if s, ok := settings[h]; ok {
			out = append(out, s)
		}
	}
	return out
}

// Habits implements source.Habits. What the configuration says already is not said again.
func (v *view) Habits() []source.Habit {
	o := v.s.o
	return slices.DeleteFunc(v.s.facts.list(), func(h source.Habit) bool {
		return h.Name == "requester-pays" && o.RequestPayer != nil || h.Name == "if-match" && o.IfMatch != nil || h.Name == "etag" && o.ETag != ""
	})
}

// once lets one of those who ask find something out; the others wait for him, but not longer than their context.
type once struct{ token chan struct{} }

func newOnce() once {
	o := once{make(chan struct{}, 1)}
	o.token <- struct{}{}
	return o
}

func (o once) enter(ctx context.Context) error {
	select {
	case <-o.token:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o once) leave() { o.token <- struct{}{} }
