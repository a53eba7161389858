package tobucket

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
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
// as files may not, and then writing one key overwrites another. It is found out once for each way of being odd.
func (t *Target) checkOdd(ctx context.Context, key string) error {
	kind := oddity(key)
	if kind == "" || t.job.DryRun || t.aws {
		return nil
	}
	// A key may be odd in several ways; a server that cleans paths at all is found out by any of them.
	err, known := t.oddities[kind]
	if !known {
		if t.canRemove(ctx) {
			err = t.probe(ctx, kind)
		} else {
			err = t.lookAround(ctx, kind)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.oddities[kind] = err
	}
	return err
}

// canRemove finds out, once, whether an object that is made for a try can be removed again: by the credential, and
// because no lock is set on what is put. It removes a name that does not exist, by its version where there are any, which
// changes nothing.
func (t *Target) canRemove(ctx context.Context) bool {
	if t.removes == nil {
		can := !t.locksByDefault(ctx)
		if can {
			_, err := t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.o.Bucket, Key: aws.String(t.o.Prefix + t.probeName), VersionId: t.nullVersion()})
			can = err == nil || status(err) == http.StatusNotFound
		}
		t.removes = &can
	}
	return *t.removes
}

// nullVersion names the version that an object without others has, in a bucket that has or had versions: without it a
// delete would leave a marker.
func (t *Target) nullVersion() *string {
	if t.versioning == "" {
		return nil
	}
	return aws.String("null")
}

// locksByDefault reports whether what is put in the bucket is locked, or may be.
func (t *Target) locksByDefault(ctx context.Context) bool {
	if t.versioning == "" {
		return false // locks need versions
	}
	out, err := t.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &t.o.Bucket})
	if err != nil {
		return status(err) != http.StatusNotFound && status(err) != http.StatusNotImplemented
	}
	return out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.Rule != nil
}

// probe puts an empty object under an odd key, looks whether it appears under the plain one, and removes it.
func (t *Target) probe(ctx context.Context, kind string) (err error) {
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
	sum := sha256.Sum256(nil)
	out, err := t.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &t.o.Bucket, Key: &odd, ContentLength: aws.Int64(0), ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])),
	})
	if err != nil {
		return fmt.Errorf("%w: this server does not take keys such as %q; restore it to AWS or to a tar stream: %w", restore.ErrRefused, "a"+kind+"b", err)
	}
	version := out.VersionId
	if version == nil {
		version = t.nullVersion()
	}
	o, err := t.look.head(ctx, plain, "")
	if derr := t.removeProbe(ctx, odd, version); derr != nil {
		t.note("an empty object, " + odd + ", could not be removed again")
	}
	if err != nil {
		return err
	}
	if o != nil {
		return takesOneForAnother(odd, plain)
	}
	return nil
}

// removeProbe removes it also where the restore was stopped meanwhile.
func (t *Target) removeProbe(ctx context.Context, key string, version *string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
	defer cancel()
	_, err := t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.o.Bucket, Key: &key, VersionId: version})
	return err
}

// lookAround finds out without making anything: it asks for an object that is there by an odd name for it.
func (t *Target) lookAround(ctx context.Context, kind string) error {
	out, err := t.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &t.o.Bucket})
	if err != nil {
		return t.explain("list what is there to try keys such as", "a"+kind+"b", err)
	}
	for _, x := range out.Contents {
		plain := aws.ToString(x.Key)
		odd := oddName(plain, kind)
		if oddity(plain) != "" || odd == "" {
			continue
		}
		is, err := t.look.head(ctx, odd, "")
		if err != nil {
			return nil //nolint:nilerr // it refuses such keys: putting the object will say so
		}
		if is != nil && is.size == aws.ToInt64(x.Size) && is.etag == strings.Trim(aws.ToString(x.ETag), `"`) {
			return takesOneForAnother(odd, plain)
		}
		return nil
	}
	return fmt.Errorf("%w: whether this server keeps keys such as %q apart from others cannot be tried, since the credential or a lock would not let the try be removed; "+
		"run the same command again: other objects will be there to look at", restore.ErrRefused, "a"+kind+"b")
}

// oddName is a name that a server which cleans paths takes for key; "" if it has none of that kind.
func oddName(key, kind string) string {
	switch kind {
	case "/":
		return "/" + key
	case "//":
		if before, after, ok := strings.Cut(key, "/"); ok && before != "" && after != "" {
			return before + "//" + after
		}
		return ""
	case "..":
		return "x/../" + key
	}
	return "./" + key
}

func takesOneForAnother(odd, plain string) error {
	return fmt.Errorf("%w: this server takes one key for another (%q for %q), so writing this one could overwrite what is right; restore it to AWS or to a tar stream",
		restore.ErrRefused, odd, plain)
}
