package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

const (
	throttledTo     = 300 // blocks a second
	throttledBlocks = 6000
)

// throttled reads a disk from a server that allows so many blocks a second, and refuses what is more: of the account, then of
// the snapshot. Before that without a limit, so that one sees what the machine can do.
func (d *diskWorld) throttled(ctx context.Context) error {
	srv, err := startAWS(d.world, aws.New())
	if err != nil {
		return err
	}
	v := srv.World.AddVolume(aws.Volume{SizeGiB: diskGiB})
	one := bytes.Repeat([]byte("the same block again and again: what is measured is the asking. "), aws.BlockSize/64)
	blocks := map[int64][]byte{}
	for n := range int64(throttledBlocks) {
		blocks[n] = one
	}
	s := srv.World.AddSnapshot(aws.Snapshot{VolumeID: v.ID, SizeGiB: diskGiB, Started: time.Now().Add(-time.Hour), Content: aws.NewBlocks(blocks)})
	limit := func(account, snapshot float64) {
		srv.EBS.Set(func(o *ebs.Options) {
			o.Latency, o.GetPerAccount, o.GetPerSnapshot = 5*time.Millisecond, account, snapshot
		})
	}
	limit(0, 0)
	if err := d.paced(ctx, srv, s, "no limit", 0); err != nil {
		return err
	}
	limit(throttledTo, 0)
	if err := d.paced(ctx, srv, s, "300 a second for the account", throttledTo); err != nil {
		return err
	}
	limit(0, throttledTo)
	return d.paced(ctx, srv, s, "300 a second for a snapshot", throttledTo)
}

// paced stores a snapshot and says how fast its blocks came.
func (d *diskWorld) paced(ctx context.Context, srv *awstest.Server, s *aws.Snapshot, what string, limit float64) error {
	vault := dirAt(d.path("vault"))
	j, err := newJob(ctx, d.world, place{"ebs://eu-west-1?endpoint=" + srv.URL, awsKey}, vault, vault)
	if err != nil {
		return err
	}
	srv.EBS.Log()
	refused := srv.EBS.Refused()
	m, err := j.run(ctx, what)
	if err != nil {
		return err
	}
	refused = srv.EBS.Refused() - refused
	var served []time.Time
	for _, q := range srv.EBS.Log() {
		if q.Op == "GetSnapshotBlock" && q.Status == 200 {
			served = append(served, q.At)
		}
	}
	d.bar(len(served) == throttledBlocks && m.BytesRead == throttledBlocks*aws.BlockSize, "%d blocks were served of %d, and %d requests refused", len(served), throttledBlocks, refused)
	if len(served) < 2 {
		return nil
	}
	rate := float64(len(served)-1) / served[len(served)-1].Sub(served[0]).Seconds()
	if limit == 0 {
		fmt.Printf("%-32s %.0f blocks a second; the client asks for at most 1,000\n", "", rate)
		return nil
	}
	d.bar(rate >= 0.9*limit, "%.0f blocks a second from the first to the last where %.0f are allowed (%.1f %% below), bar 10 %%; %.0f over the whole run",
		rate, limit, 100*(1-rate/limit), throttledBlocks/m.wall.Seconds())
	return d.backWhole(ctx, j, m.Point, s)
}

// backWhole restores a disk and holds it against its snapshot.
func (d *diskWorld) backWhole(ctx context.Context, j *job, point string, s *aws.Snapshot) error {
	to, want := d.path("back"), d.path("want")
	if _, err := j.restore(ctx, "restore", point, dirAt(to)); err != nil {
		return err
	}
	if err := s.WriteRaw(want); err != nil {
		return err
	}
	_, _, err := execute(ctx, d.dir, environment(), "cmp", want, filepath.Join(to, s.VolumeID))
	d.bar(err == nil, "no block is lost: cmp finds the restored disk identical %v", errText(err))
	return errors.Join(os.RemoveAll(to), os.Remove(want))
}
