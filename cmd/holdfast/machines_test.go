package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	awsworld "github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// machines start        starts an AWS with the sample account: ${AWS_URL}, ${AMI}, ${INSTANCE}, ${ROOT} and ${DATA} (the AMI's snapshots)
// machines other        starts an empty one: ${OTHER_URL}
// machines protect on|off  changes the instance's termination protection
// machines deny ACTION  lets it refuse an action; without ACTION none
// machines ruin         deletes every AMI, snapshot and instance, as the attacker of 2014 did
// machines back KEY     demands that in the other AWS there is an AMI of KEY's name, and that its root holds what ${ROOT} held
func (c *cloud) machines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: machines start|other|protect|deny|ruin|back ...")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	work := ts.Getenv("WORK")
	start := func(variable, name string) *awstest.Server {
		s, err := awstest.Start(awsworld.New(), ebs.Options{AccessKey: "AKIDTEST"}, ec2.Options{AccessKey: "AKIDTEST"})
		ts.Check(err)
		ts.Defer(func() { _ = s.Close() })
		ts.Setenv(variable, s.URL)
		c.srv[work+name] = s
		return s
	}
	srv := c.srv[work]
	switch args[0] {
	case "start":
		s := start("AWS_URL", "")
		sample := ec2.AddSample(s.EC2, rootBlocks(), awsworld.NewBlocks(map[int64][]byte{7: bytes.Repeat([]byte("d"), awsworld.BlockSize)}))
		for name, value := range map[string]string{"AMI": ec2.SampleImage, "INSTANCE": ec2.SampleInstance, "ROOT": sample.Root.ID, "DATA": sample.Data.ID} {
			ts.Setenv(name, value)
		}
	case "other":
		start("OTHER_URL", "other")
	case "protect":
		text := "<disableApiTermination><value>" + map[bool]string{true: "true", false: "false"}[args[1] == "on"] + "</value></disableApiTermination>"
		srv.EC2.SetAttribute(ec2.SampleInstance, "disableApiTermination", text)
	case "deny":
		srv.EC2.Set(func(o *ec2.Options) {
			o.Denied = map[string]bool{}
			for _, a := range args[1:] {
				o.Denied[a] = true
			}
		})
	case "regions": // REGION..., those that are open; the first is the sample's
		srv.EC2.Set(func(o *ec2.Options) { o.Regions = args[1:] })
	case "hang", "close": // REGION...
		in := map[string]bool{}
		for _, r := range args[1:] {
			in[r] = true
		}
		srv.EC2.Set(func(o *ec2.Options) { o.Hangs, o.Closed = nil, nil })
		if args[0] == "hang" {
			srv.EC2.Set(func(o *ec2.Options) { o.Hangs = in })
		} else {
			srv.EC2.Set(func(o *ec2.Options) { o.Closed = in })
		}
	case "launch": // REGION TYPE NUMBER [GROUP]
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		tags := ""
		if len(args) > 4 {
			tags = "<tagSet><item><key>aws:autoscaling:groupName</key><value>" + args[4] + "</value></item></tagSet>"
		}
		for i := range n {
			id := fmt.Sprintf("i-%s-%s-%d", args[1], args[2], i)
			srv.EC2.PutIn(args[1], "instance", id, "<reservationId>r-"+id+"</reservationId><instancesSet><item><instanceId>"+id+"</instanceId><instanceType>"+args[2]+
				"</instanceType><instanceState><name>running</name></instanceState>"+tags+"</item></instancesSet>")
		}
	case "key": // REGION NAME
		srv.EC2.PutIn(args[1], "key-pair", "key-"+args[2], "<keyPairId>key-"+args[2]+"</keyPairId><keyName>"+args[2]+"</keyName>")
	case "ruin":
		for _, id := range []string{ec2.SampleImage, ec2.SampleWindows} {
			srv.EC2.Drop("image", id)
		}
		srv.EC2.Drop("instance", ec2.SampleInstance)
		for _, s := range srv.World.Snapshots() {
			srv.World.Remove(s.ID)
		}
	case "back":
		c.imageBack(ts, c.srv[work+"other"], args[1])
	}
}

func rootBlocks() *awsworld.Blocks {
	return awsworld.NewBlocks(map[int64][]byte{0: bytes.Repeat([]byte("boot"), awsworld.BlockSize/4), 9: bytes.Repeat([]byte("root"), awsworld.BlockSize/4)})
}

// imageBack looks for a snapshot with the root's content that an AMI is made of.
func (c *cloud) imageBack(ts *testscript.TestScript, srv *awstest.Server, name string) {
	inner := srv.EC2.Named("image", name)
	if inner == "" {
		ts.Fatalf("there is no AMI named %s", name)
	}
	want, got := make([]byte, awsworld.BlockSize), make([]byte, awsworld.BlockSize)
	for _, s := range srv.World.Snapshots() {
		if !strings.Contains(inner, s.ID) || s.State != "completed" {
			continue
		}
		same := true
		for n := range int64(2048) {
			rootBlocks().Read(n, want)
			s.Content.Read(n, got)
			same = same && bytes.Equal(want, got)
		}
		if same {
			return
		}
	}
	ts.Fatalf("the AMI %s has no snapshot with the content of its root: %s", name, inner)
}
