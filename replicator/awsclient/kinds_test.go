package awsclient

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/store"
)

// TestKinds: what servers answer is of the kind that callers act on, in the words of S3, of EC2 and of EBS alike.
func TestKinds(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{403, "InvalidAccessKeyId", store.ErrCredentials},
		{403, "SignatureDoesNotMatch", store.ErrCredentials},
		{400, "ExpiredToken", store.ErrCredentials},
		{400, "ExpiredTokenException", store.ErrCredentials},
		{400, "TokenRefreshRequired", store.ErrCredentials},
		{401, "AuthFailure", store.ErrCredentials},
		{400, "AuthorizationHeaderMalformed", store.ErrCredentials},
		{403, "RequestTimeTooSkewed", store.ErrClock},
		{403, "AccessDenied", store.ErrDenied},
		{403, "UnauthorizedOperation", store.ErrDenied},
		{404, "NoSuchBucket", store.ErrNotFound},
		{400, "InvalidSnapshot.NotFound", store.ErrNotFound},
		{503, "SlowDown", store.ErrThrottled},
		{400, "RequestLimitExceeded", store.ErrThrottled},
		{400, ConcurrentLimit, store.ErrThrottled},
		{429, "Whatever", store.ErrThrottled},
		{500, "InternalError", store.ErrTransient},
		{503, "Whatever", store.ErrTransient},
		{501, "NotImplemented", nil},
		{404, "NoSuchKey", nil}, // of one object: the caller knows what that means
		{412, "PreconditionFailed", nil},
		{400, "InvalidRequest", nil},
	} {
		cl := client(t, static("a"), func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", c.code)
		})
		_, err := cl.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: new("b")}, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
		if got := Kind(err); !errors.Is(got, c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%d %s: %v, want %v (%v)", c.status, c.code, got, c.want, err)
		}
	}
	if got := Kind(errors.New("dial tcp: connection refused")); !errors.Is(got, store.ErrTransient) {
		t.Errorf("no answer: %v", got)
	}
	if got := Kind(fmt.Errorf("read keys: %w", store.ErrCredentials)); !errors.Is(got, store.ErrCredentials) {
		t.Errorf("no credentials to sign with: %v", got)
	}
}
