package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// item is one thing in a bucket or directory, as far as it has to come back.
type item struct {
	size     int64
	sum      string // SHA-256 of the content
	modified time.Time
	rest     string // headers, metadata and tags; or mode, owner, time, link target, attributes
}

// state is a whole bucket or directory at one moment.
type state map[string]item

// bytes of all items.
func (s state) bytes() (n int64) {
	for _, i := range s {
		n += i.size
	}
	return n
}

// differences between what was and what came back. With content only, headers and the like are left out, and times are
// compared to the second.
func differences(was, is state, contentOnly bool) (out []string) {
	for _, key := range slices.Sorted(maps.Keys(was)) {
		a, b := was[key], is[key]
		_, there := is[key]
		switch {
		case !there:
			out = append(out, key+" is missing")
		case a.size != b.size || a.sum != b.sum:
			out = append(out, fmt.Sprintf("%s: content differs (%d bytes, %d came back)", key, a.size, b.size))
		case contentOnly && !a.modified.Truncate(time.Second).Equal(b.modified.Truncate(time.Second)):
			out = append(out, fmt.Sprintf("%s: time differs: %s, %s came back", key, a.modified, b.modified))
		case !contentOnly && a.rest != b.rest:
			out = append(out, fmt.Sprintf("%s: differs:\n      was %s\n      is  %s", key, a.rest, b.rest))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(is)) {
		if _, ok := was[key]; !ok {
			out = append(out, key+" came from nowhere")
		}
	}
	return out
}

// same reports on a restore.
func (w *world) same(what string, was, is state, contentOnly bool) {
	d := differences(was, is, contentOnly)
	w.bar(len(d) == 0, "%s: %d compared, %d bytes, %d differences", what, len(was), was.bytes(), len(d))
	for _, line := range d[:min(len(d), 3)] {
		fmt.Println("    " + line)
	}
}

// bucket is a bucket as its owner sees it.
type bucket struct {
	s    *servers.Server
	name string
}

func (w *world) newBucket(ctx context.Context, k servers.Kind) (*bucket, error) {
	s, err := w.server(ctx, k)
	if err != nil {
		return nil, err
	}
	name, err := s.MakeBucket(ctx, servers.BucketOptions{})
	return &bucket{s, name}, err
}

// asOwner is where a restore goes.
func (b *bucket) asOwner() place { return bucketAt(b.s, b.name, "", b.s.Root) }

// asSource makes a reader for it.
func (b *bucket) asSource(ctx context.Context) (place, error) {
	c, err := b.s.MakeUser(ctx, servers.SourceReaderPolicy(b.name))
	return bucketAt(b.s, b.name, "", c), err
}

// headers are those that say what an object is; GET and HEAD must agree on them.
func headers(h http.Header) string {
	var out []string
	for k, v := range h {
		switch {
		case strings.HasPrefix(k, "X-Amz-Meta-"), k == "X-Amz-Website-Redirect-Location", k == "X-Amz-Storage-Class",
			k == "Content-Type", k == "Content-Encoding", k == "Content-Language", k == "Content-Disposition", k == "Cache-Control", k == "Expires":
			out = append(out, fmt.Sprintf("%s=%q", k, v))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// state reads everything there is to know: every object's GET, HEAD and tags.
func (b *bucket) state(ctx context.Context) (state, error) {
	c := b.s.Admin()
	out, mu := state{}, sync.Mutex{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil {
			return nil, o.Err
		}
		g.Go(func() error {
			i, err := readObject(ctx, c, b.name, o.Key)
			if err != nil {
				return fmt.Errorf("read %s back: %w", o.Key, err)
			}
			mu.Lock()
			out[o.Key] = i
			mu.Unlock()
			return nil
		})
	}
	return out, g.Wait()
}

func readObject(ctx context.Context, c *minio.Client, bucket, key string) (i item, err error) {
	body, info, head, err := (&minio.Core{Client: c}).GetObject(ctx, bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return i, err
	}
	defer body.Close()
	sum := sha256.New()
	if i.size, err = io.Copy(sum, body); err != nil {
		return i, err
	}
	i.sum, i.modified = hex.EncodeToString(sum.Sum(nil)), info.LastModified
	stat, err := c.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return i, err
	}
	tags, err := c.GetObjectTagging(ctx, bucket, key, minio.GetObjectTaggingOptions{})
	if err != nil && minio.ToErrorResponse(err).Code != "NoSuchTagSet" {
		return i, err
	}
	t := ""
	if tags != nil {
		t = fmt.Sprint(tags.ToMap()) // printed in order
	}
	i.rest = fmt.Sprintf("GET %s HEAD %s expires %s tags %s", headers(head), headers(stat.Metadata), stat.Expires, t)
	return i, nil
}

// options give every object a type and some of them more. Streamed signatures are off: versitygw would keep their
// "aws-chunked" as if it were the content's encoding.
func options(i int, key string, varied bool) minio.PutObjectOptions {
	o := minio.PutObjectOptions{ContentType: mime.TypeByExtension(filepath.Ext(key)), DisableMultipart: true, DisableContentSha256: true}
	if !varied {
		return o
	}
	if i%5 == 0 {
		o.UserMetadata = map[string]string{"Origin": "golang.org", "Serial": fmt.Sprint(i), "Words": "two  words; and, \"more\""}
	}
	if i%7 == 0 {
		o.CacheControl = fmt.Sprintf("max-age=%d, public", i)
		o.ContentDisposition = fmt.Sprintf("attachment; filename=%q", filepath.Base(key))
		o.ContentLanguage = "en, de"
	}
	if i%11 == 0 {
		o.UserTags = map[string]string{"team": "core + tools", "serial": fmt.Sprint(i), "empty": ""}
	}
	if i%13 == 0 {
		o.Expires = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	}
	if i%17 == 0 {
		o.ContentEncoding = "gzip"
	}
	return o
}

// fill puts the files under root into the bucket, with their paths as keys, at most limit of them.
func (b *bucket) fill(ctx context.Context, root string, limit int, varied bool) error {
	files, err := treeFiles(root)
	if err != nil {
		return err
	}
	if limit > 0 && len(files) > limit {
		step := len(files) / limit
		for i := range limit {
			files[i] = files[i*step]
		}
		files = files[:limit]
	}
	c := b.s.Admin()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, f := range files {
		g.Go(func() error {
			data, err := os.ReadFile(filepath.Join(root, f))
			if err != nil {
				return err
			}
			return b.put(ctx, c, f, data, options(i, f, varied))
		})
	}
	return g.Wait()
}

func (b *bucket) put(ctx context.Context, c *minio.Client, key string, data []byte, o minio.PutObjectOptions) error {
	if _, err := c.PutObject(ctx, b.name, key, bytes.NewReader(data), int64(len(data)), o); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

// treeFiles are the regular files under root, relative to it.
func treeFiles(root string) (files []string, err error) {
	err = filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, p)
		files = append(files, filepath.ToSlash(rel))
		return err
	})
	return files, err
}

// goTree is where the Go installation is.
func goTree(ctx context.Context) (string, error) {
	root, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(root)
}

// goEnv asks Go for one of its settings.
func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
