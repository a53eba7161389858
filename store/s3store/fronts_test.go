package s3store_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
)

// TestRedirects: where a vault sends its clients is said, and credentials do not go there.
func TestRedirects(t *testing.T) {
	elsewhere := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	t.Cleanup(other.Close)
	for _, status := range []int{301, 307} {
		for _, c := range []struct{ name, location, region, body, want string }{
			{"another host", other.URL + "/bucket", "", "<html>301 Moved Permanently</html>", "endpoint=" + other.URL},
			{"another scheme", "https://s3.example.net/bucket", "", "", "endpoint=https://s3.example.net"},
			{"another region", "https://bucket.s3.eu-west-3.example.com/", "eu-west-3", "<Error><Code>PermanentRedirect</Code></Error>", "region=eu-west-3"},
			{"nowhere", "", "", "", "does not say where"},
			{"a path", "/login", "", "<html>Log in</html>", "/login"},
		} {
			s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				if c.region != "" {
					w.Header().Set("x-amz-bucket-region", c.region)
				}
				w.WriteHeader(status)
				_, _ = w.Write([]byte(c.body))
			})
			ref := store.Ref{Name: "n", Version: "v"}
			errs := map[string]error{}
			for _, errs["list"] = range s.Versions(t.Context(), "points/", "") {
				break
			}
			_, errs["inspect"] = s.Inspect(t.Context())
			_, errs["open"] = s.Open(t.Context(), ref, 0, -1)
			_, _, errs["stat"] = s.Stat(t.Context(), ref)
			_, errs["put"] = s.Put(t.Context(), "n", strings.NewReader("x"), 1, store.PutOptions{})
			errs["extend"] = s.Extend(t.Context(), ref, lockFor(1e12))
			errs["remove"] = s.Remove(t.Context(), ref)
			for op, err := range errs {
				if err == nil || !strings.Contains(err.Error(), c.want) || store.Retryable(err) {
					t.Errorf("%d, %s, %s: %v", status, c.name, op, err)
				}
				noSecrets(t, err)
			}
		}
	}
	if elsewhere > 0 {
		t.Errorf("%d requests went elsewhere", elsewhere)
	}
}

// TestRewrittenEncoding: a front that rewrites Accept-Encoding on the way breaks no signature, since none covers that header.
func TestRewrittenEncoding(t *testing.T) {
	requests := 0
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if a := r.Header.Get("Authorization"); !strings.Contains(a, "SignedHeaders=") || strings.Contains(a, "accept-encoding") {
			t.Errorf("%s %s is signed %q", r.Method, r.URL, a)
		}
		answer(w, http.StatusForbidden, "AccessDenied", "no")
	})
	ref := store.Ref{Name: "n", Version: "v"}
	for range s.Versions(t.Context(), "points/", "") {
		break
	}
	_, _ = s.Inspect(t.Context())
	_, _ = s.Open(t.Context(), ref, 0, -1)
	_, _, _ = s.Stat(t.Context(), ref)
	_, _ = s.Put(t.Context(), "n", strings.NewReader("x"), 1, store.PutOptions{})
	_ = s.Extend(t.Context(), ref, lockFor(1e12))
	_ = s.Remove(t.Context(), ref)
	if requests < 7 {
		t.Errorf("%d requests", requests)
	}
}
