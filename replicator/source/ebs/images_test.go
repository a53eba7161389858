package ebssource_test

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	"github.com/holdfast-backup/holdfast/replicator/awstest/world"
	ebssource "github.com/holdfast-backup/holdfast/replicator/source/ebs"
	"github.com/holdfast-backup/holdfast/replicator/source/sourcetest"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/fixed"
)

func TestImages(t *testing.T) {
	sourcetest.RunImages(t, func(t *testing.T) *sourcetest.Disk {
		w := world.New()
		srv, err := awstest.Start(w, ebs.Options{}, ec2.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := srv.Close(); err != nil {
				t.Error(err)
			}
		})
		v := w.AddVolume(world.Volume{SizeGiB: 1})
		var ids []string
		src, err := ebssource.New(ebssource.Options{
			Region: "eu-west-1", Endpoint: srv.URL, Credentials: fixed.Credentials(store.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}),
		})
		if err != nil {
			t.Fatal(err)
		}
		return &sourcetest.Disk{
			Source: src, Size: 1 << 30,
			Take: func(_ *testing.T, blocks map[int64][]byte) {
				ids = append(ids, w.AddSnapshot(world.Snapshot{
					VolumeID: v.ID, SizeGiB: 1, Started: time.Now().Add(time.Duration(len(ids)-10) * time.Minute), Content: world.NewBlocks(blocks),
				}).ID)
			},
			Lose: func(*testing.T) {
				i := len(ids) - 2
				w.Remove(ids[i])
				ids = slices.Delete(ids, i, i+1)
			},
		}
	})
}
