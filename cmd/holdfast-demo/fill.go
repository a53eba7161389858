package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// sourceFile is a file of the Go installation, and the key it gets in the bucket.
type sourceFile struct{ path, key string }

// goFiles picks n of the files that every Go installation has, evenly over all of them, the same ones every time.
func goFiles(ctx context.Context, n int) ([]sourceFile, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	root, err := filepath.EvalSymlinks(filepath.Join(strings.TrimSpace(string(out)), "src"))
	if err != nil {
		return nil, err
	}
	var all []sourceFile
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		all = append(all, sourceFile{path, "go/src/" + filepath.ToSlash(rel)})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the Go installation: %w", err)
	}
	if len(all) < n {
		return all, nil
	}
	picked := make([]sourceFile, n)
	for i := range picked {
		picked[i] = all[i*len(all)/n]
	}
	return picked, nil
}

// upload gives the nth object to store: the file's bytes, and headers, metadata and tags of every kind on some.
func (f sourceFile) upload(n int) (*s3.PutObjectInput, error) {
	body, err := os.ReadFile(f.path)
	if err != nil {
		return nil, err
	}
	in := &s3.PutObjectInput{Key: aws.String(f.key), ContentType: aws.String(contentType(f.key))}
	if n%5 == 0 {
		in.CacheControl, in.ContentLanguage = aws.String("public, max-age=86400"), aws.String("en")
	}
	if n%7 == 0 {
		in.Metadata = map[string]string{"owner": "web-team", "note": "uploaded by the shop; number " + fmt.Sprint(n)}
	}
	if n%10 == 0 {
		in.Tagging = aws.String("department=sales&keep=yes&number=" + fmt.Sprint(n))
	}
	if n%11 == 0 {
		in.ContentDisposition = aws.String(`attachment; filename="` + filepath.Base(f.path) + `"`)
	}
	if n%13 == 0 {
		in.Expires = aws.Time(time.Date(2033, time.December, 1, 16, 0, n%60, 0, time.UTC))
	}
	if n%17 == 0 {
		in.ContentEncoding = aws.String("gzip")
		if body, err = gzipped(body); err != nil {
			return nil, err
		}
	}
	in.Body = bytes.NewReader(body)
	return in, nil
}

func contentType(key string) string {
	known := map[string]string{
		".go": "text/x-go; charset=utf-8", ".s": "text/x-asm", ".txt": "text/plain; charset=utf-8", ".md": "text/markdown",
		".html": "text/html; charset=utf-8", ".json": "application/json", ".zip": "application/zip", ".png": "image/png",
	}
	if t, ok := known[filepath.Ext(key)]; ok {
		return t
	}
	return "application/octet-stream"
}

func gzipped(body []byte) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// oddObjects are what source files are not: empty, large and incompressible, and named by people.
func oddObjects() []*s3.PutObjectInput {
	video := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(video) // never fails
	return []*s3.PutObjectInput{
		{Key: aws.String("media/film.mp4"), ContentType: aws.String("video/mp4"), Body: bytes.NewReader(video)},
		{Key: aws.String("media/empty.txt"), ContentType: aws.String("text/plain"), Body: bytes.NewReader(nil)},
		{
			Key:  aws.String("Überblick & Preise/100% sicher? (alt) +1.txt"),
			Body: strings.NewReader("names that people type\n"), ContentType: aws.String("text/plain; charset=utf-8"),
			Metadata: map[string]string{"source": "a person"},
		},
	}
}

// fill makes the live bucket and loads it.
func fill(ctx context.Context, c *s3.Client, bucket string, files []sourceFile) error {
	if _, err := c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	versioning := &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}
	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &bucket, VersioningConfiguration: versioning}); err != nil {
		return fmt.Errorf("switch versioning on: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, in := range oddObjects() {
		g.Go(func() error { return put(ctx, c, bucket, in) })
	}
	for i, f := range files {
		g.Go(func() error {
			in, err := f.upload(i)
			if err != nil {
				return err
			}
			return put(ctx, c, bucket, in)
		})
	}
	return g.Wait()
}

func put(ctx context.Context, c *s3.Client, bucket string, in *s3.PutObjectInput) error {
	in.Bucket = &bucket
	if _, err := c.PutObject(ctx, in); err != nil {
		return fmt.Errorf("store %s: %w", *in.Key, err)
	}
	return nil
}

// work is a day's: some objects get other bytes, some other headers, some are new, some are deleted.
type work struct{ changed, added, deleted int }

func aDaysWork(ctx context.Context, c *s3.Client, bucket string, files []sourceFile) (work, error) {
	var w work
	var todo []func() error
	for i, f := range slices.Backward(files) {
		switch {
		case i%50 == 1:
			w.changed++
			todo = append(todo, func() error { return rewrite(ctx, c, bucket, f, i) })
		case i%100 == 2:
			w.added++
			todo = append(todo, func() error {
				in := &s3.PutObjectInput{Key: aws.String("new/" + f.key), ContentType: aws.String(contentType(f.key)), Tagging: aws.String("new=yes")}
				in.Body = strings.NewReader("written on the second day\n" + f.key + "\n")
				return put(ctx, c, bucket, in)
			})
		case i%100 == 3:
			w.deleted++
			todo = append(todo, func() error {
				_, err := c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &f.key})
				return err
			})
		}
	}
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, do := range todo {
		g.Go(do)
	}
	if err := g.Wait(); err != nil {
		return w, fmt.Errorf("change objects in %s: %w", bucket, err)
	}
	if w.changed == 0 || w.added == 0 || w.deleted == 0 {
		return w, errors.New("too few files for a day's work")
	}
	return w, nil
}

// rewrite stores an object again: every other one with a line more, the rest with other headers only.
func rewrite(ctx context.Context, c *s3.Client, bucket string, f sourceFile, i int) error {
	in, err := f.upload(i)
	if err != nil {
		return err
	}
	if i%100 == 1 {
		body, err := os.ReadFile(f.path)
		if err != nil {
			return err
		}
		in.ContentEncoding, in.Body = nil, bytes.NewReader(append(body, "\n// changed on the second day\n"...))
	} else {
		in.ContentType, in.Metadata = aws.String("text/plain"), map[string]string{"changed": "on the second day"}
		in.Tagging = aws.String("changed=yes")
	}
	return put(ctx, c, bucket, in)
}
