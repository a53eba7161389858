package s3store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// kindOfCode maps the codes of S3 vendors to what callers act on; nil: judge by the HTTP status.
func kindOfCode(code string) error {
	switch code {
	case "NoSuchKey", "NoSuchVersion", "NotFound":
		return store.ErrNotFound
	case "NoSuchBucket":
		return store.ErrNoBucket
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return store.ErrDenied
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
		"InvalidAccessKey", "SignatureDoesNotMatch", "InvalidSecurity":
		return store.ErrCredentials
	case "RequestTimeTooSkewed", "RequestExpired":
		return store.ErrClock
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return store.ErrChecksum
	case "ObjectLocked", "ObjectUnderRetention", "WORMProtected", "FileImmutable":
		return store.ErrLocked
	case "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "RequestLimitExceeded",
		"RequestThrottled", "TooManyRequests", "BandwidthLimitExceeded", "ServiceUnavailable":
		return store.ErrThrottled
	case "RequestTimeout", "InternalError", "OperationAborted", "IncompleteBody", "XMinioServerNotInitialized":
		return store.ErrTransient
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity", "InsufficientStorage":
		return store.ErrNoSpace
	case "ObjectParentIsFile", "XMinioParentIsObject":
		return store.ErrInTheWay // servers that keep objects as files: versitygw, and MinIO's former gateways
	case "MethodNotAllowed", "NotImplemented", "XNotImplemented":
		return store.ErrUnsupported
	case "InvalidRange":
		return io.ErrUnexpectedEOF // the object ends before the range begins
	}
	return nil
}

// fail wraps err, from wherever it came, in a store.Error with its kind.
func (s *Store) fail(ctx context.Context, op string, ref store.Ref, err error) error {
	var have *store.Error
	if errors.As(err, &have) {
		return err
	}
	// url.Error repeats the URL; the cause is all that is news.
	for {
		ue, ok := errors.AsType[*url.Error](err)
		if !ok {
			break
		}
		err = ue.Err
	}
	e := &store.Error{Op: op, Vault: s.url, Ref: ref, Err: err}
	var (
		resp minio.ErrorResponse
		wire *wireError
		away *elsewhereError
	)
	switch {
	case ctx.Err() != nil:
		// The caller's own doing, however the transport put it. Its own time-outs also call themselves
		// DeadlineExceeded, so only the context tells.
		e.Err = ctx.Err()
	case errors.Is(err, store.ErrTooLarge), errors.Is(err, store.ErrListing):
		// It says so itself. Asking again would bring the same.
	case errors.As(err, &away):
		e.Code, e.Err = away.code, away
	case errors.As(err, &resp):
		e.Code, e.Kind = resp.Code, kindOf(op, resp)
		if e.Kind == store.ErrCredentials && s.renewed(ctx) {
			e.Kind = store.ErrTransient
		}
	case errors.As(err, &wire):
		if !wire.permanent() {
			e.Kind = store.ErrTransient
		}
	case notS3(err):
		e.Err = fmt.Errorf("what answers there is no S3 server; check the endpoint in the URL: %w", err)
	case errors.Is(err, errResolve):
		if !store.Retryable(err) {
			e.Kind = store.ErrCredentials
		}
	}
	return e
}

// notS3 reports an answer that is none of S3's: a web page, most often. minio-go does not always keep the XML error.
func notS3(err error) bool {
	return errors.As(err, new(*xml.SyntaxError)) || errors.As(err, new(xml.UnmarshalError)) || strings.HasPrefix(err.Error(), "unrecognized option:")
}

// kindOf judges an answer by its code, then by its status, then by its words: AWS says 403 AccessDenied for a locked
// object and MinIO 400 InvalidRequest, so only the text tells "locked" from "not allowed".
func kindOf(op string, r minio.ErrorResponse) error {
	switch {
	case saysNoLocks(r):
		return store.ErrNoLock
	case (op == "remove" || op == "extend") && saysLocked(r):
		return store.ErrLocked
	}
	if (op == "open" || op == "stat") && r.StatusCode == http.StatusMethodNotAllowed {
		return store.ErrNotFound // how S3 answers for a delete marker that is named by its version
	}
	if kind := kindOfCode(r.Code); kind != nil {
		return kind
	}
	switch {
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return io.ErrUnexpectedEOF
	case r.StatusCode == http.StatusNotFound:
		return store.ErrNotFound
	case r.StatusCode == http.StatusUnauthorized:
		return store.ErrCredentials
	case r.StatusCode == http.StatusForbidden:
		return store.ErrDenied
	case r.StatusCode == http.StatusTooManyRequests, r.StatusCode == http.StatusServiceUnavailable:
		return store.ErrThrottled
	case r.StatusCode == http.StatusRequestTimeout:
		return store.ErrTransient
	case r.StatusCode == http.StatusNotImplemented:
		return store.ErrUnsupported
	case r.StatusCode == http.StatusInsufficientStorage:
		return store.ErrNoSpace
	case r.StatusCode >= 500:
		return store.ErrTransient
	}
	return nil
}

// saysNoLocks: "Bucket is missing Object Lock Configuration", with and without spaces, to a PUT that asks for a lock.
func saysNoLocks(r minio.ErrorResponse) bool {
	return r.StatusCode == http.StatusBadRequest &&
		strings.Contains(strings.ReplaceAll(strings.ToLower(r.Message), " ", ""), "missingobjectlockconfiguration")
}

func saysLocked(r minio.ErrorResponse) bool {
	if r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusConflict {
		return false
	}
	m := strings.ToLower(r.Message)
	for _, s := range []string{"object lock", "worm", "retention", "retain", "is locked"} {
		if strings.Contains(m, s) {
			return true
		}
	}
	return false
}
