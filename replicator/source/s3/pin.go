package s3source

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what S3 ETags are
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/holdfast-backup/holdfast/replicator/awsclient"
	"github.com/holdfast-backup/holdfast/replicator/source"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// conditional reports whether e is asked for with If-Match.
func (v *pinning) conditional(e *format.Entry) bool {
	if e.ETag == "" {
		return false
	}
	if v.s.o.IfMatch != nil {
		return *v.s.o.IfMatch
	}
	return !v.s.facts.has(noCondition)
}

// refusedPin reports whether err is a refusal of a condition that holds: 412, while the listing still says what If-Match
// said. It is found out for each server once; from then on nothing is asked for with a condition.
func (v *pinning) refusedPin(ctx context.Context, e *format.Entry, err error) bool {
	a := awsclient.AnswerOf(err)
	if v.s.o.IfMatch != nil && !*v.s.o.IfMatch || e.ETag == "" || a.Code != "PreconditionFailed" && a.Status != http.StatusPreconditionFailed {
		return false
	}
	if v.s.facts.has(noCondition) && v.s.o.IfMatch == nil {
		return true
	}
	if v.stillListed(ctx, e) != nil {
		return false
	}
	v.s.facts.learn(noCondition)
	return v.s.o.IfMatch == nil
}

// stillListed lists e again: source.ErrChanged or source.ErrGone if it is no longer what it was.
func (v *pinning) stillListed(ctx context.Context, e *format.Entry) error {
	was := e.AppendListing(nil)
	gone := true
	for now, err := range v.Entries(ctx, e.Key, e.Key+"\x00") {
		if err != nil {
			return err
		}
		if now.Version != e.Version {
			continue
		}
		if gone = false; bytes.Equal(was, now.AppendListing(nil)) {
			return nil
		}
	}
	if gone {
		return fmt.Errorf("look %q of %s up again: %w", e.Key, v.s.name, source.ErrGone)
	}
	return fmt.Errorf("look %q of %s up again: %w", e.Key, v.s.name, source.ErrChanged)
}

// pinned checks that an answer is of the object that was listed: it has the listed ETag, or the listed version ID. Where a
// server gives neither, what it gives must be as old and is looked up in the listing before and after the reading.
func (t *stream) pinned(out *s3.GetObjectOutput) error {
	got := unquote(str(out.ETag))
	changed := fmt.Errorf("read %q of %s: ETag %.80q instead of %.80q: %w", t.e.Key, t.v.s.name, got, t.e.ETag, source.ErrChanged)
	if t.begun {
		if got != t.tag {
			return changed
		}
		return nil
	}
	if t.tag = got; got == t.e.ETag && got != "" {
		return nil
	}
	if t.v.s.all() && t.e.Version != "" && t.e.Version != "null" && str(out.VersionId) == t.e.Version {
		return nil
	}
	if t.look = true; t.e.ETag == "" || t.v.s.facts.has(otherTags) && sameTime(out.LastModified, t.e.Modified.Time) {
		return nil
	}
	if !sameTime(out.LastModified, t.e.Modified.Time) {
		return changed
	}
	if err := t.v.pins.stillListed(t.parent, &t.e); err != nil {
		return err
	}
	t.v.s.facts.learn(otherTags)
	return nil
}

// sameTime reports whether an answer's time, in whole seconds, may be the listed one.
func sameTime(answer *time.Time, listed time.Time) bool {
	return answer == nil || listed.IsZero() || answer.Sub(listed).Abs() < 2*time.Second
}

const (
	trials     = 4       // objects that are read to see what the server's ETags are
	trialBytes = 1 << 20 // and the largest of them
	trialPage  = 200     // entries among which they are looked for
)

// tagsAreOpaque finds out, once, whether ETags of 32 hex digits are MD5s at this server, after the content of e did not
// match its own. They are if any object's is; they are none if those of all that are tried are not. Where there is nothing to
// try, e may be damaged, and is taken for that.
func (v *pinning) tagsAreOpaque(ctx context.Context, e *format.Entry) (bool, error) {
	if v.s.o.ETag == "md5" {
		return false, nil
	}
	if err := v.s.trial.enter(ctx); err != nil {
		return false, err
	}
	defer v.s.trial.leave()
	if v.s.facts.has(md5Tags) || v.s.facts.has(opaqueTags) {
		return v.s.facts.has(opaqueTags), nil
	}
	p, err := v.list.page(ctx, cursor{limit: trialPage})
	if err != nil {
		return false, err
	}
	tried := 0
	for i := range p.items {
		it := &p.items[i]
		if tried == trials {
			break
		}
		if it.marker || it.bad != "" || it.key == e.Key || it.size == 0 || it.size > trialBytes || len(it.etag) != 2*md5.Size {
			continue
		}
		is, err := v.isMD5(ctx, it)
		switch {
		case ctx.Err() != nil:
			return false, ctx.Err()
		case err != nil:
			continue // not to be read: it tells nothing
		case is:
			v.s.facts.learn(md5Tags)
			return false, nil
		}
		tried++
	}
	if tried == 0 {
		return false, nil
	}
	v.s.facts.learn(opaqueTags)
	return true, nil
}

var errNothingToCompare = errors.New("its ETag says nothing")

// isMD5 reads an object and reports whether its ETag is the MD5 of its content.
func (v *pinning) isMD5(ctx context.Context, it *listItem) (bool, error) {
	ctx, cancel := context.WithTimeout(awsclient.WithEncoding(ctx, "gzip"), v.s.o.IdleTimeout)
	defer cancel()
	in := &s3.GetObjectInput{Bucket: &v.s.o.Bucket, Key: &it.key, RequestPayer: v.payer()}
	if v.s.all() {
		in.VersionId = optional(it.version)
	}
	out, err := v.s.client.GetObject(ctx, in)
	if err != nil {
		return false, err
	}
	defer out.Body.Close() //nolint:errcheck // only read from
	if out.ServerSideEncryption == types.ServerSideEncryptionAwsKms || out.ServerSideEncryption == types.ServerSideEncryptionAwsKmsDsse || out.SSECustomerAlgorithm != nil {
		return false, errNothingToCompare
	}
	var sum hash.Hash = md5.New() //nolint:gosec // what S3 ETags are
	n, err := io.Copy(sum, io.LimitReader(out.Body, it.size+1))
	if err != nil {
		return false, err
	}
	if n != it.size {
		return false, errNothingToCompare
	}
	got := hex.EncodeToString(sum.Sum(nil))
	return got == it.etag || got == unquote(str(out.ETag)), nil
}
