// Package ebs is a strict server of the EBS direct APIs for tests: what AWS documents as a rule it enforces, and what AWS
// may do to a client it does on request. It keeps a log of requests. Sources of the rules:
//
//	[API]   https://docs.aws.amazon.com/ebs/latest/APIReference/ (operations, limits, errors and their reasons), and the
//	        service model 2019-11-02 in botocore and aws-sdk-go-v2 (paths, headers, status codes)
//	[READ]  https://docs.aws.amazon.com/ebs/latest/userguide/readsnapshots.html (empty pages, skipped blocks, archived)
//	[WRITE] https://docs.aws.amazon.com/ebs/latest/userguide/writesnapshots.html
//	[CONC]  https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-elements.html (blocks, tokens, checksums; no public snapshots)
//	[FAQ]   https://docs.aws.amazon.com/ebs/latest/userguide/ebsapi-faq.html (pending snapshots, visibility, blocks written twice)
//	[RETRY] https://docs.aws.amazon.com/ebs/latest/userguide/error-retries.html (what is worth another try)
//	[QUOTA] https://docs.aws.amazon.com/general/latest/gr/ebs-service.html
package ebs

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// Lifetimes of tokens [API: ExpiryTime; FACTS: NextToken 60 minutes] and how long a started snapshot may stay unseen [FAQ].
const (
	BlockTokenLife = 7 * 24 * time.Hour
	PageTokenLife  = 60 * time.Minute
)

// Options of a server. Limits are requests a second, 0: none.
type Options struct {
	AccessKey      string        // the one that is let in; "": any
	GetPerSnapshot float64       // [QUOTA] 1,000 by default at AWS
	GetPerAccount  float64       // [QUOTA]
	ListPerAccount float64       // [QUOTA] 50
	PutPerSnapshot float64       // [QUOTA] 1,000
	Concurrent     int           // requests at once, beyond which ConcurrentLimitExceededException is given; 0: no limit
	Unseen         time.Duration // after StartSnapshot the snapshot is not found for this long [FAQ: up to two minutes]
	Completing     time.Duration // after CompleteSnapshot it is pending for this long
	Latency        time.Duration // of each request
	PageBlocks     int           // the most blocks of one page; 0: what was asked for
	Answered       func(n int)   // called behind the n-th answer, before the next request of the same connection is looked at
}

// Server is an http.Handler.
type Server struct {
	world *world.World
	opts  Options

	mu      sync.Mutex
	log     []Request
	answers int
	faults  map[string][]Fault
	broken  map[broken]Fault
	limits  map[string]*rate.Limiter
	running int
	secret  uint64
	most    int // requests at once
	refused int // throttled
}

// Request is one line of the log.
type Request struct {
	Op       string
	Snapshot string
	Block    int64
	Status   int
	At       time.Time // when it was answered
}

// New makes a server of a world.
func New(w *world.World, o Options) *Server {
	return &Server{world: w, opts: o, faults: map[string][]Fault{}, limits: map[string]*rate.Limiter{}, secret: 0x9e3779b97f4a7c15}
}

// Set changes the options of a running server.
func (s *Server) Set(change func(*Options)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.opts)
	clear(s.limits)
}

// Log gives the requests so far and forgets them. A client has its answer before the handler ends, which writes the line:
// handlers that are about to end are waited for, those that hang are not.
func (s *Server) Log() []Request {
	for waited := time.Duration(0); waited < 2*time.Second && s.busy(); waited += time.Millisecond {
		time.Sleep(time.Millisecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *Server) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running > 0
}

// Refused is how many requests were throttled by limits.
func (s *Server) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Error is an answer that is none.
type Error struct {
	Status            int
	Type, Reason, Msg string
}

func (e *Error) Error() string { return e.Type + ": " + e.Reason + ": " + e.Msg }

func invalid(reason, format string, args ...any) *Error {
	return &Error{400, "ValidationException", reason, fmt.Sprintf(format, args...)}
}

func notFound(id string) *Error {
	return &Error{404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", "The snapshot '" + id + "' does not exist."}
}

// call is one request on its way.
type call struct {
	*Server
	op    string
	id    string
	block int64
	r     *http.Request
	w     http.ResponseWriter
	o     Options
	fault Fault
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, r: r, w: w, block: -1}
	s.mu.Lock()
	c.o = s.opts
	s.running++
	s.most = max(s.most, s.running)
	running := s.running
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	rec := &recorder{ResponseWriter: w}
	c.w = rec
	handle, err := c.route()
	if err == nil {
		err = c.admit(running)
	}
	if err == nil {
		time.Sleep(c.o.Latency)
		c.fault = s.nextFault(c.op, c.id, c.block)
		if c.fault.stops() {
			err = c.strike()
		} else {
			err = handle(c)
		}
	}
	if err != nil {
		c.fail(err)
	}
	s.mu.Lock()
	s.log = append(s.log, Request{c.op, c.id, c.block, rec.status, time.Now()})
	s.answers++
	n := s.answers
	s.mu.Unlock()
	if c.o.Answered != nil {
		c.o.Answered(n)
	}
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = 200
	}
	return r.ResponseWriter.Write(b)
}

// route finds the operation [API: the model's request URIs].
func (c *call) route() (func(*call) *Error, *Error) {
	parts := strings.Split(strings.Trim(c.r.URL.Path, "/"), "/")
	is := func(method string, n int) bool { return c.r.Method == method && len(parts) == n }
	if parts[0] != "snapshots" {
		return nil, &Error{404, "UnknownOperationException", "", "no such operation"}
	}
	if len(parts) > 1 {
		c.id = parts[1]
	}
	switch {
	case is("POST", 1):
		c.op = "StartSnapshot"
		return (*call).start, nil
	case is("POST", 3) && parts[1] == "completion":
		c.op, c.id = "CompleteSnapshot", parts[2]
		return (*call).complete, nil
	case is("GET", 3) && parts[2] == "blocks":
		c.op = "ListSnapshotBlocks"
		return (*call).list, nil
	case is("GET", 3) && parts[2] == "changedblocks":
		c.op = "ListChangedBlocks"
		return (*call).changed, nil
	case (is("GET", 4) || is("PUT", 4)) && parts[2] == "blocks":
		n, err := strconv.ParseInt(parts[3], 10, 32)
		if err != nil || n < 0 {
			return nil, invalid("INVALID_BLOCK", "block index %q", parts[3])
		}
		c.block = n
		if c.r.Method == "PUT" {
			c.op = "PutSnapshotBlock"
			return (*call).put, nil
		}
		c.op = "GetSnapshotBlock"
		return (*call).get, nil
	}
	return nil, &Error{404, "UnknownOperationException", "", "no such operation"}
}

// admit checks the signature's presence and the quotas.
func (c *call) admit(running int) *Error {
	auth := c.r.Header.Get("Authorization")
	if !strings.HasPrefix(auth, "AWS4-HMAC-SHA256 Credential=") || !strings.Contains(auth, "/ebs/aws4_request") ||
		!strings.Contains(auth, "Signature=") || c.r.Header.Get("X-Amz-Date") == "" {
		return &Error{403, "MissingAuthenticationTokenException", "", "Missing Authentication Token"}
	}
	if c.o.AccessKey != "" && !strings.Contains(auth, "Credential="+c.o.AccessKey+"/") {
		return &Error{403, "UnrecognizedClientException", "", "The security token included in the request is invalid."}
	}
	if c.o.Concurrent > 0 && running > c.o.Concurrent {
		return c.refuse(&Error{400, "ConcurrentLimitExceededException", "", "too many requests at once"})
	}
	throttled := func(reason string) *Error {
		return c.refuse(&Error{400, "RequestThrottledException", reason, "The number of API requests has exceeded the maximum allowed API request throttling limit."})
	}
	switch c.op {
	case "GetSnapshotBlock":
		if !c.allow("get "+c.id, c.o.GetPerSnapshot) {
			return throttled("RESOURCE_LEVEL_THROTTLE")
		}
		if !c.allow("get", c.o.GetPerAccount) {
			return throttled("ACCOUNT_THROTTLED")
		}
	case "PutSnapshotBlock":
		if !c.allow("put "+c.id, c.o.PutPerSnapshot) {
			return throttled("RESOURCE_LEVEL_THROTTLE")
		}
	case "ListSnapshotBlocks", "ListChangedBlocks":
		if !c.allow("list", c.o.ListPerAccount) {
			return throttled("ACCOUNT_THROTTLED")
		}
	}
	return nil
}

func (c *call) refuse(e *Error) *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused++
	return e
}

func (s *Server) allow(key string, perSecond float64) bool {
	if perSecond <= 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits[key]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond/10), 1))
		s.limits[key] = l
	}
	return l.Allow()
}

// fail writes an error as restJson1 has it.
func (c *call) fail(e *Error) {
	c.w.Header().Set("X-Amzn-Errortype", e.Type)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(e.Status)
	body := map[string]string{"Message": e.Msg}
	if e.Reason != "" {
		body["Reason"] = e.Reason
	}
	_ = json.NewEncoder(c.w).Encode(body)
}

func (c *call) answer(status int, v any) *Error {
	b, err := json.Marshal(v)
	if err != nil {
		return &Error{500, "InternalServerException", "", err.Error()}
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b)
	return nil
}

// readable gives a snapshot that may be read: completed ones only, no archived [READ] and no public ones [CONC].
func (c *call) readable(id string) (*world.Snapshot, *Error) {
	if !strings.HasPrefix(id, "snap-") {
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot ID '%s' is malformed.", id)
	}
	s := c.world.Snapshot(id)
	switch {
	case s == nil:
		return nil, notFound(id)
	case s.Public || s.Owner != world.Account:
		return nil, &Error{403, "AccessDeniedException", "UNAUTHORIZED_ACCOUNT", "public snapshots are not supported"}
	case s.Tier == "archive":
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is archived.", id)
	case s.State != "completed":
		return nil, invalid("INVALID_SNAPSHOT_ID", "The snapshot '%s' is not completed.", id)
	}
	return s, nil
}
