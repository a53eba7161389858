package servers_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

var shared servers.Pool

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func client(t *testing.T, endpoint string, c store.Credentials) *minio.Client {
	t.Helper()
	cl, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKeyID, c.SecretAccessKey, ""), Region: servers.Region, MaxRetries: 1, TrailingHeaders: false,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cl
}

func put(ctx context.Context, c *minio.Client, bucket, key string, o minio.PutObjectOptions) error {
	body := []byte("some bytes")
	o.DisableMultipart = true
	_, err := c.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), o)
	return err
}

// TestPolicies: on both servers a user may do what its policy says and no more.
func TestPolicies(t *testing.T) {
	for _, k := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		t.Run(string(k), func(t *testing.T) {
			srv := shared.Get(t, k)
			bucket, other := srv.NewBucket(t, servers.BucketOptions{Lock: true}), srv.NewBucket(t, servers.BucketOptions{})
			writer := client(t, srv.Endpoint, srv.NewUser(t, servers.WriterPolicy(bucket)))
			reader := client(t, srv.Endpoint, srv.NewUser(t, servers.ReaderPolicy(bucket)))
			if err := put(t.Context(), writer, bucket, "k", minio.PutObjectOptions{}); err != nil {
				t.Errorf("the writer cannot write: %v", err)
			}
			if err := put(t.Context(), writer, other, "k", minio.PutObjectOptions{}); err == nil {
				t.Error("the writer can write elsewhere")
			}
			if err := writer.RemoveObject(t.Context(), bucket, "k", minio.RemoveObjectOptions{}); err == nil {
				t.Error("the writer can delete")
			}
			if _, err := reader.StatObject(t.Context(), bucket, "k", minio.StatObjectOptions{}); err != nil {
				t.Errorf("the reader cannot read: %v", err)
			}
			if err := put(t.Context(), reader, bucket, "k2", minio.PutObjectOptions{}); err == nil {
				t.Error("the reader can write")
			}
		})
	}
}

// TestStrict: the proxy refuses what AWS refuses, and the server behind it does not.
func TestStrict(t *testing.T) {
	srv := shared.Get(t, servers.KindVersityGW)
	strict := servers.Strict(t, srv)
	lock, def := srv.NewBucket(t, servers.BucketOptions{Lock: true}), srv.NewBucket(t, servers.BucketOptions{Lock: true, DefaultRetention: 24 * time.Hour})
	until := time.Now().Add(time.Hour)
	locked := minio.PutObjectOptions{Mode: minio.Compliance, RetainUntilDate: until}
	withMD5 := locked
	withMD5.SendContentMd5 = true
	for _, c := range []struct {
		name, bucket string
		o            minio.PutObjectOptions
		want         string
	}{
		{"plain", lock, minio.PutObjectOptions{}, ""},
		{"lock without checksum", lock, locked, "InvalidRequest"},
		{"lock with MD5", lock, withMD5, ""},
		{"default retention without checksum", def, minio.PutObjectOptions{}, "InvalidRequest"},
		{"default retention with MD5", def, minio.PutObjectOptions{SendContentMd5: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := minio.ToErrorResponse(put(t.Context(), client(t, strict.Endpoint, srv.Root), c.bucket, "k", c.o)).Code
			if got != c.want {
				t.Errorf("code %q; want %q", got, c.want)
			}
			if err := put(t.Context(), client(t, srv.Endpoint, srv.Root), c.bucket, "k", c.o); err != nil {
				t.Errorf("the server itself refuses it: %v", err)
			}
		})
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, strict.Endpoint+"/"+lock+"/k", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Checksum-Sha256", "bm90IHRoZSBjaGVja3N1bQ==")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a wrong checksum gives %s", resp.Status)
	}
}

func TestLogAndRestart(t *testing.T) {
	srv := servers.VersityGW(t)
	bucket := srv.NewBucket(t, servers.BucketOptions{Versioning: true})
	c := client(t, srv.Endpoint, srv.Root)
	srv.ResetLog()
	if err := put(t.Context(), c, bucket, "a b/ü", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	log := srv.Log()
	if len(log) != 1 || log[0].Method != http.MethodPut || log[0].Path != "/"+bucket+"/a%20b/%C3%BC" || log[0].Status != 200 || log[0].Header.Get("Authorization") == "" {
		t.Fatalf("log %+v", log)
	}
	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(t.Context(), bucket, "a b/ü", minio.StatObjectOptions{}); err == nil {
		t.Fatal("a killed server answers")
	}
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StatObject(t.Context(), bucket, "a b/ü", minio.StatObjectOptions{}); err != nil {
		t.Fatalf("after the restart: %v", err)
	}
}

// TestBuildOnce builds the smallest program into an empty cache from several places at once.
func TestBuildOnce(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("GOFLAGS", "-mod=vendor") // must not matter
	goCache := os.Getenv("GOCACHE")
	if home, err := os.UserHomeDir(); goCache == "" && err == nil {
		t.Setenv("GOCACHE", filepath.Join(home, ".cache", "go-build")) // or the compiler would begin from nothing
	}
	paths := make(chan string, 3)
	for range cap(paths) {
		go func() {
			p, err := servers.Binary(t.Context(), "age")
			if err != nil {
				t.Error(err)
			}
			paths <- p
		}()
	}
	first := <-paths
	for range cap(paths) - 1 {
		if p := <-paths; p != first {
			t.Errorf("%s and %s", first, p)
		}
	}
	left, err := os.ReadDir(filepath.Dir(first))
	if err != nil || len(left) != 2 {
		t.Errorf("%v %v; want the program and its lock", left, err)
	}
	if _, err := servers.Binary(t.Context(), "no-such"); err == nil {
		t.Error("an unknown program was found")
	}
}
