package attacktest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// writerAttacks is what a thief tries with the key that the job writes with, and nothing else.
func writerAttacks() []attack {
	compliance, governance := types.ObjectLockRetentionModeCompliance, types.ObjectLockRetentionModeGovernance
	return []attack{
		{"delete-each-version", "delete every version by its ID, one by one", refused, deleteEach(false)},
		{"delete-each-version-bypassing", "the same, asking to bypass governance", refused, deleteEach(true)},
		{"delete-in-a-batch", "delete every version by its ID in one request", refused, deleteBatch(true, false)},
		{"delete-in-a-batch-bypassing", "the same, asking to bypass governance", refused, deleteBatch(true, true)},
		{"delete-the-null-version", "delete the version called null of every object", refused, deleteNull},
		{"hide-each-object", "lay a delete marker on every object (DELETE without a version)", refused, hideEach},
		{"hide-in-a-batch", "the same in one request", refused, deleteBatch(false, false)},
		{"delete-the-bucket", "delete the bucket", refused, deleteBucket},

		{"shorten-each-lock", "set every lock to end in a minute", refused, relock(compliance, time.Minute, false)},
		{"shorten-each-lock-bypassing", "the same, asking to bypass governance", refused, relock(compliance, time.Minute, true)},
		{"end-each-lock-yesterday", "set every lock to have ended yesterday", refused, relock(compliance, -24*time.Hour, false)},
		{"weaken-each-lock", "turn every lock into governance, as long as it is", refused, relock(governance, 300*24*time.Hour, true)},
		{"remove-each-lock", "set no retention at all", refused, unlock},
		{"legal-hold-off", "take legal holds off", refused, legalHold(types.ObjectLockLegalHoldStatusOff)},
		{"legal-hold-on", "lay a legal hold on everything, so that nothing can ever be removed", refused, legalHold(types.ObjectLockLegalHoldStatusOn)},
		{"lock-for-five-years", "lengthen locks by five years (costs money where the policy sets no cap)", harmless, lockLonger},
		{"junk-locked-for-five-years", "store junk under a lock of five years", harmless, junkLocked},

		{"reset-the-lock-configuration", "write a lock configuration without default retention", refused, lockConfiguration(nil)},
		{"set-a-default-retention", "write one with a day of governance", refused, lockConfiguration(&types.DefaultRetention{Mode: governance, Days: aws.Int32(1)})},
		{"suspend-versioning", "suspend versioning", refused, suspendVersioning},
		{"lifecycle", "expire every version after a day by a lifecycle rule", refused, lifecycle},
		{"grab-the-policy", "give itself all rights by a bucket policy", refused, grabPolicy},
		{"remove-the-policy", "remove the bucket's policy", refused, removePolicy},
		{"open-the-bucket", "let everybody write, by an access list", refused, openACL},
		{"open-each-object", "let everybody read and write every object, by an access list", refused, openObjects},
		{"cors", "let any web page use the bucket", refused, cors},
		{"notifications", "send events of the bucket elsewhere", refused, notifications},
		{"tag-the-bucket", "tag the bucket, for rules that go by tags", refused, tagBucket},
		{"tag-each-object", "tag every object, for lifecycle rules that go by tags", refused, tagObjects},
		{"encrypt-by-a-key-of-his", "have the bucket encrypted by a key of his", refused, encryptBucket},
		{"replicate", "have the bucket replicated over by one of his", refused, replicate},
		{"block-public-access-off", "remove the block of public access", refused, publicAccess},
		{"website", "make the bucket a web site", refused, website},

		{"overwrite-packs", "put junk over every pack", harmless, overwrite("packs/")},
		{"overwrite-meta", "put junk over every page of manifests and index", harmless, overwrite("meta/")},
		{"overwrite-needs", "put junk over every needs list", harmless, overwrite("needs/")},
		{"overwrite-placements", "put junk over all placements", harmless, overwrite("placements/")},
		{"overwrite-points", "put junk over every commit object", harmless, overwrite("points/")},
		{"overwrite-descriptors", "put junk over the descriptor", harmless, overwrite("descriptors/")},
		{"overwrite-keys", "put junk over the host key's sealed copy", harmless, overwrite("keys/")},
		{"overwrite-with-nothing", "put empty objects over everything", harmless, overwriteBy(func(b []byte) []byte { return nil })},
		{"overwrite-with-the-beginning", "put the first half of its bytes over each object", harmless, overwriteBy(func(b []byte) []byte { return b[:len(b)/2] })},
		{"overwrite-of-the-same-size", "put as many other bytes over each object", harmless, overwriteBy(func(b []byte) []byte { return noise(3, len(b)) })},
		{"overwrite-with-a-flipped-bit", "put the same bytes with one bit flipped over each object", harmless, overwriteBy(flip)},
		{"swap-packs", "put one real pack over another, one real page object over another", harmless, swap},
		{"overwrite-and-lock", "put junk over packs and lock the junk, so that whoever looks at locks alone is content", harmless, overwriteLocked},
		{"overwrite-with-disguise", "put junk over packs with headers that make clients decode or follow it", harmless, overwriteDisguised},
		{"overwrite-into-an-archive", "put junk over packs in a storage class that cannot be read at once", either, overwriteArchived},
		{"overwrite-in-parts", "put junk over a pack by a multipart upload", harmless, overwriteMultipart},
		{"leave-parts-behind", "begin multipart uploads on every pack and leave them", harmless, leaveParts},
		{"copy-onto-itself", "copy each object onto itself with other metadata, as ransomware does", harmless, copyOver},
		{"put-the-same-again", "put the same bytes again over each object", harmless, putAgain},
		{"a-thousand-versions", "put a thousand versions on the name of a pack", harmless, thousandOn("packs/")},
		{"a-thousand-versions-of-a-point", "put a thousand versions on the name of a commit object", harmless, thousandOn("points/")},
		{"size-bomb", "put 50 MiB over a page object, more than any object has", harmless, sizeBomb},
		{"zstd-bomb", "put a frame that says it holds 4 GiB over needs lists and placements", harmless, zstdBomb},
		{"age-bomb", "put a file with ten thousand recipients over packs and pages", harmless, ageBomb},

		{"junk-everywhere", "store junk under right-looking names of every kind", harmless, junkEverywhere},
		{"ransom-note", "store notes beside everything", harmless, ransomNote},
		{"odd-names", "store objects whose names hold line feeds, quotes, dots, other alphabets, a thousand bytes", either, oddNames},
		{"forged-point", "store a newer point signed by a key of his", harmless, forgedPoint(time.Minute)},
		{"back-dated-point", "store a point signed by a key of his for a month ago", harmless, forgedPoint(-30 * 24 * time.Hour)},
		{"future-dated-point", "store a point signed by a key of his for next year", harmless, forgedPoint(365 * 24 * time.Hour)},
		{"replayed-under-another-source", "store a real commit object under another source's name, with its real signature", harmless, replayedSource},
		{"replayed-under-another-time", "store a real commit object under a later time, with its real signature", harmless, replayedTime},
		{"replayed-deeper", "store real commit objects below folders of points", harmless, replayedDeeper},
		{"second-repository", "store a first descriptor of his own, after ours", harmless, secondRepository},
		{"forked-descriptor", "store a second descriptor signed by a key of his", harmless, forkedDescriptor},
		{"flood-of-descriptors", "store a thousand right-looking descriptors", harmless, floodDescriptors},
		{"forged-placements", "store placements signed by a key of his that point at versions of his", harmless, forgedPlacements},
		{"replayed-placements", "store old placements again under a newer time", harmless, replayedPlacements},
		{"forged-index", "store an index segment signed by a key of his, and placements that name it", harmless, forgedIndex},
	}
}

// broadAttacks needs a key that may hide as well as write, as writeFiles may at Backblaze.
func broadAttacks() []attack {
	var out []attack
	for _, kind := range []string{"packs/", "meta/", "needs/", "placements/", "points/", "descriptors/", "keys/"} {
		out = append(out, attack{"hide-" + strings.TrimSuffix(kind, "/"), "lay a delete marker on everything under " + kind, harmless,
			func(ctx context.Context, a *arena) []try {
				return a.cover(a.ours(kind), func(v version) error {
					_, err := a.broad.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket, Key: &v.key})
					return err
				})
			}})
	}
	return append(out, attack{"delete-locked-versions", "delete every version by its ID, with the right to", refused,
		func(ctx context.Context, a *arena) []try {
			return a.each(a.everything(), func(v version) error {
				_, err := a.broad.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket, Key: &v.key, VersionId: &v.id})
				return err
			})
		}})
}

func sortVersions(list []version) {
	slices.SortFunc(list, func(a, b version) int { return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.id, b.id)) })
}

func bypass(yes bool) *bool {
	if !yes {
		return nil
	}
	return aws.Bool(true)
}

func deleteEach(with bool) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		return a.each(a.everything(), func(v version) error {
			_, err := a.writer.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: bypass(with)})
			return err
		})
	}
}

func deleteNull(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		_, err := a.writer.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket, Key: &v.key, VersionId: aws.String("null")})
		return err
	})
}

func deleteBatch(byID, with bool) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		var list []types.ObjectIdentifier
		for _, v := range a.everything() {
			o := types.ObjectIdentifier{Key: &v.key}
			if byID {
				o.VersionId = &v.id
			}
			list = append(list, o)
		}
		got, err := a.writer.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &a.bucket, Delete: &types.Delete{Objects: list}, BypassGovernanceRetention: bypass(with)})
		if err != nil {
			return tried(err)
		}
		out := make([]try, len(got.Deleted))
		for _, e := range got.Errors {
			out = append(out, try{err: &batchError{aws.ToString(e.Code), aws.ToString(e.Message)}})
		}
		return out
	}
}

// batchError is the answer about one object of a batch.
type batchError struct{ code, message string }

func (e *batchError) Error() string        { return e.code + ": " + e.message }
func (e *batchError) ErrorCode() string    { return e.code }
func (e *batchError) ErrorMessage() string { return e.message }
func (e *batchError) ErrorFault() (f faultOf) {
	return f
}

func hideEach(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		_, err := a.writer.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &a.bucket, Key: &v.key})
		return err
	})
}

func deleteBucket(ctx context.Context, a *arena) []try {
	_, err := a.writer.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &a.bucket})
	return tried(err)
}

func relock(mode types.ObjectLockRetentionMode, left time.Duration, with bool) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		return a.each(a.everything(), func(v version) error { return setLock(ctx, a, v, mode, left, with) })
	}
}

func setLock(ctx context.Context, a *arena, v version, mode types.ObjectLockRetentionMode, left time.Duration, with bool) error {
	_, err := a.writer.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: bypass(with),
		Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: aws.Time(time.Now().Add(left).UTC())},
	})
	return err
}

func unlock(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		_, err := a.writer.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
			Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: aws.Bool(true), Retention: &types.ObjectLockRetention{},
		})
		return err
	})
}

const fiveYears = 5 * 365 * 24 * time.Hour

func lockLonger(ctx context.Context, a *arena) []try {
	return a.each(a.ours("packs/")[:1], func(v version) error {
		return setLock(ctx, a, v, types.ObjectLockRetentionModeCompliance, fiveYears, false)
	})
}

func lockedFor(left time.Duration) func(*s3.PutObjectInput) {
	return func(in *s3.PutObjectInput) {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = types.ObjectLockModeCompliance, aws.Time(time.Now().Add(left).UTC())
	}
}

func junkLocked(ctx context.Context, a *arena) []try {
	return tried(put(ctx, a.writer, a.bucket, folder+"packs/00/"+strings.Repeat("0", 64)+".age", []byte("junk"), lockedFor(fiveYears)))
}

func legalHold(status types.ObjectLockLegalHoldStatus) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		return a.each(a.everything(), func(v version) error {
			_, err := a.writer.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
				Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, LegalHold: &types.ObjectLockLegalHold{Status: status},
			})
			return err
		})
	}
}

func overwrite(kind string) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		return a.cover(a.ours(kind), func(v version) error { return put(ctx, a.writer, a.bucket, v.key, []byte("overwritten by a thief\n")) })
	}
}

// overwriteBy puts what becomes of an object's own bytes over it.
func overwriteBy(change func([]byte) []byte) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		return a.cover(a.everything(), func(v version) error {
			b, err := get(ctx, a.writer, a.bucket, v.key, v.id)
			if err != nil {
				return err
			}
			return put(ctx, a.writer, a.bucket, v.key, change(bytes.Clone(b)))
		})
	}
}

func flip(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

func swap(ctx context.Context, a *arena) (out []try) {
	for _, kind := range []string{"packs/", "meta/"} {
		list := a.ours(kind)
		out = append(out, a.cover(list, func(v version) error {
			other := list[0]
			if other.key == v.key {
				other = list[len(list)-1]
			}
			b, err := get(ctx, a.writer, a.bucket, other.key, other.id)
			if err != nil {
				return err
			}
			return put(ctx, a.writer, a.bucket, v.key, b)
		})...)
	}
	return out
}

func overwriteLocked(ctx context.Context, a *arena) []try {
	return a.cover(a.ours("packs/"), func(v version) error {
		return put(ctx, a.writer, a.bucket, v.key, noise(4, 4096), lockedFor(300*24*time.Hour))
	})
}

func overwriteDisguised(ctx context.Context, a *arena) []try {
	return a.cover(a.ours("packs/", "needs/"), func(v version) error {
		return put(ctx, a.writer, a.bucket, v.key, []byte("\x1f\x8b\x08\x00junk"), func(in *s3.PutObjectInput) {
			in.ContentEncoding, in.ContentType, in.CacheControl = aws.String("gzip"), aws.String("text/html"), aws.String("no-store")
			in.WebsiteRedirectLocation = aws.String("/elsewhere")
			in.Metadata = map[string]string{"holdfast": "true", "sha256": strings.Repeat("0", 64)}
		})
	})
}

func overwriteArchived(ctx context.Context, a *arena) []try {
	return a.cover(a.ours("packs/"), func(v version) error {
		return put(ctx, a.writer, a.bucket, v.key, []byte("junk"), func(in *s3.PutObjectInput) { in.StorageClass = types.StorageClassGlacier })
	})
}

func overwriteMultipart(ctx context.Context, a *arena) []try {
	return a.cover(a.ours("packs/")[:1], func(v version) error {
		up, err := a.writer.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &a.bucket, Key: &v.key})
		if err != nil {
			return err
		}
		part, err := a.writer.UploadPart(ctx, &s3.UploadPartInput{Bucket: &a.bucket, Key: &v.key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("junk in parts")})
		if err != nil {
			return err
		}
		_, err = a.writer.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &a.bucket, Key: &v.key, UploadId: up.UploadId,
			MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}},
		})
		return err
	})
}

func leaveParts(ctx context.Context, a *arena) []try {
	return a.each(a.ours("packs/"), func(v version) error {
		up, err := a.writer.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &a.bucket, Key: &v.key})
		if err != nil {
			return err
		}
		_, err = a.writer.UploadPart(ctx, &s3.UploadPartInput{Bucket: &a.bucket, Key: &v.key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("left behind")})
		return err
	})
}

func copyOver(ctx context.Context, a *arena) []try {
	out := a.each(a.everything(), func(v version) error {
		_, err := a.writer.CopyObject(ctx, &s3.CopyObjectInput{
			Bucket: &a.bucket, Key: &v.key, CopySource: aws.String(a.bucket + "/" + v.key + "?versionId=" + v.id),
			MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"pay": "to get it back"},
		})
		return err
	})
	return out
}

func putAgain(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		b, err := get(ctx, a.writer, a.bucket, v.key, v.id)
		if err != nil {
			return err
		}
		return put(ctx, a.writer, a.bucket, v.key, b)
	})
}

func thousandOn(kind string) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) (out []try) {
		for range many(1000) {
			out = append(out, a.cover(a.ours(kind)[:1], func(v version) error { return put(ctx, a.writer, a.bucket, v.key, []byte("one of a thousand")) })...)
		}
		return out
	}
}

func sizeBomb(ctx context.Context, a *arena) []try {
	return a.cover(a.ours("meta/")[:1], func(v version) error { return put(ctx, a.writer, a.bucket, v.key, make([]byte, 50<<20)) })
}

// zstdBomb is a frame that announces 4 GiB, in a plain container; and the same under a name that its own hash makes right.
func zstdBomb(ctx context.Context, a *arena) []try {
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff}
	for range 1000 {
		bomb = append(bomb, 0x02, 0x00, 0x10, 0x00) // an RLE block of 128 KiB
	}
	bomb = append(bomb, 0x03, 0x00, 0x10, 0x00)
	out := a.cover(a.ours("needs/", "placements/"), func(v version) error { return put(ctx, a.writer, a.bucket, v.key, bomb) })
	name, _ := nameOfPlacements(a, time.Minute, sha256.Sum256(bomb))
	return append(out, try{name, stealFrom(ctx, a, name, bomb)})
}

func ageBomb(ctx context.Context, a *arena) []try {
	var b bytes.Buffer
	b.WriteString("age-encryption.org/v1\n")
	for range 10_000 {
		b.WriteString("-> X25519 TEiF0ypqr+bpvcqXNyCVJpL7OuwPdVwPL7KQEbFDOCc\nEmECAEcKN+n/Vs9SbWiV+Hu0r+E8R77DdWYyd83nw7U\n")
	}
	b.WriteString("--- Vn+54jqiiUCE+WZcEVY3f1sqHjlu/z1LCQ/T7Xm7qI0\n")
	b.Write(noise(5, 65552))
	return a.cover(a.ours("packs/", "meta/", "keys/"), func(v version) error { return put(ctx, a.writer, a.bucket, v.key, b.Bytes()) })
}
