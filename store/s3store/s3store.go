// Package s3store is a vault in an S3 bucket with object lock, at any vendor that speaks S3.
//
// It maps the interfaces of package store to single S3 requests and the vendors' answers to the errors of package store,
// and it is the only place that knows minio-go. Every object is one PUT of known length and hash. It must never retry (a
// wrapper does, package retry), never send a delete without a version, a multipart upload, a governance bypass or a
// bucket configuration change, and never put a credential into an error.
package s3store

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
	"github.com/holdfast-backup/holdfast/store/s3url"
)

// MaxPut is the largest body of one PUT, in bytes: the limit S3 publishes.
const MaxPut = 5 << 30

// Options of New.
type Options struct {
	Location    s3url.Location
	Credentials store.CredentialsFunc // required
	Transport   http.RoundTripper     // default: a transport tuned for Connections; tests and rate limits inject theirs
	Connections int                   // idle connections kept for reuse; default 32
	CABundle    string                // a PEM file of extra root certificates; default $AWS_CA_BUNDLE
	UserAgent   string                // "name/version", sent along; default holdfast
	PageSize    int                   // entries of one listing request, at most 1,000, the default; for tests
	Stall       time.Duration         // how long the vault may give or take nothing; default stall.Default
	Requests    *meter.Requests       // counts what is sent; may be nil
}

// Store is a vault in a bucket. It is safe for concurrent use.
type Store struct {
	loc       s3url.Location
	prefix    string // of keys: empty or ending in "/"
	url       string
	client    *minio.Core
	opts      minio.Options // what client was made with, for clients of single calls
	keys      *provider
	agent     string
	transport http.RoundTripper
	limited   http.RoundTripper // transport, within bounds
	pageSize  int
}

var (
	_ store.Reader    = (*Store)(nil)
	_ store.Writer    = (*Store)(nil)
	_ store.Locker    = (*Store)(nil)
	_ store.Remover   = (*Store)(nil)
	_ store.Inspector = (*Store)(nil)
)

// New makes a Store; it sends nothing yet.
func New(o Options) (*Store, error) {
	s := &Store{loc: o.Location, url: o.Location.String(), agent: o.UserAgent, transport: o.Transport, pageSize: o.PageSize}
	if s.prefix = strings.Trim(o.Location.Prefix, "/"); s.prefix != "" {
		if err := store.CheckName(s.prefix); err != nil {
			return nil, fmt.Errorf("vault %s: prefix: %w", s.url, err)
		}
		s.prefix += "/"
	}
	if len(s.prefix)+store.MaxName > 1024 {
		return nil, fmt.Errorf("vault %s: prefix of %d bytes is too long", s.url, len(s.prefix))
	}
	if o.Credentials == nil {
		return nil, fmt.Errorf("vault %s: no credentials given", s.url)
	}
	if s.pageSize <= 0 || s.pageSize > maxPage {
		s.pageSize = maxPage
	}
	if s.transport == nil {
		t, err := NewTransport(o.Connections, o.CABundle)
		if err != nil {
			return nil, fmt.Errorf("vault %s: %w", s.url, err)
		}
		s.transport = t
	}
	s.limited = Limit(o.Requests.Over(s.transport), requestStall(o.Stall))
	if s.agent == "" {
		s.agent = "holdfast/1"
	}
	s.keys = &provider{get: o.Credentials}
	s.opts = minio.Options{
		Creds:        credentials.New(s.keys),
		Secure:       o.Location.Secure(),
		Region:       o.Location.Region,
		BucketLookup: lookup(o.Location),
		MaxRetries:   1, // none: one retry layer only
	}
	core, err := s.newClient(&tap{next: s.limited})
	if err != nil {
		return nil, fmt.Errorf("vault %s: %w", s.url, err)
	}
	s.client = core
	return s, nil
}

func (s *Store) newClient(t http.RoundTripper) (*minio.Core, error) {
	o := s.opts
	o.Transport = t
	host := "s3.amazonaws.com"
	if s.loc.Endpoint != "" {
		u, err := url.Parse(s.loc.Endpoint)
		if err != nil {
			return nil, err
		}
		host = u.Host
	}
	core, err := minio.NewCore(host, &o)
	if err != nil {
		return nil, err
	}
	name, version, _ := strings.Cut(s.agent, "/")
	if version == "" {
		version = "1"
	}
	core.SetAppInfo(name, version)
	return core, nil
}

func lookup(l s3url.Location) minio.BucketLookupType {
	switch {
	case l.PathStyle:
		return minio.BucketLookupPath
	case l.Endpoint != "":
		return minio.BucketLookupDNS
	}
	return minio.BucketLookupAuto // AWS: the host name, except where a dot in the bucket's name would break TLS
}

// String is the vault's URL, for messages. It holds no credentials.
func (s *Store) String() string { return s.url }

// Location is what the store was made with.
func (s *Store) Location() s3url.Location { return s.loc }

// Close drops idle connections of the store's own transport.
func (s *Store) Close() error {
	type closer interface{ CloseIdleConnections() }
	if c, ok := s.transport.(closer); ok {
		c.CloseIdleConnections()
	}
	return nil
}

// key is the object's key in the bucket.
func (s *Store) key(name string) (string, error) {
	if err := store.CheckName(name); err != nil {
		return "", err
	}
	return s.prefix + name, nil
}
