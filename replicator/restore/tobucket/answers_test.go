package tobucket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/tobucket"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// TestRefusedBuckets: why the target cannot be written to is told by kind, whatever the server calls it; and who gave up while
// asking hears that, not that the server fails.
func TestRefusedBuckets(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchBucket", store.ErrNotFound},
		{403, "AccessDenied", store.ErrDenied},
		{403, "InvalidAccessKeyId", store.ErrCredentials},
		{403, "InvalidSecurity", store.ErrCredentials},
		{400, "ExpiredTokenException", store.ErrCredentials},
		{400, "TokenRefreshRequired", store.ErrCredentials},
		{403, "RequestTimeTooSkewed", store.ErrClock},
		{403, "cancelled", context.Canceled},
	} {
		t.Run(c.code, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.code == "cancelled" && r.Method == http.MethodGet {
					cancel()
					<-r.Context().Done()
					return
				}
				w.WriteHeader(c.status)
				if r.Method != http.MethodHead {
					fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", c.code)
				}
			}))
			defer srv.Close()
			to, err := tobucket.New(tobucket.Options{
				Endpoint: srv.URL, PathStyle: true, Bucket: "b", MaxBackoff: 1,
				Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = to.Close() }()
			if err := to.Begin(ctx, restore.Job{Memory: 1 << 20}); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			} else if c.want != store.ErrTransient && errors.Is(err, store.ErrTransient) {
				t.Errorf("called transient as well: %v", err)
			}
		})
	}
}
