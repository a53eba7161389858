package toterraform_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/restoretest"
	"github.com/holdfast-backup/holdfast/replicator/restore/toterraform"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// write restores documents by key and gives the result and the folder.
func write(t *testing.T, dir string, overwrite restore.Overwrite, docs ...string) restore.Result {
	t.Helper()
	r := restoretest.New(t)
	commit := r.Point(10, entries(r, docs)...)
	target, err := toterraform.New(toterraform.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	res, err := restore.Run(t.Context(), restore.Options{Reader: r.Reader(nil), Commit: commit, Target: target, Overwrite: overwrite})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func read(t *testing.T, dir, id string) map[string]map[string]map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, id+".tf.json"))
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Label    string `json:"//"`
		Resource map[string]map[string]map[string]any
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Label != toterraform.Label {
		t.Fatalf("%v: %s", err, b)
	}
	return v.Resource
}

// What Terraform would take for a template is written so that it does not.
func TestEscapes(t *testing.T) {
	dir := t.TempDir()
	res := write(t, dir, restore.Never, "vpc/vpc-1.json", `{"Vpc": {"CidrBlock": "10.0.0.0/8", "Tags": [
		{"Key": "a", "Value": "${file(\"/etc/passwd\")} %{if true}"}, {"Key": "aws:cloudformation:stack-name", "Value": "x"}]}}`)
	if res.Failed != 0 {
		t.Fatal(res.Failures)
	}
	tags := read(t, dir, "vpc-1")["aws_vpc"]["vpc-1"]["tags"].(map[string]any)
	if tags["a"] != `$${file("/etc/passwd")} %%{if true}` || len(tags) != 1 {
		t.Errorf("%v", tags)
	}
}

// A resource without what the provider requires is not written, and is named.
func TestRequired(t *testing.T) {
	for _, c := range []struct{ key, doc, want string }{
		{"vpc/vpc-1.json", `{"Vpc": {}}`, "no cidr_block"},
		{"subnet/subnet-1.json", `{"Subnet": {"CidrBlock": "10.0.0.0/8"}}`, "no vpc_id"},
		{"instance/i-1.json", `{"Instance": {"ImageId": "ami-1"}}`, "no instance_type"},
		{"security-group/sg-1.json", `{"SecurityGroup": {"GroupName": "g"}, "SecurityGroupRules": [{"SecurityGroupRuleId": "sgr-1", "IpProtocol": "tcp", "FromPort": 1, "ToPort": 2}]}`, "0 of [cidr_ipv4"},
		{"security-group/sg-2.json", `{"SecurityGroup": {"GroupName": "g"}, "SecurityGroupRules": [{"SecurityGroupRuleId": "sgr-1", "IpProtocol": "tcp", "CidrIpv4": "0.0.0.0/0"}]}`, "no from_port"},
		{"launch-template/lt-1.json", `{"LaunchTemplate": {"LaunchTemplateName": "x"}}`, "has no versions"},
		{"launch-template/lt-2.json", `{"LaunchTemplate": {"LaunchTemplateName": "x"}, "LaunchTemplateVersions": [{"VersionNumber": 1, "LaunchTemplateData": {"BlockDeviceMappings": [{"VirtualName": "e"}]}}]}`, "device_name"},
		{"instance/i-2.json", `{`, "malformed"},
	} {
		dir := t.TempDir()
		res := write(t, dir, restore.Never, c.key, c.doc)
		if res.Failed != 1 || !strings.Contains(res.Failures[0].Error(), c.want) {
			t.Errorf("%s: %+v", c.key, res)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Errorf("%s: left %v, %v", c.key, files, err)
		}
	}
}

// Every rule of all protocols has no ports, and what is not written is named.
func TestLeftOut(t *testing.T) {
	dir := t.TempDir()
	res := write(t, dir, restore.Never,
		"instance/i-1.json", `{"Instance": {"ImageId": "ami-1", "InstanceType": "t3.nano", "CpuOptions": {"CoreCount": 1}, "SubnetId": "subnet-9"}}`,
		"security-group/sg-1.json", `{"SecurityGroup": {"GroupName": "default", "VpcId": "vpc-9"}, "SecurityGroupRules": [
			{"SecurityGroupRuleId": "sgr-1", "IsEgress": true, "IpProtocol": "-1", "FromPort": -1, "ToPort": -1, "CidrIpv4": "0.0.0.0/0"}]}`,
		"volume/vol-1.json", `{}`)
	if res.Failed != 0 || res.Ignored != 1 {
		t.Fatalf("%+v", res)
	}
	i := read(t, dir, "i-1")["aws_instance"]["i-1"]
	if !strings.Contains(i["//"].(string), "Not written, see the definition itself: CpuOptions.") || i["subnet_id"] != "subnet-9" {
		t.Errorf("%v", i)
	}
	g := read(t, dir, "sg-1")
	rule := g["aws_vpc_security_group_egress_rule"]["sgr-1"]
	if rule["from_port"] != nil || rule["ip_protocol"] != "-1" || rule["security_group_id"] != "${aws_security_group.sg-1.id}" {
		t.Errorf("%v", rule)
	}
	if !strings.Contains(g["aws_security_group"]["sg-1"]["//"].(string), "default") {
		t.Errorf("%v", g)
	}
}

// What is there already is replaced only where that was asked for.
func TestOverwrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "vpc-1.tf.json")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	doc := []string{"vpc/vpc-1.json", `{"Vpc": {"CidrBlock": "10.0.0.0/8"}}`}
	if res := write(t, dir, restore.Never, doc...); !strings.Contains(strings.Join(res.Notes, " "), "was left") {
		t.Errorf("%+v", res)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
	write(t, dir, restore.Changed, doc...)
	read(t, dir, "vpc-1")
}

func entries(r *restoretest.Repo, docs []string) []*format.Entry {
	var out []*format.Entry
	for i := 0; i < len(docs); i += 2 {
		body := []byte(docs[i+1])
		out = append(out, restoretest.Object(docs[i], body, r.Pack(body)...))
	}
	return out
}
