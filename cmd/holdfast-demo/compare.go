package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"
)

// object is everything about an object that whoever stored it can tell, and that a restore must bring back.
type object struct {
	size     int64
	sha256   [sha256.Size]byte
	headers  map[string]string
	metadata map[string]string
	tags     map[string]string
}

// contents is a bucket's current objects by key.
type contents map[string]object

func (c contents) bytes() (n int64) {
	for _, o := range c {
		n += o.size
	}
	return n
}

// counts gives how many there are of every header, of metadata values and of tags.
func (c contents) counts() (headers map[string]int, metadata, tags int) {
	headers = make(map[string]int)
	for _, o := range c {
		for name, v := range o.headers {
			if v != "" {
				headers[name]++
			}
		}
		metadata += len(o.metadata)
		tags += len(o.tags)
	}
	return headers, metadata, tags
}

// summary says what there is to compare.
func (c contents) summary() string {
	headers, metadata, tags := c.counts()
	sum := 0
	for _, n := range headers {
		sum += n
	}
	return fmt.Sprintf("%s, %s, %s, %s", plural(len(c), "object"), plural(sum, "header"), plural(metadata, "metadata value"), plural(tags, "tag"))
}

// complete is an error if a kind of header, metadata or tags is not there at all: then comparing it would prove nothing.
func (c contents) complete() error {
	headers, metadata, tags := c.counts()
	for _, name := range []string{"Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition", "Cache-Control", "Expires"} {
		if headers[name] == 0 {
			return fmt.Errorf("no object has the header %s; the server dropped it", name)
		}
	}
	if metadata == 0 || tags == 0 {
		return errors.New("no object has metadata, or none has tags; the server dropped them")
	}
	return nil
}

// record reads every current object of a bucket whole, as its users would.
func record(ctx context.Context, c *s3.Client, bucket string) (contents, error) {
	list, err := keys(ctx, c, bucket)
	if err != nil {
		return nil, err
	}
	out := make(contents, len(list))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, key := range list {
		g.Go(func() error {
			o, err := readObject(ctx, c, bucket, key)
			if err != nil {
				return fmt.Errorf("read %s/%s: %w", bucket, key, err)
			}
			mu.Lock()
			defer mu.Unlock()
			out[key] = o
			return nil
		})
	}
	return out, g.Wait()
}

func readObject(ctx context.Context, c *s3.Client, bucket, key string) (object, error) {
	got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return object{}, err
	}
	defer got.Body.Close()
	o := object{metadata: got.Metadata, headers: map[string]string{
		"Content-Type":           aws.ToString(got.ContentType),
		"Content-Encoding":       aws.ToString(got.ContentEncoding),
		"Content-Language":       aws.ToString(got.ContentLanguage),
		"Content-Disposition":    aws.ToString(got.ContentDisposition),
		"Cache-Control":          aws.ToString(got.CacheControl),
		"Expires":                aws.ToString(got.ExpiresString),
		"Website-Redirect":       aws.ToString(got.WebsiteRedirectLocation),
		"Storage-Class":          string(got.StorageClass),
		"Server-Side-Encryption": string(got.ServerSideEncryption),
	}}
	h := sha256.New()
	if o.size, err = io.Copy(h, got.Body); err != nil {
		return object{}, err
	}
	h.Sum(o.sha256[:0])
	if aws.ToInt32(got.TagCount) == 0 {
		return o, nil
	}
	tags, err := c.GetObjectTagging(ctx, &s3.GetObjectTaggingInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return object{}, fmt.Errorf("its tags: %w", err)
	}
	o.tags = make(map[string]string)
	for _, t := range tags.TagSet {
		o.tags[*t.Key] = *t.Value
	}
	return o, nil
}

// compare names every difference, sorted by key.
func compare(want, got contents) []string {
	var out []string
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		w, wanted := want[key]
		g, there := got[key]
		switch {
		case !there:
			out = append(out, key+": missing")
		case !wanted:
			out = append(out, key+": was not there before")
		default:
			for _, d := range w.differences(g) {
				out = append(out, key+": "+d)
			}
		}
	}
	return out
}

func (o object) differences(g object) (out []string) {
	if o.size != g.size {
		out = append(out, fmt.Sprintf("%d bytes instead of %d", g.size, o.size))
	} else if o.sha256 != g.sha256 {
		out = append(out, fmt.Sprintf("other bytes: SHA-256 %.16x instead of %.16x", g.sha256, o.sha256))
	}
	for _, m := range []struct {
		what      string
		want, got map[string]string
	}{{"header", o.headers, g.headers}, {"metadata", o.metadata, g.metadata}, {"tag", o.tags, g.tags}} {
		all := maps.Clone(m.got)
		if all == nil {
			all = make(map[string]string)
		}
		maps.Copy(all, m.want)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			w, wanted := m.want[name]
			g, there := m.got[name]
			if wanted != there || w != g {
				out = append(out, fmt.Sprintf("%s %s: %q instead of %q", m.what, name, g, w))
			}
		}
	}
	return out
}
