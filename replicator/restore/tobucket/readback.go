package tobucket

import (
	"context"
	"crypto/md5" //nolint:gosec // what servers give as ETag
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/restore"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// What is known of the target's ETags: those of objects that were put whole, and those of uploads in parts.
const (
	etagsUnknown int32 = iota
	etagsAreMD5
	etagsAreOpaque
)

// How long a target may take to show what it has: some answer from a copy that lags behind.
const (
	looksAgain = 8
	firstWait  = 50 * time.Millisecond
)

// readBack looks at what was just put: the content by whatever the target says of it, and all that was set. Tags that were
// lost are set again; what a server may be unable to hold is noted; the rest is a failure.
func (r *receiver) readBack(ctx context.Context, e *format.Entry, s sent, class types.StorageClass, last bool) error {
	t := r.t
	o, err := r.await(ctx, s, last)
	if errors.Is(err, errBlind) {
		t.note("what was put could not be looked at: " + errBlind.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.look.checkContent(ctx, r.key, e, o, s); err != nil {
		return fmt.Errorf("put %q in %s: %w", r.key, t.name, err)
	}
	var wrong []difference
	for _, d := range wantedOf(e, class).compare(o.attrs) {
		if d.limit == "" {
			wrong = append(wrong, d)
		} else {
			t.look.limited(d.limit)
		}
	}
	version := s.version
	diffs, err := t.look.tagDiffs(ctx, r.key, version, e, o, false)
	if err != nil {
		return err
	}
	if len(diffs) > 0 {
		if err := r.retag(ctx, e, version); err != nil {
			return err
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("put %q in %s: %w: %s", r.key, t.name, restore.ErrNotKept, texts(wrong))
	}
	return nil
}

// await asks for what was put until the target shows it. What is to be current is asked for without its version.
func (r *receiver) await(ctx context.Context, s sent, last bool) (*shown, error) {
	version := s.version
	if last {
		version = ""
	}
	wait := firstWait
	for n := 1; ; n++ {
		o, err := r.t.look.head(ctx, r.key, version)
		if err != nil {
			return nil, err
		}
		current := o != nil && (!last || s.version == "" || o.version == "" || o.version == s.version)
		if current && (s.etag == "" || o.etag == s.etag || r.t.renamesETags.Load()) {
			return o, nil
		}
		if current && n == looksAgain {
			r.t.renamesETags.Store(true) // it says one ETag to a PUT and another afterwards; what it has is compared all the same
			return o, nil
		}
		if n == looksAgain {
			if o == nil {
				return nil, fmt.Errorf("put %q in %s: %w: nothing", r.key, r.t.name, restore.ErrNotKept)
			}
			return nil, fmt.Errorf("put %q in %s: %w: version %s is current, not %s that was just put", r.key, r.t.name, restore.ErrNotKept, o.version, s.version)
		}
		if err := pause(ctx, min(wait, r.t.o.MaxBackoff)); err != nil {
			return nil, err
		}
		wait *= 2
	}
}

// seeDeleted looks whether a delete marker is current.
func (r *receiver) seeDeleted(ctx context.Context) error {
	wait := firstWait
	for n := 1; ; n++ {
		o, err := r.t.look.head(ctx, r.key, "")
		if err != nil && !errors.Is(err, errBlind) {
			return err
		}
		if o == nil {
			return nil
		}
		if n == looksAgain {
			return fmt.Errorf("put a delete marker on %q in %s: %w: version %q is current", r.key, r.t.name, restore.ErrNotKept, o.version)
		}
		if err := pause(ctx, min(wait, r.t.o.MaxBackoff)); err != nil {
			return err
		}
		wait *= 2
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkContent compares content by what the target says of it. Where that is an ETag which is no MD5 of what was sent, and
// it is not known whether this server's ETags are, the object is read once to find out.
func (t *looking) checkContent(ctx context.Context, key string, e *format.Entry, o *shown, s sent) error {
	want := base64.StdEncoding.EncodeToString(e.SHA256[:])
	switch {
	case o.size != e.Size:
		return fmt.Errorf("%w: %d bytes, not %d", restore.ErrNotKept, o.size, e.Size)
	case o.sha256 != "":
		t.givesSums.Store(true)
		if o.sha256 != want {
			return fmt.Errorf("%w: its SHA-256 is %s, not %s", restore.ErrNotKept, o.sha256, want)
		}
	case o.parts != "" && s.parts != "":
		if o.parts != s.parts {
			return fmt.Errorf("%w: the SHA-256 of its parts is %s, not %s", restore.ErrNotKept, o.parts, s.parts)
		}
		return nil
	}
	kind, likely := &t.etags, isMD5(o.etag)
	if s.parts != "" {
		_, likely = partsOf(o.etag)
		kind = &t.partETags
	}
	known := kind.Load()
	if !likely || o.opaque || known == etagsAreOpaque || known == etagsAreMD5 && o.sha256 != "" {
		return nil
	}
	sum := s.md5()
	switch {
	case sum == "" || o.sha256 != "" && sum != o.etag:
		return nil
	case sum == o.etag:
		kind.Store(etagsAreMD5)
		return nil
	case known == etagsAreMD5:
		return fmt.Errorf("%w: its ETag is %s, and by what was sent it should be %s", restore.ErrNotKept, o.etag, sum)
	}
	return t.readWhole(ctx, key, e, s.version, kind)
}

// readWhole reads an object to know its content. Where it is right, its ETag is no sum, nor are others of that kind.
func (t *looking) readWhole(ctx context.Context, key string, e *format.Entry, version string, kind *atomic.Int32) error {
	out, err := t.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &t.o.Bucket, Key: &key, VersionId: text(version)})
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.note("the content of objects could not be compared: the server gives no SHA-256, its ETags are no MD5s, and the credential may not read")
		kind.Store(etagsAreOpaque)
		return nil
	}
	defer func() { _ = out.Body.Close() }()
	h := e.NewSum()
	if _, err := io.Copy(h, io.LimitReader(out.Body, e.Size+1)); err != nil {
		return fmt.Errorf("read it again: %w", err)
	}
	if h.Sum() != e.SHA256 {
		return fmt.Errorf("%w: other content", restore.ErrNotKept)
	}
	kind.Store(etagsAreOpaque)
	return nil
}

// retag sets an object's tags and looks whether they are there.
func (r *receiver) retag(ctx context.Context, e *format.Entry, version string) error {
	t := r.t
	var err error
	if len(e.Tags) == 0 {
		_, err = t.client.DeleteObjectTagging(ctx, &s3.DeleteObjectTaggingInput{Bucket: &t.o.Bucket, Key: &r.key, VersionId: text(version)})
	} else {
		set := &types.Tagging{}
		for k, v := range e.Tags {
			set.TagSet = append(set.TagSet, types.Tag{Key: &k, Value: &v})
		}
		_, err = t.client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{
			Bucket: &t.o.Bucket, Key: &r.key, VersionId: text(version), Tagging: set, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		})
	}
	if err != nil {
		return t.explain("set the tags of", r.key, err)
	}
	got, ok, err := t.look.tagsOf(ctx, r.key, version)
	if err != nil || !ok {
		return err
	}
	if diffs := compareTags(e.Tags, got); len(diffs) > 0 {
		return fmt.Errorf("set the tags of %q in %s: %w: %s", r.key, t.name, restore.ErrNotKept, texts(diffs))
	}
	return nil
}

// sameContent compares an entry's content, which is at hand or read for this, with what the target says of an object that
// is there: the MD5 or SHA-256 of the whole or of its parts. What cannot be told is not the same.
func (t *looking) sameContent(ctx context.Context, e *format.Entry, o *shown, c restore.Content) (bool, error) {
	sha := o.parts != ""
	sum := o.etag
	if sha {
		sum = o.parts
	} else if o.opaque {
		return false, nil
	}
	n, isParts := partsOf(sum)
	if !isParts {
		if !isMD5(sum) {
			return false, nil
		}
		got, err := sums(ctx, c, e.Size, max(e.Size, 1), md5.New)
		if err != nil || len(got) != 1 || hex.EncodeToString(got[0]) != sum {
			return false, err
		}
		t.etags.CompareAndSwap(etagsUnknown, etagsAreMD5)
		return true, nil
	}
	for _, size := range t.partSizes(n, e.Size) {
		newHash, encode := md5.New, hex.EncodeToString
		if sha {
			newHash, encode = sha256.New, base64.StdEncoding.EncodeToString
		}
		got, err := sums(ctx, c, e.Size, size, newHash)
		if err != nil {
			return false, err
		}
		h := newHash()
		_, _ = h.Write(slices.Concat(got...))
		if fmt.Sprintf("%s-%d", encode(h.Sum(nil)), n) == sum {
			return true, nil
		}
	}
	return false, nil
}

// mayBeSame reports whether an object that is there may have the entry's content although its ETag is not the MD5 of it: if
// this server's ETags are none. One object is read to find that out.
func (t *looking) mayBeSame(ctx context.Context, key string, e *format.Entry, o *shown) (bool, error) {
	if t.etags.Load() == etagsUnknown && e.Size <= singlePut {
		err := t.readWhole(ctx, key, e, o.version, &t.etags)
		if err != nil && !errors.Is(err, restore.ErrNotKept) {
			return false, err
		}
		return err == nil, nil
	}
	return t.etags.Load() != etagsAreMD5, nil
}

// sums hashes content in stretches of so many bytes.
func sums(ctx context.Context, c restore.Content, total, size int64, newHash func() hash.Hash) ([][]byte, error) {
	var out [][]byte
	h, left := newHash(), size
	zeros := make([]byte, 64<<10)
	for p, err := range c.Pieces(ctx) {
		if err != nil {
			return nil, err
		}
		for p.Len() > 0 {
			n := min(left, p.Len())
			if p.Hole > 0 {
				n = min(n, int64(len(zeros)))
				_, _ = h.Write(zeros[:n])
				p.Hole -= n
			} else {
				_, _ = h.Write(p.Data[:n])
				p.Data = p.Data[n:]
			}
			if left -= n; left == 0 {
				out = append(out, h.Sum(nil))
				h, left = newHash(), size
			}
		}
	}
	if left < size || total == 0 {
		out = append(out, h.Sum(nil))
	}
	return out, nil
}
