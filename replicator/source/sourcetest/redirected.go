package sourcetest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Redirected holds a client to this: a server that sends it elsewhere is not followed, whatever the status, and the error says
// where to. use must end in an error.
func Redirected(t *testing.T, use func(ctx context.Context, t *testing.T, endpoint string) error) {
	var followed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer other.Close()
	for _, c := range []struct {
		name, location string
		status         int
		want           string
	}{
		{"another host", other.URL + "/x?X-Amz-Signature=secret", http.StatusMovedPermanently, "endpoint=" + other.URL},
		{"another scheme", "https://front.example.net/", http.StatusTemporaryRedirect, "endpoint=https://front.example.net"},
		{"with a password", "https://user:secret@front.example.net/", http.StatusFound, "endpoint=https://front.example.net"},
		{"a path", "/login", http.StatusPermanentRedirect, "/login"},
		{"nowhere", "", http.StatusMovedPermanently, "does not say where"},
	} {
		t.Run("Redirected to "+c.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.location != "" {
					w.Header().Set("Location", c.location)
				}
				w.WriteHeader(c.status)
			}))
			defer srv.Close()
			err := use(t.Context(), t, srv.URL)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
	if n := followed.Load(); n > 0 {
		t.Errorf("%d requests were sent on", n)
	}
}
