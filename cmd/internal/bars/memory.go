package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store/storetest/servers"
)

// noiseReader gives size bytes that do not compress and repeat for the same seed, quickly and without holding them. With
// zeros set, every other stretch of so many bytes is zeros.
type noiseReader struct {
	r     *rand.ChaCha8
	at    int64
	left  int64
	zeros int64
}

func newNoise(seed byte, size, zeros int64) *noiseReader {
	return &noiseReader{r: rand.NewChaCha8([32]byte{seed}), left: size, zeros: zeros}
}

// Read implements io.Reader.
func (n *noiseReader) Read(p []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), n.left)]
	if n.zeros > 0 {
		p = p[:min(int64(len(p)), n.zeros-n.at%n.zeros)]
	}
	if n.zeros > 0 && n.at/n.zeros%2 == 1 {
		clear(p)
	} else {
		_, _ = n.r.Read(p) // never fails
	}
	n.at, n.left = n.at+int64(len(p)), n.left-int64(len(p))
	return len(p), nil
}

// fillNoise puts count objects of size bytes each.
func (b *bucket) fillNoise(ctx context.Context, count int, size, zeros int64) error {
	c := b.s.Admin()
	for i := range count {
		key := fmt.Sprintf("noise/%03d.bin", i)
		_, err := c.PutObject(ctx, b.name, key, newNoise(byte(i), size, zeros), size,
			minio.PutObjectOptions{PartSize: 16 << 20, NumThreads: 1, DisableContentSha256: true, ContentType: "application/octet-stream"})
		if err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
	}
	return nil
}

// large runs twice and restores to a directory and a bucket.
func large(ctx context.Context, w *world, count int, size, zeros int64) error {
	b, err := w.newBucket(ctx, servers.KindVersityGW)
	if err != nil {
		return err
	}
	if err := b.fillNoise(ctx, count, size, zeros); err != nil {
		return err
	}
	source, err := b.asSource(ctx)
	if err != nil {
		return err
	}
	vault, reader, err := w.lockedVault(ctx, servers.KindMinIO)
	if err != nil {
		return err
	}
	j, err := newJob(ctx, w, source, vault, reader)
	if err != nil {
		return err
	}
	was, err := b.state(ctx)
	if err != nil {
		return err
	}
	time.Sleep(2100 * time.Millisecond)
	first, err := j.run(ctx, "first run")
	if err != nil {
		return err
	}
	second, err := j.run(ctx, "second run, nothing changed")
	if err != nil {
		return err
	}
	w.bar(second.BytesRead == 0 && second.ObjectsStored < 10, "second run read %d bytes and stored %d objects", second.BytesRead, second.ObjectsStored)
	dir := w.path("restored")
	toDir, err := j.restore(ctx, "restore to a directory", first.Point, dirAt(dir))
	if err != nil {
		return err
	}
	is, err := folderState(dir, true)
	if err != nil {
		return err
	}
	w.same("in the directory", was, is, true)
	to, err := w.newBucket(ctx, servers.KindVersityGW)
	if err != nil {
		return err
	}
	toBucket, err := j.restore(ctx, "restore to a bucket", first.Point, to.asOwner())
	if err != nil {
		return err
	}
	if is, err = to.state(ctx); err != nil {
		return err
	}
	w.same("in the bucket", was, is, false)
	w.inMemory(first.cost, second.cost, toDir, toBucket)
	return nil
}

func memory(ctx context.Context, w *world) error { return large(ctx, w, 8, 128<<20, 0) }

// huge has stretches of zeros in it, which become holes.
func huge(ctx context.Context, w *world) error { return large(ctx, w, 1, 6<<30, 96<<20) }
