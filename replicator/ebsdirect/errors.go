package ebsdirect

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ebs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
)

// concurrentLimit is the one throttle that the SDK does not take for one.
const concurrentLimit = "ConcurrentLimitExceededException"

func throttleCode(code string) bool {
	switch code {
	case concurrentLimit, "RequestThrottledException", "RequestThrottleException", "ThrottlingException", "RequestLimitExceeded", "Throttling", "TooManyRequestsException", "EC2ThrottledException":
		return true
	}
	return false
}

// IsThrottle reports whether a server said that it was asked too often.
func IsThrottle(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && throttleCode(api.ErrorCode())
}

// answer is what a failed request came back with; zero if it did not.
type answer struct {
	code, reason, message string
	status                int
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
	var v *types.ValidationException
	var d *types.AccessDeniedException
	switch {
	case errors.As(err, &v):
		a.reason = string(v.Reason)
	case errors.As(err, &d):
		a.reason = string(d.Reason)
	}
	return a
}

// Explain gives an error of either API a kind that errors.Is finds, and says what to do about it.
func Explain(what string, err error) error {
	if err == nil {
		return nil
	}
	a := answerOf(err)
	hint, kind := a.kind(err)
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

func (a answer) kind(err error) (hint string, kind error) {
	switch {
	case errors.Is(err, store.ErrCredentials):
		return "", store.ErrCredentials
	case a.status == 0:
		return "", store.ErrTransient // no answer at all
	case throttleCode(a.code):
		return "the account's request quota is used up: run when less else is going on, or ask AWS for a higher one", store.ErrThrottled
	}
	switch a.code {
	case "AuthFailure", "UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationTokenException", "ExpiredTokenException",
		"ExpiredToken", "RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignatureException":
		return "check the credentials and this machine's clock", store.ErrCredentials
	case "UnauthorizedOperation", "AccessDeniedException", "AccessDenied":
		if a.reason == string(types.AccessDeniedExceptionReasonDependencyAccessDenied) {
			return "the credentials lack the right to use the KMS key", store.ErrDenied
		}
		return "the credentials lack the right to do that (`holdfast policy` prints what a source needs, docs/operations.md says what a restore needs)", store.ErrDenied
	case "ResourceNotFoundException", "InvalidSnapshot.NotFound", "InvalidVolume.NotFound", "InvalidInstanceID.NotFound":
		return "", store.ErrNotFound
	}
	if a.status >= http.StatusInternalServerError {
		return "", store.ErrTransient
	}
	return awsclient.Elsewhere(err), nil
}

// ofEntry says what an error means for one snapshot, in the words of a source: unreadable, gone, or a failure of the whole.
func ofEntry(key, what string, err error) error {
	if err == nil {
		return nil
	}
	a := answerOf(err)
	unreadable := func(reason string) error { return &source.Unreadable{Key: key, Reason: reason, Err: err} }
	switch {
	case a.code == "ResourceNotFoundException" && !strings.Contains(a.message, "KMS"):
		return fmt.Errorf("%s: %w: %w", what, source.ErrGone, err)
	case a.code == "AccessDeniedException" && a.reason == string(types.AccessDeniedExceptionReasonDependencyAccessDenied):
		return unreadable("access denied to its KMS key")
	case a.code == "AccessDeniedException":
		return unreadable("access denied")
	case a.code == "ValidationException" && strings.Contains(strings.ToLower(a.message), "archive"):
		return unreadable("archived")
	case a.code == "ValidationException":
		return unreadable("refused by AWS (" + orText(a.reason, "ValidationException") + ")")
	}
	return Explain(what, err)
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
