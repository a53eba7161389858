package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// rights is what a user may do with a bucket and with the objects in it.
type rights struct{ bucket, objects string }

// The three users that Holdfast needs. None of them can delete, and none can configure.

func sourceReader() rights {
	return rights{
		bucket:  "ListBucket ListBucketVersions GetBucketVersioning GetBucketLocation",
		objects: "GetObject GetObjectVersion GetObjectTagging GetObjectVersionTagging GetObjectAttributes GetObjectVersionAttributes",
	}
}

func vaultWriter() rights {
	return rights{
		bucket:  "ListBucket ListBucketVersions GetBucketObjectLockConfiguration GetBucketVersioning GetBucketLocation",
		objects: "PutObject PutObjectRetention GetObject GetObjectVersion GetObjectRetention GetObjectLegalHold",
	}
}

func vaultReader() rights {
	return rights{
		bucket:  "ListBucket ListBucketVersions",
		objects: "GetObject GetObjectVersion GetObjectRetention",
	}
}

// grant sets the bucket's policy: these users, these rights, nobody and nothing else.
func grant(ctx context.Context, admin *s3.Client, bucket string, who map[string]rights) error {
	type statement struct {
		Effect    string
		Principal map[string][]string
		Action    []string
		Resource  string
	}
	var all []statement
	for _, user := range slices.Sorted(maps.Keys(who)) {
		principal := map[string][]string{"AWS": {user}}
		arn := "arn:aws:s3:::" + bucket
		all = append(all,
			statement{"Allow", principal, actions(who[user].bucket), arn},
			statement{"Allow", principal, actions(who[user].objects), arn + "/*"})
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	if err != nil {
		return err
	}
	policy := string(text)
	if _, err := admin.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy}); err != nil {
		return fmt.Errorf("set the policy of bucket %s: %w", bucket, err)
	}
	return nil
}

func actions(names string) []string {
	list := strings.Fields(names)
	for i := range list {
		list[i] = "s3:" + list[i]
	}
	return list
}
