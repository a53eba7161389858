package doctor_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/crypto/keys"
	"github.com/holdfast-backup/holdfast/replicator/doctor"
	dirsource "github.com/holdfast-backup/holdfast/replicator/source/dir"
	s3source "github.com/holdfast-backup/holdfast/replicator/source/s3"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3store/attacker"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

var shared servers.Pool

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func printed(t testing.TB, k servers.Kind, role vendor.Role, bucket string) servers.Policy {
	t.Helper()
	p, err := vendor.Get(string(k))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := vendor.PolicyFor(p, role, vendor.PolicyOptions{Bucket: bucket, Principal: "whoever", MaxDays: 400})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := servers.ParsePolicy(doc.Text)
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func bucketOf(l s3url.Location) doctor.Bucket {
	return func(as store.CredentialsFunc) (doctor.Asker, error) {
		return attacker.New(attacker.Options{Location: l, Credentials: as, Wait: 1})
	}
}

func place(t testing.TB, srv *servers.Server) doctor.Place {
	t.Helper()
	u, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Place{Host: u.Host, Insecure: true, Loopback: true}
}

func vault(t testing.TB, srv *servers.Server, bucket string, c store.Credentials) doctor.Vault {
	t.Helper()
	l, get := srv.Location(bucket), fixed.Credentials(c)
	s, err := s3store.New(s3store.Options{Location: l, Credentials: get})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	a, err := attacker.New(attacker.Options{Location: l, Credentials: get, Wait: 1})
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Vault{Name: "offsite", Place: place(t, srv), Mode: store.Compliance, Attacker: a, Store: s, Key: get, Bucket: bucketOf(l)}
}

func sourceOf(t testing.TB, srv *servers.Server, bucket, versions string, c store.Credentials) doctor.Source {
	t.Helper()
	l, get := srv.Location(bucket), fixed.Credentials(c)
	s, err := s3source.New(s3source.Options{Bucket: bucket, Endpoint: l.Endpoint, Region: l.Region, PathStyle: true, Credentials: get, Versions: versions, MaxBackoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Source{Name: "uploads", Place: place(t, srv), Source: s, Tags: true, Key: get, Bucket: bucketOf(l), Vaults: []string{"offsite"}}
}

// machine is one where everything is as it should be.
func machine(t testing.TB) doctor.Machine {
	t.Helper()
	dir := t.TempDir()
	m := doctor.Machine{Config: filepath.Join(dir, "holdfast.yaml"), HostKey: filepath.Join(dir, "host.key"), SearchDirs: []string{dir, filepath.Join(dir, "absent")}}
	for range 2 {
		m.Recipients = append(m.Recipients, identity(t).Recipient())
	}
	host, err := keys.GenerateHostKey(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.WriteHostKeyFile(m.HostKey, host); err != nil {
		t.Fatal(err)
	}
	write(t, m.Config, "vaults: []\n", 0o600)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return m
}

func identity(t testing.TB) keys.Identity {
	t.Helper()
	id, err := keys.GenerateIdentity(keys.X25519)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// diagnose runs and demands that exactly the wanted checks are worse than not tested, and that each says how to mend it.
func diagnose(t *testing.T, o doctor.Options, want map[string]probe.Severity) {
	t.Helper()
	var all []doctor.Finding
	o.Emit = func(f doctor.Finding) { all = append(all, f) }
	sum, err := doctor.Run(t.Context(), o)
	if err != nil {
		t.Error(err)
	}
	found, n := map[string]bool{}, 0
	for _, f := range all {
		found[f.Check] = true
		s, ok := want[f.Check]
		switch bad := f.Severity.Worse(probe.NotTested); {
		case bad && !ok:
			t.Errorf("%s: %s is %s: %s", f.Subject, f.Check, f.Severity, f.Seen)
		case ok && f.Severity != s:
			t.Errorf("%s: %s is %s instead of %s: %s", f.Subject, f.Check, f.Severity, s, f.Seen)
		case bad && f.Mend == "":
			t.Errorf("%s: %s does not say how to mend it", f.Subject, f.Check)
		}
		n++
	}
	for check := range want {
		if !found[check] {
			t.Errorf("%s was not found", check)
		}
	}
	for _, c := range sum.Counts {
		n -= c
	}
	if n != 0 {
		t.Errorf("the summary counts %d findings too few", n)
	}
	if t.Failed() {
		for _, f := range all {
			t.Logf("%-30s %-22s %-10s %s", f.Subject, f.Check, f.Severity, f.Seen)
		}
	}
}

// lived is a source bucket with something in it.
func lived(t testing.TB, srv *servers.Server, o servers.BucketOptions) string {
	t.Helper()
	bucket := srv.NewBucket(t, o)
	for _, key := range []string{"a/b", "c"} {
		_, err := srv.Admin().PutObject(t.Context(), bucket, key, strings.NewReader("some bytes"), 10, minio.PutObjectOptions{
			UserTags: map[string]string{"class": "x"}, SendContentMd5: true, DisableContentSha256: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return bucket
}

// TestClean: a set-up made of the printed policies has nothing to mend, and the source is left as it was.
func TestClean(t *testing.T) {
	for from, to := range map[servers.Kind]servers.Kind{servers.KindMinIO: servers.KindVersityGW, servers.KindVersityGW: servers.KindMinIO} {
		for _, versions := range []string{"current", "all"} {
			t.Run(fmt.Sprintf("%s to %s, %s", from, to, versions), func(t *testing.T) {
				primary, second := shared.Get(t, from), shared.Get(t, to)
				sb, vb := lived(t, primary, servers.BucketOptions{Versioning: versions == "all"}), second.NewBucket(t, servers.BucketOptions{Lock: true})
				s := sourceOf(t, primary, sb, versions, primary.NewUser(t, printed(t, from, vendor.SourceReader, sb)))
				v := vault(t, second, vb, second.NewUser(t, printed(t, to, vendor.VaultWriter, vb)))
				before := names(t, primary, sb)
				primary.ResetLog()
				diagnose(t, doctor.Options{Vaults: []doctor.Vault{v}, Sources: []doctor.Source{s}, Machine: machine(t)}, nil)
				if after := names(t, primary, sb); after != before {
					t.Errorf("the source has changed: %s; it was %s", after, before)
				}
				for _, r := range primary.Log() {
					if r.Method != "GET" && r.Method != "HEAD" && r.Status < 400 {
						t.Errorf("%s %s?%s was done: %d", r.Method, r.Path, r.Query, r.Status)
					}
				}
			})
		}
	}
}

func names(t testing.TB, srv *servers.Server, bucket string) string {
	t.Helper()
	var out []string
	for o := range srv.Admin().ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		out = append(out, o.Key+" "+o.VersionID)
	}
	return strings.Join(out, ", ")
}

// TestSources plants what can be wrong with a source's credential.
func TestSources(t *testing.T) {
	const w, c = probe.Warning, probe.Critical
	for _, k := range []servers.Kind{servers.KindMinIO, servers.KindVersityGW} {
		srv := shared.Get(t, k)
		plain, versioned := lived(t, srv, servers.BucketOptions{}), lived(t, srv, servers.BucketOptions{Versioning: true})
		user := srv.NewUser(t, servers.SourceReaderPolicy(plain))
		for _, p := range []struct {
			name     string
			only     servers.Kind
			versions string
			extra    [2][]string
			less     []string
			want     map[string]probe.Severity
		}{
			{name: "may write", extra: [2][]string{nil, {"PutObject"}}, want: map[string]probe.Severity{"source-write": w}},
			{name: "may delete versions", only: servers.KindVersityGW, extra: [2][]string{nil, {"DeleteObjectVersion"}}, want: map[string]probe.Severity{"source-delete-version": w}},
			{name: "may delete", only: servers.KindVersityGW, extra: [2][]string{nil, {"DeleteObject"}}, want: map[string]probe.Severity{"source-delete": w}},
			{name: "may delete", only: servers.KindMinIO, extra: [2][]string{nil, {"DeleteObject"}}, want: map[string]probe.Severity{"source-delete": w, "source-delete-version": w}},
			{name: "may change the lifecycle", only: servers.KindMinIO, extra: [2][]string{{"PutLifecycleConfiguration"}, nil}, want: map[string]probe.Severity{"source-lifecycle": w}},
			{name: "may change the policy", extra: [2][]string{{"PutBucketPolicy"}, nil}, want: map[string]probe.Severity{"source-policy": w}},
			{name: "may change versioning", extra: [2][]string{{"PutBucketVersioning"}, nil}, want: map[string]probe.Severity{"source-versioning": w}},
			{name: "may not list", less: []string{"ListBucket"}, want: map[string]probe.Severity{"source-list": c}},
			{name: "may not list versions", versions: "all", less: []string{"ListBucketVersions", "ListBucket"}, want: map[string]probe.Severity{"source-list": c}},
			{name: "may not read", less: []string{"GetObject", "GetObjectVersion"}, want: map[string]probe.Severity{"source-read": c}},
			{name: "may not read versions", only: servers.KindVersityGW, versions: "all", less: []string{"GetObjectVersion"}, want: map[string]probe.Severity{"source-read": c}},
			{name: "may not read tags", less: []string{"GetObjectTagging"}, want: map[string]probe.Severity{"source-read": c}},
		} {
			if p.only != "" && p.only != k {
				continue
			}
			t.Run(string(k)+" "+p.name, func(t *testing.T) {
				bucket := plain
				if p.versions == "all" {
					bucket = versioned
				}
				srv.Allow(t, user, printed(t, k, vendor.SourceReader, bucket).Without(p.less...).Allowing(bucket, p.extra[0], p.extra[1]))
				before := names(t, srv, bucket)
				s := sourceOf(t, srv, bucket, p.versions, user)
				s.Vaults = nil
				diagnose(t, doctor.Options{Sources: []doctor.Source{s}, Machine: machine(t)}, p.want)
				if after := names(t, srv, bucket); after != before {
					t.Errorf("the source has changed: %s; it was %s", after, before)
				}
			})
		}
	}
}

// TestApart plants what source and vault can have in common.
func TestApart(t *testing.T) {
	const w, c = probe.Warning, probe.Critical
	srv := shared.Get(t, servers.KindVersityGW)
	sb, vb := lived(t, srv, servers.BucketOptions{}), srv.NewBucket(t, servers.BucketOptions{Lock: true})
	reader, writer := printed(t, srv.Kind, vendor.SourceReader, sb), printed(t, srv.Kind, vendor.VaultWriter, vb)
	su, vu := srv.NewUser(t, reader), srv.NewUser(t, writer)
	for _, p := range []struct {
		name           string
		source, writer servers.Policy
		change         func(*doctor.Source, *doctor.Vault)
		want           map[string]probe.Severity
	}{
		{name: "one server", want: map[string]probe.Severity{"same-account": w}},
		{name: "the source's key lists the vault", source: reader.Allowing(vb, []string{"ListBucket"}, nil), want: map[string]probe.Severity{"same-account": w, "source-reaches-vault": c}},
		{name: "the source's key writes to the vault", source: reader.Allowing(vb, nil, []string{"PutObject"}), want: map[string]probe.Severity{"same-account": w, "source-reaches-vault": c}},
		{name: "the vault's key reads the source", writer: writer.Allowing(sb, []string{"ListBucket"}, []string{"GetObject"}), want: map[string]probe.Severity{"same-account": w, "vault-reaches-source": w}},
		{name: "one key", source: append(reader[:len(reader):len(reader)], writer...), change: func(s *doctor.Source, v *doctor.Vault) {
			v.Key = s.Key
		}, want: map[string]probe.Severity{"same-key": c}},
		{name: "no vault with locks", change: func(s *doctor.Source, v *doctor.Vault) {
			*v = doctor.Vault{Name: "offsite", Place: doctor.Place{Directory: true}}
		}, want: map[string]probe.Severity{"immutable": w, "immutable-copy": c}},
		{name: "in the clear", change: func(s *doctor.Source, v *doctor.Vault) {
			v.Loopback, s.Loopback, v.Host = false, false, "192.0.2.1:80"
		}, want: map[string]probe.Severity{"tls": w}},
		{name: "governance", change: func(_ *doctor.Source, v *doctor.Vault) { v.Mode = store.Governance }, want: map[string]probe.Severity{"same-account": w, "lock-mode": w}},
	} {
		t.Run(p.name, func(t *testing.T) {
			srv.Allow(t, su, or(p.source, reader))
			srv.Allow(t, vu, or(p.writer, writer))
			s, v := sourceOf(t, srv, sb, "current", su), vault(t, srv, vb, vu)
			if p.change != nil {
				p.change(&s, &v)
			}
			diagnose(t, doctor.Options{Sources: []doctor.Source{s}, Vaults: []doctor.Vault{v}, Machine: machine(t)}, p.want)
		})
	}
}

func or(p, q servers.Policy) servers.Policy {
	if p == nil {
		return q
	}
	return p
}

// TestMachine plants what can be wrong with the machine.
func TestMachine(t *testing.T) {
	const w, c = probe.Warning, probe.Critical
	dir, err := dirsource.New(dirsource.Options{Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]struct {
		plant func(m *doctor.Machine)
		want  map[string]probe.Severity
	}{
		"nothing":             {},
		"one recipient":       {func(m *doctor.Machine) { m.Recipients = m.Recipients[:1] }, map[string]probe.Severity{"recipients": w}},
		"no recipient":        {func(m *doctor.Machine) { m.Recipients = nil }, map[string]probe.Severity{"recipients": c}},
		"host key for all":    {func(m *doctor.Machine) { chmod(t, m.HostKey, 0o644) }, map[string]probe.Severity{"host-key": c}},
		"no host key":         {func(m *doctor.Machine) { m.HostKey += ".absent" }, map[string]probe.Severity{"host-key": w}},
		"a broken host key":   {func(m *doctor.Machine) { write(t, m.HostKey, "holdfast-host-key-1\n", 0o600) }, map[string]probe.Severity{"host-key": c}},
		"config for all":      {func(m *doctor.Machine) { chmod(t, m.Config, 0o666) }, map[string]probe.Severity{"config-mode": w}},
		"config folder":       {func(m *doctor.Machine) { chmod(t, filepath.Dir(m.Config), 0o777) }, map[string]probe.Severity{"config-mode": w}},
		"a restore key":       {func(m *doctor.Machine) { restoreKey(t, m, true) }, map[string]probe.Severity{"restore-keys": c}},
		"another key":         {func(m *doctor.Machine) { restoreKey(t, m, false) }, map[string]probe.Severity{"restore-keys": probe.OK}},
		"an unreadable place": {func(m *doctor.Machine) { m.SearchDirs = append(m.SearchDirs, m.Config) }, map[string]probe.Severity{"restore-keys": probe.NotTested}},
	} {
		t.Run(name, func(t *testing.T) {
			m := machine(t)
			if p.plant != nil {
				p.plant(&m)
			}
			if name == "another key" { // which is to know, and not more
				p.want = map[string]probe.Severity{}
			}
			diagnose(t, doctor.Options{Machine: m, Sources: []doctor.Source{{Name: "site", Source: dir, Place: doctor.Place{Directory: true}}}}, p.want)
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// restoreKey leaves a restore key beside the configuration, as somebody might who has just made it.
func restoreKey(t *testing.T, m *doctor.Machine, ours bool) {
	t.Helper()
	id := identity(t)
	if ours {
		m.Recipients = append(m.Recipients, id.Recipient())
	}
	write(t, filepath.Join(filepath.Dir(m.Config), "restore-1.key"), string(keys.MarshalIdentity(id, time.Now())), 0o600)
}
