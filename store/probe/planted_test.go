package probe_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// planted is one thing that is wrong with a vault, and the findings that must name it, no others beside them.
type planted struct {
	name   string
	on     []servers.Kind
	bucket servers.BucketOptions
	mode   store.Mode
	extra  [2][]string // rights too many: on the bucket, on objects
	less   []string    // rights too few
	make   func(t *testing.T, srv *servers.Server, bucket string)
	want   map[string]probe.Severity
	says   string // what one of them says
}

var both = []servers.Kind{servers.KindMinIO, servers.KindVersityGW}

func plantings() []planted {
	minioOnly, versity := []servers.Kind{servers.KindMinIO}, []servers.Kind{servers.KindVersityGW}
	lock := servers.BucketOptions{Lock: true}
	object := func(rights ...string) [2][]string { return [2][]string{nil, rights} }
	bucket := func(rights ...string) [2][]string { return [2][]string{rights, nil} }
	const w, c = probe.Warning, probe.Critical
	return []planted{
		{name: "may delete versions", on: versity, bucket: lock, extra: object("DeleteObjectVersion"), want: map[string]probe.Severity{"delete-right": w}},
		{name: "may lay delete markers", on: versity, bucket: lock, extra: object("DeleteObject"), want: map[string]probe.Severity{"delete-marker": w}},
		{name: "may delete", on: minioOnly, bucket: lock, extra: object("DeleteObject"), says: "take s3:DeleteObject from", want: map[string]probe.Severity{"delete-marker": w, "delete-right": w}},
		{name: "may bypass governance", on: versity, bucket: lock, extra: object("BypassGovernanceRetention"), want: map[string]probe.Severity{"governance-bypass": w}},
		{name: "may bypass governance and delete", on: both, bucket: lock, extra: object("BypassGovernanceRetention", "DeleteObject", "DeleteObjectVersion"),
			want: map[string]probe.Severity{"governance-bypass": w, "delete-right": w, "delete-marker": w}},
		{name: "may bypass governance, and locks are governance", on: versity, bucket: lock, mode: store.Governance, extra: object("BypassGovernanceRetention"),
			want: map[string]probe.Severity{"governance-bypass": c}},
		{name: "governance where it is void", on: minioOnly, bucket: lock, mode: store.Governance, want: map[string]probe.Severity{"governance-bypass": c}},
		{name: "may set legal holds", on: both, bucket: lock, extra: object("PutObjectLegalHold"), want: map[string]probe.Severity{"legal-hold": w}},
		{name: "may change versioning", on: both, bucket: lock, extra: bucket("PutBucketVersioning"), want: map[string]probe.Severity{"versioning-right": w}},
		{name: "may change object lock", on: both, bucket: lock, extra: bucket("PutBucketObjectLockConfiguration"), want: map[string]probe.Severity{"object-lock-right": w}},
		{name: "may change the lifecycle", on: minioOnly, bucket: lock, extra: bucket("PutLifecycleConfiguration"), want: map[string]probe.Severity{"lifecycle-right": w}},
		{name: "may change the policy", on: both, bucket: lock, extra: bucket("PutBucketPolicy"), want: map[string]probe.Severity{"policy-right": c}},
		{name: "may read and change the policy", on: both, bucket: lock, extra: bucket("PutBucketPolicy", "GetBucketPolicy"), want: map[string]probe.Severity{"policy-right": c}},
		{name: "may change encryption", on: minioOnly, bucket: lock, extra: bucket("PutEncryptionConfiguration"), want: map[string]probe.Severity{"encryption-right": w}},
		{name: "may not lock", on: both, bucket: lock, less: []string{"PutObjectRetention"}, want: map[string]probe.Severity{"lock-taken": c}},
		{name: "may put under any name", on: both, bucket: lock, extra: object("PutObject"), says: "prints: in its statement Put", want: map[string]probe.Severity{"folder-names": w}},
		{name: "may not put", on: both, bucket: lock, less: []string{"PutObject"}, want: map[string]probe.Severity{"lock-taken": c}},
		{name: "may not read locks", on: minioOnly, bucket: lock, less: []string{"GetObjectRetention"}, want: map[string]probe.Severity{"lock-taken": c}},
		{name: "may not read locks of what lies below", on: versity, bucket: lock, less: []string{"GetObjectRetention"}, want: map[string]probe.Severity{"overwrite": w}},
		{name: "may not look at the bucket", on: both, bucket: lock, less: []string{"GetBucketVersioning", "GetBucketObjectLockConfiguration"}, want: map[string]probe.Severity{"bucket-facts": c}},
		{name: "no object lock", on: both, bucket: servers.BucketOptions{Versioning: true}, want: map[string]probe.Severity{"object-lock": c, "lock-taken": c}},
		{name: "no versioning", on: both, want: map[string]probe.Severity{"versioning": c, "object-lock": c, "lock-taken": c}},
		{name: "ten years by default", on: both, bucket: servers.BucketOptions{Lock: true, DefaultRetention: 3650 * 24 * time.Hour}, want: map[string]probe.Severity{"default-retention": w}},
		{name: "anybody may read", on: both, bucket: lock, make: public("GetObject", "GetObjectVersion"), want: map[string]probe.Severity{"public-read": w}},
		{name: "anybody may list", on: both, bucket: lock, make: public("ListBucket"), want: map[string]probe.Severity{"public-list": w}},
		{name: "anybody may write", on: minioOnly, bucket: lock, make: public("PutObject", "PutObjectRetention"), want: map[string]probe.Severity{"public-write": c}},
		{name: "anybody may write", on: versity, bucket: lock, make: public("PutObject", "PutObjectRetention"), want: map[string]probe.Severity{"public-write": c, "folder-names": w}},
		{name: "anybody may write what has no lock", on: minioOnly, bucket: lock, make: public("PutObject"), want: map[string]probe.Severity{"public-write": c}},
		{name: "anybody may write what has no lock", on: versity, bucket: lock, make: public("PutObject"), want: map[string]probe.Severity{"public-write": c, "folder-names": w}},
		{name: "may not list", on: both, bucket: lock, less: []string{"ListBucket", "ListBucketVersions"}, says: "without which no run begins",
			want: map[string]probe.Severity{"listing": c}},
		{name: "locks are ignored", on: []servers.Kind{servers.KindGoFakeS3}, bucket: lock, make: versioned,
			says: "locks are ignored", want: map[string]probe.Severity{"object-lock": c, "delete-locked": c, "delete-locked-bypass": c, "delete-marker": c,
				"governance-bypass": w, "acl-right": w, "delete-right": w, "public-read": w, "public-list": w, "public-write": c, "list-order": c}}, // its pages of versions have no marker to go on from
	}
}

// public lets anybody do something with a bucket.
func public(actions ...string) func(*testing.T, *servers.Server, string) {
	return func(t *testing.T, srv *servers.Server, bucket string) {
		t.Helper()
		if err := srv.OpenToAll(t.Context(), bucket, actions...); err != nil {
			t.Fatal(err)
		}
	}
}

// versioned switches on what gofakes3 leaves off where a bucket with locks is asked for.
func versioned(t *testing.T, srv *servers.Server, bucket string) {
	t.Helper()
	if err := srv.Admin().EnableVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
}

// TestPlanted plants each misconfiguration alone, and demands that it, and nothing else, is found.
func TestPlanted(t *testing.T) {
	for _, k := range append(both[:2:2], servers.KindGoFakeS3) {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			for _, p := range plantings() {
				if slices.Contains(p.on, k) {
					t.Run(p.name, func(t *testing.T) { plant(t, k, p) })
				}
			}
		})
	}
}

func plant(t *testing.T, k servers.Kind, p planted) {
	srv := shared.Get(t, k)
	at := siteOf(t, k)
	bucket, cred := at.bucket, at.user
	if p.make != nil || p.bucket != (servers.BucketOptions{Lock: true}) {
		bucket = srv.NewBucket(t, p.bucket)
	}
	if p.make != nil {
		p.make(t, srv, bucket)
	}
	if k != servers.KindGoFakeS3 {
		srv.Allow(t, cred, printed(t, k, vendor.VaultWriter, bucket, "").Without(p.less...).Allowing(bucket, p.extra[0], p.extra[1]))
	}
	before := settingsOf(t, srv, bucket)
	r := run(t, srv, bucket, "", cred, p.mode)
	expect(t, r, p.want)
	if p.says != "" && !strings.Contains(show(r), p.says) {
		t.Errorf("nothing says %q: %s", p.says, show(r))
	}
	if after := settingsOf(t, srv, bucket); after != before {
		t.Errorf("the probe changed the bucket: %s; it was %s", after, before)
	}
	shortLocks(t, srv, bucket, r.Canaries)
}

// expect demands that exactly the wanted checks are worse than not tested, and that each says how to mend it.
func expect(t *testing.T, r probe.Report, want map[string]probe.Severity) {
	t.Helper()
	for _, f := range r.Findings {
		s, ok := want[f.Check]
		switch bad := f.Severity.Worse(probe.NotTested); {
		case bad && !ok:
			t.Errorf("%s is %s: %s", f.Check, f.Severity, f.Seen)
		case ok && f.Severity != s:
			t.Errorf("%s is %s instead of %s: %s", f.Check, f.Severity, s, f.Seen)
		case bad && f.Mend == "":
			t.Errorf("%s does not say how to mend it", f.Check)
		}
		if f.Severity == probe.OK && len(f.Evidence) > 0 && f.Seen == "" {
			t.Errorf("%s says nothing", f.Check)
		}
	}
	for check := range want {
		if !slices.ContainsFunc(r.Findings, func(f probe.Finding) bool { return f.Check == check }) {
			t.Errorf("%s was not found", check)
		}
	}
	if t.Failed() {
		t.Log(show(r))
	}
}

// settingsOf is a bucket's configuration as its root sees it.
func settingsOf(t *testing.T, srv *servers.Server, bucket string) string {
	t.Helper()
	if srv.Kind == servers.KindGoFakeS3 {
		return ""
	}
	c, ctx := srv.Admin(), context.Background()
	v, verr := c.GetBucketVersioning(ctx, bucket)
	lock, mode, validity, unit, lerr := c.GetObjectLockConfig(ctx, bucket)
	policy, perr := c.GetBucketPolicy(ctx, bucket)
	cycle, cerr := c.GetBucketLifecycle(ctx, bucket)
	show := func(p any, nilly bool) string {
		if nilly {
			return "none"
		}
		return fmt.Sprint(p)
	}
	m, d, u := "", "", ""
	if mode != nil && validity != nil && unit != nil {
		m, d, u = mode.String(), fmt.Sprint(*validity), unit.String()
	}
	return fmt.Sprint(v.Status, verr, lock, m, d, u, code(lerr), policy, code(perr), show(cycle, cycle == nil), code(cerr))
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return minio.ToErrorResponse(err).Code
}

// shortLocks demands that the probe left nothing but its canaries, and nothing that is locked for longer than minutes.
func shortLocks(t *testing.T, srv *servers.Server, bucket, canaries string) {
	t.Helper()
	if srv.Kind == servers.KindGoFakeS3 {
		return
	}
	c, ctx := srv.Admin(), context.Background()
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: canaries, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.IsDeleteMarker {
			continue
		}
		version := o.VersionID
		if version == "null" {
			version = ""
		}
		info, err := c.StatObject(ctx, bucket, o.Key, minio.StatObjectOptions{VersionID: version})
		if err != nil {
			t.Fatal(err)
		}
		until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
		if err == nil && time.Until(until) > 5*time.Minute {
			t.Errorf("%s is locked until %s", o.Key, until)
		}
	}
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{WithVersions: true}) {
		if o.Err != nil || o.Key != "canary/" {
			t.Errorf("the probe left %s (%v)", o.Key, o.Err)
		}
	}
}

// TestClock: a vault whose clock is elsewhere.
func TestClock(t *testing.T) {
	for ahead, want := range map[time.Duration]probe.Severity{6 * time.Minute: probe.Critical, -6 * time.Minute: probe.Critical, 2 * time.Minute: probe.Warning, 10 * time.Second: probe.OK} {
		srv := shared.Get(t, servers.KindVersityGW)
		bucket := srv.NewBucket(t, servers.BucketOptions{Lock: true})
		cred := srv.NewUser(t, printed(t, srv.Kind, vendor.VaultWriter, bucket, ""))
		to, err := url.Parse(srv.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host
			},
			ModifyResponse: func(r *http.Response) error {
				r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
				return nil
			},
		})
		defer front.Close()
		skewed := *srv
		skewed.Endpoint = front.URL
		r := run(t, &skewed, bucket, "", cred, store.Compliance)
		for _, f := range r.Findings {
			if f.Check == "clock" && f.Severity != want {
				t.Errorf("%s ahead: %s, %s; want %s", ahead, f.Severity, f.Seen, want)
			}
		}
	}
}
