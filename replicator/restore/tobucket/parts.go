package tobucket

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"bytes"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// abortWithin bounds how long an abort may take, also after the restore was cancelled.
const abortWithin = 5 * time.Second

const (
	manyParts = 256      // of an object that has more ..
	largePart = 16 << 20 // .. the parts are this large: some servers can keep a few hundred of them, no more (docs/vendors.md)
)

// partSize gives the size of the parts of an object.
func (t *Target) partSize(size int64) (int64, error) {
	switch {
	case size > manyParts*minPart && size <= maxParts*largePart && 2*largePart <= t.job.Memory:
		return largePart, nil
	case size <= maxParts*minPart:
		return minPart, nil
	}
	const round = 1 << 20
	part := (size + maxParts - 1) / maxParts
	part = (part + round - 1) / round * round
	if part > t.job.Memory {
		return 0, fmt.Errorf("%w: an object of %d bytes needs parts of %d MiB, which do not fit into the memory limit; raise limits.memory, or restore it to a directory",
			restore.ErrRefused, size, part>>20)
	}
	return part, nil
}

// isParts reports whether an object of that size may have been uploaded in n parts, with whatever memory there was.
func (t *Target) isParts(n, size int64) bool {
	for _, part := range []int64{minPart, largePart} {
		if n == (size+part-1)/part {
			return true
		}
	}
	part, err := t.partSize(size)
	return err == nil && n == (size+part-1)/part
}

// upload is one object that goes in parts.
type upload struct {
	receiver
	id    *string
	parts []types.CompletedPart
}

// inParts uploads a large object, a few parts at a time as memory allows.
func (r receiver) inParts(ctx context.Context, e *format.Entry, c restore.Content, class types.StorageClass) error {
	size, err := r.t.partSize(e.Size)
	if err != nil {
		return err
	}
	out, err := r.t.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &r.t.o.Bucket, Key: &r.key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		ContentType: text(e.ContentType), ContentEncoding: text(e.ContentEncoding), ContentLanguage: text(e.ContentLanguage),
		ContentDisposition: text(e.ContentDisposition), CacheControl: text(e.CacheControl), WebsiteRedirectLocation: text(e.WebsiteRedirect),
		Metadata: metadata(e), Tagging: text(tagging(e.Tags)), StorageClass: class,
	}, expires(e.Expires))
	if err != nil {
		return r.t.explain("begin to upload", r.key, err)
	}
	u := &upload{receiver: r, id: out.UploadId, parts: make([]types.CompletedPart, (e.Size+size-1)/size)}
	err = u.send(ctx, c, size, e.Size)
	if err == nil {
		err = u.complete(ctx, e.Size)
	}
	if err != nil {
		return errors.Join(err, u.abort(ctx))
	}
	return nil
}

// send cuts the content into parts and uploads them.
func (u *upload) send(ctx context.Context, c restore.Content, size, total int64) error {
	g, gctx := errgroup.WithContext(ctx)
	err := u.cut(gctx, g, c, size, total)
	// Why a part failed says more than that the cutting then stopped.
	if werr := g.Wait(); werr != nil {
		return werr
	}
	return err
}

func (u *upload) cut(ctx context.Context, g *errgroup.Group, c restore.Content, size, total int64) error {
	var buf []byte
	number := 0
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			if buf != nil {
				u.t.parts.Release(size)
			}
			return err
		}
		for p.Len() > 0 {
			if buf == nil {
				if err := u.t.parts.Acquire(ctx, size); err != nil {
					return err
				}
				buf = make([]byte, 0, min(size, total-int64(number)*size))
			}
			buf, p = fill(buf, p)
			if len(buf) < cap(buf) {
				continue
			}
			part, n := buf, number
			buf, number = nil, number+1
			g.Go(func() error {
				defer u.t.parts.Release(size)
				return u.part(ctx, n, part)
			})
		}
	}
	return nil
}

// fill moves as much of p into buf as it has room for.
func fill(buf []byte, p restore.Piece) ([]byte, restore.Piece) {
	n := min(int64(cap(buf)-len(buf)), p.Len())
	if p.Hole > 0 {
		buf = buf[:len(buf)+int(n)] // fresh memory is zeros
		p.Hole -= n
		return buf, p
	}
	buf = append(buf, p.Data[:n]...)
	p.Data = p.Data[n:]
	return buf, p
}

// part uploads the n-th part, counted from 0.
func (u *upload) part(ctx context.Context, n int, b []byte) error {
	sum := sha256.Sum256(b)
	number, text := int32(n+1), base64.StdEncoding.EncodeToString(sum[:])
	out, err := u.t.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.t.o.Bucket, Key: &u.key, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(b),
		ContentLength: aws.Int64(int64(len(b))), ChecksumSHA256: &text,
	}, signed(sum))
	if err != nil {
		return u.t.explain(fmt.Sprintf("upload part %d of", number), u.key, err)
	}
	u.parts[n] = types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumSHA256: &text}
	return nil
}

// complete makes the object and asks for its size.
func (u *upload) complete(ctx context.Context, size int64) error {
	_, err := u.t.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.t.o.Bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	if err != nil {
		return u.t.explain("finish the upload of", u.key, err)
	}
	o, err := u.t.head(ctx, u.key)
	if err != nil {
		return err
	}
	if o == nil || o.size != size {
		return fmt.Errorf("put %q in %s: the server does not have all of it afterwards: %+v", u.key, u.t.name, o)
	}
	return nil
}

// abort gives up an upload, so that its parts are not kept and paid for.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
	defer cancel()
	_, err := u.t.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.t.o.Bucket, Key: &u.key, UploadId: u.id})
	if err != nil && code(err) != "NoSuchUpload" {
		return fmt.Errorf("give up the upload of %q in %s: %w; its parts stay until they are removed", u.key, u.t.name, err)
	}
	return nil
}
