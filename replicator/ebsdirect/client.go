// Package ebsdirect reads and writes EBS snapshots block by block through the EBS direct APIs: the part that the ebs and
// ec2 sources and the restore to a snapshot share. It takes care of pace, retries, deadlines, tokens and checksums.
//
// A client that was not made with Options.Write sends GET and nothing else: its transport refuses any other method. Every
// block is checked against the SHA-256 that came with it before anyone sees it. Memory does not grow with a snapshot: its
// listings are read page by page as they are needed.
package ebsdirect

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ebs"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/meter"
)

// Options of a client.
type Options struct {
	Region      string
	Endpoint    string // URL; empty: AWS
	Credentials store.CredentialsFunc
	Write       bool // restores: snapshots may be started, written and completed

	// Requests a second to begin with: AWS's default quotas. A server that throttles is asked less often.
	BlocksPerSnapshot float64 // default 1,000
	BlocksPerAccount  float64 // default 1,000
	Lists             float64 // default 50

	Connections   int           // kept open at most; default 64
	AnswerTimeout time.Duration // a request without an answer for so long is tried again; default 30 s
	TryTimeout    time.Duration // and one that is not over after so long; default 2 min
	MaxBackoff    time.Duration // longest wait between tries; default 20 s

	Transport http.RoundTripper // default: one made for many connections
	Requests  *meter.Requests   // counts what is sent; may be nil
}

// attempts is how often one request is tried.
const attempts = 10

// Client reads, and if it may writes, the snapshots of one region. It is safe for concurrent use.
type Client struct {
	o    Options
	api  *ebs.Client
	pace *paces
	idle *http.Transport // our own, to be drained; nil if injected
}

// New checks the options; nothing is sent.
func New(o Options) (*Client, error) {
	if o.Region == "" {
		return nil, errors.New("ebs: no region given")
	}
	for _, d := range []struct {
		v  *float64
		or float64
	}{{&o.BlocksPerSnapshot, 1000}, {&o.BlocksPerAccount, 1000}, {&o.Lists, 50}} {
		if *d.v <= 0 {
			*d.v = d.or
		}
	}
	o.Connections = orDefault(o.Connections, 64)
	o.AnswerTimeout = orDefault(o.AnswerTimeout, 30*time.Second)
	o.TryTimeout = orDefault(o.TryTimeout, 2*time.Minute)
	o.MaxBackoff = orDefault(o.MaxBackoff, 20*time.Second)
	c := &Client{o: o, pace: newPaces(o)}
	rt := o.Transport
	if rt == nil {
		c.idle = awsclient.NewTransport(o.Connections, o.AnswerTimeout)
		rt = c.idle
	}
	rt = o.Requests.Over(rt)
	if !o.Write {
		rt = getOnly{rt}
	}
	keys, stack := awsclient.Signed(o.Credentials, "GetSnapshotBlock")
	opts := ebs.Options{
		Region:      o.Region,
		Credentials: keys,
		APIOptions:  stack,
		HTTPClient:  awsclient.Client(&paced{next: rt, paces: c.pace, timeout: o.TryTimeout}),
		Retryer:     Retryer(o.MaxBackoff),
	}
	if o.Endpoint != "" {
		opts.BaseEndpoint = aws.String(o.Endpoint)
	}
	c.api = ebs.New(opts)
	return c, nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v <= 0 {
		return d
	}
	return v
}

// Close lets go of idle connections.
func (c *Client) Close() {
	if c.idle != nil {
		c.idle.CloseIdleConnections()
	}
}

// Retryer tries again what AWS says is worth it, and what the SDK leaves out. Who is throttled waits for his turn in the pace, and
// so needs no long pause here.
func Retryer(maxBackoff time.Duration) aws.Retryer {
	slow := retry.NewExponentialJitterBackoff(maxBackoff)
	return awsclient.Retryer(maxBackoff, func(r *retry.StandardOptions) {
		r.MaxAttempts = attempts
		r.Retryables = append([]retry.IsErrorRetryable{
			retry.IsErrorRetryableFunc(inPassing),
			retry.RetryableErrorCode{Codes: map[string]struct{}{
				awsclient.ConcurrentLimit: {}, "RequestThrottleException": {}, "ServiceUnavailable": {}, "Unavailable": {}, "InternalError": {},
			}},
		}, r.Retryables...)
		r.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			if awsclient.IsThrottle(err) || inPassing(err) == aws.TrueTernary {
				return time.Duration(attempt) * (10 + time.Duration(rand.Int64N(40))) * time.Millisecond, nil
			}
			return slow.BackoffDelay(attempt, err)
		})
	})
}

// inPassing takes up what AWS's table of EBS errors calls worth another try and the SDK's own rules do not know: both come
// as errors that say something else with another message, so the message counts. Each try is signed anew.
func inPassing(err error) aws.Ternary {
	switch a := answerOf(err); {
	case a.Code == "ValidationException" && strings.Contains(a.Message, unreadBlock),
		a.Code == "InvalidSignatureException" && strings.Contains(strings.ToLower(a.Message), "expired"):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// unreadBlock is what PutSnapshotBlock answers when a block did not come through whole, on a slow line for example.
const unreadBlock = "Failed to read block data"

// getOnly lets nothing through that could change a source.
type getOnly struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g getOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		return nil, fmt.Errorf("refused to send %s to a source: sources are only read", r.Method)
	}
	return g.next.RoundTrip(r)
}
