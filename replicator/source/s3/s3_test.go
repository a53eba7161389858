package s3source_test

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

var pool servers.Pool //nolint:gochecknoglobals // of the test program, closed by TestMain

func TestMain(m *testing.M) { os.Exit(pool.Run(m)) }

// mode is a way to read a bucket.
type mode struct {
	name      string
	versioned bool   // the bucket
	versions  string // the option
}

func modes() []mode {
	return []mode{{"unversioned", false, "current"}, {"versioned", true, "current"}, {"all", true, "all"}, {"all of an unversioned bucket", false, "all"}}
}

func open(t testing.TB, srv *servers.Server, bucket string, edit func(*s3source.Options)) *s3source.Source {
	t.Helper()
	loc := srv.Location(bucket)
	o := s3source.Options{
		Bucket: bucket, Endpoint: loc.Endpoint, Region: loc.Region, PathStyle: loc.PathStyle,
		Credentials: fixed.Credentials(srv.Root), MaxBackoff: 50 * time.Millisecond,
	}
	if edit != nil {
		edit(&o)
	}
	s, err := s3source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, c *minio.Client, bucket, key string, body []byte, o minio.PutObjectOptions) {
	t.Helper()
	if o.PartSize == 0 {
		o.DisableMultipart = true
	}
	if len(body) == 0 {
		o.DisableContentSha256 = true // or the client leaves a chunk that versitygw takes for the next request
	}
	if _, err := c.PutObject(context.Background(), bucket, key, bytes.NewReader(body), int64(len(body)), o); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

func TestConformance(t *testing.T) {
	for _, kind := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		for _, m := range modes() {
			t.Run(string(kind)+"/"+m.name, func(t *testing.T) {
				srv := pool.Get(t, kind)
				c := srv.Admin()
				sourcetest.Run(t, sourcetest.Harness{
					Versioned: m.versioned && m.versions == "all", Pinned: true,
					New: func(t *testing.T) *sourcetest.Fixture {
						bucket := srv.NewBucket(t, servers.BucketOptions{Versioning: m.versioned})
						return &sourcetest.Fixture{
							Source: open(t, srv, bucket, func(o *s3source.Options) { o.Versions = m.versions }),
							Put: func(t *testing.T, key string, body []byte) {
								put(t, c, bucket, key, body, minio.PutObjectOptions{})
							},
							Delete: func(t *testing.T, key string) {
								if err := c.RemoveObject(context.Background(), bucket, key, minio.RemoveObjectOptions{}); err != nil {
									t.Fatal(err)
								}
							},
							Rich: func(t *testing.T) []sourcetest.Want { return rich(t, c, bucket) },
						}
					},
				})
			})
		}
	}
}

// rich puts objects with everything S3 keeps beside content.
func rich(t *testing.T, c *minio.Client, bucket string) []sourcetest.Want {
	expires := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	userTags := map[string]string{"team": "blue", "path": "a/b +c=d"}
	put(t, c, bucket, "rich", []byte("rich content"), minio.PutObjectOptions{
		ContentType: "text/x-thing; charset=utf-8", ContentEncoding: "x-own", ContentLanguage: "de-CH",
		ContentDisposition: `attachment; filename="a b.txt"`, CacheControl: "max-age=3", Expires: expires,
		UserMetadata: map[string]string{"plain": "value", "Umlaut": "=?UTF-8?Q?caf=C3=A9?=", "raw": "caf\u00e9"}, // minio-go encodes it as the line above
		UserTags:     userTags, Checksum: minio.ChecksumNone,
	})
	put(t, c, bucket, "plain", []byte("x"), minio.PutObjectOptions{})
	put(t, c, bucket, "empty", nil, minio.PutObjectOptions{ContentType: "application/x-empty"})
	put(t, c, bucket, "parts", sourcetest.Content(5, 11<<20), minio.PutObjectOptions{PartSize: 5 << 20, UserTags: userTags})
	return []sourcetest.Want{
		{Key: "rich", Check: func(t *testing.T, e *format.Entry) {
			got := []string{e.ContentType, e.ContentEncoding, e.ContentLanguage, e.ContentDisposition, e.CacheControl, e.Expires}
			want := []string{"text/x-thing; charset=utf-8", "x-own", "de-CH", `attachment; filename="a b.txt"`, "max-age=3", "Mon, 03 Feb 2031 04:05:06 GMT"}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("header %d is %q instead of %q", i, got[i], want[i])
				}
			}
			raw := e.Metadata["raw"] // versitygw decodes it
			if e.Metadata["plain"] != "value" || e.Metadata["umlaut"] != "=?UTF-8?Q?caf=C3=A9?=" || len(e.Metadata) != 3 ||
				raw != "=?UTF-8?q?caf=C3=A9?=" && raw != "caf\u00e9" {
				t.Errorf("metadata %q", e.Metadata)
			}
			if !maps.Equal(e.Tags, userTags) || e.TagsRead == 0 {
				t.Errorf("tags %q read %d", e.Tags, e.TagsRead)
			}
		}},
		{Key: "plain", Check: func(t *testing.T, e *format.Entry) {
			if e.Tags != nil || e.TagsRead == 0 || e.Metadata != nil {
				t.Errorf("%+v", e)
			}
		}},
		{Key: "empty", Check: func(t *testing.T, e *format.Entry) {
			if e.ContentType != "application/x-empty" || e.Size != 0 {
				t.Errorf("%+v", e)
			}
		}},
		{Key: "parts", Check: func(t *testing.T, e *format.Entry) {
			if !maps.Equal(e.Tags, userTags) {
				t.Errorf("tags %q", e.Tags)
			}
		}},
	}
}

// TestReadOnly reads everything there is to read and looks at what was sent; and the transport refuses to send more.
func TestReadOnly(t *testing.T) {
	srv := servers.VersityGW(t)
	bucket := srv.NewBucket(t, servers.BucketOptions{Versioning: true})
	rich(t, srv.Admin(), bucket)
	srv.ResetLog()
	for _, versions := range []string{"current", "all"} {
		s := open(t, srv, bucket, func(o *s3source.Options) { o.Versions = versions })
		v, err := s.Freeze(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for e, err := range v.Entries(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			r, err := v.Open(t.Context(), e, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close()
			if err := v.Complete(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(srv.Log()) < 16 {
		t.Errorf("only %d requests recorded", len(srv.Log()))
	}
	for _, r := range srv.Log() {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			t.Errorf("sent %s %s", r.Method, r.Path)
		}
	}
}
