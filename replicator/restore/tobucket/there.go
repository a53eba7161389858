package tobucket

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/restore"
)

// lister answers which keys are at the target, in ascending order of the keys that are asked for. Of a server that is known to
// list in the order of key bytes it reads a listing that runs beside the manifest, and jumps ahead where the manifest does. Any
// other may keep an order of its own, in which a jump passes over keys without a sign: all that it has is known if it is one
// page, and else every key may be there, and each is asked for by itself.
type lister struct {
	t    *Target
	keys []string // of the page at hand that were not passed
	last string   // the key listed last
	end  bool
	each bool // every key may be there
}

func newLister(t *Target) *lister { return &lister{t: t} }

// find reports whether there may be something under key: an object, or in a bucket with versions any of them.
func (l *lister) find(ctx context.Context, key string) (bool, error) {
	for !l.each {
		for len(l.keys) > 0 && l.keys[0] < key {
			l.keys = l.keys[1:]
		}
		if len(l.keys) > 0 || l.end {
			return len(l.keys) > 0 && l.keys[0] == key, nil
		}
		if err := l.next(ctx, key); err != nil {
			return false, err
		}
	}
	return true, nil
}

// next lists the page that can hold key; of a server whose order is not known the first one.
func (l *lister) next(ctx context.Context, key string) error {
	after := l.last
	if l.t.ordered {
		_, n := utf8.DecodeLastRuneInString(key)
		after = max(l.last, key[:len(key)-n]) // both are less than key
	}
	list := l.current
	if l.t.versioned {
		list = l.versions
	}
	keys, more, err := list(ctx, after)
	if err != nil && after != l.last && status(err) == http.StatusBadRequest {
		// MinIO does not go on after what cannot be a key there. After what it listed itself it does.
		after = l.last
		keys, more, err = list(ctx, after)
	}
	if err != nil {
		return fmt.Errorf("%w: list %s to see what is there already: %w", restore.ErrStop, l.t.name, err)
	}
	if !l.t.ordered {
		slices.Sort(keys)
		l.keys, l.end, l.each = keys, true, more
		return nil
	}
	last := after
	for _, k := range keys {
		if k <= last {
			l.each = true
			return nil
		}
		last = k
	}
	l.keys, l.last, l.end = keys, last, !more
	l.each = more && last == after // a page of nothing that is not the last
	return nil
}

// current lists the keys of objects.
func (l *lister) current(ctx context.Context, after string) (keys []string, more bool, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &l.t.o.Bucket, Prefix: &l.t.o.Prefix, EncodingType: types.EncodingTypeUrl, StartAfter: text(after)}
	var body []byte
	_, err = l.t.client.ListObjectsV2(ctx, in, keepBody(&body))
	if body == nil {
		return nil, false, err
	}
	var doc struct {
		XMLName      xml.Name
		IsTruncated  bool
		EncodingType string
		Contents     []struct{ Key string }
	}
	if perr := readList(body, &doc, &doc.XMLName); perr != nil {
		return nil, false, cmp.Or(err, perr)
	}
	for _, o := range doc.Contents {
		k := o.Key
		if doc.EncodingType == string(types.EncodingTypeUrl) {
			if k, err = url.QueryUnescape(k); err != nil {
				return nil, false, fmt.Errorf("key %q: %w", o.Key, err)
			}
		}
		keys = append(keys, k)
	}
	return keys, doc.IsTruncated, nil
}

// versions lists the keys that have versions or delete markers. One with more than a page of them is passed by.
func (l *lister) versions(ctx context.Context, after string) (keys []string, more bool, err error) {
	p, err := l.t.look.listVersions(ctx, l.t.o.Prefix, place{key: after})
	if err != nil {
		return nil, false, err
	}
	for _, x := range p.items { // sorted by key
		if len(keys) == 0 || keys[len(keys)-1] != x.key {
			keys = append(keys, x.key)
		}
	}
	if len(keys) > 0 && keys[0] == after {
		keys = keys[1:] // more of its versions, of a server that goes on with them
	}
	return keys, p.truncated, nil
}

func isMD5(etag string) bool {
	b, err := hex.DecodeString(etag)
	return err == nil && len(b) == 16
}

// partsOf gives the number of parts an ETag or sum tells of.
func partsOf(sum string) (int64, bool) {
	_, n, ok := strings.Cut(sum, "-")
	if !ok {
		return 0, false
	}
	parts, err := strconv.ParseInt(n, 10, 64)
	return parts, err == nil && parts > 0
}

func status(err error) int {
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		return re.HTTPStatusCode()
	}
	return 0
}
