package sourcetest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
)

// Renewed holds a client to this: credentials that a server refuses are read again, once, and the request is made with what
// they are by then. use may end in any error but that of the refusal. No signature may cover Accept-Encoding, which fronts
// rewrite on the way.
func Renewed(t *testing.T, use func(ctx context.Context, t *testing.T, endpoint string, get store.CredentialsFunc) error) {
	for _, code := range []string{"ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestExpired"} {
		t.Run("Renewed after "+code, func(t *testing.T) {
			var taken, read atomic.Int64
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				signed := r.Header.Get("Authorization")
				if strings.Contains(signed, "accept-encoding") {
					t.Errorf("%s %s is signed %q", r.Method, r.URL, signed)
				}
				if strings.Contains(signed, "Credential=second/") {
					taken.Add(1)
					if r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/snapshots") {
						_, _ = fmt.Fprint(w, "{}")
						return
					}
					_, _ = fmt.Fprint(w, "<Answer/>")
					return
				}
				w.Header().Set("X-Amzn-Errortype", code)
				w.WriteHeader(http.StatusForbidden)
				switch {
				case r.Method == http.MethodHead:
				case strings.HasPrefix(r.URL.Path, "/snapshots"):
					_, _ = fmt.Fprintf(w, `{"__type":%q}`, code)
				case r.Method == http.MethodPost:
					_, _ = fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code></Error></Errors></Response>", code)
				default:
					_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", code)
				}
			}))
			defer srv.Close()
			err := use(t.Context(), t, srv.URL, func(context.Context) (store.Credentials, error) {
				if read.Add(1) == 1 {
					return store.Credentials{AccessKeyID: "first", SecretAccessKey: "s"}, nil
				}
				return store.Credentials{AccessKeyID: "second", SecretAccessKey: "s"}, nil
			})
			if taken.Load() == 0 || read.Load() != 2 {
				t.Errorf("read %d times, %d requests with the second: %v", read.Load(), taken.Load(), err)
			}
		})
	}
}
