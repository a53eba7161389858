package s3store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast/store"
)

// provider hands store.Credentials to minio-go, which asks again shortly before they expire.
type provider struct {
	get     store.CredentialsFunc
	expires time.Time // minio-go calls both methods under one lock

	mu      sync.Mutex
	used    store.Credentials // what requests are signed with
	changed time.Time         // when others were found after a refusal
}

// errResolve marks a failure to get credentials at all, as opposed to credentials that a server refuses.
var errResolve = errors.New("resolve credentials")

// RetrieveWithCredContext implements credentials.Provider.
func (p *provider) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	ctx := context.Background()
	if cc != nil && cc.Context != nil {
		ctx = cc.Context
	}
	c, err := p.get(ctx)
	if err != nil {
		return credentials.Value{}, fmt.Errorf("%w: %w", errResolve, err)
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return credentials.Value{}, fmt.Errorf("%w: empty access key or secret", errResolve) // never go on unsigned
	}
	p.expires = c.Expires
	p.mu.Lock()
	p.used = c
	p.mu.Unlock()
	return credentials.Value{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		Expiration: c.Expires, SignerType: credentials.SignatureV4,
	}, nil
}

// Retrieve implements credentials.Provider.
func (p *provider) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// refreshBefore is how long before their end credentials are asked for again.
const refreshBefore = 2 * time.Minute

// IsExpired implements credentials.Provider.
func (p *provider) IsExpired() bool {
	return !p.expires.IsZero() && time.Now().After(p.expires.Add(-refreshBefore))
}

// settles is how long after credentials were renewed a refusal is taken for that of a request signed with the old ones.
const settles = 30 * time.Second

// renewed reads the credentials again after a server refused them, and reports whether there are others now: of a file or
// profile that was renewed while a run goes on. The request itself is not made again here; it has become worth another try.
func (s *Store) renewed(ctx context.Context) bool {
	p := s.keys
	p.mu.Lock()
	used, settling := p.used, time.Since(p.changed) < settles
	p.mu.Unlock()
	if settling {
		return true
	}
	c, err := p.get(ctx)
	if err != nil || c.AccessKeyID == "" || c.AccessKeyID == used.AccessKeyID && c.SecretAccessKey == used.SecretAccessKey && c.SessionToken == used.SessionToken {
		return false
	}
	p.mu.Lock()
	p.changed = time.Now()
	p.mu.Unlock()
	s.opts.Creds.Expire()
	return true
}
