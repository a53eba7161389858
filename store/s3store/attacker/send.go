package attacker

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // Content-MD5 is what S3 calls it
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"
	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/holdfast-backup/holdfast/store/attack"
)

const (
	maxAnswer  = 1 << 20 // bytes of an answer that are read
	maxMessage = 300     // bytes of a vendor's words that are kept
	tries      = 3
)

// request is one S3 request before it is signed.
type request struct {
	method    string
	name      string // within the prefix; empty: the bucket
	query     url.Values
	header    map[string]string
	body      []byte
	say       string // what is special about it, for people
	keep      bool   // the answer's body is wanted
	anonymous bool   // unsigned
}

// describe is the request for people and evidence: without host, bucket and prefix.
func (r request) describe() string {
	s := r.method + " " + r.name
	if r.name == "" {
		s = r.method + " bucket"
	}
	if len(r.query) > 0 {
		s += "?" + strings.ReplaceAll(r.query.Encode(), "=&", "&")
		s = strings.TrimSuffix(s, "=")
	}
	if r.say != "" {
		s += " " + r.say
	}
	return s
}

// fail is an answer to what was not sent.
func (r request) fail(err error) attack.Answer { return attack.Answer{Request: r.describe(), Err: err} }

// sendAs signs and sends a request, again after a moment where there was no clear answer: all that is asked here may be
// asked twice.
func sendAs(ctx context.Context, a *Attacker, r request) attack.Answer {
	for try := 1; ; try++ {
		ans := sendOnce(ctx, a, r)
		unclear := ans.Err != nil || ans.Status == http.StatusTooManyRequests || ans.Status >= 500 && ans.Status != http.StatusNotImplemented
		if !unclear || try == tries || ctx.Err() != nil {
			return ans
		}
		select {
		case <-ctx.Done():
			return ans
		case <-time.After(a.o.Wait * time.Duration(try)):
		}
	}
}

// sendOnce sends a request once; twice where the server says that the bucket is in another region.
func sendOnce(ctx context.Context, a *Attacker, r request) attack.Answer {
	a.mu.Lock()
	region, known := a.region, a.o.Location.Region != ""
	a.mu.Unlock()
	if region == "" {
		region = "us-east-1"
	}
	ans, other := exchange(ctx, a, r, region)
	if other == "" || other == region || known {
		return ans
	}
	a.mu.Lock()
	a.region = other
	a.mu.Unlock()
	ans, _ = exchange(ctx, a, r, other)
	return ans
}

// exchange signs for a region; it gives the one that the server names, if it does.
func exchange(ctx context.Context, a *Attacker, r request, region string) (ans attack.Answer, other string) {
	req, err := buildRequest(ctx, a, r)
	if err != nil {
		return r.fail(err), ""
	}
	if !r.anonymous {
		c, err := credentialsOf(ctx, a)
		if err != nil {
			return r.fail(err), ""
		}
		req = signer.SignV4(*req, c.AccessKeyID, c.SecretAccessKey, c.SessionToken, region)
	}
	if len(r.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.body)), int64(len(r.body))
	}
	sent := time.Now()
	resp, err := a.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // url.Error repeats the URL
		}
		return r.fail(err), ""
	}
	ans, other = readBody(a, r, resp)
	if !ans.Time.IsZero() {
		a.mu.Lock()
		a.offset = ans.Time.Sub(sent)
		a.mu.Unlock()
	}
	return ans, other
}

// buildRequest makes the HTTP request, with the hashes that S3 wants.
func buildRequest(ctx context.Context, a *Attacker, r request) (*http.Request, error) {
	l := a.o.Location
	base := l.Endpoint
	if base == "" {
		base = "https://s3.amazonaws.com"
		if l.Region != "" {
			base = "https://s3." + l.Region + ".amazonaws.com"
			if strings.HasPrefix(l.Region, "cn-") {
				base += ".cn"
			}
		}
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	path := "/"
	if l.PathStyle {
		path += l.Bucket + "/"
	} else {
		u.Host = l.Bucket + "." + u.Host
	}
	if r.name != "" {
		path += s3utils.EncodePath(a.prefix + r.name)
	}
	text := u.Scheme + "://" + u.Host + path
	if len(r.query) > 0 {
		text += "?" + s3utils.QueryEncode(r.query)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, text, nil)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(r.body)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	req.Header.Set("User-Agent", a.o.UserAgent)
	if len(r.body) > 0 {
		m := md5.Sum(r.body) //nolint:gosec // see above
		req.Header.Set("Content-Md5", base64.StdEncoding.EncodeToString(m[:]))
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	return req, nil
}

// problem is S3's error document.
type problem struct {
	Code      string
	Message   string
	RequestID string `xml:"RequestId"`
	Region    string
}

// readBody takes what is of use from an answer. A body that cannot be read counts for nothing: the status is the answer.
func readBody(a *Attacker, r request, resp *http.Response) (ans attack.Answer, region string) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	_ = resp.Body.Close() // what was wanted of it has been read
	ans = attack.Answer{
		Request: r.describe(), Status: resp.StatusCode, RequestID: resp.Header.Get("X-Amz-Request-Id"),
		Server: clip(resp.Header.Get("Server")), Version: resp.Header.Get("X-Amz-Version-Id"),
	}
	if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		ans.Time = d.UTC()
	}
	region = resp.Header.Get("X-Amz-Bucket-Region")
	if r.keep && resp.StatusCode < 300 {
		if err != nil {
			return r.fail(err), ""
		}
		ans.Body = body
		return ans, ""
	}
	var p problem
	if len(body) == 0 || xml.Unmarshal(body, &p) != nil || p.Code == "" {
		if ans.Status < 300 {
			return ans, ""
		}
		return ans, region
	}
	// Some answer 200 to the completion of an upload and tell the failure in the body.
	if ans.Status < 300 {
		ans.Status = http.StatusInternalServerError
	}
	ans.Code, ans.Message = clip(p.Code), clip(p.Message)
	if ans.RequestID == "" {
		ans.RequestID = clip(p.RequestID)
	}
	if p.Region != "" {
		region = p.Region
	}
	if ans.Status != http.StatusBadRequest && ans.Status != http.StatusMovedPermanently && ans.Status != http.StatusTemporaryRedirect {
		region = ""
	}
	return ans, region
}

// clip shortens what a server says.
func clip(s string) string {
	if len(s) > maxMessage {
		return s[:maxMessage] + ".."
	}
	return s
}
