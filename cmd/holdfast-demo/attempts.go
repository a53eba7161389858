package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const onTop = "a version on top; the old one stays"

// writerAttempts is what a thief tries with the key that the backup writes with.
func writerAttempts() []attempt {
	return []attempt{
		{what: "delete every version, one by one", do: deleteEach(false)},
		{what: "the same, with the bypass header", do: deleteEach(true)},
		{what: "delete every version in one batch", do: deleteBatch},
		{what: "hide every object (delete marker)", do: hideEach},
		{what: "shorten every lock to one minute", do: relock(types.ObjectLockRetentionModeCompliance, time.Minute, false)},
		{what: "the same, with the bypass header", do: relock(types.ObjectLockRetentionModeCompliance, time.Minute, true)},
		{what: "turn every lock into governance", do: relock(types.ObjectLockRetentionModeGovernance, 300*24*time.Hour, true)},
		{what: "remove every lock", do: unlock},
		{what: "release by legal hold off", do: legalHold(types.ObjectLockLegalHoldStatusOff)},
		{what: "reset the bucket's lock configuration", do: lockConfiguration},
		{what: "lifecycle rule: expire everything", do: lifecycle},
		{what: "suspend versioning", do: suspendVersioning},
		{what: "give itself all rights (bucket policy)", do: grabPolicy},
		{what: "remove the bucket policy", do: removePolicy},
		{what: "open the bucket to all (ACL)", do: openACL},
		{what: "delete the bucket", do: deleteBucket},
		{what: "overwrite every object with junk", harmless: onTop, do: overwriteEach},
		{what: "overwrite by multipart upload", harmless: onTop, do: overwriteMultipart},
		{what: "overwrite by a copy onto itself (ransom)", harmless: onTop, do: copyOver},
		{what: "add junk: points, packs, a descriptor", harmless: "new names; nothing believes them", do: addJunk},
		{what: "lock one object for five years", harmless: "costs money, destroys nothing", do: lockLonger},
	}
}

// ownerAttempts is what the lock withstands even if the vault's own administrator key is stolen.
func ownerAttempts() []attempt {
	return []attempt{
		{what: "delete every version, one by one", do: deleteEach(false)},
		{what: "the same, with the bypass header", do: deleteEach(true)},
		{what: "delete every version in one batch", do: deleteBatch},
		{what: "shorten every lock to one minute", do: relock(types.ObjectLockRetentionModeCompliance, time.Minute, true)},
		{what: "turn every lock into governance", do: relock(types.ObjectLockRetentionModeGovernance, 300*24*time.Hour, true)},
		{what: "suspend versioning", do: suspendVersioning},
		{what: "delete the bucket", do: deleteBucket},
		{what: "hide every object (delete marker)", harmless: "markers on top; the versions stay", do: hideEach},
	}
}

// each tries something on every version there is.
func (t target) each(do func(v version) error) (errs []error) {
	for _, v := range t.list {
		errs = append(errs, do(v))
	}
	return errs
}

// bypass asks for it in the header where true.
func bypass(yes bool) *bool {
	if !yes {
		return nil
	}
	return aws.Bool(true)
}

func deleteEach(withBypass bool) func(context.Context, target) []error {
	return func(ctx context.Context, t target) []error {
		return t.each(func(v version) error {
			_, err := t.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: bypass(withBypass)})
			return err
		})
	}
}

func deleteBatch(ctx context.Context, t target) []error {
	errs, err := deleteVersions(ctx, t.c, t.bucket, t.list[:min(len(t.list), 1000)])
	if err != nil {
		return []error{err}
	}
	return errs
}

func hideEach(ctx context.Context, t target) []error {
	return t.each(func(v version) error {
		_, err := t.c.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &t.bucket, Key: &v.key})
		return err
	})
}

func relock(mode types.ObjectLockRetentionMode, keep time.Duration, withBypass bool) func(context.Context, target) []error {
	return func(ctx context.Context, t target) []error {
		return t.each(func(v version) error {
			_, err := t.c.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
				Bucket: &t.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: bypass(withBypass),
				Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: aws.Time(time.Now().Add(keep))},
			})
			return err
		})
	}
}

func unlock(ctx context.Context, t target) []error {
	return t.each(func(v version) error {
		_, err := t.c.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
			Bucket: &t.bucket, Key: &v.key, VersionId: &v.id, BypassGovernanceRetention: aws.Bool(true), Retention: &types.ObjectLockRetention{},
		})
		return err
	})
}

func lockLonger(ctx context.Context, t target) []error {
	t.list = t.list[:1]
	return relock(types.ObjectLockRetentionModeCompliance, 5*365*24*time.Hour, false)(ctx, t)
}

func legalHold(status types.ObjectLockLegalHoldStatus) func(context.Context, target) []error {
	return func(ctx context.Context, t target) []error {
		return t.each(func(v version) error {
			_, err := t.c.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
				Bucket: &t.bucket, Key: &v.key, VersionId: &v.id, LegalHold: &types.ObjectLockLegalHold{Status: status},
			})
			return err
		})
	}
}

func lockConfiguration(ctx context.Context, t target) []error {
	_, err := t.c.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{
		Bucket: &t.bucket, ObjectLockConfiguration: &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled},
	})
	return []error{err}
}

func lifecycle(ctx context.Context, t target) []error {
	_, err := t.c.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
		Bucket: &t.bucket,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("gone"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
			Expiration:                  &types.LifecycleExpiration{Days: aws.Int32(1)},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)},
		}}},
	})
	return []error{err}
}

func suspendVersioning(ctx context.Context, t target) []error {
	_, err := t.c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &t.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	})
	return []error{err}
}

func grabPolicy(ctx context.Context, t target) []error {
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::%[1]s","arn:aws:s3:::%[1]s/*"]}]}`, t.bucket)
	_, err := t.c.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &t.bucket, Policy: &policy})
	return []error{err}
}

func removePolicy(ctx context.Context, t target) []error {
	_, err := t.c.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &t.bucket})
	return []error{err}
}

func openACL(ctx context.Context, t target) []error {
	_, err := t.c.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: &t.bucket, ACL: types.BucketCannedACLPublicReadWrite})
	return []error{err}
}

func deleteBucket(ctx context.Context, t target) []error {
	_, err := t.c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &t.bucket})
	return []error{err}
}

func overwriteEach(ctx context.Context, t target) []error {
	return t.each(func(v version) error {
		return putObject(ctx, t.c, t.bucket, v.key, []byte("overwritten by a thief\n"))
	})
}

func overwriteMultipart(ctx context.Context, t target) []error {
	key := &t.list[0].key
	up, err := t.c.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &t.bucket, Key: key})
	if err != nil {
		return []error{err}
	}
	part, err := t.c.UploadPart(ctx, &s3.UploadPartInput{Bucket: &t.bucket, Key: key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: bytes.NewReader([]byte("junk in parts"))})
	if err != nil {
		return []error{err}
	}
	_, err = t.c.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &t.bucket, Key: key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{ETag: part.ETag, PartNumber: aws.Int32(1)}}},
	})
	return []error{err}
}

// copyOver is how buckets have been held to ransom: objects are copied onto themselves, encrypted with the thief's key.
func copyOver(ctx context.Context, t target) []error {
	v := t.list[len(t.list)-1]
	_, err := t.c.CopyObject(ctx, &s3.CopyObjectInput{
		Bucket: &t.bucket, Key: &v.key, CopySource: aws.String(t.bucket + "/" + v.key + "?versionId=" + v.id),
		MetadataDirective: types.MetadataDirectiveReplace, Metadata: map[string]string{"pay": "to get it back"},
	})
	return []error{err}
}

// addJunk stores forgeries under every kind of name there is in the vault, as close to the real ones as can be had
// without the signing key: a newer point, a newer descriptor, packs, placements, and names that are no names at all.
func addJunk(ctx context.Context, t target) []error {
	junk := []byte("forged\n")
	sum := fmt.Sprintf("%x", sha256.Sum256(junk))
	later := time.Now().UTC().Add(time.Hour).Format("20060102T150405Z")
	var point string
	for _, v := range t.list {
		if strings.Contains(v.key, "/points/") {
			point = v.key
		}
	}
	if point == "" {
		return []error{errors.New("no point in the vault to forge after")}
	}
	folder := point[:strings.LastIndexByte(point, '/')+1]
	signature := point[strings.LastIndexByte(point, '-')+1:]
	var errs []error
	for _, key := range []string{
		folder + later + "-" + sum + "-" + signature,
		folder + "latest",
		t.prefix + "points/zzz/" + later + "-" + sum + "-" + strings.Repeat("0", 128),
		t.prefix + "descriptors/000001-" + sum + ".json",
		t.prefix + "packs/" + sum[:2] + "/" + sum + ".age",
		t.prefix + "meta/" + sum[:2] + "/" + sum + ".age",
		t.prefix + "needs/" + sum[:2] + "/" + sum + ".zst",
		t.prefix + "placements/" + later + "-" + sum + ".zst",
		t.prefix + "keys/" + sum + ".age",
		t.prefix + "READ_ME_TO_GET_YOUR_DATA_BACK.txt",
	} {
		errs = append(errs, putObject(ctx, t.c, t.bucket, key, junk))
	}
	return errs
}
