package s3source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// answer is what a failed request came back with: the vendor's code and message, and the HTTP status; zero if it did not.
type answer struct {
	code, message string
	status        int
}

func answerOf(err error) answer {
	var a answer
	var api smithy.APIError
	if errors.As(err, &api) {
		a.code, a.message = api.ErrorCode(), api.ErrorMessage()
	}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		a.status = resp.HTTPStatusCode()
	}
	return a
}

// kind gives the sentinel of a failure that is not of one object, nil if it may be.
func (a answer) kind(err error) error {
	switch {
	case errors.Is(err, store.ErrCredentials):
		return store.ErrCredentials
	case a.status == 0:
		return store.ErrTransient // after all tries: no answer at all
	}
	switch a.code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken",
		"TokenRefreshRequired", "InvalidSecurity", "AuthorizationHeaderMalformed", "NotSignedUp", "AccountProblem":
		return store.ErrCredentials
	case "RequestTimeTooSkewed":
		return store.ErrClock
	case "SlowDown", "SlowDownRead", "Throttling", "ThrottlingException", "TooManyRequests", "RequestLimitExceeded":
		return store.ErrThrottled
	case "NoSuchBucket":
		return store.ErrNotFound
	}
	switch {
	case a.status == http.StatusTooManyRequests:
		return store.ErrThrottled
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusBadGateway, a.status == http.StatusGatewayTimeout:
		return store.ErrTransient
	}
	return nil
}

// wrap gives err a kind that errors.Is finds, what was being done, and what to do about it.
func wrap(what string, kind error, hint string, err error) error {
	if errors.Is(err, kind) {
		err = fmt.Errorf("%s: %w", what, err)
	} else {
		err = fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	if hint != "" {
		err = fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

// general is a failure of the source as a whole; nil if err is not one.
func (v *view) general(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	a := answerOf(err)
	kind := a.kind(err)
	if kind == nil {
		return nil
	}
	hint := ""
	switch {
	case a.code == "AuthorizationHeaderMalformed":
		hint = "check the region in the source's URL"
	case errors.Is(kind, store.ErrCredentials):
		hint = "check the source's credentials"
	case errors.Is(kind, store.ErrClock):
		hint = "set this machine's clock"
	case errors.Is(kind, store.ErrNotFound):
		hint = "check the bucket's name, the endpoint and the region in the source's URL"
	}
	return wrap(what, kind, hint, err)
}

// listError explains a listing that failed.
func (v *view) listError(ctx context.Context, err error) error {
	what := "list " + v.s.name
	var parse *again
	if errors.Is(err, errXML) {
		hint := "check that an S3 server answers at the endpoint in the source's URL"
		if v.s.all() {
			hint += ", and one that lists versions: `versions: current` does without"
		}
		return fmt.Errorf("%s: %w; %s", what, err, hint)
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, awsclient.ErrAnswer) || notHTTP(err) {
		return fmt.Errorf("%s: %w; check that an S3 server answers at the endpoint in the source's URL", what, err)
	}
	if to := awsclient.Elsewhere(err); to != "" {
		return fmt.Errorf("%s: %w; %s", what, err, to)
	}
	if errors.As(err, &parse) {
		return wrap(what, store.ErrTransient, "", err)
	}
	if g := v.general(ctx, what, err); g != nil {
		return g
	}
	a := answerOf(err)
	switch {
	case a.status == http.StatusForbidden:
		right := "s3:ListBucket"
		if v.s.all() {
			right = "s3:ListBucketVersions"
		}
		hint := "grant the source's credentials " + right + " on the bucket " + v.s.o.Bucket
		if v.payer() == "" {
			hint += ", or set requester_pays: true if its owner has the requester pay"
		}
		return wrap(what, store.ErrDenied, hint, err)
	case a.status == http.StatusNotFound:
		return wrap(what, store.ErrNotFound, "check the bucket's name, the endpoint and the region in the source's URL", err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// objectError turns a failed request for one object into the contract's errors.
func (v *view) objectError(ctx context.Context, op string, e *format.Entry, err error) error {
	what := fmt.Sprintf("%s %q of %s", op, e.Key, v.s.name)
	a := answerOf(err)
	unreadable := func(reason string) error {
		return &source.Unreadable{Key: e.Key, Reason: reason, Err: err}
	}
	switch a.code {
	case "InvalidObjectState":
		u := &source.Unreadable{Key: e.Key, Reason: archived(e, err), Accepted: v.s.o.Archived == "record", Err: err}
		return u
	case "PreconditionFailed":
		if v.s.o.IfMatch != nil && *v.s.o.IfMatch && v.s.facts.has(noCondition) {
			return unreadable("the server refuses the ETag that it lists (412); set if_match: false")
		}
		return fmt.Errorf("%s: %w", what, source.ErrChanged)
	case "NoSuchKey", "NoSuchVersion":
		return fmt.Errorf("%s: %w", what, source.ErrGone)
	}
	if strings.HasPrefix(a.code, "KMS.") {
		return unreadable("KMS key cannot be used (" + a.code + ")")
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, awsclient.ErrAnswer):
		return unreadable("the server's answer is endless")
	case notHTTP(err):
		return unreadable("the server's answer is not HTTP that can be read")
	case a.status/100 == 2:
		return unreadable("the server's answer cannot be read")
	case a.status/100 == 3:
		u := &source.Unreadable{Key: e.Key, Reason: fmt.Sprintf("server error (%d)", a.status), Err: err}
		if to := awsclient.Elsewhere(err); to != "" {
			u.Reason, u.Err = "the server sends its readers elsewhere", fmt.Errorf("%w; %s", err, to)
		}
		return u
	}
	if g := v.general(ctx, what, err); g != nil {
		return g
	}
	switch {
	case a.status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s: %w", what, source.ErrChanged)
	case a.status == http.StatusNotFound, a.status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: %w", what, source.ErrGone)
	case a.status == http.StatusForbidden && strings.Contains(a.message, "kms:"):
		return unreadable("access denied (kms:Decrypt)")
	case a.status == http.StatusForbidden || a.status == http.StatusUnauthorized:
		return unreadable("access denied")
	case a.status == http.StatusBadRequest && strings.Contains(a.message, "Server Side Encryption"):
		return unreadable("encrypted with a customer's key (SSE-C)")
	case a.code != "":
		return unreadable("server error (" + a.code + ")")
	}
	return unreadable(fmt.Sprintf("server error (%d)", a.status))
}

// notHTTP reports whether err is an answer that is not what HTTP allows, or goes beyond what is read of it. The standard
// library has no types for these errors.
func notHTTP(err error) bool {
	return hopeless(err) || wireSays(err, "bad Content-Length", "malformed HTTP", "malformed MIME header", "suspiciously long trailer")
}

// hopeless reports whether err is an answer that will not be another one the next time: endless headers, or a transfer
// encoding that nobody asked for.
func hopeless(err error) bool {
	return wireSays(err, "server response headers exceeded", "unsupported transfer encoding", "too many transfer encodings")
}

func wireSays(err error, signs ...string) bool {
	sent, ok := errors.AsType[*url.Error](err)
	return ok && slices.ContainsFunc(signs, func(s string) bool { return strings.Contains(sent.Err.Error(), s) })
}

// archived says which cold storage an object is in.
func archived(e *format.Entry, err error) string {
	name := e.StorageClass
	var state *types.InvalidObjectState
	if errors.As(err, &state) {
		if state.StorageClass != "" {
			name = string(state.StorageClass)
		}
		if state.AccessTier != "" {
			name += " " + string(state.AccessTier)
		}
	}
	return "archived (" + name + ")"
}
