package attacker

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

const secret = "hunter2hunter2"

// server answers as told and remembers what was asked.
type server struct {
	mu     sync.Mutex
	asked  []*http.Request
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	s.mu.Lock()
	s.asked = append(s.asked, r)
	n := len(s.asked)
	s.mu.Unlock()
	if s.answer != nil {
		s.answer(n, w, r)
	}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func open(t *testing.T, s *server, region string) *Attacker {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	a, err := New(Options{
		Location:    s3url.Location{Bucket: "bucket", Prefix: "prod/eu", Endpoint: srv.URL, Region: region, PathStyle: true},
		Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "AK", SecretAccessKey: secret, SessionToken: "tokentoken"}), Wait: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func lock(d time.Duration) store.Retention {
	return store.Retention{Mode: store.Compliance, Until: time.Now().Add(d)}
}

// TestNothingElse: what is no canary is not touched, and nothing is locked for long, whoever asks.
func TestNothingElse(t *testing.T) {
	s := &server{}
	a, ctx := open(t, s, "us-east-1"), context.Background()
	for _, name := range []string{"", "packs/ab/cd.age", "canary", "canary/x", "canary/../packs/x", "/canary/a/b", "canary//b", "xcanary/a/b", "points/a"} {
		ref := store.Ref{Name: name, Version: "1"}
		for what, ans := range map[string]attack.Answer{
			"put": a.Put(ctx, name, nil, attack.PutOptions{Lock: lock(time.Minute)}), "parts": a.PutInParts(ctx, name, nil, lock(time.Minute)),
			"get": a.Get(ctx, ref), "get unsigned": a.GetAnonymously(ctx, ref), "delete": a.Delete(ctx, ref, false), "bypass": a.Delete(ctx, ref, true),
			"marker": a.Delete(ctx, store.Ref{Name: name}, false), "retain": a.Retain(ctx, ref, lock(time.Minute), false),
			"release": a.Release(ctx, ref, true), "unhold": a.Unhold(ctx, ref),
		} {
			if ans.Err == nil {
				t.Errorf("%s %q was sent", what, name)
			}
		}
	}
	for what, l := range map[string]store.Retention{
		"none": {}, "no mode": {Until: time.Now()}, "a century": lock(100 * 365 * 24 * time.Hour), "an hour": lock(time.Hour),
		"a hold": {Mode: store.Compliance, Until: time.Now(), LegalHold: true}, "another mode": {Mode: "eternal", Until: time.Now()},
	} {
		for _, ans := range []attack.Answer{
			a.Put(ctx, "canary/a/b", nil, attack.PutOptions{Lock: l}), a.PutInParts(ctx, "canary/a/b", nil, l), a.Retain(ctx, store.Ref{Name: "canary/a/b"}, l, true),
		} {
			if ans.Err == nil {
				t.Errorf("%s was sent: %s", what, ans.Request)
			}
		}
	}
	if n := s.count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

// TestNoneWasEver: what is asked of nothing has names and versions that nobody can have made, and never the same.
func TestNoneWasEver(t *testing.T) {
	s := &server{}
	a, ctx := open(t, s, "us-east-1"), context.Background()
	for range 3 {
		for _, ans := range []attack.Answer{a.Finish(ctx), a.FinishAnonymously(ctx), a.Remove(ctx), a.Erase(ctx), a.Keep(ctx, lock(time.Hour)), a.Look(ctx)} {
			if !ans.Done() {
				t.Errorf("%+v", ans)
			}
		}
	}
	seen := map[string]bool{}
	for _, r := range s.asked {
		if !strings.HasPrefix(r.URL.Path, "/bucket/prod/eu/canary/never-was/") || seen[r.URL.Path] {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		seen[r.URL.Path] = true
		key := strings.TrimPrefix(r.URL.Path, "/bucket/")
		if r.Method == http.MethodDelete && r.URL.Query().Get("versionId") == "" && len(key) <= 1024 {
			t.Errorf("a delete marker could be laid: %s", r.URL.Path)
		}
		if r.Method == http.MethodPut && !r.URL.Query().Has("retention") {
			t.Errorf("an object could be put: %s", r.URL)
		}
	}
}

// TestSettings: nothing is written but garbage, or what was read.
func TestSettings(t *testing.T) {
	var bodies []string
	s := &server{}
	s.answer = func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Query().Has("versioning") {
			_, _ = io.WriteString(w, "<as/>")
		} else if r.Method == http.MethodGet {
			w.WriteHeader(404)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			b, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(b))
		}
		s.ServeHTTP(w, r)
	}))
	defer srv.Close()
	a, err := New(Options{Location: s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "r", PathStyle: true}, Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "AK", SecretAccessKey: secret}), Wait: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx := context.Background()
	if read, write := a.Rewrite(ctx, attack.Versioning); !read.Done() || !write.Done() {
		t.Errorf("%v, %v", read, write)
	}
	if read, write := a.Rewrite(ctx, attack.Policy); read.Done() || write.Request != "" {
		t.Errorf("what could not be read was written: %v, %v", read, write)
	}
	a.Garble(ctx, attack.Lifecycle)
	if len(bodies) != 2 || bodies[0] != "<as/>" || bodies[1] != garbage {
		t.Errorf("%q", bodies)
	}
}

func TestAnswers(t *testing.T) {
	s := &server{answer: func(n int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "REQ")
		w.Header().Set("Date", "Mon, 23 Nov 2026 10:00:00 GMT")
		switch n {
		case 1, 2:
			w.WriteHeader(503)
		default:
			w.WriteHeader(403)
			_, _ = fmt.Fprintf(w, "<Error><Code>AccessDenied</Code><Message>%s</Message></Error>", strings.Repeat("no ", 500))
		}
	}}
	a := open(t, s, "us-east-1")
	ans := a.Delete(context.Background(), store.Ref{Name: "canary/a/b", Version: "7"}, true)
	if s.count() != 3 || !ans.Denied() || ans.Code != "AccessDenied" || ans.RequestID != "REQ" || ans.Time.Hour() != 10 || len(ans.Message) > maxMessage+2 ||
		ans.Request != "DELETE canary/a/b?versionId=7 bypassing governance" || ans.Outcome() != "403 AccessDenied, request REQ" {
		t.Errorf("%d requests, %+v", s.count(), ans)
	}
	r := s.asked[2]
	if r.Header.Get("X-Amz-Bypass-Governance-Retention") != "true" || r.URL.Path != "/bucket/prod/eu/canary/a/b" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AK/") {
		t.Errorf("%s %v", r.URL, r.Header)
	}
	if text := fmt.Sprintf("%+v", ans); strings.Contains(text, secret) || strings.Contains(text, "tokentoken") {
		t.Errorf("a secret: %s", text)
	}
	unsigned := a.GetAnonymously(context.Background(), store.Ref{Name: "canary/a/b"})
	if r := s.asked[3]; r.Header.Get("Authorization") != "" || !unsigned.Denied() {
		t.Errorf("%v", r.Header)
	}
}

// TestRegion: a bucket whose region nobody named is asked in the one that the server names.
func TestRegion(t *testing.T) {
	s := &server{answer: func(n int, w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "/eu-south-7/") {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-south-7</Region></Error>")
		}
	}}
	a := open(t, s, "")
	if ans := a.Look(context.Background()); !ans.Done() {
		t.Errorf("%+v", ans)
	}
	if ans := a.Look(context.Background()); !ans.Done() || s.count() != 3 {
		t.Errorf("%d requests, %+v", s.count(), ans)
	}
}

// TestFailureInside: some servers answer the completion of an upload with 200 and the failure in the body.
func TestFailureInside(t *testing.T) {
	s := &server{answer: func(_ int, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<Error><Code>InternalError</Code></Error>")
	}}
	if ans := open(t, s, "us-east-1").Finish(context.Background()); ans.Done() || ans.Code != "InternalError" {
		t.Errorf("%+v", ans)
	}
}
