package s3store

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

const (
	defaultConnections = 32
	dialTimeout        = 15 * time.Second
	tlsTimeout         = 15 * time.Second
	idleTimeout        = 75 * time.Second // an unused connection
	maxHeaders         = 1 << 20          // bytes of an answer's headers
	maxAnswer          = 16 << 20         // bytes of an answer that is not an object's content
	maxRefusal         = 64 << 10         // bytes of one that only says why not
	bufferSize         = 64 << 10         // each way and connection
)

// NewTransport is tuned for many requests to one host. connections is how many idle ones are kept (default 32); bundle is
// a PEM file of extra root certificates (default $AWS_CA_BUNDLE).
func NewTransport(connections int, bundle string) (*http.Transport, error) {
	if connections <= 0 {
		connections = defaultConnections
	}
	roots, err := rootCAs(bundle)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    tlsTimeout,
		MaxResponseHeaderBytes: maxHeaders,
		MaxIdleConns:           connections,
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        idleTimeout,
		WriteBufferSize:        bufferSize,
		ReadBufferSize:         bufferSize, // larger reads pass it by
		DisableCompression:     true,       // what is stored is what must be delivered, Content-Encoding or not
	}, nil
}

// rootCAs adds the certificates of a PEM file to the system's; nil means the system's alone.
func rootCAs(bundle string) (*x509.CertPool, error) {
	from := "CA bundle"
	if bundle == "" {
		bundle, from = os.Getenv("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"
	}
	if bundle == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(bundle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: no certificate in %s", from, bundle)
	}
	return pool, nil
}

// tap looks at the requests and responses of one client, and keeps the causes of failed requests recognisable.
type tap struct {
	next   http.RoundTripper
	before func(*http.Request) error
	after  func(resp *http.Response, sent time.Time)
}

func (t *tap) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.before != nil {
		if err := t.before(r); err != nil {
			if r.Body != nil {
				err = errors.Join(err, r.Body.Close())
			}
			return nil, err
		}
	}
	sent := time.Now()
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, &wireError{err: err}
	}
	if resp.StatusCode/100 == 3 {
		return nil, sentOn(resp)
	}
	if t.after != nil {
		t.after(resp, sent)
	}
	resp.Body = wireBody{resp.Body}
	return resp, nil
}

// elsewhereError is an answer that sends a request on to another place. Asked again it comes again.
type elsewhereError struct{ code, status, message, why string }

func (e *elsewhereError) Error() string {
	if e.message != "" {
		return strings.TrimRight(e.message, ". ") + "; " + e.why
	}
	return e.status + "; " + e.why
}

// sentOn makes an error of such an answer, since minio-go keeps neither where it points to nor, of some requests, its code.
func sentOn(resp *http.Response) error {
	var doc struct{ Code, Message string }
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // as far as it comes: the headers say what counts
	_ = resp.Body.Close()
	if xml.Unmarshal(body, &doc) != nil {
		doc.Code, doc.Message = "", "" // a web page
	}
	return &elsewhereError{code: doc.Code, status: resp.Status, message: doc.Message, why: s3url.Elsewhere(resp.Header)}
}

// wireBody keeps the cause recognisable of an answer that breaks off: of a listing, say, which is read elsewhere.
type wireBody struct{ io.ReadCloser }

func (b wireBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // an end that is wrapped is none
		err = &wireError{err: err}
	}
	return n, err
}

// wireError is a request that got no answer. Its text avoids "EOF", at which minio-go would throw the cause away.
type wireError struct{ err error }

func (e *wireError) Error() string {
	return strings.ReplaceAll(e.err.Error(), "EOF", "connection closed")
}

func (e *wireError) Unwrap() error { return e.err }

// permanent reports failures that no repetition cures.
func (e *wireError) permanent() bool {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		header    tls.RecordHeaderError
		dns       *net.DNSError
	)
	if errors.As(e.err, &dns) {
		return dns.IsNotFound
	}
	return errors.As(e.err, &authority) || errors.As(e.err, &host) || errors.As(e.err, &invalid) ||
		errors.As(e.err, &verify) || errors.As(e.err, &header)
}
