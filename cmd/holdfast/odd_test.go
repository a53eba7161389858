package main

import (
	"bytes"
	"compress/gzip"
	"crypto/md5" //nolint:gosec // what S3 ETags are
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// odd is the reading half of an S3 server that has one of the habits that users of other programs met at their vendors:
// see "Habits of sources" in docs/vendors.md. Everything else is as AWS documents it.
type odd struct {
	kind    string
	objects map[string][]byte
	listed  []string // keys in the server's order
}

// oddBucket VARIABLE KIND serves a bucket: plain, gzip, gzip-aware, length, if-match, etag, next-marker, order, order-late, redirect, payer,
// sizes, endless.
func oddBucket(t *testing.T) scriptCommand {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: oddbucket VARIABLE KIND")
		}
		s := newOdd(args[1])
		srv := httptest.NewServer(s)
		t.Cleanup(srv.Close)
		ts.Setenv(args[0], "s3://bucket?endpoint="+srv.URL+"&region=us-east-1")
	}
}

func newOdd(kind string) *odd {
	s := &odd{kind: kind, objects: map[string][]byte{}}
	for i := range 5 {
		s.objects[fmt.Sprintf("k%d", i)] = fmt.Appendf(nil, "content %d\n", i)
	}
	if strings.HasPrefix(kind, "gzip") {
		s.objects["parts.log"] = gzipped(unpackedLog())
	}
	if strings.HasPrefix(kind, "order") {
		for i := range 30 {
			s.objects[fmt.Sprintf("K%02d", i)] = fmt.Appendf(nil, "CONTENT %d\n", i)
		}
	}
	for k := range s.objects {
		s.listed = append(s.listed, k)
	}
	slices.Sort(s.listed)
	if kind == "order" {
		slices.SortFunc(s.listed, func(a, b string) int { return strings.Compare(strings.ToLower(a)+a, strings.ToLower(b)+b) })
	}
	if kind == "order-late" { // it shows when most was handed on
		s.objects["A"] = []byte("out of turn\n")
		s.listed = append(s.listed, "A")
	}
	return s
}

func unpackedLog() []byte {
	var b bytes.Buffer
	for i := range 50_000 {
		fmt.Fprintf(&b, "line %06d of a log\n", i)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b) // a bytes.Buffer takes everything
	_ = w.Close()
	return out.Bytes()
}

func sumOf(s []byte) string {
	sum := md5.Sum(s) //nolint:gosec // what S3 ETags are
	return hex.EncodeToString(sum[:])
}

// etags gives the listed ETag of an object, and that of answers.
func (s *odd) etags(key string) (listed, given string) {
	sum := sumOf(s.objects[key])
	switch {
	case key == "parts.log":
		return sum + "-2", sum + "-2"
	case s.kind == "if-match":
		return sumOf([]byte(sum)) + "-1", sum
	case s.kind == "etag":
		return sumOf([]byte(sum)), sumOf([]byte(sum))
	}
	return sum, sum
}

// ServeHTTP implements http.Handler.
func (s *odd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/bucket"), "/")
	_, known := s.objects[key]
	_, given := s.etags(key)
	switch {
	case s.kind == "redirect":
		w.Header().Set("Location", "https://s3.example.net"+r.URL.Path)
		w.WriteHeader(http.StatusMovedPermanently)
	case s.kind == "payer" && r.Header.Get("X-Amz-Request-Payer") != "requester":
		oddError(w, http.StatusForbidden, "AccessDenied")
	case key == "" && r.Method == http.MethodGet:
		s.list(w, r.URL.Query())
	case r.URL.Query().Has("tagging"):
		_, _ = fmt.Fprint(w, "<Tagging><TagSet></TagSet></Tagging>")
	case !known:
		oddError(w, http.StatusNotFound, "NoSuchKey")
	case s.kind == "if-match" && r.Header.Get("If-Match") != "" && strings.Trim(r.Header.Get("If-Match"), `"`) != given:
		oddError(w, http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		w.Header().Set("ETag", `"`+given+`"`)
		w.Header().Set("Last-Modified", "Wed, 01 May 2024 00:00:00 GMT")
		s.give(w, r, key)
	}
}

// give answers with an object's content.
func (s *odd) give(w http.ResponseWriter, r *http.Request, key string) {
	body := s.objects[key]
	if key == "parts.log" && !(s.kind == "gzip-aware" && r.Header.Get("Accept-Encoding") == "gzip") {
		body = unpackedLog()
		w.(http.Flusher).Flush() //nolint:forcetypeassert // it is one; and so there is no length
	} else {
		if key == "parts.log" {
			w.Header().Set("Content-Encoding", "gzip")
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(body)
	}
}

func oddError(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

func (s *odd) list(w http.ResponseWriter, q url.Values) {
	page, more := 1000, "NextContinuationToken"
	if s.kind == "next-marker" {
		page, more = 2, "NextMarker"
	}
	if strings.HasPrefix(s.kind, "order") {
		page = 10
	}
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		page = min(page, n)
	}
	keys := slices.DeleteFunc(slices.Clone(s.listed), func(k string) bool { return !strings.HasPrefix(k, q.Get("prefix")) })
	for _, name := range []string{"continuation-token", "start-after", "marker"} {
		if after := q.Get(name); after != "" {
			i := slices.Index(keys, after)
			if i < 0 {
				i = slices.IndexFunc(keys, func(k string) bool { return k > after }) - 1
			}
			keys = keys[max(i+1, 0):]
			break
		}
	}
	cut := len(keys) > page
	keys = keys[:min(page, len(keys))]
	_, _ = fmt.Fprintf(w, "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%v</IsTruncated>", cut)
	if cut {
		_, _ = fmt.Fprintf(w, "<%s>%s</%s>", more, keys[len(keys)-1], more)
	}
	for i, k := range keys {
		etag, _ := s.etags(k)
		size, at := strconv.Itoa(len(s.objects[k])), "2024-05-01T00:00:00.000Z"
		if s.kind == "sizes" {
			size = []string{"-1", "9223372036854775808", size, size, size}[i%5]
			at = []string{at, at, "12024-05-01T00:00:00Z", "2024-05-01T00:00:00", at}[i%5]
		}
		_, _ = fmt.Fprintf(w, `<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>"%s"</ETag><Size>%s</Size></Contents>`, k, at, etag, size)
	}
	_, _ = fmt.Fprint(w, "</ListBucketResult>")
}
