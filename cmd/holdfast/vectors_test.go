package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestVectorRepository makes docs/vectors/repository anew, with -update: every file of it changes then, as keys, salts and what age seals are
// random. The script vector-repository holds the readers to it.
func TestVectorRepository(t *testing.T) {
	if !*update {
		if _, err := os.Stat("../../docs/vectors/repository/expected/points"); err != nil {
			t.Fatalf("make it with -update: %v", err)
		}
		return
	}
	w := &world{t: t, buckets: map[string]*bucket{}}
	cmds := scriptCommands(t)
	maps.Copy(cmds, map[string]scriptCommand{"bucket": w.bucket, "user": w.user, "sample": w.sample, "sums": w.sums, "vectors": keepVectors})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/vectors", RequireExplicitExec: true, RequireUniqueNames: true, Setup: bare, Cmds: cmds,
	})
}

// sample BUCKET first|second puts objects with all that an object of a bucket can have, and what the second run finds changed.
func (w *world) sample(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	o := minio.PutObjectOptions{
		ContentType: "text/x-test", CacheControl: "max-age=60", ContentDisposition: "inline", ContentLanguage: "de", ContentEncoding: "x-none",
		UserMetadata: map[string]string{"owner": "ann"}, UserTags: map[string]string{"class": "a b"},
	}
	if args[1] == "second" {
		putObject(ts, b, "docs/a.txt", []byte("some other text"), o)
		putObject(ts, b, "docs/new", []byte("new"), minio.PutObjectOptions{})
		return
	}
	putObject(ts, b, "docs/a.txt", []byte("some text"), o)
	putObject(ts, b, "docs/empty", nil, minio.PutObjectOptions{})
	putObject(ts, b, "docs/odd + ü&\"\\ .txt", []byte("odd name"), minio.PutObjectOptions{})
	putObject(ts, b, "docs/twice", []byte("first"), minio.PutObjectOptions{})
	putObject(ts, b, "docs/twice", []byte("second"), minio.PutObjectOptions{})
	putObject(ts, b, "docs/large", bytes.Repeat([]byte("a line of a large object\n"), 400_000), minio.PutObjectOptions{})
	putObject(ts, b, "gone", []byte("deleted"), minio.PutObjectOptions{})
	ts.Check(b.on.Admin().RemoveObject(context.Background(), b.name, "gone", minio.RemoveObjectOptions{}))
}

// sums BUCKET FILE writes the SHA-256 of every current object of a bucket, as sha256sum does.
func (w *world) sums(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	ctx, c := context.Background(), b.on.Admin()
	var lines []string
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true}) {
		ts.Check(o.Err)
		r, err := c.GetObject(ctx, b.name, o.Key, minio.GetObjectOptions{})
		ts.Check(err)
		content, err := io.ReadAll(r)
		ts.Check(err)
		line := fmt.Sprintf("%x  %s\n", sha256.Sum256(content), o.Key)
		if strings.Contains(o.Key, `\`) {
			line = fmt.Sprintf("\\%x  %s\n", sha256.Sum256(content), strings.ReplaceAll(o.Key, `\`, `\\`))
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(lines, "")), 0o600))
}

// vectors NAME... puts files and folders in the place of docs/vectors/repository.
func keepVectors(ts *testscript.TestScript, neg bool, args []string) {
	to, err := filepath.Abs(filepath.Join(ts.Getenv("DOCS"), "vectors/repository"))
	ts.Check(err)
	ts.Check(os.RemoveAll(to))
	ts.Check(os.MkdirAll(to, 0o755))
	for _, name := range args {
		out, err := exec.Command("cp", "-r", ts.MkAbs(name), to).CombinedOutput()
		if err != nil {
			ts.Fatalf("%s: %v", out, err)
		}
	}
	out, err := exec.Command("chmod", "-R", "u+w,go+r", to).CombinedOutput()
	if err != nil {
		ts.Fatalf("%s: %v", out, err)
	}
}
