package synthetic

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/store"
)

// signing checks signatures (AWS Signature Version 4 in the Authorization header), by the steps of the User Guide, "Create
// a signed AWS API request". It matters for odd keys: S3 signs a path as it is, encoded once and never made shorter ("you
// do not normalize URI paths for requests to Amazon S3"), and a client that signs `/a/../b` otherwise is refused.
type signing struct {
	creds store.Credentials

	mu  sync.Mutex
	day string
	key []byte // derived for that day
}

const dateFormat = "20060102T150405Z"

// check refuses what is not signed as it should be.
func (s *signing) check(r *http.Request, q url.Values, now time.Time) *failure {
	auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return &failure{http.StatusForbidden, "AccessDenied", "Access Denied"}
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(auth, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(dateFormat, date)
	scope := strings.Split(fields["Credential"], "/")
	if err != nil || len(scope) != 5 || scope[1] != date[:8] || scope[3] != "s3" || scope[4] != "aws4_request" {
		return &failure{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed"}
	}
	signed := strings.Split(fields["SignedHeaders"], ";")
	switch {
	case scope[2] != Region:
		return &failure{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization header is malformed; the region '" + scope[2] + "' is wrong; expecting '" + Region + "'"}
	case scope[0] != s.creds.AccessKeyID:
		return &failure{http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."}
	// "The request must be received within 15 minutes of the time stamp in the request."
	case at.Sub(now).Abs() > 15*time.Minute:
		return &failure{http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."}
	// "At a minimum, you must include the host header ... and any x-amz-* headers in the request"
	case !slices.Contains(signed, "host") || !allSigned(r.Header, signed):
		return &failure{http.StatusForbidden, "AccessDenied", "There were headers present in the request which were not signed"}
	}
	want := s.signature(r, q, signed, date, strings.Join(scope[1:], "/"))
	if !hmac.Equal([]byte(want), []byte(fields["Signature"])) {
		return &failure{http.StatusForbidden, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
	}
	return nil
}

func allSigned(h http.Header, signed []string) bool {
	for name := range h {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return false
		}
	}
	return true
}

// signature computes what the request should carry.
func (s *signing) signature(r *http.Request, q url.Values, signed []string, date, scope string) string {
	c := append([]byte(r.Method), '\n')
	c = append(appendEncoded(c, r.URL.Path, true), '\n')
	var query []string
	for name, values := range q {
		for _, v := range values {
			query = append(query, string(appendEncoded(append(appendEncoded(nil, name, false), '='), v, false)))
		}
	}
	slices.Sort(query)
	c = append(append(c, strings.Join(query, "&")...), '\n')
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		c = append(append(append(append(c, name...), ':'), strings.Join(strings.Fields(value), " ")...), '\n')
	}
	c = append(append(append(c, '\n'), strings.Join(signed, ";")...), '\n')
	c = append(c, r.Header.Get("X-Amz-Content-Sha256")...)
	sum := sha256.Sum256(c)
	text := "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(sum[:])
	return hex.EncodeToString(mac(s.dayKey(date[:8]), text))
}

// dayKey derives the key for one day, and keeps the last.
func (s *signing) dayKey(day string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day != day {
		k := []byte("AWS4" + s.creds.SecretAccessKey)
		for _, part := range []string{day, Region, "s3", "aws4_request"} {
			k = mac(k, part)
		}
		s.day, s.key = day, k
	}
	return s.key
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
