package s3source

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/holdfast-backup/holdfast/store"
	"github.com/holdfast-backup/holdfast/store/repo/format"
)

// maxPageBytes bounds one page of a listing: 1,000 keys of 1,024 bytes, three characters to a byte, and their fields.
const maxPageBytes = 16 << 20

// cursor is where a page begins.
type cursor struct {
	after     string // first page: only keys after this one
	token     string // ListObjectsV2
	keyMarker string // ListObjectVersions
	verMarker string
	limit     int32 // 0: as many as the server gives
}

// page lists one page, of versions where the view is of all of them.
func (v *view) page(ctx context.Context, c cursor) (*listPage, error) {
	var p *listPage
	take := func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Deserialize.Add(&pageReader{page: &p}, middleware.After)
		})
	}
	var limit *int32
	if c.limit > 0 {
		limit = &c.limit
	}
	var err error
	if v.s.all() {
		if c.keyMarker == "" {
			c.keyMarker = c.after
		}
		_, err = v.s.client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{
			Bucket: &v.s.o.Bucket, Prefix: optional(v.s.o.Prefix), MaxKeys: limit, EncodingType: types.EncodingTypeUrl,
			KeyMarker: optional(c.keyMarker), VersionIdMarker: optional(c.verMarker), RequestPayer: v.s.payer(),
		}, take)
	} else {
		in := &s3.ListObjectsV2Input{
			Bucket: &v.s.o.Bucket, Prefix: optional(v.s.o.Prefix), MaxKeys: limit, EncodingType: types.EncodingTypeUrl,
			ContinuationToken: optional(c.token), RequestPayer: v.s.payer(),
		}
		if c.token == "" {
			in.StartAfter = optional(c.after)
		}
		_, err = v.s.client.ListObjectsV2(ctx, in, take)
	}
	if err != nil {
		return nil, v.listError(ctx, err)
	}
	if p == nil {
		return nil, fmt.Errorf("list %s: %w: no listing in the answer", v.s.name, errXML)
	}
	return p, nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

// pageReader stands between the transport and the SDK's reader of listings: it reads the body itself and leaves the SDK
// an empty document.
type pageReader struct{ page **listPage }

// ID implements middleware.DeserializeMiddleware.
func (*pageReader) ID() string { return "holdfast.pageReader" }

// HandleDeserialize implements middleware.DeserializeMiddleware.
func (r *pageReader) HandleDeserialize(
	ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
) (out middleware.DeserializeOutput, md middleware.Metadata, err error) {
	out, md, err = next.HandleDeserialize(ctx, in)
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || resp.StatusCode != http.StatusOK {
		return out, md, err
	}
	body := resp.Body
	defer body.Close() //nolint:errcheck // read to its end
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxPageBytes {
		b.Grow(int(n) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(body, maxPageBytes+1)); err != nil {
		return out, md, &again{fmt.Errorf("read a page of the listing: %w", err)}
	}
	if b.Len() > maxPageBytes {
		return out, md, fmt.Errorf("%w: a page of more than %d bytes", errXML, maxPageBytes)
	}
	p, err := parsePage(b.Bytes())
	if err != nil {
		return out, md, err
	}
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		p.date = t
	}
	*r.page = p
	resp.Body = io.NopCloser(strings.NewReader("<ListBucketResult/>"))
	return out, md, nil
}

// again is an error that the retryer tries again.
type again struct{ err error }

func (a *again) Error() string { return a.err.Error() }
func (a *again) Unwrap() error { return a.err }

// RetryableError tells the SDK's retryer.
func (*again) RetryableError() bool { return true }

// justBefore gives a key below from with, for all that matters, nothing between: servers list after a key, not from it.
// What does lie between is dropped by the caller.
func justBefore(from string) string {
	for !utf8.ValidString(from) {
		from = from[:len(from)-1]
	}
	r, n := utf8.DecodeLastRuneInString(from)
	head := from[:len(from)-n]
	switch {
	case n == 0 || r <= 1:
		return head
	case r == 0xE000:
		r = 0xD7FF // what lies between are surrogates, which no key has
	default:
		r--
	}
	if len(from) > 1000 {
		return head
	}
	return head + string(r) + string(utf8.MaxRune)
}

// Entries implements source.View.
func (v *view) Entries(ctx context.Context, from, to string) iter.Seq2[*format.Entry, error] {
	return func(yield func(*format.Entry, error) bool) {
		give := func(i *listItem) bool {
			if v.s.exclude.Match(i.key) {
				return true
			}
			return yield(i.entry(v.s.all()), nil)
		}
		var err error
		if v.s.all() {
			h := &history{v: v, give: give}
			err = v.each(ctx, from, to, h.add)
			if err == nil {
				_, err = h.flush(ctx)
			}
		} else {
			err = v.each(ctx, from, to, func(_ context.Context, i *listItem) (bool, error) { return give(i), nil })
		}
		if err != nil && err != errStop { //nolint:errorlint // our own, never wrapped
			yield(nil, err)
		}
	}
}

// each pages through the range and hands every item on once. It holds the server to the order of key bytes, because
// everything that reads a view depends on it.
func (v *view) each(ctx context.Context, from, to string, visit func(context.Context, *listItem) (bool, error)) error {
	var c cursor
	if from > v.s.o.Prefix {
		c.after = justBefore(from)
	}
	var last listItem
	odd := garbled{from: from, to: to, visit: visit}
	for first := true; ; first = false {
		p, err := v.page(ctx, c)
		if err != nil {
			return err
		}
		repeated := v.repeats(p, &last)
		for i := range p.items {
			it := &p.items[i]
			if p.garbles(it.key) {
				if err := v.holdBack(&odd, it); err != nil {
					return err
				}
				continue
			}
			if !first && repeated[it.version] && it.key == last.key {
				continue
			}
			if err := v.inOrder(it, &last, last.key == ""); err != nil {
				return err
			}
			last = *it
			if it.key < from {
				continue
			}
			if to != "" && it.key >= to {
				return odd.before(ctx, to)
			}
			if err := odd.before(ctx, it.key); err != nil {
				return err
			}
			more, err := visit(ctx, it)
			if err != nil {
				return err
			}
			if !more {
				return errStop
			}
		}
		if !p.truncated {
			return odd.before(ctx, to)
		}
		if c, err = v.advance(c, p); err != nil {
			return err
		}
	}
}

// repeats gives the versions of last.key in p if p begins with what came before: some servers repeat entries at the
// boundary of a page of versions.
func (v *view) repeats(p *listPage, last *listItem) map[string]bool {
	if !v.s.all() || len(p.items) == 0 || p.items[0].key != last.key {
		return nil
	}
	for i := range p.items {
		if p.items[i].key != last.key {
			return nil
		}
		if p.items[i].version == last.version { // all up to the last seen were given before
			seen := make(map[string]bool, i+1)
			for j := range i + 1 {
				seen[p.items[j].version] = true
			}
			return seen
		}
	}
	return nil
}

// inOrder checks one item against the one before.
func (v *view) inOrder(it, last *listItem, first bool) error {
	switch {
	case !strings.HasPrefix(it.key, v.s.o.Prefix):
		return fmt.Errorf("list %s: the server gave key %.200q outside the prefix: %w", v.s.name, it.key, store.ErrListing)
	case it.size < 0:
		return fmt.Errorf("list %s: the server gave key %.200q a size of %d: %w", v.s.name, it.key, it.size, store.ErrListing)
	case first, it.key > last.key, v.s.all() && it.key == last.key && it.version != last.version:
		return nil
	}
	return fmt.Errorf("list %s: the server gave key %.200q after %.200q: not in the order of their bytes: %w",
		v.s.name, it.key, last.key, store.ErrListing)
}

// advance gives the next page's cursor; one that stands still would list for ever.
func (v *view) advance(c cursor, p *listPage) (cursor, error) {
	if p.garbles(p.token) || p.garbles(p.keyMarker) {
		// Going on there would leave out what lies between that name and the true one.
		return c, fmt.Errorf("list %s: the server cannot say where its listing goes on: the key %.200q holds control characters, and it does not follow encoding-type=url; rename that object: %w",
			v.s.name, cmp.Or(p.keyMarker, p.token), store.ErrListing)
	}
	next := cursor{token: p.token, keyMarker: p.keyMarker, verMarker: p.verMarker}
	still := p.token == "" || p.token == c.token
	if v.s.all() {
		still = p.keyMarker == "" || (p.keyMarker == c.keyMarker && p.verMarker == c.verMarker)
	}
	if still {
		return c, fmt.Errorf("list %s: the server says there is more and gives no new place to go on: %w", v.s.name, store.ErrListing)
	}
	return next, nil
}
