package imagestest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/replicator/restore/todir"
	"github.com/holdfast-backup/holdfast/replicator/restore/tosnapshot"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// One block of a snapshot is spoiled for good: the rest comes back, as a file and as a snapshot, and run and restore name the
// bytes that do not. When AWS has mended it the next run reads it and nothing else.
func TestOneBadBlock(t *testing.T) {
	for _, kind := range []ebs.Kind{ebs.Corrupt, ebs.Truncate, ebs.Internal, ebs.BadBlock} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			r := newRig(t, ebs.Options{})
			r.o.Blocks.MaxBackoff = time.Millisecond
			blocks := disk(1, 30, 5)
			v := r.aws.World.AddVolume(world.Volume{SizeGiB: 1})
			snap := r.aws.World.AddSnapshot(world.Snapshot{VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(-time.Hour), Content: world.NewBlocks(blocks)})
			bad := slices.Sorted(maps.Keys(dataOf(blocks)))[7]
			r.aws.EBS.Break("GetSnapshotBlock", snap.ID, bad, kind)
			res := r.run()
			where := fmt.Sprintf("bytes %d to %d could not be read: ", bad*blockSize, (bad+1)*blockSize-1)
			if res.Status != format.StatusIncomplete || res.Missing != 1 || !strings.HasPrefix(r.missing[v.ID], where) {
				t.Errorf("%s, %d missing: %q instead of %q", res.Status, res.Missing, r.missing, where)
			}
			rest := maps.Clone(blocks)
			delete(rest, bad)
			r.holds(res.Point, v.ID, rest)

			dir, made := t.TempDir(), ""
			file, err := todir.New(todir.Options{Root: dir})
			if err != nil {
				t.Fatal(err)
			}
			snapshot, err := tosnapshot.New(tosnapshot.Options{Client: r.writer(), Where: "there", Made: func(_, id string) { made = id }})
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range []restore.Target{file, snapshot} {
				back, err := r.restoreTo(res.Point, to)
				if err != nil || back.Missing != 1 || back.Failed != 0 || back.Entries != 0 || len(back.Failures) != 1 {
					t.Fatalf("%+v %v", back, err)
				}
				if f := back.Failures[0]; !errors.Is(f.Err, restore.ErrPartly) || !strings.Contains(f.Error(), where) || !strings.Contains(f.Error(), v.ID) {
					t.Errorf("%v", f)
				}
			}
			f, err := os.Open(filepath.Join(dir, v.ID))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			same(t, f.ReadAt, 1<<30, rest)
			if err := holdsBlocks(r.aws.World.Snapshot(made), rest); err != nil {
				t.Error(err)
			}
			r.aws.World.Remove(made)

			r.aws.EBS.Break("GetSnapshotBlock", snap.ID, bad, ebs.None)
			r.aws.EBS.Log()
			res = r.run()
			if got := slices.Sorted(maps.Keys(r.reads())); res.Status != format.StatusComplete || !slices.Equal(got, []int64{bad}) {
				t.Errorf("%s: read %v, only %d was not known", res.Status, got, bad)
			}
			r.holds(res.Point, v.ID, blocks)
		})
	}
}
