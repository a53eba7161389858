package main

import (
	"context"
	"io"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
	"github.com/rogpeppe/go-internal/testscript"
)

// touch BUCKET KEY HOW does something to an object: same writes the same bytes again, metadata gives it others, tags tags it, delete deletes
// it, or lays a marker on it.
func (w *world) touch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: touch BUCKET KEY same|metadata|tags|delete")
	}
	b, key, ctx := w.find(ts, args[0]), args[1], context.Background()
	c := b.on.Admin()
	was, err := c.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	ts.Check(err)
	switch args[2] {
	case "same":
		r, err := c.GetObject(ctx, b.name, key, minio.GetObjectOptions{})
		ts.Check(err)
		body, err := io.ReadAll(r)
		ts.Check(err)
		for { // until the server's clock tells it
			putObject(ts, b, key, body, minio.PutObjectOptions{ContentType: was.ContentType})
			is, err := c.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
			ts.Check(err)
			if !is.LastModified.Equal(was.LastModified) {
				return
			}
		}
	case "metadata":
		_, err = c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b.name, Object: key, ReplaceMetadata: true, UserMetadata: map[string]string{"by": "eve"}},
			minio.CopySrcOptions{Bucket: b.name, Object: key})
	case "tags":
		var t *tags.Tags
		t, err = tags.NewTags(map[string]string{"by": "eve"}, true)
		ts.Check(err)
		err = c.PutObjectTagging(ctx, b.name, key, t, minio.PutObjectTaggingOptions{})
	case "delete":
		err = c.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{})
	default:
		ts.Fatalf("unknown way %s", args[2])
	}
	ts.Check(err)
}
