package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/holdfast-backup/holdfast/replicator/awstest/ebs"
	aws "github.com/holdfast-backup/holdfast/replicator/awstest/world"
)

// secondClient has the AWS CLI (Debian's package awscli) use the in-test server: what it reads and writes must be what is
// there, so that the server is not merely what our own client takes it for.
func (d *diskWorld) secondClient(ctx context.Context) error {
	if _, err := exec.LookPath("aws"); err != nil {
		d.bar(false, "the AWS CLI is not installed (apt-get install awscli)")
		return nil
	}
	c := &cli{d, append(environment(), "AWS_ACCESS_KEY_ID="+awsKey.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+awsKey.SecretAccessKey, "AWS_EC2_METADATA_DISABLED=true", "HOME="+d.dir)}
	base := d.snapshot(d.raw, -48*3600e9)
	later := d.snapshot(&aws.Overlay{Base: d.raw, Change: map[int64][]byte{0: bytes.Repeat([]byte{7}, aws.BlockSize), 5: nil}}, -47*3600e9)

	var list struct {
		Blocks []struct {
			BlockIndex int64
			BlockToken string
		}
		VolumeSize, BlockSize int64
	}
	if err := c.ask(ctx, &list, "ebs", "list-snapshot-blocks", "--snapshot-id", base.ID); err != nil {
		return err
	}
	n, ok := d.raw.Next(0)
	agree := list.VolumeSize == diskGiB && list.BlockSize == aws.BlockSize
	for _, b := range list.Blocks {
		agree = agree && ok && b.BlockIndex == n
		n, ok = d.raw.Next(n + 1)
	}
	d.bar(agree && !ok, "aws ebs list-snapshot-blocks lists the %d blocks that are there", len(list.Blocks))

	var changed struct {
		ChangedBlocks []struct {
			BlockIndex                        int64
			FirstBlockToken, SecondBlockToken string
		}
	}
	if err := c.ask(ctx, &changed, "ebs", "list-changed-blocks", "--first-snapshot-id", base.ID, "--second-snapshot-id", later.ID); err != nil {
		return err
	}
	ch := changed.ChangedBlocks
	d.bar(len(ch) == 2 && ch[0].BlockIndex == 0 && ch[0].SecondBlockToken != "" && ch[1].BlockIndex == 5 && ch[1].SecondBlockToken == "",
		"aws ebs list-changed-blocks finds the block that changed and the one that is gone: %d", len(ch))
	if len(list.Blocks) == 0 {
		return nil
	}
	return c.blocks(ctx, base.ID, list.Blocks[0].BlockIndex, list.Blocks[0].BlockToken)
}

type cli struct {
	*diskWorld
	env []string
}

func (c *cli) ask(ctx context.Context, v any, args ...string) error {
	args = append(args, "--endpoint-url", c.srv.URL, "--region", "eu-west-1", "--output", "json")
	out, _, err := execute(ctx, c.dir, c.env, "aws", args...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, v)
}

// blocks reads a block, and writes it into a new snapshot.
func (c *cli) blocks(ctx context.Context, id string, n int64, token string) error {
	file := filepath.Join(c.dir, "block")
	var got struct {
		DataLength int64
		Checksum   string
	}
	if err := c.ask(ctx, &got, "ebs", "get-snapshot-block", "--snapshot-id", id, "--block-index", strconv.FormatInt(n, 10), "--block-token", token, file); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	want := make([]byte, aws.BlockSize)
	c.raw.Read(n, want)
	sum := sha256.Sum256(b)
	text := base64.StdEncoding.EncodeToString(sum[:])
	c.bar(bytes.Equal(b, want) && got.DataLength == aws.BlockSize && got.Checksum == text, "aws ebs get-snapshot-block gives block %d", n)

	var started struct{ SnapshotId, Status string }
	if err := c.ask(ctx, &started, "ebs", "start-snapshot", "--volume-size", "1", "--client-token", "bars"); err != nil {
		return err
	}
	var put struct{ Checksum string }
	if err := c.ask(ctx, &put, "ebs", "put-snapshot-block", "--snapshot-id", started.SnapshotId, "--block-index", "3", "--block-data", file,
		"--data-length", strconv.Itoa(aws.BlockSize), "--checksum", text, "--checksum-algorithm", "SHA256"); err != nil {
		return err
	}
	var done struct{ Status string }
	if err := c.ask(ctx, &done, "ebs", "complete-snapshot", "--snapshot-id", started.SnapshotId, "--changed-blocks-count", "1",
		"--checksum", ebs.Linear(map[int64][32]byte{3: sum}), "--checksum-algorithm", "SHA256", "--checksum-aggregation-method", "LINEAR"); err != nil {
		return err
	}
	s := c.srv.World.Snapshot(started.SnapshotId)
	held := make([]byte, aws.BlockSize)
	s.Content.Read(3, held)
	c.bar(s.State == "completed" && bytes.Equal(held, want), "aws ebs start-snapshot, put-snapshot-block and complete-snapshot make %s, which is %s", s.ID, s.State)
	var described struct {
		Snapshots []struct{ SnapshotId, State, StorageTier string }
	}
	if err := c.ask(ctx, &described, "ec2", "describe-snapshots", "--snapshot-ids", s.ID); err != nil {
		return err
	}
	c.bar(len(described.Snapshots) == 1 && described.Snapshots[0].State == "completed", "aws ec2 describe-snapshots: %s", fmt.Sprint(described.Snapshots))
	return nil
}
