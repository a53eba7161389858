package s3source

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// listPage is one page of a listing. Of a listing of versions it keeps versions and delete markers in the order in which
// the server sent them, which the SDK's two separate lists do not.
type listPage struct {
	items     []listItem
	truncated bool
	token     string // of ListObjectsV2
	keyMarker string // of ListObjectVersions
	verMarker string
	encoding  string
	date      time.Time
}

type listItem struct {
	key      string
	version  string
	etag     string
	class    string
	modified time.Time
	size     int64
	marker   bool
	latest   bool
}

func (i *listItem) entry(all bool) *format.Entry {
	e := &format.Entry{
		Key: i.key, Size: i.size, Modified: format.At(i.modified), ETag: i.etag, StorageClass: i.class,
	}
	if all {
		e.Version = i.version
	}
	if i.marker {
		e.Kind, e.Size, e.ETag, e.StorageClass = format.KindMarker, 0, "", ""
	}
	return e
}

// maxPageItems bounds what one page may hold: S3 gives at most 1,000.
const maxPageItems = 10000

// parsePage reads a ListBucketResult or ListVersionsResult. A hand-written reader of the small part of XML that listings
// use, because the standard decoder takes several times what everything else in a listing takes together.
func parsePage(b []byte) (*listPage, error) {
	p := &listPage{}
	x := xmlReader{b: b}
	root, ok, err := x.child()
	if err != nil {
		return nil, err
	}
	if !ok || (root != "ListBucketResult" && root != "ListVersionsResult") {
		return nil, fmt.Errorf("%w: it begins with <%.40s>", errXML, root)
	}
	for {
		name, ok, err := x.child()
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if err := p.element(&x, name); err != nil {
			return nil, err
		}
	}
	if err := p.decode(); err != nil {
		return nil, err
	}
	p.interleave()
	return p, nil
}

// interleave puts delete markers in their places where a server (versitygw) sends them apart from the versions. AWS and
// MinIO send both in one order, which is the true one and is kept: times are to the second and, of multipart uploads,
// those of their beginning.
func (p *listPage) interleave() {
	join := 0 // where the one sort ends and the other begins
	for i := 1; i < len(p.items); i++ {
		if p.items[i].marker == p.items[i-1].marker {
			continue
		}
		if join > 0 {
			return // mixed already
		}
		join = i
	}
	if join == 0 {
		return
	}
	a, b := &p.items[join-1], &p.items[join]
	later := b.latest || ulidAfter(b, a) || (!ulidAfter(a, b) && b.modified.After(a.modified))
	if a.key < b.key || (a.key == b.key && !later) {
		return
	}
	slices.SortStableFunc(p.items, func(a, b listItem) int {
		switch {
		case a.key != b.key:
			return strings.Compare(a.key, b.key)
		case a.latest != b.latest:
			if a.latest {
				return -1
			}
			return 1
		case ulidAfter(&a, &b):
			return -1
		case ulidAfter(&b, &a):
			return 1
		case !a.modified.Equal(b.modified):
			return b.modified.Compare(a.modified)
		}
		return 0
	})
}

// ulidAfter reports whether both version IDs are ULIDs, which sort by time, and a's is the later.
func ulidAfter(a, b *listItem) bool {
	return len(a.version) == 26 && len(b.version) == 26 && a.version > b.version
}

// element reads one child of the root.
func (p *listPage) element(x *xmlReader, name string) (err error) {
	switch name {
	case "Contents", "Version", "DeleteMarker":
		if len(p.items) >= maxPageItems {
			return fmt.Errorf("%w: more than %d entries in a page", errXML, maxPageItems)
		}
		var i listItem
		if i, err = x.item(); err == nil {
			i.marker = name == "DeleteMarker"
			p.items = append(p.items, i)
		}
	case "IsTruncated":
		var s string
		s, err = x.text()
		p.truncated = s == "true"
	case "NextContinuationToken":
		p.token, err = x.text()
	case "NextKeyMarker":
		p.keyMarker, err = x.text()
	case "NextVersionIdMarker":
		p.verMarker, err = x.text()
	case "EncodingType":
		p.encoding, err = x.text()
	default:
		err = x.skip(0)
	}
	return err
}

// decode undoes encoding-type=url where the server followed it.
func (p *listPage) decode() (err error) {
	if p.encoding != "url" {
		return nil
	}
	for i := range p.items {
		if p.items[i].key, err = unescape(p.items[i].key); err != nil {
			return err
		}
	}
	p.keyMarker, err = unescape(p.keyMarker)
	return err
}

func unescape(s string) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	u, err := url.QueryUnescape(s)
	if err != nil {
		return "", fmt.Errorf("%w: key %.100q is not URL-encoded", errXML, s)
	}
	return u, nil
}

// item reads the children of one entry.
func (x *xmlReader) item() (listItem, error) {
	var i listItem
	for {
		name, ok, err := x.child()
		if err != nil || !ok {
			return i, err
		}
		var s string
		switch name {
		case "Key":
			i.key, err = x.text()
		case "VersionId":
			i.version, err = x.text()
		case "ETag":
			s, err = x.text()
			i.etag = unquote(s)
		case "StorageClass":
			s, err = x.text()
			i.class = class(s)
		case "IsLatest":
			s, err = x.text()
			i.latest = s == "true"
		case "Size":
			if s, err = x.text(); err == nil {
				i.size, err = strconv.ParseInt(s, 10, 64)
			}
		case "LastModified":
			if s, err = x.text(); err == nil {
				i.modified, err = time.Parse(time.RFC3339Nano, s)
			}
		default:
			err = x.skip(0)
		}
		if err != nil {
			return i, fmt.Errorf("%w: %s of key %.100q: %w", errXML, name, i.key, err)
		}
	}
}

// class avoids one small string for every entry of a listing.
func class(s string) string {
	if s == "STANDARD" {
		return "STANDARD"
	}
	return strings.Clone(s)
}
