package vendor

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/s3store"
	"github.com/holdfast-backup/holdfast/store/s3url"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

func TestProfiles(t *testing.T) {
	names := Names()
	for _, want := range []string{"aws", "minio", "wasabi", "b2", "ceph", "generic", "versitygw"} {
		if !slices.Contains(names, want) {
			t.Errorf("no profile %s", want)
		}
	}
	for _, name := range names {
		p, err := Get(name)
		if err != nil {
			t.Error(err)
		}
		for _, r := range Roles() {
			if p.Policy.Form == FormKey && len(p.Policy.Capabilities[r]) == 0 {
				t.Errorf("%s: no capabilities for %s", name, r)
			}
		}
	}
	if _, err := Get("nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// TestStrict: nothing is taken that has no source, or that nobody reads.
func TestStrict(t *testing.T) {
	good, err := files.ReadFile("profiles/minio.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode("minio", good); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string][2]string{
		"unknown field": {`"title"`, `"titel"`},
		"no source":     {`"source": "measured on MinIO 2026-02-12"`, `"source": ""`},
		"hearsay":       {`"source": "measured on MinIO 2026-02-12"`, `"source": "somebody said so"`},
		"another cap":   {`"value": "extend"`, `"value": "some"`},
		"another form":  {`"form": "iam"`, `"form": "acl"`},
		"another name":  {`"name": "minio"`, `"name": "maxio"`},
		"no title":      {`"title": "MinIO"`, `"title": ""`},
		"below nothing": {`"minimum_days": {
    "value": 0`, `"minimum_days": {
    "value": -1`},
	} {
		bad := strings.Replace(string(good), c[0], c[1], 1)
		if bad == string(good) {
			t.Fatalf("%s: nothing was replaced", what)
		}
		if _, err := decode("minio", []byte(bad)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	if _, err := decode("minio", append(slices.Clone(good), '{')); err == nil {
		t.Error("more after the end: taken")
	}
}

func TestDetect(t *testing.T) {
	for _, c := range []struct{ host, server, request, want string }{
		{"", "", "", "aws"},
		{"s3.eu-west-1.amazonaws.com", "", "", "aws"},
		{"s3.eu-central-2.wasabisys.com", "WasabiS3/7", "", "wasabi"},
		{"s3.us-west-004.backblazeb2.com", "nginx", "", "b2"},
		{"127.0.0.1", "MinIO", "", "minio"},
		{"127.0.0.1", "VERSITYGW", "", "versitygw"},
		{"127.0.0.1", "AmazonS3", "", "generic"},
		{"notamazonaws.com", "", "", "generic"},
		{"s3.example.com", "", "", "generic"},
		{"rgw.example.com", "Ceph Object Gateway (squid)", "", "ceph"},
		{"rgw.example.com", "", "tx000000000000000000a1b-0065f0c3d2-1234-default", "ceph"},
		{"rgw.example.com", "", "tx00000123456789abcdef0-00656a3b21-86a6-eu-central", "ceph"},
		{"rgw.example.com", "nginx", "tx000000000000000000a1b-0065f0c3d2-1234-default", "ceph"}, // a front of its own
		{"127.0.0.1", "MinIO", "tx000000000000000000a1b-0065f0c3d2-1234-default", "minio"},      // what it calls itself goes first
		{"", "", "tx000000000000000000a1b-0065f0c3d2-1234-default", "aws"},                      // and the host before all
		{"swift.example.com", "", "tx4f1a8e5ea0ca42b5a0b2a-005e1f2c3d", "generic"},              // OpenStack Swift: no zone
		{"s3.example.com", "", "17A1B2C3D4E5F607", "generic"},
		{"s3.example.com", "", "txt-1-2", "generic"},
	} {
		if p, err := Detect(c.host, Answered{c.server, c.request}); err != nil || p.Name != c.want {
			t.Errorf("%s %q: %s, %v; want %s", c.host, c.server, p.Name, err, c.want)
		}
	}
}

// TestLockedAnswers: what a profile says a locked object answers is what the driver takes for it.
func TestLockedAnswers(t *testing.T) {
	n := 0
	for _, name := range Names() {
		p, err := Get(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range p.Locked.Value {
			n++
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(l.Status)
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", l.Code, l.Words)
			}))
			s, err := s3store.New(s3store.Options{
				Location:    s3url.Location{Bucket: "bucket", Endpoint: srv.URL, Region: "us-east-1", PathStyle: true},
				Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}),
			})
			if err != nil {
				t.Fatal(err)
			}
			ref := store.Ref{Name: "x", Version: "1"}
			if err := s.Remove(context.Background(), ref); !errors.Is(err, store.ErrLocked) {
				t.Errorf("%s: remove: %v", name, err)
			}
			if err := s.Extend(context.Background(), ref, store.Retention{Mode: store.Compliance, Until: time.Now()}); !errors.Is(err, store.ErrLocked) {
				t.Errorf("%s: extend: %v", name, err)
			}
			srv.Close()
		}
	}
	if n < 3 {
		t.Errorf("%d answers only", n)
	}
}

var update = flag.Bool("update", false, "rewrite testdata/policies")

// principalAt is a user's name as a vendor wants it.
func principalAt(p Profile) string {
	if strings.HasPrefix(p.Policy.Principal, "arn:") {
		return "arn:aws:iam:::user/USER"
	}
	return "USER"
}

// TestPolicies holds every policy to what is written in testdata/policies: a right more or less must be seen in review.
func TestPolicies(t *testing.T) {
	for _, name := range Names() {
		p, err := Get(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range Roles() {
			d, err := PolicyFor(p, r, PolicyOptions{Bucket: "acme-vault", Prefix: "prod", Principal: principalAt(p), MaxDays: 400})
			if err != nil {
				t.Fatal(err)
			}
			got := d.Text + "\n"
			for _, n := range d.Notes {
				got += "# " + n + "\n"
			}
			file := filepath.Join("testdata", "policies", name+"-"+string(r)+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil || got != string(want) {
				t.Errorf("%s differs (%v); go test ./store/vendor -update rewrites it:\n%s", file, err, got)
			}
			harmless(t, name, r, d)
		}
	}
}

// TestCallsOfDisksAndMachines holds the policies for disks and machines to the calls that the source drivers make.
func TestCallsOfDisksAndMachines(t *testing.T) {
	aws, err := Get("aws")
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile(`\b(ec2|ebs|autoscaling|elasticloadbalancing)(?:v2)?\.((?:Describe|List|Get)[A-Za-z]+)Input\b`)
	for _, k := range []Kind{KindDisks, KindMachines} {
		d, err := PolicyFor(aws, SourceReader, PolicyOptions{Kind: k})
		if err != nil {
			t.Fatal(err)
		}
		harmless(t, "aws "+string(k), SourceReader, d)
		files, err := filepath.Glob("../../replicator/source/" + string(k) + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no driver for %s: %v", k, err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			for _, m := range call.FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(d.Text, fmt.Sprintf("%q", m[1]+":"+m[2])) {
					t.Errorf("%s asks for %s:%s, which the policy for %s does not allow", f, m[1], m[2], k)
				}
			}
		}
	}
	minio, err := Get("minio")
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"a vault of disks": func() error { _, err := PolicyFor(aws, VaultWriter, PolicyOptions{Kind: KindDisks}); return err },
		"disks at MinIO":   func() error { _, err := PolicyFor(minio, SourceReader, PolicyOptions{Kind: KindDisks}); return err },
		"tapes":            func() error { _, err := PolicyFor(aws, SourceReader, PolicyOptions{Kind: "tape"}); return err },
	} {
		if err := try(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// harmless: no role but the remover may delete, and none may bypass, hold or reconfigure.
func harmless(t *testing.T, name string, r Role, d Document) {
	t.Helper()
	var doc struct {
		Statement []struct {
			Effect           string
			Action, Resource []string
		}
		Capabilities []string
	}
	if err := json.Unmarshal([]byte(d.Text), &doc); err != nil {
		t.Fatal(err)
	}
	all := doc.Capabilities
	for _, s := range doc.Statement {
		if r == Auditor && s.Effect == "Allow" && slices.ContainsFunc(s.Action, func(a string) bool { return strings.HasPrefix(a, "s3:Put") }) {
			for _, to := range s.Resource {
				if !strings.Contains(to, "/prod/reports/") {
					t.Errorf("%s: an auditor may %s to %s", name, s.Action, to)
				}
			}
		}
		if s.Effect == "Allow" {
			all = append(all, s.Action...)
		}
	}
	if len(all) == 0 {
		t.Errorf("%s %s allows nothing", name, r)
	}
	for _, a := range all {
		low := strings.ToLower(a)
		for _, bad := range []string{"delete", "bypass", "putbucket", "putlifecycle", "legalhold", "writebucket", "writekeys", "writefilelegal", "*", "putobjectacl", "modify", "create"} {
			reads := strings.HasPrefix(low, "s3:get") || strings.HasPrefix(low, "read")
			if strings.Contains(low, bad) && !reads && (r != Remover || bad != "delete") {
				t.Errorf("%s %s allows %s", name, r, a)
			}
		}
		if r != VaultWriter && r != Auditor && (a == "s3:PutObject" || a == "writeFiles") {
			t.Errorf("%s %s allows %s", name, r, a)
		}
	}
}

func TestPolicyRefuses(t *testing.T) {
	aws, err := Get("aws")
	if err != nil {
		t.Fatal(err)
	}
	versity, err := Get("versitygw")
	if err != nil {
		t.Fatal(err)
	}
	good := PolicyOptions{Bucket: "acme-vault"}
	if _, err := PolicyFor(aws, VaultWriter, good); err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func() error{
		"a role there is none of": func() error { _, err := PolicyFor(aws, "king", good); return err },
		"no bucket":               func() error { _, err := PolicyFor(aws, VaultWriter, PolicyOptions{}); return err },
		"an ARN": func() error {
			_, err := PolicyFor(aws, VaultWriter, PolicyOptions{Bucket: "arn:aws:s3:::x"})
			return err
		},
		"a star": func() error {
			_, err := PolicyFor(aws, VaultWriter, PolicyOptions{Bucket: "acme", Prefix: "*"})
			return err
		},
		"a dollar": func() error {
			_, err := PolicyFor(aws, VaultWriter, PolicyOptions{Bucket: "acme", Prefix: "${aws:username}"})
			return err
		},
		"nobody": func() error { _, err := PolicyFor(versity, VaultWriter, good); return err },
		"everybody": func() error {
			_, err := PolicyFor(versity, VaultWriter, PolicyOptions{Bucket: "acme", Principal: "*"})
			return err
		},
		"a name where an ARN is needed": func() error { return principal(t, "writer") },
		"an ARN of another kind":        func() error { return principal(t, "arn:aws:s3:::bucket") },
		"an ARN without a user":         func() error { return principal(t, "arn:aws:iam::tenant:user/") },
		"an ARN with a star":            func() error { return principal(t, "arn:aws:iam:::user/*") },
		"no ARN at all":                 func() error { return principal(t, "") },
		"days below 0": func() error {
			_, err := PolicyFor(aws, VaultWriter, PolicyOptions{Bucket: "acme", MaxDays: -1})
			return err
		},
	} {
		if err := try(); !errors.Is(err, ErrPolicy) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// principal makes a policy for a user of Ceph.
func principal(t *testing.T, name string) error {
	t.Helper()
	ceph, err := Get("ceph")
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{"arn:aws:iam:::user/writer", "arn:aws:iam::tenant:user/a.b@c"} {
		if _, err := PolicyFor(ceph, VaultWriter, PolicyOptions{Bucket: "acme", Principal: good}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	_, err = PolicyFor(ceph, VaultWriter, PolicyOptions{Bucket: "acme", Principal: name})
	if err != nil && !strings.Contains(err.Error(), "arn:aws:iam::TENANT:user/NAME") {
		t.Errorf("%s: the error does not say what is wanted: %v", name, err)
	}
	return err
}
