package tobucket

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// object is what the bucket has under a key.
type object struct {
	size     int64
	etag     string
	modified time.Time
}

// lister answers what is at the target, key after key in ascending order, from a listing that runs beside the manifest. It
// jumps ahead where the manifest does. Of a server that lists in another order it asks for each key by itself.
type lister struct {
	t       *Target
	page    []listed
	last    string // the key listed last
	end     bool
	jumbled bool
}

type listed struct {
	key string
	object
}

func newLister(t *Target) *lister { return &lister{t: t} }

// find gives the object under key, nil if there is none.
func (l *lister) find(ctx context.Context, key string) (*object, error) {
	for !l.jumbled {
		for len(l.page) > 0 && l.page[0].key < key {
			l.page = l.page[1:]
		}
		if len(l.page) > 0 {
			if l.page[0].key == key {
				return &l.page[0].object, nil
			}
			return nil, nil
		}
		if l.end {
			return nil, nil
		}
		if err := l.next(ctx, key); err != nil {
			return nil, err
		}
	}
	return l.t.head(ctx, key)
}

// next lists the page that can hold key.
func (l *lister) next(ctx context.Context, key string) error {
	_, n := utf8.DecodeLastRuneInString(key)
	after := max(l.last, key[:len(key)-n]) // both are less than key
	in := &s3.ListObjectsV2Input{Bucket: &l.t.o.Bucket, Prefix: &l.t.o.Prefix, EncodingType: types.EncodingTypeUrl}
	if after != "" {
		in.StartAfter = &after
	}
	out, err := l.t.client.ListObjectsV2(ctx, in)
	if err != nil {
		return fmt.Errorf("%w: list %s to see what is there already: %w", restore.ErrStop, l.t.name, err)
	}
	last := after
	for _, o := range out.Contents {
		k := *o.Key
		if out.EncodingType == types.EncodingTypeUrl {
			if k, err = url.QueryUnescape(k); err != nil {
				return fmt.Errorf("%w: list %s: key %q: %w", restore.ErrStop, l.t.name, *o.Key, err)
			}
		}
		if k <= last {
			l.jumbled = true
			return nil
		}
		last = k
		x := listed{key: k}
		if o.Size != nil {
			x.size = *o.Size
		}
		if o.ETag != nil {
			x.etag = strings.Trim(*o.ETag, `"`)
		}
		if o.LastModified != nil {
			x.modified = *o.LastModified
		}
		l.page = append(l.page, x)
	}
	l.end = out.IsTruncated == nil || !*out.IsTruncated
	if !l.end && last == after {
		l.jumbled = true // a page of nothing that is not the last
	}
	l.last = last
	return nil
}

// head asks for one key.
func (t *Target) head(ctx context.Context, key string) (*object, error) {
	out, err := t.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &t.o.Bucket, Key: &key})
	if err != nil {
		if status(err) == http.StatusNotFound {
			return nil, nil
		}
		return nil, t.explain("look at", key, err)
	}
	o := &object{}
	if out.ContentLength != nil {
		o.size = *out.ContentLength
	}
	if out.ETag != nil {
		o.etag = strings.Trim(*out.ETag, `"`)
	}
	if out.LastModified != nil {
		o.modified = *out.LastModified
	}
	return o, nil
}

// skip reports whether what is under key may or must stay.
func (t *Target) skip(ctx context.Context, key string, e *format.Entry) (bool, error) {
	o, err := t.there.find(ctx, key)
	if err != nil {
		return false, err
	}
	if e.Kind == format.KindMarker {
		if o != nil {
			return t.job.Overwrite == restore.Never, nil
		}
		return t.isDeleted(ctx, key)
	}
	if o == nil {
		return false, nil
	}
	if t.job.Overwrite == restore.Never {
		return true, nil
	}
	if o.size != e.Size {
		return false, nil
	}
	if n, ok := partsOf(o.etag); ok && e.Size > singlePut {
		return t.isParts(n, e.Size) && o.modified.After(t.job.Commit.TakenAt.Time), nil
	}
	if isMD5(o.etag) && o.etag == e.ETag {
		return true, nil
	}
	return t.hasSum(ctx, key, e)
}

// isDeleted reports whether a delete marker is the newest thing under key. Not every server says so in its answer to HEAD.
func (t *Target) isDeleted(ctx context.Context, key string) (bool, error) {
	out, err := t.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{
		Bucket: &t.o.Bucket, Prefix: &key, MaxKeys: aws.Int32(100), EncodingType: types.EncodingTypeUrl,
	})
	if err != nil {
		return false, t.explain("list the versions of", key, err)
	}
	for _, m := range out.DeleteMarkers {
		k := aws.ToString(m.Key)
		if out.EncodingType == types.EncodingTypeUrl {
			if k, err = url.QueryUnescape(k); err != nil {
				continue
			}
		}
		if k == key && aws.ToBool(m.IsLatest) {
			return true, nil
		}
	}
	return false, nil
}

// hasSum asks the server for the SHA-256 it keeps.
func (t *Target) hasSum(ctx context.Context, key string, e *format.Entry) (bool, error) {
	out, err := t.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &t.o.Bucket, Key: &key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		if status(err) == http.StatusNotFound {
			return false, nil
		}
		return false, t.explain("look at", key, err)
	}
	return out.ChecksumSHA256 != nil && *out.ChecksumSHA256 == base64.StdEncoding.EncodeToString(e.SHA256[:]), nil
}

func isMD5(etag string) bool {
	b, err := hex.DecodeString(etag)
	return err == nil && len(b) == 16
}

// partsOf gives the number of parts an ETag tells of.
func partsOf(etag string) (int64, bool) {
	_, n, ok := strings.Cut(etag, "-")
	if !ok {
		return 0, false
	}
	parts, err := strconv.ParseInt(n, 10, 64)
	return parts, err == nil
}

func status(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}
