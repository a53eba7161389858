package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/rogpeppe/go-internal/testscript"
)

// answers are what vendors answer to every request in some plight, as they document it (for AWS: the S3 API reference,
// "Error responses").
var answers = map[string]struct {
	status     int
	code, text string
	only       string // method; empty: all
}{
	"expired": {400, "ExpiredToken", "The provided token has expired.", ""},
	"late":    {403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.", ""},
	"full":    {507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.", http.MethodPut},
	"region": {301, "PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint. " +
		"Please send all future requests to this endpoint.", ""},
}

// front VARIABLE URL KIND[:N] puts a front before a bucket's server that forwards N requests (none by default) and then
// answers as KIND says: expired, late, full, region (see answers), page (a web page),
// certificate (TLS by an authority nobody knows; its certificate goes to the file ca.pem), or
// rot (the first byte of every object is another).
func (w *world) front(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: front VARIABLE URL KIND[:N]")
	}
	at, err := url.Parse(args[1])
	ts.Check(err)
	q := at.Query()
	backend := q.Get("endpoint")
	kind, number, _ := strings.Cut(args[2], ":")
	let, _ := strconv.Atoi(number)
	switch kind {
	case "certificate":
		s := httptest.NewUnstartedServer(forwarder(w.t, backend, nil))
		s.Config.ErrorLog = silent()
		s.StartTLS()
		w.t.Cleanup(s.Close)
		q.Set("endpoint", s.URL)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), ca, 0o600))
	case "rot":
		s := httptest.NewServer(rotten(forwarder(w.t, backend, nil)))
		w.t.Cleanup(s.Close)
		q.Set("endpoint", s.URL)
	default:
		s := httptest.NewServer(forwarder(w.t, backend, instead(ts, kind, int64(let))))
		w.t.Cleanup(s.Close)
		q.Set("endpoint", s.URL)
	}
	at.RawQuery = q.Encode()
	ts.Setenv(args[0], at.String())
}

// rotten changes what is in objects that are read, and nothing that is said of them.
func rotten(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); r.Method == http.MethodGet && key != "" && !r.URL.Query().Has("tagging") {
			w = &rotting{ResponseWriter: w}
		}
		next.ServeHTTP(w, r)
	})
}

type rotting struct {
	http.ResponseWriter
	begun bool
}

func (r *rotting) Write(b []byte) (int, error) {
	if !r.begun && len(b) > 0 {
		b, r.begun = bytes.Clone(b), true
		b[0] ^= 1
	}
	return r.ResponseWriter.Write(b)
}

// instead gives what is answered in the place of the server; it returns false for what is to be forwarded.
func instead(ts *testscript.TestScript, kind string, let int64) func(http.ResponseWriter, *http.Request) bool {
	a, ok := answers[kind]
	if !ok && kind != "page" {
		ts.Fatalf("unknown kind of front %s", kind)
	}
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) bool {
		if a.only != "" && r.Method != a.only || n.Add(1) <= let {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if kind == "page" {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>")
			return true
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(a.status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+a.code+`</Code><Message>`+a.text+
				`</Message><RequestId>4442587FB7D0A2F9</RequestId><HostId>x</HostId></Error>`)
		}
		return true
	}
}

// forwarder passes requests on unchanged, so that their signatures stay valid.
func forwarder(t *testing.T, backend string, first func(http.ResponseWriter, *http.Request) bool) http.Handler {
	to, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{ErrorLog: silent(), Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
		r.Out.URL.RawQuery = r.In.URL.RawQuery
		r.Out.Header["X-Forwarded-For"] = nil
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first == nil || !first(w, r) {
			p.ServeHTTP(w, r)
		}
	})
}

// overlay BUCKET PREFIX lays a damaged version over every object below a prefix, as whoever has the writer's key can.
func (w *world) overlay(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	ctx, c := context.Background(), b.on.Admin()
	n := 0
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: args[1], Recursive: true}) {
		ts.Check(o.Err)
		r, err := c.GetObject(ctx, b.name, o.Key, minio.GetObjectOptions{})
		ts.Check(err)
		body, err := io.ReadAll(r)
		ts.Check(err)
		body[len(body)*2/3] ^= 0x10
		_, err = c.PutObject(ctx, b.name, o.Key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{SendContentMd5: true})
		ts.Check(err)
		n++
	}
	if n == 0 {
		ts.Fatalf("nothing lies below %s", args[1])
	}
}

// uncover BUCKET removes every version and delete marker that lies on top of a first one, as an administrator who cleans up.
func (w *world) uncover(ts *testscript.TestScript, neg bool, args []string) {
	b := w.find(ts, args[0])
	ctx, c := context.Background(), b.on.Admin()
	oldest := map[string]minio.ObjectInfo{}
	var all []minio.ObjectInfo
	for o := range c.ListObjects(ctx, b.name, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		ts.Check(o.Err)
		all = append(all, o)
		if was, ok := oldest[o.Key]; !ok || o.LastModified.Before(was.LastModified) {
			oldest[o.Key] = o
		}
	}
	for _, o := range all {
		if o.VersionID != oldest[o.Key].VersionID {
			ts.Check(c.RemoveObject(ctx, b.name, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}))
		}
	}
}

// drop BUCKET removes a bucket without versions, and what is in it.
func (w *world) drop(ts *testscript.TestScript, neg bool, args []string) {
	w.wipe(ts, false, args)
	b := w.find(ts, args[0])
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := b.on.Admin().RemoveBucket(context.Background(), b.name)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func silent() *log.Logger { return log.New(io.Discard, "", 0) }
