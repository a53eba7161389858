package s3source_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/source"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// TestEndless: no answer of a bucket but content is read without a limit.
func TestEndless(t *testing.T) {
	for _, versions := range []string{"current", "all"} {
		sourcetest.Endless(t, func(t *testing.T, endpoint string) source.Source {
			s, err := s3source.New(s3source.Options{Bucket: "b", Endpoint: endpoint, PathStyle: true, Versions: versions, MaxBackoff: time.Millisecond,
				Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"})})
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
	}
}
