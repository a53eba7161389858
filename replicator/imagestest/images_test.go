package imagestest

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/ebsdirect"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// A volume is stored, read again where it changed, and comes back as a sparse file and as a snapshot.
func TestThereAndBack(t *testing.T) {
	r := newRig(t, ebs.Options{PageBlocks: 100, Unseen: 100 * time.Millisecond, Completing: 200 * time.Millisecond})
	w := r.aws.World
	v := w.AddVolume(world.Volume{SizeGiB: 2, Type: "io2", IOPS: 500, Zone: region + "a", Tags: map[string]string{"name": "db"}})
	blocks := disk(2, 300, 1)
	blocks[7] = make([]byte, blockSize) // written with zeros
	s1 := w.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 2, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks), Encrypted: true, KMSKeyID: "arn:aws:kms:x", Tags: map[string]string{"backup": "yes"}})
	res := r.run()
	if res.Status != format.StatusComplete || res.Entries != 1 || res.BytesRead != int64(len(blocks))*blockSize {
		t.Fatalf("%+v", res)
	}
	if got := r.reads(); len(got) != len(blocks) {
		t.Errorf("%d blocks were read of %d", len(got), len(blocks))
	}
	e := r.entries(res.Point)[0]
	if e.Key != v.ID || e.ETag != s1.ID || e.Tags["backup"] != "yes" || e.Metadata["volume-type"] != "io2" || e.Metadata["iops"] != "500" ||
		e.Metadata["volume-tag:name"] != "db" || e.Metadata["encrypted"] != "true" || e.Metadata["kms-key-id"] != "arn:aws:kms:x" || e.Size != 2<<30 {
		t.Errorf("%+v", e)
	}

	// One in a hundred changes, some are gone.
	changed := map[int64][]byte{}
	second := maps.Clone(blocks)
	for i, n := range slices.Sorted(maps.Keys(blocks)) { // block 7 stays as it is
		switch i++; {
		case n == 7:
		case i%100 == 0:
			changed[n] = block(uint64(n) + 1e9)
			second[n] = changed[n]
		case i%67 == 0:
			delete(second, n)
		}
	}
	s2 := w.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 2, Started: time.Now().Add(-time.Minute), Content: world.NewBlocks(second)})
	res = r.run()
	got := r.reads()
	delete(got, 7) // written with zeros: read again to be sure
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(changed))) || res.Changed != 1 {
		t.Errorf("blocks %v were read instead of %v; %+v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(changed)), res)
	}
	if len(r.remarks) > 0 {
		t.Errorf("remarks: %q", r.remarks)
	}
	incremental := r.entries(res.Point)[0]
	if incremental.ETag != s2.ID {
		t.Errorf("%+v", incremental)
	}
	r.backAsFile(res.Point, v.ID, second)
	w.Remove(r.backAsSnapshot(t, res.Point, second).ID)
	r.aws.EBS.Log()

	// The same snapshot again, with its base gone: the same result.
	w.Remove(s2.ID)
	third := w.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 2, Started: time.Now(), Content: world.NewBlocks(second)})
	res = r.run()
	full := r.entries(res.Point)[0]
	if full.SHA256 != incremental.SHA256 || !slices.Equal(full.Extents, incremental.Extents) || full.ETag != third.ID {
		t.Errorf("in full\n%+v\nincremental\n%+v", full, incremental)
	}
	if len(r.remarks) != 1 || !strings.Contains(r.remarks[0], s2.ID+", is gone") || len(r.reads()) != len(second) {
		t.Errorf("remarks: %q", r.remarks)
	}
	// A snapshot of another lineage cannot be compared.
	w.AddSnapshot(world.Snapshot{VolumeID: v.ID, Lineage: "another", SizeGiB: 2, Started: time.Now().Add(time.Second), Content: world.NewBlocks(second)})
	r.run()
	if len(r.remarks) != 1 || !strings.Contains(r.remarks[0], "another lineage") {
		t.Errorf("remarks: %q", r.remarks)
	}
}

func (r *rig) backAsFile(point format.Hash, key string, want map[int64][]byte) {
	t := r.t
	t.Helper()
	dir := t.TempDir()
	to, err := todir.New(todir.Options{Root: dir})
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.restoreTo(point, to)
	if err != nil || res.Failed > 0 || res.Entries != 1 {
		t.Fatalf("%+v %v", res, err)
	}
	f, err := os.Open(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	same(t, f.ReadAt, st.Size(), want)
	held := int64(len(dataOf(want))) * blockSize
	if used := st.Sys().(*syscall.Stat_t).Blocks * 512; used > held+held/50+1<<20 {
		t.Errorf("the file takes %d bytes for %d of data: holes did not stay holes", used, held)
	}
}

func (r *rig) writer() *ebsdirect.Client {
	r.t.Helper()
	c, err := ebsdirect.New(ebsdirect.Options{
		Region: region, Endpoint: r.aws.URL, Credentials: credentials, Write: true, AnswerTimeout: 20 * time.Second, MaxBackoff: 200 * time.Millisecond,
		Lists: 1000, BlocksPerAccount: 5000, BlocksPerSnapshot: 5000,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) backAsSnapshot(t *testing.T, point format.Hash, want map[int64][]byte) *world.Snapshot {
	t.Helper()
	made := ""
	to, err := tosnapshot.New(tosnapshot.Options{Client: r.writer(), Where: "ebs://" + region, Journal: t.TempDir(), Made: func(_, id string) { made = id }})
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.restoreTo(point, to)
	if err != nil || res.Failed > 0 || res.Entries != 1 {
		t.Fatalf("%+v %v", res, err)
	}
	s := r.aws.World.Snapshot(made)
	if s == nil || s.State != "completed" {
		t.Fatalf("snapshot %s: %+v", made, s)
	}
	buf, found := make([]byte, blockSize), 0
	for n, ok := s.Content.Next(0); ok; n, ok = s.Content.Next(n + 1) {
		found++
		if s.Content.Read(n, buf); !bytes.Equal(buf, want[n]) {
			t.Errorf("block %d differs", n)
		}
	}
	if data := len(dataOf(want)); found != data {
		t.Errorf("%d blocks instead of %d", found, data)
	}
	return s
}
