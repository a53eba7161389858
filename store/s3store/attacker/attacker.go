// Package attacker asks an S3 vault for what a job must never ask for, so that the vault can be seen to refuse it.
//
// It signs single S3 requests that the ordinary driver (package s3store) does not have: deletes with and without a
// version, governance bypass, shortening, multipart uploads, writes to a bucket's configuration. Only doctor and drill may
// hold one. Whoever holds it, it keeps to the rules of package attack: it destroys nothing but canaries, locks nothing for
// longer than minutes, and changes no configuration. It never puts a credential into an answer.
package attacker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
)

// Options of New.
type Options struct {
	Location    s3url.Location
	Credentials store.CredentialsFunc // required
	Transport   http.RoundTripper     // default: that of s3store
	UserAgent   string                // default holdfast/1
	Wait        time.Duration         // before a request that got no answer, or 5xx or 429, is sent again; default 500 ms
}

// Attacker implements attack.Canaries, attack.Nothing and attack.Settings on one bucket and prefix. It is safe for
// concurrent use.
type Attacker struct {
	o      Options
	prefix string // of keys: empty or ending in "/"
	client *http.Client

	mu     sync.Mutex
	region string
	offset time.Duration // the vault's clock minus ours, from the last Date header
	creds  store.Credentials
}

var (
	_ attack.Canaries = (*Attacker)(nil)
	_ attack.Nothing  = (*Attacker)(nil)
	_ attack.Settings = (*Attacker)(nil)
)

// New makes an Attacker; it sends nothing yet.
func New(o Options) (*Attacker, error) {
	a := &Attacker{o: o, region: o.Location.Region}
	if a.prefix = strings.Trim(o.Location.Prefix, "/"); a.prefix != "" {
		a.prefix += "/"
	}
	if o.Credentials == nil {
		return nil, fmt.Errorf("vault %s: no credentials given", o.Location)
	}
	if a.o.Transport == nil {
		t, err := s3store.NewTransport(4, "")
		if err != nil {
			return nil, fmt.Errorf("vault %s: %w", o.Location, err)
		}
		a.o.Transport = s3store.Limit(t, 0)
	}
	if a.o.UserAgent == "" {
		a.o.UserAgent = "holdfast/1"
	}
	if a.o.Wait <= 0 {
		a.o.Wait = 500 * time.Millisecond
	}
	a.client = &http.Client{Transport: a.o.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return a, nil
}

// Close drops idle connections.
func (a *Attacker) Close() error {
	a.client.CloseIdleConnections()
	return nil
}

// now is the vault's time, as far as its answers have told it.
func (a *Attacker) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Add(a.offset)
}

// credentialsOf asks anew shortly before those at hand expire.
func credentialsOf(ctx context.Context, a *Attacker) (store.Credentials, error) {
	a.mu.Lock()
	c := a.creds
	a.mu.Unlock()
	if c.AccessKeyID != "" && (c.Expires.IsZero() || time.Until(c.Expires) > 2*time.Minute) {
		return c, nil
	}
	c, err := a.o.Credentials(ctx)
	if err != nil {
		return c, err
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return c, errors.New("empty access key or secret")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.creds = c
	return c, nil
}

// nowhere is the name of an object that never was: 128 random bits.
func nowhere() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return attack.Prefix + "never-was/" + hex.EncodeToString(b[:])
}

// neverWas is a version that never was, in a form that vendors take for one.
func neverWas() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
