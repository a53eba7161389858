package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

// stored is one version in the vault, with its lock.
type stored struct {
	sha256 [sha256.Size]byte
	size   int64
	until  time.Time
	mode   types.ObjectLockRetentionMode
}

// vaultState is every version in the vault, by key and version ID.
type vaultState map[[2]string]stored

func (v vaultState) bytes() (n int64) {
	for _, s := range v {
		n += s.size
	}
	return n
}

// until is the earliest end of a lock.
func (v vaultState) until() (first time.Time) {
	for _, s := range v {
		if first.IsZero() || s.until.Before(first) {
			first = s.until
		}
	}
	return first
}

// inspect reads every version in the vault whole, as its owner.
func inspect(ctx context.Context, c *s3.Client, bucket string) (vaultState, []version, error) {
	state := make(vaultState)
	var list []version
	for v, err := range versions(ctx, c, bucket) {
		if err != nil {
			return nil, nil, err
		}
		if !v.marker {
			list = append(list, v)
		}
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, v := range list {
		g.Go(func() error {
			s, err := inspectOne(ctx, c, bucket, v)
			if err != nil {
				return fmt.Errorf("look at %s in the vault: %w", v.key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			state[[2]string{v.key, v.id}] = s
			return nil
		})
	}
	return state, list, g.Wait()
}

func inspectOne(ctx context.Context, c *s3.Client, bucket string, v version) (s stored, err error) {
	// HEAD would do at AWS; versitygw shows a lock there for the newest version only.
	lock, err := c.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &bucket, Key: &v.key, VersionId: &v.id})
	switch {
	case err == nil && lock.Retention != nil:
		s.mode, s.until = lock.Retention.Mode, aws.ToTime(lock.Retention.RetainUntilDate)
	case err != nil && errorCode(err) != "NoSuchObjectLockConfiguration":
		return s, err
	}
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &v.key, VersionId: &v.id})
	if err != nil {
		return s, err
	}
	defer got.Body.Close()
	h := sha256.New()
	if s.size, err = io.Copy(h, got.Body); err != nil {
		return s, err
	}
	h.Sum(s.sha256[:0])
	return s, nil
}

// harm names everything in before that is gone, changed or less locked afterwards. What came on top is no harm.
func harm(before, after vaultState) (out []string) {
	for at, was := range before {
		is, there := after[at]
		switch {
		case !there:
			out = append(out, at[0]+": the version is gone")
		case is.sha256 != was.sha256 || is.size != was.size:
			out = append(out, at[0]+": the version has other bytes")
		case is.mode != types.ObjectLockRetentionModeCompliance || is.until.Before(was.until):
			out = append(out, fmt.Sprintf("%s: the lock was %s until %s and is %s until %s", at[0], was.mode, was.until, is.mode, is.until))
		}
	}
	return out
}
