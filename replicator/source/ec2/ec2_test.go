package ec2source_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/source"
	ec2source "github.com/holdfast-backup/holdfast/replicator/source/ec2"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, o ec2.Options) (*awstest.Server, *ec2.Sample) {
	t.Helper()
	s, err := awstest.Start(world.New(), ebs.Options{}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, ec2.AddSample(s.EC2, nil, nil)
}

func options(s *awstest.Server) ec2source.Options {
	return ec2source.Options{
		Region: "eu-central-1", Endpoint: s.URL, Rate: 1e6,
		Credentials: func(context.Context) (store.Credentials, error) {
			return store.Credentials{AccessKeyID: "AKIDREADER", SecretAccessKey: "secret"}, nil
		},
	}
}

func freeze(t *testing.T, o ec2source.Options) source.View {
	t.Helper()
	src, err := ec2source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	v, err := src.Freeze(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// all gives the entries and their content.
func all(t *testing.T, v source.View) (map[string]*format.Entry, map[string]string) {
	t.Helper()
	entries, content := map[string]*format.Entry{}, map[string]string{}
	last := ""
	for e, err := range v.Entries(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Key <= last {
			t.Errorf("%s after %s", e.Key, last)
		}
		last = e.Key
		entries[e.Key] = e
		if e.Missing == "" && e.Kind == format.KindObject {
			content[e.Key] = read(t, v, e)
		}
	}
	return entries, content
}

func read(t *testing.T, v source.View, e *format.Entry) string {
	t.Helper()
	r, err := v.Open(t.Context(), e, 0, -1)
	if err != nil {
		t.Fatalf("%s: %v", e.Key, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != e.Size {
		t.Fatalf("%s: %d of %d bytes, %v", e.Key, len(b), e.Size, err)
	}
	return string(b)
}

// want are pieces of the documents, as people would look for them.
var want = map[string][]string{
	"address/" + ec2.SampleAddress + ".json":          {`"PublicIp": "203.0.113.17"`, `"InstanceId": "` + ec2.SampleInstance + `"`},
	"auto-scaling-group/web.json":                     {`"MaxSize": 4`, `"Version": "$Default"`, `"PolicyType": "TargetTrackingScaling"`},
	"dhcp-options/dopt-1.json":                        {`"domain-name-servers"`},
	"image/" + ec2.SampleImage + ".json":              {`"BootMode": "uefi"`, `"TpmSupport": "v2.0"`, `"ImdsSupport": "v2.0"`, `"SriovNetSupport": "simple"`, `"UserId": "210987654321"`, `"Value": "QU1aTlVFRkk="`, `"VirtualName": "ephemeral0"`, `"DeleteOnTermination": false`},
	"image/" + ec2.SampleWindows + ".json":            {`"UsageOperation": "RunInstances:0002"`},
	"instance/" + ec2.SampleInstance + ".json":        {`"Value": "` + ec2.SampleUserData + `"`, `"DisableApiTermination": {`, `"Value": "stop"`, `"HttpTokens": "required"`, `"Arn": "arn:aws:iam::123456789012:instance-profile/web"`},
	"instance/i-0windows.json":                        {`"PlatformDetails": "Windows"`},
	"internet-gateway/igw-1.json":                     {ec2.SampleVPC},
	"key-pair/key-1.json":                             {`"KeyName": "admin"`, `"PublicKey": "ssh-ed25519 AAAA admin"`},
	"launch-configuration/old.json":                   {ec2.SampleUserData},
	"launch-template/" + ec2.SampleTemplate + ".json": {`"InstanceType": "m6i.large"`, `"InstanceType": "m7i.large"`, ec2.SampleUserData},
	"load-balancer/app/web/50dc6c495c0c9188.json":     {`"Priority": "default"`, `"Key": "deletion_protection.enabled"`, `"Value": "prod"`},
	"nat-gateway/nat-1.json":                          {ec2.SampleSubnet},
	"network-acl/acl-1.json":                          {`"RuleNumber": 100`},
	"network-interface/eni-1.json":                    {`"DeviceIndex": 0`},
	"route-table/rtb-1.json":                          {`"GatewayId": "igw-1"`},
	"security-group/" + ec2.SampleGroup + ".json":     {`"CidrIpv6": "::/0"`, `"SecurityGroupRuleId": "sgr-2"`, `"Description": "everybody"`},
	"subnet/" + ec2.SampleSubnet + ".json":            {`"MapPublicIpOnLaunch": true`},
	"target-group/web/73e2d6bc24d8a067.json":          {`"Port": 8080`, `"stickiness.enabled"`},
	"volume/vol-0000000000000data.json":               {`"Encrypted": true`},
	"volume/vol-0000000000000root.json":               {`"Value": "web root"`},
	"vpc/" + ec2.SampleVPC + ".json":                  {`"CidrBlock": "10.0.0.0/16"`, `"EnableDnsHostnames": {`},
}

func TestDocuments(t *testing.T) {
	s, sample := serve(t, ec2.Options{PageSize: 1})
	o := options(s)
	o.Snapshot = func(context.Context, string, string, int64) (source.Image, error) { return nil, errors.New("not here") }
	v := freeze(t, o)
	entries, content := all(t, v)
	for key, pieces := range want {
		for _, p := range pieces {
			if !strings.Contains(content[key], p) {
				t.Errorf("%s does not hold %s:\n%s", key, p, content[key])
			}
		}
		if e := entries[key]; e == nil || e.ContentType != "application/json" || e.Metadata["region"] != "eu-central-1" || !strings.HasPrefix(key, e.Metadata["resource"]+"/"+e.Metadata["id"]) {
			t.Errorf("%s: %+v", key, e)
		}
		var parsed any
		if err := json.Unmarshal([]byte(content[key]), &parsed); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	for key := range content {
		if want[key] == nil {
			t.Errorf("%s was not expected", key)
		}
	}
	for _, snap := range []*world.Snapshot{sample.Root, sample.Data} {
		e := entries["snapshot/"+snap.ID]
		if e == nil || e.Kind != format.KindImage || e.Size != 1<<30 || e.ETag != snap.ID || !e.Modified.Equal(snap.Started) {
			t.Errorf("snapshot %s: %+v", snap.ID, e)
		}
	}
	if dns := content["dhcp-options/dopt-1.json"]; strings.Index(dns, "10.0.0.9") > strings.Index(dns, "10.0.0.2") {
		t.Error("the order of name servers means something")
	}
	for _, never := range []string{"AvailableIpAddressCount", "LastLaunchedTime", "ResultMetadata", "i-0terminated", "nat-2", "ami-amazon"} {
		for key, text := range content {
			if strings.Contains(text, never) || strings.Contains(key, never) {
				t.Errorf("%s: %s", key, never)
			}
		}
	}
	var said []string
	for _, r := range v.(source.Remarks).Remarks() {
		said = append(said, r.Key+": "+r.Text)
	}
	if len(said) != 2 || !strings.Contains(said[0], ec2.SampleWindows) || !strings.Contains(said[0], "RunInstances:0002") || !strings.Contains(said[1], "i-0windows") {
		t.Errorf("remarks %q", said)
	}
}

// An account in which nothing changed gives the same entries, in whatever order it answers, and one change one.
func TestStable(t *testing.T) {
	s, _ := serve(t, ec2.Options{})
	first, before := all(t, freeze(t, options(s)))
	s.EC2.Put("subnet", ec2.SampleSubnet, strings.Replace(subnet(before), "250", "17", 1))
	for range 3 {
		again, content := all(t, freeze(t, options(s)))
		for key, e := range again {
			if first[key] == nil || first[key].ETag != e.ETag || first[key].Size != e.Size || !first[key].Modified.Equal(e.Modified.Time) {
				t.Errorf("%s changed by itself:\n%s\n%s", key, before[key], content[key])
			}
		}
		if len(again) != len(first) {
			t.Errorf("%d entries instead of %d", len(again), len(first))
		}
	}
	s.EC2.SetAttribute(ec2.SampleInstance, "disableApiTermination", "<disableApiTermination><value>false</value></disableApiTermination>")
	changed, content := all(t, freeze(t, options(s)))
	var keys []string
	for key, e := range changed {
		if first[key].ETag != e.ETag {
			keys = append(keys, key)
		}
	}
	key := "instance/" + ec2.SampleInstance + ".json"
	if !slices.Equal(keys, []string{key}) {
		t.Fatalf("changed: %v", keys)
	}
	old, now := strings.Split(before[key], "\n"), strings.Split(content[key], "\n")
	lines := 0
	for i := range old {
		if old[i] != now[i] {
			lines++
		}
	}
	if len(old) != len(now) || lines != 1 {
		t.Errorf("%d lines differ", lines)
	}
}

// subnet is the sample's subnet as it comes over the wire, with its tags and addresses in whatever order.
func subnet(map[string]string) string {
	return "<tagSet><item><key>Name</key><value>web</value></item></tagSet><mapPublicIpOnLaunch>true</mapPublicIpOnLaunch><defaultForAz>false</defaultForAz><availabilityZoneId>euc1-az2</availabilityZoneId>" +
		"<availabilityZone>eu-central-1a</availabilityZone><availableIpAddressCount>250</availableIpAddressCount><cidrBlock>10.0.1.0/24</cidrBlock><state>available</state><ownerId>123456789012</ownerId>" +
		"<vpcId>" + ec2.SampleVPC + "</vpcId><subnetId>" + ec2.SampleSubnet + "</subnetId>"
}

func TestTags(t *testing.T) {
	s, _ := serve(t, ec2.Options{})
	o := options(s)
	o.Tags = []ec2source.Tag{{Key: "env", Value: "prod"}}
	o.Exclude = []string{"route-table/**"}
	entries, _ := all(t, freeze(t, o))
	for key, kept := range map[string]bool{
		"instance/" + ec2.SampleInstance + ".json": true, "instance/i-0windows.json": false,
		"image/" + ec2.SampleImage + ".json": true, "image/" + ec2.SampleWindows + ".json": false,
		"volume/vol-0000000000000root.json": true, "volume/vol-0000000000000data.json": false,
		"launch-template/" + ec2.SampleTemplate + ".json": true, "route-table/rtb-1.json": false,
		"subnet/" + ec2.SampleSubnet + ".json": true, "security-group/" + ec2.SampleGroup + ".json": true,
	} {
		if (entries[key] != nil) != kept {
			t.Errorf("%s is kept: %v", key, entries[key] != nil)
		}
	}
	// A selection that finds nothing is most often a mistake.
	for value, said := range map[string]bool{"prod": false, "prdo": true} {
		o.Tags[0].Value = value
		remarks := freeze(t, o).(source.Remarks).Remarks()
		if found := slices.ContainsFunc(remarks, func(m source.Remark) bool { return strings.Contains(m.Text, "is selected: check the region") }); found != said {
			t.Errorf("env=%s: remarks %q", value, remarks)
		}
	}
}

// What cannot be read is named, and the rest is kept.
func TestDenied(t *testing.T) {
	s, sample := serve(t, ec2.Options{})
	every := map[string]string{
		"DescribeImages": "image/*", "DescribeInstances": "instance/*", "DescribeVolumes": "volume/*", "DescribeNetworkInterfaces": "network-interface/*",
		"DescribeAddresses": "address/*", "DescribeSecurityGroups": "security-group/*", "DescribeSecurityGroupRules": "security-group/*.rules",
		"DescribeSubnets": "subnet/*", "DescribeRouteTables": "route-table/*", "DescribeVpcs": "vpc/*", "DescribeVpcAttribute": "vpc/*.enableDnsSupport",
		"DescribeInternetGateways": "internet-gateway/*", "DescribeNatGateways": "nat-gateway/*", "DescribeNetworkAcls": "network-acl/*",
		"DescribeDhcpOptions": "dhcp-options/*", "DescribeKeyPairs": "key-pair/*", "DescribeLaunchTemplates": "launch-template/*",
		"DescribeLaunchTemplateVersions": "launch-template/*.versions", "DescribeInstanceAttribute": "instance/*.userData",
		"DescribeImageAttribute": "image/*.uefiData", "DescribeSnapshots": "snapshot/*",
		"autoscaling:DescribeAutoScalingGroups": "auto-scaling-group/*", "autoscaling:DescribePolicies": "auto-scaling-group/*.policies",
		"autoscaling:DescribeLaunchConfigurations": "launch-configuration/*", "elasticloadbalancing:DescribeLoadBalancers": "load-balancer/*",
		"elasticloadbalancing:DescribeListeners": "load-balancer/*.listeners", "elasticloadbalancing:DescribeRules": "load-balancer/*.rules",
		"elasticloadbalancing:DescribeTags": "load-balancer/*.tags", "elasticloadbalancing:DescribeTargetGroups": "target-group/*",
		"elasticloadbalancing:DescribeLoadBalancerAttributes": "load-balancer/*.attributes", "elasticloadbalancing:DescribeTargetGroupAttributes": "target-group/*.attributes",
	}
	for action, key := range every {
		s.EC2.Set(func(o *ec2.Options) { o.Denied = map[string]bool{action: true} })
		o := options(s)
		o.Snapshot = func(context.Context, string, string, int64) (source.Image, error) { return nil, errors.New("not here") }
		v := freeze(t, o)
		entries, content := all(t, v)
		e := entries[key]
		name := action
		if !strings.Contains(action, ":") {
			name = "ec2:" + action
		}
		if e == nil || e.Missing != "access denied ("+name+")" {
			t.Errorf("%s denied: %s is %+v", action, key, e)
			continue
		}
		if err := v.Complete(t.Context(), e); !errors.As(err, new(*source.Unreadable)) {
			t.Errorf("%s: %v", key, err)
		}
		if len(content) < 15 {
			t.Errorf("%s denied: %d documents", action, len(content))
		}
	}
	s.EC2.Set(func(o *ec2.Options) { o.Denied = nil })

	for change, missing := range map[string]func(*world.Snapshot){
		"pending":  func(s *world.Snapshot) { s.State = "pending" },
		"archived": func(s *world.Snapshot) { s.Tier = "archive" },
		"error":    func(s *world.Snapshot) { s.State = "error" },
	} {
		was := *sample.Data
		s.World.Update(sample.Data.ID, missing)
		o := options(s)
		o.Snapshot = func(context.Context, string, string, int64) (source.Image, error) { return nil, errors.New("not here") }
		entries, _ := all(t, freeze(t, o))
		if e := entries["snapshot/"+sample.Data.ID]; e == nil || e.Missing != change {
			t.Errorf("%s: %+v", change, e)
		}
		s.World.Update(sample.Data.ID, func(s *world.Snapshot) { s.State, s.Tier = was.State, was.Tier })
	}
	s.World.Remove(sample.Root.ID)
	o := options(s)
	o.Snapshot = func(context.Context, string, string, int64) (source.Image, error) { return nil, errors.New("not here") }
	entries, _ := all(t, freeze(t, o))
	if e := entries["snapshot/"+sample.Root.ID]; e == nil || !strings.Contains(e.Missing, "not there") || !strings.Contains(e.Missing, ec2.SampleImage) {
		t.Errorf("%+v", e)
	}
}

func TestFailures(t *testing.T) {
	s, _ := serve(t, ec2.Options{AccessKey: "AKIDREADER"})
	for code, want := range map[string]error{"AuthFailure": store.ErrCredentials, "RequestLimitExceeded": store.ErrThrottled, "InternalError": store.ErrTransient} {
		status := map[string]int{"InternalError": 500, "RequestLimitExceeded": 503, "AuthFailure": 401}[code]
		s.EC2.Inject("DescribeSubnets", ec2.Error{Status: status, Code: code, Message: "because"}, 100)
		o := options(s)
		o.MaxBackoff = 1
		src, err := ec2source.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Freeze(t.Context()); !errors.Is(err, want) || !strings.Contains(err.Error(), "list subnet in eu-central-1") {
			t.Errorf("%s: %v", code, err)
		}
		s.EC2.ClearFaults()
	}
	// A throttle or two is waited out.
	s.EC2.Inject("DescribeInstances", ec2.Error{Status: 503, Code: "RequestLimitExceeded"}, 2)
	o := options(s)
	o.MaxBackoff = 1
	if entries, _ := all(t, freeze(t, o)); len(entries) < 20 {
		t.Errorf("%d entries", len(entries))
	}
	o.Credentials = func(context.Context) (store.Credentials, error) { return store.Credentials{}, errors.New("no file") }
	src, err := ec2source.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Freeze(t.Context()); !errors.Is(err, store.ErrCredentials) {
		t.Error(err)
	}
	o = options(s)
	o.Endpoint = "http://127.0.0.1:1"
	o.MaxBackoff = 1
	if src, err = ec2source.New(o); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Freeze(t.Context()); !errors.Is(err, store.ErrTransient) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := src.Freeze(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Nothing that could change anything is asked for, and nothing that is collected lies on the disk to be read.
func TestAsksOnly(t *testing.T) {
	s, _ := serve(t, ec2.Options{})
	s.EC2.Log()
	spool := &watched{dir: t.TempDir()}
	o := options(s)
	o.Spool = spool.dir
	o.Transport = spool
	v := freeze(t, o)
	for _, a := range s.EC2.Log() {
		if !strings.HasPrefix(a, "Describe") {
			t.Errorf("asked for %s", a)
		}
	}
	if names, err := os.ReadDir(spool.dir); err != nil || len(names) != 0 {
		t.Errorf("left %v, %v", names, err)
	}
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err != nil || !strings.HasPrefix(to, spool.dir) {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil || len(b) < 1000 {
			t.Errorf("the spool: %d bytes, %v", len(b), err)
		}
		if bytes.Contains(b, []byte("InstanceId")) || bytes.Contains(b, []byte(ec2.SampleUserData)) {
			t.Error("the spool can be read")
		}
		spool.seen = true
	}
	if _, content := all(t, v); len(content) < 20 || !spool.seen {
		t.Errorf("%d documents, spool seen: %v", len(content), spool.seen)
	}
}

type watched struct {
	dir  string
	seen bool
}

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r)
}

func TestView(t *testing.T) {
	s, _ := serve(t, ec2.Options{})
	v := freeze(t, options(s))
	entries, content := all(t, v)
	var keys []string
	for e, err := range v.Entries(t.Context(), "instance/", "key-pair/") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, e.Key)
	}
	if fmt.Sprint(keys) != "[instance/"+ec2.SampleInstance+".json instance/i-0windows.json internet-gateway/igw-1.json]" {
		t.Errorf("%v", keys)
	}
	key := "vpc/" + ec2.SampleVPC + ".json"
	e := *entries[key]
	r, err := v.Open(t.Context(), &e, 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || string(b) != content[key][10:30] || r.Close() != nil {
		t.Errorf("%q, %v", b, err)
	}
	e.ETag = "other"
	if _, err := v.Open(t.Context(), &e, 0, -1); !errors.Is(err, source.ErrChanged) {
		t.Error(err)
	}
	if _, err := v.Open(t.Context(), &format.Entry{Key: "vpc/none.json"}, 0, -1); !errors.Is(err, source.ErrGone) {
		t.Error(err)
	}
}
