package awsclient

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Attempts is how often one request is tried.
const Attempts = 8

// NewTransport is the standard transport, for many connections to one host and bodies that are passed on as they are. answer is how
// long the headers of an answer may take. A body is read and written through 64 KiB: a smaller buffer costs a system call for
// every 4 KiB.
func NewTransport(connections int, answer time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    15 * time.Second,
		ResponseHeaderTimeout:  answer,
		ExpectContinueTimeout:  time.Second,
		MaxIdleConns:           connections,
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        30 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxHeaders,
		ReadBufferSize:         64 << 10,
		WriteBufferSize:        64 << 10,
	}
}

// Retryer tries again what the SDK's own rules say is worth it, and what more adds to them; never a server whose certificate is
// not trusted, or whose answers are none. Its budget of retries is not limited: that of the SDK's default loses reads for good at
// a server that throttles.
func Retryer(maxBackoff time.Duration, more func(*retry.StandardOptions)) aws.Retryer {
	return retry.NewStandard(func(r *retry.StandardOptions) {
		r.MaxAttempts, r.RateLimiter = Attempts, ratelimit.None
		if maxBackoff > 0 {
			r.MaxBackoff = maxBackoff
		}
		if more != nil {
			more(r)
		}
		r.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(inVain)}, r.Retryables...)
	})
}

// inVain keeps the SDK from asking again where the answer would be no other.
func inVain(err error) aws.Ternary {
	if errors.As(err, new(*tls.CertificateVerificationError)) || Hopeless(err) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}

// NotHTTP reports whether err is an answer that is not what HTTP allows, or goes beyond what is read of it. The standard
// library has no types for these errors.
func NotHTTP(err error) bool {
	return Hopeless(err) || wireSays(err, "bad Content-Length", "malformed HTTP", "malformed MIME header", "suspiciously long trailer")
}

// Hopeless reports whether err is an answer that will not be another one the next time: endless headers, or a transfer
// encoding that nobody asked for.
func Hopeless(err error) bool {
	return wireSays(err, "server response headers exceeded", "unsupported transfer encoding", "too many transfer encodings")
}

func wireSays(err error, signs ...string) bool {
	sent, ok := errors.AsType[*url.Error](err)
	return ok && slices.ContainsFunc(signs, func(s string) bool { return strings.Contains(sent.Err.Error(), s) })
}
