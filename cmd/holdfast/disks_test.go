package main

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// cloud is the in-test AWS of one script.
type cloud struct {
	mu  sync.Mutex
	srv map[string]*awstest.Server // by the script's work folder
}

// disks start                 starts an AWS with one volume of 1 GiB and a snapshot of it: ${AWS_URL}, ${VOLUME}, ${SNAPSHOT}
// disks change                a later snapshot, of which one block is another: ${SNAPSHOT}
// disks gone ID               deletes a snapshot or volume
// disks archive ID            moves a snapshot to the archive tier
// disks same FILE [SNAPSHOT]  holds a file against a snapshot, the last one by default
func (c *cloud) command(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: disks start|change|gone|spoil|mend|unwell|archive|same ...")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	work := ts.Getenv("WORK")
	srv := c.srv[work]
	switch args[0] {
	case "start":
		w := aws.New()
		s, err := awstest.Start(w, ebs.Options{AccessKey: "AKIDTEST"}, ec2.Options{AccessKey: "AKIDTEST"})
		ts.Check(err)
		c.srv[work] = s
		ts.Defer(func() { _ = s.Close() })
		v := w.AddVolume(aws.Volume{SizeGiB: 1, Zone: "eu-west-1a", Tags: map[string]string{"name": "db"}})
		blocks := map[int64][]byte{}
		for _, n := range []int64{0, 1, 700, 2047} {
			blocks[n] = bytes.Repeat([]byte{byte(n), 'x'}, aws.BlockSize/2)
		}
		snap := w.AddSnapshot(aws.Snapshot{
			VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: aws.NewBlocks(blocks), Tags: map[string]string{"backup": "yes"},
		})
		ts.Setenv("AWS_URL", s.URL)
		ts.Setenv("VOLUME", v.ID)
		ts.Setenv("SNAPSHOT", snap.ID)
	case "change":
		with := byte('z')
		if len(args) > 1 {
			with = args[1][0]
		}
		last := srv.World.Snapshot(ts.Getenv("SNAPSHOT"))
		snap := srv.World.AddSnapshot(aws.Snapshot{
			VolumeID: last.VolumeID, SizeGiB: 1, Started: last.Started.Add(time.Minute), Tags: last.Tags,
			Content: last.Content.(*aws.Blocks).With(map[int64][]byte{1: bytes.Repeat([]byte{'y', with}, aws.BlockSize/2)}),
		})
		ts.Setenv("SNAPSHOT", snap.ID)
	case "gone":
		srv.World.Remove(args[1])
	case "spoil", "mend":
		n, err := strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
		srv.EBS.Break("GetSnapshotBlock", ts.Getenv("SNAPSHOT"), n, map[string]ebs.Kind{"spoil": ebs.Corrupt, "mend": ebs.None}[args[0]])
	case "unwell":
		// What AWS answers in passing: each of the next blocks that are sent is refused once or twice.
		srv.EBS.Inject("PutSnapshotBlock", ebs.Fault{Kind: ebs.BlockData}, 8)
	case "archive":
		srv.World.Update(args[1], func(s *aws.Snapshot) { s.Tier = "archive" })
	case "same":
		id := ts.Getenv("SNAPSHOT")
		if len(args) > 2 {
			id = args[2]
		}
		c.same(ts, srv.World.Snapshot(id), ts.MkAbs(args[1]))
	}
}

func (c *cloud) same(ts *testscript.TestScript, s *aws.Snapshot, path string) {
	if s == nil {
		ts.Fatalf("there is no such snapshot")
	}
	f, err := os.Open(path)
	ts.Check(err)
	defer f.Close()
	st, err := f.Stat()
	ts.Check(err)
	if st.Size() != s.SizeGiB<<30 {
		ts.Fatalf("%d bytes instead of %d GiB", st.Size(), s.SizeGiB)
	}
	got, want := make([]byte, aws.BlockSize), make([]byte, aws.BlockSize)
	for n := int64(0); n < st.Size()/aws.BlockSize; n++ {
		_, err := f.ReadAt(got, n*aws.BlockSize)
		ts.Check(err)
		if s.Content.Read(n, want); !bytes.Equal(got, want) {
			ts.Fatalf("block %d of %s differs", n, path)
		}
	}
}
