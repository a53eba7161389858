package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
	"github.com/holdfast-backup/holdfast/store/storetest/synthetic"
)

// versions restores 20,000 versions of one key, and versionsInSmall 2,500. Only the latter also compares all of them once
// more, which takes MinIO, whose cost of a request grows with the versions, as long again.
func versions(ctx context.Context, w *world) error {
	return w.oneKey(ctx, 20_000, 20*time.Second, "never")
}

func versionsInSmall(ctx context.Context, w *world) error {
	return w.oneKey(ctx, 2_500, time.Second, "never", "changed")
}

// oneKey restores a bucket in which one key has n versions, delete markers among them, to versioned buckets: each restore
// is killed about half-way and run again, and the order must be that of the source to the last version.
func (w *world) oneKey(ctx context.Context, n int, look time.Duration, runs ...string) (err error) {
	source, err := synthetic.Start(synthetic.Options{
		Shape: synthetic.Flat(3),
		Describe: func(i int64, o *synthetic.Object) {
			o.Size = 20 + i
			o.Metadata = map[string]string{"of": o.Key}
		},
		Versions: func(i int64) int {
			if i == 1 {
				return n
			}
			return 2
		},
		Marker: func(i int64, v int) bool { return i == 1 && v%7 == 3 },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	at := source.Location()
	in, err := minio.New(strings.TrimPrefix(at.Endpoint, "http://"), &minio.Options{
		Creds: miniocreds.NewStaticV4(source.Credentials().AccessKeyID, source.Credentials().SecretAccessKey, ""), Region: synthetic.Region,
	})
	if err != nil {
		return err
	}
	was, err := versionsOf(ctx, in, at.Bucket, source.Key(1), false)
	if err != nil {
		return err
	}
	w.bar(len(was) == n, "the source has %d versions of one key, %d of them delete markers", len(was), count(was, marker))
	vault, reader, err := w.lockedVault(ctx, servers.KindVersityGW)
	if err != nil {
		return err
	}
	j, err := newJob(ctx, w, place{at.String(), source.Credentials()}, vault, reader)
	if err != nil {
		return err
	}
	file := filepath.Join(j.dir, "holdfast.yaml")
	config, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config = bytes.Replace(config, []byte("retention:"), []byte("    versions: all\nretention:"), 1)
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	made, err := j.run(ctx, "run")
	if err != nil {
		return err
	}
	costs := []cost{made.cost}
	for _, kind := range []servers.Kind{servers.KindVersityGW, servers.KindMinIO} {
		to, err := w.newBucket(ctx, kind)
		if err != nil {
			return err
		}
		if err := to.s.Admin().EnableVersioning(ctx, to.name); err != nil {
			return err
		}
		all, err := j.replay(ctx, made.Point, to, source.Key(1), was, look, runs)
		if err != nil {
			return err
		}
		costs = append(costs, all...)
	}
	w.inMemory(costs...)
	return nil
}

// replay restores to a bucket: first killed, then with each of these values of --overwrite.
func (j *job) replay(ctx context.Context, point string, to *bucket, key string, was []string, look time.Duration, runs []string) (costs []cost, err error) {
	kind := string(to.s.Kind)
	client := to.s.Admin()
	had, err := j.killHalfway(ctx, point, to, key, len(was)/2, look)
	if err != nil {
		return nil, err
	}
	for _, again := range runs {
		label := fmt.Sprintf("to %s, --overwrite %s", kind, again)
		r, err := j.restoreAs(ctx, label, point, to.asOwner(), "--overwrite", again)
		if err != nil {
			return nil, err
		}
		costs = append(costs, r.cost)
		j.w.bar(again == "never" || r.Entries == 0, "%s: %d put, %d there already", label, r.Entries, r.Skipped)
		is, err := versionsOf(ctx, client, to.name, key, to.s.Kind == servers.KindVersityGW)
		if err != nil {
			return nil, err
		}
		j.w.bar(slices.Equal(is, was), "%s: %d versions after %d before it was killed, in the order of the source (%s)", label, len(is), had, firstDifference(is, was))
		current, err := client.StatObject(ctx, to.name, key, minio.StatObjectOptions{})
		if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchKey {
			return nil, err
		}
		want := was[0]
		j.w.bar(err == nil && current.ETag == want || err != nil && want == marker, "%s: the current version is the source's", label)
	}
	return costs, nil
}

// killHalfway starts a restore and kills it when the bucket has so many versions.
func (j *job) killHalfway(ctx context.Context, point string, to *bucket, key string, half int, look time.Duration) (had int, err error) {
	args, env := j.restoreLine(point, to.asOwner())
	cmd := exec.CommandContext(ctx, j.w.holdfast, args...)
	cmd.Dir, cmd.Env = filepath.Join(j.dir, "nowhere"), env
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return 0, fmt.Errorf("the restore ended before it was killed: %w", errors.Join(err, errors.New("make the bar larger")))
		case <-time.After(look):
		}
		is, err := versionsOf(ctx, to.s.Admin(), to.name, key, false)
		if err == nil && len(is) < half {
			continue
		}
		kill := cmd.Process.Kill()
		<-ended // killed
		return len(is), errors.Join(err, kill)
	}
}

const marker = "delete marker"

// versionsOf lists a key's versions by their ETags, the newest first. Where a server lists delete markers apart, its version
// IDs say the order.
func versionsOf(ctx context.Context, c *minio.Client, bucket, key string, byID bool) ([]string, error) {
	type version struct{ id, etag string }
	var all []version
	seen := map[string]bool{} // some repeat entries where pages meet
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: key, WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list the versions of %s: %w", key, o.Err)
		}
		if o.Key != key || seen[o.VersionID] {
			continue
		}
		seen[o.VersionID] = true
		v := version{o.VersionID, strings.Trim(o.ETag, `"`)}
		if o.IsDeleteMarker {
			v.etag = marker
		}
		all = append(all, v)
	}
	if byID {
		slices.SortFunc(all, func(a, b version) int { return strings.Compare(b.id, a.id) })
	}
	out := make([]string, len(all))
	for i, v := range all {
		out[i] = v.etag
	}
	return out, nil
}

func count(all []string, what string) (n int) {
	for _, x := range all {
		if x == what {
			n++
		}
	}
	return n
}

// firstDifference says where two lists part.
func firstDifference(is, was []string) string {
	for i := range min(len(is), len(was)) {
		if is[i] != was[i] {
			return fmt.Sprintf("differs from the newest on after %d", i)
		}
	}
	if len(is) != len(was) {
		return fmt.Sprintf("%d instead of %d", len(is), len(was))
	}
	return "all of them"
}
