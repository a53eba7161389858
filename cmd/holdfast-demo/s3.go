package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

const region = "us-east-1"

// parallel is how many requests are under way at a time.
const parallel = 16

// client speaks to the server as a. What the server answers is what is shown, so only a question whose answer never came
// is asked again: versitygw now and then closes a connection under its own answer.
func (s *server) client(a account) *s3.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: parallel, DisableCompression: true} // no proxy: it is on this machine
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(s.url),
		UsePathStyle: true,
		Region:       region,
		Credentials:  credentials.NewStaticCredentialsProvider(a.ID, a.Secret, ""),
		HTTPClient:   &http.Client{Transport: transport},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{retry.NoRetryCanceledError{}, retry.RetryableConnectionError{}}
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 5, 200*time.Millisecond, ratelimit.None
		}),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// version is one version of one object, or a delete marker.
type version struct {
	key, id string
	marker  bool
	latest  bool
	size    int64
}

// versions lists everything in a bucket once, newest first in each key.
func versions(ctx context.Context, c *s3.Client, bucket string) iter.Seq2[version, error] {
	return func(yield func(version, error) bool) {
		in := &s3.ListObjectVersionsInput{Bucket: &bucket}
		seen := make(map[[2]string]bool) // versitygw repeats entries at page boundaries
		for {
			page, err := c.ListObjectVersions(ctx, in)
			if err != nil {
				yield(version{}, fmt.Errorf("list the versions in %s: %w", bucket, err))
				return
			}
			var list []version
			for _, v := range page.Versions {
				list = append(list, version{*v.Key, aws.ToString(v.VersionId), false, aws.ToBool(v.IsLatest), aws.ToInt64(v.Size)})
			}
			for _, m := range page.DeleteMarkers {
				list = append(list, version{*m.Key, aws.ToString(m.VersionId), true, aws.ToBool(m.IsLatest), 0})
			}
			for _, v := range list {
				if at := [2]string{v.key, v.id}; !seen[at] {
					seen[at] = true
					if !yield(v, nil) {
						return
					}
				}
			}
			if !aws.ToBool(page.IsTruncated) {
				return
			}
			in.KeyMarker, in.VersionIdMarker = page.NextKeyMarker, page.NextVersionIdMarker
		}
	}
}

// keys lists the current objects of a bucket.
func keys(ctx context.Context, c *s3.Client, bucket string) ([]string, error) {
	var out []string
	pages := s3.NewListObjectsV2Paginator(c, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", bucket, err)
		}
		for _, o := range page.Contents {
			out = append(out, *o.Key)
		}
	}
	return out, nil
}

// deleteVersions deletes up to 1,000 versions in one request. What the server refuses is in errs, by place.
func deleteVersions(ctx context.Context, c *s3.Client, bucket string, list []version) (errs []error, err error) {
	in := &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{}}
	place := make(map[[2]string]int)
	for i, v := range list {
		in.Delete.Objects = append(in.Delete.Objects, types.ObjectIdentifier{Key: &v.key, VersionId: &v.id})
		place[[2]string{v.key, v.id}] = i
	}
	out, err := c.DeleteObjects(ctx, in)
	if err != nil {
		return nil, err
	}
	errs = make([]error, len(list))
	for _, e := range out.Errors {
		i, ok := place[[2]string{aws.ToString(e.Key), aws.ToString(e.VersionId)}]
		if !ok {
			return nil, fmt.Errorf("the server speaks of %q, which was not in the request", aws.ToString(e.Key))
		}
		errs[i] = &smithy.GenericAPIError{Code: aws.ToString(e.Code), Message: aws.ToString(e.Message)}
	}
	return errs, nil
}

// putObject stores body.
func putObject(ctx context.Context, c *s3.Client, bucket, key string, body []byte) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(body)})
	return err
}

// answer is a server's refusal in a few characters: the status and the code, as in "403 AccessDenied".
func answer(err error) string {
	if err == nil {
		return "200 OK"
	}
	var text string
	var status *awshttp.ResponseError
	if errors.As(err, &status) && status.HTTPStatusCode() != http.StatusOK {
		text = fmt.Sprint(status.HTTPStatusCode(), " ")
	}
	if code := errorCode(err); code != "" {
		return text + code
	}
	return text + err.Error()
}

// errorCode is what S3 calls an error, or empty if no server has spoken.
func errorCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
