package s3store_test

import (
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// fake is a store whose server is h.
func fake(t *testing.T, h http.HandlerFunc, edit ...func(*s3store.Options)) *s3store.Store {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return open(t, s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "us-east-1", PathStyle: true},
		store.Credentials{AccessKeyID: "AKID", SecretAccessKey: "hidden-secret", SessionToken: "hidden-token"}, edit...)
}

func answer(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// TestVendorCodes is the table of what vendors answer and what callers are told.
func TestVendorCodes(t *testing.T) {
	for _, c := range []struct {
		op            string
		status        int
		code, message string
		want          error
	}{
		{"open", 404, "NoSuchKey", "", store.ErrNotFound},
		{"open", 404, "NoSuchVersion", "", store.ErrNotFound},
		{"open", 404, "NoSuchBucket", "", store.ErrNoBucket},
		{"open", 404, "", "", store.ErrNotFound},
		{"open", 405, "MethodNotAllowed", "", store.ErrNotFound},
		{"open", 403, "AccessDenied", "", store.ErrDenied},
		{"open", 416, "InvalidRange", "", io.ErrUnexpectedEOF},
		{"open", 403, "InvalidAccessKeyId", "", store.ErrCredentials},
		{"open", 403, "SignatureDoesNotMatch", "", store.ErrCredentials},
		{"open", 400, "ExpiredToken", "", store.ErrCredentials},
		{"open", 403, "RequestTimeTooSkewed", "", store.ErrClock},
		{"open", 503, "SlowDown", "", store.ErrThrottled},
		{"open", 503, "", "", store.ErrThrottled},
		{"open", 429, "", "", store.ErrThrottled},
		{"open", 500, "InternalError", "", store.ErrTransient},
		{"open", 502, "", "", store.ErrTransient},
		{"open", 504, "", "", store.ErrTransient},
		{"put", 400, "RequestTimeout", "", store.ErrTransient},
		{"put", 400, "BadDigest", "", store.ErrChecksum},
		{"put", 400, "XAmzContentSHA256Mismatch", "", store.ErrChecksum},
		{"put", 507, "XMinioStorageFull", "", store.ErrNoSpace},
		{"put", 403, "AccessDenied", "", store.ErrDenied},
		{"put", 400, "InvalidRequest", "Bucket is missing Object Lock Configuration", store.ErrNoLock},
		{"remove", 403, "AccessDenied", "Access Denied because object protected by object lock.", store.ErrLocked},
		{"remove", 400, "InvalidRequest", "Object is WORM protected and cannot be overwritten", store.ErrLocked},
		{"remove", 403, "AccessDenied", "Access Denied.", store.ErrDenied},
		{"extend", 403, "AccessDenied", "Access Denied because object protected by object lock.", store.ErrLocked},
		{"extend", 501, "NotImplemented", "", store.ErrUnsupported},
	} {
		t.Run(fmt.Sprintf("%s %d %s", c.op, c.status, c.code), func(t *testing.T) {
			requests := 0
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				_, _ = io.Copy(io.Discard, r.Body)
				answer(w, c.status, c.code, c.message)
			})
			ref := store.Ref{Name: "n", Version: "v"}
			var err error
			switch c.op {
			case "open":
				_, err = s.Open(t.Context(), ref, 0, 5)
			case "put":
				_, err = s.Put(t.Context(), "n", strings.NewReader("x"), 1, store.PutOptions{Retention: lockFor(time.Hour)})
			case "remove":
				err = s.Remove(t.Context(), ref)
			case "extend":
				err = s.Extend(t.Context(), ref, lockFor(time.Hour))
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v; want %v", err, c.want)
			}
			if want := errors.Is(c.want, store.ErrThrottled) || errors.Is(c.want, store.ErrTransient); store.Retryable(err) != want {
				t.Errorf("retryable: %t; want %t", !want, want)
			}
			if requests != 1 {
				t.Errorf("%d requests; the driver must not retry", requests)
			}
			var se *store.Error
			if !errors.As(err, &se) || se.Op != c.op || se.Ref.Name != "n" {
				t.Errorf("%#v", err)
			}
			noSecrets(t, err)
		})
	}
}

func noSecrets(t *testing.T, err error) {
	t.Helper()
	for _, s := range []string{fmt.Sprint(err), fmt.Sprintf("%#v", err)} {
		if strings.Contains(s, "hidden-") || strings.Contains(s, "Signature=") {
			t.Errorf("a secret in %s", s)
		}
	}
}

func TestBrokenConnections(t *testing.T) {
	hijack := func(w http.ResponseWriter) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}
	ref := store.Ref{Name: "n", Version: "v"}
	closed := fake(t, func(w http.ResponseWriter, _ *http.Request) { hijack(w) })
	_, err := closed.Open(t.Context(), ref, 0, -1)
	_, perr := closed.Put(t.Context(), "n", strings.NewReader("x"), 1, store.PutOptions{})
	for _, err := range []error{err, perr} {
		if !errors.Is(err, store.ErrTransient) {
			t.Errorf("a closed connection: %v; want transient", err)
		}
		noSecrets(t, err)
	}
	short := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.WriteHeader(200)
		_, _ = w.Write(make([]byte, 300))
		w.(http.Flusher).Flush()
		hijack(w)
	})
	rc, err := short.Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if len(b) != 300 || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, store.ErrTransient) {
		t.Errorf("a body cut short: %d bytes, %v; want 300, and an unexpected EOF that is transient", len(b), err)
	}
	_ = rc.Close()
	nobody := open(t, s3url.Location{Bucket: "bucket", Endpoint: "http://127.0.0.1:1", Region: "us-east-1", PathStyle: true}, store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"})
	if _, err := nobody.Inspect(t.Context()); !errors.Is(err, store.ErrTransient) {
		t.Errorf("connection refused: %v; want transient", err)
	}
	slow := fake(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(o *s3store.Options) {
		o.Transport = &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond}
	})
	if _, err := slow.Open(t.Context(), ref, 0, -1); !errors.Is(err, store.ErrTransient) {
		t.Errorf("a server that never answers: %v; want transient", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	waiting := fake(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if _, err := waiting.Open(ctx, ref, 0, -1); !errors.Is(err, context.DeadlineExceeded) || store.Retryable(err) {
		t.Errorf("the caller's own deadline: %v; want it, not retryable", err)
	}
}

func entry(key, version string) string {
	return "<Version><Key>" + key + "</Key><VersionId>" + version + "</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>1</Size></Version>"
}

// TestBadListings: a server that repeats itself ends in an error, and soon. A name out of order is given as it stands.
func TestBadListings(t *testing.T) {
	page := func(truncated bool, key, version string, entries ...string) string {
		return fmt.Sprintf("<ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>%t</IsTruncated><NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>%s</NextVersionIdMarker>%s</ListVersionsResult>",
			truncated, key, version, strings.Join(entries, ""))
	}
	for name, c := range map[string]struct {
		pages []string // the last one for ever
		want  int
		err   error
	}{
		"good":              {[]string{page(true, "b", "1", entry("a", "1"), entry("b", "1")), page(false, "", "", entry("b", "1"), entry("b", "0"), entry("c", "1"))}, 4, nil},
		"same marker":       {[]string{page(true, "a", "1", entry("a", "1"))}, 1, store.ErrListing},
		"no marker":         {[]string{page(true, "", "", entry("a", "1"))}, 1, store.ErrListing},
		"empty, no advance": {[]string{page(true, "", "")}, 0, store.ErrListing},
		"backwards":         {[]string{page(true, "b", "1", entry("b", "1")), page(false, "", "", entry("a", "1"))}, 2, nil},
		"outside":           {[]string{page(false, "", "", entry("a", "1"), entry("zz%2Fother", "1"))}, 2, nil},
		"not XML":           {[]string{"<html>"}, 0, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("encoding-type") != "url" {
					t.Error("encoding-type is missing")
				}
				_, _ = io.WriteString(w, c.pages[min(requests, len(c.pages)-1)])
				requests++
			})
			var got []store.Info
			var last error
			for info, err := range s.Versions(t.Context(), "", "") {
				if last = err; err != nil {
					break
				}
				got = append(got, info)
			}
			if len(got) != c.want || !errors.Is(last, c.err) && (c.err != errAny || last == nil) {
				t.Errorf("%d entries and %v; want %d and %v", len(got), last, c.want, c.err)
			}
			if requests > 3 {
				t.Errorf("%d requests before that was noticed", requests)
			}
		})
	}
}

// TestBehind: whatever a server makes of the name that a listing is to begin behind, what comes is behind it, and each version once.
func TestBehind(t *testing.T) {
	type version struct{ key, id string }
	all := []version{{"p/a", "1"}, {"p/b", "2"}, {"p/b", "1"}, {"p/c", "3"}, {"p/c", "2"}, {"p/c", "1"}, {"p/d", "1"}, {"p/e", "1"}}
	for habit, c := range map[string]struct {
		order func(a, b version) int
		asked func(v version, key, id string) bool // whether a version comes behind the markers
	}{
		"begins behind it": {nil, func(v version, key, id string) bool { return v.key > key || v.key == key && id != "" && v.id < id }},
		"begins with it":   {nil, func(v version, key, id string) bool { return v.key > key || v.key == key && (id == "" || v.id < id) }},
		"begins a page before it": {nil, func(v version, key, id string) bool {
			return v.key > key || v.key == key && id != "" && v.id < id || id == "" && v.key >= "p/b"
		}},
		"knows no such thing": {nil, func(v version, key, id string) bool { return id == "" || v.key > key || v.key == key && v.id < id }},
		"oldest first": {func(a, b version) int { return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.id, b.id)) },
			func(v version, key, id string) bool { return v.key > key || v.key == key && id != "" && v.id > id }},
		"another order, and knows no such thing": {func(a, b version) int { return cmp.Or(strings.Compare(b.key, a.key), strings.Compare(b.id, a.id)) },
			func(v version, key, id string) bool { return id == "" || v.key < key || v.key == key && v.id < id }},
	} {
		for _, size := range []int{2, 3, 1000} {
			var markers []string
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				markers = append(markers, q.Get("key-marker"))
				list := slices.Clone(all)
				if c.order != nil {
					slices.SortFunc(list, c.order)
				}
				var page []version
				more := false
				for _, v := range list {
					if key := q.Get("key-marker"); strings.HasPrefix(v.key, q.Get("prefix")) && (key == "" || c.asked(v, key, q.Get("version-id-marker"))) {
						if more = len(page) == size; more {
							break
						}
						page = append(page, v)
					}
				}
				fmt.Fprintf(w, "<ListVersionsResult><IsTruncated>%t</IsTruncated>", more)
				if more {
					last := page[size-1]
					fmt.Fprintf(w, "<NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>%s</NextVersionIdMarker>", last.key, last.id)
				}
				for _, v := range page {
					_, _ = io.WriteString(w, entry(v.key, v.id))
				}
				_, _ = io.WriteString(w, "</ListVersionsResult>")
			}, func(o *s3store.Options) { o.PageSize = size })
			for _, after := range []string{"", "p", "p/", "p/a", "p/b", "p/bb", "p/c", "p/d", "p/e", "p/f", "q"} {
				var got, want []version
				markers = nil
				for info, err := range s.Versions(t.Context(), "p/", after) {
					if err != nil {
						t.Fatalf("%s, %d a page, behind %q: %v", habit, size, after, err)
					}
					got = append(got, version{info.Name, info.Version})
				}
				for _, v := range all {
					if v.key > after {
						want = append(want, v)
					}
				}
				byID := func(a, b version) int { return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(b.id, a.id)) }
				if slices.SortFunc(got, byID); !slices.Equal(got, want) {
					t.Errorf("%s, %d a page, behind %q: listed %v", habit, size, after, got)
				}
				// MinIO answers 501 NotImplemented to a marker outside the prefix; what is behind all of it costs no request.
				first := map[bool][]string{true: {after}, false: {""}}[strings.HasPrefix(after, "p/")]
				if after > "p0" {
					first = nil
				}
				if !slices.Equal(markers[:min(1, len(markers))], first) {
					t.Errorf("%s, behind %q: asked from %q", habit, after, markers)
				}
			}
		}
	}
}

// TestListingBreaksOff: an answer that ends early is worth another try, wherever in it that is.
func TestListingBreaksOff(t *testing.T) {
	page := "<?xml version=\"1.0\"?><ListVersionsResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>" + entry("a", "1") + "</ListVersionsResult>"
	for _, n := range []int{0, 1, len(page) / 2, len(page) - 1} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(page)))
			_, _ = io.WriteString(w, page[:n])
		})
		var last error
		for _, err := range s.Versions(t.Context(), "", "") {
			last = err
		}
		if !errors.Is(last, store.ErrTransient) {
			t.Errorf("after %d bytes: %v", n, last)
		}
	}
}

var errAny = errors.New("any error")

// TestOddAnswers: what a server should never answer is refused, not believed.
func TestOddAnswers(t *testing.T) {
	ref := store.Ref{Name: "n", Version: "v"}
	modified := func(w http.ResponseWriter) {
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
	}
	ignoresRange := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		modified(w)
		_, _ = io.WriteString(w, "0123456789")
	})
	if _, err := ignoresRange.Open(t.Context(), ref, 5, 2); err == nil {
		t.Error("a whole object for a range from byte 5 was taken")
	}
	rc, err := ignoresRange.Open(t.Context(), ref, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(rc); string(b) != "01" || err != nil {
		t.Errorf("%q, %v; want the two bytes asked for", b, err)
	}
	for name, edit := range map[string]func(http.Header){
		"other version": func(h http.Header) { h.Set("X-Amz-Version-Id", "w") },
		"half a lock":   func(h http.Header) { h.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE") },
		"strange mode": func(h http.Header) {
			h.Set("X-Amz-Object-Lock-Mode", "SOMETIMES")
			h.Set("X-Amz-Object-Lock-Retain-Until-Date", "2030-01-01T00:00:00Z")
		},
		"strange time": func(h http.Header) {
			h.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
			h.Set("X-Amz-Object-Lock-Retain-Until-Date", "tomorrow")
		},
	} {
		s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
			modified(w)
			w.Header().Set("Content-Length", "1")
			edit(w.Header())
		})
		if _, lock, err := s.Stat(t.Context(), ref); err == nil {
			t.Errorf("%s: believed, as %+v", name, lock)
		}
	}
	denied := fake(t, func(w http.ResponseWriter, r *http.Request) {
		modified(w)
		if r.URL.Query().Has("retention") {
			answer(w, 403, "AccessDenied", "")
			return
		}
		w.Header().Set("Content-Length", "1")
	})
	if _, _, err := denied.Stat(t.Context(), ref); !errors.Is(err, store.ErrDenied) {
		t.Errorf("a lock that may not be read: %v; want denied, not unlocked", err)
	}
}

// TestCABundle: a private certificate authority is honoured, by option and by environment, and adds to the system's.
func TestCABundle(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 404, "NoSuchKey", "")
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	l := s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "us-east-1", PathStyle: true}
	c := store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}
	t.Setenv("AWS_CA_BUNDLE", "")
	if _, err := open(t, l, c).Open(t.Context(), store.Ref{Name: "n"}, 0, -1); err == nil || errors.Is(err, store.ErrNotFound) || store.Retryable(err) {
		t.Errorf("an unknown authority: %v; want refused for good", err)
	}
	withOption := open(t, l, c, func(o *s3store.Options) { o.CABundle = file })
	t.Setenv("AWS_CA_BUNDLE", file)
	for _, s := range []*s3store.Store{withOption, open(t, l, c)} {
		if _, err := s.Open(t.Context(), store.Ref{Name: "n"}, 0, -1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("with the bundle: %v; want the server's answer", err)
		}
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), os.Args[0]} {
		t.Setenv("AWS_CA_BUNDLE", bad)
		if _, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(c)}); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
			t.Errorf("%v; want an error that names AWS_CA_BUNDLE", err)
		}
	}
}
