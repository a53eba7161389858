package tobucket_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store/repo/format"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// full is an entry with all that an object can have.
func full(key string) format.Entry {
	return format.Entry{
		Key: key, ContentType: "text/plain", ContentEncoding: "br", ContentLanguage: "de", ContentDisposition: "inline", CacheControl: "max-age=3",
		Expires: "Wed, 21 Oct 2026 07:28:00 GMT", Metadata: map[string]string{"who": "me", "why": "because"},
		Tags: map[string]string{"team": "a", "cost": "b"}, TagsRead: 1,
	}
}

// defaced is one way in which an object can be spoilt, and what is said of it then.
type defaced struct {
	key, says string
	spoil     func(o *minio.PutObjectOptions, body []byte)
}

func ways() []defaced {
	return []defaced{
		{"content", "the content", func(_ *minio.PutObjectOptions, b []byte) { b[0] ^= 1 }},
		{"content type", "Content-Type", func(o *minio.PutObjectOptions, _ []byte) { o.ContentType = "text/html" }},
		{"content encoding", "Content-Encoding", func(o *minio.PutObjectOptions, _ []byte) { o.ContentEncoding = "" }},
		{"content language", "Content-Language", func(o *minio.PutObjectOptions, _ []byte) { o.ContentLanguage = "fr" }},
		{"content disposition", "Content-Disposition", func(o *minio.PutObjectOptions, _ []byte) { o.ContentDisposition = "attachment" }},
		{"cache control", "Cache-Control", func(o *minio.PutObjectOptions, _ []byte) { o.CacheControl = "no-store" }},
		{"expires", "Expires", func(o *minio.PutObjectOptions, _ []byte) { o.Expires = o.Expires.Add(time.Hour) }},
		{"metadata value", "metadata who", func(o *minio.PutObjectOptions, _ []byte) { o.UserMetadata["who"] = "you" }},
		{"metadata name more", "metadata extra", func(o *minio.PutObjectOptions, _ []byte) { o.UserMetadata["extra"] = "1" }},
		{"metadata name less", "metadata why", func(o *minio.PutObjectOptions, _ []byte) { delete(o.UserMetadata, "why") }},
		{"tag less", `tag "cost"`, func(o *minio.PutObjectOptions, _ []byte) { delete(o.UserTags, "cost") }},
		{"tag more", `tag "spare"`, func(o *minio.PutObjectOptions, _ []byte) { o.UserTags["spare"] = "1" }},
		{"tag value", `tag "team"`, func(o *minio.PutObjectOptions, _ []byte) { o.UserTags["team"] = "z" }},
		{"all tags", `tag "team"`, func(o *minio.PutObjectOptions, _ []byte) { o.UserTags = nil }},
		{"size", "the size", nil},
	}
}

// state is what an owner sees of a bucket. versitygw keeps in the Content-Encoding how an upload travelled.
func state(t *testing.T, s *servers.Server, bucket string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for info := range s.Admin().ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(t, info.Err)
		st, err := s.Admin().StatObject(t.Context(), bucket, info.Key, minio.StatObjectOptions{})
		must(t, err)
		tags, err := s.Admin().GetObjectTagging(t.Context(), bucket, info.Key, minio.GetObjectTaggingOptions{})
		must(t, err)
		h := st.Metadata
		out[info.Key] = fmt.Sprintf("%x %v %v %q %q %q %q %q %q %q", sha256.Sum256(get(t, s, bucket, info.Key, "")), tags.ToMap(), st.UserMetadata,
			st.ContentType, strings.TrimPrefix(h.Get("Content-Encoding"), "aws-chunked,"), h.Get("Content-Language"), h.Get("Content-Disposition"), h.Get("Cache-Control"), h.Get("Expires"), storageClass(h))
	}
	return out
}

func storageClass(h http.Header) string {
	if c := h.Get("X-Amz-Storage-Class"); c != "STANDARD" {
		return c
	}
	return ""
}

func optionsOf(e format.Entry) minio.PutObjectOptions {
	expires, _ := http.ParseTime(e.Expires)
	return minio.PutObjectOptions{
		ContentType: e.ContentType, ContentEncoding: e.ContentEncoding, ContentLanguage: e.ContentLanguage, ContentDisposition: e.ContentDisposition,
		CacheControl: e.CacheControl, Expires: expires, UserMetadata: maps.Clone(e.Metadata), UserTags: maps.Clone(e.Tags), StorageClass: e.StorageClass,
		DisableMultipart: true,
	}
}

// An object that differs from the point in anything at all is put right by changed, and named by never; what is right is
// touched by neither.
func TestDefacedObjects(t *testing.T) {
	eachServer(t, func(t *testing.T, s *servers.Server) {
		for _, versions := range []bool{false, true} {
			if testing.Short() && !versions {
				continue // under the race detector; whole without
			}
			name := bucket(t, s, versions)
			r := restoretest.New(t)
			src := memsource.New(memsource.Options{})
			bodies, said := map[string][]byte{}, map[string]string{}
			add := func(e format.Entry, n int) {
				bodies[e.Key] = random(uint64(len(bodies)), n)
				src.PutEntry(e, bodies[e.Key])
			}
			large := 70 << 20 // in parts
			if testing.Short() {
				large = 100
			}
			add(full("right"), 100)
			add(full("right and large"), large)
			add(format.Entry{Key: "plain"}, 10)
			add(full("large content"), large)
			add(full("large tags"), 70<<20)
			for _, w := range ways() {
				add(full(w.key), 100)
				said[w.key] = w.says
			}
			classed := full("class")
			classed.StorageClass = "REDUCED_REDUNDANCY"
			add(classed, 100)
			c := r.Backup(src)
			do := func(o restore.Overwrite) restore.Result {
				return run(t, restore.Options{Reader: r.Reader(nil), Commit: c, Target: into(t, s, name), Overwrite: o})
			}
			if res := do(restore.Never); res.Failed != 0 || res.Entries != int64(len(bodies)) {
				t.Fatalf("%+v", res)
			}
			want := state(t, s, name)

			put := func(key string, body []byte, o minio.PutObjectOptions) {
				t.Helper()
				_, err := s.Admin().PutObject(t.Context(), name, key, bytes.NewReader(body), int64(len(body)), o)
				must(t, err)
			}
			for _, w := range ways() {
				body, o := bytes.Clone(bodies[w.key]), optionsOf(full(w.key))
				if w.spoil == nil {
					body = append(body, 'x')
				} else {
					w.spoil(&o, body)
				}
				put(w.key, body, o)
			}
			if strings.Contains(want["class"], "REDUCED") {
				o := optionsOf(classed)
				o.StorageClass = ""
				put("class", bodies["class"], o)
				said["class"] = "the storage class"
			} else {
				t.Logf("%s keeps no storage class", s.Kind)
			}
			tagged := optionsOf(full("large tags"))
			tagged.UserTags, tagged.DisableMultipart, tagged.PartSize = map[string]string{"team": "a"}, false, 8<<20
			put("large tags", bodies["large tags"], tagged)
			said["large tags"] = `tag "cost"`
			spoilt := state(t, s, name)

			res := do(restore.Never)
			if res.Differs != int64(len(said)) || res.Skipped != int64(len(bodies)) || res.Entries+res.Failed != 0 {
				t.Errorf("never: %+v", res)
			}
			for _, f := range res.Failures {
				if !f.Differs || said[f.Key] == "" || !strings.Contains(f.Error(), said[f.Key]) {
					t.Errorf("never: %v; should name %s", f, said[f.Key])
				}
			}
			if got := state(t, s, name); !maps.Equal(got, spoilt) {
				t.Error("never changed something")
			}

			// Of a large object with its old size only the content tells, which never does not read.
			other := optionsOf(full("large content"))
			other.DisableMultipart, other.PartSize = false, 8<<20
			put("large content", append(bytes.Clone(bodies["large content"][1:]), 7), other)
			res = do(restore.Changed)
			if res.Entries != int64(len(said))+1 || res.Failed != 0 || res.Skipped != int64(len(bodies)-len(said)-1) {
				t.Errorf("changed: %+v", res)
			}
			got := state(t, s, name)
			for _, k := range slices.Sorted(maps.Keys(want)) {
				if got[k] != want[k] {
					t.Errorf("changed left %q as\n     %s\nwant %s", k, got[k], want[k])
				}
			}
			if res = do(restore.Changed); res.Entries != 0 || res.Skipped != int64(len(bodies)) {
				t.Errorf("changed again: %+v", res)
			}
			if res = do(restore.Never); res.Differs != 0 || res.Entries != 0 {
				t.Errorf("never at last: %+v", res)
			}
		}
	})
}
