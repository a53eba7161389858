package probe_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/attack"
	"github.com/holdfast-backup/holdfast/store/probe"
	"github.com/holdfast-backup/holdfast/store/vendor"
)

// ceph is a vault at a Ceph Object Gateway 16.2.15 as it was measured: it does not say what it is, but numbers its requests
// as Ceph does; who puts an object owns it, and may do with it whatever no policy denies by name; rights are looked at
// before bodies, names before rights.
type ceph struct {
	fake
	denies  []string // by name, in the writer's policy
	allows  []string
	strange []string // what strangers may
}

// requestID is of the form that Ceph gives.
const requestID = "tx000000000000000000a1b-0065f0c3d2-1234-default"

func (c *ceph) owner(action string) (attack.Answer, bool) {
	if slices.Contains(c.denies, action) {
		return denied, false
	}
	return done, true
}

func (c *ceph) Look(context.Context) attack.Answer {
	a := answer(404, "NoSuchKey")
	a.RequestID = requestID
	return a
}

func (c *ceph) Unhold(context.Context, store.Ref) attack.Answer {
	a, _ := c.owner("s3:PutObjectLegalHold")
	return a
}

func (c *ceph) Private(_ context.Context, ref store.Ref) attack.Answer {
	action := "s3:PutObjectAcl"
	if ref.Version != "" {
		action = "s3:PutObjectVersionAcl"
	}
	a, _ := c.owner(action)
	return a
}

// Delete: without a version a marker is laid, with one governance is bypassed, by whoever owns the object.
func (c *ceph) Delete(ctx context.Context, ref store.Ref, bypass bool) attack.Answer {
	if ref.Version == "" {
		a, ok := c.owner("s3:DeleteObject")
		if ok {
			c.list = slices.Insert(c.list, 0, &version{info: store.Info{Ref: store.Ref{Name: ref.Name, Version: "marker"}, Modified: c.find(store.Ref{Name: ref.Name}).info.Modified}})
			a.Version = "marker"
		}
		return a
	}
	if _, ok := c.owner("s3:DeleteObjectVersion"); !ok {
		return denied
	}
	if _, ok := c.owner("s3:BypassGovernanceRetention"); ok && bypass && c.find(ref).lock.Mode == store.Governance {
		c.remove(ref)
		return answer(204, "")
	}
	return held
}

func (c *ceph) Finish(context.Context) attack.Answer { return answer(500, "InternalError") }

func (c *ceph) FinishFolder(ctx context.Context) attack.Answer { return c.Finish(ctx) }

func (c *ceph) FinishAnonymously(context.Context) attack.Answer {
	if slices.Contains(c.strange, "write") {
		return answer(500, "InternalError")
	}
	return denied
}

// Erase: the name is looked at before anybody's rights.
func (c *ceph) Erase(context.Context) attack.Answer { return answer(400, "InvalidObjectName") }
func (c *ceph) EraseAnonymously(context.Context) attack.Answer {
	return answer(400, "InvalidObjectName")
}

func (c *ceph) Garble(_ context.Context, s attack.Setting) attack.Answer {
	if s == attack.Encryption {
		return answer(200, "") // taken for the making of the bucket, which there is
	}
	if slices.Contains(c.allows, string(s)) {
		return map[attack.Setting]attack.Answer{
			attack.Versioning: answer(400, "InvalidArgument"), attack.Lifecycle: answer(400, "MalformedXML"), attack.Policy: answer(200, ""), attack.ObjectLock: answer(400, "MalformedXML"),
		}[s]
	}
	return denied
}

func (c *ceph) Put(ctx context.Context, name string, body []byte, o attack.PutOptions) attack.Answer {
	o.OnlyIfNew, o.WrongChecksum = false, false // which it ignores, and does not check
	return c.fake.Put(ctx, name, body, o)
}

// deniedBy gives what the writer's policy that is printed for Ceph denies by name.
func deniedBy(t *testing.T) []string {
	t.Helper()
	p, err := vendor.Get("ceph")
	if err != nil {
		t.Fatal(err)
	}
	d, err := vendor.PolicyFor(p, vendor.VaultWriter, vendor.PolicyOptions{Bucket: "vault", Principal: "arn:aws:iam:::user/writer", MaxDays: 400})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Statement []struct {
			Effect string
			Action []string
		}
	}
	if err := json.Unmarshal([]byte(d.Text), &doc); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range doc.Statement {
		if s.Effect == "Deny" {
			out = append(out, s.Action...)
		}
	}
	return out
}

func TestCeph(t *testing.T) {
	const ok, i, w, c = probe.OK, probe.Info, probe.Warning, probe.Critical
	all := []string{"s3:PutObjectLegalHold", "s3:BypassGovernanceRetention", "s3:PutObjectAcl", "s3:PutObjectVersionAcl", "s3:DeleteObject", "s3:DeleteObjectVersion"}
	without := func(left ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(a string) bool { return slices.Contains(left, a) })
	}
	printed := deniedBy(t)
	for _, a := range all {
		if !slices.Contains(printed, a) {
			t.Errorf("the printed policy does not deny %s by name", a)
		}
	}
	type found = map[string]probe.Severity
	for _, x := range []struct {
		name                    string
		denies, allows, strange []string
		want                    found
		mend                    string // of what is worse than not tested
	}{
		{"with the printed policy", printed, nil, nil, found{"vendor": ok, "acl-right": ok, "legal-hold": ok, "governance-bypass": ok, "delete-marker": ok, "encryption-right": i}, ""},
		{"no policy at all", nil, nil, nil, found{"acl-right": w, "legal-hold": w, "governance-bypass": w, "delete-marker": w}, "by name"},
		{"not the ACL", without("s3:PutObjectAcl"), nil, nil, found{"acl-right": w}, "deny s3:PutObjectAcl to the writer by name"},
		{"not the ACL of versions", without("s3:PutObjectVersionAcl"), nil, nil, found{"acl-right": w}, "s3:PutObjectVersionAcl"},
		{"not the hold", without("s3:PutObjectLegalHold"), nil, nil, found{"legal-hold": w}, "deny s3:PutObjectLegalHold to the writer by name"},
		{"not the bypass", without("s3:BypassGovernanceRetention", "s3:DeleteObjectVersion"), nil, nil, found{"governance-bypass": w}, "deny s3:BypassGovernanceRetention to the writer by name"},
		{"may set versioning", printed, []string{"versioning"}, nil, found{"versioning-right": w}, ""},
		{"may set the lifecycle", printed, []string{"lifecycle"}, nil, found{"lifecycle-right": w}, ""},
		{"may set the policy", printed, []string{"policy"}, nil, found{"policy-right": c}, ""},
		{"may set the lock", printed, []string{"object-lock"}, nil, found{"object-lock-right": w}, ""},
		{"strangers may write", printed, nil, []string{"write"}, found{"public-write": c}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			f := &ceph{denies: x.denies, allows: x.allows, strange: x.strange}
			r, err := probe.Run(t.Context(), probe.Options{Attacker: f, Vault: f, Host: "rgw.example.com"})
			if err != nil || r.Vendor.Name != "ceph" {
				t.Fatalf("taken for %s; %v", r.Vendor.Name, err)
			}
			for _, y := range r.Findings {
				s, listed := x.want[y.Check]
				switch {
				case y.Check == "checksum": // it takes wrong ones, whatever the policy says
				case listed && y.Severity != s, !listed && y.Severity.Worse(probe.NotTested):
					t.Errorf("%s is %s: %s", y.Check, y.Severity, y.Seen)
				case y.Severity == w && !strings.Contains(y.Mend, x.mend):
					t.Errorf("%s is mended by %q; that does not say %q", y.Check, y.Mend, x.mend)
				}
				if y.Severity == probe.NotTested && y.Check != "lock-length" && y.Check != "multipart-lock" {
					t.Errorf("%s is not tested: %s", y.Check, y.Seen)
				}
			}
		})
	}
}
