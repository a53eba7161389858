package meter

import (
	"net/http"
	"strings"
	"sync/atomic"
)

// Asked is how many requests of each kind were sent, as vendors bill them. Requests that failed and were repeated count each time,
// as they are billed.
type Asked struct {
	Put  int64 // objects written
	Lock int64 // locks set on objects that are there already
	List int64 // pages of listings
	Get  int64 // objects, parts of them, or what is said of them, read
}

// All is their sum.
func (a Asked) All() int64 { return a.Put + a.Lock + a.List + a.Get }

// Plus adds two counts.
func (a Asked) Plus(b Asked) Asked {
	return Asked{a.Put + b.Put, a.Lock + b.Lock, a.List + b.List, a.Get + b.Get}
}

// Minus is what was asked since an earlier count.
func (a Asked) Minus(b Asked) Asked {
	return Asked{a.Put - b.Put, a.Lock - b.Lock, a.List - b.List, a.Get - b.Get}
}

// Requests counts requests at the wire. The zero value is ready, a nil one counts nothing; it is safe for concurrent use.
type Requests struct{ put, lock, list, get atomic.Int64 }

// Snapshot reads the counters.
func (c *Requests) Snapshot() Asked {
	if c == nil {
		return Asked{}
	}
	return Asked{Put: c.put.Load(), Lock: c.lock.Load(), List: c.list.Load(), Get: c.get.Load()}
}

// Over counts what goes over rt. A nil Requests gives rt itself.
func (c *Requests) Over(rt http.RoundTripper) http.RoundTripper {
	if c == nil {
		return rt
	}
	return counting{c, rt}
}

type counting struct {
	c    *Requests
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (r counting) RoundTrip(req *http.Request) (*http.Response, error) {
	if n := r.c.kind(req); n != nil {
		n.Add(1)
	}
	return r.next.RoundTrip(req)
}

// kind tells S3's requests, and those for blocks of EBS snapshots, apart by what they look like. Deleting, and what EC2 is asked
// with POST, is free at every vendor known: nil.
func (c *Requests) kind(req *http.Request) *atomic.Int64 {
	q := req.URL.Query()
	switch req.Method {
	case http.MethodPut:
		if q.Has("retention") {
			return &c.lock
		}
		return &c.put
	case http.MethodGet, http.MethodHead:
		path := req.URL.Path
		if q.Has("list-type") || q.Has("versions") || strings.HasSuffix(path, "/changedblocks") || strings.HasPrefix(path, "/snapshots/") && strings.HasSuffix(path, "/blocks") {
			return &c.list
		}
		return &c.get
	}
	return nil
}
