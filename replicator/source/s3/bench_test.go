package s3source_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkGet measures reads straight from a versitygw; the figures to look at are cpu-µs/op and cpu-MB/s.
func BenchmarkGet(b *testing.B) {
	srv := pool.Get(b, servers.KindVersityGW)
	bucket := srv.NewBucket(b, servers.BucketOptions{})
	c := srv.Admin()
	put(b, c, bucket, "small", sourcetest.Content(1, 8<<10), minio.PutObjectOptions{UserTags: map[string]string{"a": "b"}})
	put(b, c, bucket, "plain", sourcetest.Content(1, 8<<10), minio.PutObjectOptions{})
	put(b, c, bucket, "md5", sourcetest.Content(1, 128<<20), minio.PutObjectOptions{Checksum: minio.ChecksumNone})
	put(b, c, bucket, "crc", sourcetest.Content(1, 128<<20), minio.PutObjectOptions{AutoChecksum: minio.ChecksumCRC64NVME, SendContentMd5: false})
	for i := range 3000 {
		put(b, c, bucket, fmt.Sprintf("many/%06d", i), []byte("x"), minio.PutObjectOptions{})
	}
	s := open(b, srv, bucket, func(o *s3source.Options) { o.Endpoint = srv.Direct })
	v, err := s.Freeze(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close() //nolint:errcheck // test
	entries := map[string]*format.Entry{}
	for e, err := range v.Entries(context.Background(), "", "") {
		if err != nil {
			b.Fatal(err)
		}
		entries[e.Key] = e
	}
	drain := func(b *testing.B, e format.Entry, buf []byte) *format.Entry {
		r, err := v.Open(context.Background(), &e, 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		for err == nil {
			_, err = r.Read(buf)
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		_ = r.Close()
		return &e
	}
	buf := make([]byte, 1<<20)
	drain(b, *entries["small"], buf)   // its tags prove that counts are sent
	b.Run("bare", func(b *testing.B) { // what net/http alone costs, for comparison
		u, err := c.Presign(context.Background(), "GET", bucket, "plain", time.Hour, nil)
		if err != nil {
			b.Fatal(err)
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, u.String(), nil)
		if err != nil {
			b.Fatal(err)
		}
		start := cpu()
		for b.Loop() {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.ReadFull(resp.Body, buf[:8<<10])
			_ = resp.Body.Close()
		}
		b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-µs/op")
	})
	for _, key := range []string{"plain", "md5", "crc"} {
		b.Run(key, func(b *testing.B) {
			e := entries[key]
			b.SetBytes(e.Size)
			start := cpu()
			var last *format.Entry
			for b.Loop() {
				last = drain(b, *e, buf)
			}
			used := cpu() - start
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(e.Size)*float64(b.N)/used.Seconds()/1e6, "cpu-MB/s")
			b.Logf("checksums %v %s", last.Checksums, last.ChecksumType)
		})
	}
	b.Run("list", func(b *testing.B) {
		start, n := cpu(), 0
		for b.Loop() {
			for _, err := range v.Entries(context.Background(), "many/", "many0") {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
		}
		b.ReportMetric(float64((cpu()-start).Nanoseconds())/float64(n), "cpu-ns/entry")
	})
}
