package probe_test

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3store/attacker"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

var (
	shared servers.Pool
	mu     sync.Mutex
	sites  = map[servers.Kind]site{}
)

// site is a bucket with locks and one user, shared by all tests, as making users is slow: each test gives him the rights
// that it needs.
type site struct {
	bucket string
	user   store.Credentials
}

func siteOf(t testing.TB, k servers.Kind) site {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	at, ok := sites[k]
	if !ok {
		srv := shared.Get(t, k)
		at.bucket = srv.NewBucket(t, servers.BucketOptions{Lock: true})
		at.user = srv.NewUser(t, servers.ReaderPolicy(at.bucket))
		sites[k] = at
	}
	return at
}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// printed is the policy that `holdfast policy` prints for a role, as a test server takes it.
func printed(t testing.TB, k servers.Kind, role vendor.Role, bucket, prefix string) servers.Policy {
	t.Helper()
	p, err := vendor.Get(string(k))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := vendor.PolicyFor(p, role, vendor.PolicyOptions{Bucket: bucket, Prefix: prefix, Principal: "whoever", MaxDays: 400})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := servers.ParsePolicy(doc.Text)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// run probes a bucket with a credential.
func run(t testing.TB, srv *servers.Server, bucket, prefix string, c store.Credentials, mode store.Mode) probe.Report {
	t.Helper()
	l := srv.Location(bucket)
	l.Prefix = prefix
	s, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(c)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	paged, err := s3store.New(s3store.Options{Location: l, Credentials: fixed.Credentials(c), PageSize: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer paged.Close()
	a, err := attacker.New(attacker.Options{Location: l, Credentials: fixed.Credentials(c), Wait: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	u, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	r, err := probe.Run(t.Context(), probe.Options{Attacker: a, Vault: s, Paged: paged, Host: u.Hostname(), Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func show(r probe.Report) string {
	s := "\n" + r.Vendor.Name + "\n"
	for _, f := range r.Findings {
		s += fmt.Sprintf("  %-22s %-10s %s | %s\n", f.Check, f.Severity, f.Seen, f.Mend)
	}
	return s
}

// TestClean: with the policy that is printed there is nothing to mend.
func TestClean(t *testing.T) {
	for _, k := range both {
		for _, prefix := range []string{"", "prod/eu"} {
			t.Run(string(k)+" "+prefix, func(t *testing.T) {
				srv, at := shared.Get(t, k), siteOf(t, k)
				srv.Allow(t, at.user, printed(t, k, vendor.VaultWriter, at.bucket, prefix))
				r := run(t, srv, at.bucket, prefix, at.user, store.Compliance)
				if r.Worst().Worse(probe.NotTested) || r.Vendor.Name != string(k) {
					t.Error(show(r))
				}
			})
		}
	}
}

// TestCentury: where a vendor has no bound on what a thief of the writer's key can lock, doctor says so.
func TestCentury(t *testing.T) {
	for _, k := range both {
		srv, at := shared.Get(t, k), siteOf(t, k)
		srv.Allow(t, at.user, printed(t, k, vendor.VaultWriter, at.bucket, ""))
		for _, f := range run(t, srv, at.bucket, "", at.user, store.Compliance).Findings {
			if f.Check == "lock-length" && (f.Severity != probe.Info || !strings.Contains(f.Seen, "for a century, at your cost")) {
				t.Errorf("%s: %s: %s", k, f.Severity, f.Seen)
			}
		}
	}
}
