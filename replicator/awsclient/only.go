package awsclient

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/time/rate"
)

// Gets lets nothing through that could change a bucket, or an account's buckets.
type Gets struct{ Next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (g Gets) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		return nil, fmt.Errorf("refused to send %s to a source: sources are only read", req.Method)
	}
	return g.Next.RoundTrip(req)
}

// Describes lets nothing through to EC2, and to the services that speak as it does, that could change anything, and keeps to a rate.
type Describes struct {
	Next  http.RoundTripper
	Limit *rate.Limiter
}

// maxRequest bounds a request's body, which is what the SDK made of a few arguments.
const maxRequest = 1 << 20

// RoundTrip implements http.RoundTripper.
func (d Describes) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRequest+1))
	_ = req.Body.Close()
	if err != nil || len(body) > maxRequest {
		return nil, fmt.Errorf("a request that cannot be read is not sent: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["Action"]) != 1 || !strings.HasPrefix(form.Get("Action"), "Describe") || req.URL.RawQuery != "" {
		return nil, fmt.Errorf("refused to send %q to a source: sources are only read", form.Get("Action"))
	}
	if err := d.Limit.Wait(req.Context()); err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return d.Next.RoundTrip(req)
}
