package s3store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest"
)

func hostileClient(t testing.TB, endpoint string, stall time.Duration) storetest.HostileClient {
	s := open(t, s3url.Location{Bucket: "bucket", Endpoint: endpoint, Region: "us-east-1", PathStyle: true},
		store.Credentials{AccessKeyID: "AKID", SecretAccessKey: "hidden-secret"}, func(o *s3store.Options) { o.Stall = stall })
	return storetest.HostileClient{
		List: func(ctx context.Context) (n int, err error) {
			for _, err := range s.Versions(ctx, "", "") {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		},
		Read: func(ctx context.Context, off, n int64) ([]byte, error) {
			rc, err := s.Open(ctx, store.Ref{Name: "n", Version: "v"}, off, n)
			if err != nil {
				return nil, err
			}
			b, err := io.ReadAll(rc)
			return b, errors.Join(err, rc.Close())
		},
		Put: func(ctx context.Context, b []byte) error {
			_, err := s.Put(ctx, "n", bytes.NewReader(b), int64(len(b)), store.PutOptions{SHA256: sha256.Sum256(b)})
			return err
		},
		Refuse: func(ctx context.Context) error {
			_, err := s.Inspect(ctx)
			return err
		},
	}
}

func TestHostile(t *testing.T) { storetest.RunHostile(t, hostileClient) }

// TestHostileMemory: what a listing of 400 MiB leads to allocating is far below the least memory a run may be given.
func TestHostileMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	t.Run("suite", func(t *testing.T) {
		storetest.RunHostile(t, func(t testing.TB, endpoint string, stall time.Duration) storetest.HostileClient {
			return storetest.HostileClient{List: hostileClient(t, endpoint, stall).List}
		})
	})
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 512<<20 {
		t.Errorf("all hostile listings together allocated %d MiB", got>>20)
	}
}
