package awsclient

import (
	"bytes"
	"errors"
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

// RoundTrip implements http.RoundTripper.
func (d Describes) RoundTrip(req *http.Request) (*http.Response, error) {
	action, req, err := ActionOf(req)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(action, "Describe") {
		return nil, fmt.Errorf("refused to send %q to a source: sources are only read", action)
	}
	if err := d.Limit.Wait(req.Context()); err != nil {
		return nil, err
	}
	return d.Next.RoundTrip(req)
}

// maxRequest bounds a request's body, which is what the SDK made of a few arguments.
const maxRequest = 1 << 20

// ActionOf looks into a request of EC2, or of a service that speaks as it does, and gives the one action that it asks for, and a request to
// send in its place. One in which that cannot be told for sure is an error: it must not be sent.
func ActionOf(req *http.Request) (string, *http.Request, error) {
	if req.Body == nil {
		return "", nil, errors.New("refused to send a request without an action to a source")
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxRequest+1))
	_ = req.Body.Close()
	if err != nil || len(body) > maxRequest {
		return "", nil, fmt.Errorf("a request that cannot be read is not sent: %w", err)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["Action"]) != 1 || req.URL.RawQuery != "" {
		return "", nil, fmt.Errorf("refused to send %q to a source: sources are only read", form.Get("Action"))
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	return form.Get("Action"), req, nil
}
