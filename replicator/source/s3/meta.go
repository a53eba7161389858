package s3source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// complete fills in what the answer to a GET reveals. Listing fields stay as they are.
func (v *describing) complete(ctx context.Context, e *format.Entry, out *s3.GetObjectOutput) error {
	e.ContentType = str(out.ContentType)
	e.ContentEncoding = withoutChunked(str(out.ContentEncoding))
	e.ContentLanguage = str(out.ContentLanguage)
	e.ContentDisposition = str(out.ContentDisposition)
	e.CacheControl = str(out.CacheControl)
	e.Expires = str(out.ExpiresString)
	e.WebsiteRedirect = str(out.WebsiteRedirectLocation)
	e.Metadata = nil
	if len(out.Metadata) > 0 {
		e.Metadata = out.Metadata
	}
	e.MissingMeta = 0
	if out.MissingMeta != nil {
		e.MissingMeta = *out.MissingMeta
	}
	e.Checksums, e.ChecksumType = checksums(out), ""
	if e.Checksums != nil {
		e.ChecksumType = string(out.ChecksumType)
	}
	if v.s.o.SkipTags {
		return nil
	}
	count := int32(-1)
	if out.TagCount != nil {
		count = *out.TagCount
	}
	var server string
	if resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response); ok {
		server = resp.Header.Get("Server")
	}
	if !v.noTags(count, server) && count < 0 && sendsCounts(server) {
		first, err := v.awaitFirst(ctx)
		if err != nil {
			return err
		}
		if first {
			defer close(v.known.first)
		}
	}
	if v.noTags(count, server) {
		e.Tags, e.TagsRead = nil, v.s.o.Now().Unix()
		return nil
	}
	return v.readTags(ctx, e, count)
}

// awaitFirst lets one ask for tags of which nobody knows yet whether they may be read, and the others wait for what it learns: it closes
// known.first. If it learns nothing, each asks for itself.
func (v *describing) awaitFirst(ctx context.Context) (first bool, err error) {
	v.mu.Lock()
	done := v.known.first
	if first = done == nil; first {
		v.known.first = make(chan struct{})
	}
	v.mu.Unlock()
	if first {
		return true, nil
	}
	select {
	case <-done:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// withoutChunked drops "aws-chunked", which says how an upload was sent and nothing of the content.
func withoutChunked(s string) string {
	if !strings.Contains(s, "aws-chunked") {
		return s
	}
	var kept []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "aws-chunked" && part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ",")
}

// serverFacts is what a view has learned of its server.
type serverFacts struct {
	counts bool          // a GET carried x-amz-tagging-count: the server sends it
	hides  bool          // an object had tags and its GET carried no count: the server, or the grant, leaves it out
	asked  bool          // GetObjectTagging was answered: the credentials may read tags
	none   bool          // the server knows no tags
	first  chan struct{} // closed once the first who asked for tags was answered; nil until then
	bad    map[string]int
}

// noTags reports whether an object whose GET carried this tag count (-1: none) certainly has no tags, so that they need
// not be asked for. The header is left out where there are no tags, but also by servers that do not know it and for
// credentials that may not read tags. So its absence counts only once the view has seen it, or, at servers known to
// send it, once the right to read tags is proved.
func (v *describing) noTags(count int32, server string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := &v.known
	if count >= 0 {
		k.counts = true
		return count == 0
	}
	if k.none {
		return true
	}
	if k.hides {
		return false
	}
	return k.counts || (k.asked && sendsCounts(server))
}

// sendsCounts reports whether a server is known to send x-amz-tagging-count with every object that has tags.
func sendsCounts(server string) bool {
	return server == "AmazonS3" || server == "MinIO" || server == "VERSITYGW"
}

// ofVersion asks for the version of e that was listed: without a version where only current objects are read, and where
// the server lists a version "null" in a bucket without versions and does not know it in other requests (versitygw).
func ofVersion[T any](v *view, e *format.Entry, ask func(version *string) (T, error)) (T, error) {
	if !v.s.all() {
		return ask(nil)
	}
	out, err := ask(optional(e.Version))
	if err != nil && e.Version == "null" && awsclient.AnswerOf(err).Status == http.StatusNotFound {
		return ask(nil)
	}
	return out, err
}

// readTags asks for the tags of e; count is what its GET said, -1 if nothing.
func (v *describing) readTags(ctx context.Context, e *format.Entry, count int32) error {
	out, err := ofVersion(v.view, e, func(version *string) (*s3.GetObjectTaggingOutput, error) {
		return v.s.client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{
			Bucket: &v.s.o.Bucket, Key: &e.Key, VersionId: version, RequestPayer: v.payer(),
		})
	})
	if err != nil {
		return v.tagError(ctx, e, err)
	}
	var tags map[string]string
	for _, t := range out.TagSet {
		if tags == nil {
			tags = make(map[string]string, len(out.TagSet))
		}
		tags[str(t.Key)] = str(t.Value)
	}
	v.mu.Lock()
	v.known.asked = true
	if len(tags) > 0 && count == -1 {
		v.known.hides = true
	}
	v.mu.Unlock()
	e.Tags, e.TagsRead = tags, v.s.o.Now().Unix()
	return nil
}

// tagError tells a server without tags from tags that may not be read.
func (v *describing) tagError(ctx context.Context, e *format.Entry, err error) error {
	a := awsclient.AnswerOf(err)
	if a.Status == http.StatusNotImplemented || a.Code == "NotImplemented" {
		v.mu.Lock()
		v.known.none = true
		v.mu.Unlock()
		e.Tags, e.TagsRead = nil, v.s.o.Now().Unix()
		return nil
	}
	if a.Code == "NoSuchTagSet" || a.Code == "NoSuchTagSetError" {
		e.Tags, e.TagsRead = nil, v.s.o.Now().Unix()
		return nil
	}
	mapped := v.objectError(ctx, "read the tags of", e, err)
	var u *source.Unreadable
	if errors.As(mapped, &u) && u.Reason == "access denied" {
		right := "s3:GetObjectTagging"
		if v.s.all() {
			right = "s3:GetObjectVersionTagging"
		}
		u.Reason = "access to its tags denied"
		u.Err = fmt.Errorf("%w; grant %s or set tags: never", err, right)
	}
	return mapped
}

// Complete implements source.View: of an object only its tags can change without a trace in a listing, unless it was
// written again within the second.
func (v *view) Complete(ctx context.Context, e *format.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch {
	case e.Kind != format.KindObject:
		return nil
	case e.Recheck:
		return v.meta.head(ctx, e)
	case v.s.o.SkipTags:
		return nil
	}
	return v.meta.readTags(ctx, e, 0)
}

// head asks for everything but the content of an object that was listed as it is now.
func (v *describing) head(ctx context.Context, e *format.Entry) error {
	out, err := v.headObject(ctx, e, v.forms(0)[0].encoding)
	if err == nil && deref(out.ContentLength, e.Size) != e.Size {
		out, err = v.headObject(ctx, e, "gzip") // what is stored, not what it would be unpacked
	}
	if err != nil {
		return v.objectError(ctx, "look at", e, err)
	}
	size, got := deref(out.ContentLength, e.Size), unquote(str(out.ETag))
	if size != e.Size || got != e.ETag && !(sameTime(out.LastModified, e.Modified.Time) && v.pins.stillListed(ctx, e) == nil) {
		return fmt.Errorf("look at %q of %s: ETag %.80q and %d bytes instead of %.80q and %d: %w", e.Key, v.s.name, got, size, e.ETag, e.Size, source.ErrChanged)
	}
	return v.complete(ctx, e, &s3.GetObjectOutput{
		ContentType: out.ContentType, ContentEncoding: out.ContentEncoding, ContentLanguage: out.ContentLanguage,
		ContentDisposition: out.ContentDisposition, CacheControl: out.CacheControl, ExpiresString: out.ExpiresString,
		WebsiteRedirectLocation: out.WebsiteRedirectLocation, Metadata: out.Metadata, MissingMeta: out.MissingMeta,
		ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC32C: out.ChecksumCRC32C, ChecksumCRC64NVME: out.ChecksumCRC64NVME,
		ChecksumSHA1: out.ChecksumSHA1, ChecksumSHA256: out.ChecksumSHA256, ChecksumType: out.ChecksumType,
		TagCount: out.TagCount, ResultMetadata: out.ResultMetadata,
	})
}

func (v *describing) headObject(ctx context.Context, e *format.Entry, encoding string) (*s3.HeadObjectOutput, error) {
	ctx = awsclient.WithEncoding(ctx, encoding)
	return ofVersion(v.view, e, func(version *string) (*s3.HeadObjectOutput, error) {
		return v.s.client.HeadObject(ctx, &s3.HeadObjectInput{
			Bucket: &v.s.o.Bucket, Key: &e.Key, VersionId: version, RequestPayer: v.payer(), ChecksumMode: types.ChecksumModeEnabled,
		})
	})
}

// Requests implements source.Billed: a GET for each object that is read, a HEAD for each that is looked at, and one more for its
// tags where it has some, or where the answers of the server do not say that it has none.
func (v *view) Requests(r source.Reading) int64 {
	described := r.Reads + r.Heads
	n := described + r.Looks + settingsAsked
	switch {
	case v.s.o.SkipTags:
	case !sendsCounts(v.server):
		n += described
	default:
		n += max(r.Tagged, min(described, 1))
	}
	return n
}
