package s3store

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/store"
)

// Put implements store.Writer: one PUT of known length. The SHA-256 goes as the signed x-amz-content-sha256, which every
// server checks; so the body is neither hashed again here nor sent in signed chunks. AWS demands an x-amz-checksum header
// besides where there is a lock, and keeps it with the object. That is the CRC-32C where it is given, since a second
// SHA-256 costs the server as much as all the rest, else the SHA-256. A time of a lock is rounded up to the whole second.
func (s *Store) Put(ctx context.Context, name string, body io.ReaderAt, size int64, o store.PutOptions) (store.Ref, error) {
	ref := store.Ref{Name: name}
	key, err := s.key(name)
	if err != nil {
		return ref, s.fail(ctx, "put", ref, err)
	}
	if size < 0 || size > MaxPut {
		return ref, s.fail(ctx, "put", ref, fmt.Errorf("size %d is not between 0 and %d bytes", size, int64(MaxPut)))
	}
	opts := minio.PutObjectOptions{
		ContentType:          o.ContentType,
		DisableContentSha256: true, // of minio-go's own making: ours is given below
		UserMetadata:         checksum(o),
	}
	if o.Retention.Mode != store.ModeNone || !o.Retention.Until.IsZero() {
		if opts.Mode, opts.RetainUntilDate, err = lockOf(o.Retention); err != nil {
			return ref, s.fail(ctx, "put", ref, err)
		}
	}
	b := &putBody{r: body, size: size}
	info, err := s.client.PutObject(ctx, s.loc.Bucket, key, b, size, "", hex.EncodeToString(o.SHA256[:]), opts)
	if b.err != nil {
		return ref, s.fail(ctx, "put", ref, fmt.Errorf("read the body: %w", b.err))
	}
	if err != nil {
		return ref, s.fail(ctx, "put", ref, err)
	}
	ref.Version = info.VersionID
	return ref, nil
}

// checksum is the header of a body's checksum.
func checksum(o store.PutOptions) map[string]string {
	if len(o.CRC32C) == crc32.Size {
		return map[string]string{"x-amz-checksum-crc32c": base64.StdEncoding.EncodeToString(o.CRC32C)}
	}
	return map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(o.SHA256[:])}
}

// putBody reads a ReaderAt once, and remembers why it could not: that is not the vault's failure.
type putBody struct {
	r    io.ReaderAt
	off  int64
	size int64
	err  error
}

func (b *putBody) Read(p []byte) (int, error) {
	if b.off >= b.size {
		return 0, io.EOF
	}
	n, err := b.r.ReadAt(p[:min(int64(len(p)), b.size-b.off)], b.off)
	b.off += int64(n)
	switch {
	case n > 0:
		return n, nil // an error comes again with the next call
	case errors.Is(err, io.EOF):
		b.err = fmt.Errorf("body has %d bytes of %d: %w", b.off, b.size, io.ErrUnexpectedEOF)
	default:
		b.err = err
	}
	return 0, b.err
}

// lockOf translates a lock; a fraction of a second is rounded up, as S3 keeps whole ones and a lock must not be shorter.
func lockOf(r store.Retention) (minio.RetentionMode, time.Time, error) {
	until := r.Until.UTC()
	if w := until.Truncate(time.Second); !w.Equal(until) {
		until = w.Add(time.Second)
	}
	switch {
	case until.IsZero():
		return "", until, errors.New("lock mode without a time")
	case r.Mode == store.Compliance:
		return minio.Compliance, until, nil
	case r.Mode == store.Governance:
		return minio.Governance, until, nil
	}
	return "", until, fmt.Errorf("lock mode %q", r.Mode)
}

// Extend implements store.Locker. It never bypasses governance: minio-go's option for that is never set. Some servers
// accept a shorter time in governance mode; callers read back.
func (s *Store) Extend(ctx context.Context, ref store.Ref, to store.Retention) error {
	key, err := s.key(ref.Name)
	if err != nil {
		return s.fail(ctx, "extend", ref, err)
	}
	if ref.Version == "" {
		return s.fail(ctx, "extend", ref, errNoVersion)
	}
	mode, until, err := lockOf(to)
	if err != nil {
		return s.fail(ctx, "extend", ref, err)
	}
	err = s.client.PutObjectRetention(ctx, s.loc.Bucket, key, minio.PutObjectRetentionOptions{
		Mode: &mode, RetainUntilDate: &until, VersionID: ref.Version,
	})
	if err != nil {
		return s.fail(ctx, "extend", ref, err)
	}
	return nil
}

var errNoVersion = errors.New("no version given")

// Remove implements store.Remover. A DELETE without a version would lay a delete marker, so there is none.
func (s *Store) Remove(ctx context.Context, ref store.Ref) error {
	key, err := s.key(ref.Name)
	if err != nil {
		return s.fail(ctx, "remove", ref, err)
	}
	if ref.Version == "" {
		return s.fail(ctx, "remove", ref, errNoVersion)
	}
	if err := s.client.RemoveObject(ctx, s.loc.Bucket, key, minio.RemoveObjectOptions{VersionID: ref.Version}); err != nil {
		return s.fail(ctx, "remove", ref, err)
	}
	return nil
}
