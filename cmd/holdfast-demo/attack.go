package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// destroy deletes every version of every object in every bucket, and the buckets, as the administrator of a server may.
func destroy(ctx context.Context, c *s3.Client) (buckets, deleted int, err error) {
	list, err := c.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		return 0, 0, fmt.Errorf("list the buckets: %w", err)
	}
	for _, b := range list.Buckets {
		n, err := empty(ctx, c, *b.Name)
		if err != nil {
			return buckets, deleted, fmt.Errorf("empty %s: %w", *b.Name, err)
		}
		deleted += n
		if _, err := c.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: b.Name}); err != nil {
			return buckets, deleted, fmt.Errorf("delete bucket %s: %w", *b.Name, err)
		}
		buckets++
	}
	return buckets, deleted, nil
}

// empty deletes every version in a bucket, and looks again until there is none.
func empty(ctx context.Context, c *s3.Client, bucket string) (deleted int, err error) {
	for {
		var list []version
		for v, err := range versions(ctx, c, bucket) {
			if err != nil {
				return deleted, err
			}
			list = append(list, v)
		}
		if len(list) == 0 {
			return deleted, nil
		}
		// One batch after another: versitygw fails where two requests delete versions of one key. A request takes up to
		// 1,000, but versitygw works them off one by one.
		for batch := range slices.Chunk(list, 100) {
			errs, err := deleteVersions(ctx, c, bucket, batch)
			if err := errors.Join(err, errors.Join(errs...)); err != nil {
				return deleted, err
			}
		}
		deleted += len(list)
	}
}

// attempt is one way to destroy the copy in the vault.
type attempt struct {
	what string
	// harmless says why it does not matter that the server allows it. Empty: the server must refuse.
	harmless string
	// do tries it, on every object it can be tried on, and gives the answers in order. A nil answer is a success.
	do func(ctx context.Context, t target) []error
}

// target is the vault as its attacker sees it.
type target struct {
	c      *s3.Client
	bucket string
	prefix string
	list   []version // what is there
}

// outcome is what an attempt came to.
type outcome struct {
	attempt
	key      string // whose it was
	tries    int
	accepted int
	answer   string // the first refusal's, else the first answer
}

// breach reports whether the server allowed what it must refuse.
func (o outcome) breach() bool { return o.accepted > 0 && o.harmless == "" }

// verdict in a few words.
func (o outcome) verdict() string {
	switch {
	case o.breach():
		return "ALLOWED"
	case o.accepted == 0:
		return "refused"
	}
	return "allowed"
}

func (a attempt) try(ctx context.Context, key string, t target) (outcome, error) {
	o := outcome{attempt: a, key: key}
	var first error
	for _, err := range a.do(ctx, t) {
		o.tries++
		if err == nil {
			o.accepted++
			continue
		}
		if errorCode(err) == "" {
			return o, fmt.Errorf("%s: the server could not be asked: %w", a.what, err)
		}
		if first == nil {
			first = err
		}
	}
	if o.tries == 0 {
		return o, fmt.Errorf("%s: nothing was tried", a.what)
	}
	o.answer = answer(first)
	return o, nil
}
