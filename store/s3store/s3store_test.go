package s3store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// world is what the tests of this program share, since starting servers and making users takes seconds.
type world struct {
	servers.Pool
	mu      sync.Mutex
	buckets map[servers.Kind]bucket
	serial  int
}

// bucket is one locked bucket and its writer, who has exactly the writer's policy.
type bucket struct {
	name   string
	writer store.Credentials
}

var shared world

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// locked gives the shared locked bucket of a server and a prefix in it that is still empty.
func (w *world) locked(t testing.TB, k servers.Kind) (*servers.Server, bucket, string) {
	t.Helper()
	srv := w.Get(t, k)
	w.mu.Lock()
	defer w.mu.Unlock()
	b, ok := w.buckets[k]
	if !ok {
		b.name = srv.NewBucket(t, servers.BucketOptions{Lock: true})
		b.writer = srv.NewUser(t, servers.WriterPolicy(b.name))
		if w.buckets == nil {
			w.buckets = make(map[servers.Kind]bucket)
		}
		w.buckets[k] = b
	}
	w.serial++
	return srv, b, fmt.Sprintf("vault/%d", w.serial)
}

func open(t testing.TB, l s3url.Location, c store.Credentials, edit ...func(*s3store.Options)) *s3store.Store {
	t.Helper()
	o := s3store.Options{Location: l, Credentials: fixed.Credentials(c)}
	for _, e := range edit {
		e(&o)
	}
	s, err := s3store.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// options gives vaults without the recording proxy, whose connections would look like leaks.
func options(k servers.Kind, edit ...func(*s3store.Options)) storetest.Options {
	return storetest.Options{
		Versions: true, Immutable: true,
		New: func(t testing.TB) storetest.Harness {
			srv, b, prefix := shared.locked(t, k)
			l := srv.Location(b.name)
			l.Prefix, l.Endpoint = prefix, srv.Direct
			writer, root := open(t, l, b.writer, edit...), open(t, l, srv.Root, edit...)
			return storetest.Harness{
				Vault: writer, Remover: root, Attacker: attacker{srv.Admin(), b.name, prefix + "/"},
				Close: func() error { return errors.Join(root.Close(), writer.Close()) },
			}
		},
	}
}

type attacker struct {
	c              *minio.Client
	bucket, prefix string
}

func (a attacker) Hide(ctx context.Context, name string) error {
	return a.c.RemoveObject(ctx, a.bucket, a.prefix+name, minio.RemoveObjectOptions{})
}

func (a attacker) Overwrite(ctx context.Context, name string, data []byte) error {
	_, err := a.c.PutObject(ctx, a.bucket, a.prefix+name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{DisableMultipart: true})
	return err
}

func TestConformanceVersityGW(t *testing.T) { storetest.Run(t, options(servers.KindVersityGW)) }
func TestConformanceMinIO(t *testing.T)     { storetest.Run(t, options(servers.KindMinIO)) }

// TestConformanceSmallPages crosses page boundaries within names and within the versions of one name.
func TestConformanceSmallPages(t *testing.T) {
	for _, k := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		t.Run(string(k), func(t *testing.T) {
			o := options(k, func(o *s3store.Options) { o.PageSize = 7 })
			o.Objects, o.Large = 100, 1
			storetest.Run(t, o)
		})
	}
}

func BenchmarkVersityGW(b *testing.B) { storetest.Bench(b, options(servers.KindVersityGW)) }
func BenchmarkMinIO(b *testing.B)     { storetest.Bench(b, options(servers.KindMinIO)) }
