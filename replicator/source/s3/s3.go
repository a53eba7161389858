// Package s3source is a bucket as a source, at AWS or any server that speaks S3.
//
// The key of an entry is the object's whole key in the bucket, prefix included, so that a restore is exact. With
// versions "current" an object is pinned by the ETag of its listing (listings of current objects carry no version IDs),
// with "all" by its version ID; then versions written more than five seconds after Freeze are left out and every key's versions come
// oldest first, delete markers among them. Every whole read is checked against the source's own checksum where that is
// one of the whole object, and streams that break off are taken up again where they broke, under the same pin.
//
// The package sends GET and HEAD and nothing else: its transport refuses any other method. Memory is bounded by one page
// of a listing for every Entries sequence and one small object for every Open.
package s3source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// Options says what is protected and how it is reached.
type Options struct {
	Bucket      string
	Prefix      string // only keys that begin with exactly this; give it with its "/" if a folder is meant
	Endpoint    string // URL; empty: AWS
	Region      string // default us-east-1
	PathStyle   bool
	Credentials store.CredentialsFunc // nil: unsigned requests, for public buckets

	Versions     string        // "current" (default) or "all"
	Exclude      []string      // globs against the whole key
	SkipTags     bool          // policy "never": tags are not read, TagsRead stays 0
	Archived     string        // "record" (default) or "fail"
	ETag         string        // "md5": an ETag of 32 hex digits is the content's MD5; "opaque": never; "": found out where one does not match
	IfMatch      *bool         // ask for what was listed by its ETag; nil: until the server refuses what it lists itself
	RequestPayer *bool         // agree to pay, on every request; nil: where the bucket cannot be listed otherwise
	Connections  int           // kept open at most; default 32
	MaxBackoff   time.Duration // longest wait between tries; default 20 s
	IdleTimeout  time.Duration // a response or stream without a byte for so long is tried again; default 60 s

	TempDir    string // where a listing is sorted that does not come in order; default the system's
	SortMemory int    // what is sorted in memory; default 8 MiB

	Transport http.RoundTripper // default: one made for many connections
	Requests  *meter.Requests   // counts what is sent; may be nil
	Now       func() time.Time  // default time.Now
}

// resumes is how often in a row a stream is taken up without a byte gained.
const resumes = 5

// Source is one bucket, or the part of it under a prefix.
type Source struct {
	o       Options
	name    string // s3://bucket/prefix, for messages
	exclude glob.Set
	client  *s3.Client
	facts   facts
	trial   once            // of who finds out about the server's ETags
	idle    *http.Transport // our own, to be drained; nil if injected
}

// New checks the options; nothing is sent until Freeze.
func New(o Options) (*Source, error) {
	if o.Bucket == "" {
		return nil, errors.New("s3 source: no bucket given")
	}
	if o.Versions == "" {
		o.Versions = "current"
	}
	if o.Archived == "" {
		o.Archived = "record"
	}
	if o.Versions != "current" && o.Versions != "all" {
		return nil, fmt.Errorf("s3 source %s: versions is %q; use current or all", o.Bucket, o.Versions)
	}
	if o.Archived != "record" && o.Archived != "fail" {
		return nil, fmt.Errorf("s3 source %s: archived is %q; use record or fail", o.Bucket, o.Archived)
	}
	if o.ETag != "" && o.ETag != "md5" && o.ETag != "opaque" {
		return nil, fmt.Errorf("s3 source %s: etag is %q; use md5 or opaque", o.Bucket, o.ETag)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	o.Connections = orDefault(o.Connections, 32)
	o.MaxBackoff = orDefault(o.MaxBackoff, 20*time.Second)
	o.IdleTimeout = orDefault(o.IdleTimeout, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	set, err := glob.ParseSet(o.Exclude)
	if err != nil {
		return nil, fmt.Errorf("s3 source %s: exclude: %w", o.Bucket, err)
	}
	s := &Source{o: o, exclude: set, name: "s3://" + o.Bucket, trial: newOnce()}
	if o.Prefix != "" {
		s.name += "/" + o.Prefix
	}
	s.connect()
	return s, nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// connect makes the client. It is built from options alone, not from the SDK's configuration loader, so no environment
// variable (AWS_CA_BUNDLE, AWS_ENDPOINT_URL, ...) changes where requests go or how.
func (s *Source) connect() {
	o := s.o
	rt := o.Transport
	if rt == nil {
		s.idle = awsclient.NewTransport(o.Connections, o.IdleTimeout)
		rt = s.idle
	}
	keys, stack := awsclient.Signed(o.Credentials, "GetObject")
	opts := s3.Options{
		Region:       o.Region,
		UsePathStyle: o.PathStyle,
		Credentials:  keys,
		HTTPClient:   awsclient.Client(awsclient.Gets{Next: o.Requests.Over(rt)}),
		APIOptions:   stack,
		Retryer:      awsclient.Retryer(o.MaxBackoff, nil),
		// Checksums are checked here, over resumed streams too, so the SDK need not.
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
		DisableS3ExpressSessionAuth:               aws.Bool(true),
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = aws.String(o.Endpoint)
	}
	s.client = s3.New(opts)
}

// Kind is "s3".
func (s *Source) Kind() string { return "s3" }

// UnusedExcludes implements source.Excluder.
func (s *Source) UnusedExcludes() []string { return s.exclude.Unused() }

// all reports whether every version is read.
func (s *Source) all() bool { return s.o.Versions == "all" }

// root is what a listing of what is kept begins with.
func (s *Source) root() string {
	if s.all() {
		return rootVersions
	}
	return rootObjects
}

func (v *view) payer() types.RequestPayer {
	s := v.s
	if v.paying || s.o.RequestPayer != nil && *s.o.RequestPayer || s.facts.has(payer) {
		return types.RequestPayerRequester
	}
	return ""
}

// Freeze asks for one page of one entry: it proves that the bucket can be listed and reads the server's clock. Where that
// is denied, and nothing is said of who pays, it is asked for once more by one who does.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	v := (&view{s: s, held: maxHistory, known: serverFacts{bad: map[string]int{}}}).share()
	p, err := v.list.page(ctx, cursor{limit: 1})
	if errors.Is(err, store.ErrDenied) && s.o.RequestPayer == nil && !s.facts.has(payer) {
		p, err = v.asPayer(ctx, err)
	}
	if err != nil {
		v.drain()
		return nil, err
	}
	v.frozen, v.frozenAt, v.server = p.date, time.Now(), p.server
	return v, nil
}

// asPayer asks for a page as one who pays; denied is the answer to one who does not.
func (v *view) asPayer(ctx context.Context, denied error) (*listPage, error) {
	v.paying = true
	defer func() { v.paying = false }()
	p, err := v.list.page(ctx, cursor{limit: 1})
	if err != nil {
		return nil, denied
	}
	v.s.facts.learn(payer)
	return p, nil
}

// view is one reading of the bucket.
type view struct {
	list *listing
	meta *describing
	pins *pinning

	s        *Source
	frozen   time.Time // the server's clock at Freeze, to the second; zero if it sent none
	frozenAt time.Time // the local, monotonic clock then
	server   string    // what it calls itself
	paying   bool      // only while Freeze tries
	held     int       // versions of one key held at once, see history

	mu    sync.Mutex
	known serverFacts
	keys  usedKeys
}

// listing lists what a bucket holds, in the order of the keys.
type listing struct{ *view }

// describing asks for what a listing does not say: headers, metadata and tags.
type describing struct{ *view }

// pinning holds an answer against what was listed.
type pinning struct{ *view }

// share makes the roles.
func (v *view) share() *view {
	v.list, v.meta, v.pins = &listing{v}, &describing{v}, &pinning{v}
	return v
}

// Clock is the server's, from the answer to Freeze; at most a second slow, since a Date has whole seconds.
func (v *view) Clock() time.Time {
	if v.frozen.IsZero() {
		return v.s.o.Now()
	}
	return v.frozen.Add(time.Since(v.frozenAt))
}

// Close gives up idle connections.
func (v *view) Close() error {
	v.drain()
	return nil
}

func (v *view) drain() {
	if v.s.idle != nil {
		v.s.idle.CloseIdleConnections()
	}
}

// slack is how far a version's time may lie after Freeze for it still to be of the view: servers keep times to the second,
// and some send a Date that is a second old.
const slack = 5 * time.Second

// tooNew reports whether a version was written after Freeze, and so is not of this view. One from further ahead than
// time has passed has a time that means nothing and is kept: leaving it out would leave it out for ever.
func (v *view) tooNew(modified time.Time) bool {
	if v.frozen.IsZero() {
		return false
	}
	latest := v.Clock().Add(time.Minute)
	return modified.After(v.frozen.Add(slack)) && modified.Before(latest)
}

func unquote(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }
