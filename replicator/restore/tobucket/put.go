package tobucket

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what servers give as ETag, beside SHA-256 where they have that
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// sent is what is known of an object that was just put.
type sent struct {
	etag, version string
	md5           func() string // the ETag that most servers give to what was sent; "" if it is not known
	parts         string        // of an upload in parts: the sum of the parts' SHA-256 as servers give it
}

// put sends one version and looks at what the target made of it. last says that it is to be current.
func (r *receiver) put(ctx context.Context, e *format.Entry, c restore.Content, class types.StorageClass, last bool) error {
	send := r.whole
	if e.Size > singlePut {
		send = r.inParts
	}
	s, err := send(ctx, e, c, class)
	if err != nil {
		return err
	}
	r.marker = ""
	return r.readBack(ctx, e, s, class, last)
}

// whole sends an object in one request.
func (r *receiver) whole(ctx context.Context, e *format.Entry, c restore.Content, class types.StorageClass) (sent, error) {
	in := &s3.PutObjectInput{
		Bucket: &r.t.o.Bucket, Key: &r.key, ContentLength: &e.Size, ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(e.SHA256[:])),
		ContentType: text(e.ContentType), ContentEncoding: text(e.ContentEncoding), ContentLanguage: text(e.ContentLanguage),
		ContentDisposition: text(e.ContentDisposition), CacheControl: text(e.CacheControl), WebsiteRedirectLocation: text(e.WebsiteRedirect),
		Metadata: metadata(e), Tagging: text(tagging(e.Tags)), StorageClass: class,
	}
	var s sent
	if b, ok := c.Whole(); ok {
		in.Body = bytes.NewReader(b)
		s.md5 = sync.OnceValue(func() string { return fmt.Sprintf("%x", md5.Sum(b)) })
		out, err := r.t.client.PutObject(ctx, in, signed(e.SHA256), expires(e.Expires))
		return s.answered(out, r.t.explain("put", r.key, err))
	}
	body := newBody(ctx, c, e.Size, !r.t.givesSums.Load())
	defer body.stop()
	in.Body, s.md5 = body, body.md5
	out, err := r.t.client.PutObject(ctx, in, signed(e.SHA256), expires(e.Expires))
	if berr := body.failed(); berr != nil {
		return s, berr
	}
	return s.answered(out, r.t.explain("put", r.key, err))
}

func (s sent) answered(out *s3.PutObjectOutput, err error) (sent, error) {
	if err == nil {
		s.etag, s.version = strings.Trim(aws.ToString(out.ETag), `"`), aws.ToString(out.VersionId)
	}
	return s, err
}

// mark sets a delete marker.
func (r *receiver) mark(ctx context.Context, last bool) error {
	out, err := r.t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &r.t.o.Bucket, Key: &r.key})
	if err != nil {
		return r.t.explain("put a delete marker on", r.key, err)
	}
	version := aws.ToString(out.VersionId)
	if !aws.ToBool(out.DeleteMarker) || version != "" && version == r.marker {
		r.t.note("this server keeps no delete marker on another one or on nothing; the point has some")
	}
	r.marker = version
	if last {
		return r.seeDeleted(ctx)
	}
	return nil
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// metadata is the user's own; a file's modification time is written as rclone does.
func metadata(e *format.Entry) map[string]string {
	if e.File == nil {
		return e.Metadata
	}
	return map[string]string{"mtime": fmt.Sprintf("%d.%09d", e.Modified.Unix(), e.Modified.Nanosecond())}
}

func tagging(tags map[string]string) string {
	v := url.Values{}
	for k, x := range tags {
		v.Set(k, x)
	}
	return strings.ReplaceAll(v.Encode(), "+", "%20")
}

// signed has the request signed with a hash that is known, so that the body is neither hashed again nor sent unsigned.
func signed(sum format.Hash) func(*s3.Options) {
	return option(func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("KnownPayloadHash",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
			}), middleware.Before)
	})
}

// expires sends the header as it was: it need not be a date.
func expires(raw string) func(*s3.Options) {
	if raw == "" {
		return func(*s3.Options) {}
	}
	return option(smithyhttp.SetHeaderValue("Expires", raw))
}

func option(f func(*middleware.Stack) error) func(*s3.Options) {
	return func(o *s3.Options) { o.APIOptions = append(o.APIOptions, f) }
}

// explain says what was being done, and tells what ends the restore from what fails one key.
func (t *Target) explain(op, key string, err error) error {
	if err == nil {
		return nil
	}
	kind, code := awsclient.Kind(err), awsclient.AnswerOf(err).Code
	if code == "NoSuchBucket" || errors.Is(kind, store.ErrCredentials) || errors.Is(kind, store.ErrClock) { // no other key would fare better
		return fmt.Errorf("%w: %s %q in %s: %w", restore.ErrStop, op, key, t.name, err)
	}
	switch code {
	case "KeyTooLongError", "InvalidObjectName", "InvalidURI", "XMinioInvalidObjectName", "XMinioInvalidResourceName", "XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "ObjectParentIsFile", "ExistingObjectIsDirectory",
		"DirectoryObjectContainsData":
		return fmt.Errorf("%w: this server cannot hold the key; restore it to AWS or to a tar stream: %w", restore.ErrRefused, err)
	}
	return fmt.Errorf("%s %q in %s: %w", op, key, t.name, err)
}
