package doctor_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/doctor"
	"github.com/holdfast-backup/holdfast/replicator/source/memsource"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

// cephFront answers a source's reader as a Ceph Object Gateway 16.2.15 was measured to: without a Server header, with request
// IDs of its own form; 500 to the completion of an upload that was never begun, 400 to a name over 1,024 bytes, 400 to a
// body that is no setting. A name is looked at before rights are, unless rightsFirst.
type cephFront struct {
	may         map[string]bool // write, delete version, delete, settings
	rightsFirst bool
	blind       bool // nothing may be read
}

func (f cephFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header()["Server"] = nil
	w.Header().Set("X-Amz-Request-Id", "tx000000000000000000a1b-0065f0c3d2-1234-default")
	fail := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><RequestId>tx0-0-0-default</RequestId></Error>`, code)
	}
	// judged refuses for want of a right, or else as told.
	judged := func(right string, status int, code string) {
		if !f.may[right] || r.Header.Get("Authorization") == "" {
			fail(403, "AccessDenied")
			return
		}
		fail(status, code)
	}
	key, q := r.URL.Path[len("/bucket"):], r.URL.Query()
	switch long := len(key) > 1024; {
	case long && !f.rightsFirst:
		fail(400, "InvalidObjectName")
	case long:
		judged("delete", 400, "InvalidObjectName")
	case r.Method == http.MethodPost && q.Has("uploadId"):
		judged("write", 500, "InternalError")
	case r.Method == http.MethodDelete && q.Has("versionId"):
		judged("delete version", 404, "NoSuchKey")
	case r.Method == http.MethodPut && (q.Has("lifecycle") || q.Has("policy") || q.Has("versioning")):
		judged("settings", 400, "InvalidArgument")
	case r.Method == http.MethodGet && f.blind:
		fail(403, "AccessDenied")
	case r.Method == http.MethodGet && key != "" && key != "/":
		fail(404, "NoSuchKey")
	case r.Method == http.MethodGet:
		_, _ = io.WriteString(w, `<ListBucketResult><Name>bucket</Name></ListBucketResult>`)
	default:
		fail(405, "MethodNotAllowed")
	}
}

// TestCephAnswers: each answer is a reading, not something that was not tested.
func TestCephAnswers(t *testing.T) {
	const ok, i, w = probe.OK, probe.Info, probe.Warning
	type found = map[string]probe.Severity
	for _, c := range []struct {
		name string
		cephFront
		want found
	}{
		{"reads only", cephFront{}, found{"source-write": ok, "source-delete": i, "source-delete-version": ok, "source-policy": ok}},
		{"reads only, rights first", cephFront{rightsFirst: true}, found{"source-write": ok, "source-delete": ok, "source-delete-version": ok}},
		{"may write", cephFront{may: map[string]bool{"write": true}}, found{"source-write": w, "source-delete": i}},
		{"may delete, rights first", cephFront{may: map[string]bool{"delete": true}, rightsFirst: true}, found{"source-write": ok, "source-delete": w}},
		{"may delete versions", cephFront{may: map[string]bool{"delete version": true}}, found{"source-delete-version": w, "source-delete": i}},
		{"may set", cephFront{may: map[string]bool{"settings": true}}, found{"source-policy": w, "source-lifecycle": w, "source-versioning": w}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := httptest.NewServer(c.cephFront)
			defer srv.Close()
			src := memsource.New(memsource.Options{Start: time.Now()})
			src.Put("a", []byte("x"))
			s := doctor.Source{
				Name: "uploads", Source: src, Place: doctor.Place{Host: "rgw.example.com", Loopback: true, Insecure: true},
				Key:    fixed.Credentials(store.Credentials{AccessKeyID: "AK", SecretAccessKey: "SK"}),
				Bucket: bucketOf(s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "default", PathStyle: true}),
			}
			var all []doctor.Finding
			if _, err := doctor.Run(t.Context(), doctor.Options{Sources: []doctor.Source{s}, Machine: machine(t), Emit: func(f doctor.Finding) { all = append(all, f) }}); err != nil {
				t.Error(err)
			}
			seen := map[string]bool{}
			for _, f := range all {
				s, listed := c.want[f.Check]
				seen[f.Check] = true
				if listed && f.Severity != s || !listed && f.Severity.Worse(i) && strings.HasPrefix(f.Check, "source-") {
					t.Errorf("%s is %s: %s", f.Check, f.Severity, f.Seen)
				}
			}
			for check := range c.want {
				if !seen[check] {
					t.Errorf("%s was not found", check)
				}
			}
		})
	}
}

// TestCephReaches: a key that may write at the other place is found there as well, by the 500 that it gets.
func TestCephReaches(t *testing.T) {
	for may, want := range map[bool]probe.Severity{true: probe.Critical, false: probe.OK} {
		srv := httptest.NewServer(cephFront{may: map[string]bool{"write": may}, blind: true})
		defer srv.Close()
		key := func(id string) store.CredentialsFunc {
			return fixed.Credentials(store.Credentials{AccessKeyID: id, SecretAccessKey: "SK"})
		}
		src := memsource.New(memsource.Options{})
		// The vault is no directory; called one, it is not attacked, which is not what is tested here.
		v := doctor.Vault{Name: "offsite", Place: doctor.Place{Host: "rgw.example.com", Directory: true}, Key: key("VAULT"), Bucket: bucketOf(s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "default", PathStyle: true})}
		s := doctor.Source{Name: "uploads", Source: src, Place: doctor.Place{Directory: true}, Key: key("SOURCE"), Vaults: []string{"offsite"}}
		var found *doctor.Finding
		emit := func(f doctor.Finding) {
			if f.Check == "source-reaches-vault" {
				found = &f
			}
		}
		if _, err := doctor.Run(t.Context(), doctor.Options{Vaults: []doctor.Vault{v}, Sources: []doctor.Source{s}, Machine: machine(t), Emit: emit}); err != nil {
			t.Error(err)
		}
		if found == nil || found.Severity != want {
			t.Errorf("may write %v: %+v", may, found)
		}
	}
}
