package sourcetest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/replicator/source"
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

// Listed opens a source and lists it to its end, and gives what goes wrong on the way.
func Listed(ctx context.Context, s source.Source) (err error) {
	v, err := s.Freeze(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	for _, err := range v.Entries(ctx, "", "") {
		if err != nil {
			return err
		}
	}
	return nil
}
