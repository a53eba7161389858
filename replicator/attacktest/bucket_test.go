package attacktest

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

type faultOf = smithy.ErrorFault

func lockConfiguration(d *types.DefaultRetention) func(context.Context, *arena) []try {
	return func(ctx context.Context, a *arena) []try {
		c := &types.ObjectLockConfiguration{ObjectLockEnabled: types.ObjectLockEnabledEnabled}
		if d != nil {
			c.Rule = &types.ObjectLockRule{DefaultRetention: d}
		}
		_, err := a.writer.PutObjectLockConfiguration(ctx, &s3.PutObjectLockConfigurationInput{Bucket: &a.bucket, ObjectLockConfiguration: c})
		return tried(err)
	}
}

func suspendVersioning(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &a.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	})
	return tried(err)
}

func lifecycle(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
		Bucket: &a.bucket,
		LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: []types.LifecycleRule{{
			ID: aws.String("gone"), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String("")},
			Expiration:                  &types.LifecycleExpiration{Days: aws.Int32(1)},
			NoncurrentVersionExpiration: &types.NoncurrentVersionExpiration{NoncurrentDays: aws.Int32(1)},
		}}},
	})
	return tried(err)
}

func grabPolicy(ctx context.Context, a *arena) []try {
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::%[1]s","arn:aws:s3:::%[1]s/*"]}]}`, a.bucket)
	_, err := a.writer.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &a.bucket, Policy: &policy})
	return tried(err)
}

func removePolicy(ctx context.Context, a *arena) []try {
	_, err := a.writer.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: &a.bucket})
	return tried(err)
}

func openACL(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketAcl(ctx, &s3.PutBucketAclInput{Bucket: &a.bucket, ACL: types.BucketCannedACLPublicReadWrite})
	return tried(err)
}

func openObjects(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		_, err := a.writer.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, ACL: types.ObjectCannedACLPublicReadWrite})
		return err
	})
}

func cors(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketCors(ctx, &s3.PutBucketCorsInput{Bucket: &a.bucket, CORSConfiguration: &types.CORSConfiguration{CORSRules: []types.CORSRule{
		{AllowedMethods: []string{"GET", "PUT", "DELETE"}, AllowedOrigins: []string{"*"}},
	}}})
	return tried(err)
}

func notifications(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketNotificationConfiguration(ctx, &s3.PutBucketNotificationConfigurationInput{Bucket: &a.bucket, NotificationConfiguration: &types.NotificationConfiguration{
		QueueConfigurations: []types.QueueConfiguration{{Events: []types.Event{types.EventS3ObjectCreated}, QueueArn: aws.String("arn:minio:sqs::_:webhook")}},
	}})
	return tried(err)
}

func tags() *types.Tagging {
	return &types.Tagging{TagSet: []types.Tag{{Key: aws.String("expire"), Value: aws.String("now")}}}
}

func tagBucket(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketTagging(ctx, &s3.PutBucketTaggingInput{Bucket: &a.bucket, Tagging: tags()})
	return tried(err)
}

func tagObjects(ctx context.Context, a *arena) []try {
	return a.each(a.everything(), func(v version) error {
		_, err := a.writer.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: &a.bucket, Key: &v.key, VersionId: &v.id, Tagging: tags()})
		return err
	})
}

func encryptBucket(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &a.bucket, ServerSideEncryptionConfiguration: &types.ServerSideEncryptionConfiguration{
		Rules: []types.ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: &types.ServerSideEncryptionByDefault{
			SSEAlgorithm: types.ServerSideEncryptionAwsKms, KMSMasterKeyID: aws.String("arn:aws:kms:us-east-1:666666666666:key/his"),
		}}},
	}})
	return tried(err)
}

func replicate(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketReplication(ctx, &s3.PutBucketReplicationInput{Bucket: &a.bucket, ReplicationConfiguration: &types.ReplicationConfiguration{
		Role: aws.String("arn:aws:iam::666666666666:role/his"),
		Rules: []types.ReplicationRule{{
			Status: types.ReplicationRuleStatusEnabled, Priority: aws.Int32(1), Filter: &types.ReplicationRuleFilter{Prefix: aws.String("")},
			DeleteMarkerReplication: &types.DeleteMarkerReplication{Status: types.DeleteMarkerReplicationStatusDisabled},
			Destination:             &types.Destination{Bucket: aws.String("arn:aws:s3:::his")},
		}},
	}})
	return tried(err)
}

func publicAccess(ctx context.Context, a *arena) []try {
	_, err := a.writer.DeletePublicAccessBlock(ctx, &s3.DeletePublicAccessBlockInput{Bucket: &a.bucket})
	return tried(err)
}

func website(ctx context.Context, a *arena) []try {
	_, err := a.writer.PutBucketWebsite(ctx, &s3.PutBucketWebsiteInput{Bucket: &a.bucket, WebsiteConfiguration: &types.WebsiteConfiguration{
		IndexDocument: &types.IndexDocument{Suffix: aws.String("index.html")},
	}})
	return tried(err)
}
