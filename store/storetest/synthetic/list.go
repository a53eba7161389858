package synthetic

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxPage: "Returns some or all (up to 1,000) of the objects in a bucket with each request" (ListObjectsV2,
// ListObjectVersions); a greater max-keys is taken as this.
const maxPage = 1000

// listing is a request for a page, checked.
type listing struct {
	versions   bool
	prefix     string
	after      string // keys after this one
	afterID    string // of versions: those older than this one of the key after
	limit      int
	url        bool // encoding-type=url
	startAfter string
	token      string
}

// known query parameters of both listings. AWS ignores what it does not know; here it is refused, lest a test pass that
// believes in it. x-id is what SDKs add to name the operation.
func knownQuery(q url.Values, names ...string) string {
	for name := range q {
		known := name == "x-id"
		for _, n := range names {
			known = known || n == name
		}
		if !known {
			return name
		}
	}
	return ""
}

// parseList reads the query of a listing.
func parseList(s *Server, q url.Values) (l listing, f *failure) {
	l.versions = q.Has("versions")
	if q.Get("delimiter") == "" {
		q.Del("delimiter") // none
	}
	names := []string{"list-type", "prefix", "max-keys", "encoding-type", "start-after", "continuation-token", "fetch-owner"}
	if l.versions {
		names = []string{"versions", "prefix", "max-keys", "encoding-type", "key-marker", "version-id-marker"}
	}
	if name := knownQuery(q, names...); name != "" {
		return l, &failure{http.StatusNotImplemented, "NotImplemented", "parameter " + name + " is not served here"}
	}
	if !l.versions && q.Get("list-type") != "2" {
		return l, &failure{http.StatusNotImplemented, "NotImplemented", "only list-type=2 is served here"}
	}
	l.prefix, l.limit = q.Get("prefix"), s.o.PageSize
	if m := q.Get("max-keys"); m != "" {
		n, err := strconv.ParseInt(m, 10, 32)
		if err != nil || n < 0 {
			return l, invalid("Argument maxKeys must be an integer between 0 and 2147483647")
		}
		l.limit = min(l.limit, int(n))
	}
	switch e := q.Get("encoding-type"); e {
	case "":
	case "url":
		l.url = true
	default:
		return l, invalid("Invalid Encoding Method specified in Request")
	}
	if l.versions {
		return l, l.markers(q)
	}
	l.startAfter = q.Get("start-after")
	l.after = l.startAfter
	// "This parameter [continuation-token] ... is obfuscated and is not a real key"; with it start-after is of no account.
	if q.Has("continuation-token") {
		l.token = q.Get("continuation-token")
		b, err := hex.DecodeString(l.token)
		if err != nil || len(b) < 2 || b[0] != tokenMark {
			return l, invalid("The continuation token provided is incorrect")
		}
		l.after = string(b[1:])
	}
	return l, nil
}

const tokenMark = 0xC5

func (l *listing) markers(q url.Values) *failure {
	l.after, l.afterID = q.Get("key-marker"), q.Get("version-id-marker")
	// "A version-id marker cannot be specified without a key marker."
	if q.Has("version-id-marker") && l.after == "" {
		return invalid("A version-id marker cannot be specified without a key marker.")
	}
	return nil
}

func invalid(message string) *failure {
	return &failure{http.StatusBadRequest, "InvalidArgument", message}
}

// list answers with one page. Its place is computed from the marker: nothing before it is looked at.
func (s *Server) list(w http.ResponseWriter, q url.Values) *failure {
	l, f := parseList(s, q)
	if f != nil {
		return f
	}
	p := page{listing: l, server: s}
	s.mu.RLock()
	if l.limit > 0 {
		f = p.collect()
	}
	s.mu.RUnlock()
	if f != nil {
		return f
	}
	s.pages.Add(1)
	s.listed.Add(int64(p.n))
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(p.document()) // whoever went away needs no answer
	return nil
}

// page is the answer that is being made.
type page struct {
	listing
	server       *Server
	body         []byte
	n            int
	more         bool
	last, lastID string
}

// collect gathers the page's entries.
func (p *page) collect() *failure {
	from := max(p.prefix, p.after)
	if p.afterID != "" && (p.server.o.Versions != nil || p.afterID != "null") {
		r, ok := lookUp(p.server, p.after)
		var v version
		if ok {
			v, ok = parseID(p.server, &r, p.afterID)
		}
		if !ok {
			return invalid("Invalid version id specified")
		}
		if !p.versionsOf(&r, v.n-1) {
			return nil
		}
	}
	p.server.from(from, func(r record) bool {
		switch {
		case !strings.HasPrefix(r.Key, p.prefix):
			return r.Key < p.prefix
		case r.Key <= p.after && p.after != "":
			return true
		case p.versions:
			return p.versionsOf(&r, r.versions()-1)
		}
		if v := newestOf(p.server, &r); !v.marker {
			return p.add(v, "Contents")
		}
		return true
	})
	return nil
}

// lookUp is find for whoever holds the lock.
func lookUp(s *Server, key string) (r record, ok bool) {
	s.from(key, func(at record) bool {
		r, ok = at, at.Key == key
		return false
	})
	return r, ok
}

// versionsOf adds versions of one key, newest first, as servers list them.
func (p *page) versionsOf(r *record, n int) bool {
	if !strings.HasPrefix(r.Key, p.prefix) {
		return true
	}
	if p.server.o.Versions == nil {
		v := newestOf(p.server, r) // the others were overwritten
		return v.marker || p.add(v, "Version")
	}
	for ; n >= 0; n-- {
		v, name := p.server.version(r, n), "Version"
		if v.marker {
			name = "DeleteMarker"
		}
		if !p.add(v, name) {
			return false
		}
	}
	return true
}

// add appends one entry; false: the page is full.
func (p *page) add(v version, element string) bool {
	if p.n == p.limit {
		p.more = true
		return false
	}
	p.n++
	p.last = v.Key
	b := append(p.body, '<')
	b = append(append(b, element...), "><Key>"...)
	b = p.key(b, v.Key)
	b = append(b, "</Key><LastModified>"...)
	b = v.at.UTC().Truncate(time.Second).AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, "</LastModified>"...)
	if p.versions {
		p.lastID = versionOf(p.server, v)
		b = append(append(append(b, "<VersionId>"...), p.lastID...), "</VersionId><IsLatest>"...)
		b = append(strconv.AppendBool(b, v.n == v.versions()-1), "</IsLatest>"...)
	}
	if !v.marker {
		b = append(append(append(b, "<ETag>&quot;"...), v.etag(nil)...), "&quot;</ETag><Size>"...)
		b = append(strconv.AppendInt(b, v.Size, 10), "</Size><StorageClass>"...)
		b = append(append(b, class(v.Class)...), "</StorageClass>"...)
		if v.Size <= smallObject {
			b = append(b, "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"...)
		}
	}
	p.body = append(append(append(b, "</"...), element...), '>')
	return true
}

func class(c string) string {
	if c == "" {
		return "STANDARD"
	}
	return c
}

// versionOf: "Objects that are stored in your bucket before you set the versioning state have a version ID of null", and
// so do all in a bucket without versions.
func versionOf(s *Server, v version) string {
	if s.o.Versions == nil {
		return "null"
	}
	return v.id()
}

// key writes a key as encoding-type says: "If you specify the encoding-type request parameter, Amazon S3 includes this
// element in the response, and returns encoded key name values in the following response elements: Delimiter, Prefix, Key,
// and StartAfter" (and KeyMarker, NextKeyMarker). Without it, what XML 1.0 cannot hold is written as a reference all the
// same, which no parser takes.
func (p *page) key(b []byte, key string) []byte {
	if p.url {
		return appendEncoded(b, key, true)
	}
	for _, r := range key {
		switch {
		case r < 0x20, r == '<', r == '>', r == '&', r == '"':
			b = fmt.Appendf(b, "&#%d;", r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return b
}

// document is the whole answer.
func (p *page) document() []byte {
	b := make([]byte, 0, len(p.body)+1024)
	name := "ListBucketResult"
	if p.versions {
		name = "ListVersionsResult"
	}
	b = fmt.Appendf(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>%s</Name><Prefix>", name, p.server.o.Bucket)
	b = append(p.key(b, p.prefix), "</Prefix>"...)
	b = fmt.Appendf(b, "<MaxKeys>%d</MaxKeys><IsTruncated>%t</IsTruncated>", p.limit, p.more)
	if p.url {
		b = append(b, "<EncodingType>url</EncodingType>"...)
	}
	if p.versions {
		b = append(p.key(append(b, "<KeyMarker>"...), p.after), "</KeyMarker>"...)
		b = fmt.Appendf(b, "<VersionIdMarker>%s</VersionIdMarker>", p.afterID)
	} else {
		b = fmt.Appendf(b, "<KeyCount>%d</KeyCount>", p.n)
	}
	if p.more {
		b = p.next(b)
	}
	b = append(b, p.body...)
	return append(append(append(b, "</"...), name...), '>')
}

// next says where the next page begins.
func (p *page) next(b []byte) []byte {
	if !p.versions {
		return fmt.Appendf(b, "<NextContinuationToken>%02x%x</NextContinuationToken>", tokenMark, p.last)
	}
	b = append(p.key(append(b, "<NextKeyMarker>"...), p.last), "</NextKeyMarker>"...)
	return fmt.Appendf(b, "<NextVersionIdMarker>%s</NextVersionIdMarker>", p.lastID)
}

// appendEncoded is URL encoding as S3 does it: everything but the unreserved characters, with slashes kept.
func appendEncoded(b []byte, s string, slash bool) []byte {
	const hexDigits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~', slash && c == '/':
			b = append(b, c)
		default:
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}
