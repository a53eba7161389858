package s3source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// general is a failure of the source as a whole; nil if err is not one.
func (v *view) general(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
	a := awsclient.AnswerOf(err)
	kind := awsclient.Kind(err)
	switch {
	case kind == nil, errors.Is(kind, store.ErrDenied):
		return nil
	case errors.Is(kind, store.ErrTransient) && a.Status != 0 && a.Status < http.StatusBadGateway:
		return nil // a server's own fault (500) at one object
	}
	hint := ""
	switch {
	case a.Code == "AuthorizationHeaderMalformed":
		hint = "check the region in the source's URL"
	case errors.Is(kind, store.ErrCredentials):
		hint = "check the source's credentials"
	case errors.Is(kind, store.ErrClock):
		hint = "set this machine's clock"
	case errors.Is(kind, store.ErrNotFound):
		hint = "check the bucket's name, the endpoint and the region in the source's URL"
	}
	return awsclient.Wrap(what, kind, hint, err)
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
	if errors.Is(err, awsclient.ErrAnswer) || awsclient.NotHTTP(err) {
		return fmt.Errorf("%s: %w; check that an S3 server answers at the endpoint in the source's URL", what, err)
	}
	if to := awsclient.Elsewhere(err); to != "" {
		return fmt.Errorf("%s: %w; %s", what, err, to)
	}
	if errors.As(err, &parse) {
		return awsclient.Wrap(what, store.ErrTransient, "", err)
	}
	if g := v.general(ctx, what, err); g != nil {
		return g
	}
	a := awsclient.AnswerOf(err)
	switch {
	case a.Status == http.StatusForbidden:
		right := "s3:ListBucket"
		if v.s.all() {
			right = "s3:ListBucketVersions"
		}
		hint := "grant the source's credentials " + right + " on the bucket " + v.s.o.Bucket
		if v.payer() == "" {
			hint += ", or set requester_pays: true if its owner has the requester pay"
		}
		return awsclient.Wrap(what, store.ErrDenied, hint, err)
	case a.Status == http.StatusNotFound:
		return awsclient.Wrap(what, store.ErrNotFound, "check the bucket's name, the endpoint and the region in the source's URL", err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// objectError turns a failed request for one object into the contract's errors.
func (v *view) objectError(ctx context.Context, op string, e *format.Entry, err error) error {
	what := fmt.Sprintf("%s %q of %s", op, e.Key, v.s.name)
	a := awsclient.AnswerOf(err)
	unreadable := func(reason string) error {
		return &source.Unreadable{Key: e.Key, Reason: reason, Err: err}
	}
	switch a.Code {
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
	if strings.HasPrefix(a.Code, "KMS.") {
		return unreadable("KMS key cannot be used (" + a.Code + ")")
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, awsclient.ErrAnswer):
		return unreadable("the server's answer is endless")
	case awsclient.NotHTTP(err):
		return unreadable("the server's answer is not HTTP that can be read")
	case a.Status/100 == 2:
		return unreadable("the server's answer cannot be read")
	case a.Status/100 == 3:
		u := &source.Unreadable{Key: e.Key, Reason: fmt.Sprintf("server error (%d)", a.Status), Err: err}
		if to := awsclient.Elsewhere(err); to != "" {
			u.Reason, u.Err = "the server sends its readers elsewhere", fmt.Errorf("%w; %s", err, to)
		}
		return u
	}
	if g := v.general(ctx, what, err); g != nil {
		return g
	}
	switch {
	case a.Status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s: %w", what, source.ErrChanged)
	case a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed:
		return fmt.Errorf("%s: %w", what, source.ErrGone)
	case a.Status == http.StatusForbidden && strings.Contains(a.Message, "kms:"):
		return unreadable("access denied (kms:Decrypt)")
	case a.Status == http.StatusForbidden || a.Status == http.StatusUnauthorized:
		return unreadable("access denied")
	case a.Status == http.StatusBadRequest && strings.Contains(a.Message, "Server Side Encryption"):
		return unreadable("encrypted with a customer's key (SSE-C)")
	case a.Code != "":
		return unreadable("server error (" + a.Code + ")")
	}
	return unreadable(fmt.Sprintf("server error (%d)", a.Status))
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
