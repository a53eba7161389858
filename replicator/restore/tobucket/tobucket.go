// Package tobucket restores into a bucket, at AWS or any server that speaks S3: content, content headers, user metadata,
// tags, storage class and, into a versioned bucket, versions and delete markers, oldest first.
//
// Keys are written exactly as they were. A server that would take one key for another (`a//b` for `a/b`) is found out
// before that can happen, and the key is refused by name. Every PUT carries the SHA-256 that the recovery point vouches for, so
// the server checks the content end to end and nothing is hashed twice. Objects over 64 MiB go in parts, and a failed
// upload is aborted. Nothing is added to what an object says of itself.
//
// With `changed` an object that is there is taken as right if its size and content are the entry's: by an MD5 ETag from the
// listing, by the SHA-256 the server keeps, or, for one in parts, if it has the number of parts that a restore makes and
// is newer than the recovery point. Headers are not compared; `always` sets them again.
package tobucket

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/semaphore"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Options say where to and how.
type Options struct {
	Bucket      string
	Prefix      string // put before every key, as it is
	Endpoint    string // URL; empty: AWS
	Region      string // default us-east-1
	PathStyle   bool
	Credentials store.CredentialsFunc
	HTTPClient  *http.Client // default: one made for many connections

	Connections    int           // default 32
	ArchiveClasses bool          // restore GLACIER and DEEP_ARCHIVE objects into those classes instead of the bucket's usual one
	MaxBackoff     time.Duration // longest wait between tries; default 20 s
}

const (
	maxKey    = 1024     // bytes, S3's limit
	singlePut = 64 << 20 // objects over this size go in parts
	minPart   = 8 << 20  // and a part is at least this
	maxParts  = 10_000
)

// Target is a restore.Target. It serves one restore.
type Target struct {
	look *looking

	o          Options
	name       string
	client     *s3.Client
	own        *http.Transport // ours, to be drained
	job        restore.Job
	versioned  bool
	versioning types.BucketVersioningStatus // "": it never had versions
	there      *lister
	ordered    bool // it lists in the order of key bytes, for all that is known of it
	probeName  string
	removes    *bool            // whether an object made for a try can be removed again; nil: not known yet
	oddities   map[string]error // how the server deals with keys that are no plain paths
	parts      *semaphore.Weighted
	aws        bool // which holds all that a point can have

	// What was learnt of the server on the way.
	countsTags atomic.Bool  // it says in its answers how many tags an object has
	hidesTags  atomic.Bool  // tags cannot be read
	givesSums  atomic.Bool  // it gives the SHA-256 of objects
	etags      atomic.Int32 // what its ETags are, of objects that were put whole
	partETags  atomic.Int32 // and of uploads in parts
	// renamesETags: it answers a PUT with other ETags than it shows afterwards.
	renamesETags atomic.Bool
	classing     sync.Mutex
	classes      map[types.StorageClass]bool // those that were asked about, and whether it keeps them

	mu     sync.Mutex
	notes  map[string]int
	limits map[string]bool // what it turned out to be unable to hold
}

// looking looks at what a bucket holds, before and after.
type looking struct{ *Target }

// share makes the roles.
func (t *Target) share() *Target {
	t.look = &looking{t}
	return t
}

var _ restore.Target = (*Target)(nil)

// New checks the options; nothing is sent until Begin.
func New(o Options) (*Target, error) {
	if o.Bucket == "" || o.Credentials == nil {
		return nil, errors.New("restore to a bucket: bucket and credentials are needed")
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Connections <= 0 {
		o.Connections = 32
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 20 * time.Second
	}
	t := (&Target{o: o, name: "s3://" + o.Bucket, notes: make(map[string]int), oddities: make(map[string]error),
		limits: make(map[string]bool), classes: make(map[types.StorageClass]bool), aws: isAWS(o.Endpoint)}).share()
	if o.Prefix != "" {
		t.name += "/" + o.Prefix
	}
	t.connect()
	return t, nil
}

// isAWS reports whether an endpoint is Amazon's own.
func isAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if endpoint == "" || err != nil {
		return endpoint == ""
	}
	host := u.Hostname()
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}

// connect makes the client from the options alone: no environment variable changes where requests go or how.
func (t *Target) connect() {
	o := t.o
	client := o.HTTPClient
	if client == nil {
		t.own = awsclient.NewTransport(o.Connections, 5*time.Minute) // a long upload is put together before it is answered
		client = awsclient.Client(t.own)
	}
	keys, stack := awsclient.Signed(o.Credentials, "GetObject")
	opts := s3.Options{
		Region: o.Region, UsePathStyle: o.PathStyle, HTTPClient: client,
		Credentials: keys, APIOptions: stack,
		Retryer: awsclient.Retryer(o.MaxBackoff, nil),
		// The checksum is known and sent; the SDK need not make one of its own, as a trailer that some servers cannot read.
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
		DisableS3ExpressSessionAuth:               aws.Bool(true),
		ContinueHeaderThresholdBytes:              -1,
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = aws.String(o.Endpoint)
	}
	t.client = s3.New(opts)
}

// reason finds out why a HEAD was refused, whose answer has no body and so no code: a listing is refused in words.
func (t *Target) reason(ctx context.Context, cause error) error {
	_, err := t.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &t.o.Bucket, MaxKeys: aws.Int32(1)})
	if err == nil {
		return cause
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if to := awsclient.Elsewhere(err); to != "" {
		return fmt.Errorf("%w; %s", err, to)
	}
	if kind := awsclient.Kind(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// Begin proves that the bucket is there and learns whether it keeps versions.
func (t *Target) Begin(ctx context.Context, job restore.Job) error {
	t.job = job
	t.parts = semaphore.NewWeighted(job.Memory)
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	t.probeName = ".holdfast-probe-" + hex.EncodeToString(b[:])
	head, err := t.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &t.o.Bucket})
	if err != nil {
		return fmt.Errorf("restore to %s: %w; check that the bucket exists and that the credentials may list it", t.name, t.reason(ctx, err))
	}
	server := ""
	if raw, ok := awsmiddleware.GetRawResponse(head.ResultMetadata).(*smithyhttp.Response); ok {
		server = raw.Header.Get("Server")
	}
	if server == "MinIO" {
		t.limits[limitRedirect] = true // it drops them without a word
	}
	t.ordered = t.aws || slices.Contains(inOrder(), server)
	out, err := t.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &t.o.Bucket})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		t.note("whether the bucket keeps versions could not be read, so only current versions were restored")
		t.versioning = types.BucketVersioningStatusSuspended // it may: nothing is to be deleted without a version
	default:
		t.versioning = out.Status
		t.versioned = out.Status == types.BucketVersioningStatusEnabled
	}
	if job.Overwrite != restore.Always {
		t.there = newLister(t)
	}
	return nil
}

// inOrder gives what servers call themselves that were seen to list in the order of key bytes.
func inOrder() []string { return []string{"AmazonS3", "MinIO", "VERSITYGW"} }

// KeepsVersions implements restore.Target.
func (t *Target) KeepsVersions() bool { return t.versioned }

// InOrder implements restore.Target.
func (t *Target) InOrder() bool { return false }

// Accept implements restore.Target.
func (t *Target) Accept(ctx context.Context, versions []*format.Entry) (restore.Receiver, restore.Verdict, error) {
	e := versions[len(versions)-1]
	switch e.Kind {
	case format.KindDir, format.KindSymlink, format.KindSpecial:
		t.note("folders, symbolic links and special files were left out: a bucket holds objects only")
		return nil, restore.Ignore, nil
	case format.KindImage:
		return nil, 0, fmt.Errorf("%w: a disk image is no object; restore it to a directory, a device or a new snapshot", restore.ErrRefused)
	}
	key := t.o.Prefix + e.Key
	if err := t.checkKey(ctx, key, versions); err != nil {
		return nil, 0, err
	}
	r := &receiver{t: t, key: key}
	if t.there != nil {
		var err error
		if r.there, err = t.there.find(ctx, key); err != nil {
			return nil, 0, err
		}
	}
	return r, restore.Look, nil
}

func (t *Target) checkKey(ctx context.Context, key string, versions []*format.Entry) error {
	switch {
	case !utf8.ValidString(key):
		return fmt.Errorf("%w: the key is not valid UTF-8, and S3 knows no others; restore it to a directory or a tar stream", restore.ErrRefused)
	case len(key) > maxKey:
		return fmt.Errorf("%w: a key of %d bytes, and S3 allows %d; restore it to a directory or a tar stream", restore.ErrRefused, len(key), maxKey)
	}
	for _, e := range versions {
		if _, err := t.partSize(e.Size); err != nil {
			return err
		}
	}
	return t.checkOdd(ctx, key)
}

// Finish implements restore.Target: everything is done when its request is answered.
func (t *Target) Finish(context.Context) error { return nil }

// Close implements restore.Target. Unfinished uploads were aborted by those who began them.
func (t *Target) Close() error {
	if t.own != nil {
		t.own.CloseIdleConnections()
	}
	return nil
}

func (t *Target) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notes[text]++
}

// Notes implements restore.Target.
func (t *Target) Notes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for text, n := range t.notes {
		out = append(out, fmt.Sprintf("%s (%d)", text, n))
	}
	slices.Sort(out)
	return out
}
