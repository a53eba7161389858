// Package s3url reads and writes the one spelling of where a bucket is:
//
//	s3://BUCKET[/PREFIX]?endpoint=URL&region=R&path_style=true|false
//
// Vaults, sources and restore targets share it. It does no I/O, knows no SDK and never carries a credential: a URL that
// holds one is refused, and the refusal does not repeat it.
package s3url

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Location is where a bucket, or a prefix in it, is.
type Location struct {
	Bucket    string
	Prefix    string // of keys, exactly as given, percent-decoded, without the slash after the bucket; may be empty
	Endpoint  string // "https://host[:port]"; empty: AWS
	Region    string // empty: asked from the server
	PathStyle bool   // bucket in the path, not in the host name; true unless said otherwise for an explicit endpoint
}

// Parse reads an s3:// URL. Unknown and repeated parameters are errors.
func Parse(s string) (Location, error) {
	u, err := url.Parse(s)
	if err != nil {
		// url.Error repeats its input, which may hold a password somebody put there.
		return Location{}, errors.New("not a URL; want s3://BUCKET[/PREFIX]?endpoint=URL&region=R")
	}
	switch {
	case u.Scheme != "s3":
		return Location{}, fmt.Errorf("scheme %q; want s3://BUCKET[/PREFIX]", u.Scheme)
	case u.User != nil:
		return Location{}, errors.New("credentials do not belong in a URL; use a credentials reference")
	case u.Fragment != "":
		return Location{}, errors.New("a # in the URL; write it as %23 if it belongs to the prefix")
	}
	if err := checkBucket(u.Host); err != nil {
		return Location{}, err
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, fmt.Errorf("parameters after the ? in the URL of bucket %s are not readable", u.Host)
	}
	l := Location{Bucket: u.Host, Prefix: strings.TrimPrefix(u.Path, "/")}
	if err := l.setEndpoint(q); err != nil {
		return Location{}, err
	}
	for key, values := range q {
		if len(values) != 1 {
			return Location{}, fmt.Errorf("parameter %q is given %d times", key, len(values))
		}
		switch key {
		case "endpoint":
		case "region":
			l.Region = values[0]
		case "path_style":
			if values[0] != "true" && values[0] != "false" {
				return Location{}, fmt.Errorf("path_style=%q; want true or false", values[0])
			}
			l.PathStyle = values[0] == "true"
		default:
			return Location{}, fmt.Errorf("unknown parameter %q; known are endpoint, region, path_style", key)
		}
	}
	return l, nil
}

func (l *Location) setEndpoint(q url.Values) error {
	if !q.Has("endpoint") {
		return nil
	}
	raw := q.Get("endpoint")
	e, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("endpoint is not a URL; want https://HOST[:PORT]")
	case e.User != nil:
		return errors.New("credentials do not belong in an endpoint URL; use a credentials reference")
	case e.Scheme != "https" && e.Scheme != "http" || e.Host == "" || e.Hostname() == "":
		return errors.New("endpoint must be https://HOST[:PORT] or http://HOST[:PORT]")
	case e.Path != "" && e.Path != "/" || e.RawQuery != "" || e.Fragment != "":
		return errors.New("endpoint must end after the host: https://HOST[:PORT]")
	}
	l.Endpoint, l.PathStyle = e.Scheme+"://"+e.Host, true
	return nil
}

func checkBucket(name string) error {
	if len(name) < 3 || len(name) > 63 {
		return fmt.Errorf("bucket name %q; want 3 to 63 characters", name)
	}
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_':
		default:
			return fmt.Errorf("bucket name %q has the character %q", name, c)
		}
	}
	return nil
}

// String is the canonical spelling; Parse reads it back to the same Location.
func (l Location) String() string {
	u := url.URL{Scheme: "s3", Host: l.Bucket}
	if l.Prefix != "" {
		u.Path = "/" + l.Prefix
	}
	var q []string
	if l.Endpoint != "" {
		q = append(q, "endpoint="+l.Endpoint)
	}
	if l.Region != "" {
		q = append(q, "region="+url.QueryEscape(l.Region))
	}
	switch byDefault := l.Endpoint != ""; {
	case l.PathStyle && !byDefault:
		q = append(q, "path_style=true")
	case !l.PathStyle && byDefault:
		q = append(q, "path_style=false")
	}
	u.RawQuery = strings.Join(q, "&")
	return u.String()
}

// Secure reports whether requests go over TLS.
func (l Location) Secure() bool { return !strings.HasPrefix(l.Endpoint, "http://") }

// Loopback reports whether the endpoint is this machine, where plain http is no risk.
func (l Location) Loopback() bool {
	e, err := url.Parse(l.Endpoint)
	if err != nil || l.Endpoint == "" {
		return false
	}
	ip := net.ParseIP(e.Hostname())
	return e.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
