package servers

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Strict is backend behind a proxy that refuses what AWS refuses and the test servers let pass. Endpoint and Log are the
// proxy's own; everything else is the backend's, which must be closed as usual.
func Strict(t testing.TB, backend *Server) *Server {
	t.Helper()
	s, err := NewStrict(backend)
	if err != nil {
		t.Fatalf("start the strict proxy: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stop the strict proxy: %v", err)
		}
	})
	return s
}

// NewStrict is Strict outside tests.
func NewStrict(backend *Server) (*Server, error) {
	st := strict{backend: backend}
	p, err := newProxy(backend.Direct, st.allow)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: backend.Kind, Endpoint: p.url, Direct: backend.Direct, Root: backend.Root,
		proc: backend.proc, direct: backend.direct, users: backend.users, proxy: p, cleanup: p.close,
	}
	return s, nil
}

type strict struct{ backend *Server }

// maxChecked is the largest body whose checksum is verified here; the project's are up to 40 MiB.
const maxChecked = 128 << 20

// allow answers 400 to what AWS answers 400 to. The published rule, in the S3 API reference under PutObject: "The
// Content-MD5 or x-amz-sdk-checksum-algorithm header is required for any request to upload an object with a retention
// period configured using Amazon S3 Object Lock", which a bucket's default retention does too; and under
// PutObjectRetention, Content-MD5 or a checksum is required likewise.
func (s strict) allow(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPut || strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") && hasChecksum(r) {
		return true // a streamed body carries its checksum behind it, encoded: the server checks that
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		return true
	}
	if !hasChecksum(r) && s.demands(r, bucket) {
		refuse(w, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
		return false
	}
	if r.ContentLength < 0 || r.ContentLength > maxChecked {
		return true
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, "IncompleteBody", "the body could not be read")
		return false
	}
	if name := wrongChecksum(r.Header, body); name != "" {
		refuse(w, "BadDigest", "The "+name+" you specified did not match the calculated checksum.")
		return false
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return true
}

// demands reports whether a checksum must come with the request.
func (s strict) demands(r *http.Request, bucket string) bool {
	q := r.URL.Query()
	for h := range r.Header {
		if strings.HasPrefix(h, "X-Amz-Object-Lock-") {
			return true
		}
	}
	if q.Has("retention") || q.Has("legal-hold") {
		return true
	}
	if !plainPut(q) || r.Header.Get("X-Amz-Copy-Source") != "" {
		return false
	}
	mode, _, _, err := s.backend.Admin().GetBucketObjectLockConfig(r.Context(), bucket)
	return err == nil && mode != nil && mode.IsValid() // an error is a bucket without lock
}

// plainPut: a PUT of an object or a part, and not of its tags, ACL or another subresource.
func plainPut(q url.Values) bool {
	for k := range q {
		if k != "partNumber" && k != "uploadId" && k != "x-id" {
			return false
		}
	}
	return true
}

func hasChecksum(r *http.Request) bool {
	if r.Header.Get("Content-Md5") != "" || r.Header.Get("X-Amz-Trailer") != "" {
		return true
	}
	for h := range r.Header {
		if strings.HasPrefix(h, "X-Amz-Checksum-") && h != "X-Amz-Checksum-Algorithm" && h != "X-Amz-Checksum-Type" {
			return true
		}
	}
	return false
}

// wrongChecksum names the first header that does not match the body.
func wrongChecksum(h http.Header, body []byte) string {
	for name, sum := range map[string]func() []byte{
		"Content-Md5":           func() []byte { s := md5.Sum(body); return s[:] },
		"X-Amz-Checksum-Sha256": func() []byte { s := sha256.Sum256(body); return s[:] },
		"X-Amz-Checksum-Sha1":   func() []byte { s := sha1.Sum(body); return s[:] },
		"X-Amz-Checksum-Crc32":  func() []byte { return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)) },
		"X-Amz-Checksum-Crc32c": func() []byte {
			return binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		},
	} {
		if want := h.Get(name); want != "" && want != base64.StdEncoding.EncodeToString(sum()) {
			return name
		}
	}
	return ""
}

func refuse(w http.ResponseWriter, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusBadRequest)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}{Code: code, Message: message})
}
