package awsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

func client(t *testing.T, get store.CredentialsFunc, answer http.HandlerFunc) *s3.Client {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	keys, stack := Signed(get, "GetObject")
	return s3.New(s3.Options{Region: "r", BaseEndpoint: &srv.URL, UsePathStyle: true, HTTPClient: Client(http.DefaultTransport), Credentials: keys, APIOptions: stack})
}

func static(id string) store.CredentialsFunc {
	return fixed.Credentials(store.Credentials{AccessKeyID: id, SecretAccessKey: "s"})
}

// TestContentIsNotLimited, and other bodies are; content whose headers cannot be read is let go of, not read to its end.
func TestContentIsNotLimited(t *testing.T) {
	const size = MaxAnswer + 1<<20
	piece := strings.Repeat("x", 1<<16)
	var sent atomic.Int64
	odd := false
	c := client(t, static("a"), func(w http.ResponseWriter, r *http.Request) {
		if odd {
			w.Header().Set("x-amz-tagging-count", "many")
		}
		if r.URL.Path == "/b" {
			_, _ = io.WriteString(w, "<ListBucketResult><Contents><Key>")
		}
		for i := 0; i < size; i += len(piece) {
			n, err := io.WriteString(w, piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	out, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, out.Body); n != size || err != nil {
		t.Errorf("%d of %d bytes: %v", n, size, err)
	}
	if err := out.Body.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b")}); !errors.Is(err, ErrAnswer) {
		t.Errorf("a listing of %d bytes: %v", size, err)
	}
	odd = true
	if _, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}); err == nil {
		t.Error("a header that cannot be read was read")
	}
}

// TestRenewedOnce: whoever is refused has the credentials read again, all of them once; who has no others fails at once.
func TestRenewedOnce(t *testing.T) {
	var valid, have atomic.Value
	valid.Store("first")
	have.Store("first")
	var asked, requests atomic.Int32
	code := "ExpiredToken"
	c := client(t, func(context.Context) (store.Credentials, error) {
		asked.Add(1)
		return store.Credentials{AccessKeyID: have.Load().(string), SecretAccessKey: "s"}, nil //nolint:forcetypeassert // it is one
	}, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if strings.Contains(r.Header.Get("Authorization"), "Credential="+valid.Load().(string)+"/") { //nolint:forcetypeassert // it is one
			_, _ = io.WriteString(w, "<ListBucketResult/>")
			return
		}
		w.WriteHeader(http.StatusForbidden)
		if r.Method != http.MethodHead {
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
		}
	})
	list := func() error {
		_, err := c.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("b")})
		return err
	}
	if err := list(); err != nil || asked.Load() != 1 {
		t.Fatalf("read %d times: %v", asked.Load(), err)
	}
	valid.Store("second")
	have.Store("second")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := list(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("read %d times for 20 refusals", n)
	}
	valid.Store("third") // and nobody has it
	before := requests.Load()
	if err := list(); err == nil || requests.Load() != before+1 {
		t.Errorf("%d requests: %v", requests.Load()-before, err)
	}
	// A HEAD is refused without a word of why, and a denial may be about a right: looked at again once a minute.
	have.Store("third")
	if _, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k")}); err != nil {
		t.Errorf("HEAD: %v", err)
	}
	valid.Store("nobody's")
	code = "AccessDenied"
	n := asked.Load()
	for range 5 {
		if list() == nil {
			t.Error("a denial was passed over")
		}
	}
	if asked.Load() != n {
		t.Errorf("read %d times for 5 denials within the minute", asked.Load()-n)
	}
}

// TestKeysEnd: credentials with an end are asked for again before it, and those that are still good bridge a failure.
func TestKeysEnd(t *testing.T) {
	n, fails := 0, false
	ends := time.Now().Add(time.Hour)
	k := NewKeys(func(context.Context) (store.Credentials, error) {
		if fails {
			return store.Credentials{}, errors.New("no answer")
		}
		n++
		return store.Credentials{AccessKeyID: fmt.Sprint(n), SecretAccessKey: "s", Expires: ends}, nil
	})
	for _, c := range []struct {
		left  time.Duration
		fails bool
		want  string
	}{{time.Hour, false, "1"}, {time.Hour, false, "1"}, {renewBefore - time.Second, false, "2"}, {renewBefore - time.Second, true, "2"}, {-time.Second, true, ""}} {
		fails = c.fails
		if n > 0 {
			k.have.Expires = time.Now().Add(c.left)
		}
		got, err := k.Retrieve(t.Context())
		if got.AccessKeyID != c.want || (err != nil) != (c.want == "") || err != nil && !errors.Is(err, store.ErrCredentials) {
			t.Errorf("%s left, failing %v: %q %v", c.left, c.fails, got.AccessKeyID, err)
		}
	}
	if _, err := NewKeys(static("")).Retrieve(t.Context()); !errors.Is(err, store.ErrCredentials) {
		t.Errorf("empty credentials: %v", err)
	}
}

// TestOddDates: a time in a form that HTTP does not have costs that time at most, and never the answer.
func TestOddDates(t *testing.T) {
	want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for said, ok := range map[string]bool{
		"Fri, 02 Jan 2026 03:04:05 GMT": true, "2026-01-02T03:04:05": true, "2026-01-02T03:04:05.000Z": true, "2026-01-02T04:04:05+01:00": true,
		"2026-01-02 03:04:05": true, "Fri, 02 Jan 2026 03:04:05 +0000": true, "": false, " ": false, "yesterday": false, "0": false,
	} {
		c := client(t, static("a"), func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Last-Modified"] = []string{said}
			if r.Method == http.MethodGet {
				_, _ = io.WriteString(w, "content")
			}
		})
		head, err := c.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		if err != nil || ok != (head.LastModified != nil && head.LastModified.Equal(want)) || !ok && head.LastModified != nil {
			t.Errorf("%q, HEAD: %v, %v", said, head, err)
		}
		got, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("b"), Key: aws.String("k")})
		if err != nil {
			t.Errorf("%q, GET: %v", said, err)
			continue
		}
		if b, err := io.ReadAll(got.Body); err != nil || string(b) != "content" {
			t.Errorf("%q: %q, %v", said, b, err)
		}
		_ = got.Body.Close()
	}
}
