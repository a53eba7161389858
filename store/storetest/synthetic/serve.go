package synthetic

import (
	"encoding/xml"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// failure is an answer that refuses.
type failure struct {
	status        int
	code, message string
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Clients that know which servers can be trusted in what go by this name, and the rules here are that server's.
	w.Header().Set("Server", "AmazonS3")
	if f := serveOne(s, w, r); f != nil {
		s.refused.Add(1)
		f.write(w, r.Method)
	}
}

func (f *failure) write(w http.ResponseWriter, method string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.status)
	if method == http.MethodHead {
		return // "The response ... contains no message body": a HEAD that fails tells its status only
	}
	_ = xml.NewEncoder(w).Encode(struct { // whoever went away needs no answer
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: f.code, Message: f.message})
}

// serveOne serves one request, or says why not.
func serveOne(s *Server, w http.ResponseWriter, r *http.Request) *failure {
	bucket, key, isObject := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &failure{http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."}
	}
	// "The name for a key is a sequence of Unicode characters whose UTF-8 encoding is up to 1,024 bytes long."
	if !utf8.ValidString(key) {
		return &failure{http.StatusBadRequest, "InvalidURI", "Couldn't parse the specified URI."}
	}
	if f := s.sign.check(r, q, time.Now()); f != nil {
		return f
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
	case bucket != s.o.Bucket:
		return &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	case len(key) > 1024:
		return &failure{http.StatusBadRequest, "KeyTooLongError", "Your key is too long"}
	case !isObject || key == "":
		if r.Method != http.MethodGet {
			return nil // HeadBucket
		}
		return s.list(w, q)
	}
	if name := knownQuery(q, "versionId", "tagging"); name != "" {
		return &failure{http.StatusNotImplemented, "NotImplemented", "parameter " + name + " is not served here"}
	}
	return s.object(w, r, q, key)
}

// object answers a request for one object.
func (s *Server) object(w http.ResponseWriter, r *http.Request, q url.Values, key string) *failure {
	rec, ok := s.find(key)
	if !ok {
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	v := newestOf(s, &rec)
	if q.Has("versionId") {
		id := q.Get("versionId")
		switch {
		case id == "null" && s.o.Versions == nil:
		case s.o.Versions == nil || len(id) != 24:
			return invalid("Invalid version id specified")
		default:
			if v, ok = parseID(s, &rec, id); !ok {
				return &failure{http.StatusNotFound, "NoSuchVersion", "The specified version does not exist."}
			}
		}
	}
	if v.marker {
		return s.deleted(w, v, q.Has("versionId"))
	}
	switch {
	case q.Has("tagging"):
		return s.tagging(w, v)
	case r.Method == http.MethodGet && takeRefusal(s, key):
		return &failure{http.StatusForbidden, "AccessDenied", "Access Denied"}
	}
	return s.content(w, r, v)
}

// deleted: "If the current version of the object is a delete marker, Amazon S3 behaves as if the object was deleted and
// includes x-amz-delete-marker: true in the response. If the specified version is a delete marker, the response returns a
// 405 Method Not Allowed error and the Last-Modified: timestamp response header" (GetObject). Without versions there is
// nothing to tell of.
func (s *Server) deleted(w http.ResponseWriter, v version, byVersion bool) *failure {
	if s.o.Versions == nil {
		return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	}
	w.Header().Set("x-amz-delete-marker", "true")
	w.Header().Set("x-amz-version-id", v.id())
	if byVersion {
		w.Header().Set("Last-Modified", v.at.UTC().Format(http.TimeFormat))
		return &failure{http.StatusMethodNotAllowed, "MethodNotAllowed", "The specified method is not allowed against this resource."}
	}
	return &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
}

// takeRefusal takes one of the refusals that were asked for.
func takeRefusal(s *Server, key string) bool {
	s.mu.RLock()
	e := s.edits[key]
	some := e != nil && e.unreadable > 0
	s.mu.RUnlock()
	if !some {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.unreadable == 0 {
		return false
	}
	e.unreadable--
	return true
}

func (s *Server) tagging(w http.ResponseWriter, v version) *failure {
	type tag struct{ Key, Value string }
	var set []tag
	tags := v.tags()
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		set = append(set, tag{k, tags[k]})
	}
	s.tags.Add(1)
	if s.o.Versions != nil {
		w.Header().Set("x-amz-version-id", v.id())
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(struct { // whoever went away needs no answer
		XMLName xml.Name `xml:"Tagging"`
		Tags    []tag    `xml:"TagSet>Tag"`
	}{Tags: set})
	return nil
}

// content answers GET and HEAD of an object.
func (s *Server) content(w http.ResponseWriter, r *http.Request, v version) *failure {
	var small []byte
	if v.Size <= smallObject {
		small = make([]byte, v.Size)
		v.fill(small, 0)
	}
	etag := `"` + v.etag(small) + `"`
	// "If-Match: Return the object only if its entity tag (ETag) is the same as the one specified in this header; otherwise,
	// return a 412 Precondition Failed error." If-None-Match and dates are not served.
	if m := r.Header.Get("If-Match"); m != "" && m != "*" && m != etag {
		return &failure{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	}
	off, n, ranged, f := parseRange(r.Header.Get("Range"), v.Size)
	if f != nil {
		return f
	}
	h := w.Header()
	describeIn(s, h, v)
	h.Set("ETag", etag)
	h.Set("Content-Length", strconv.FormatInt(n, 10))
	// "To retrieve the checksum, this mode [x-amz-checksum-mode] must be enabled." It is of the whole object, so a range has none.
	if small != nil && !ranged && r.Header.Get("x-amz-checksum-mode") == "ENABLED" {
		h.Set("x-amz-checksum-crc64nvme", checksum(small))
		h.Set("x-amz-checksum-type", "FULL_OBJECT")
	}
	status := http.StatusOK
	if ranged {
		status = http.StatusPartialContent
		h.Set("Content-Range", "bytes "+strconv.FormatInt(off, 10)+"-"+strconv.FormatInt(off+n-1, 10)+"/"+strconv.FormatInt(v.Size, 10))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		s.heads.Add(1)
		return nil
	}
	s.gets.Add(1)
	if small != nil {
		sent, _ := w.Write(small[off : off+n])
		s.bytes.Add(int64(sent))
		return nil
	}
	streamBody(s, w, v, off, n)
	return nil
}

// streamBody sends what is made up as it goes.
func streamBody(s *Server, w http.ResponseWriter, v version, off, n int64) {
	buf := make([]byte, min(n, 64<<10))
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		v.fill(b, off)
		if _, err := w.Write(b); err != nil {
			return // whoever went away needs no answer
		}
		s.bytes.Add(int64(len(b)))
		off, n = off+int64(len(b)), n-int64(len(b))
	}
}

// describeIn sets the headers that say what an object is.
func describeIn(s *Server, h http.Header, v version) {
	for name, value := range v.Headers {
		h.Set(name, value)
	}
	for name, value := range v.Metadata {
		h.Set("x-amz-meta-"+name, value)
	}
	// "The number of tags, if any, on the object, when you have the relevant permission to read object tags."
	if n := len(v.tags()); n > 0 {
		h.Set("x-amz-tagging-count", strconv.Itoa(n))
	}
	// "Amazon S3 returns this header for all objects except for S3 Standard storage class objects."
	if v.Class != "" && v.Class != "STANDARD" {
		h.Set("x-amz-storage-class", v.Class)
	}
	if s.o.Versions != nil {
		h.Set("x-amz-version-id", v.id())
	}
	h.Set("Last-Modified", v.at.UTC().Truncate(time.Second).Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
}

// parseRange reads a Range header. "Amazon S3 doesn't support retrieving multiple ranges of data per GET request", and
// answers what it cannot read with the whole object; a range that begins behind the end is 416 InvalidRange.
func parseRange(header string, size int64) (off, n int64, ranged bool, f *failure) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, ok2 := strings.Cut(spec, "-")
	if !ok || !ok2 || strings.Contains(spec, ",") {
		return 0, size, false, nil
	}
	bad := &failure{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable"}
	end := size - 1
	var err error
	if first == "" { // the last so many
		n, err := strconv.ParseInt(last, 10, 64)
		switch {
		case err != nil:
			return 0, size, false, nil
		case n <= 0 || size == 0:
			return 0, 0, false, bad
		}
		n = min(n, size)
		return size - n, n, true, nil
	}
	if off, err = strconv.ParseInt(first, 10, 64); err != nil || off < 0 {
		return 0, size, false, nil
	}
	if last != "" {
		if end, err = strconv.ParseInt(last, 10, 64); err != nil || end < off {
			return 0, size, false, nil
		}
		end = min(end, size-1)
	}
	if off >= size {
		return 0, 0, false, bad
	}
	return off, end - off + 1, true, nil
}
