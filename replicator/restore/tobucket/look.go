package tobucket

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// shown is what the target says of one object.
type shown struct {
	size    int64
	etag    string
	version string
	sha256  string // of the whole, in base64; "" where the target gives none
	parts   string // the same over the SHA-256 of its parts
	opaque  bool   // encrypted with a key, so that the ETag is no sum of the content
	tags    int    // how many; -1 where the target does not say
	attrs
}

// errBlind: the credential may not look at objects.
var errBlind = errors.New("the credential lacks the right to look at objects (s3:GetObject)")

// head asks for an object, or for one version of it. It gives nil where there is none.
func (t *looking) head(ctx context.Context, key, version string) (*shown, error) {
	in := &s3.HeadObjectInput{Bucket: &t.o.Bucket, Key: &key, VersionId: text(version), ChecksumMode: types.ChecksumModeEnabled}
	out, err := t.client.HeadObject(ctx, in)
	if err != nil && status(err) == http.StatusForbidden {
		in.ChecksumMode = "" // AWS wants a right to the KMS key for showing a sum
		out, err = t.client.HeadObject(ctx, in)
	}
	switch {
	case err == nil:
	case status(err) == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %w", errBlind, t.explain("look at", key, err))
	case status(err) == http.StatusNotFound, status(err) == http.StatusMethodNotAllowed: // the latter: a delete marker
		return nil, nil
	default:
		return nil, t.explain("look at", key, err)
	}
	o := &shown{
		size: aws.ToInt64(out.ContentLength), etag: strings.Trim(aws.ToString(out.ETag), `"`), version: aws.ToString(out.VersionId), tags: -1,
		opaque: out.SSECustomerAlgorithm != nil || out.ServerSideEncryption != "" && out.ServerSideEncryption != types.ServerSideEncryptionAes256,
		attrs:  shownBy(out),
	}
	if sum := aws.ToString(out.ChecksumSHA256); strings.Contains(sum, "-") || out.ChecksumType == types.ChecksumTypeComposite {
		o.parts = sum
	} else {
		o.sha256 = sum
	}
	switch {
	case out.TagCount != nil:
		o.tags = int(*out.TagCount)
		t.countsTags.Store(true)
	case t.countsTags.Load():
		o.tags = 0
	}
	return o, nil
}

// tagsOf reads an object's tags. ok is false where the target does not let them be read.
func (t *looking) tagsOf(ctx context.Context, key, version string) (tags map[string]string, ok bool, err error) {
	if t.hidesTags.Load() {
		return nil, false, nil
	}
	out, err := t.client.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &t.o.Bucket, Key: &key, VersionId: text(version)})
	switch {
	case err == nil:
	case status(err) == http.StatusForbidden, status(err) == http.StatusNotImplemented, status(err) == http.StatusMethodNotAllowed:
		t.hidesTags.Store(true)
		t.note("tags could not be read at the target, and so not compared: the credential lacks the right (s3:GetObjectTagging), or the server does not have it")
		return nil, false, nil
	case awsclient.AnswerOf(err).Code == "NoSuchTagSet":
		return nil, true, nil
	default:
		return nil, false, t.explain("read the tags of", key, err)
	}
	tags = make(map[string]string, len(out.TagSet))
	for _, x := range out.TagSet {
		tags[aws.ToString(x.Key)] = aws.ToString(x.Value)
	}
	return tags, true, nil
}

// knowsTags reports whether the point says what tags an entry has.
func knowsTags(e *format.Entry) bool { return len(e.Tags) > 0 || e.TagsRead != 0 }

// tagDiffs compares tags. With all false, those that a restore has just set, their number is enough where the target says it.
func (t *looking) tagDiffs(ctx context.Context, key, version string, e *format.Entry, o *shown, all bool) ([]difference, error) {
	n := len(e.Tags)
	if !knowsTags(e) || o.tags == n && (n == 0 || !all) || !all && n == 0 {
		return nil, nil
	}
	got, ok, err := t.tagsOf(ctx, key, version)
	if err != nil || !ok {
		return nil, err
	}
	return compareTags(e.Tags, got), nil
}

// certainty is what is known of content without reading it.
type certainty int

const (
	unknown certainty = iota
	same
	differs
)

// content compares an object's content with an entry's by what the target says of it. Visibly says that what cannot be
// told counts as the same: it takes an ETag for what it seems to be. Where both have an ETag that looks like an MD5, and
// not the same, only the content tells: either may be something else.
func (t *looking) content(e *format.Entry, o *shown, visibly bool) certainty {
	switch {
	case o.size != e.Size:
		return differs
	case e.Size == 0:
		return same
	case o.sha256 != "":
		if o.sha256 == base64.StdEncoding.EncodeToString(e.SHA256[:]) {
			return same
		}
		return differs
	case isMD5(o.etag) && !o.opaque && isMD5(e.ETag):
		if o.etag == e.ETag && (visibly || t.etags.Load() == etagsAreMD5) {
			return same
		}
		if visibly && t.etags.Load() == etagsAreOpaque {
			return same
		}
		return unknown
	case visibly:
		return same
	}
	return unknown
}

// judged is what came of looking at an object.
type judged struct {
	content certainty
	diffs   []difference // of the rest, those that count
	tags    []difference // of its tags
}

// right reports whether nothing differs.
func (j judged) right() bool { return j.content == same && len(j.diffs)+len(j.tags) == 0 }

// judge compares an object that is there with an entry.
func (t *looking) judge(ctx context.Context, key, version string, e *format.Entry, o *shown) (judged, error) {
	j := judged{content: t.content(e, o, t.job.Overwrite == restore.Never)}
	for _, d := range wantedOf(e, t.class(e, false)).compare(o.attrs) {
		counts, err := t.counts(ctx, key, d, e)
		if err != nil {
			return j, err
		}
		if counts {
			j.diffs = append(j.diffs, d)
		}
	}
	var err error
	j.tags, err = t.tagDiffs(ctx, key, version, e, o, true)
	return j, err
}

// counts reports whether a difference is one that a restore could put right. What this server cannot hold is not; where
// that is not known yet, putting the object tells, and where nothing is to be put it is noted.
func (t *looking) counts(ctx context.Context, key string, d difference, e *format.Entry) (bool, error) {
	switch class := t.class(e, false); {
	case d.limit == "", t.aws:
		return true, nil
	case t.isLimit(d.limit):
		t.limited(d.limit)
		return false, nil
	case strings.HasPrefix(d.limit, limitExtra):
		return true, nil
	case strings.HasPrefix(d.limit, limitClass):
		if class == "" {
			return true, nil
		}
		return t.holdsClass(ctx, key, class)
	case t.job.Overwrite == restore.Never:
		t.note("objects lack what the point has for them, and this server may be unable to keep: " + d.limit)
		return false, nil
	}
	return true, nil
}

func (t *looking) isLimit(limit string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limits[limit]
}

// limited notes what this server turned out to be unable to hold.
func (t *looking) limited(limit string) {
	t.mu.Lock()
	t.limits[limit] = true
	t.mu.Unlock()
	t.note("this server does not keep " + limit + "; objects were restored without")
}

// all names what differs, for people.
func (j judged) all(e *format.Entry, o *shown) string {
	var out []difference
	switch {
	case o.size != e.Size:
		out = append(out, difference{text: fmt.Sprintf("the size is %d bytes, not %d", o.size, e.Size)})
	case j.content == differs:
		out = append(out, difference{text: "the content"})
	}
	return texts(append(append(out, j.diffs...), j.tags...))
}
