package ebsdirect

import (
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ebs/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
)

// answer is what a failed request came back with; zero if it did not. EBS gives some of its codes a reason.
type answer struct {
	awsclient.Answer
	reason string
}

func answerOf(err error) answer {
	a := answer{Answer: awsclient.AnswerOf(err)}
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

// explain is awsclient.Explain, which knows nothing of KMS keys.
func explain(what string, err error) error {
	if answerOf(err).reason == string(types.AccessDeniedExceptionReasonDependencyAccessDenied) {
		return awsclient.Wrap(what, store.ErrDenied, "the credentials lack the right to use the KMS key", err)
	}
	return awsclient.Explain(what, err)
}

// ofEntry says what an error means for one snapshot, in the words of a source: unreadable, gone, or a failure of the whole.
func ofEntry(key, what string, err error) error {
	if err == nil {
		return nil
	}
	a := answerOf(err)
	unreadable := func(reason string) error { return &source.Unreadable{Key: key, Reason: reason, Err: err} }
	switch {
	case a.Code == "ResourceNotFoundException" && !strings.Contains(a.Message, "KMS"):
		return fmt.Errorf("%s: %w: %w", what, source.ErrGone, err)
	case a.Code == "AccessDeniedException" && a.reason == string(types.AccessDeniedExceptionReasonDependencyAccessDenied):
		return unreadable("access denied to its KMS key")
	case a.Code == "AccessDeniedException":
		return unreadable("access denied")
	case a.Code == "ValidationException" && strings.Contains(strings.ToLower(a.Message), "archive"):
		return unreadable("archived")
	case a.Code == "ValidationException":
		return unreadable("refused by AWS (" + orText(a.reason, "ValidationException") + ")")
	}
	return explain(what, err)
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}
