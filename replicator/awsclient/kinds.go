package awsclient

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/store"
)

// Answer is what a failed request came back with: the service's code and message, and the HTTP status; zero if nothing came.
type Answer struct {
	Code, Message string
	Status        int
}

// AnswerOf finds the answer in an error of the SDK.
func AnswerOf(err error) Answer {
	var a Answer
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		a.Code, a.Message = api.ErrorCode(), api.ErrorMessage()
	}
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		a.Status = resp.HTTPStatusCode()
	}
	return a
}

// Kind gives the sentinel of package store that fits what a service of AWS, or an S3 server, answered after all tries; nil where
// none does. It is the one table of their codes. What a kind means for the work at hand is the caller's affair: a server's error
// about one object says little of the others. A caller whose context has ended asks that first: its error looks like no answer.
func Kind(err error) error {
	a := AnswerOf(err)
	switch {
	case errors.Is(err, store.ErrCredentials):
		return store.ErrCredentials
	case a.Status == 0:
		return store.ErrTransient // no answer at all
	case Throttled(a.Code):
		return store.ErrThrottled
	case strings.HasSuffix(a.Code, ".NotFound"): // EC2's, such as InvalidVolume.NotFound
		return store.ErrNotFound
	}
	if outdated(a.Code) {
		return store.ErrCredentials
	}
	switch a.Code {
	case "InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException", "AuthorizationHeaderMalformed",
		"NotSignedUp", "AccountProblem":
		return store.ErrCredentials
	case "RequestTimeTooSkewed":
		return store.ErrClock
	case "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "UnauthorizedAccess":
		return store.ErrDenied
	case "NoSuchBucket", "ResourceNotFoundException":
		return store.ErrNotFound
	}
	switch {
	case a.Status == http.StatusTooManyRequests:
		return store.ErrThrottled
	case a.Status >= http.StatusInternalServerError && a.Status != http.StatusNotImplemented:
		return store.ErrTransient
	}
	return nil
}

// outdated reports whether a code says that credentials are not taken which may since have been renewed.
func outdated(code string) bool {
	switch code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
		"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure", "InvalidSecurity":
		return true
	}
	return false
}

// ConcurrentLimit is the one throttle that the SDK does not take for one.
const ConcurrentLimit = "ConcurrentLimitExceededException"

// Throttled reports whether a code says that the service was asked too often.
func Throttled(code string) bool {
	switch code {
	case ConcurrentLimit, "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests", "TooManyRequestsException",
		"RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "RequestThrottleException", "EC2ThrottledException", "BandwidthLimitExceeded":
		return true
	}
	return false
}

// IsThrottle reports whether err is the answer of a service that was asked too often.
func IsThrottle(err error) bool { return Throttled(AnswerOf(err).Code) }

// Wrap says what was being done, gives an error a kind that errors.Is finds (nil: none), and adds what to do about it ("": nothing).
func Wrap(what string, kind error, hint string, err error) error {
	if kind == nil || errors.Is(err, kind) {
		err = fmt.Errorf("%s: %w", what, err)
	} else {
		err = fmt.Errorf("%s: %w: %w", what, kind, err)
	}
	if hint != "" {
		err = fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

// Explain is Wrap with the kind of an error of EC2, EBS and their like, and what to do about that.
func Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	kind, hint := Kind(err), ""
	switch {
	case AnswerOf(err).Status == 0: // no answer, or credentials that say themselves what is wrong
	case errors.Is(kind, store.ErrThrottled):
		hint = "the account's request quota is used up: run when less else is going on, or ask AWS for a higher one"
	case errors.Is(kind, store.ErrCredentials), errors.Is(kind, store.ErrClock):
		hint = "check the credentials and this machine's clock"
	case errors.Is(kind, store.ErrDenied):
		hint = "the credentials lack the right to do that (`holdfast policy` prints what a source needs, docs/operations.md says what a restore needs)"
	case kind == nil:
		hint = Elsewhere(err)
	}
	return Wrap(what, kind, hint, err)
}
