// Package ebssource is a set of EBS snapshots as a source: each volume is one entry, a disk image, with what is known of
// the snapshot and its volume as metadata.
//
// By default the newest completed snapshot of every volume that the selection finds is taken; its entry has the volume's
// ID as key, so that the next run compares the volume with how it was. With All every snapshot is an entry of its own, a
// version of the volume. What cannot be read (archived, pending, failed, somebody else's) is an entry all the same, with
// the reason, and leaves the point incomplete.
//
// The package changes nothing at the source, with one exception that has to be asked for: Create has AWS make a set of
// snapshots of an instance's volumes first. Its transport refuses every other call that is not a Describe.
package ebssource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/glob"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options says what is protected and how it is reached.
type Options struct {
	Region      string
	Endpoint    string // URL of both APIs; empty: AWS
	Credentials store.CredentialsFunc

	Snapshots []string // their IDs; or
	Tags      []Tag    // snapshots that have all of these; with neither: all of the account's
	Volumes   []string // only of these
	All       bool     // every snapshot, not only the newest of each volume
	Exclude   []string // globs against the keys of entries: volumes, or snapshots that have none
	Create    []string // instances whose volumes are snapshotted first

	CreateTimeout time.Duration // how long they are waited for; default 12 h
	Connections   int
	Blocks        ebsdirect.Options // paces and deadlines; region, endpoint and credentials are those above
	Transport     http.RoundTripper // default: one of our own
	Requests      *meter.Requests   // counts what is asked of snapshots' blocks; may be nil
	Now           func() time.Time
}

// Tag is a tag's key and value.
type Tag struct{ Key, Value string }

// Source is the snapshots of one region that a selection finds.
type Source struct {
	o       Options
	exclude glob.Set
	name    string
	api     *ec2.Client
	blocks  *ebsdirect.Client
	idle    *http.Transport

	mu   sync.Mutex
	skew time.Duration // of AWS's clock against ours
}

// New checks the options; nothing is sent until Freeze.
func New(o Options) (*Source, error) {
	if o.Region == "" {
		return nil, errors.New("ebs source: no region given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.CreateTimeout <= 0 {
		o.CreateTimeout = 12 * time.Hour
	}
	exclude, err := glob.ParseSet(o.Exclude)
	if err != nil {
		return nil, fmt.Errorf("ebs source %s: exclude: %w", o.Region, err)
	}
	s := &Source{o: o, exclude: exclude, name: "ebs://" + o.Region}
	b := o.Blocks
	b.Region, b.Endpoint, b.Credentials, b.Write, b.Transport = o.Region, o.Endpoint, o.Credentials, false, o.Transport
	b.Requests = o.Requests
	b.Connections = max(o.Connections, b.Connections)
	if s.blocks, err = ebsdirect.New(b); err != nil {
		return nil, err
	}
	rt := o.Transport
	if rt == nil {
		s.idle = awsclient.NewTransport(4, 30*time.Second)
		rt = s.idle
	}
	keys, stack := awsclient.Signed(o.Credentials)
	opts := ec2.Options{
		Region:      o.Region,
		Credentials: keys,
		APIOptions:  stack,
		HTTPClient: &http.Client{
			Transport:     describeOnly{next: rt, create: len(o.Create) > 0, saw: s.saw},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       2 * time.Minute,
		},
		Retryer: ebsdirect.Retryer(b.MaxBackoff),
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = aws.String(o.Endpoint)
	}
	s.api = ec2.New(opts)
	return s, nil
}

// Kind implements source.Source.
func (s *Source) Kind() string { return "ebs" }

// Requests implements source.Billed: one for each block.
func (v *view) Requests(r source.Reading) int64 { return r.Blocks }

// UnusedExcludes implements source.Excluder.
func (s *Source) UnusedExcludes() []string { return s.exclude.Unused() }

// saw notes the time by AWS's clock.
func (s *Source) saw(date time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skew = date.Sub(s.o.Now())
}

// Freeze implements source.Source: it makes the snapshots that were asked for, and lists what there is. Snapshots do not
// change, so what is listed now is what will be read.
func (s *Source) Freeze(ctx context.Context) (source.View, error) {
	made, err := s.create(ctx)
	if err != nil {
		return nil, err
	}
	entries, err := s.list(ctx, made)
	if err != nil {
		return nil, err
	}
	return &view{s: s, entries: entries}, nil
}

// describeOnly lets nothing through that could change a source, but the making of snapshots where it was asked for.
type describeOnly struct {
	next   http.RoundTripper
	create bool
	saw    func(time.Time)
}

// RoundTrip implements http.RoundTripper.
func (d describeOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	action, r, err := awsclient.ActionOf(r)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(action, "Describe") && !(d.create && action == "CreateSnapshots") {
		return nil, fmt.Errorf("refused to send %s to a source: sources are only read", action)
	}
	resp, err := d.next.RoundTrip(r)
	if err == nil {
		if date, derr := http.ParseTime(resp.Header.Get("Date")); derr == nil {
			d.saw(date)
		}
	}
	return resp, err
}

// view is one reading of the source.
type view struct {
	s       *Source
	entries []*format.Entry
}

var (
	_ source.View    = (*view)(nil)
	_ source.Images  = (*view)(nil)
	_ source.Remarks = (*view)(nil)
)

// Remarks says so if nothing at all is selected: nobody sets up a source for that, but in the wrong region it looks so.
func (v *view) Remarks() []source.Remark {
	if len(v.entries) > 0 {
		return nil
	}
	return []source.Remark{{Key: v.s.name, Text: "no snapshot is selected: check the region, the account and the selection"}}
}

// errNotOpened: a disk image has no stream; it is read by Image.
var errNotOpened = errors.New("a disk image is read block by block")

// Open implements source.View.
func (v *view) Open(context.Context, *format.Entry, int64, int64) (io.ReadCloser, error) {
	return nil, errNotOpened
}

// Complete implements source.View: the listing says everything.
func (v *view) Complete(_ context.Context, e *format.Entry) error {
	for _, known := range v.entries {
		if known.Key == e.Key && known.Version == e.Version {
			e.Metadata, e.Tags = known.Metadata, known.Tags
			return nil
		}
	}
	return source.ErrGone
}

// Clock implements source.View.
func (v *view) Clock() time.Time {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.o.Now().Add(v.s.skew)
}

// Close implements source.View.
func (v *view) Close() error {
	v.s.blocks.Close()
	if v.s.idle != nil {
		v.s.idle.CloseIdleConnections()
	}
	return nil
}

// Image implements source.Images.
func (v *view) Image(ctx context.Context, e, base *format.Entry) (source.Image, error) {
	if err := v.Complete(ctx, e); err != nil {
		return nil, err
	}
	before := ""
	if base != nil {
		before = base.ETag
	}
	return v.s.blocks.Image(ctx, e.Key, e.ETag, e.Size, before)
}
