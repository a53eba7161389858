package s3source

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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

var errXML = errors.New("not a listing that can be read")

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

// xmlReader walks through elements. It knows no namespaces beyond dropping prefixes, and refuses document types.
type xmlReader struct {
	b     []byte
	i     int
	empty bool // the element just entered was <x/>
}

// child enters the next child element; false: the parent has ended (its end tag is read), or the document has.
func (x *xmlReader) child() (string, bool, error) {
	if x.empty {
		x.empty = false
		return "", false, nil
	}
	for {
		j := bytes.IndexByte(x.b[x.i:], '<')
		if j < 0 {
			return "", false, fmt.Errorf("%w: it breaks off", errXML)
		}
		x.i += j
		tag, closing, err := x.tag()
		if err != nil {
			return "", false, err
		}
		if tag != "" || closing {
			return tag, !closing, nil
		}
	}
}

// tag reads what begins with "<" here; an empty name that is not closing is a comment or instruction.
func (x *xmlReader) tag() (name string, closing bool, err error) {
	rest := x.b[x.i:]
	for _, skip := range [][2]string{{"<?", "?>"}, {"<!--", "-->"}, {"<![CDATA[", "]]>"}} {
		if bytes.HasPrefix(rest, []byte(skip[0])) {
			j := bytes.Index(rest, []byte(skip[1]))
			if j < 0 {
				return "", false, fmt.Errorf("%w: it breaks off", errXML)
			}
			x.i += j + len(skip[1])
			return "", false, nil
		}
	}
	if bytes.HasPrefix(rest, []byte("<!")) {
		return "", false, fmt.Errorf("%w: document types are refused", errXML)
	}
	j := bytes.IndexByte(rest, '>')
	if j < 0 {
		return "", false, fmt.Errorf("%w: it breaks off", errXML)
	}
	x.i += j + 1
	in := rest[1:j]
	if len(in) > 0 && in[0] == '/' {
		return "", true, nil
	}
	if len(in) > 0 && in[len(in)-1] == '/' {
		x.empty = true
		in = in[:len(in)-1]
	}
	if k := bytes.IndexAny(in, " \t\r\n"); k >= 0 {
		in = in[:k]
	}
	if k := bytes.IndexByte(in, ':'); k >= 0 {
		in = in[k+1:]
	}
	if len(in) == 0 {
		return "", false, fmt.Errorf("%w: an element without a name", errXML)
	}
	return elementName(in), false, nil
}

// elementName avoids allocating the names every entry repeats.
func elementName(b []byte) string {
	switch string(b) {
	case "Key":
		return "Key"
	case "LastModified":
		return "LastModified"
	case "ETag":
		return "ETag"
	case "Size":
		return "Size"
	case "StorageClass":
		return "StorageClass"
	case "Contents":
		return "Contents"
	case "VersionId":
		return "VersionId"
	}
	return string(b)
}

// text reads the text of the element just entered, and its end.
func (x *xmlReader) text() (string, error) {
	if x.empty {
		x.empty = false
		return "", nil
	}
	var out []byte
	for {
		j := bytes.IndexByte(x.b[x.i:], '<')
		if j < 0 {
			return "", fmt.Errorf("%w: it breaks off", errXML)
		}
		piece := x.b[x.i : x.i+j]
		x.i += j
		rest := x.b[x.i:]
		if bytes.HasPrefix(rest, []byte("</")) {
			if _, _, err := x.tag(); err != nil {
				return "", err
			}
			if out == nil && bytes.IndexByte(piece, '&') < 0 {
				return string(piece), nil
			}
			out, err := unentity(out, piece)
			return string(out), err
		}
		var err error
		if out, err = unentity(out, piece); err != nil {
			return "", err
		}
		if bytes.HasPrefix(rest, []byte("<![CDATA[")) {
			if k := bytes.Index(rest, []byte("]]>")); k >= 0 {
				out = append(out, rest[len("<![CDATA["):k]...)
			}
		}
		name, _, err := x.tag()
		if err != nil {
			return "", err
		}
		if name != "" {
			return "", fmt.Errorf("%w: an element <%.40s> where text belongs", errXML, name)
		}
		if out == nil {
			out = []byte{}
		}
	}
}

// skip leaves the element just entered.
func (x *xmlReader) skip(depth int) error {
	if depth > 32 {
		return fmt.Errorf("%w: nested too deep", errXML)
	}
	for {
		_, ok, err := x.child()
		if err != nil || !ok {
			return err
		}
		if err := x.skip(depth + 1); err != nil {
			return err
		}
	}
}

// unentity appends b to out with entities replaced.
func unentity(out, b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '&')
		if i < 0 {
			return append(out, b...), nil
		}
		out = append(out, b[:i]...)
		b = b[i+1:]
		j := bytes.IndexByte(b, ';')
		if j < 1 || j > 10 {
			return nil, fmt.Errorf("%w: a broken entity", errXML)
		}
		name := string(b[:j])
		b = b[j+1:]
		switch name {
		case "amp":
			out = append(out, '&')
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			r, err := charRef(name)
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		}
	}
}

func charRef(name string) (rune, error) {
	if !strings.HasPrefix(name, "#") {
		return 0, fmt.Errorf("%w: unknown entity &%s;", errXML, name)
	}
	digits, base := name[1:], 10
	if strings.HasPrefix(digits, "x") {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) { //nolint:gosec // bounded just before
		return 0, fmt.Errorf("%w: broken character &%s;", errXML, name)
	}
	return rune(n), nil //nolint:gosec // bounded above
}
