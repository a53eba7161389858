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
	root      string // rootObjects or rootVersions
	items     []listItem
	truncated bool
	token     string // of ListObjectsV2
	next      string // NextMarker, which is of the first kind of listing; some servers give it with the second
	keyMarker string // of ListObjectVersions
	verMarker string
	encoding  string
	noZone    bool // a time had none
	date      time.Time
	server    string // what it calls itself
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
	noZone   bool
	bad      string // why the entry cannot be kept as it was listed
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
	if e.Missing = i.bad; e.Missing == "" && len(i.etag)+len(i.class)+len(i.version) > maxFields {
		e.Missing, e.ETag, e.StorageClass = fmt.Sprintf("listed with an ETag, storage class and version of %d bytes", len(i.etag)+len(i.class)+len(i.version)), "", ""
	}
	return e
}

// maxFields bounds what a listing may say of one object beside its key; vendors' are under 200 bytes.
const maxFields = 8 << 10

// maxSize is more than any object has and as much as an entry can hold.
const maxSize = 1 << 47

// maxPageItems bounds what one page may hold: S3 gives at most 1,000.
const maxPageItems = 10000

// What the documents of listings begin with.
const (
	rootObjects  = "ListBucketResult"
	rootVersions = "ListVersionsResult"
)

// parsePage reads a ListBucketResult or ListVersionsResult. A hand-written reader of the small part of XML that listings
// use, because the standard decoder takes several times what everything else in a listing takes together.
func parsePage(b []byte) (*listPage, error) {
	p := &listPage{}
	x := xmlReader{b: b}
	root, ok, err := x.child()
	if err != nil {
		return nil, err
	}
	if !ok || (root != rootObjects && root != rootVersions) {
		return nil, fmt.Errorf("%w: it begins with <%.40s>", errXML, root)
	}
	p.root = root
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
			p.noZone = p.noZone || i.noZone
			p.items = append(p.items, i)
		}
	case "IsTruncated":
		var s string
		s, err = x.text()
		p.truncated = strings.EqualFold(strings.TrimSpace(s), "true")
	case "NextContinuationToken":
		p.token, err = x.text()
	case "NextMarker":
		p.next, err = x.text()
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

// decode undoes encoding-type=url where the server followed it. One that says so and sends keys as they are is found out by
// what an encoded key cannot hold; its whole page is then taken as it is.
func (p *listPage) decode() error {
	if p.encoding != "url" {
		return nil
	}
	if slices.ContainsFunc(p.items, func(i listItem) bool { return !encoded(i.key) }) || !encoded(p.keyMarker) || !encoded(p.next) {
		p.encoding = ""
		return nil
	}
	// A space is "+" at AWS. Where it is "%20", "+" is itself.
	undo := url.QueryUnescape
	if slices.ContainsFunc(p.items, func(i listItem) bool { return strings.Contains(i.key, "%20") }) {
		undo = url.PathUnescape
	}
	for _, s := range append(p.keys(), &p.keyMarker, &p.next) {
		if !strings.ContainsAny(*s, "%+") {
			continue
		}
		u, err := undo(*s)
		if err != nil {
			return fmt.Errorf("%w: key %.100q is not URL-encoded", errXML, *s)
		}
		*s = u
	}
	return nil
}

func (p *listPage) keys() []*string {
	out := make([]*string, 0, len(p.items)+2)
	for i := range p.items {
		out = append(out, &p.items[i].key)
	}
	return out
}

// encoded reports whether s may be the URL-encoded form of something.
func encoded(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f:
			return false
		case c == '%' && (i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2])):
			return false
		}
	}
	return true
}

func hexDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
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
			s, err = x.text()
			i.setSize(s)
		case "LastModified":
			s, err = x.text()
			i.setTime(s)
		default:
			err = x.skip(0)
		}
		if err != nil {
			return i, fmt.Errorf("%w: %s of key %.100q: %w", errXML, name, i.key, err)
		}
	}
}

// setSize takes a listed size. One that no object can have costs that object, not the listing.
func (i *listItem) setSize(s string) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 || n > maxSize {
		i.bad = fmt.Sprintf("listed with a size of %.40q bytes", s)
		return
	}
	i.size = n
}

// timeForms are how servers write the time of a listing. One without a zone is in UTC, as all times of S3 are.
var timeForms = [...]string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999Z0700", "20060102T150405Z", time.RFC1123, time.RFC1123Z,
}

// setTime takes a listed time. Where there is none the entry has none.
func (i *listItem) setTime(s string) {
	if s = strings.TrimSpace(s); s == "" {
		return
	}
	for _, form := range timeForms {
		t, err := time.Parse(form, s)
		if err != nil {
			continue
		}
		if y := t.UTC().Year(); y >= 0 && y <= 9999 {
			i.modified, i.noZone = t, !strings.ContainsAny(form, "ZM+")
			return
		}
	}
	i.bad = fmt.Sprintf("listed with a time that cannot be kept: %.40q", s)
}

// class avoids one small string for every entry of a listing.
func class(s string) string {
	if s == "STANDARD" {
		return "STANDARD"
	}
	return strings.Clone(s)
}
