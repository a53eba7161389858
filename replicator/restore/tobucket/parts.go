package tobucket

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // of which servers make ETags
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
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

// partSizes gives the sizes of parts in which an object of that size is n parts: those that a restore with whatever memory
// takes, and those of other programs.
func (t *Target) partSizes(n, size int64) []int64 {
	var out []int64
	ours, _ := t.partSize(size) // 0 where it is refused
	for _, part := range []int64{ours, minPart, largePart, 5 << 20, 32 << 20, 64 << 20, 100 << 20} {
		if part > 0 && n == (size+part-1)/part && !slices.Contains(out, part) {
			out = append(out, part)
		}
	}
	return out
}

// upload is one object that goes in parts.
type upload struct {
	*receiver
	id    *string
	parts []types.CompletedPart
}

// inParts uploads a large object, a few parts at a time as memory allows.
func (r *receiver) inParts(ctx context.Context, e *format.Entry, c restore.Content, class types.StorageClass) (sent, error) {
	size, err := r.t.partSize(e.Size)
	if err != nil {
		return sent{}, err
	}
	out, err := r.t.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &r.t.o.Bucket, Key: &r.key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		ContentType: text(e.ContentType), ContentEncoding: text(e.ContentEncoding), ContentLanguage: text(e.ContentLanguage),
		ContentDisposition: text(e.ContentDisposition), CacheControl: text(e.CacheControl), WebsiteRedirectLocation: text(e.WebsiteRedirect),
		Metadata: metadata(e), Tagging: text(tagging(e.Tags)), StorageClass: class,
	}, expires(e.Expires))
	if err != nil {
		return sent{}, r.t.explain("begin to upload", r.key, err)
	}
	u := &upload{receiver: r, id: out.UploadId, parts: make([]types.CompletedPart, (e.Size+size-1)/size)}
	err = u.send(ctx, c, size, e.Size)
	if err == nil {
		var s sent
		if s, err = u.complete(ctx, e.Size); err == nil {
			return s, nil
		}
	}
	return sent{}, errors.Join(err, u.abort(ctx))
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
	if got := aws.ToString(out.ChecksumSHA256); got != "" && got != text {
		return fmt.Errorf("upload part %d of %q in %s: %w: its SHA-256 there is %s, not %s", number, u.key, u.t.name, restore.ErrNotKept, got, text)
	}
	u.parts[n] = types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumSHA256: &text}
	return nil
}

// complete makes the object. Where the answer was lost, and the server knows the upload no longer, the object tells.
func (u *upload) complete(ctx context.Context, size int64) (sent, error) {
	s := sent{parts: u.sum(), md5: u.etag}
	out, err := u.t.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &u.t.o.Bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	if err == nil {
		s.etag, s.version = strings.Trim(aws.ToString(out.ETag), `"`), aws.ToString(out.VersionId)
		return s, nil
	}
	if awsclient.AnswerOf(err).Code == "NoSuchUpload" && ctx.Err() == nil {
		if o, herr := u.t.look.head(ctx, u.key, ""); herr == nil && o != nil && o.size == size && u.made(o) {
			s.etag, s.version = o.etag, o.version
			return s, nil
		}
	}
	return s, u.t.explain("finish the upload of", u.key, err)
}

// made reports whether an object is what this upload's parts make.
func (u *upload) made(o *shown) bool {
	if o.parts != "" {
		return o.parts == u.sum()
	}
	return o.etag == u.etag()
}

// sum is the SHA-256 over the parts' SHA-256, as servers give it.
func (u *upload) sum() string {
	h := sha256.New()
	for _, p := range u.parts {
		b, _ := base64.StdEncoding.DecodeString(aws.ToString(p.ChecksumSHA256)) // ours
		_, _ = h.Write(b)
	}
	return fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(u.parts))
}

// etag is the ETag that most servers give to an object of these parts, "" where the parts' ETags are no MD5s.
func (u *upload) etag() string {
	h := md5.New() //nolint:gosec // what servers do
	for _, p := range u.parts {
		b, err := hex.DecodeString(strings.Trim(aws.ToString(p.ETag), `"`))
		if err != nil || len(b) != md5.Size {
			return ""
		}
		_, _ = h.Write(b)
	}
	return fmt.Sprintf("%x-%d", h.Sum(nil), len(u.parts))
}

// abort gives up an upload, so that its parts are not kept and paid for.
func (u *upload) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortWithin)
	defer cancel()
	_, err := u.t.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.t.o.Bucket, Key: &u.key, UploadId: u.id})
	if err != nil && awsclient.AnswerOf(err).Code != "NoSuchUpload" {
		return fmt.Errorf("give up the upload of %q in %s: %w; its parts stay until they are removed", u.key, u.t.name, err)
	}
	return nil
}
