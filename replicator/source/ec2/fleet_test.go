package ec2source_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/source"
)

// machine is one as EC2 describes it.
func machine(id, kind, state string, tags ...string) string {
	var t strings.Builder
	for i := 0; i < len(tags); i += 2 {
		fmt.Fprintf(&t, "<item><key>%s</key><value>%s</value></item>", tags[i], tags[i+1])
	}
	return "<reservationId>r-" + id + "</reservationId><instancesSet><item><instanceId>" + id + "</instanceId><instanceType>" + kind +
		"</instanceType><instanceState><name>" + state + "</name></instanceState><tagSet>" + t.String() + "</tagSet></item></instancesSet>"
}

var threeRegions = []string{"eu-central-1", "us-east-1", "ap-south-1"}

func fleetOf(t *testing.T, s *awstest.Server) source.Fleet {
	t.Helper()
	f, err := freeze(t, options(s)).(source.Fleets).Fleet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func regionOf(t *testing.T, f source.Fleet, name string) source.FleetRegion {
	t.Helper()
	i := slices.IndexFunc(f.Regions, func(r source.FleetRegion) bool { return r.Name == name })
	if i < 0 {
		t.Fatalf("no %s in %+v", name, f)
	}
	return f.Regions[i]
}

// TestFleet: machines and key pairs of all regions, with two requests a region, whatever the tags select.
func TestFleet(t *testing.T) {
	s, _ := serve(t, ec2.Options{Regions: threeRegions})
	s.EC2.PutIn("us-east-1", "instance", "i-east", machine("i-east", "p4d.24xlarge", "running", "a", "b", "aws:autoscaling:groupName", "mine"))
	s.EC2.PutIn("us-east-1", "instance", "i-over", machine("i-over", "p4d.24xlarge", "terminated"))
	s.EC2.PutIn("us-east-1", "key-pair", "key-9", "<keyPairId>key-9</keyPairId><keyName>mine</keyName>")
	v := freeze(t, options(s))
	s.EC2.Log()
	f, err := v.(source.Fleets).Fleet(t.Context())
	if err != nil || len(f.Denied) > 0 {
		t.Fatalf("%+v %v", f, err)
	}
	if n := len(s.EC2.Log()); n != 1+2*len(threeRegions) {
		t.Errorf("%d requests", n)
	}
	east := regionOf(t, f, "us-east-1")
	want := source.Machine{ID: "i-east", Type: "p4d.24xlarge", Group: "mine", Tags: []string{"a=b"}}
	if len(east.Machines) != 1 || fmt.Sprint(east.Machines[0]) != fmt.Sprint(want) || fmt.Sprint(east.Keys) != "[key-9 mine]" || east.Failed != "" {
		t.Errorf("%+v", east)
	}
	at := regionOf(t, f, "eu-central-1")
	if len(at.Machines) != 2 || at.Limits["web"] != 4 || fmt.Sprint(at.Types) != "[m5.large m6i.large m7i.large]" || fmt.Sprint(at.Keys) != "[key-1 admin]" {
		t.Errorf("%+v", at)
	}
	if south := regionOf(t, f, "ap-south-1"); len(south.Machines)+len(south.Keys) > 0 || south.Failed != "" {
		t.Errorf("%+v", south)
	}
}

// TestFleetIsPartlySeen: a right that is missing, here or in other regions, is named; a region that hangs costs that region.
func TestFleetIsPartlySeen(t *testing.T) {
	s, _ := serve(t, ec2.Options{Regions: threeRegions})
	for denied, want := range map[string]string{"DescribeRegions": "ec2:DescribeRegions", "DescribeKeyPairs": "ec2:DescribeKeyPairs"} {
		s.EC2.Set(func(o *ec2.Options) { o.Denied = map[string]bool{denied: true} })
		if f := fleetOf(t, s); fmt.Sprint(f.Denied) != "["+want+"]" || len(regionOf(t, f, "eu-central-1").Machines) != 2 || regionOf(t, f, "eu-central-1").Unkeyed != (denied == "DescribeKeyPairs") {
			t.Errorf("%s: %+v", denied, f)
		}
	}
	s.EC2.Set(func(o *ec2.Options) { o.Denied, o.Closed = nil, map[string]bool{"ap-south-1": true} })
	if f := fleetOf(t, s); fmt.Sprint(f.Denied) != "[ec2:DescribeInstances in ap-south-1]" || regionOf(t, f, "ap-south-1").Failed != "access denied" {
		t.Errorf("%+v", f)
	}
	s.EC2.Set(func(o *ec2.Options) { o.Closed, o.Hangs = nil, map[string]bool{"us-east-1": true} })
	v := freeze(t, options(s))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	f, err := v.(source.Fleets).Fleet(ctx)
	if err != nil || regionOf(t, f, "us-east-1").Failed != "no answer in time" || regionOf(t, f, "ap-south-1").Failed != "" || len(regionOf(t, f, "eu-central-1").Machines) != 2 {
		t.Errorf("%+v %v", f, err)
	}
}

// TestPassing: what a scaling group launched comes and goes by itself, with its volumes and network interfaces.
func TestPassing(t *testing.T) {
	s, _ := serve(t, ec2.Options{})
	s.EC2.Put("instance", "i-group", machine("i-group", "c7i.large", "running", "aws:autoscaling:groupName", "web"))
	s.EC2.Put("network-interface", "eni-group", "<networkInterfaceId>eni-group</networkInterfaceId><attachment><instanceId>i-group</instanceId></attachment>")
	v := freeze(t, options(s)).(source.Passing)
	for key, want := range map[string]bool{
		"instance/i-group.json": true, "network-interface/eni-group.json": true, "instance/" + ec2.SampleInstance + ".json": false,
		"network-interface/eni-1.json": false, "volume/vol-0000000000000root.json": false, "vpc/" + ec2.SampleVPC + ".json": false,
	} {
		if v.Passes(key) != want {
			t.Errorf("%s: %v", key, !want)
		}
	}
}
