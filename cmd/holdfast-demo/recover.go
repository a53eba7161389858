package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// restore rebuilds both points in new buckets on a new server, from a machine that never saw any of this.
func (d *demo) restore(ctx context.Context) error {
	d.story.act("The restore: a new machine, a new server, one restore key from the safe, the vault-reader key")
	fresh, err := startServer(ctx, "rebuilt", filepath.Join(d.dir, "rebuilt"))
	if err != nil {
		return err
	}
	defer fresh.stop()
	d.story.say("rebuilt   %s  empty", fresh.url)
	m, err := d.newMachine("new-machine")
	if err != nil {
		return err
	}
	m.knows("VAULT", d.restorer)
	m.knows("NEW", fresh.root)
	vault := []string{"--vault", d.vaultURL(), "--credentials", "env:VAULT"}
	if err := d.verify(ctx, m, vault); err != nil {
		return err
	}
	admin := fresh.client(fresh.root)
	for i, p := range []struct{ point, bucket, key string }{
		{d.points[0].id, liveBucket + "-day-1", "restore-1.key"},
		{sourceName + "@latest", liveBucket, "restore-2.key"},
	} {
		if _, err := admin.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &p.bucket}); err != nil {
			return fmt.Errorf("make bucket %s: %w", p.bucket, err)
		}
		began := time.Now()
		args := append([]string{"restore", p.point}, vault...)
		args = append(args, "--identity", "../safe/"+p.key, "--to", "s3://"+p.bucket+"?endpoint="+fresh.url, "--to-credentials", "env:NEW")
		if _, err := m.holdfast(ctx, []int{0, 4}, args...); err != nil {
			return err
		}
		d.restored[i].where, d.restored[i].took = p.bucket, time.Since(began)
		if d.corrupt && i == 1 {
			if err := d.flipBit(); err != nil {
				return err
			}
		}
		got, err := record(ctx, admin, p.bucket)
		if err != nil {
			return err
		}
		d.restored[i].differences = compare(d.points[i].bucket, got)
		d.story.say("Compared, byte for byte and value for value, with what was recorded before the attack:\n  %s, %s: %s.",
			bytesOf(got.bytes()), got.summary(), plural(len(d.restored[i].differences), "difference"))
	}
	return d.restoreMachines(ctx, m, vault)
}

// verify shows that the junk was noticed, and is no more than that.
func (d *demo) verify(ctx context.Context, m *machine, vault []string) error {
	args := append([]string{"verify", "--level", "bytes"}, vault...)
	m.command(args)
	const tampered = 4
	r, err := m.quiet(ctx, []int{tampered}, args...)
	if err != nil {
		return err
	}
	m.showEnds(r.out)
	m.story.say("  exit code %d: tampering on top, every byte below it intact", r.code)
	return nil
}

// flipBit is what -corrupt does to a restored file, behind the server's back.
func (d *demo) flipBit() error {
	name := filepath.Join(d.dir, "rebuilt", "data", liveBucket, filepath.FromSlash(d.live[len(d.live)/2].key))
	body, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := len(body) / 2
	if _, err := f.WriteAt([]byte{body[at] ^ 1}, int64(at)); err != nil {
		return err
	}
	d.story.say("-corrupt: one bit of %s is flipped.", d.live[len(d.live)/2].key)
	return f.Close()
}
