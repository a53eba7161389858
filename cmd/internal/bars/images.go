package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/replicator/awstest"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	"github.com/holdfast-backup/holdfast/replicator/awstest/ec2"
	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"
	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// awsKey is what the in-test AWS lets in.
var awsKey = store.Credentials{AccessKeyID: "AKIDBARS", SecretAccessKey: "secret"}

const diskGiB = 3

// diskWorld is a disk with a real file system, and an AWS that has a snapshot of it.
type diskWorld struct {
	*world
	srv  *awstest.Server
	tree string // what is on the disk, as files
	img  string // the disk as a file
	raw  *aws.File
	vol  *aws.Volume
}

// images measures disk images from end to end.
func images(ctx context.Context, w *world) error {
	if err := diskTools(); err != nil {
		return err
	}
	d, err := newDisk(ctx, w)
	if err != nil {
		return err
	}
	j, err := d.job(ctx)
	if err != nil {
		return err
	}
	first, err := j.run(ctx, "disk of 3 GiB, first run")
	if err != nil {
		return err
	}
	if err := d.stored(ctx, first); err != nil {
		return err
	}
	if err := d.backAsFile(ctx, j, first.Point); err != nil {
		return err
	}
	if err := d.backAsSnapshot(ctx, j, first.Point); err != nil {
		return err
	}
	if err := d.backAsDevice(ctx, j, first.Point); err != nil {
		return err
	}
	if err := d.backByHand(ctx, j, first.Point); err != nil {
		return err
	}
	if err := d.incremental(ctx, j); err != nil {
		return err
	}
	return d.throttled(ctx)
}

func newDisk(ctx context.Context, w *world) (*diskWorld, error) {
	d := &diskWorld{world: w, img: w.path("disk"), tree: w.path("tree")}
	if err := filledDisk(ctx, w, d.tree, d.img, diskGiB); err != nil {
		return nil, err
	}
	var err error
	if d.raw, err = aws.OpenFile(d.img); err != nil {
		return nil, err
	}
	w.extra = append(w.extra, d.raw.Close)
	if d.srv, err = startAWS(w, aws.New()); err != nil {
		return nil, err
	}
	d.vol = d.srv.World.AddVolume(aws.Volume{SizeGiB: diskGiB})
	d.snapshot(d.raw, -24*time.Hour)
	return d, nil
}

func startAWS(w *world, in *aws.World) (*awstest.Server, error) {
	s, err := awstest.Start(in, ebs.Options{AccessKey: awsKey.AccessKeyID}, ec2.Options{AccessKey: awsKey.AccessKeyID})
	if err == nil {
		w.extra = append(w.extra, s.Close)
	}
	return s, err
}

func (d *diskWorld) snapshot(c aws.Content, at time.Duration) *aws.Snapshot {
	return d.srv.World.AddSnapshot(aws.Snapshot{VolumeID: d.vol.ID, SizeGiB: diskGiB, Started: time.Now().Add(at), Content: c, Tags: map[string]string{"backup": "yes"}})
}

// job is one with the disk as source and a directory as vault.
func (d *diskWorld) job(ctx context.Context) (*job, error) {
	vault := dirAt(d.path("vault"))
	return newJob(ctx, d.world, place{"ebs://eu-west-1?tag=backup:yes&endpoint=" + d.srv.URL, awsKey}, vault, vault)
}

// stored holds what is stored against what zstd makes of the same blocks.
func (d *diskWorld) stored(ctx context.Context, m made) error {
	cmd := exec.CommandContext(ctx, "zstd", "-3", "-c", "-q")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	count := &counter{}
	cmd.Stdout = count
	if err := cmd.Start(); err != nil {
		return err
	}
	buf, blocks := make([]byte, aws.BlockSize), int64(0)
	for n, ok := d.raw.Next(0); ok && err == nil; n, ok = d.raw.Next(n + 1) {
		d.raw.Read(n, buf)
		blocks++
		_, err = in.Write(buf)
	}
	if err := errors.Join(err, in.Close(), cmd.Wait()); err != nil {
		return err
	}
	d.bar(float64(m.BytesStored) <= 1.10*float64(count.n), "stored %d B of %d blocks; zstd -3 makes %d B of them (%.3f times)", m.BytesStored, blocks, count.n, float64(m.BytesStored)/float64(count.n))
	d.bar(m.BytesRead == blocks*aws.BlockSize, "read %d B of %d", m.BytesRead, blocks*aws.BlockSize)
	d.inMemory(m.cost)
	return nil
}

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}

// backAsFile restores the image to a file.
func (d *diskWorld) backAsFile(ctx context.Context, j *job, point string) error {
	to := d.path("back")
	c, err := j.restore(ctx, "restore to a raw file", point, dirAt(to))
	if err != nil {
		return err
	}
	d.inMemory(c)
	return errors.Join(sameDisk(ctx, d.world, "raw file", d.img, d.tree, filepath.Join(to, d.vol.ID)), os.RemoveAll(to))
}

// backByHand gets the image back without Holdfast.
func (d *diskWorld) backByHand(ctx context.Context, j *job, point string) error {
	age, err := servers.Binary(ctx, "age")
	if err != nil {
		return err
	}
	out := d.path("byhand")
	_, _, err = execute(ctx, "", append(environment(), "AGE="+age), "sh", "docs/restore-by-hand.sh", strings.TrimPrefix(j.vault.url, "file://"), j.identity, point, d.vol.ID, out)
	if err == nil {
		_, _, err = execute(ctx, d.dir, os.Environ(), "cmp", d.img, out)
	}
	d.bar(err == nil, "restore-by-hand.sh gets the image back, identical %v", errText(err))
	return os.RemoveAll(out)
}

// backAsSnapshot restores the image to a new snapshot.
func (d *diskWorld) backAsSnapshot(ctx context.Context, j *job, point string) error {
	before := map[string]bool{}
	for _, s := range d.srv.World.Snapshots() {
		before[s.ID] = true
	}
	c, err := j.restore(ctx, "restore to a new snapshot", point, place{"ebs://eu-west-1?tag=restored:yes&endpoint=" + d.srv.URL, awsKey})
	if err != nil {
		return err
	}
	d.inMemory(c)
	all := slices.DeleteFunc(d.srv.World.Snapshots(), func(s *aws.Snapshot) bool { return before[s.ID] })
	if len(all) != 1 {
		return fmt.Errorf("%d snapshots were made instead of one", len(all))
	}
	s := all[0]
	d.bar(s.State == "completed" && s.SizeGiB == diskGiB, "new snapshot %s is %s, of %d GiB", s.ID, s.State, s.SizeGiB)
	file := d.path("snapshot")
	if err := s.WriteRaw(file); err != nil {
		return err
	}
	d.srv.World.Remove(s.ID)
	return errors.Join(sameDisk(ctx, d.world, "new snapshot", d.img, d.tree, file), os.Remove(file))
}

// backAsDevice reads the image through NBD.
func (d *diskWorld) backAsDevice(ctx context.Context, j *job, point string) error {
	srv, uri, err := j.serve(ctx, point, d.vol.ID)
	if err != nil {
		return err
	}
	file := d.path("nbdcopy")
	_, c, err := execute(ctx, d.dir, environment(), "nbdcopy", uri, file)
	if err == nil {
		fmt.Printf("%-32s %s\n", "nbdcopy of serve nbd", c)
		err = sameDisk(ctx, d.world, "NBD", d.img, d.tree, file)
	}
	return errors.Join(err, d.endServe(srv), os.RemoveAll(file))
}

// incremental changes one block in a hundred and takes some away.
func (d *diskWorld) incremental(ctx context.Context, j *job) error {
	change, changed := map[int64][]byte{}, map[int64]bool{}
	rnd := rand.New(rand.NewPCG(1, 2))
	i := 0
	for n, ok := d.raw.Next(0); ok; n, ok = d.raw.Next(n + 1) {
		switch i++; {
		case i%100 == 0:
			b := make([]byte, aws.BlockSize)
			d.raw.Read(n, b)
			for k := range 4096 {
				b[k*100] = byte(rnd.Uint32())
			}
			change[n], changed[n] = b, true
		case i%250 == 7:
			change[n] = nil
		}
	}
	last := d.snapshot(&aws.Overlay{Base: d.raw, Change: change}, -time.Hour)
	d.srv.EBS.Log()
	m, err := j.run(ctx, "one block in a hundred changed")
	if err != nil {
		return err
	}
	read := map[int64]bool{}
	for _, q := range d.srv.EBS.Log() {
		if q.Op == "GetSnapshotBlock" {
			read[q.Block] = true
		}
	}
	d.bar(maps.Equal(read, changed), "%d blocks were read, %d had changed, %d were gone", len(read), len(changed), len(change)-len(changed))
	other, err := d.job(ctx)
	if err != nil {
		return err
	}
	full, err := other.run(ctx, "the same snapshot in full")
	if err != nil {
		return err
	}
	a, err := j.images(ctx, m.Point)
	if err != nil {
		return err
	}
	b, err := other.images(ctx, full.Point)
	if err != nil {
		return err
	}
	d.bar(len(a) == 1 && maps.Equal(a, b), "both points have the image with the sum %.16s", slices.Collect(maps.Values(a)))
	if err := d.backAsBoth(ctx, j, m.Point, other, full.Point); err != nil {
		return err
	}
	d.srv.World.Remove(last.ID)
	d.snapshot(&aws.Overlay{Base: d.raw, Change: change}, 0)
	var diag bytes.Buffer
	cmd := exec.CommandContext(ctx, d.holdfast, "run")
	cmd.Dir, cmd.Env, cmd.Stderr = j.dir, j.env, &diag
	err = cmd.Run()
	d.bar(err == nil && strings.Contains(diag.String(), "read in full: the snapshot of the last point, "+last.ID+", is gone"), "with its base gone it is read in full, and that is said %v", errText(err))
	return nil
}

// backAsBoth restores the incremental and the full point and compares them.
func (d *diskWorld) backAsBoth(ctx context.Context, j *job, point string, other *job, full string) error {
	one, two := d.path("incremental"), d.path("full")
	if _, err := j.restore(ctx, "restore of the incremental point", point, dirAt(one)); err != nil {
		return err
	}
	if _, err := other.restore(ctx, "restore of the full one", full, dirAt(two)); err != nil {
		return err
	}
	_, _, err := execute(ctx, d.dir, os.Environ(), "cmp", filepath.Join(one, d.vol.ID), filepath.Join(two, d.vol.ID))
	d.bar(err == nil, "the incremental point and the full one are identical bit for bit %v", errText(err))
	return errors.Join(os.RemoveAll(one), os.RemoveAll(two))
}

// images gives the sums of a point's images by key.
func (j *job) images(ctx context.Context, point string) (map[string]string, error) {
	out, _, err := execute(ctx, j.dir, j.env, j.w.holdfast, "ls", point, "--long", "--json", "--identity", j.identity)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var e struct{ Key, SHA256 string }
		err := dec.Decode(&e)
		if errors.Is(err, io.EOF) {
			return sums, nil
		}
		if err != nil {
			return nil, err
		}
		sums[e.Key] = e.SHA256
	}
}
