package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// throttled reads a disk from a server that allows so many blocks a second, and refuses what is more.
func (d *diskWorld) throttled(ctx context.Context) error {
	const limit, count, latency = 300, 6000, 5 * time.Millisecond
	srv, err := d.startAWS(aws.New())
	if err != nil {
		return err
	}
	v := srv.World.AddVolume(aws.Volume{SizeGiB: diskGiB})
	one := bytes.Repeat([]byte("the same block again and again: what is measured is the asking. "), aws.BlockSize/64)
	blocks := map[int64][]byte{}
	for n := range int64(count) {
		blocks[n] = one
	}
	s := srv.World.AddSnapshot(aws.Snapshot{VolumeID: v.ID, SizeGiB: diskGiB, Started: time.Now().Add(-time.Hour), Content: aws.NewBlocks(blocks)})
	for _, of := range []struct {
		what string
		set  func(o *ebs.Options)
	}{
		{"the account", func(o *ebs.Options) { *o = ebs.Options{AccessKey: o.AccessKey, Latency: latency, GetPerAccount: limit} }},
		{"a snapshot", func(o *ebs.Options) {
			*o = ebs.Options{AccessKey: o.AccessKey, Latency: latency, GetPerSnapshot: limit}
		}},
	} {
		srv.EBS.Set(of.set)
		vault := dirAt(d.path("vault"))
		j, err := d.newJob(ctx, place{"ebs://eu-west-1?endpoint=" + srv.URL, awsKey}, vault, vault)
		if err != nil {
			return err
		}
		srv.EBS.Log()
		refusedBefore := srv.EBS.Refused()
		m, err := j.run(ctx, "300 a second for "+of.what)
		if err != nil {
			return err
		}
		served := 0
		var began, ended time.Time
		for _, q := range srv.EBS.Log() {
			if q.Op == "GetSnapshotBlock" && q.Status == 200 {
				if served++; served == 1 {
					began = q.At
				}
				ended = q.At
			}
		}
		rate := float64(served-1) / ended.Sub(began).Seconds()
		d.bar(served == count && m.BytesRead == count*aws.BlockSize, "%d blocks were served of %d, and %d requests refused", served, count, srv.EBS.Refused()-refusedBefore)
		d.bar(rate >= 0.9*limit, "%.0f blocks a second from the first to the last where %d are allowed (%.1f %% below), bar 10 %%; %.0f over the whole run", rate, limit, 100*(1-rate/limit), count/m.wall.Seconds())
		to := d.path("back")
		if _, err := j.restore(ctx, "restore", m.Point, dirAt(to)); err != nil {
			return err
		}
		want := d.path("want")
		if err := writeDisk(want, s); err != nil {
			return err
		}
		_, _, err = execute(ctx, d.dir, environment(), "cmp", want, filepath.Join(to, v.ID))
		d.bar(err == nil, "no block is lost: cmp finds the restored disk identical %v", errText(err))
		if err := os.RemoveAll(to); err != nil {
			return err
		}
		if err := os.Remove(want); err != nil {
			return err
		}
	}
	return nil
}
