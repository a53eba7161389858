package coverage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/store"
)

// Account is where buckets, or disks and machines, are asked for.
type Account struct {
	Region      string
	Endpoint    string // URL; empty: AWS
	PathStyle   bool   // of buckets
	Credentials store.CredentialsFunc
	Transport   http.RoundTripper // default: one of its own
}

// maxBuckets bounds what is taken of one account. AWS gives an account at most a million.
const maxBuckets = 1_000_000

// ErrListing is a listing that does not go on.
var ErrListing = errors.New("the listing does not go on")

// Buckets are those of one account.
type Buckets struct {
	a      Account
	client *s3.Client
	idle   *http.Transport
}

// OpenBuckets makes a client; nothing is sent yet.
func OpenBuckets(a Account) *Buckets {
	b := &Buckets{a: a}
	rt := a.Transport
	if rt == nil {
		b.idle = awsclient.NewTransport(4, time.Minute)
		rt = b.idle
	}
	keys, stack := awsclient.Signed(a.Credentials)
	o := s3.Options{
		Region: a.Region, UsePathStyle: a.PathStyle, Credentials: keys, APIOptions: stack, Retryer: awsclient.Retryer(0, nil),
		HTTPClient: awsclient.Client(awsclient.Gets{Next: rt}), DisableS3ExpressSessionAuth: aws.Bool(true),
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if a.Endpoint != "" {
		o.BaseEndpoint = aws.String(a.Endpoint)
	}
	b.client = s3.New(o)
	return b
}

// Close lets go of connections.
func (b *Buckets) Close() {
	if b.idle != nil {
		b.idle.CloseIdleConnections()
	}
}

// List gives the account's buckets, of every region. It is what the credentials are shown: some servers show a user his own alone.
func (b *Buckets) List(ctx context.Context) (out []Resource, err error) {
	in := &s3.ListBucketsInput{}
	for {
		page, err := b.client.ListBuckets(ctx, in)
		if err != nil {
			return nil, awsclient.Explain("list the account's buckets", err)
		}
		for _, x := range page.Buckets {
			r := Resource{Kind: KindBucket, Bytes: Unknown, Made: aws.ToTime(x.CreationDate).UTC(), region: aws.ToString(x.BucketRegion)}
			r.bucket = bucketKey{normal(b.a.Endpoint), aws.ToString(x.Name)}
			r.URL = "s3://" + r.bucket.name
			if b.a.Endpoint != "" {
				r.URL += "?endpoint=" + b.a.Endpoint
			}
			out = append(out, r)
		}
		next := aws.ToString(page.ContinuationToken)
		if next == "" {
			return out, nil
		}
		if next == aws.ToString(in.ContinuationToken) || len(out) > maxBuckets {
			return nil, fmt.Errorf("list the account's buckets: %w behind %d of them", ErrListing, len(out))
		}
		in.ContinuationToken = &next
	}
}

// Has reports whether a resource is a bucket of this account.
func (b *Buckets) Has(r *Resource) bool {
	return r.Kind == KindBucket && r.bucket.endpoint == normal(b.a.Endpoint)
}

// Size counts what lies in a bucket, with so many requests at most: of 1,000 objects each.
func (b *Buckets) Size(ctx context.Context, r *Resource, requests int) error {
	in := &s3.ListObjectsV2Input{Bucket: &r.bucket.name}
	region := func(o *s3.Options) {
		if r.region != "" && b.a.Endpoint == "" {
			o.Region = r.region
		}
	}
	sum := int64(0)
	for range requests {
		page, err := b.client.ListObjectsV2(ctx, in, region)
		if err != nil {
			return awsclient.Explain("list "+r.URL, err)
		}
		for _, x := range page.Contents {
			sum += max(aws.ToInt64(x.Size), 0)
		}
		next := aws.ToString(page.NextContinuationToken)
		r.Bytes, r.AtLeast = sum, next != ""
		if next == "" || next == aws.ToString(in.ContinuationToken) {
			return nil
		}
		in.ContinuationToken = &next
	}
	return nil
}
