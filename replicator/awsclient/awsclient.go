// Package awsclient is what every client of the AWS SDK in this program has in common: answers that are not content are
// read up to a limit, credentials are read again when a server refuses them, Accept-Encoding is sent and not signed, and a
// redirect is shown, never followed.
//
// The limits are those of the vault's client too: content is streamed and never held; any other body is at most MaxAnswer
// bytes, an error's at most MaxError; the headers of an answer are at most MaxHeaders bytes.
package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithytime "github.com/aws/smithy-go/time"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/store/s3url"
)

// Limits of what a server may answer.
const (
	MaxAnswer  = 16 << 20 // a page of 1,000 keys of 1,024 bytes, three characters to a byte, is a quarter of it
	MaxError   = 1 << 20
	MaxHeaders = 1 << 20 // for http.Transport.MaxResponseHeaderBytes
)

// ErrAnswer is an answer that goes on beyond its limit. It is not asked for again.
var ErrAnswer = errors.New("the server's answer is longer than any such answer may be")

// tooLong keeps the SDK from trying again.
type tooLong struct{ limit int64 }

func (t *tooLong) Error() string { return fmt.Sprintf("%v: over %d bytes", ErrAnswer, t.limit) }
func (t *tooLong) Unwrap() error { return ErrAnswer }

// RetryableError tells the SDK's retryer.
func (*tooLong) RetryableError() bool { return false }

// Stack gives what is added to a client's APIOptions: limits on every answer but the content that the named operations
// give, and an Accept-Encoding that is not signed.
func Stack(content ...string) []func(*middleware.Stack) error {
	return []func(*middleware.Stack) error{
		func(s *middleware.Stack) error {
			if err := s.Deserialize.Add(&limit{content: content}, middleware.After); err != nil {
				return err
			}
			return s.Deserialize.Insert(release{}, "OperationDeserializer", middleware.Before)
		},
		unsignedEncoding,
	}
}

// limit puts a limit on each body as it comes from the transport.
type limit struct{ content []string }

// ID implements middleware.DeserializeMiddleware.
func (*limit) ID() string { return "holdfast.limit" }

// HandleDeserialize implements middleware.DeserializeMiddleware.
func (l *limit) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, md, err := next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if !ok || resp == nil || resp.Body == nil {
		return out, md, err
	}
	legible(resp.Header)
	b := &body{ReadCloser: resp.Body, limit: MaxAnswer, left: MaxAnswer}
	switch {
	case resp.StatusCode/100 != 2:
		b.limit, b.left = MaxError, MaxError
	default:
		b.content = slices.Contains(l.content, awsmiddleware.GetOperationName(ctx))
	}
	resp.Body = b
	return out, md, err
}

// legible puts a Last-Modified into the form that HTTP has for it, or takes it out: the SDK refuses a whole answer for one in
// another form, as gateways write it. One without a zone is of UTC, as in listings.
func legible(h http.Header) {
	const name = "Last-Modified"
	said := strings.TrimSpace(h.Get(name))
	if said == "" {
		h.Del(name)
		return
	}
	if _, err := smithytime.ParseHTTPDate(said); err == nil {
		return
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.RFC1123Z} {
		if at, err := time.Parse(form, said); err == nil {
			h.Set(name, at.UTC().Format(http.TimeFormat))
			return
		}
	}
	h.Del(name)
}

// release lets content through once the SDK has read what came before it. Where it could not, it would read the body to
// its end so as to use the connection again: a whole object, for nothing.
type release struct{}

// ID implements middleware.DeserializeMiddleware.
func (release) ID() string { return "holdfast.release" }

// HandleDeserialize implements middleware.DeserializeMiddleware.
func (release) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (middleware.DeserializeOutput, middleware.Metadata, error) {
	out, md, err := next.HandleDeserialize(ctx, in)
	if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil && err == nil {
		if b, ok := resp.Body.(*body); ok && b.content {
			b.free = true
		}
	}
	return out, md, err
}

// body is an answer's body with a limit, which content loses when it is handed on.
type body struct {
	io.ReadCloser
	content, free bool
	limit, left   int64
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.free {
		return b.ReadCloser.Read(p)
	}
	if b.left < 0 {
		return 0, &tooLong{b.limit}
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, &tooLong{b.limit}
	}
	return n, err
}

// encodingKey holds the Accept-Encoding of a request in its context.
type encodingKey struct{}

// WithEncoding has the requests made with the context say that they accept this encoding; identity if nothing is said.
func WithEncoding(ctx context.Context, encoding string) context.Context {
	return context.WithValue(ctx, encodingKey{}, encoding)
}

// unsignedEncoding keeps Accept-Encoding out of the signature: fronts rewrite it on the way (Google's does), and a
// signature that covers it then fails. Signature version 4 asks for the host and x-amz-* headers only.
func unsignedEncoding(s *middleware.Stack) error {
	strip := middleware.FinalizeMiddlewareFunc("holdfast.unsignedEncoding", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			req.Header.Del("Accept-Encoding")
		}
		return next.HandleFinalize(ctx, in)
	})
	set := middleware.FinalizeMiddlewareFunc("holdfast.acceptEncoding", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			encoding, _ := ctx.Value(encodingKey{}).(string)
			if encoding == "" {
				encoding = "identity"
			}
			req.Header.Set("Accept-Encoding", encoding)
		}
		return next.HandleFinalize(ctx, in)
	})
	if err := s.Finalize.Insert(strip, "Signing", middleware.Before); err != nil {
		return err
	}
	return s.Finalize.Insert(set, "Signing", middleware.After)
}

// Elsewhere explains an answer that sends the request on to another place, and says what to change; "" if err is none.
func Elsewhere(err error) string {
	resp, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || resp.Response == nil || resp.HTTPStatusCode()/100 != 3 {
		return ""
	}
	return s3url.Elsewhere(resp.Response.Header)
}

// Client makes the HTTP client of one SDK client: it follows nothing.
func Client(rt http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
