package tobucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// receiver puts the versions of one key.
type receiver struct {
	t   *Target
	key string
}

// Restore implements restore.Receiver.
func (r receiver) Restore(ctx context.Context, e *format.Entry, c restore.Content) error {
	if e.Kind == format.KindMarker {
		_, err := r.t.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &r.t.o.Bucket, Key: &r.key})
		return r.t.explain("put a delete marker on", r.key, err)
	}
	class := r.t.class(e)
	err := r.put(ctx, e, c, class)
	if class != "" && code(err) == "InvalidStorageClass" {
		r.t.note("the server does not know some storage classes; its usual one was taken")
		err = r.put(ctx, e, c, "")
	}
	return err
}

func (r receiver) put(ctx context.Context, e *format.Entry, c restore.Content, class types.StorageClass) error {
	if e.Size > singlePut {
		return r.inParts(ctx, e, c, class)
	}
	in := &s3.PutObjectInput{
		Bucket: &r.t.o.Bucket, Key: &r.key, ContentLength: &e.Size, ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(e.SHA256[:])),
		ContentType: text(e.ContentType), ContentEncoding: text(e.ContentEncoding), ContentLanguage: text(e.ContentLanguage),
		ContentDisposition: text(e.ContentDisposition), CacheControl: text(e.CacheControl), WebsiteRedirectLocation: text(e.WebsiteRedirect),
		Metadata: metadata(e), Tagging: text(tagging(e.Tags)), StorageClass: class,
	}
	if b, ok := c.Whole(); ok {
		in.Body = bytes.NewReader(b)
		_, err := r.t.client.PutObject(ctx, in, signed(e.SHA256), expires(e.Expires))
		return r.t.explain("put", r.key, err)
	}
	body := newBody(ctx, c, e.Size)
	defer body.stop()
	in.Body = body
	_, err := r.t.client.PutObject(ctx, in, signed(e.SHA256), expires(e.Expires))
	if berr := body.failed(); berr != nil {
		return berr
	}
	return r.t.explain("put", r.key, err)
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

// class gives the storage class to ask for. Archives are not written to unless that is wanted: what was just restored
// should be readable.
func (t *Target) class(e *format.Entry) types.StorageClass {
	switch c := types.StorageClass(e.StorageClass); c {
	case "", types.StorageClassStandard:
		return ""
	case types.StorageClassGlacier, types.StorageClassDeepArchive:
		if t.o.ArchiveClasses {
			return c
		}
		t.note("objects from archive classes were restored to the bucket's usual one")
		return ""
	case types.StorageClassStandardIa, types.StorageClassOnezoneIa, types.StorageClassIntelligentTiering,
		types.StorageClassGlacierIr, types.StorageClassReducedRedundancy:
		return c
	}
	t.note("objects of storage classes that cannot be asked for were restored to the bucket's usual one")
	return ""
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

// code gives the server's error code, "" if there is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// explain says what was being done, and tells what ends the restore from what fails one key.
func (t *Target) explain(op, key string, err error) error {
	if err == nil {
		return nil
	}
	switch code(err) {
	case "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return fmt.Errorf("%w: %s %q in %s: %w", restore.ErrStop, op, key, t.name, err)
	case "KeyTooLongError", "XMinioInvalidObjectName", "XMinioParentIsObject", "XMinioObjectExistsAsDirectory", "ObjectParentIsFile", "ExistingObjectIsDirectory",
		"DirectoryObjectContainsData":
		return fmt.Errorf("%w: this server cannot hold the key; restore it to AWS or to a tar stream: %w", restore.ErrRefused, err)
	}
	return fmt.Errorf("%s %q in %s: %w", op, key, t.name, err)
}
