package s3store_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/retry"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
)

// TestRenewedKeys: a file or token that was renewed while a run goes on is taken up when the old one is refused; who has no
// other is refused at once.
func TestRenewedKeys(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{{400, "ExpiredToken"}, {403, "InvalidAccessKeyId"}, {403, "SignatureDoesNotMatch"}} {
		var valid, have atomic.Value
		valid.Store("first")
		have.Store("first")
		var refused atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.Header.Get("Authorization"), "Credential="+valid.Load().(string)+"/") { //nolint:forcetypeassert // it is one
				refused.Add(1)
				answer(w, c.status, c.code, "no longer")
				return
			}
			_, _ = w.Write([]byte("<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>"))
		}))
		s, err := s3store.New(s3store.Options{
			Location: s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "us-east-1", PathStyle: true},
			Credentials: func(context.Context) (store.Credentials, error) {
				return store.Credentials{AccessKeyID: have.Load().(string), SecretAccessKey: "s"}, nil //nolint:forcetypeassert // it is one
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		again := retry.New(retry.Options{}).Reader(s)
		list := func() error {
			for _, err := range again.Versions(t.Context(), "points/", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}
		if err := list(); err != nil {
			t.Fatal(err)
		}
		valid.Store("second")
		have.Store("second")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := list(); err != nil {
					t.Errorf("%s: %v", c.code, err)
				}
			})
		}
		wg.Wait()
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { answer(w, 403, "InvalidAccessKeyId", "never was") })
	for _, err := range s.Versions(t.Context(), "points/", "") {
		if !errors.Is(err, store.ErrCredentials) {
			t.Errorf("no others: %v", err)
		}
	}
}
