package tobucket

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// oddity says in which way a key is no plain path, "" if it is one.
func oddity(key string) string {
	switch {
	case strings.HasPrefix(key, "/"):
		return "/"
	case strings.Contains(key, "//"):
		return "//"
	}
	for seg := range strings.SplitSeq(key, "/") {
		if seg == "." || seg == ".." {
			return seg
		}
	}
	return ""
}

// checkOdd refuses a key that the server would take for another one. AWS takes keys as they are; servers that keep objects
// as files may not, and then writing one key overwrites another. It is tried once, with a name that nothing else has.
func (t *Target) checkOdd(ctx context.Context, key string) error {
	kind := oddity(key)
	if kind == "" || t.job.DryRun {
		return nil
	}
	// A key may be odd in several ways; a server that cleans paths at all is found out by any of them.
	err, known := t.oddities[kind]
	if !known {
		err = t.probe(ctx, kind)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.oddities[kind] = err
	}
	return err
}

// probe puts an empty object under an odd key and looks whether it appears under the plain one.
func (t *Target) probe(ctx context.Context, kind string) error {
	base := t.o.Prefix + t.probeName
	odd, plain := base+"/"+kind+"/x", base+"/x"
	switch kind {
	case "/":
		odd, plain = "/"+base, base
	case "//":
		odd = base + "//x"
	case "..":
		plain = t.o.Prefix + "x-" + t.probeName
		odd = base + "/../x-" + t.probeName
	}
	if _, err := t.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &t.o.Bucket, Key: &odd}); err != nil {
		return fmt.Errorf("%w: this server does not take keys such as %q; restore it to AWS or to a tar stream: %w", restore.ErrRefused, "a"+kind+"b", err)
	}
	o, err := t.head(ctx, plain)
	for _, k := range []string{odd, plain} {
		// It may lack the right to; what stays is empty and says what it is.
		if _, derr := t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.o.Bucket, Key: &k}); derr != nil {
			t.note("an empty object, " + k + ", could not be removed again")
		}
	}
	if err != nil {
		return err
	}
	if o != nil {
		return fmt.Errorf("%w: this server takes one key for another (%q for %q), so writing this one could overwrite what is right; restore it to AWS or to a tar stream",
			restore.ErrRefused, odd, plain)
	}
	return nil
}
