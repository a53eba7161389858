package imagestest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// Every fault of the server ends in the exact image, or in an incomplete point, or in an error that says what is wrong.
func TestFaultsOfReading(t *testing.T) {
	const get, list, compare = "GetSnapshotBlock", "ListSnapshotBlocks", "ListChangedBlocks"
	for _, c := range []struct {
		op      string
		fault   ebs.Fault
		n       int
		missing string // the reason in the point; "": none
		err     string // of the run
	}{
		{get, ebs.Fault{Kind: ebs.Throttle, Reason: "RESOURCE_LEVEL_THROTTLE"}, 40, "", ""},
		{get, ebs.Fault{Kind: ebs.Throttle, Reason: "ACCOUNT_THROTTLED"}, 40, "", ""},
		{get, ebs.Fault{Kind: ebs.Throttle, Reason: "DEPENDENCY_REQUEST_THROTTLED"}, 40, "", ""},
		{get, ebs.Fault{Kind: ebs.Throttling}, 20, "", ""},
		{get, ebs.Fault{Kind: ebs.Concurrency}, 20, "", ""},
		{get, ebs.Fault{Kind: ebs.Internal}, 5, "", ""},
		{get, ebs.Fault{Kind: ebs.Unavailable}, 5, "", ""},
		{get, ebs.Fault{Kind: ebs.Drop}, 5, "", ""},
		{get, ebs.Fault{Kind: ebs.Hang, Wait: time.Minute}, 2, "", ""},
		{get, ebs.Fault{Kind: ebs.Expired}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.Truncate}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.Short}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.Corrupt}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.WrongChecksum}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.NoChecksum}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.WrongAlgorithm}, 3, "", ""},
		{get, ebs.Fault{Kind: ebs.Corrupt}, 1000, "source delivered bytes that do not match its own checksum", ""},
		{get, ebs.Fault{Kind: ebs.NoChecksum}, 1000, "source delivered bytes that do not match its own checksum", ""},
		{get, ebs.Fault{Kind: ebs.Denied}, 1, "access denied to its KMS key", ""},
		{get, ebs.Fault{Kind: ebs.Gone}, 1, "", ""}, // and listed again: read anew
		{list, ebs.Fault{Kind: ebs.Throttle, Reason: "ACCOUNT_THROTTLED"}, 3, "", ""},
		{list, ebs.Fault{Kind: ebs.EmptyPage}, 20, "", ""},
		{list, ebs.Fault{Kind: ebs.Drop}, 2, "", ""},
		{list, ebs.Fault{Kind: ebs.Internal}, 2, "", ""},
		{list, ebs.Fault{Kind: ebs.Denied}, 1, "access denied to its KMS key", ""},
		{list, ebs.Fault{Kind: ebs.Gone}, 100, "listed, and not found when it was read", ""},
		{list, ebs.Fault{Kind: ebs.Drop}, 1000, "", "list the blocks of snap-"},
		{compare, ebs.Fault{Kind: ebs.EmptyPage}, 20, "", ""},
		{compare, ebs.Fault{Kind: ebs.Internal}, 2, "", ""},
		{compare, ebs.Fault{Kind: ebs.Gone}, 1, "", ""},   // in full
		{compare, ebs.Fault{Kind: ebs.Denied}, 1, "", ""}, // in full
		{compare, ebs.Fault{Kind: ebs.Drop}, 1000, "", "compare snap-"},
	} {
		t.Run(fmt.Sprintf("%s/%d-%s-%d", c.op, c.fault.Kind, c.fault.Reason, c.n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ebs.Options{PageBlocks: 100})
			blocks := disk(1, 45, 3)
			v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
			r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks)})
			if c.op == compare {
				r.run()
				blocks = maps.Clone(blocks)
				for n := range blocks {
					blocks[n] = block(uint64(n))
					break
				}
				r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Minute), Content: world.NewBlocks(blocks)})
			}
			if c.fault.Kind == ebs.Hang {
				r.o.Blocks.AnswerTimeout = time.Second
			}
			r.aws.EBS.Inject(c.op, c.fault, c.n)
			res, err := r.try(t.Context())
			if c.err != "" {
				contains(t, err, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.missing != "" {
				if res.Status != format.StatusIncomplete || r.missing[v.ID] != c.missing {
					t.Errorf("%s, missing %q", res.Status, r.missing)
				}
				return
			}
			if left := r.aws.EBS.Left(); res.Status != format.StatusComplete || left > 0 {
				t.Errorf("%s, missing %q, %d faults are left", res.Status, r.missing, left)
			}
			r.holds(res.Point, v.ID, blocks)
		})
	}
}

// Tokens that expire while an image is read are asked for again. Time passes by answers and not by the clock, as nobody
// knows how long the run takes.
func TestExpiry(t *testing.T) {
	var r *rig
	r = newRig(t, ebs.Options{PageBlocks: 100, Answered: func(n int) {
		if n%50 == 0 && n <= 300 {
			r.aws.World.Pass([]time.Duration{ebs.PageTokenLife, ebs.BlockTokenLife}[n/50%2])
		}
	}})
	blocks := disk(1, 400, 3)
	v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
	r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks)})
	res := r.run()
	if res.Status != format.StatusComplete {
		t.Errorf("%s %q", res.Status, r.missing)
	}
	r.holds(res.Point, v.ID, blocks)
	refused := 0
	for _, q := range r.aws.EBS.Log() {
		if q.Status == 400 {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no token expired: this tests nothing")
	}
}

// At a server that throttles, nothing is lost, and nearly all that it allows is used.
func TestThrottled(t *testing.T) {
	const limit, count = 300, 1200
	r := newRig(t, ebs.Options{Latency: 5 * time.Millisecond})
	one := block(1)
	blocks := map[int64][]byte{}
	for n := range int64(count) {
		blocks[n] = one
	}
	v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
	r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks)})
	r.o.Blocks = ebsdirect.Options{}
	r.memory = 256 << 20
	began := time.Now()
	r.run()
	able := count / time.Since(began).Seconds() // what this machine can do
	r.aws.EBS.Log()
	r.aws.EBS.Set(func(o *ebs.Options) { o.GetPerAccount = limit })
	var rate float64
	for try := range 3 { // what else this machine does may slow one down
		r.aws.EBS.Log()
		r.aws.World.AddSnapshot(world.Snapshot{
			VolumeID: v.ID, Lineage: fmt.Sprint("another ", try), SizeGiB: 1, Started: time.Now(), Content: world.NewBlocks(blocks),
		})
		began = time.Now()
		res := r.run()
		took := time.Since(began)
		if reads := len(r.reads()); res.Status != format.StatusComplete || reads != count {
			t.Errorf("%s %q, %d reads", res.Status, r.missing, reads)
		}
		rate = float64(count) / took.Seconds()
		t.Logf("%d blocks in %s: %.0f a second of %d allowed; %d requests were refused", count, took, rate, limit, r.aws.EBS.Refused())
		if rate >= 0.9*min(limit, 0.8*able) {
			return
		}
	}
	t.Errorf("%.0f blocks a second where %d are allowed, and %.0f possible", rate, limit, able)
}

// What cannot be read is named, and the point is incomplete.
func TestUnreadable(t *testing.T) {
	r := newRig(t, ebs.Options{})
	w := r.aws.World
	add := func(vol string, s world.Snapshot) string {
		s.VolumeID, s.SizeGiB = vol, 1
		s.Content = world.NewBlocks(map[int64][]byte{1: block(5)})
		if s.Started.IsZero() {
			s.Started = time.Now().Add(-time.Hour)
		}
		return w.AddSnapshot(s).ID
	}
	add("vol-0000000000000good", world.Snapshot{})
	add("vol-000000000archived", world.Snapshot{Tier: "archive"})
	add("vol-0000000000pending", world.Snapshot{State: "pending"})
	add("vol-000000000000error", world.Snapshot{State: "error"})
	add("vol-00000000000behind", world.Snapshot{})
	late := add("vol-00000000000behind", world.Snapshot{State: "pending", Started: time.Now()})
	nameless := add("vol-ffffffff", world.Snapshot{})
	foreign := add("vol-0000000000foreign", world.Snapshot{Owner: "999999999999", Public: true})
	res := r.run()
	want := map[string]string{
		"vol-000000000archived": "archived", "vol-0000000000pending": "pending", "vol-000000000000error": "error", late: "pending",
	}
	for key, reason := range want {
		if !strings.Contains(r.missing[key], reason) {
			t.Errorf("%s: %q instead of %s", key, r.missing[key], reason)
		}
	}
	if res.Status != format.StatusIncomplete || len(r.missing) != len(want) {
		t.Errorf("%s: %v", res.Status, r.missing)
	}
	keys := []string{}
	for _, e := range r.entries(res.Point) {
		keys = append(keys, e.Key)
	}
	for _, key := range []string{nameless, "vol-00000000000behind", "vol-0000000000000good"} {
		if !slices.Contains(keys, key) {
			t.Errorf("%s is not in %v", key, keys)
		}
	}
	if slices.Contains(keys, "vol-0000000000foreign") {
		t.Error("somebody else's snapshot is in the point")
	}
	// Asked for by name.
	r.o.Snapshots = []string{foreign, "snap-00000000000000404", nameless}
	res = r.run()
	if res.Status != format.StatusIncomplete || r.missing["vol-0000000000foreign"] != "access denied" || r.missing["snap-00000000000000404"] != "there is no such snapshot" {
		t.Errorf("%s: %v", res.Status, r.missing)
	}
	// The control API's own refusals.
	r.o.Snapshots = nil
	r.aws.EC2.Set(func(o *ec2.Options) { o.Denied = map[string]bool{"DescribeSnapshots": true} })
	_, err := r.try(t.Context())
	contains(t, err, "the credentials lack the right")
	r.aws.EC2.Set(func(o *ec2.Options) { o.Denied, o.AccessKey = nil, "ANOTHER" })
	_, err = r.try(t.Context())
	contains(t, err, "check the credentials")
}

// A selection by tags, every snapshot of it, with sets made first.
func TestSelections(t *testing.T) {
	r := newRig(t, ebs.Options{})
	w := r.aws.World
	content := world.NewBlocks(disk(1, 4, 9))
	v1 := w.AddVolume(world.Volume{SizeGiB: 1, Instance: "i-0123456789abcdef0", Content: content, Tags: map[string]string{"name": "root"}})
	v2 := w.AddVolume(world.Volume{SizeGiB: 1, Instance: "i-0123456789abcdef0", Content: content})
	yes := map[string]string{"backup": "yes"}
	old := w.AddSnapshot(world.Snapshot{VolumeID: v1.ID, SizeGiB: 1, Started: time.Now().Add(-2 * time.Hour), Content: content, Tags: yes})
	w.AddSnapshot(world.Snapshot{VolumeID: v1.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: content, Tags: map[string]string{"backup": "no"}})
	keysOf := func() (out []string) {
		t.Helper()
		for _, e := range r.entries(r.run().Point) {
			out = append(out, e.Key+" "+e.ETag+" "+e.Version)
		}
		return out
	}
	r.o.Tags = tagged("backup", "yes")
	if got := keysOf(); !slices.Equal(got, []string{v1.ID + " " + old.ID + " "}) {
		t.Errorf("by tag: %q", got)
	}
	r.o.Tags, r.o.All = nil, true
	if got := keysOf(); len(got) != 2 || !strings.HasPrefix(got[0], v1.ID+" "+old.ID+" "+old.ID) {
		t.Errorf("all: %q", got)
	}
	if len(r.remarks) > 0 {
		t.Errorf("remarks: %q", r.remarks)
	}
	r.o.All, r.o.Volumes = false, []string{v2.ID}
	if res := r.run(); res.Status != format.StatusIncomplete || r.missing[v2.ID] != "no snapshot of it is found" {
		t.Errorf("a volume without snapshots: %s, missing %q", res.Status, r.missing)
	}
	r.o.Volumes, r.o.Exclude = nil, []string{v1.ID}
	if got := keysOf(); len(got) != 0 {
		t.Errorf("excluded: %q", got)
	}
	// A selection that selects nothing is most often a mistake.
	if len(r.remarks) != 1 || !strings.Contains(r.remarks[0], "no snapshot is selected") {
		t.Errorf("remarks on nothing: %q", r.remarks)
	}
	r.o.Exclude, r.o.Create, r.o.Tags = nil, []string{v1.Instance}, tagged("backup", "made")
	if got := keysOf(); len(got) != 2 || !strings.HasPrefix(got[0], v1.ID) || !strings.HasPrefix(got[1], v2.ID) {
		t.Errorf("made: %q", got)
	}
	for _, e := range r.entries(r.run().Point) {
		if e.Tags["backup"] != "made" || e.Key == v1.ID && e.Tags["name"] != "root" {
			t.Errorf("tags of what was made: %v", e.Tags)
		}
	}
}

// A restore to a snapshot meets every fault, and is begun again after one that was too much.
func TestFaultsOfWriting(t *testing.T) {
	r := newRig(t, ebs.Options{})
	blocks := disk(1, 150, 8)
	v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
	r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks), Encrypted: true})
	res := r.run()
	const put, complete, start = "PutSnapshotBlock", "CompleteSnapshot", "StartSnapshot"
	for i, c := range []struct {
		op    string
		fault ebs.Fault
		n     int
	}{
		{put, ebs.Fault{Kind: ebs.Throttle, Reason: "RESOURCE_LEVEL_THROTTLE"}, 50},
		{put, ebs.Fault{Kind: ebs.Concurrency}, 20},
		{put, ebs.Fault{Kind: ebs.Internal}, 10},
		{put, ebs.Fault{Kind: ebs.BlockData}, 30},
		{put, ebs.Fault{Kind: ebs.Stale}, 10},
		{put, ebs.Fault{Kind: ebs.LoseAnswer}, 10},
		{put, ebs.Fault{Kind: ebs.Drop}, 10},
		{complete, ebs.Fault{Kind: ebs.Internal}, 2},
		{complete, ebs.Fault{Kind: ebs.Drop}, 2},
		{start, ebs.Fault{Kind: ebs.Drop}, 2},
		{"GetSnapshotBlock", ebs.Fault{Kind: ebs.Corrupt}, 4},
	} {
		if testing.Short() && i%2 == 1 {
			continue // under the race detector; whole without
		}
		t.Run(fmt.Sprintf("%s/%d", c.op, c.fault.Kind), func(t *testing.T) {
			r.aws.EBS.Inject(c.op, c.fault, c.n)
			s := r.backAsSnapshot(t, res.Point, blocks)
			if !s.Encrypted || r.aws.EBS.Left() > 0 {
				t.Errorf("%+v, %d faults are left", s, r.aws.EBS.Left())
			}
			r.aws.World.Remove(s.ID)
		})
	}

	journal := t.TempDir()
	again := func() (string, error) {
		made := ""
		to, err := tosnapshot.New(tosnapshot.Options{Client: r.writer(), Where: "there", Journal: journal, Made: func(_, id string) { made = id }})
		if err != nil {
			t.Fatal(err)
		}
		res, err := r.restoreTo(res.Point, to)
		if err == nil && len(res.Failures) > 0 {
			err = res.Failures[0]
		}
		return made, err
	}
	puts := func() (n int) {
		for _, q := range r.aws.EBS.Log() {
			if q.Op == put && q.Status == 201 {
				n++
			}
		}
		return n
	}
	// It breaks off, and goes on with the same snapshot; done once, it is only compared.
	r.aws.EBS.Log()
	r.aws.EBS.Inject(put, ebs.Fault{}, 100)
	r.aws.EBS.Inject(put, ebs.Fault{Kind: ebs.Denied}, 1)
	if _, err := again(); err == nil {
		t.Fatal("a restore that may not write ended well")
	}
	before := puts()
	id, err := again()
	if err != nil {
		t.Fatal(err)
	}
	if after := puts(); before+after > len(blocks)+70 || after == 0 {
		t.Errorf("%d blocks were written, then %d of %d", before, after, len(blocks))
	}
	if twice, err := again(); err != nil || twice != id || puts() > 0 {
		t.Errorf("a third time: %s, %v; first %s", twice, err, id)
	}
	// What AWS gave up is begun anew.
	r.aws.World.Update(id, func(s *world.Snapshot) { s.State = "error" })
	if other, err := again(); err != nil || other == id {
		t.Errorf("after a snapshot that failed: %s, %v", other, err)
	} else {
		r.aws.World.Remove(other)
	}
	r.aws.World.Remove(id)
	// A store that keeps something else than it was sent is found out.
	r.aws.EBS.Inject(put, ebs.Fault{Kind: ebs.Swallow}, 1)
	_, err = again()
	contains(t, err, "does not hold what was written")
}
